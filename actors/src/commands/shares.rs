//! Rate limits with a share for each key: how many new names may join from one address in an hour, and how many
//! conversations one sender may open in a minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// With this many entries, those whose full share is available again are removed.
const ENTRIES_MIN: usize = 1024;

/// What each key has used of its share. Each entry is a token bucket, stored as the time at which it is full again.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    /// The time in which a share becomes available again. All of it may be used at once.
    span: Duration,
    /// The time in which one use becomes available again.
    cost: Duration,
    /// When the full share is available again.
    whole_at: HashMap<K, Instant>,
    forget_at: usize,
}

impl<K: Eq + Hash> Shares<K> {
    pub(crate) fn new(share: u32, span: Duration) -> Self {
        Self { span, cost: span / share.max(1), whole_at: HashMap::new(), forget_at: ENTRIES_MIN }
    }

    /// Takes `count` uses from a share. If less is left, returns false and takes nothing.
    pub(crate) fn admit(&mut self, now: Instant, who: K, count: u32) -> bool {
        if self.whole_at.len() >= self.forget_at {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            self.forget_at = ENTRIES_MIN.max(2 * self.whole_at.len());
        }
        let whole_at = self.whole_at.get(&who).map_or(now, |whole_at| now.max(*whole_at));
        let whole_at = whole_at + self.cost.saturating_mul(count);
        let is_admitted = whole_at <= now + self.span;
        if is_admitted {
            self.whole_at.insert(who, whole_at);
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn each_has_a_share_in_the_time() {
        let start = Instant::now();
        let mut shares = Shares::new(4, HOUR);
        assert!((0..4).all(|_| shares.admit(start, 1, 1)));
        assert!(!shares.admit(start, 1, 1));
        assert!(shares.admit(start, 2, 1), "others have their own share");
        let quarter = start + HOUR / 4;
        assert!(shares.admit(quarter, 1, 1));
        assert!(!shares.admit(quarter, 1, 1));
        let later = start + 3 * HOUR;
        assert!(!shares.admit(later, 1, 5), "an unused share does not accumulate");
        assert!(shares.admit(later, 1, 4), "what was refused costs nothing");
        assert!(!shares.admit(later, 1, 1));
    }

    #[test]
    fn those_that_have_their_whole_share_are_forgotten() {
        let mut shares = Shares::new(3600, HOUR);
        let start = Instant::now();
        for n in 0..10_000 {
            assert!(shares.admit(start + Duration::from_millis(n), n, 1));
        }
        assert!(shares.whole_at.len() < 4_000, "{}", shares.whole_at.len());
    }
}
