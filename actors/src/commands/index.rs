//! To the Index: what peers share, and who looks for what.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::keyword::{KEYWORD_TEXT_BYTES_MAX, PAIRS_MAX};
use wire::share::{Hit, PublishedFile};
use wire::{FileName, PeerName, Query};

use super::network::Network;
use super::peer_counts::Limit;
use crate::runtime::{Address, Closed, NoAnswer, Reply, Unsent, reply};

/// Most files of one peer: as many as `keyword.txt` can have pairs, since a file needs one to be found by keyword.
pub const SHARE_FILES_MAX: u64 = PAIRS_MAX as u64;

/// Most pairs of one peer: what `keyword.txt` can hold, because that is what a share is kept as.
pub const SHARE_PAIRS_MAX: u64 = PAIRS_MAX as u64;

/// Most text of one peer, in bytes, counted as it will lie on disk: what `keyword.txt` can hold.
pub const SHARE_TEXT_BYTES_MAX: u64 = KEYWORD_TEXT_BYTES_MAX as u64;

/// Most hits in one answer: more than a person reads, and few enough to be put in order while others wait.
pub const HITS_MAX: u32 = 1000;

/// About as many bytes as the hits of one answer may take, so that they fit into a frame of 1 MiB together with what a
/// session adds. At least one hit is given.
pub const HITS_BYTES_MAX: usize = 512 << 10;

/// What the Index can be told and asked.
#[derive(Debug)]
pub enum Command {
    /// One part of what a peer shares. When the last part has come, it replaces all that the peer shared before.
    Publish {
        /// Whose share it is; the caller has verified that it is them.
        peer: PeerName,
        /// From where it is connected.
        network: Network,
        /// Counts from 0; part 0 starts a new share and forgets an unfinished one.
        part: u32,
        /// Whether the share is complete with this part.
        last: bool,
        /// The files of this part, each name once in the whole share.
        files: Vec<PublishedFile>,
        /// Answered at once, for the last part once the share is on disk.
        reply: Reply<PublishAnswer>,
    },
    /// Who has what.
    Search {
        /// What to look for.
        query: Query,
        /// Most hits wanted; see [`HITS_MAX`] for what is given at most.
        limit: u32,
        /// Decides which addresses the answer may contain.
        asker: AskerSees,
        /// Answered at once.
        reply: Reply<Found>,
    },
    /// Who is there now.
    Presence(Presence),
    /// A share is on the disk, or could not be written; it holds no more memory on its way there.
    Kept(Held),
}

/// How much of the budget for memory a share holds until it is on the disk.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Held(pub(crate) u64);

/// How much of a share has been taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Files in the parts so far.
    pub files: u64,
    /// Pairs of a keyword and a file in them; a repeated pair counts once.
    pub pairs: u64,
}

/// Why a share was not taken. What the peer shared before stays as it was, except after [`PublishRefused::NotKept`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    /// Parts come in order from 0.
    #[error("part {got} of a share came where part {expected} was expected; start again with part 0")]
    OutOfOrder {
        /// The part that would have been right.
        expected: u32,
        /// The part that came.
        got: u32,
    },
    /// More than [`SHARE_FILES_MAX`] files.
    #[error("a peer shares at most {SHARE_FILES_MAX} files")]
    TooManyFiles,
    /// More than [`SHARE_PAIRS_MAX`] pairs.
    #[error("a peer shares at most {SHARE_PAIRS_MAX} pairs of a keyword and a file")]
    TooManyPairs,
    /// More than [`SHARE_TEXT_BYTES_MAX`] bytes of names and keywords.
    #[error("the names and keywords of a share take at most {SHARE_TEXT_BYTES_MAX} bytes")]
    TooMuchText,
    /// More keywords for one file than [`wire::share::FILE_KEYWORDS_MAX`].
    #[error("{0:?} has too many keywords")]
    TooManyKeywords(FileName),
    /// The same file twice.
    #[error("{0:?} is in the share twice")]
    Repeated(FileName),
    /// More files or pairs than one peer may have.
    #[error(
        "the server takes fewer files, or pairs of a keyword and a file, of one peer (--index-pairs-per-peer)"
    )]
    PeerFull,
    /// More files or pairs than all peers of one address may have.
    #[error(
        "the peers at your address share as many files or pairs as the server allows one address (--index-pairs-per-address)"
    )]
    AddressFull,
    /// More files or pairs than all peers may have.
    #[error("the index of the server is full (--index-pairs)")]
    IndexFull,
    /// Too many or too large shares wait for the disk. It passes.
    #[error("the server is busy with other shares; try again")]
    Busy,
    /// The share is found by searches but could not be written to disk, so a restart of the server would forget it.
    #[error("the share could not be written to the server's disk: {0}")]
    NotKept(String),
}

impl PublishRefused {
    /// The limit that is reached, if it is one of those that the server is told.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::PeerFull => Some(Limit::IndexPairsPerPeer),
            Self::AddressFull => Some(Limit::IndexPairsPerAddress),
            Self::IndexFull => Some(Limit::IndexPairs),
            _ => None,
        }
    }
}

/// What a publisher is told.
pub type PublishAnswer = Result<Published, PublishRefused>;

/// What a search has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Peers that are online come first, then in order of file name, then of peer.
    pub hits: Vec<Hit>,
    /// How many there are in all, which may be more than `hits` holds.
    pub total: u64,
}

/// From where an asker was seen to connect, which decides the addresses that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskerSees {
    /// The far end of the asker's connection as the server sees it.
    pub from: IpAddr,
}

impl AskerSees {
    /// Whether the asker may be told this address: a loopback address means another machine to anybody who did not
    /// connect over loopback, and the unspecified address means nothing to anybody.
    pub fn may_be_told(&self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        !ip.is_unspecified() && (!ip.is_loopback() || self.from.to_canonical().is_loopback())
    }
}

/// That a peer has come, moved or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub peer: PeerName,
    /// Whether it is connected.
    pub online: bool,
    /// Where it can be reached directly, as the server has itself verified.
    pub address: Option<SocketAddr>,
}

/// Talks to the Index. Dropping the last one ends it.
#[derive(Debug, Clone)]
pub struct IndexHandle(pub(crate) Address<Command>);

impl IndexHandle {
    /// Sends a command, and waits while the mailbox is full. For those who wait for the answer in their own way.
    ///
    /// # Errors
    /// [`Closed`] when the Index has ended.
    pub fn send(&self, command: Command) -> Result<(), Closed> {
        self.0.send(command)
    }

    /// Publishes one part of a share, see [`Command::Publish`], and waits for the answer.
    ///
    /// # Errors
    /// [`NoAnswer`] when the Index has ended or did not answer within `timeout`; the share may still be taken then.
    pub fn publish(
        &self,
        (peer, network): (PeerName, Network),
        part: u32,
        last: bool,
        files: Vec<PublishedFile>,
        timeout: Duration,
    ) -> Result<PublishAnswer, NoAnswer> {
        let (reply, pending) = reply();
        let command = Command::Publish { peer, network, part, last, files, reply };
        self.0.send(command).map_err(|Closed| NoAnswer::Dropped)?;
        pending.wait(timeout)
    }

    /// Searches, see [`Command::Search`], and waits for the answer.
    ///
    /// # Errors
    /// [`NoAnswer`] when the Index has ended or did not answer within `timeout`.
    pub fn search(
        &self,
        query: Query,
        limit: u32,
        asker: AskerSees,
        timeout: Duration,
    ) -> Result<Found, NoAnswer> {
        let (reply, pending) = reply();
        let command = Command::Search { query, limit, asker, reply };
        self.0.send(command).map_err(|Closed| NoAnswer::Dropped)?;
        pending.wait(timeout)
    }

    /// Tells presence if there is room, and never waits. The Router keeps what did not fit and tells it later.
    ///
    /// # Errors
    /// [`Unsent`] with what was to be told.
    pub fn presence(&self, presence: Presence) -> Result<(), Unsent<Presence>> {
        let given_back = |command| match command {
            Command::Presence(presence) => presence,
            _ => unreachable!("the mailbox hands back the command that it was offered"),
        };
        self.0.offer(Command::Presence(presence)).map_err(|e| match e {
            Unsent::Full(command) => Unsent::Full(given_back(command)),
            Unsent::Closed(command) => Unsent::Closed(given_back(command)),
        })
    }
}
