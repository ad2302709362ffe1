//! The rate of all file transfers of one member through the server: a token bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of the bucket, as the time that the rate needs for it.
const BURST: Duration = Duration::from_millis(100);

/// So many parts pass in a second. Whoever waits for the next one is silent meanwhile, and the other end of a transfer gives up after
/// half a minute without a byte, in which also the parts of other transfers may pass.
const PARTS_PER_SECOND: u64 = 4;

/// A rate that several threads share without a lock.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    start: Instant,
    /// When the bucket is full again, in nanoseconds since `start`.
    paid_at: AtomicU64,
}

impl Pace {
    /// Creates a full bucket for a rate in bytes per second.
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), start: now, paid_at: AtomicU64::new(0) }
    }

    /// How many bytes may be sent at once.
    pub fn part_bytes(&self) -> usize {
        usize::try_from(self.bytes_per_second.div_ceil(PARTS_PER_SECOND)).unwrap_or(usize::MAX)
    }

    /// Counts `bytes` that were sent now. Returns how long to wait before sending more.
    pub fn count(&self, now: Instant, bytes: u64) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.start));
        let pay = |paid_at: u64| Some(paid_at.max(now).saturating_add(cost));
        let before = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).unwrap_or(now);
        let paid_at = before.max(now).saturating_add(cost);
        Duration::from_nanos(paid_at - now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_passes_in_a_quarter_of_a_second() {
        for (rate, part) in [(0, 1), (1, 1), (35 << 10, 8960), (64 << 20, 16 << 20)] {
            let pace = Pace::new(rate, Instant::now());
            assert_eq!(pace.part_bytes(), part);
        }
        let pace = Pace::new(1 << 10, Instant::now());
        let silence: Duration = (0..2).map(|_| pace.count(pace.start, pace.part_bytes() as u64)).sum();
        assert!(silence < Duration::from_secs(1), "{silence:?}");
    }

    #[test]
    fn all_who_share_a_pace_go_no_faster_together() {
        let start = Instant::now();
        let pace = Pace::new(1000, start);
        let at = start + Duration::from_secs(7);
        assert_eq!(pace.count(at, 100), Duration::ZERO, "a burst is free");
        assert_eq!(pace.count(at, 500), Duration::from_millis(500));
        assert_eq!(pace.count(at, 500), Duration::from_secs(1));
        assert_eq!(
            pace.count(at + Duration::from_secs(9), 100),
            Duration::ZERO,
            "what is not used is not saved up"
        );
        assert_eq!(pace.count(at + Duration::from_secs(9), 100), Duration::from_millis(100));
    }
}
