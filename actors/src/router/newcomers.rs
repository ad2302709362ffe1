//! Limits how many new names may join from one address in an hour. One key can claim any number of names, and a name is
//! kept for good, so without a limit one machine could take them all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::commands::network::Network;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// With this many addresses, those whose full share is available again are removed.
const NETWORKS_MIN: usize = 1024;

/// What each address has used of its share: a token bucket for each, kept as the time at which it is full again.
#[derive(Debug)]
pub(super) struct Newcomers {
    /// The time after which one more name is allowed.
    cost: Duration,
    /// When the full share of an address is available again.
    whole_at: HashMap<Network, Instant>,
    forget_at: usize,
}

impl Newcomers {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { cost: HOUR / per_hour.max(1), whole_at: HashMap::new(), forget_at: NETWORKS_MIN }
    }

    /// Counts a new name. Returns false if the address has used up its share.
    pub(super) fn admit(&mut self, now: Instant, network: Network) -> bool {
        if self.whole_at.len() >= self.forget_at {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            self.forget_at = NETWORKS_MIN.max(2 * self.whole_at.len());
        }
        let whole_at = self.whole_at.get(&network).map_or(now, |whole_at| now.max(*whole_at)) + self.cost;
        let is_admitted = whole_at <= now + HOUR;
        if is_admitted {
            self.whole_at.insert(network, whole_at);
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(n: u32) -> Network {
        Network::of(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn an_address_has_so_many_new_names_an_hour() {
        let start = Instant::now();
        let mut newcomers = Newcomers::new(4);
        assert!((0..4).all(|_| newcomers.admit(start, network(1))));
        assert!(!newcomers.admit(start, network(1)));
        assert!(newcomers.admit(start, network(2)), "others have their own share");
        let quarter = start + HOUR / 4;
        assert!(newcomers.admit(quarter, network(1)));
        assert!(!newcomers.admit(quarter, network(1)));
        let later = start + 3 * HOUR;
        assert!((0..4).all(|_| newcomers.admit(later, network(1))), "an unused share does not accumulate");
        assert!(!newcomers.admit(later, network(1)));
    }

    #[test]
    fn addresses_that_have_their_whole_share_are_forgotten() {
        let mut newcomers = Newcomers::new(3600);
        let start = Instant::now();
        for n in 0..10_000 {
            assert!(newcomers.admit(start + Duration::from_millis(n.into()), network(n)));
        }
        assert!(newcomers.whole_at.len() < 4_000, "{}", newcomers.whole_at.len());
    }
}
