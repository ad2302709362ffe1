//! To the session of a peer that has joined.

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::{Outcome, Refusal};

use super::memory::Held;
use super::store::{Frames, Ordinal, Origin};
use crate::runtime::{PollAddress, PollMailbox};

/// The id of a session. It is not reused while the server runs.
pub type SessionId = u64;

/// Envelopes for the peer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The ordinal of the first one; the others follow.
    pub first: Ordinal,
    /// Whether they are in the store, which drops them when they are acknowledged.
    pub is_stored: bool,
    /// Whether they must be stored if the peer does not acknowledge them.
    pub is_kept: bool,
    /// Where they came from.
    pub origin: Origin,
    /// The envelopes.
    pub frames: Frames,
}

/// A delivery counts this much more than its bytes, so that the limits also bound many small ones.
const DELIVERY_COST_BYTES: u64 = 256;

impl Delivery {
    /// The memory that it uses, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.frames.bytes.len() as u64 + DELIVERY_COST_BYTES
    }
}

/// Why the Router ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The session has sent `Leave`, or the server shuts down.
    Left,
    /// The same identity has joined on another connection.
    Superseded,
    /// Too many commands wait for it.
    Busy,
    /// The administrator has removed its peer from the members.
    Expelled,
    /// The administrator has taken the name from its peer.
    NameReleased,
}

/// The commands that the session of a joined peer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    /// Envelopes for its peer.
    Deliver(Delivery),
    /// The outcome of envelopes from its peer.
    Routed {
        /// The number of the first one.
        first: u64,
        /// How many envelopes.
        count: u64,
        /// Their outcome.
        outcome: Outcome,
    },
    /// A card that its peer asked for.
    Card(Bytes),
    /// Nobody has joined under a name that its peer asked for.
    Unknown(PeerName),
    /// Answers a ping of its peer.
    Pong {
        /// The id of the ping.
        id: u32,
        /// The connected ones of the peers in the ping.
        present: Vec<PeerName>,
    },
    /// The Router cannot watch a name that its peer asked for, and why.
    Unwatched(PeerName, Refusal),
}

/// The sending end of a session's mailbox; a test or simulation uses a model.
pub trait Port {
    /// Sends a command if there is room. If not, the session reports later that there is room
    /// (`MemberCommand::Drained`).
    ///
    /// # Errors
    /// The command.
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand>;

    /// Closes the mailbox, with the reason for the session.
    fn close(self, reason: EndReason);
}

/// The capacity of a session's mailbox: with 64 KiB a read this is 4 MiB for a recipient that does not read. Further
/// envelopes go to the store.
pub(crate) const MAILBOX_COMMANDS: usize = 64;

/// The Router's end of a session's mailbox. The envelopes in the mailbox count as memory of the session.
#[derive(Debug)]
pub struct SessionPort {
    pub(crate) address: PollAddress<SessionCommand, EndReason>,
    pub(crate) held: Held,
}

/// The session's end.
pub(crate) type SessionMailbox = PollMailbox<SessionCommand, EndReason>;

impl Port for SessionPort {
    fn offer(&mut self, command: SessionCommand) -> Result<(), SessionCommand> {
        let SessionCommand::Deliver(delivery) = &command else { return self.address.offer(command) };
        let cost = delivery.cost();
        if !self.held.take(cost) {
            self.address.wake();
            return Err(command);
        }
        self.address.offer(command).inspect_err(|_| self.held.sub(cost))
    }

    fn close(self, reason: EndReason) {
        self.address.close(reason);
    }
}
