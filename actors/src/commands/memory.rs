//! One budget of memory for what all sessions of peers hold: what was sent and not yet taken, and what waits to be sent.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::network::Network;

/// How many counts there are for networks. Two networks may share one.
const NETWORK_COUNTS: usize = 1 << 12;
/// The part of the budget that the sessions of one network may hold.
const NETWORK_SHARE: u64 = 4;
/// What a session may hold if the whole budget allows it: its first buffers, or one delivery besides less than that.
const SESSION_BYTES_MIN: u64 = 64 << 10;
/// Beyond that, all sessions share half of the budget, and one session may hold this part of what is left of that half. So
/// each may hold less the more there are (dynamic thresholds, Choudhury and Hahne 1998), and late sessions are served, too.
const LARGE_SHARE: u64 = 2;
const SESSION_SHARE: u64 = 8;

/// The budget. Threads share it without a lock: holding something is one step up, letting go of it one step down.
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

    /// How many bytes all sessions hold.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The account of a session from `network`.
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

/// What one session holds. The session and its mailbox count in it; it is given back when both are gone.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Account>);

impl Held {
    /// Takes so many bytes if they fit into the budget.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let has_room = self.0.has_room(bytes);
        if has_room {
            self.add(bytes);
        } else {
            self.0.is_refused.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Counts bytes that are held already.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.memory.held.fetch_add(bytes, Ordering::Relaxed);
        self.0.memory.by_network[self.0.count].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts them no more.
    pub(crate) fn sub(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        self.0.memory.by_network[self.0.count].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether something did not fit since this was last taken back.
    pub(crate) fn is_refused(&self) -> bool {
        self.0.is_refused.load(Ordering::Relaxed)
    }

    /// Forgets that.
    pub(crate) fn forget_refused(&self) {
        self.0.is_refused.store(false, Ordering::Relaxed);
    }

    /// Whether the budget is used up, and this session holds more than its first buffers.
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

    /// How much a session gets that takes all that it can.
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
