//! Limits the number of connections, in all and from each address.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::network::Network;

/// The number of counts for addresses. Two addresses can share one, which matters only if together they reach the limit.
const ADDRESS_COUNTS: usize = 1 << 16;

/// Counts the open connections. All threads share it; the counts are atomic.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicUsize,
    open_max: usize,
    /// How many connections use a second descriptor.
    seconds: AtomicUsize,
    descriptors_max: usize,
    per_address_max: u32,
    by_address: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many connections; --sessions-max allows more")]
    InAll,
    #[error("too many connections from one address; --connections-per-address allows more")]
    FromAddress,
}

/// The right to have one connection open. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    count: Option<usize>,
    has_second: bool,
}

impl Place {
    /// Counts a second descriptor of the connection. False if too few are left.
    #[must_use]
    pub(crate) fn take_second(&mut self) -> bool {
        debug_assert!(!self.has_second);
        self.has_second = true;
        let seconds = self.gate.seconds.fetch_add(1, Ordering::Relaxed);
        self.gate.open() + seconds < self.gate.descriptors_max
    }
}

impl Gate {
    /// `descriptors_max`: how many descriptors all connections may use together.
    pub(crate) fn new(open_max: usize, per_address_max: usize, descriptors_max: usize) -> Self {
        // If one address may have all connections there is nothing to count.
        let counts = if per_address_max < open_max { ADDRESS_COUNTS } else { 0 };
        Self {
            open: AtomicUsize::new(0),
            open_max,
            seconds: AtomicUsize::new(0),
            descriptors_max,
            per_address_max: u32::try_from(per_address_max).unwrap_or(u32::MAX),
            by_address: std::iter::repeat_with(AtomicU32::default).take(counts).collect(),
            hasher: RandomState::new(),
        }
    }

    /// A gate with one limit only.
    pub(crate) fn unshared(open_max: usize) -> Self {
        Self::new(open_max, open_max, open_max)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection from `address`. `None` is a Unix socket, which only has the limit in all.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        // Made first, so that its drop undoes the counting if there is no room.
        let count = address.and_then(|address| self.count_of(address));
        let place = Place { gate: Arc::clone(self), count, has_second: false };
        let in_all = self.open.fetch_add(1, Ordering::Relaxed);
        let descriptors = in_all + self.seconds.load(Ordering::Relaxed);
        let from_address =
            place.count.map_or(0, |count| self.by_address[count].fetch_add(1, Ordering::Relaxed));
        match (
            in_all < self.open_max && descriptors < self.descriptors_max,
            from_address < self.per_address_max,
        ) {
            (true, true) => Ok(place),
            (false, _) => Err(Full::InAll),
            (true, false) => Err(Full::FromAddress),
        }
    }

    fn count_of(&self, address: IpAddr) -> Option<usize> {
        let hash = self.hasher.hash_one(Network::of(address));
        usize::try_from(hash.checked_rem(self.by_address.len() as u64)?).ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = self.count {
            self.gate.by_address[count].fetch_sub(1, Ordering::Relaxed);
        }
        if self.has_second {
            self.gate.seconds.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("it is an address"))
    }

    #[test]
    fn both_limits_hold_and_leaving_makes_room() {
        let gate = Arc::new(Gate::new(3, 2, 3));
        let first = gate.enter(address("10.0.0.1")).expect("there is room");
        let _second = gate.enter(address("::ffff:10.0.0.1")).expect("there is room");
        assert_eq!(gate.enter(address("10.0.0.1")).err(), Some(Full::FromAddress), "both spellings are one");
        let _other = gate.enter(address("10.0.0.2")).expect("there is room for others");
        assert_eq!(gate.enter(None).err(), Some(Full::InAll));
        assert_eq!(gate.open(), 3, "who was turned away takes up nothing");
        drop(first);
        gate.enter(address("10.0.0.1")).expect("there is room again");
    }

    #[test]
    fn a_peer_takes_two_descriptors() {
        let gate = Arc::new(Gate::new(4, 4, 4));
        let mut peers: Vec<_> = (0..2).map(|_| gate.enter(None).expect("there is room")).collect();
        assert!(peers.iter_mut().all(Place::take_second));
        assert_eq!(gate.enter(None).err(), Some(Full::InAll));
        assert_eq!(gate.open(), 2);
        peers.pop();
        let _browser = gate.enter(None).expect("there is room again");
        let mut other = gate.enter(None).expect("there is room again");
        assert!(!other.take_second());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let gate = Arc::new(Gate::new(9, 1, 9));
        let _one = gate.enter(address("2001:db8::1")).expect("there is room");
        assert_eq!(gate.enter(address("2001:db8::2:3")).err(), Some(Full::FromAddress));
        let _unix = gate.enter(None).expect("there is room");
        let _unix = gate.enter(None).expect("these are not limited");
    }
}
