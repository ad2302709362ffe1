//! The upload slots of this peer: the transfers that it serves at the same time, and the queue of requests for which no slot
//! is free.
//!
//! One name never has more than half of the slots, and the queue goes round among the names that wait in it. So a peer that
//! wants many files delays the others by at most one transfer each time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::protocol::TransferId;
use wire::transfer::TransferSalt;

use super::contact::same_name;
use super::requested::Requested;

/// How long an offer waits for the receiver to dial. It dials when it gets the answer, for at most 5 seconds.
pub(super) const OFFER_WAIT: Duration = Duration::from_secs(10);
/// The maximum number of requests in the queue.
const QUEUE_MAX: usize = 256;
/// The maximum number of those of one peer.
const QUEUE_EACH_MAX: usize = 32;
/// The number of ended transfers that are remembered, because a receiver can report later that its disk was full.
const ENDED_MAX: usize = 32;
/// How often a waiting receiver is told its place at most. Many small files move the queue thousands of times a second.
const PLACE_EVERY: Duration = Duration::from_secs(1);
/// How often it is told although its place is the same, so that each side notices when the other has gone.
const PLACE_AGAIN: Duration = Duration::from_secs(10);

/// What is offered to a peer, which has requested it.
pub(super) struct Offer {
    pub(super) to: PeerName,
    pub(super) request: Requested,
    pub(super) salt: TransferSalt,
    pub(super) expires: Instant,
    pub(super) is_underway: bool,
}

/// A request in the queue.
pub(super) struct Waiting {
    pub(super) from: PeerName,
    /// The number of the envelope with the request.
    pub(super) number: u64,
    pub(super) request: Requested,
    /// The place that the receiver was told, and when.
    told: Option<(u32, Instant)>,
}

/// A place in the queue, which its receiver has to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) to: PeerName,
    pub(super) number: u64,
    pub(super) transfer: TransferId,
    pub(super) place: u32,
}

pub(super) struct Slots {
    max: usize,
    serving: BTreeMap<TransferId, Offer>,
    /// The last transfers that have ended: the receiver, and what to say if it has no room.
    ended: VecDeque<(TransferId, PeerName, String)>,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
    /// The folded names that wait. The first one is served next, and comes to the end then.
    turns: VecDeque<PeerName>,
    /// When a receiver has to be told its place; `None` if the queue has changed since they were told.
    tell_at: Option<Instant>,
}

impl Slots {
    pub(super) fn new(max: u32) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX).max(1);
        Self {
            max,
            serving: BTreeMap::new(),
            ended: VecDeque::new(),
            waiting: Vec::new(),
            turns: VecDeque::new(),
            tell_at: None,
        }
    }

    /// How many slots one peer can have.
    fn each_max(&self) -> usize {
        self.max.div_ceil(2)
    }

    fn served(&self, name: &PeerName) -> usize {
        self.serving.values().filter(|offer| same_name(&offer.to, name)).count()
    }

    /// Whether a slot is free for this peer.
    pub(super) fn has_room_for(&self, name: &PeerName) -> bool {
        self.serving.len() < self.max && self.served(name) < self.each_max()
    }

    /// Whether a transfer is offered or being sent.
    pub(super) fn serves(&self, transfer: &TransferId) -> bool {
        self.serving.contains_key(transfer)
    }

    pub(super) fn serve(&mut self, offer: Offer) {
        self.serving.insert(offer.request.transfer(), offer);
    }

    pub(super) fn offer(&self, transfer: TransferId) -> Option<&Offer> {
        self.serving.get(&transfer)
    }

    pub(super) fn offer_mut(&mut self, transfer: TransferId) -> Option<&mut Offer> {
        self.serving.get_mut(&transfer)
    }

    /// Frees the slot of a transfer.
    pub(super) fn free(&mut self, transfer: TransferId) -> Option<Offer> {
        let offer = self.serving.remove(&transfer)?;
        self.ended.truncate(ENDED_MAX - 1);
        self.ended.push_front((transfer, offer.to.clone(), offer.request.has_not_arrived()));
        Some(offer)
    }

    /// What has not arrived if a transfer to this peer, which goes on or has ended lately, finds no room there.
    pub(super) fn sent_to(&self, name: &PeerName, transfer: TransferId) -> Option<String> {
        if let Some(offer) = self.serving.get(&transfer) {
            return same_name(&offer.to, name).then(|| offer.request.has_not_arrived());
        }
        let is_it = |(of, to, _): &&(TransferId, PeerName, String)| *of == transfer && same_name(to, name);
        self.ended.iter().find(is_it).map(|(_, _, what)| what.clone())
    }

    /// Frees the slots of offers for which nobody has dialled in time, and of those that `is_unwanted` names.
    pub(super) fn free_unused(&mut self, now: Instant, is_unwanted: impl Fn(&Offer) -> bool) {
        self.serving.retain(|_, offer| offer.is_underway || (offer.expires > now && !is_unwanted(offer)));
    }

    /// Takes a request into the queue. One that is there already keeps its place, and its receiver is told it again. Returns
    /// false if the queue is full.
    pub(super) fn enqueue(&mut self, from: &PeerName, number: u64, request: Requested) -> bool {
        self.tell_at = None;
        let is_from = |waiting: &Waiting| same_name(&waiting.from, from);
        if let Some(known) = self.waiting.iter_mut().find(|w| w.request.transfer() == request.transfer()) {
            let is_theirs = is_from(known);
            if is_theirs {
                (known.number, known.request, known.told) = (number, request, None);
            }
            return is_theirs;
        }
        let of_name = self.waiting.iter().filter(|waiting| is_from(waiting)).count();
        if self.waiting.len() >= QUEUE_MAX || of_name >= QUEUE_EACH_MAX {
            return false;
        }
        self.waiting.push(Waiting { from: from.clone(), number, request, told: None });
        if of_name == 0 {
            self.turns.push_back(from.folded());
        }
        true
    }

    /// Forgets a request of this peer, unless its file is being sent.
    pub(super) fn withdraw(&mut self, from: &PeerName, transfer: TransferId) {
        let is_it = |w: &Waiting| w.request.transfer() == transfer && same_name(&w.from, from);
        if let Some(at) = self.waiting.iter().position(is_it) {
            self.take_out(at);
        }
        let is_offer = |offer: &Offer| same_name(&offer.to, from) && !offer.is_underway;
        if self.serving.get(&transfer).is_some_and(is_offer) {
            self.serving.remove(&transfer);
        }
    }

    /// Forgets a transfer to this peer that is underway. Returns whether there was one.
    pub(super) fn stop(&mut self, to: &PeerName, transfer: TransferId) -> bool {
        let is_theirs = self.serving.get(&transfer).is_some_and(|offer| same_name(&offer.to, to));
        is_theirs && self.free(transfer).is_some()
    }

    fn take_out(&mut self, at: usize) -> Waiting {
        let waiting = self.waiting.remove(at);
        self.tell_at = None;
        if !self.waiting.iter().any(|other| same_name(&other.from, &waiting.from)) {
            let name = waiting.from.folded();
            self.turns.retain(|turn| *turn != name);
        }
        waiting
    }

    /// Takes the next request out of the queue if a slot is free for one.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let turn = self.turns.iter().position(|name| self.has_room_for(name))?;
        let name = self.turns.remove(turn)?;
        let at = self.waiting.iter().position(|waiting| same_name(&waiting.from, &name))?;
        self.turns.push_back(name);
        Some(self.take_out(at))
    }

    /// The requests in the order in which they are served: round by round, each name once in a round.
    fn order(&self) -> Vec<usize> {
        let turns: HashMap<&PeerName, usize> = self.turns.iter().zip(0..).collect();
        let mut rounds = vec![0; turns.len()];
        let mut order = Vec::with_capacity(self.waiting.len());
        for (at, waiting) in self.waiting.iter().enumerate() {
            let turn = turns[&waiting.from.folded()];
            order.push((rounds[turn], turn, at));
            rounds[turn] += 1;
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, at)| at).collect()
    }

    /// The places that receivers have to be told now. Notes them as told.
    pub(super) fn places(&mut self, now: Instant) -> Vec<Told> {
        let mut due = Vec::new();
        if self.tell_at.is_some_and(|at| at > now) {
            return due;
        }
        self.tell_at = None;
        for (at, place) in self.order().into_iter().zip(1..) {
            let Waiting { from, number, request, told } = &mut self.waiting[at];
            let next =
                told.map(|(before, when)| when + if before == place { PLACE_AGAIN } else { PLACE_EVERY });
            let next = match next {
                Some(next) if next > now => next,
                _ => {
                    *told = Some((place, now));
                    let transfer = request.transfer();
                    due.push(Told { to: from.clone(), number: *number, transfer, place });
                    now + PLACE_AGAIN
                }
            };
            self.tell_at = Some(self.tell_at.map_or(next, |at| at.min(next)));
        }
        due
    }

    /// Tells all receivers their places again, because this peer or they may have missed something.
    pub(super) fn tell_again(&mut self) {
        self.tell_at = None;
        for waiting in &mut self.waiting {
            waiting.told = None;
        }
    }

    /// When a slot becomes free by itself, or a receiver has to be told its place. `None` if nobody waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let offers = self.serving.values().filter(|offer| !offer.is_underway).map(|offer| offer.expires);
        offers.chain(self.tell_at).min()
    }
}

#[cfg(test)]
mod tests;
