//! A limit on how many bytes a second all transfers in one direction move together.

use std::fmt;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The lowest limit in bytes a second: with a lower one, a chunk of 128 KiB would take long enough for the other end to
/// give up.
pub const RATE_MIN: u64 = 64 << 10;

/// After how many bytes another transfer has its turn. Each end of a transfer gives up when nothing moves for
/// [`super::IDLE_MAX`], so many transfers can share a low limit only in small pieces.
const PIECE_BYTES: usize = 16 << 10;

/// A clock that begins with the limit.
trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> Duration;
    fn sleep(&self, time: Duration);
}

impl Clock for Instant {
    fn now(&self) -> Duration {
        self.elapsed()
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: NonZeroU64,
    clock: Box<dyn Clock>,
    /// When all bytes that were let through have passed at this rate, in nanoseconds.
    free_at: AtomicU64,
}

impl RateLimit {
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self::with_clock(bytes_per_second, Box::new(Instant::now()))
    }

    fn with_clock(bytes_per_second: NonZeroU64, clock: Box<dyn Clock>) -> Self {
        Self { bytes_per_second, clock, free_at: AtomicU64::new(0) }
    }

    /// Counts bytes, and waits until those before them have passed. Transfers that move at the same time take turns.
    pub fn pass(&self, bytes: u64) {
        self.clock.sleep(self.reserve(self.clock.now(), bytes));
    }

    /// How long the bytes have to wait. A time without transfers is not saved up for a burst.
    fn reserve(&self, now: Duration, bytes: u64) -> Duration {
        let now = nanoseconds(now);
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        let after = |free_at: u64| Some(free_at.max(now).saturating_add(takes));
        let before = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        let before = before.unwrap_or_else(|free_at| free_at);
        Duration::from_nanos(before.saturating_sub(now))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A connection whose bytes in one direction count for a limit.
pub(super) struct Paced<'l, C> {
    connection: C,
    limit: Option<&'l RateLimit>,
}

impl<'l, C> Paced<'l, C> {
    pub(super) fn new(connection: C, limit: Option<&'l RateLimit>) -> Self {
        Self { connection, limit }
    }
}

impl<C: Read> Read for Paced<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(limit) = self.limit else { return self.connection.read(buffer) };
        let size = buffer.len().min(PIECE_BYTES);
        let read = self.connection.read(&mut buffer[..size])?;
        limit.pass(read as u64);
        Ok(read)
    }
}

impl<C: Write> Write for Paced<'_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(limit) = self.limit else { return self.connection.write(bytes) };
        let written = self.connection.write(&bytes[..bytes.len().min(PIECE_BYTES)])?;
        limit.pass(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

#[cfg(test)]
pub(super) mod tests;
