//! To a session of a peer that has joined.

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::{Outcome, Refusal};

use super::memory::Held;
use super::store::{Frames, Ordinal, Origin};
use crate::runtime::{PollAddress, PollMailbox};

/// Names a session; never used again while the server runs.
pub type SessionId = u64;

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

/// What a delivery costs besides its bytes: so many small ones are bounded too.
const DELIVERY_COST_BYTES: u64 = 256;

impl Delivery {
    /// What it costs in memory, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.frames.bytes.len() as u64 + DELIVERY_COST_BYTES
    }
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
    /// Answers a ping of its peer.
    Pong {
        /// The id of the ping.
        id: u32,
        /// Which of the peers in it are connected.
        present: Vec<PeerName>,
    },
    /// The Router does not watch a name that its peer asked for, and why.
    Unwatched(PeerName, Refusal),
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

/// Room for commands in a session's mailbox: at 64 KiB a read that is 4 MiB for a recipient who does not read. Beyond
/// it what is for them goes to the store.
pub(crate) const MAILBOX_COMMANDS: usize = 64;

/// The Router's end of a session's mailbox. What is in the mailbox counts as what the session holds.
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
