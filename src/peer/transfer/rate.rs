//! A limit on how many bytes a second all transfers in one direction move together.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The lowest limit in bytes a second: with a lower one, a chunk of 128 KiB would take long enough for the other end to
/// give up.
pub const RATE_MIN: u64 = 64 << 10;

#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: NonZeroU64,
    begun: Instant,
    /// When all bytes that were let through have passed at this rate, in nanoseconds since `begun`.
    free_at: AtomicU64,
}

impl RateLimit {
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, begun: Instant::now(), free_at: AtomicU64::new(0) }
    }

    /// Counts bytes, and waits until those before them have passed. Transfers that move at the same time take turns.
    pub fn pass(&self, bytes: u64) {
        thread::sleep(self.reserve(self.begun.elapsed(), bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_until_those_before_them_have_passed() {
        let limit = RateLimit::new(NonZeroU64::new(1_000).expect("it is not zero"));
        let milliseconds = Duration::from_millis;
        let waits = |now, bytes| limit.reserve(milliseconds(now), bytes);
        assert_eq!(waits(0, 500), Duration::ZERO, "nothing is before them");
        assert_eq!(waits(0, 250), milliseconds(500));
        assert_eq!(waits(100, 250), milliseconds(650), "of another transfer");
        assert_eq!(waits(1_000, 100), Duration::ZERO);
        // A pause of a minute is no reason to let more through at once.
        assert_eq!(waits(60_000, 1_000), Duration::ZERO);
        assert_eq!(waits(60_000, 1), milliseconds(1_000));
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let limit = RateLimit::new(NonZeroU64::new(1).expect("it is not zero"));
        assert_eq!(limit.reserve(Duration::ZERO, u64::MAX), Duration::ZERO);
        assert_eq!(limit.reserve(Duration::ZERO, 1), Duration::from_nanos(u64::MAX));
    }
}
