//! What surrounds the real session on the server: a mailbox with little room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use actors::commands::session::{Deliver, Delivery, EndReason, Port, SessionCommand, SessionId};
use actors::commands::store::{Frames, Ordinal, Origin};
use actors::runtime::Pending;
use actors::session::Session;

/// Room in a session's mailbox: little, so that it is often full.
const MAILBOX_COMMANDS: usize = 4;

/// A session's mailbox.
#[derive(Default)]
struct Mailbox {
    commands: VecDeque<SessionCommand>,
    /// The next place, while the Router has it opened.
    next: Option<Ordinal>,
    /// The Router has found it full and wants to know when there is room.
    was_full: bool,
    closed: Option<EndReason>,
}

impl Mailbox {
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand> {
        if self.commands.len() >= MAILBOX_COMMANDS {
            self.was_full = true;
            return Err(command);
        }
        self.commands.push_back(command);
        Ok(())
    }
}

/// The simulation has one thread; the lock is for the compiler.
#[derive(Default)]
struct Shared(Mutex<Mailbox>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Deliver for Shared {
    fn deliver(&self, frames: Frames, is_kept: bool, origin: Origin) -> Result<(), Frames> {
        let mut mailbox = self.lock();
        let Some(first) = mailbox.next else { return Err(frames) };
        mailbox.next = Some(first + frames.count());
        let delivery = Delivery { first, is_stored: false, is_kept, origin, frames };
        match mailbox.offer(SessionCommand::Deliver(Box::new(delivery))) {
            Err(SessionCommand::Deliver(delivery)) => Err(delivery.frames),
            _ => Ok(()),
        }
    }

    fn is_open(&self) -> bool {
        self.lock().next.is_some()
    }
}

/// The Router's end of it.
#[derive(Clone, Default)]
pub(super) struct MailboxPort(Arc<Shared>);

impl Port for MailboxPort {
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand> {
        self.0.lock().offer(command)
    }

    fn mailbox(&self) -> Arc<dyn Deliver> {
        Arc::<Shared>::clone(&self.0)
    }

    fn open(&mut self, next: Ordinal) {
        self.0.lock().next = Some(next);
    }

    fn shut(&mut self) -> Ordinal {
        self.0.lock().next.take().expect("only an open mailbox is shut")
    }

    fn close(self, reason: EndReason) {
        self.0.lock().closed = Some(reason);
    }
}

impl MailboxPort {
    pub(super) fn next(&self) -> Option<SessionCommand> {
        self.0.lock().commands.pop_front()
    }

    /// Whether the Router has to be told that there is room again.
    pub(super) fn take_was_full(&self) -> bool {
        let mut mailbox = self.0.lock();
        mailbox.commands.is_empty() && std::mem::take(&mut mailbox.was_full)
    }

    pub(super) fn closed(&self) -> Option<EndReason> {
        self.0.lock().closed
    }
}

/// A connection on the server: the real session, its mailbox, and the card that is on its way to the disk.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) mailbox: MailboxPort,
    pub(super) written: Option<Pending<()>>,
    /// The number of the last envelope from each session, of those that were not stored.
    last: BTreeMap<SessionId, u64>,
}

impl Connection {
    pub(super) fn new(session: Session) -> Self {
        Self { session, mailbox: MailboxPort::default(), written: None, last: BTreeMap::new() }
    }

    /// Whether a delivery comes behind all earlier ones of its sender.
    pub(super) fn is_in_order(&mut self, delivery: &Delivery) -> bool {
        let Origin { session, first, .. } = delivery.origin;
        delivery.is_stored || self.last.insert(session, first).is_none_or(|last| last <= first)
    }
}
