//! A mailbox for an actor that also waits for a socket: commands come over a channel, and an eventfd ends its `poll(2)`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::bell::Bell;
use super::{Address, Mailbox, Unsent, mailbox};
use crate::linux;

#[derive(Debug)]
struct Shared<R> {
    event: OwnedFd,
    bell: Bell,
    closed: OnceLock<R>,
}

/// The sending end. There is one; closing it says why.
#[derive(Debug)]
pub struct PollAddress<C, R> {
    address: Address<C>,
    shared: Arc<Shared<R>>,
}

/// The receiving end.
#[derive(Debug)]
pub struct PollMailbox<C, R> {
    mailbox: Mailbox<C>,
    shared: Arc<Shared<R>>,
}

/// Makes a mailbox with room for `capacity` commands.
///
/// # Errors
/// When the system gives no eventfd.
pub fn poll_mailbox<C, R>(capacity: usize) -> io::Result<(PollAddress<C, R>, PollMailbox<C, R>)> {
    let shared = Arc::new(Shared { event: linux::event()?, bell: Bell::default(), closed: OnceLock::new() });
    let (address, mailbox) = mailbox(capacity);
    Ok((PollAddress { address, shared: Arc::clone(&shared) }, PollMailbox { mailbox, shared }))
}

impl<C, R> PollAddress<C, R> {
    /// Puts a command into the mailbox if there is room, and wakes the owner if it waits. If there is no room, the owner
    /// learns that from [`PollMailbox::take_refused`].
    ///
    /// # Errors
    /// The command.
    pub fn offer(&mut self, command: C) -> Result<(), C> {
        match self.address.offer(command) {
            Ok(()) => {
                if self.shared.bell.must_wake() {
                    linux::raise(&self.shared.event);
                }
                Ok(())
            }
            Err(Unsent::Full(command) | Unsent::Closed(command)) => {
                self.shared.bell.note_refused();
                linux::raise(&self.shared.event);
                Err(command)
            }
        }
    }

    /// Lets the owner see that nothing more will come, and why.
    pub fn close(self, reason: R) {
        // It is closed once, as closing consumes it.
        let _ = self.shared.closed.set(reason);
        drop(self.address);
        linux::raise(&self.shared.event);
    }
}

impl<C, R: Copy> PollMailbox<C, R> {
    /// The next command, without waiting.
    pub fn next(&self) -> Option<C> {
        self.mailbox.try_next()
    }

    /// The next command, if there is one by `deadline`.
    pub fn next_by(&self, deadline: Instant) -> Option<C> {
        self.mailbox.next_by(deadline)
    }

    /// Why the sender has closed the mailbox, if it has.
    pub fn closed(&self) -> Option<R> {
        self.shared.closed.get().copied()
    }

    /// Whether a command was refused since this was last asked.
    pub fn take_refused(&self) -> bool {
        self.shared.bell.take_refused()
    }

    /// Announces that the owner is about to wait on [`PollMailbox::event`]. False if a command has come in between, or was
    /// refused: then it must not wait.
    pub fn park(&self) -> bool {
        self.shared.bell.park(|| self.mailbox.is_empty())
    }

    /// The owner waits no more.
    pub fn unpark(&self) {
        self.shared.bell.unpark();
    }

    /// Readable when the owner was woken, until [`PollMailbox::clear_event`].
    pub fn event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Makes the event unreadable again.
    pub fn clear_event(&self) {
        linux::lower(&self.shared.event);
    }

    /// All commands that are still in the mailbox; ends when the sender has closed it.
    pub fn into_rest(self) -> impl Iterator<Item = C> {
        std::iter::from_fn(move || self.mailbox.next())
    }
}
