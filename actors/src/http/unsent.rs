//! Answers that wait for their client to read, or for the disk.

use std::time::Instant;

use super::connection::Next;
use super::outbox::Outbox;

/// A client that takes less than this a second, on average over the time that it may take nothing at all, is not reading.
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

impl Progress {
    /// Whether it has taken enough until `later`.
    pub(super) fn is_enough(&self, later: &Self) -> bool {
        let taken = self.left.saturating_sub(later.left);
        u128::from(taken) * 1000 >= (later.since - self.since).as_millis() * READER_BYTES_PER_SECOND_MIN
    }
}
