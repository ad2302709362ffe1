//! Commands for a peer, from its command line, its prompt or its control socket, and their results.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::pattern::Pattern;
use wire::{Audience, Digest, FileName, Fingerprint, PeerName, Search};

use super::event::Event;

/// A change of `keyword.txt`. Files are names in the peer's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareChange {
    /// Shares a file under these keywords too.
    Add {
        file: String,
        keywords: Vec<String>,
        /// Who may find and fetch it from now on; `None` for those who may now.
        audience: Option<Audience>,
    },
    /// Shares a file no more under these keywords, or, if there are none, not at all.
    Remove { file: String, keywords: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Shows everything that happens, until the client disconnects.
    View,
    /// Queues messages and sends them.
    Send {
        to: PeerName,
        /// One message each.
        texts: Vec<String>,
        /// When the command ends.
        until: Until,
    },
    /// Shows messages as they arrive.
    Listen {
        /// Ends after this many messages.
        count: Option<u64>,
        /// Fails after this many seconds.
        timeout: Option<u64>,
    },
    Search {
        search: Search,
        /// How many matches to leave out.
        skip: u32,
        /// The maximum number of matches.
        limit: u32,
    },
    Get {
        wanted: Wanted,
        /// The holder; `None` for any peer that has the file.
        from: Option<PeerName>,
        /// The path for the file; `None` for the downloads folder.
        output: Option<PathBuf>,
        existing: Existing,
    },
    /// Cancels the transfers that this client has asked for.
    StopGets,
    /// Serves the shared files until the client disconnects.
    Share,
    /// Changes `keyword.txt` and publishes the change.
    ChangeShare(ShareChange),
    /// Lists the files that this peer shares.
    Files,
    /// Lists the peers that the server knows.
    Who,
    /// Shows this peer's contact card.
    Card,
    /// Imports another peer's contact card.
    Import { card: String },
    /// Pins an identity key, even if another one is pinned.
    Trust { name: PeerName, fingerprint: Fingerprint },
    /// Pins the key of a server, and replaces the one that was pinned.
    TrustServer {
        /// The server, as `HOST:PORT`.
        server: String,
        fingerprint: Fingerprint,
    },
    /// Shows the identity keys of this peer and another one, so that the users can compare them.
    Verify { name: PeerName },
    /// Notes that the user has compared the identity key of a peer.
    Compared {
        name: PeerName,
        /// The key that was compared; `None` for the pinned one.
        fingerprint: Option<Fingerprint>,
    },
    /// Blocks or unblocks a peer. Everything that a blocked peer sends is ignored.
    Block { name: PeerName, is_blocked: bool },
    /// Deletes what this peer stores about another one, except its pinned key, whether it is blocked, and the numbers
    /// and ids of messages. Without those, old messages would be accepted again.
    Forget { name: PeerName },
    /// Lists the messages of the past.
    History {
        /// The other peer; `None` for all peers.
        with: Option<PeerName>,
    },
    /// Lists the messages without a receipt.
    Outbox,
    /// Lists the limits for other peers, and how often each was exceeded.
    Limits,
    /// Removes a message that was not sent yet.
    Cancel {
        number: u64,
        /// Its recipient, if messages of that number wait for several.
        to: Option<PeerName>,
    },
    /// Waits until all messages are delivered or stored, except those to names that nobody has.
    Drain {
        /// Fails after this many seconds.
        wait: u64,
    },
}

/// What a [`Command::Send`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The messages are on this peer's disk. Their further progress is shown to clients that view.
    Queued,
    /// Every message is relayed or stored, or waits for a recipient who has never joined.
    Sent,
    /// All receipts are verified.
    Delivered {
        /// The command fails after this many seconds.
        seconds: u64,
    },
}

/// What a client sends to the process that runs the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Command(Command),
    /// The client has shown this many more of the messages that it was sent.
    Shown(u64),
}

/// What to do if another file has the name of a fetched one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    Refuse,
    Overwrite,
    /// The fetched file gets a number in its name.
    KeepBoth,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Name(FileName),
    /// By the SHA-256 digest of its content.
    Digest(Digest),
    /// All files whose names it describes.
    Pattern(Pattern),
}

impl Command {
    /// Whether it needs a connection to a server.
    pub fn needs_server(&self) -> bool {
        !matches!(
            self,
            Self::Card
                | Self::Import { .. }
                | Self::Trust { .. }
                | Self::TrustServer { .. }
                | Self::Verify { .. }
                | Self::Compared { .. }
                | Self::Block { .. }
                | Self::Forget { .. }
                | Self::History { .. }
                | Self::Files
                | Self::StopGets
                | Self::Outbox
                | Self::Limits
                | Self::Cancel { .. }
        )
    }

    /// Whether it is a request that the server answers at once, or not at all.
    pub fn asks_server(&self) -> bool {
        matches!(self, Self::Search { .. } | Self::Who | Self::Get { .. })
    }

    /// Whether it usually runs long enough for other peers to fetch files meanwhile.
    pub fn serves_files(&self) -> bool {
        matches!(
            self,
            Self::View
                | Self::Listen { .. }
                | Self::Share
                | Self::Send { until: Until::Delivered { .. }, .. }
        )
    }
}

/// What a client receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    Event(Event),
    Done(Ending),
}

/// How a command has ended. The worst ending is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Done,
    Failed,
    /// It was wrong, or there was no connection to a server.
    NoConnection,
}
