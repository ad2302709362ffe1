//! Limits for the work and the storage that other peers can cause before the user has written to them.
//!
//! Each conversation costs RSA operations, so their openings are limited by rate: for each sender, and for all
//! strangers together, because a new name is free. An opening over a limit is dropped without an answer. No message is
//! lost: the sender still has the messages, and sends them again.
//!
//! A peer that has opened a conversation but sent no message is a passing contact. A limited number of them is kept in
//! memory, and none on disk.
//!
//! A limited number of strangers that have sent messages is kept on disk. If more come, the oldest whose messages were shown is
//! forgotten, but seldom, because its key and the ids of its messages stay. So a flood of names costs little room, and keeps
//! others out only while it lasts.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use wire::{Digest, PeerName};

use super::Engine;
use super::contact::Contact;
use super::contacts::Contacts;
use super::interface::{ClientId, Limits};
use super::pace::Spacing;
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};

/// A sender may open as many conversations at once as its rate allows in this time. With `--rekey 1`, each message that
/// waited for this peer needs one.
const SENDER_BURST: Duration = Duration::from_secs(40);
/// The same for all strangers together. An opening takes about 3 ms, so a burst delays other work by at most a fifth of
/// a second.
const STRANGERS_BURST: Duration = Duration::from_secs(3);
/// The part of an opening that each message pays back: a conversation of 64 messages costs nothing.
const EARNED: f64 = 1.0 / 64.0;
/// The maximum number of refused openings that are remembered. One that comes again from the same name is refused without work.
const REFUSED_MAX: usize = 4_096;
/// The minimum interval between two strangers that are forgotten to make room.
const MAKE_ROOM_EVERY: Duration = Duration::from_secs(5 * 60);
/// The minimum interval between two errors about openings over a limit.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A token bucket.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: f64,
    at: Option<Instant>,
}

impl Budget {
    /// Takes one, if one is left. The number that comes in the time `burst` may be taken at once.
    fn take(&mut self, now: Instant, per_minute: u32, burst: Duration) -> bool {
        let per_second = f64::from(per_minute) / 60.0;
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.spent = (self.spent - elapsed.as_secs_f64() * per_second).max(0.0);
        self.at = Some(now);
        let has_one = self.spent + 1.0 <= (burst.as_secs_f64() * per_second).max(1.0);
        if has_one {
            self.spent += 1.0;
        }
        has_one
    }

    fn give_back(&mut self, part: f64) {
        self.spent = (self.spent - part).max(0.0);
    }
}

/// Which limit an opening exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Excess {
    /// Too many of its sender.
    OfSender,
    /// Too many of all strangers together.
    OfStrangers,
    /// Too many peers that the user has never written to have sent messages.
    Unanswered,
}

impl Excess {
    const ALL: [Self; 3] = [Self::OfSender, Self::OfStrangers, Self::Unanswered];

    /// The option that sets the limit.
    fn option(self) -> &'static str {
        match self {
            Self::OfSender => "--openings-per-minute",
            Self::OfStrangers => "--stranger-openings-per-minute",
            Self::Unanswered => "--strangers",
        }
    }

    /// The value of the option.
    fn limit(self, limits: &Limits) -> u32 {
        match self {
            Self::OfSender => limits.openings_per_minute,
            Self::OfStrangers => limits.stranger_openings_per_minute,
            Self::Unanswered => limits.strangers_max,
        }
    }
}

/// The budgets that all senders share.
#[derive(Default)]
pub(super) struct Guard {
    strangers: Budget,
    /// Folded names, the oldest first: all passing contacts, and some that are kept or deleted by now.
    passing: VecDeque<PeerName>,
    /// Each with the name of its sender.
    refused: HashSet<Digest>,
    /// The same in the order of arrival.
    refused_order: VecDeque<Digest>,
    /// How many openings were over each limit since the start.
    over: BTreeMap<Excess, u64>,
    /// How many of all these were reported.
    reported: u64,
    said: Spacing,
    made_room: Spacing,
}

impl Guard {
    /// Whether an opening of this sender may be processed.
    fn admits(
        &mut self,
        from: &PeerName,
        contacts: &mut Contacts,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Excess> {
        let is_one_more = contacts.get(from).is_none_or(Contact::may_become_unanswered);
        let strangers_max = usize::try_from(limits.strangers_max).unwrap_or(usize::MAX);
        if is_one_more && contacts.iter().filter(|c| c.is_unanswered()).count() >= strangers_max {
            return Err(Excess::Unanswered);
        }
        let contact = contacts.get_mut(from);
        let is_stranger = contact.as_ref().is_none_or(|contact| contact.is_stranger());
        if let Some(contact) = contact
            && !contact.openings_budget.take(now, limits.openings_per_minute, SENDER_BURST)
        {
            return Err(Excess::OfSender);
        }
        if is_stranger && !self.admits_stranger(limits, now) {
            return Err(Excess::OfStrangers);
        }
        Ok(())
    }

    fn admits_stranger(&mut self, limits: &Limits, now: Instant) -> bool {
        self.strangers.take(now, limits.stranger_openings_per_minute, STRANGERS_BURST)
    }

    fn count(&mut self, excess: Excess) {
        *self.over.entry(excess).or_default() += 1;
    }

    fn refuse(&mut self, opening: Digest) {
        if self.refused.insert(opening) {
            self.refused_order.push_back(opening);
        }
        if self.refused_order.len() > REFUSED_MAX
            && let Some(oldest) = self.refused_order.pop_front()
        {
            self.refused.remove(&oldest);
        }
    }
}

impl Contact {
    /// Whether this peer has never written to it.
    fn is_stranger(&self) -> bool {
        self.next_number == 1
    }

    /// Whether its next message makes it [`Contact::is_unanswered`]: it has sent none, or was forgotten.
    fn may_become_unanswered(&self) -> bool {
        !self.is_kept || self.is_stranger() && self.last_number > 0 && self.card.is_none()
    }

    /// Whether it is a stranger that has sent messages. A contact without a card was deleted by the user (`forget`).
    fn is_unanswered(&self) -> bool {
        self.is_stranger() && self.last_number > 0 && self.card.is_some() && !self.is_blocked
    }
}

impl Engine {
    /// Whether to process an opening: it has not been refused before, and exceeds no limit.
    pub(super) fn may_open(&mut self, from: &PeerName, opening: Digest) -> bool {
        if self.guard.refused.contains(&opening) {
            return false;
        }
        let (limits, now) = (self.local.options.limits, self.local.now.instant);
        let mut admitted = self.guard.admits(from, &mut self.contacts, &limits, now);
        if admitted == Err(Excess::Unanswered) && self.make_room() {
            admitted = self.guard.admits(from, &mut self.contacts, &limits, now);
        }
        match admitted {
            Ok(()) => true,
            Err(excess) => {
                self.put_off(from, excess);
                false
            }
        }
    }

    /// Forgets the stranger without an answer that has not written for the longest time, if its messages were shown.
    fn make_room(&mut self) -> bool {
        let shown_before = self.showing.shown_before();
        let may_go = |contact: &&Contact| {
            contact.is_unanswered()
                && contact.arrived_before <= shown_before
                && !self.local.is_compared(&contact.name)
        };
        let oldest = self.contacts.iter().filter(may_go).min_by_key(|contact| contact.arrived_before);
        let Some(name) = oldest.map(|contact| contact.name.clone()) else { return false };
        if !self.guard.made_room.is_due(self.local.now.instant, MAKE_ROOM_EVERY) {
            return false;
        }
        self.delete(&name);
        let most = self.local.options.limits.strangers_max;
        self.local.emit(&Event::error(format!(
            "the messages of {name}, which you have not answered, were deleted, because more than {most} peers that you have \
             never written to have sent messages (--strangers)"
        )));
        true
    }

    /// Notes that a message of this sender has arrived. Its conversations are useful, so they count less.
    pub(super) fn earned(&mut self, from: &PeerName) {
        let Some(contact) = self.contacts.get_mut(from) else { return };
        contact.openings_budget.give_back(EARNED);
        if contact.is_stranger() {
            self.guard.strangers.give_back(EARNED);
        }
    }

    /// Remembers an opening that must not be accepted.
    pub(super) fn refuse_opening(&mut self, opening: Digest) {
        self.guard.refuse(opening);
    }

    /// Whether a complaint may be sent to this peer. That makes a contact of an unknown name, which is limited.
    pub(super) fn may_take_note_of(&mut self, name: &PeerName) -> bool {
        let (limits, now) = (self.local.options.limits, self.local.now.instant);
        let may = self.contacts.get(name).is_some() || self.guard.admits_stranger(&limits, now);
        if !may {
            self.guard.count(Excess::OfStrangers);
        }
        may
    }

    /// Shows each limit, and how many openings were over it.
    pub(super) fn show_limits(&mut self, client: ClientId) {
        for excess in Excess::ALL {
            let answer = Answer::Limit {
                option: excess.option().to_owned(),
                limit: excess.limit(&self.local.options.limits),
                refused: self.guard.over.get(&excess).copied().unwrap_or(0),
            };
            self.local.tell(client, Event::Result(answer));
        }
        self.local.done(client, Ending::Done);
    }

    /// Makes a passing contact of an unknown name. If there are too many, deletes the oldest.
    pub(super) fn take_note_of(&mut self, name: &PeerName) {
        if self.contacts.get(name).is_some() {
            return;
        }
        self.contacts.of(name);
        self.guard.passing.push_back(name.folded());
        let most = usize::try_from(self.local.options.limits.strangers_max).unwrap_or(usize::MAX);
        while self.guard.passing.len() > most
            && let Some(oldest) = self.guard.passing.pop_front()
        {
            if self.contacts.get(&oldest).is_some_and(|contact| !contact.is_kept) {
                self.part_with(&oldest);
            }
        }
    }

    pub(super) fn part_with(&mut self, name: &PeerName) {
        if self.contacts.remove(name).is_some_and(|contact| contact.is_pin_new) {
            self.local.pins.remove(&name.folded());
        }
        self.conversations.forget(&mut self.local, name);
    }

    /// Reports that an opening exceeds a limit, at most once per interval.
    fn put_off(&mut self, from: &PeerName, excess: Excess) {
        let now = self.local.now.instant;
        self.guard.count(excess);
        if !self.guard.said.is_due(now, SAY_EVERY) {
            return;
        }
        let total = self.guard.over.values().sum();
        let count = total - std::mem::replace(&mut self.guard.reported, total);
        let (option, limit) = (excess.option(), excess.limit(&self.local.options.limits));
        let why = match excess {
            Excess::OfSender => format!("a peer may open {limit} a minute ({option})"),
            Excess::OfStrangers => {
                format!("peers that you have never written to may open {limit} a minute together ({option})")
            }
            Excess::Unanswered => format!(
                "{limit} peers that you have never written to have sent messages ({option}); the oldest makes room in a \
                 while if its messages were shown; `forget NAME` makes room at once"
            ),
        };
        self.local.emit(&Event::error(format!(
            "{count} new conversation(s) were put off, most recently one of {from}: {why}; `block NAME` ignores a peer"
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> PeerName {
        format!("peer{number}").parse().expect("a good name")
    }

    /// How many of these openings are processed, if the senders take turns.
    fn admitted(
        guard: &mut Guard,
        contacts: &mut Contacts,
        senders: usize,
        openings: usize,
        now: Instant,
    ) -> usize {
        let limits = Limits::default();
        let senders = (0..openings).map(|at| name(at % senders));
        senders.filter(|from| guard.admits(from, contacts, &limits, now).is_ok()).count()
    }

    #[test]
    fn strangers_share_one_budget_and_known_peers_have_their_own() {
        let (mut guard, mut contacts, now) = (Guard::default(), Contacts::default(), Instant::now());
        contacts.of(&name(7_000)).take_number();
        assert_eq!(admitted(&mut guard, &mut contacts, 50, 10_000, now), 60, "other names do not help");
        let mut known = || guard.admits(&name(7_000), &mut contacts, &Limits::default(), now);
        let count = (0..5_000).filter(|_| known().is_ok()).count();
        assert_eq!(count, 2_000, "a peer that this one has written to is not held up by strangers");
        assert_eq!(known(), Err(Excess::OfSender));
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&mut guard, &mut contacts, 50, 10_000, later), 40);
    }

    #[test]
    fn refused_openings_are_remembered_up_to_a_limit() {
        let mut guard = Guard::default();
        for number in 0..=REFUSED_MAX {
            guard.refuse(Digest::of(&number.to_le_bytes()));
        }
        assert_eq!((guard.refused.len(), guard.refused_order.len()), (REFUSED_MAX, REFUSED_MAX));
        assert!(!guard.refused.contains(&Digest::of(&0_usize.to_le_bytes())), "the oldest is forgotten");
        assert!(guard.refused.contains(&Digest::of(&REFUSED_MAX.to_le_bytes())));
    }
}
