//! To the Index: what peers share, and searches.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::keyword::{KEYWORD_TEXT_BYTES_MAX, PAIRS_MAX};
use wire::share::{Difference, Hit, ListedFile, Match};
use wire::{FileName, PeerName, Query, Search};

use super::network::Network;
use super::peer_counts::Limit;
use crate::runtime::{Address, Closed, NoAnswer, Reply, Unsent, reply};

/// The maximum number of files of one peer: the number of pairs in `keyword.txt`, because a file needs one to be found
/// by keyword.
pub const SHARE_FILES_MAX: u64 = PAIRS_MAX as u64;

/// The maximum number of pairs of one peer: what `keyword.txt` can hold, because a share is stored in that format.
pub const SHARE_PAIRS_MAX: u64 = PAIRS_MAX as u64;

/// The maximum size of the text of one peer as it is stored, in bytes: that of `keyword.txt`.
pub const SHARE_TEXT_BYTES_MAX: u64 = KEYWORD_TEXT_BYTES_MAX as u64;

/// The maximum number of hits in one answer: more than a person reads, and few enough to sort without delaying others.
pub const HITS_MAX: u32 = 1000;

/// About how many bytes the hits of one answer take at most, so that they fit into a frame of 1 MiB together with what
/// a session adds. An answer has at least one hit.
pub const HITS_BYTES_MAX: usize = 512 << 10;

#[derive(Debug)]
pub enum Command {
    /// One part of what a peer shares. The last part replaces all that the peer shared before.
    Publish {
        /// Whose share it is; the caller has verified that it is them.
        peer: PeerName,
        network: Network,
        /// Counts from 0. Part 0 starts a new share and discards an incomplete one.
        part: u32,
        /// Whether the share is complete with this part.
        last: bool,
        /// The files of this part, each name once in the whole share.
        files: Vec<ListedFile>,
        /// Answered at once, or for the last part when the share is on disk.
        reply: Reply<PublishAnswer>,
    },
    /// What has changed in what a peer shares.
    Change {
        /// Whose share it is; the caller has verified that it is them.
        peer: PeerName,
        network: Network,
        difference: Difference,
        /// Answered when the difference is on disk.
        reply: Reply<PublishAnswer>,
    },
    Search {
        query: Query,
        /// The maximum number of hits that the asker wants; at most [`HITS_MAX`] are returned.
        limit: u32,
        /// Decides which files and addresses the answer may contain.
        asker: AskerSees,
        /// Answered at once, or if it is by a pattern, when all names are compared.
        reply: Reply<SearchAnswer>,
    },
    /// A search as people type it. The best matches come first, and files with the same content are one match.
    Find {
        search: Search,
        page: Page,
        /// Decides which files and addresses the answer may contain.
        asker: AskerSees,
        /// Answered at once.
        reply: Reply<FindAnswer>,
    },
    /// A peer has connected, changed its address or disconnected.
    Presence(Presence),
    /// A share is kept or could not be kept, so it uses no more memory while waiting.
    Kept(Held),
    /// What a peer shares according to the cluster. It replaces all that the peer shared before.
    Learn(Box<Share>),
    /// What has changed in what a peer shares according to the cluster. It has no effect if the Index has another list.
    LearnChange(Box<Change>),
}

/// What one peer shares.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The owner's name as the owner spells it.
    pub(crate) owner: PeerName,
    /// From where it was published.
    pub(crate) network: Network,
    /// Ordered by name; each name occurs once.
    pub(crate) files: Vec<ListedFile>,
}

/// What has changed in what one peer shares.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The owner's name as the owner spells it.
    pub(crate) owner: PeerName,
    /// No name occurs twice in it.
    pub(crate) difference: Difference,
}

/// A share, or a change of it.
#[derive(Debug)]
pub enum Kept {
    Share(Share),
    Change(Change),
}

impl Kept {
    pub(crate) fn owner(&self) -> &PeerName {
        match self {
            Self::Share(share) => &share.owner,
            Self::Change(change) => &change.owner,
        }
    }
}

/// What to keep, so that it outlives the server. Who keeps it answers the publisher, and then reports it as
/// [`Command::Kept`].
#[derive(Debug)]
pub struct Keep {
    pub(crate) what: Kept,
    pub(crate) published: Published,
    pub(crate) held: Held,
    pub(crate) reply: Reply<PublishAnswer>,
}

/// The memory that a share uses until it is kept, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Held(pub(crate) u64);

/// How much of a share has been accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// The number of files so far.
    pub files: u64,
    /// The number of pairs of a keyword and a file so far; a repeated pair counts once.
    pub pairs: u64,
}

/// Why a share was not accepted. The previous share of the peer stays as it was, except after
/// [`PublishRefused::NotKept`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    #[error("part {got} of a share came where part {expected} was expected; start again with part 0")]
    OutOfOrder { expected: u32, got: u32 },
    #[error("a peer shares at most {SHARE_FILES_MAX} files")]
    TooManyFiles,
    #[error("a peer shares at most {SHARE_PAIRS_MAX} pairs of a keyword and a file")]
    TooManyPairs,
    #[error("the names and keywords of a share take at most {SHARE_TEXT_BYTES_MAX} bytes")]
    TooMuchText,
    #[error("the server has another list of yours than the one that has changed; publish the whole list")]
    OtherList,
    /// Who reads the list after a restart must not have more to do than for a whole list a few times.
    #[error("your list has changed too much since it was published whole; publish the whole list")]
    TooManyChanges,
    #[error("{0:?} has too many keywords")]
    TooManyKeywords(FileName),
    #[error("{0:?} is in the share twice")]
    Repeated(FileName),
    #[error(
        "you share more files, or pairs of a keyword and a file, than the server allows one peer (--index-pairs-per-peer)"
    )]
    PeerFull,
    #[error(
        "the peers at your address share as many files or pairs as the server allows one address (--index-pairs-per-address)"
    )]
    AddressFull,
    #[error("the index of the server is full (--index-pairs)")]
    IndexFull,
    /// Too many or too large shares are waiting for the disk. This is temporary.
    #[error("the server is busy with other shares; try again")]
    Busy,
    /// Searches find the share, but it could not be written to disk or to the cluster, so it is lost when the server restarts.
    #[error("the server could not keep the share: {0}")]
    NotKept(String),
}

impl PublishRefused {
    /// The configured limit that is reached, if any.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::PeerFull => Some(Limit::IndexPairsPerPeer),
            Self::AddressFull => Some(Limit::IndexPairsPerAddress),
            Self::IndexFull => Some(Limit::IndexPairs),
            _ => None,
        }
    }
}

pub type PublishAnswer = Result<Published, PublishRefused>;

/// What a search has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Those of connected peers first; then by file name, then by peer.
    pub hits: Vec<Hit>,
    /// How many files match, which may be more than `hits` holds.
    pub total: u64,
}

/// The maximum number of matches that can be seen by going from page to page. It bounds what has to be sorted for a page; who
/// wants more should add words.
pub const FIND_MATCHES_MAX: u32 = 10_000;

/// Which part of the matches is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many matches come before it. Less than [`FIND_MATCHES_MAX`].
    pub skip: u32,
    /// The maximum number of its matches. At most [`HITS_MAX`].
    pub limit: u32,
}

impl Page {
    /// The limit is reduced to what one answer may have.
    ///
    /// # Errors
    /// [`FindRefused::TooFar`].
    pub fn new(skip: u32, limit: u32) -> Result<Self, FindRefused> {
        let left = FIND_MATCHES_MAX.checked_sub(skip).filter(|left| *left > 0).ok_or(FindRefused::TooFar)?;
        Ok(Self { skip, limit: limit.min(HITS_MAX).min(left) })
    }
}

/// One page of what a search has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    pub matches: Vec<Match>,
    /// How many there are in all.
    pub total: u64,
    /// If there is none: a search with other words that has some.
    pub instead: Option<Search>,
}

/// Why a search is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FindRefused {
    #[error("too many files have what you search for; add a word that fewer have")]
    TooBroad,
    #[error("a search shows its first {FIND_MATCHES_MAX} matches; add words to find others")]
    TooFar,
    #[error("too many files have to be compared with this pattern; begin it with a folder, or say from whom")]
    ManyNames,
}

pub type SearchAnswer = Result<Found, FindRefused>;

pub type FindAnswer = Result<Matches, FindRefused>;

/// Who asks, which decides which files and addresses of other peers it may learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskerSees {
    /// The remote address of the asker's connection.
    pub from: IpAddr,
    /// The name under which the asker has joined. Without one, it sees only what everyone may see.
    pub name: Option<PeerName>,
}

impl AskerSees {
    /// Whether the asker may learn this address. A loopback address would mean another machine to an asker that is not
    /// connected over loopback, and the unspecified address is never useful.
    pub fn may_be_told(&self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        !ip.is_unspecified() && (!ip.is_loopback() || self.from.to_canonical().is_loopback())
    }
}

/// A peer has connected, changed its address or disconnected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub peer: PeerName,
    pub online: bool,
    /// Where it can be dialled, as the server has verified.
    pub address: Option<SocketAddr>,
}

/// How long a request may wait for the Index while it still reads the shares. Sessions should not be held up.
const LOADING_WAIT: Duration = Duration::from_secs(2);

/// Whether the Index has read the shares on disk. Until then it answers nothing.
#[derive(Debug, Default)]
pub struct Loading {
    has_ended: AtomicBool,
    is_cancelled: AtomicBool,
}

impl Loading {
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone)]
pub struct IndexHandle {
    pub(crate) address: Address<Command>,
    pub(crate) loading: Arc<Loading>,
}

impl IndexHandle {
    /// Sends a command, and waits while the mailbox is full. The caller waits for the answer itself.
    ///
    /// # Errors
    /// [`Closed`] when the Index has ended.
    pub fn send(&self, command: Command) -> Result<(), Closed> {
        self.address.send(command)
    }

    /// Makes the Index stop reading shares, so that it can end soon.
    pub fn cancel_loading(&self) {
        self.loading.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Sends a command, and waits for the answer that its reply gets.
    ///
    /// [`NoAnswer`] as for [`IndexHandle::publish`].
    pub(crate) fn ask<T>(
        &self,
        timeout: Duration,
        request: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, NoAnswer> {
        if !self.is_loaded() {
            return self.address.ask(timeout.min(LOADING_WAIT), request);
        }
        let (reply, pending) = reply();
        self.send(request(reply)).map_err(|Closed| NoAnswer::Dropped)?;
        pending.wait(timeout)
    }

    /// Publishes one part of a share, see [`Command::Publish`], and waits for the answer.
    ///
    /// [`NoAnswer`] if the Index has ended or did not answer within `timeout`, or soon while it reads shares from the disk.
    /// The share may still be accepted later.
    pub fn publish(
        &self,
        (peer, network): (PeerName, Network),
        part: u32,
        last: bool,
        files: Vec<ListedFile>,
        timeout: Duration,
    ) -> Result<PublishAnswer, NoAnswer> {
        self.ask(timeout, |reply| Command::Publish { peer, network, part, last, files, reply })
    }

    /// Publishes what has changed in a share, see [`Command::Change`], and waits for the answer.
    ///
    /// [`NoAnswer`] as for [`IndexHandle::publish`].
    pub fn change(
        &self,
        (peer, network): (PeerName, Network),
        difference: Difference,
        timeout: Duration,
    ) -> Result<PublishAnswer, NoAnswer> {
        self.ask(timeout, |reply| Command::Change { peer, network, difference, reply })
    }

    /// Whether it has read the shares, so that it answers at once.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loading.has_ended.load(Ordering::Relaxed)
    }

    /// Sends presence if there is room, and never waits.
    ///
    /// [`Unsent`] with the presence.
    pub fn presence(&self, presence: Presence) -> Result<(), Unsent<Presence>> {
        let given_back = |command| match command {
            Command::Presence(presence) => presence,
            _ => unreachable!("the mailbox hands back the command that it was offered"),
        };
        self.address.offer(Command::Presence(presence)).map_err(|e| match e {
            Unsent::Full(command) => Unsent::Full(given_back(command)),
            Unsent::Closed(command) => Unsent::Closed(given_back(command)),
        })
    }
}
