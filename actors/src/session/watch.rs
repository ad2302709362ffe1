//! Whether a peer reads and acknowledges what it is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::Outgoing;
use super::untaken::Untaken;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::config::PeerLimits;

/// A peer has to read so many bytes a second, measured over the time that it may read nothing.
const READING_RATE_MIN: u64 = 1 << 10;
/// A peer has more time to acknowledge a large envelope: so many bytes a second.
const TAKING_RATE_MIN: u32 = 4 << 10;

/// What a session expects of its peer.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long it may read too little of what was sent to it.
    pub read_timeout: Duration,
    /// How long it may leave the oldest envelope that was sent to it unacknowledged.
    pub taken_timeout: Duration,
    /// Most bytes a second of its mail that are stored.
    pub mail_rate: u64,
    /// Where it is counted that a limit is reached.
    pub counts: Arc<PeerCounts>,
}

impl Terms {
    /// What the limits say.
    pub fn of(limits: &PeerLimits, counts: &Arc<PeerCounts>) -> Self {
        let PeerLimits { read_timeout, taken_timeout, mail_rate, .. } = *limits;
        Self { read_timeout, taken_timeout, mail_rate, counts: Arc::clone(counts) }
    }
}

/// What is known of the peer.
#[derive(Debug)]
pub(super) struct Watch {
    read_timeout: Duration,
    taken_timeout: Duration,
    /// While something waits to be written: since when the peer has read too little, and how much was written until then.
    reading: Option<(Instant, u64)>,
    /// While there is an envelope that was not taken: since when none was, how many were taken until then, and how much longer
    /// it may take because of its size.
    taking: Option<(Instant, u64, Duration)>,
}

impl Watch {
    pub(super) fn new(terms: &Terms) -> Self {
        let Terms { read_timeout, taken_timeout, .. } = *terms;
        Self { read_timeout, taken_timeout, reading: None, taking: None }
    }

    /// Takes note of what the peer has read and acknowledged until now.
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

    /// When the peer is to be disconnected if nothing changes, and for which limit.
    pub(super) fn due(&self) -> Option<(Instant, Limit)> {
        let reading = self.reading.map(|(since, _)| (since + self.read_timeout, Limit::ReadTimeout));
        let taking = self
            .taking
            .map(|(since, _, transmission)| (since + self.taken_timeout + transmission, Limit::TakenTimeout));
        reading.into_iter().chain(taking).min_by_key(|(due, _)| *due)
    }
}
