//! When to send something again, and how much of it.
//!
//! Other peers and the server can make this peer send: they complain, refuse, or do not answer. If it reacted at once
//! each time, they could make it flood the server. If it gave up, messages would stay stuck. So each reaction comes
//! after a pause.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

/// The first pause after failures that follow one another. Each further failure doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause, and so the longest delay of a message after the trouble has ended.
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// A failure this long after the previous one counts as the first again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(15);

/// Varies a duration randomly by up to a quarter, so that many peers that were interrupted together do not return
/// together.
pub(super) fn jittered(time: Duration, rng: &mut StdRng) -> Duration {
    time.mul_f64(rng.random_range(0.75..1.25))
}

/// The time of the last occurrence of something that has a minimum interval.
#[derive(Debug, Default)]
pub(super) struct Spacing(Option<Instant>);

impl Spacing {
    /// Whether it may be done now, because it was never done or at least `every` ago. If so, notes it as done now.
    pub(super) fn is_due(&mut self, now: Instant, every: Duration) -> bool {
        let is_due = self.0.is_none_or(|at| now.saturating_duration_since(at) >= every);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }

    pub(super) fn is_unused(&self) -> bool {
        self.0.is_none()
    }
}

/// The pause after something has failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    failed_at: Option<Instant>,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure. Returns the number of failures in a row.
    ///
    /// Only time resets the count, and success does not. Otherwise another peer could acknowledge one message and
    /// complain about the next, and would never be slowed down.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut StdRng) -> u32 {
        let is_forgiven = self.failed_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGIVEN_AFTER);
        self.failures = if is_forgiven { 1 } else { self.failures.saturating_add(1) };
        self.failed_at = Some(now);
        let doublings = self.failures.min(16) - 1;
        let pause = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_LONGEST);
        self.until = Some(now + jittered(pause, rng));
        self.failures
    }

    /// When the pause ends, if it has not ended by `now`.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

/// How many messages may be sent before one gets through: unlimited until a failure, then one, and twice as many after
/// each success (slow start, RFC 5681, section 3.1).
#[derive(Debug, Default)]
pub(super) struct Credit(Option<Limited>);

#[derive(Debug)]
struct Limited {
    granted: u32,
    left: u32,
}

/// With this many there is no limit any more, because the limit of the connection is as large.
const GRANTED_MAX: u32 = 1024;

impl Credit {
    pub(super) fn has_some(&self) -> bool {
        self.0.as_ref().is_none_or(|limited| limited.left > 0)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Sets the limit to one message if there is none.
    pub(super) fn limit(&mut self) {
        self.0.get_or_insert(Limited { granted: 1, left: 1 });
    }

    /// Notes a message that was sent.
    pub(super) fn spend(&mut self) {
        if let Some(limited) = &mut self.0 {
            limited.left = limited.left.saturating_sub(1);
        }
    }

    /// Notes a failure.
    pub(super) fn cut(&mut self) {
        self.0 = Some(Limited { granted: 1, left: 1 });
    }

    /// Notes a success.
    pub(super) fn grow(&mut self) {
        if let Some(limited) = self.0.take() {
            let granted = limited.granted * 2;
            self.0 = (granted < GRANTED_MAX).then_some(Limited { granted, left: granted });
        }
    }

    /// Allows one more message, because nothing has come back for a while.
    pub(super) fn try_one(&mut self) {
        if let Some(limited) = &mut self.0 {
            limited.left = limited.left.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn pauses_double_up_to_a_longest_and_are_forgotten_after_a_while() {
        let (mut rng, start) = (StdRng::seed_from_u64(1), Instant::now());
        let mut backoff = Backoff::default();
        let mut now = start;
        let mut pauses = Vec::new();
        for time in 1..=8 {
            assert_eq!(backoff.failed(now, &mut rng), time);
            let until = backoff.until(now).expect("it pauses");
            pauses.push(until - now);
            assert_eq!(backoff.until(until), None, "then the pause is over");
            now = until;
        }
        assert!(pauses[0] <= PAUSE_FIRST * 5 / 4, "{pauses:?}");
        assert!(pauses[7] >= PAUSE_LONGEST * 3 / 4 && pauses[7] <= PAUSE_LONGEST * 5 / 4, "{pauses:?}");
        assert_eq!(backoff.failed(now + FORGIVEN_AFTER, &mut rng), 1);
        backoff.end();
        assert_eq!(backoff.until(now), None);
    }

    #[test]
    fn what_is_spaced_is_due_once_in_its_time() {
        let (mut spacing, start, every) = (Spacing::default(), Instant::now(), Duration::from_secs(1));
        assert!(spacing.is_unused());
        assert!(spacing.is_due(start, every), "it was never done");
        assert!(!spacing.is_unused());
        assert!(!spacing.is_due(start + every / 2, every));
        assert!(spacing.is_due(start + every, every));
        assert!(!spacing.is_due(start + every, every), "it counts as done");
    }

    #[test]
    fn after_a_failure_as_many_go_as_have_proved_to_get_through() {
        let mut credit = Credit::default();
        (0..5000).for_each(|_| credit.spend());
        assert!(credit.has_some(), "without a failure there is no limit");
        credit.cut();
        let mut sent = Vec::new();
        for _ in 0..11 {
            let mut count = 0;
            while credit.has_some() && count < 5000 {
                credit.spend();
                count += 1;
            }
            sent.push(count);
            credit.try_one();
            assert!(credit.has_some());
            credit.grow();
        }
        assert_eq!(sent, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 5000]);
    }
}
