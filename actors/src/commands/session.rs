//! To the session of a peer that has joined.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::{Outcome, Refusal};

use super::direct::{Direct, DirectWriter};
use super::memory::Held;
use super::store::{Frames, Ordinal, Origin};
use crate::runtime::{Lease, PollAddress, PollMailbox};

/// The id of a session. It is not reused while the server runs.
pub type SessionId = u64;

/// The session id of notices that the server itself sends, and of envelopes from other servers. No session has it, so their
/// outcome is reported to nobody.
pub(crate) const SERVER_SESSION: SessionId = 0;

/// The session id in the origin of mail that another store keeps until it is taken. The `first` of such an origin counts the
/// envelopes of all such mail that the cluster has given to this server.
pub(crate) const STORED_ELSEWHERE: SessionId = SessionId::MAX;

/// Envelopes for the peer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The ordinal of the first one; the others follow.
    pub first: Ordinal,
    /// Whether they are in a store, which drops them when they are acknowledged.
    pub is_stored: bool,
    /// Whether they must be stored if the peer does not acknowledge them.
    pub is_kept: bool,
    pub origin: Origin,
    pub frames: Frames,
}

/// A delivery counts this much more than its bytes, so that the limits also bound many small ones.
const DELIVERY_COST_BYTES: u64 = 256;

impl Delivery {
    /// The memory that it uses, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.frames.bytes.len() as u64 + DELIVERY_COST_BYTES
    }

    /// The number behind its last envelope, if another store keeps them.
    pub fn elsewhere_before(&self) -> Option<u64> {
        let Origin { session, first, .. } = self.origin;
        (session == STORED_ELSEWHERE).then(|| first + self.frames.count())
    }

    /// Splits it behind the first `count` envelopes.
    pub(crate) fn split_at(self, count: u64) -> (Self, Self) {
        let at = usize::try_from(count).expect("a delivery has as many envelopes as its Vec of lengths");
        let head = self.frames.clone().first(at);
        let origin = Origin { first: self.origin.first + count, ..self.origin };
        let tail = Self { first: self.first + count, origin, frames: self.frames.skip(at), ..self };
        (Self { first: self.first, origin: self.origin, frames: head, ..tail }, tail)
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
    /// Envelopes for its peer. Boxed, because a mailbox takes memory for dozens of commands when it gets its first one.
    Deliver(Box<Delivery>),
    /// The outcome of envelopes from its peer.
    Routed {
        /// The number of the first one.
        first: u64,
        count: u64,
        outcome: Outcome,
    },
    /// A card that its peer asked for.
    Card(Bytes),
    /// Nobody has joined under a name that its peer asked for.
    Unknown(PeerName),
    /// Answers a ping of its peer.
    Pong {
        id: u32,
        /// The connected ones of the peers in the ping.
        present: Vec<PeerName>,
    },
    /// The Router cannot watch a name that its peer asked for, and why.
    Unwatched(PeerName, Refusal),
    /// Envelopes for this name may go by this route. Boxed for the same reason as deliveries.
    Route(Box<(PeerName, Route)>),
}

/// The sending end of a session's mailbox, which the Router and, on a [`Route`], the sessions of senders share; a test or
/// simulation uses a model.
pub trait Port: fmt::Debug + Send + Sync {
    /// Sends a command if there is room. If not, the session reports later that there is room
    /// (`MemberCommand::Drained`).
    ///
    /// # Errors
    /// The command.
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand>;

    /// Ends the session, with the reason. Nothing may be sent after it.
    fn close(&self, reason: EndReason);

    /// Granted while the Router has the mailbox open for envelopes. Its numbers are their places.
    fn lease(&self) -> &Lease;

    /// Puts envelopes with the next places into the mailbox.
    ///
    /// # Errors
    /// The envelopes, if the mailbox has no room or is not open.
    fn deliver(&self, frames: Frames, is_kept: bool, origin: Origin) -> Result<(), Frames> {
        let Some(entered) = self.lease().enter() else { return Err(frames) };
        let first = entered.draw(frames.count());
        let is_stored = origin.session == STORED_ELSEWHERE;
        let delivery = Delivery { first, is_stored, is_kept, origin, frames };
        match self.offer(SessionCommand::Deliver(Box::new(delivery))) {
            Ok(()) => Ok(()),
            Err(SessionCommand::Deliver(delivery)) => Err(delivery.frames),
            Err(_) => unreachable!("a mailbox hands back what it was offered"),
        }
    }
}

/// A way past the Router: from the session of a sender into the mailbox of a recipient's session. It can be used while the
/// Router has it open, and lasts at most as long as the recipient's presence.
#[derive(Clone)]
pub struct Route(Weak<dyn Port>);

impl Route {
    pub fn to(port: &Arc<dyn Port>) -> Self {
        Self(Arc::downgrade(port))
    }

    /// The mailbox, unless the presence has ended.
    pub fn port(&self) -> Option<Arc<dyn Port>> {
        self.0.upgrade()
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for Route {}

/// The capacity of a session's mailbox: with 64 KiB a read this is 4 MiB for a recipient that does not read. Further
/// envelopes go to the store.
pub(crate) const MAILBOX_COMMANDS: usize = 64;

/// The port of a session with a connection. The envelopes in the mailbox count as memory of the session.
#[derive(Debug)]
pub struct SessionPort {
    address: PollAddress<SessionCommand, EndReason>,
    held: Held,
    lease: Lease,
    /// `None` if the connection is not plain.
    direct: Option<DirectWriter>,
}

/// The session's end.
pub(crate) type SessionMailbox = PollMailbox<SessionCommand, EndReason>;

impl SessionPort {
    pub(crate) fn new(
        address: PollAddress<SessionCommand, EndReason>,
        held: Held,
        direct: Option<DirectWriter>,
    ) -> Self {
        Self { address, held, lease: Lease::default(), direct }
    }

    /// Puts a delivery into the mailbox.
    fn add(&self, delivery: Box<Delivery>) -> Result<(), SessionCommand> {
        self.address.offer(SessionCommand::Deliver(delivery))?;
        if let Some(direct) = &self.direct {
            direct.withdraw();
        }
        Ok(())
    }
}

impl Port for SessionPort {
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand> {
        let SessionCommand::Deliver(delivery) = command else { return self.address.offer(command) };
        let cost = delivery.cost();
        if !self.held.take(cost) {
            self.address.wake();
            return Err(SessionCommand::Deliver(delivery));
        }
        let added = match self.direct.as_ref().filter(|_| !delivery.is_stored) {
            None => self.add(delivery),
            Some(direct) => match direct.write(delivery) {
                Direct::Written => Ok(()),
                Direct::Begun => {
                    self.address.wake();
                    Ok(())
                }
                Direct::Refused(delivery) => self.add(delivery),
            },
        };
        added.inspect_err(|_| self.held.sub(cost))
    }

    fn close(&self, reason: EndReason) {
        self.address.close(reason);
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}
