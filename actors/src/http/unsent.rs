//! Answers that wait for their client to read, or for the disk.

use std::time::Instant;

use super::connection::Next;
use super::outbox::Outbox;

/// A client that reads less than this a second is not reading.
const READER_BYTES_PER_SECOND_MIN: u128 = 1024;

/// What has been answered on a connection and not been written. It comes before all else there.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) outbox: Outbox,
    /// What is to be done once it is written.
    pub(crate) next: Next,
}

impl Unsent {
    pub(crate) fn new(mut outbox: Outbox, next: Next) -> Self {
        outbox.shrink();
        Self { outbox, next }
    }
}

/// How much a client had still to take, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) since: Instant,
    /// In bytes, here and in the system.
    pub(super) left: u64,
}

/// Whether a client reads fast enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Enough,
    /// It may have read enough without its system having said so.
    Unknown,
    TooSlow,
}

impl Progress {
    /// How fast it has read until `later`. Its system may hold back the news of `unreported` bytes.
    pub(super) fn pace(&self, later: &Self, unreported: u64) -> Pace {
        let expected = (later.since - self.since).as_millis() * READER_BYTES_PER_SECOND_MIN;
        let taken = self.left.saturating_sub(later.left);
        if u128::from(taken) * 1000 >= expected {
            Pace::Enough
        } else if u128::from(taken + unreported) * 1000 >= expected {
            Pace::Unknown
        } else {
            Pace::TooSlow
        }
    }
}
