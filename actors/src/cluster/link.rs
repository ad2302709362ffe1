//! The link to another server: numbered batches in one direction, and the outcome of each in the other.
//!
//! Core NATS may lose messages. So batches are numbered, and whatever does not fit together ends the *epoch* of the link:
//! everything that has no outcome yet is handed back to the Router, and a new epoch begins.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use wire::frame;

use super::packet::{BATCH_BYTES_MAX, Body, Handled, Item, PART_BYTES_MAX};
use crate::commands::session::SessionId;

/// The outcome of a batch takes less than a millisecond. After this time the batch or its outcome is lost.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(2);
/// A batch is complete with this many bytes of envelopes.
const BATCH_BYTES: usize = PART_BYTES_MAX;
/// The maximum number of batches without an outcome. While there are as many, envelopes gather into larger batches.
const BATCHES_MAX: usize = 16;

/// How long an outcome waits for a batch that goes the same way. A packet of its own costs three wake-ups, as much as a batch, and most
/// envelopes are answered within this time.
const OUTCOME_WAIT: Duration = Duration::from_millis(5);
/// The maximum number of outcomes that wait. With more, the other server would wait for them.
const OUTCOMES_MAX: usize = BATCHES_MAX / 2;

/// An outcome that does not belong to the oldest batch: another outcome was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap;

#[derive(Debug)]
struct Batch {
    /// The number of its last part.
    number: u64,
    sent_at: Instant,
    /// The presence of each item.
    presences: Vec<SessionId>,
}

/// The direction to the other server.
#[derive(Debug)]
pub(super) struct Outbound {
    epoch: u64,
    next: u64,
    waiting: VecDeque<Item>,
    sent: VecDeque<Batch>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { epoch: 1, next: 0, waiting: VecDeque::new(), sent: VecDeque::new() }
    }
}

impl Outbound {
    pub(super) fn push(&mut self, item: Item) {
        self.waiting.push_back(item);
    }

    /// Takes the next batch and cuts it into parts. None while there is nothing to send, or too much has no outcome yet.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Vec<Vec<u8>>> {
        if self.waiting.is_empty() || self.sent.len() >= BATCHES_MAX {
            return None;
        }
        let mut bytes = 0;
        let mut items = Vec::new();
        while bytes < BATCH_BYTES
            && let Some(item) = self.waiting.pop_front()
        {
            bytes += item.frames.len();
            items.push(item);
        }
        let encoded = frame::body(&items);
        let parts: Vec<Vec<u8>> = encoded.chunks(PART_BYTES_MAX).map(<[u8]>::to_vec).collect();
        self.next += parts.len() as u64;
        let presences = items.iter().map(|item| item.presence).collect();
        self.sent.push_back(Batch { number: self.next - 1, sent_at: now, presences });
        Some(parts)
    }

    /// The header of the part that is `left` parts before the end of the last batch, with outcomes of what went the other way.
    pub(super) fn part<'a>(&self, left: usize, handled: Vec<Handled>, bytes: &'a [u8]) -> Body<'a> {
        let number = self.next - 1 - left as u64;
        Body::Part { epoch: self.epoch, number, is_last: left == 0, handled, bytes }
    }

    /// Takes the outcome of the oldest batch, and returns the presence of each of its items. None for an outcome of an
    /// earlier epoch or batch.
    pub(super) fn done(&mut self, epoch: u64, number: u64) -> Result<Option<Vec<SessionId>>, Gap> {
        if epoch != self.epoch {
            return Ok(None);
        }
        match self.sent.pop_front_if(|batch| batch.number == number) {
            Some(batch) => Ok(Some(batch.presences)),
            None if self.sent.front().is_some_and(|batch| batch.number < number) => Err(Gap),
            // It came twice.
            None => Ok(None),
        }
    }

    /// Whether the oldest outcome is overdue.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.sent.front().is_some_and(|batch| now >= batch.sent_at + OUTCOME_TIMEOUT)
    }

    /// Drops what waits for a presence that ends.
    pub(super) fn forget(&mut self, presence: SessionId) {
        self.waiting.retain(|item| item.presence != presence);
    }

    pub(super) fn end_epoch(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::default() };
    }
}

/// The direction from the other server.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    epoch: u64,
    next: u64,
    /// The parts of a batch that is not complete.
    partial: Vec<u8>,
    /// Batches that wait for the Router's outcome of an earlier one, by the number of their last part.
    queue: VecDeque<(u64, Vec<Item>)>,
    /// The batch that the Router has.
    routed: Option<Routed>,
    /// For each session here, the latest presence at the other server of which an item was refused. All later ones are
    /// refused too, because they would overtake it.
    refused: HashMap<SessionId, SessionId>,
    /// For each presence at the other server, the session here, and how much of the mail that the other server keeps was taken.
    taken: HashMap<SessionId, (SessionId, u64)>,
}

#[derive(Debug)]
struct Routed {
    epoch: u64,
    number: u64,
    /// Where each item that the Router was given stands in the batch.
    places: Vec<u32>,
    /// The session and the presence of each item.
    targets: Vec<(SessionId, SessionId)>,
}

/// A batch for the Router.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) epoch: u64,
    pub(super) number: u64,
    pub(super) items: Vec<Item>,
}

impl Inbound {
    /// Takes a part. Parts that do not follow the last one are dropped; the sender notices that it gets no outcome.
    pub(super) fn part(&mut self, epoch: u64, number: u64, is_last: bool, bytes: &[u8]) {
        if epoch > self.epoch && number == 0 {
            // What the Router has of an earlier epoch is still answered first.
            *self = Self { epoch, routed: self.routed.take(), ..Self::default() };
        }
        if epoch != self.epoch || number != self.next || self.partial.len() + bytes.len() > BATCH_BYTES_MAX {
            return;
        }
        self.next += 1;
        self.partial.extend_from_slice(bytes);
        if is_last {
            let whole = std::mem::take(&mut self.partial);
            match frame::decode(&whole) {
                Ok(items) => self.queue.push_back((number, items)),
                Err(error) => tracing::warn!(target: "cluster", %error, "a batch cannot be read"),
            }
        }
    }

    /// The next batch for the Router. None while it has one, or if there is none.
    pub(super) fn ready(&mut self) -> Option<Ready> {
        if self.routed.is_some() {
            return None;
        }
        let (number, items) = self.queue.pop_front()?;
        let targets = items.iter().map(|item| (item.session, item.presence)).collect();
        let is_refused = |item: &Item| self.refused.get(&item.session).is_some_and(|p| item.presence <= *p);
        let (places, items): (Vec<u32>, Vec<Item>) =
            (0..).zip(items).filter(|(_, item)| !is_refused(item)).unzip();
        self.routed = Some(Routed { epoch: self.epoch, number, places, targets });
        Some(Ready { epoch: self.epoch, number, items })
    }

    /// Takes the Router's outcome: the places of the refused ones among the items that it was given. Returns what to tell the
    /// sender.
    pub(super) fn routed(&mut self, refused: &[u32]) -> Option<Handled> {
        let Routed { epoch, number, places, targets } = self.routed.take()?;
        let relayed = (0..).zip(&places).filter(|(at, _)| !refused.contains(at)).map(|(_, place)| *place);
        let relayed: Vec<u32> = relayed.collect();
        let is_refused = |place: &u32| relayed.binary_search(place).is_err();
        let refused: Vec<u32> = (0..).take(targets.len()).filter(is_refused).collect();
        if epoch == self.epoch {
            for place in &refused {
                let (session, presence) = targets[*place as usize];
                let latest = self.refused.entry(session).or_default();
                *latest = presence.max(*latest);
            }
        }
        Some(Handled { epoch, number, refused })
    }

    /// Counts envelopes that a session has taken and that the other server keeps. Returns how many they are in all.
    pub(super) fn taken(&mut self, session: SessionId, presence: SessionId, count: u64) -> u64 {
        let (_, taken) = self.taken.entry(presence).or_insert((session, 0));
        *taken += count;
        *taken
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.taken.retain(|_, (of, _)| *of != session);
        self.refused.remove(&session);
    }
}

/// Outcomes for the other server that were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    waiting: Vec<Handled>,
    /// When to send them, if no batch takes them along before.
    due: Option<Instant>,
}

impl Outcomes {
    pub(super) fn push(&mut self, now: Instant, handled: Handled) {
        let due = *self.due.get_or_insert(now + OUTCOME_WAIT);
        // What was refused is to be stored soon, and its sender must send no more meanwhile.
        if !handled.refused.is_empty() || self.waiting.len() + 1 >= OUTCOMES_MAX {
            self.due = Some(due.min(now));
        }
        self.waiting.push(handled);
    }

    pub(super) fn take(&mut self) -> Vec<Handled> {
        self.due = None;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}
