//! A model of a peer's session on the server, between its connection and the Router.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use actors::commands::router::Member;
use actors::commands::session::{Delivery, EndReason, Port, SessionCommand, SessionId};
use actors::runtime::Pending;
use wire::PeerName;

use super::network::LinkId;

/// Room in a session's mailbox: little, so that it is often full.
const MAILBOX_COMMANDS: usize = 4;
/// Beyond this many envelopes that the peer has not taken, nothing more is taken out of the mailbox.
const UNTAKEN_MAX: usize = 12;

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

/// How far a peer has got.
pub(super) enum Stage {
    /// It has been sent the nonce.
    Greeted {
        nonce: [u8; 32],
    },
    /// The Router knows it; its card is not on disk yet.
    Joining {
        member: Member,
        name: PeerName,
        written: Pending<()>,
    },
    Joined {
        member: Member,
    },
}

/// A session.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) stage: Stage,
    /// Bytes from the peer that are no whole frame yet.
    pub(super) buffer: Vec<u8>,
    pub(super) mailbox: MailboxPort,
    /// What was delivered and not taken, each envelope on its own.
    pub(super) untaken: VecDeque<Delivery>,
    /// Envelopes that the peer has taken, and has sent.
    pub(super) taken: u64,
    pub(super) sent: u64,
    /// Frames that the connection has no room for.
    pub(super) outgoing: VecDeque<Vec<u8>>,
}

impl Session {
    pub(super) fn new(link: LinkId, nonce: [u8; 32]) -> Self {
        Self {
            id: link,
            stage: Stage::Greeted { nonce },
            buffer: Vec::new(),
            mailbox: MailboxPort::default(),
            untaken: VecDeque::new(),
            taken: 0,
            sent: 0,
            outgoing: VecDeque::new(),
        }
    }

    pub(super) fn member(&self) -> Option<Member> {
        match self.stage {
            Stage::Greeted { .. } => None,
            Stage::Joining { member, .. } | Stage::Joined { member } => Some(member),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.untaken.len() < UNTAKEN_MAX && self.outgoing.is_empty()
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        for (at, frame) in (0..).zip(delivery.frames.iter()) {
            self.outgoing.push_back(frame.to_vec());
            let mut one = delivery.clone();
            one.first += at;
            one.origin.first += at;
            one.frames.lengths = vec![delivery.frames.lengths[usize::try_from(at).expect("few")]];
            one.frames.bytes = frame;
            self.untaken.push_back(one);
        }
    }

    /// The peer has taken all envelopes up to a count. Returns the first stored place that stays, and how many stored
    /// envelopes were taken, and their bytes.
    pub(super) fn take(&mut self, count: u64) -> Option<(u64, u64, u64)> {
        let mut stored: Option<(u64, u64, u64)> = None;
        while self.taken < count {
            let delivery = self.untaken.pop_front().expect("a peer takes only what was delivered");
            self.taken += 1;
            if delivery.is_stored {
                let (_, envelopes, bytes) = stored.unwrap_or_default();
                let size = delivery.frames.bytes.len() as u64;
                stored = Some((delivery.first + 1, envelopes + 1, bytes + size));
            }
        }
        stored
    }

    /// Ends it: what its peer has not taken.
    pub(super) fn into_rest(self) -> Vec<Delivery> {
        let mut rest: Vec<Delivery> = self.untaken.into();
        while let Some(command) = self.mailbox.next() {
            if let SessionCommand::Deliver(delivery) = command {
                rest.push(delivery);
            }
        }
        rest
    }
}
