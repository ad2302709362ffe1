//! One memory budget for all sessions of peers: for envelopes that were sent and not acknowledged, and for data waiting
//! to be sent.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::network::Network;

/// The number of counters for networks. Two networks may share one.
const NETWORK_COUNTS: usize = 1 << 12;
/// The sessions of one network together may use this fraction of the budget.
const NETWORK_SHARE: u64 = 4;
/// A session that uses no more than this, which its first buffers need, may always take more if the budget and the
/// share of its network have room.
const SESSION_BYTES_MIN: u64 = 64 << 10;
/// A session that uses more may only grow to this fraction of the unused part of half the budget. So the limit of each
/// session falls when many sessions use much, and new sessions still get memory (dynamic thresholds, Choudhury and
/// Hahne 1998).
const LARGE_SHARE: u64 = 2;
const SESSION_SHARE: u64 = 8;

/// The budget. Threads share it without a lock: its counters are atomic.
#[derive(Debug)]
pub(crate) struct Memory {
    max: u64,
    held: AtomicU64,
    by_network: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Memory {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        let by_network = std::iter::repeat_with(AtomicU64::default).take(NETWORK_COUNTS).collect();
        Arc::new(Self { max, held: AtomicU64::new(0), by_network, hasher: RandomState::new() })
    }

    /// How many bytes all sessions use.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Opens an account for a session whose peer is connected from `network`.
    pub(crate) fn account(self: &Arc<Self>, network: Network) -> Held {
        let hash = self.hasher.hash_one(network) % NETWORK_COUNTS as u64;
        let count = usize::try_from(hash).expect("it is less than the number of counts");
        let (bytes, is_refused) = (AtomicU64::new(0), AtomicBool::new(false));
        Held(Arc::new(Account { memory: Arc::clone(self), count, bytes, is_refused }))
    }
}

#[derive(Debug)]
struct Account {
    memory: Arc<Memory>,
    count: usize,
    bytes: AtomicU64,
    is_refused: AtomicBool,
}

impl Account {
    fn has_room(&self, bytes: u64) -> bool {
        let memory = &*self.memory;
        let (all, own) = (memory.held(), self.bytes.load(Ordering::Relaxed));
        let of_network = memory.by_network[self.count].load(Ordering::Relaxed);
        let share = (memory.max / LARGE_SHARE).saturating_sub(all) / SESSION_SHARE;
        all + bytes <= memory.max
            && of_network + bytes <= memory.max / NETWORK_SHARE
            && (own <= SESSION_BYTES_MIN || own + bytes <= share)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.by_network[self.count].fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory of one session. The session and its mailbox both count in it; it is released when both are gone.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Account>);

impl Held {
    /// Reserves `bytes` if the budget has room. Returns whether it has.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let has_room = self.0.has_room(bytes);
        if has_room {
            self.add(bytes);
        } else {
            self.0.is_refused.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Counts bytes that are in use already, without a check.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.memory.held.fetch_add(bytes, Ordering::Relaxed);
        self.0.memory.by_network[self.0.count].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        self.0.memory.by_network[self.0.count].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether a reservation failed since [`Held::forget_refused`].
    pub(crate) fn is_refused(&self) -> bool {
        self.0.is_refused.load(Ordering::Relaxed)
    }

    /// Resets [`Held::is_refused`].
    pub(crate) fn forget_refused(&self) {
        self.0.is_refused.store(false, Ordering::Relaxed);
    }

    /// Whether the budget or the share of the network is exceeded and this session uses more than its first buffers.
    pub(crate) fn is_over(&self) -> bool {
        let memory = &*self.0.memory;
        let of_network = memory.by_network[self.0.count].load(Ordering::Relaxed);
        let is_used_up = memory.held() > memory.max || of_network > memory.max / NETWORK_SHARE;
        is_used_up && self.0.bytes.load(Ordering::Relaxed) > SESSION_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn network(n: u32) -> Network {
        Network::of(Ipv4Addr::from_bits(n).into())
    }

    /// How much a session gets that reserves as much as it can.
    fn take_all(held: &Held) -> u64 {
        let mut bytes = 0;
        while held.take(4096) {
            bytes += 4096;
        }
        bytes
    }

    #[test]
    fn greedy_sessions_leave_room_for_others_and_give_it_back() {
        let memory = Memory::new(64 * MIB);
        let greedy: Vec<Held> = (0..200).map(|n| memory.account(network(n))).collect();
        let taken: Vec<u64> = greedy.iter().map(take_all).collect();
        assert!(taken[0] > 3 * MIB, "one alone gets much: {}", taken[0]);
        assert!(memory.held() < 64 * MIB);
        let late = memory.account(network(1000));
        assert!(late.take(4096), "something is left");
        assert!(greedy[0].is_refused() && !late.is_refused());
        drop((greedy, late));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn the_sessions_of_one_network_leave_most_to_others() {
        let memory = Memory::new(64 * MIB);
        let greedy: Vec<Held> = (0..1000).map(|_| memory.account(network(1))).collect();
        let taken: u64 = greedy.iter().map(take_all).sum();
        assert!(taken <= 16 * MIB, "{taken}");
        assert!(memory.account(network(2)).take(MIB));
        greedy[0].add(MIB);
        assert!(greedy[0].is_over() && !greedy[999].is_over(), "who holds much has to go");
    }
}
