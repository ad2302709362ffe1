//! The mailbox of a session that has joined: commands from the Router, and an eventfd that ends the session's wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::Outcome;

use crate::linux;
use crate::runtime::{Address, Mailbox, Unsent, mailbox};
use crate::store::{Frames, Ordinal, Origin};

/// Room for commands in a session's mailbox: at 64 KiB a read that is 4 MiB for a recipient who does not read. Beyond
/// it what is for them goes to the store.
const MAILBOX_COMMANDS: usize = 64;

/// Envelopes for the peer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The place of the first in the recipient's mailbox; the others follow.
    pub first: Ordinal,
    /// Whether they are in the store, to be dropped there when they are taken.
    pub is_stored: bool,
    /// Whether they are to be put there if they are not taken.
    pub is_kept: bool,
    /// Whence they came.
    pub origin: Origin,
    /// The envelopes.
    pub frames: Frames,
}

/// Why the Router ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The session said that it leaves.
    Left,
    /// The same identity has joined from another place.
    Superseded,
    /// More waits for it than it takes.
    Busy,
}

/// To a session that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    /// Envelopes for its peer.
    Deliver(Delivery),
    /// What became of envelopes from its peer.
    Routed {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// What became of them.
        outcome: Outcome,
    },
    /// A card that its peer asked for.
    Card(Bytes),
    /// Nobody has joined under a name that its peer asked for.
    Unknown(PeerName),
}

/// Where the Router puts commands for a session; a test puts a model there.
pub trait Port {
    /// Hands a command over if there is room. If there is none, the session says when there is
    /// (`router::Command::Drained`).
    ///
    /// # Errors
    /// The command.
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand>;

    /// Lets the session see that nothing more will come, and why.
    fn close(self, reason: EndReason);
}

#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    /// The session is about to wait, or waits.
    parked: AtomicBool,
    /// A command was refused since the session last looked.
    overflowed: AtomicBool,
    /// Set when the Router has let go of the session.
    ended: OnceLock<EndReason>,
}

impl Bell {
    fn ring(&self) {
        linux::raise(&self.event);
    }
}

/// The Router's end.
#[derive(Debug)]
pub struct SessionPort {
    address: Address<SessionCommand>,
    bell: Arc<Bell>,
}

impl Port for SessionPort {
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand> {
        match self.address.offer(command) {
            Ok(()) => {
                // Pairs with the fence in `park`: either we see that it is parked or it sees the command.
                fence(Ordering::SeqCst);
                if self.bell.parked.load(Ordering::Relaxed) && self.bell.parked.swap(false, Ordering::Relaxed)
                {
                    self.bell.ring();
                }
                Ok(())
            }
            Err(Unsent::Full(command) | Unsent::Closed(command)) => {
                self.bell.overflowed.store(true, Ordering::SeqCst);
                self.bell.ring();
                Err(command)
            }
        }
    }

    fn close(self, reason: EndReason) {
        // A port is closed once, as closing consumes it.
        let _ = self.bell.ended.set(reason);
        drop(self.address);
        self.bell.ring();
    }
}

/// The session's end.
#[derive(Debug)]
pub(super) struct Inbox {
    mailbox: Mailbox<SessionCommand>,
    bell: Arc<Bell>,
}

/// Makes the mailbox of a session.
///
/// # Errors
/// When the system gives no eventfd.
pub(super) fn session_mailbox() -> std::io::Result<(SessionPort, Inbox)> {
    let event = linux::event()?;
    let bell = Arc::new(Bell {
        event,
        parked: AtomicBool::new(false),
        overflowed: AtomicBool::new(false),
        ended: OnceLock::new(),
    });
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    Ok((SessionPort { address, bell: Arc::clone(&bell) }, Inbox { mailbox, bell }))
}

impl Inbox {
    /// The next command, without waiting.
    pub(super) fn next(&self) -> Option<SessionCommand> {
        self.mailbox.receiver().try_recv().ok()
    }

    /// The next command, if there is one by `deadline`.
    pub(super) fn next_by(&self, deadline: Instant) -> Option<SessionCommand> {
        self.mailbox.receiver().recv_deadline(deadline).ok()
    }

    /// Why the Router has let go of this session, if it has.
    pub(super) fn ended(&self) -> Option<EndReason> {
        self.bell.ended.get().copied()
    }

    /// Whether a command was refused since this was last asked.
    pub(super) fn has_overflowed(&self) -> bool {
        self.bell.overflowed.load(Ordering::Relaxed) && self.bell.overflowed.swap(false, Ordering::SeqCst)
    }

    /// Announces that the session is about to wait on [`Inbox::event`]. False if a command has come in between, or was
    /// refused: then there is no wait.
    pub(super) fn park(&self) -> bool {
        self.bell.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.mailbox.receiver().is_empty() && !self.bell.overflowed.load(Ordering::SeqCst) {
            return true;
        }
        self.unpark();
        false
    }

    pub(super) fn unpark(&self) {
        self.bell.parked.store(false, Ordering::Relaxed);
    }

    /// Readable when the bell has rung.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }

    pub(super) fn quiet(&self) {
        linux::lower(&self.bell.event);
    }

    /// All that is still in the mailbox; ends when the Router has let go of it.
    pub(super) fn into_rest(self) -> impl Iterator<Item = SessionCommand> {
        let receiver = self.mailbox.receiver().clone();
        std::iter::from_fn(move || receiver.recv().ok())
    }
}
