//! A right that one owner grants to many users and takes back. While it is granted, users draw consecutive numbers, and what
//! they do with the numbers happens during the grant: [`Lease::revoke`] returns only when no use is under way.
//!
//! `tests/lease.rs` checks all interleavings with loom.

use super::atomic::{AtomicU64, Ordering, yield_now};

/// The state is [`GRANTED`] or 0, plus [`USE`] for each use under way.
const GRANTED: u64 = 1;
const USE: u64 = 2;

/// The lease. Not granted at first.
#[derive(Debug, Default)]
pub struct Lease {
    state: AtomicU64,
    next: AtomicU64,
}

impl Lease {
    /// Grants the lease. The first number drawn is `next`.
    pub fn grant(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
        self.state.fetch_or(GRANTED, Ordering::Release);
    }

    /// Takes the lease back, waits for the uses under way, and returns the number after the last one drawn.
    pub fn revoke(&self) -> u64 {
        let before = self.state.fetch_and(!GRANTED, Ordering::Relaxed);
        debug_assert!(before & GRANTED != 0, "only a lease that is granted is revoked");
        // Synchronises with the end of each use, so the owner sees what users did.
        while self.state.load(Ordering::Acquire) != 0 {
            yield_now();
        }
        self.next.load(Ordering::Relaxed)
    }

    /// Whether it is granted, which may change at any time.
    pub fn is_granted(&self) -> bool {
        self.state.load(Ordering::Relaxed) & GRANTED != 0
    }

    /// Begins a use, which lasts until the result is dropped. `None` if the lease is not granted.
    pub fn enter(&self) -> Option<Use<'_>> {
        let entered = Use(self);
        let before = self.state.fetch_add(USE, Ordering::Acquire);
        (before & GRANTED != 0).then_some(entered)
    }
}

/// A use of a [`Lease`].
#[derive(Debug)]
pub struct Use<'a>(&'a Lease);

impl Use<'_> {
    /// Draws `count` numbers, and returns the first.
    pub fn draw(&self, count: u64) -> u64 {
        self.0.next.fetch_add(count, Ordering::Relaxed)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(USE, Ordering::Release);
    }
}
