//! To the Router: who joins, what is to be handed on, who asks for whom.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use wire::PeerName;
use wire::card::Card;
use wire::protocol::{KnownPeer, ServerId, Side, Token, TransferId};

use super::network::Network;
use super::pace::Pace;
use super::peer_counts::{Limit, PeerCounts};
use super::session::{Delivery, SessionId, SessionPort};
use super::store::{Completion, Frames, Ordinal};
use crate::runtime::{Address, Closed, Pending, Reply};

/// How long an end waits for the other.
pub const SPLICE_WAIT: Duration = Duration::from_secs(30);

/// A peer in the Router's table; a session keeps it as a short name for the name it joined under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub(crate) u32);

/// A session that has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Who.
    pub peer: PeerKey,
    /// On which session.
    pub session: SessionId,
}

/// Envelopes for one recipient, one after the other as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// For whom.
    pub to: PeerName,
    /// Whether all of them are of a kind that is kept for somebody who is not there, or none.
    pub kept: bool,
    /// The number of the first among the envelopes of its session, from 0.
    pub first: u64,
    /// The envelopes.
    pub frames: Frames,
}

/// Why a peer may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefused {
    /// The name belongs to another key.
    NameTaken,
    /// Too many names were joined under for the first time from this address.
    TooManyNames,
    /// The store or the table of names is full.
    Busy,
}

/// A peer has joined.
#[derive(Debug)]
pub struct Joined {
    /// Its place in the Router's table.
    pub peer: PeerKey,
    /// Comes when the card is on disk; the session welcomes the peer only then.
    pub written: Option<Pending<()>>,
}

/// To the Router.
#[derive(Debug)]
pub enum Command<P = SessionPort> {
    /// A peer has proved its key.
    Join {
        /// On which session.
        session: SessionId,
        /// Its card, already verified.
        card: Box<Card>,
        /// From where it is connected.
        network: Network,
        /// With what its other connections prove that they are its.
        token: Token,
        /// Where commands for the session go.
        port: P,
        /// Answered at once.
        reply: Reply<Result<Joined, JoinRefused>>,
    },
    /// From a session that has joined.
    From(Member, MemberCommand),
    /// Asks who is known.
    Who(Reply<Arc<[KnownPeer]>>),
    /// What the store has done.
    Completed(Completion),
    /// One end of a transfer of a file through the server.
    Splice {
        /// Which.
        end: SpliceEnd,
        /// The connection.
        stream: SpliceStream,
        /// Answered when the other end is there.
        reply: Reply<Partner>,
    },
    /// The end of this session has given up, or the transfer that it carried has ended.
    SpliceEnded(SessionId),
}

/// What a session that has joined tells the Router.
#[derive(Debug)]
pub enum MemberCommand {
    /// Envelopes to be handed on, in the order in which they came.
    Route(Vec<Run>),
    /// There is room again after a command could not be handed over.
    Drained,
    /// The peer has taken the stored envelopes before this place; the store may drop them.
    Taken(Ordinal),
    /// Asks for a card, now and whenever there is a newer one.
    Lookup(PeerName),
    /// Asks which of these peers are connected.
    Ping {
        /// Repeated in the answer.
        id: u32,
        /// Their names.
        names: Vec<PeerName>,
    },
    /// Where the peer can be dialled, as the server has itself tried.
    Reachable(SocketAddr),
    /// The session ends; its port is closed, and it hands back what comes out of its mailbox.
    Leave,
    /// The last command of a session: what its peer has not taken, in order.
    HandBack(Vec<Delivery>),
}

/// One end of a transfer, as its connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpliceEnd {
    /// The session of the connection.
    pub session: SessionId,
    /// From where it is connected.
    pub network: Network,
    /// Which transfer.
    pub transfer: TransferId,
    /// Which end.
    pub side: Side,
    /// Whose.
    pub member: PeerName,
    /// What proves that.
    pub token: Token,
}

/// A connection whose bytes are carried to another one.
pub type SpliceStream = Arc<TcpStream>;

/// What becomes of one end of a transfer.
#[derive(Debug)]
pub enum Partner {
    /// The other end; this session carries the bytes, no faster than the pace of the sending member.
    Here(SpliceStream, Arc<Pace>),
    /// The other end's session carries the bytes, and has this connection.
    CarriesOn,
    /// The end is not wanted.
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
    /// The same end is already there.
    #[error("this end of the transfer is already here")]
    Occupied,
    /// The member has too many ends.
    #[error("you have as many transfers as the server allows one peer (--transfers-per-peer); try again")]
    MemberFull,
    /// The address has too many ends.
    #[error(
        "your address has as many transfers as the server allows one address (--transfers-per-address); try again"
    )]
    AddressFull,
    /// There are too many ends.
    #[error("too many transfers (--transfers); try again")]
    ServerFull,
}

impl SpliceRefused {
    /// The limit that is reached, if one is.
    pub(crate) fn limit(self) -> Option<Limit> {
        match self {
            Self::NoMember | Self::Occupied => None,
            Self::MemberFull => Some(Limit::TransfersPerPeer),
            Self::AddressFull => Some(Limit::TransfersPerAddress),
            Self::ServerFull => Some(Limit::Transfers),
        }
    }
}

/// Where commands for the Router are sent.
#[derive(Debug, Clone)]
pub struct RouterHandle {
    pub(crate) address: Address<Command>,
    /// Which server this is, for sessions to greet peers with.
    pub server: ServerId,
    /// What the Router and the sessions of peers count.
    pub counts: Arc<PeerCounts>,
}

impl RouterHandle {
    /// Hands over a command and waits while the mailbox is full.
    ///
    /// # Errors
    /// [`Closed`] when the server ends.
    pub fn send(&self, command: Command) -> Result<(), Closed> {
        self.address.send(command)
    }
}

/// Who is told that a peer comes, goes or can be dialled.
pub trait PresencePort {
    /// The peer is here (and can be dialled at `address`), or is gone.
    fn presence(&mut self, peer: &PeerName, online: bool, address: Option<SocketAddr>);

    /// Tells what could not be told at once. False if some of it still cannot.
    fn catch_up(&mut self) -> bool;
}
