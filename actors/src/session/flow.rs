//! Flow control for what a peer sends: how many of its envelopes may be waiting for their outcome, and how many bytes
//! per second may be stored or refused. Over a limit, the session stops reading, so TCP slows the peer down and others
//! are served meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::protocol::Outcome;

/// With this many envelopes or bytes whose outcome is unknown, the session does not read from the peer. More would only
/// lengthen the queues of the Router and of the answers.
const UNHEARD_MAX: u64 = 8_192;
const UNHEARD_BYTES_MAX: u64 = 1 << 20;
/// The burst that may be stored at once, as the time that the rate needs for it.
const BURST: Duration = Duration::from_secs(4);
/// What a refused envelope costs. It limits a peer that keeps sending refused envelopes to 1,000 per second.
const REFUSED: Duration = Duration::from_millis(1);

/// A run of envelopes whose outcome is unknown.
#[derive(Debug)]
struct Unheard {
    first: u64,
    count: u64,
    bytes: u64,
}

/// The envelopes whose outcome is unknown, and the use of the rate.
#[derive(Debug)]
pub(super) struct Flow {
    /// The maximum of bytes per second that are stored.
    rate: u64,
    unheard: VecDeque<Unheard>,
    envelopes: u64,
    bytes: u64,
    /// Nothing is read while the outcome of an envelope before this number is unknown.
    awaited: u64,
    /// When the rate allows the next byte; `None` if nothing was charged recently.
    paid_at: Option<Instant>,
    is_paused: bool,
}

impl Flow {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            unheard: VecDeque::new(),
            envelopes: 0,
            bytes: 0,
            awaited: 0,
            paid_at: None,
            is_paused: false,
        }
    }

    /// Notes envelopes that are sent to the Router, in the order of their numbers.
    pub(super) fn sent(&mut self, first: u64, count: u64, bytes: u64) {
        self.unheard.push_back(Unheard { first, count, bytes });
        self.envelopes += count;
        self.bytes += bytes;
    }

    /// Notes the outcome of envelopes. A repeated outcome has no effect.
    pub(super) fn heard(&mut self, now: Instant, first: u64, count: u64, outcome: Outcome) {
        let (mut stored, mut refused) = (0_u64, 0_u32);
        // All envelopes of a run have the same outcome.
        let start = self.unheard.partition_point(|run| run.first < first);
        let end = self.unheard.partition_point(|run| run.first < first.saturating_add(count));
        for run in self.unheard.drain(start..end) {
            self.envelopes -= run.count;
            self.bytes -= run.bytes;
            match outcome {
                Outcome::Stored => stored += run.bytes,
                Outcome::Refused(_) => refused += u32::try_from(run.count).unwrap_or(u32::MAX),
                Outcome::Relayed => {}
            }
        }
        let cost = Duration::from_micros(stored.saturating_mul(1_000_000) / self.rate) + REFUSED * refused;
        if !cost.is_zero() {
            self.paid_at = Some(self.paid_at.map_or(now, |paid_at| paid_at.max(now)) + cost);
        }
    }

    /// Updates the state for the time `now`. Returns whether the rate has just been exceeded.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        self.paid_at = self.paid_at.filter(|paid_at| *paid_at > now);
        let was_paused = self.is_paused;
        self.is_paused = self.paid_at.is_some_and(|paid_at| paid_at > now + BURST);
        self.is_paused && !was_paused
    }

    /// Whether the outcomes of all envelopes before this number are known.
    pub(super) fn has_heard(&self, before: u64) -> bool {
        self.unheard.front().is_none_or(|run| run.first >= before)
    }

    /// Stops reading until the outcomes of all envelopes before this number are known.
    pub(super) fn await_outcomes(&mut self, before: u64) {
        self.awaited = self.awaited.max(before);
    }

    pub(super) fn may_read(&self) -> bool {
        self.envelopes < UNHEARD_MAX
            && self.bytes < UNHEARD_BYTES_MAX
            && self.has_heard(self.awaited)
            && !self.is_paused
    }

    /// When the rate allows reading again; `None` if it allows it now.
    pub(super) fn due(&self) -> Option<Instant> {
        self.paid_at.filter(|_| self.is_paused).map(|paid_at| paid_at - BURST)
    }
}

#[cfg(test)]
mod tests {
    use wire::protocol::Refusal;

    use super::*;

    const RATE: u64 = 1000;

    #[test]
    fn a_sender_that_has_used_up_its_rate_is_read_from_later() {
        let start = Instant::now();
        let mut flow = Flow::new(RATE);
        let send = |flow: &mut Flow, first, bytes, outcome| {
            flow.sent(first, 1, bytes);
            flow.heard(start, first, 1, outcome);
            flow.settle(start);
            flow.may_read()
        };
        assert!(send(&mut flow, 0, 900_000, Outcome::Relayed), "the rate is for what is stored");
        assert!(send(&mut flow, 1, 4 * RATE, Outcome::Stored), "a burst is free");
        assert!(!send(&mut flow, 2, RATE, Outcome::Stored));
        assert_eq!(flow.due(), Some(start + Duration::from_secs(1)));
        flow.settle(start + Duration::from_secs(1));
        assert!(flow.may_read());
        assert_eq!(flow.due(), None);
    }

    #[test]
    fn a_sender_of_refused_envelopes_is_slowed_down() {
        let start = Instant::now();
        let mut flow = Flow::new(RATE);
        flow.sent(0, 5_000, 5_000);
        flow.heard(start, 0, 5_000, Outcome::Refused(Refusal::MailboxFull));
        flow.settle(start);
        assert_eq!(flow.due(), Some(start + Duration::from_secs(1)));
    }

    #[test]
    fn with_many_unknown_outcomes_nothing_more_is_read_whatever_their_order() {
        let start = Instant::now();
        let mut flow = Flow::new(RATE);
        for first in 0..4 {
            flow.sent(first, 1, UNHEARD_BYTES_MAX / 4);
        }
        assert!(!flow.may_read());
        flow.heard(start, 2, 2, Outcome::Relayed);
        assert!(flow.may_read());
        // A repeated outcome counts once.
        flow.heard(start, 2, 2, Outcome::Stored);
        flow.settle(start);
        assert!(flow.may_read());
        flow.heard(start, 0, 2, Outcome::Relayed);
        assert_eq!((flow.envelopes, flow.bytes, flow.unheard.len()), (0, 0, 0));
        flow.sent(4, UNHEARD_MAX, 1);
        assert!(!flow.may_read());
    }
}
