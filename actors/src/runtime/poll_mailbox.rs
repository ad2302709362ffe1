//! A mailbox for an actor that also waits for a socket: commands come through a channel, and an eventfd ends its
//! `poll(2)`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, unbounded};

use super::bell::Bell;
use crate::linux;

#[derive(Debug)]
struct Shared<R> {
    event: OwnedFd,
    bell: Bell,
    closed: OnceLock<R>,
}

/// The sending end. Closing it gives a reason. All threads that have it may send.
#[derive(Debug)]
pub struct PollAddress<C, R> {
    commands: Sender<C>,
    capacity: usize,
    shared: Arc<Shared<R>>,
}

/// The receiving end.
#[derive(Debug)]
pub struct PollMailbox<C, R> {
    commands: Receiver<C>,
    shared: Arc<Shared<R>>,
}

/// Wakes the owner of a mailbox for something other than a command.
#[derive(Debug)]
pub(crate) struct PollWaker<R>(Arc<Shared<R>>);

impl<R> PollWaker<R> {
    pub(crate) fn wake(&self) {
        linux::raise(&self.0.event);
    }
}

/// Makes a mailbox with room for `capacity` commands. It has memory only for those that are in it, because there is one for each
/// connected peer, and most are empty. Threads that send at the same moment may exceed the capacity by one command each.
///
/// # Errors
/// When the process is out of descriptors.
pub fn poll_mailbox<C, R>(capacity: usize) -> io::Result<(PollAddress<C, R>, PollMailbox<C, R>)> {
    let shared = Arc::new(Shared { event: linux::event()?, bell: Bell::default(), closed: OnceLock::new() });
    let (sender, commands) = unbounded();
    let address = PollAddress { commands: sender, capacity, shared: Arc::clone(&shared) };
    Ok((address, PollMailbox { commands, shared }))
}

impl<C, R> PollAddress<C, R> {
    /// Adds a command if there is room, and wakes the owner if it waits. If there is no room,
    /// [`PollMailbox::take_refused`] tells the owner.
    ///
    /// # Errors
    /// The command.
    pub fn offer(&self, command: C) -> Result<(), C> {
        let added = if self.commands.len() < self.capacity {
            self.commands.try_send(command).map_err(TrySendError::into_inner)
        } else {
            Err(command)
        };
        if added.is_err() {
            self.shared.bell.note_refused();
            linux::raise(&self.shared.event);
        } else if self.shared.bell.must_wake() {
            linux::raise(&self.shared.event);
        }
        added
    }

    /// Wakes the owner for something other than a command.
    pub fn wake(&self) {
        linux::raise(&self.shared.event);
    }

    /// Tells the owner that it must end, and why; only the first reason counts. [`PollMailbox::into_rest`] ends when this is
    /// dropped as well.
    pub fn close(&self, reason: R) {
        let _ = self.shared.closed.set(reason);
        linux::raise(&self.shared.event);
    }
}

impl<C, R: Copy> PollMailbox<C, R> {
    /// The next command, without waiting.
    pub fn next(&self) -> Option<C> {
        self.commands.try_recv().ok()
    }

    /// Whether there is no command.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(crate) fn waker(&self) -> PollWaker<R> {
        PollWaker(Arc::clone(&self.shared))
    }

    /// Waits for the next command until `deadline`.
    pub fn next_by(&self, deadline: Instant) -> Option<C> {
        self.commands.recv_deadline(deadline).ok()
    }

    /// Why the sender has closed the mailbox, if it has.
    pub fn closed(&self) -> Option<R> {
        self.shared.closed.get().copied()
    }

    /// Whether a command was refused since the last call.
    pub fn take_refused(&self) -> bool {
        self.shared.bell.take_refused()
    }

    /// Announces that the owner is about to wait for [`PollMailbox::event`]. False if it must not wait, because a command
    /// has come or was refused.
    pub fn park(&self) -> bool {
        self.shared.bell.park(|| self.commands.is_empty())
    }

    /// Announces that the owner has stopped waiting.
    pub fn unpark(&self) {
        self.shared.bell.unpark();
    }

    /// Readable when the owner was woken, until [`PollMailbox::clear_event`].
    pub fn event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Makes the event unreadable.
    pub fn clear_event(&self) {
        linux::lower(&self.shared.event);
    }

    /// The remaining commands. Waits for more until the sending end is dropped.
    pub fn into_rest(self) -> impl Iterator<Item = C> {
        self.commands.into_iter()
    }
}
