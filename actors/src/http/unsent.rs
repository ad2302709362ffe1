//! Responses that wait for their client to read, or for the disk.

use std::time::Instant;

use super::connection::Next;
use super::outbox::Outbox;

/// A client that reads slower than this is disconnected.
const READER_BYTES_PER_SECOND_MIN: u128 = 1024;

/// Responses of a connection that are not written yet.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) outbox: Outbox,
    /// What to do when they are written.
    pub(crate) next: Next,
}

impl Unsent {
    pub(crate) fn new(mut outbox: Outbox, next: Next) -> Self {
        outbox.shrink();
        Self { outbox, next }
    }
}

/// How much a client had not received at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) since: Instant,
    /// In bytes, in the outbox and in the socket.
    pub(super) left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Enough,
    /// It may have read enough, but its system has not reported it.
    Unknown,
    TooSlow,
}

impl Progress {
    /// The pace between the two. The client may have read up to `unreported` bytes that its system has not reported.
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
