//! Answers that wait for their client to read, or for the disk.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connection::Next;
use super::outbox::Outbox;
use crate::linux::untaken_bytes;

/// A client that takes less than this a second, on average over the time that it may take nothing at all, is not reading.
const READER_BYTES_PER_SECOND_MIN: u128 = 1024;

/// What has been answered on a connection and not been written. It comes before all else there.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) outbox: Outbox,
    /// What is to be done once it is written.
    pub(crate) next: Next,
    pub(crate) progress: Progress,
}

/// How far a client has come with reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    since: Instant,
    /// How much was left then, here and in the system.
    left: u64,
}

impl Unsent {
    pub(crate) fn new(mut outbox: Outbox, next: Next, stream: &TcpStream, now: Instant) -> Self {
        outbox.shrink();
        let progress = Progress { since: now, left: left(&outbox, stream) };
        Self { outbox, next, progress }
    }

    /// When it is looked whether the client reads.
    pub(super) fn look_at(&self, timeout: Duration) -> Instant {
        self.progress.since + timeout
    }

    /// Whether the client has taken enough since the last look.
    pub(super) fn is_being_read(&mut self, stream: &TcpStream, now: Instant) -> bool {
        let before =
            std::mem::replace(&mut self.progress, Progress { since: now, left: left(&self.outbox, stream) });
        let taken = before.left.saturating_sub(self.progress.left);
        u128::from(taken) * 1000 >= (now - before.since).as_millis() * READER_BYTES_PER_SECOND_MIN
    }
}

fn left(outbox: &Outbox, stream: &TcpStream) -> u64 {
    outbox.pending_bytes() + untaken_bytes(stream)
}
