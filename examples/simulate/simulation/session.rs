//! What surrounds the real session on the server: a mailbox with little room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use actors::commands::session::{Delivery, EndReason, Port, SessionCommand, SessionId};
use actors::commands::store::Origin;
use actors::runtime::{Lease, Pending};
use actors::session::Session;

/// Room in a session's mailbox: little, so that it is often full.
const MAILBOX_COMMANDS: usize = 4;

/// A session's mailbox.
#[derive(Debug, Default)]
struct Mailbox {
    commands: VecDeque<SessionCommand>,
    /// Somebody has found it full, and the Router wants to know when there is room.
    was_full: bool,
    closed: Option<EndReason>,
}

/// The port of a session, which is its mailbox at the same time.
#[derive(Debug, Default)]
pub(crate) struct MailboxPort {
    /// The simulation has one thread; the lock is for the compiler.
    mailbox: Mutex<Mailbox>,
    lease: Lease,
}

impl Port for MailboxPort {
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand> {
        let mut mailbox = self.lock();
        if mailbox.commands.len() >= MAILBOX_COMMANDS {
            mailbox.was_full = true;
            return Err(command);
        }
        mailbox.commands.push_back(command);
        Ok(())
    }

    fn close(&self, reason: EndReason) {
        self.lock().closed = Some(reason);
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl MailboxPort {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("nobody panics with it")
    }

    pub(crate) fn next(&self) -> Option<SessionCommand> {
        self.lock().commands.pop_front()
    }

    /// Whether the Router has to be told that there is room again.
    pub(crate) fn take_was_full(&self) -> bool {
        let mut mailbox = self.lock();
        mailbox.commands.is_empty() && std::mem::take(&mut mailbox.was_full)
    }

    pub(crate) fn closed(&self) -> Option<EndReason> {
        self.lock().closed
    }
}

/// A connection on the server: the real session, its mailbox, and the card that is on its way to the disk.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) mailbox: Arc<MailboxPort>,
    pub(super) written: Option<Pending<()>>,
    /// The number of the last envelope from each session, of those that were not stored.
    last: BTreeMap<SessionId, u64>,
}

impl Connection {
    pub(super) fn new(session: Session) -> Self {
        Self { session, mailbox: Arc::default(), written: None, last: BTreeMap::new() }
    }

    /// Whether a delivery comes behind all earlier ones of its sender.
    pub(super) fn is_in_order(&mut self, delivery: &Delivery) -> bool {
        let Origin { session, first, .. } = delivery.origin;
        delivery.is_stored || self.last.insert(session, first).is_none_or(|last| last <= first)
    }
}
