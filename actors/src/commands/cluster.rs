//! To the cluster: claims of names, who is connected to this server, and envelopes for peers that are connected to other
//! servers.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wire::PeerName;
use wire::card::Card;
use wire::protocol::{Token, TransferId};

use super::admission::Edit;
use super::index::Keep;
use super::network::Network;
use super::router::JoinRefused;
use super::session::{Delivery, EndReason, Port, SessionCommand, SessionId};
use super::store::{Amount, Frames, Ordinal, Sender, Written};
use crate::runtime::{Lease, NoAnswer, Reply, reply};

/// How long the answer to a claim or a release of a name may take.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(6);
/// The maximum of bytes on their way to one other server. With more, its peers count as slow, and their mail goes to the
/// store.
const WINDOW_BYTES: u64 = 8 << 20;
/// Ids of presences at other servers have this bit, so that they differ from those of sessions here.
const REMOTE: SessionId = 1 << 63;

/// One run of one server of the cluster. It is random, so that a server that was started again is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A batch of envelopes from another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId {
    pub server: Incarnation,
    pub epoch: u64,
    pub number: u64,
}

/// An end of a file transfer that waits for the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingEnd {
    /// The server of the receiving end may come for the file, if it shows this secret.
    Sender {
        guest: Token,
    },
    Receiver,
}

/// The sending end of a transfer at another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Where to connect to that server, as `HOST:PORT`.
    pub address: String,
    /// What to show there instead of the token of a member.
    pub secret: Token,
}

#[derive(Debug)]
pub enum Command {
    /// Asks for a name, for a peer that has proved its key.
    Claim {
        /// Its card, already verified.
        card: Box<Card>,
        network: Network,
        reply: Reply<Result<(), JoinRefused>>,
    },
    /// A peer has joined this server or can be dialled, or its session has ended.
    Presence { name: PeerName, session: SessionId, is_online: bool, address: Option<SocketAddr> },
    /// Envelopes for a peer at another server.
    Deliver { session: SessionId, delivery: Box<Delivery> },
    /// Takes a name from its owner at all servers. Answered with whether anybody owned it, or none if the bucket was not changed.
    Release { name: PeerName, drops_mail: bool, reply: Reply<Option<bool>> },
    /// Changes the list of members that all servers share, and makes it count. Answered with the revisions of the entries, or none if it was
    /// not written.
    EditMembers { edits: Vec<Edit>, reply: Reply<Option<Vec<u64>>> },
    /// What a peer of this server shares, for all servers.
    Keep(Box<Keep>),
    /// Mail is on the disk of this server. The Router is told when the cluster has a copy.
    Stored(Box<Written>),
    /// The store has dropped the mail at these places: so much of each sender.
    Forgotten { name: PeerName, places: Range<Ordinal>, amounts: Vec<(Sender, Amount)> },
    /// The peer of a session here has taken the envelopes before this number of the mail that other stores keep.
    Taken { session: SessionId, before: u64 },
    /// An end of a transfer waits at this server, or none does any more.
    TransferWaits { transfer: TransferId, end: Option<WaitingEnd> },
    /// The Router has ended a presence; nothing more is delivered to it.
    Closed { session: SessionId },
    /// The Router has handled a batch.
    Forwarded {
        batch: BatchId,
        /// The envelopes that could not be relayed, by their place in the batch.
        refused: Vec<u32>,
    },
    /// The server ends.
    End,
}

/// Envelopes of one sender at another server, for a session of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    pub from: PeerName,
    pub to: PeerName,
    /// The session of the recipient. They are refused if it has ended.
    pub session: SessionId,
    /// Whether they must be stored if the recipient does not acknowledge them.
    pub is_kept: bool,
    /// If another store keeps them until they are taken: the number of the first among all such envelopes.
    pub stored: Option<u64>,
    pub frames: Frames,
}

/// Where the Router says which envelopes of a batch it could not relay.
#[derive(Debug)]
pub struct BatchReply {
    cluster: ClusterHandle,
    batch: BatchId,
}

impl BatchReply {
    pub fn answer(self, refused: Vec<u32>) {
        self.cluster.tell(Command::Forwarded { batch: self.batch, refused });
    }
}

/// Where commands for the cluster are sent. Its mailbox is unbounded, so that neither the Router nor a session ever waits for
/// it: deliveries are limited by a [`Window`] for each server, claims by the number of sessions, shares by the Index, and each
/// other command follows from one that is limited.
#[derive(Debug, Clone)]
pub struct ClusterHandle(UnboundedSender<Command>);

/// The cluster's end. It is a channel of tokio, because its thread also waits for NATS.
pub type ClusterMailbox = UnboundedReceiver<Command>;

/// Makes the mailbox of the cluster.
pub fn cluster_mailbox() -> (ClusterHandle, ClusterMailbox) {
    let (commands, mailbox) = unbounded_channel();
    (ClusterHandle(commands), mailbox)
}

impl ClusterHandle {
    fn tell(&self, command: Command) {
        // Fails only when the server shuts down.
        let _ = self.0.send(command);
    }

    /// Asks for a name and waits for the answer.
    pub fn claim(&self, card: Box<Card>, network: Network) -> Result<Result<(), JoinRefused>, NoAnswer> {
        let (reply, pending) = reply();
        self.tell(Command::Claim { card, network, reply });
        pending.wait(CLAIM_TIMEOUT)
    }

    /// Takes a name from its owner at all servers, and waits for the answer.
    pub(crate) fn release(&self, name: PeerName, drops_mail: bool) -> Result<Option<bool>, NoAnswer> {
        let (reply, pending) = reply();
        self.tell(Command::Release { name, drops_mail, reply });
        pending.wait(CLAIM_TIMEOUT)
    }

    /// Changes the list of members that all servers share, and waits for the answer.
    pub(crate) fn edit_members(
        &self,
        edits: Vec<Edit>,
        timeout: Duration,
    ) -> Result<Option<Vec<u64>>, NoAnswer> {
        let (reply, pending) = reply();
        self.tell(Command::EditMembers { edits, reply });
        pending.wait(timeout)
    }

    /// Tells that a peer has joined, can be dialled at an address, or has left. Presences at other servers are ignored.
    pub fn presence(
        &self,
        name: &PeerName,
        session: SessionId,
        is_online: bool,
        address: Option<SocketAddr>,
    ) {
        if !is_remote(session) {
            self.tell(Command::Presence { name: name.clone(), session, is_online, address });
        }
    }

    /// Keeps a share in the cluster.
    pub(crate) fn keep(&self, keep: Keep) {
        self.tell(Command::Keep(Box::new(keep)));
    }

    /// Makes a copy of mail that is on disk.
    pub(crate) fn stored(&self, mail: Box<Written>) {
        self.tell(Command::Stored(mail));
    }

    /// Drops the copies of mail.
    pub(crate) fn forgotten(&self, name: PeerName, places: Range<Ordinal>, amounts: Vec<(Sender, Amount)>) {
        self.tell(Command::Forgotten { name, places, amounts });
    }

    /// A peer here has taken mail that other stores keep.
    pub fn taken(&self, session: SessionId, before: u64) {
        self.tell(Command::Taken { session, before });
    }

    /// An end of a transfer waits here for the other one, or none does any more.
    pub fn transfer_waits(&self, transfer: TransferId, end: Option<WaitingEnd>) {
        self.tell(Command::TransferWaits { transfer, end });
    }

    /// Where the Router answers for a batch.
    pub fn reply_to(&self, batch: BatchId) -> BatchReply {
        BatchReply { cluster: self.clone(), batch }
    }

    /// Makes the port of a peer at another server.
    pub fn port(&self, session: SessionId, window: Arc<Window>) -> Arc<dyn Port> {
        Arc::new(LinkPort { session, cluster: self.clone(), window, lease: Lease::default() })
    }

    /// Makes the cluster end.
    #[cfg(feature = "cluster")]
    pub(crate) fn end(&self) {
        self.tell(Command::End);
    }
}

/// The id of the presence with this number at another server.
pub(crate) fn remote_session(number: u64) -> SessionId {
    number | REMOTE
}

/// Whether a presence is that of a peer at another server.
pub fn is_remote(session: SessionId) -> bool {
    session & REMOTE != 0
}

/// The bytes on their way to one other server.
#[derive(Debug, Default)]
pub struct Window {
    bytes: AtomicU64,
    refused: AtomicBool,
}

impl Window {
    fn take(&self, bytes: u64) -> bool {
        let room = |used: u64| (used < WINDOW_BYTES).then_some(used + bytes);
        let has_room = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !has_room {
            self.refused.store(true, Ordering::SeqCst);
        }
        has_room
    }

    /// Counts more bytes, whether there is room or not.
    pub(crate) fn exceed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Whether a delivery was refused since the last call, and half of the window is free.
    pub(crate) fn has_room_again(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
            && self.bytes.load(Ordering::SeqCst) < WINDOW_BYTES / 2
            && self.refused.swap(false, Ordering::SeqCst)
    }
}

/// The port of a peer that is connected to another server.
#[derive(Debug)]
struct LinkPort {
    session: SessionId,
    cluster: ClusterHandle,
    window: Arc<Window>,
    lease: Lease,
}

impl Port for LinkPort {
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand> {
        // A peer at another server asks this one for nothing, so all else is for nobody.
        let SessionCommand::Deliver(delivery) = command else { return Ok(()) };
        if !self.window.take(delivery.cost()) {
            return Err(SessionCommand::Deliver(delivery));
        }
        self.cluster.tell(Command::Deliver { session: self.session, delivery });
        Ok(())
    }

    fn close(&self, _: EndReason) {
        self.cluster.tell(Command::Closed { session: self.session });
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}
