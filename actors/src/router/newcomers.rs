//! How many names are joined under for the first time from one address in an hour: a key makes as many names as it likes, and
//! a name stays for good.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::commands::network::Network;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// From so many addresses on, those that have their whole share again are forgotten now and then.
const NETWORKS_MIN: usize = 1024;

/// What each address has used of its share.
#[derive(Debug)]
pub(super) struct Newcomers {
    /// What one name costs: the time until the share grows by one.
    cost: Duration,
    /// When an address has its whole share again.
    whole_at: HashMap<Network, Instant>,
    forget_at: usize,
}

impl Newcomers {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { cost: HOUR / per_hour.max(1), whole_at: HashMap::new(), forget_at: NETWORKS_MIN }
    }

    /// Counts a new name. False if the address has used up its share.
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
        assert!((0..4).all(|_| newcomers.admit(later, network(1))), "what is not used is not saved up");
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
