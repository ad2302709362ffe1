//! Disconnects a peer that reads or acknowledges too slowly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::Outgoing;
use super::untaken::Untaken;
use crate::commands::feed::FeedHandle;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::config::PeerLimits;

/// The minimum rate at which a peer must read, in bytes per second, averaged over the read timeout.
const READING_RATE_MIN: u64 = 1 << 10;
/// A large envelope extends the time to acknowledge it, by its size at this rate in bytes per second.
const TAKING_RATE_MIN: u32 = 4 << 10;

#[derive(Debug, Clone)]
pub struct Terms {
    /// How long a peer may read slower than the minimum rate.
    pub read_timeout: Duration,
    /// How long a peer may leave the oldest envelope unacknowledged.
    pub taken_timeout: Duration,
    /// The maximum of bytes per second that are stored for the peer.
    pub mail_rate: u64,
    pub counts: Arc<PeerCounts>,
    /// Where the peer's envelopes are shown, if anywhere.
    pub feed: Option<FeedHandle>,
}

impl Terms {
    /// Takes the limits of a session from those of the server.
    pub fn of(limits: &PeerLimits, counts: &Arc<PeerCounts>) -> Self {
        let PeerLimits { read_timeout, taken_timeout, mail_rate, .. } = *limits;
        Self { read_timeout, taken_timeout, mail_rate, counts: Arc::clone(counts), feed: None }
    }
}

#[derive(Debug)]
pub(super) struct Watch {
    read_timeout: Duration,
    taken_timeout: Duration,
    /// While there is unsent output: when the current measurement began, and how many bytes had been written then.
    reading: Option<(Instant, u64)>,
    /// While there is an unacknowledged envelope: the time of the last acknowledgement, how many envelopes were
    /// acknowledged then, and the extra time for the size of the oldest one.
    taking: Option<(Instant, u64, Duration)>,
}

impl Watch {
    pub(super) fn new(terms: &Terms) -> Self {
        let Terms { read_timeout, taken_timeout, .. } = *terms;
        Self { read_timeout, taken_timeout, reading: None, taking: None }
    }

    pub(super) fn look(&mut self, now: Instant, outgoing: &Outgoing, untaken: &Untaken) {
        let written = outgoing.written();
        let enough = READING_RATE_MIN * self.read_timeout.as_secs();
        match self.reading {
            _ if outgoing.bytes() == 0 => self.reading = None,
            Some((_, before)) if written - before < enough => {}
            _ => self.reading = Some((now, written)),
        }
        match (untaken.first_bytes(), self.taking) {
            (None, _) => self.taking = None,
            (Some(_), Some((_, taken, _))) if taken == untaken.taken() => {}
            (Some(bytes), _) => {
                let transmission = Duration::from_secs((bytes / TAKING_RATE_MIN).into());
                self.taking = Some((now, untaken.taken(), transmission));
            }
        }
    }

    /// When to disconnect the peer if it makes no progress, and for which limit.
    pub(super) fn due(&self) -> Option<(Instant, Limit)> {
        let reading = self.reading.map(|(since, _)| (since + self.read_timeout, Limit::ReadTimeout));
        let taking = self
            .taking
            .map(|(since, _, transmission)| (since + self.taken_timeout + transmission, Limit::TakenTimeout));
        reading.into_iter().chain(taking).min_by_key(|(due, _)| *due)
    }
}
