//! What surrounds the real session on the server: a mailbox with little room.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use actors::commands::session::{EndReason, Port, SessionCommand};
use actors::runtime::Pending;
use actors::session::Session;

/// Room in a session's mailbox: little, so that it is often full.
const MAILBOX_COMMANDS: usize = 4;

/// A session's mailbox.
#[derive(Default)]
pub(super) struct Mailbox {
    commands: VecDeque<SessionCommand>,
    /// The Router has found it full and wants to know when there is room.
    was_full: bool,
    closed: Option<EndReason>,
}

/// The Router's end of it.
#[derive(Clone, Default)]
pub(super) struct MailboxPort(Rc<RefCell<Mailbox>>);

impl Port for MailboxPort {
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand> {
        let mut mailbox = self.0.borrow_mut();
        if mailbox.commands.len() >= MAILBOX_COMMANDS {
            mailbox.was_full = true;
            return Err(command);
        }
        mailbox.commands.push_back(command);
        Ok(())
    }

    fn close(self, reason: EndReason) {
        self.0.borrow_mut().closed = Some(reason);
    }
}

impl MailboxPort {
    pub(super) fn next(&self) -> Option<SessionCommand> {
        self.0.borrow_mut().commands.pop_front()
    }

    /// Whether the Router has to be told that there is room again.
    pub(super) fn take_was_full(&self) -> bool {
        let mut mailbox = self.0.borrow_mut();
        mailbox.commands.is_empty() && std::mem::take(&mut mailbox.was_full)
    }

    pub(super) fn closed(&self) -> Option<EndReason> {
        self.0.borrow().closed
    }
}

/// A connection on the server: the real session, its mailbox, and the card that is on its way to the disk.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) mailbox: MailboxPort,
    pub(super) written: Option<Pending<()>>,
}
