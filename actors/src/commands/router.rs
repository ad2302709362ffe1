//! To the Router: joins, envelopes to route, and queries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::PeerName;
use wire::card::Card;
use wire::protocol::{KnownPeer, ServerId, Side, Token, TransferId};

use super::admission::{Members, NotAdmitted};
use super::cluster::{BatchReply, Forwarded, Offered, WaitingEnd};
use super::network::Network;
use super::pace::Pace;
use super::peer_counts::{Limit, PeerCounts};
use super::session::{Delivery, Port, SessionId};
use super::store::{Completion, Counted, Frames, Ordinal};
use crate::runtime::{Address, Closed, Pending, Reply};
use crate::transport::Transport;

/// How long one end of a transfer waits for the other.
pub const SPLICE_WAIT: Duration = Duration::from_secs(30);

/// A peer's index in the Router's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub(crate) u32);

/// A session that has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    pub peer: PeerKey,
    pub session: SessionId,
}

/// Consecutive envelopes for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub to: PeerName,
    /// Whether their kind is stored for an absent recipient. The same for all envelopes of a run.
    pub kept: bool,
    /// The number of the first among all envelopes of its session, from 0.
    pub first: u64,
    /// How many of them open conversations.
    pub openings: u32,
    /// Whether the session asks for a route to the recipient. It gets one if the run is relayed.
    pub wants_route: bool,
    pub frames: Frames,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinRefused {
    /// Admission does not let it in.
    NotAdmitted(NotAdmitted),
    NameTaken,
    /// The same identity has joined on a connection that is newer than this one.
    Superseded,
    /// Too many new names have joined from this address.
    TooManyNames,
    /// There is no answer from the cluster, which knows whose the name is.
    NoCluster,
    /// The store or the table of names is full.
    Busy,
}

#[derive(Debug)]
pub struct Joined {
    /// Its place in the Router's table.
    pub peer: PeerKey,
    /// Answered when the card is on disk. The session welcomes the peer only then.
    pub written: Option<Pending<()>>,
}

#[derive(Debug)]
pub enum Command {
    /// A peer has proved its key.
    Join {
        session: SessionId,
        /// Its card, already verified.
        card: Box<Card>,
        network: Network,
        /// The secret by which its other connections prove whose they are.
        token: Token,
        /// The mailbox of the session.
        port: Arc<dyn Port>,
        /// Answered at once.
        reply: Reply<Result<Joined, JoinRefused>>,
    },
    /// From a session that has joined, or in the name of a peer at another server.
    From(Member, MemberCommand),
    /// The cluster knows the owner of a name.
    Learn(Box<Card>),
    /// A peer is connected to another server of the cluster. That ends its session here.
    Appear {
        name: PeerName,
        session: SessionId,
        /// Leads to the other server.
        port: Arc<dyn Port>,
        /// Answered at once; none if the owner of the name is not known.
        reply: Reply<Option<Member>>,
    },
    /// Whether the cluster can keep copies of mail. While it cannot, no mail of peers is accepted.
    KeepsMail(bool),
    /// Mail for a recipient that a server of the cluster had, which is gone, has expired.
    Expired {
        sender: PeerName,
        name: PeerName,
        count: u64,
        /// None if there are no messages in it.
        notice: Option<Frames>,
    },
    /// The bytes of mail that the other servers of the cluster keep together. What is not named has not changed.
    KeptElsewhere(Vec<(Counted, u64)>),
    /// Envelopes from another server for sessions here.
    Forwarded(Vec<Forwarded>, BatchReply),
    /// Asks for the list of known peers.
    Who(Reply<Arc<[KnownPeer]>>),
    /// Asks who owns a name.
    Find(PeerName, Reply<Option<KnownPeer>>),
    /// Somebody may have been removed from the members: the sessions of all others than these end.
    Expel(Members),
    /// Takes a name from its owner, so that anybody can join under it.
    Release {
        name: PeerName,
        drops_mail: bool,
        /// Answered when it is on disk, with whether anybody owned it.
        reply: Reply<bool>,
    },
    /// Drops the mail that is stored for a name.
    DropMail(PeerName),
    /// A command to the store has completed.
    Completed(Completion),
    /// One end of a file transfer through the server has connected.
    Splice {
        end: SpliceEnd,
        /// Answered when the other end has connected, or at once if the end is refused.
        reply: Reply<Partner>,
    },
    /// The sending end of a transfer waits at another server. None: this server cannot connect to it.
    Elsewhere { transfer: TransferId, offered: Option<Offered> },
    /// This session's end has given up, or the transfer whose bytes it copied has ended.
    SpliceEnded(SessionId),
}

/// What a joined session sends to the Router.
#[derive(Debug)]
pub enum MemberCommand {
    /// Envelopes to route, in the order in which they arrived.
    Route(Vec<Run>),
    /// The session's mailbox has room again after a command was refused.
    Drained,
    /// The peer has acknowledged the stored envelopes before this place, so the store may drop them.
    Taken(Ordinal),
    /// The peer has acknowledged the envelopes before this number of those that another store keeps.
    TakenElsewhere(u64),
    /// Asks for a peer's card now, and for each newer one.
    Lookup(PeerName),
    /// Asks which of these peers are connected.
    Ping {
        /// Repeated in the answer.
        id: u32,
        names: Vec<PeerName>,
    },
    /// The peer can be dialled at this address; the server has tried it.
    Reachable(SocketAddr),
    /// The session ends. The Router closes its mailbox, and the session then hands back what is in it.
    Leave,
    /// The last command of a session: the envelopes that its peer has not acknowledged, in order.
    HandBack(Vec<Delivery>),
}

/// One end of a transfer, as its connection has described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpliceEnd {
    pub session: SessionId,
    pub network: Network,
    pub transfer: TransferId,
    pub side: Side,
    pub member: PeerName,
    /// The proof that the connection belongs to the member, or the secret of a guest.
    pub token: Token,
    /// In a cluster: the other end may be a guest that shows this secret, which is the server of the receiving member.
    pub guest: Option<Token>,
}

/// The answer to one end of a transfer. The first end that connected gets the connection of the second one, so that one
/// session has both and copies the bytes.
#[derive(Debug)]
pub enum Partner {
    /// To the first end: where the connection of the other end arrives. This session copies the bytes, no faster than the
    /// pace of the sending member.
    Comes(Pending<Transport>, Arc<Pace>),
    /// To the second end: where this session sends its connection.
    Carries(Reply<Transport>),
    /// To the receiving end: this session gets the bytes from another server.
    Elsewhere(Offered),
    Refused(SpliceRefused),
}

/// Why an end of a transfer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpliceRefused {
    /// The member is not connected, or the token is wrong.
    #[error(
        "only peers that have joined transfer files; name the peer and the nonce of the connection on which it has joined"
    )]
    NoMember,
    /// The same end of the transfer is connected already.
    #[error("this end of the transfer is connected already")]
    Occupied,
    #[error("you have as many transfers as the server allows one peer (--transfers-per-peer); try again")]
    MemberFull,
    #[error(
        "your address has as many transfers as the server allows one address (--transfers-per-address); try again"
    )]
    AddressFull,
    #[error("too many transfers (--transfers); try again")]
    ServerFull,
    /// The holder is at another server of the cluster, which has no `--advertise`.
    #[error(
        "the file cannot come through the server: its holder is at another server of the cluster, to which this one cannot connect \
         (whoever runs that one has to start it with --advertise HOST:PORT)"
    )]
    NotAdvertised,
}

impl SpliceRefused {
    /// The limit that is reached, if any.
    pub(crate) fn limit(self) -> Option<Limit> {
        match self {
            Self::NoMember | Self::Occupied | Self::NotAdvertised => None,
            Self::MemberFull => Some(Limit::TransfersPerPeer),
            Self::AddressFull => Some(Limit::TransfersPerAddress),
            Self::ServerFull => Some(Limit::Transfers),
        }
    }
}

#[derive(Debug, Clone)]
pub struct RouterHandle {
    pub(crate) address: Address<Command>,
    /// The id of this server, which sessions send to peers.
    pub server: ServerId,
    /// The counters of the Router and of the sessions of peers.
    pub counts: Arc<PeerCounts>,
}

impl RouterHandle {
    /// Sends a command, and waits while the mailbox is full.
    ///
    /// [`Closed`] if the Router has ended, which happens only when the server shuts down.
    pub fn send(&self, command: Command) -> Result<(), Closed> {
        self.address.send(command)
    }
}

/// Receives reports of who is connected and can be dialled; a test or simulation uses its own.
pub trait PresencePort {
    /// The peer is connected (and can be dialled at `address`, if there is one), or not.
    fn presence(&mut self, peer: &PeerName, session: SessionId, online: bool, address: Option<SocketAddr>);

    /// A session here has acknowledged the envelopes before this number of those that another store keeps.
    fn taken_elsewhere(&mut self, _session: SessionId, _before: u64) {}

    /// An end of a transfer waits here, and the other one may be at another server; or none waits any more.
    fn transfer_waits(&mut self, _transfer: TransferId, _end: Option<WaitingEnd>) {}

    /// Sends the reports that there was no room for. Returns false if there still is none.
    fn catch_up(&mut self) -> bool;
}
