use std::sync::Arc;

use super::*;

/// A clock that only sleepers move.
#[derive(Debug, Clone, Default)]
pub(in crate::peer::transfer) struct Sleepers(Arc<AtomicU64>);

impl Sleepers {
    /// A limit with this clock.
    pub(in crate::peer::transfer) fn limit(&self, bytes_per_second: u64) -> RateLimit {
        let rate = NonZeroU64::new(bytes_per_second).expect("it is not zero");
        RateLimit::with_clock(rate, Box::new(self.clone()))
    }
}

impl Clock for Sleepers {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        let until = nanoseconds(self.now() + time);
        self.0.fetch_max(until, Ordering::SeqCst);
    }
}

impl RateLimit {
    /// How many bytes were let through, if the limit was in use from the beginning.
    pub(in crate::peer::transfer) fn passed(&self) -> u64 {
        let nanos = u128::from(self.free_at.load(Ordering::SeqCst));
        u64::try_from(nanos * u128::from(self.bytes_per_second.get()) / 1_000_000_000).expect("it fits")
    }
}

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

#[test]
fn connections_with_one_limit_take_turns_in_small_pieces() {
    const PIECES: usize = 10;
    let clock = Sleepers::default();
    let limit = clock.limit(PIECE_BYTES as u64);
    let content = vec![7; PIECES * PIECE_BYTES];
    let (mut out, mut incoming) = (Vec::new(), vec![0; content.len()]);
    let mut writer = Paced::new(&mut out, Some(&limit));
    let mut reader = Paced::new(&content[..], Some(&limit));
    let (mut written, mut read) = (0, 0);
    for turn in 0..PIECES {
        assert_eq!(clock.now().as_secs(), (2 * turn as u64).saturating_sub(1), "a piece takes a second");
        written += writer.write(&content[written..]).expect("a Vec takes everything");
        read += reader.read(&mut incoming[read..]).expect("a slice can be read");
        assert_eq!((written, read), ((turn + 1) * PIECE_BYTES, (turn + 1) * PIECE_BYTES));
    }
    assert!(out == content && incoming == content);
    let mut free = Paced::new(Vec::new(), None);
    assert_eq!(free.write(&content).expect("a Vec takes everything"), content.len());
}
