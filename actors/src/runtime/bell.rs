//! Decides when the owner of a mailbox that waits in `poll(2)` has to be woken.
//!
//! A wake is a system call, so senders make one only for an owner that waits. Both sides write one thing and then read the
//! other's: the sender puts a command and reads `parked`, the owner sets `parked` and looks for commands. The two fences
//! order each write before the read that follows it, so at least one of them sees the other, and no command is left behind
//! while its owner sleeps. `tests/bell.rs` checks this file with loom, over all interleavings.

use super::atomic::{AtomicBool, Ordering, fence};

/// What a sender and the owner tell each other beside the commands.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// The owner is about to wait, or waits.
    parked: AtomicBool,
    /// A command was refused for want of room since the owner last asked.
    refused: AtomicBool,
}

impl Bell {
    /// Called after a command was put into the mailbox: whether its owner has to be woken.
    pub(super) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed)
    }

    /// Called after a command was refused; the owner has to be woken.
    pub(super) fn note_refused(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// Announces that the owner is about to wait. False if it must not, because a command is there (`is_empty` says no) or
    /// was refused.
    pub(super) fn park(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_empty() && !self.refused.load(Ordering::SeqCst) {
            return true;
        }
        self.unpark();
        false
    }

    /// The owner waits no more.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether a command was refused since this was last asked.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) && self.refused.swap(false, Ordering::SeqCst)
    }
}
