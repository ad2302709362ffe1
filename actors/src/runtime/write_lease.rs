//! The exclusive right to write to a socket, which its owner lends to others while it waits.
//!
//! The owner lends it before it waits, and takes it back before it does anything else. Others use it one at a time. Somebody who
//! cannot use it adds a command to the owner's mailbox instead, and then withdraws the lease. So what they write later does not
//! overtake the command: the owner lends it again only when its mailbox is empty, and not if it is withdrawn meanwhile.
//!
//! `tests/write_lease.rs` checks all interleavings with loom.

use super::atomic::{AtomicU8, Ordering, yield_now};

const LENT: u8 = 1;
const IN_USE: u8 = 2;
/// A command was added to the mailbox after the owner has last begun to look for commands.
const WITHDRAWN: u8 = 4;

/// The lease. Not lent at first.
#[derive(Debug, Default)]
pub(crate) struct WriteLease {
    state: AtomicU8,
}

impl WriteLease {
    /// Called by the owner. `is_empty` says whether its mailbox is empty; if not, nothing is lent.
    pub(crate) fn lend(&self, is_empty: impl FnOnce() -> bool) {
        // Synchronises with those who have withdrawn it, so the owner sees their commands.
        self.state.fetch_and(!WITHDRAWN, Ordering::Acquire);
        if is_empty() {
            // Fails if it was withdrawn meanwhile.
            let _ = self.state.compare_exchange(0, LENT, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Called by the owner. Waits for a use under way.
    pub(crate) fn take_back(&self) {
        self.state.fetch_and(!LENT, Ordering::Relaxed);
        // Synchronises with the end of the use, so the owner sees what the user did.
        while self.state.load(Ordering::Acquire) & IN_USE != 0 {
            yield_now();
        }
    }

    /// Prevents further uses until the owner has taken the commands in its mailbox. Called after one was added. Does not wait
    /// for a use under way.
    pub(crate) fn withdraw(&self) {
        self.state.fetch_or(WITHDRAWN, Ordering::Release);
    }

    /// Begins a use, which lasts until the result is dropped. `None` if it is not lent, or in use.
    pub(crate) fn enter(&self) -> Option<Writing<'_>> {
        let entered = self.state.compare_exchange(LENT, LENT | IN_USE, Ordering::Acquire, Ordering::Relaxed);
        entered.ok().map(|_| Writing(self))
    }
}

/// A use of a [`WriteLease`].
#[derive(Debug)]
pub(crate) struct Writing<'a>(&'a WriteLease);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!IN_USE, Ordering::Release);
    }
}
