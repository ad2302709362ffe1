//! Decides when the owner of a mailbox, which waits in `poll(2)` or is parked, must be woken.
//!
//! A wake-up is a system call, so senders make one only if the owner waits. Each side writes one thing and then reads the
//! other's: the sender adds a command and reads `parked`; the owner sets `parked` and looks for commands. The two fences
//! order each write before the read that follows it, so at least one of the two sees the other, and no command is left
//! behind while the owner sleeps. `tests/bell.rs` checks all interleavings with loom.

use super::atomic::{AtomicBool, Ordering, fence};

/// The state that senders and the owner share beside the commands.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// The owner waits, or is about to.
    parked: AtomicBool,
    /// A command was refused because the mailbox was full, since the last call of [`Bell::take_refused`].
    refused: AtomicBool,
}

impl Bell {
    /// Called after a command was added. Returns whether the owner must be woken.
    pub(super) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // Acquires what the owner did before it parked, such as saying which thread it is.
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Acquire)
    }

    /// Called after a command was refused. The owner must be woken.
    pub(super) fn note_refused(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// Called when the owner is about to wait. False if it must not wait, because there is a command or one was refused.
    pub(super) fn park(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.parked.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if is_empty() && !self.refused.load(Ordering::SeqCst) {
            return true;
        }
        self.unpark();
        false
    }

    /// Called when the owner has stopped waiting.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether a command was refused since the last call.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) && self.refused.swap(false, Ordering::SeqCst)
    }
}
