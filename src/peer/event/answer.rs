//! Answers to commands.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::protocol::KnownPeer;
use wire::share::{Hit, PublishedFile};
use wire::{Fingerprint, PeerName, Search};

use super::OutboxState;
use crate::peer::comparison::Comparison;
use crate::peer::records::HistoryRecord;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// A file that a search has found. Files with the same content follow each other.
    File {
        #[serde(flatten)]
        hit: Hit,
        /// How many peers have this content, as far as the search has found their files.
        holders: u32,
        /// Whether the answer before has the same content.
        is_copy: bool,
    },
    /// The end of a search. Files with the same content are one match.
    Found {
        /// How many matches there are.
        total: u64,
        /// How many of them come before those that were shown.
        skip: u64,
        /// How many were shown.
        shown: u64,
        /// If there is none: a search with other words that has some.
        instead: Option<Search>,
        /// If there is none: a word that looks like a condition, and was searched for as text because there is no such condition.
        no_condition: Option<String>,
    },
    /// The end of a fetch of many files.
    Fetched {
        /// The holder, or the one that has sent most; `None` if several have such files and none has sent one.
        from: Option<PeerName>,
        /// How many holders have sent some of them.
        peers: usize,
        /// How many files the pattern describes.
        files: u64,
        /// How many of them are complete here.
        files_done: u64,
        /// How many of these were here before.
        here: u64,
        failed: u64,
        /// The bytes of those that are complete.
        bytes: u64,
    },
    /// A peer that the server knows.
    Peer {
        #[serde(flatten)]
        peer: KnownPeer,
        /// Whether the user has compared its pinned key.
        compared: bool,
    },
    Card {
        name: PeerName,
        fingerprint: Fingerprint,
        /// The card as text to mail or print.
        card: String,
    },
    /// An identity key is trusted from now on.
    Trusted {
        name: PeerName,
        fingerprint: Fingerprint,
    },
    /// The key of a server is trusted from now on.
    TrustedServer {
        /// The server, as `HOST:PORT`.
        server: String,
        fingerprint: Fingerprint,
    },
    /// This peer has a new identity key, which its old one has signed.
    NewKey {
        name: PeerName,
        old: Fingerprint,
        new: Fingerprint,
    },
    /// This peer's identity is in a file, to be imported on another machine.
    Exported {
        path: PathBuf,
        /// How many messages wait for delivery here. They are not carried over.
        queued: usize,
    },
    /// This peer's identity was imported from another machine.
    Imported {
        name: PeerName,
        fingerprint: Fingerprint,
    },
    /// A limit for other peers.
    Limit {
        option: String,
        limit: u32,
        /// How many conversations were put off because of it since the process started. Their messages come again.
        refused: u64,
    },
    /// The passphrase was set, changed or removed.
    Passphrase {
        is_set: bool,
    },
    /// The identity keys of this peer and of another, to be compared with what the other peer shows.
    Comparison(Comparison),
    /// The user has compared the identity key of a peer.
    Compared {
        name: PeerName,
        fingerprint: Fingerprint,
    },
    Blocked {
        name: PeerName,
        is_blocked: bool,
    },
    /// What was stored about a peer is deleted.
    Forgotten {
        name: PeerName,
        /// How many messages to it had no receipt. They are deleted here, but may still arrive if they were sent.
        undelivered: usize,
    },
    /// A message of the past.
    History(HistoryRecord),
    /// A message without a receipt.
    Outbox {
        to: PeerName,
        number: u64,
        text: String,
        /// When it was queued, in seconds since 1970.
        queued_at: u64,
        state: OutboxState,
    },
    /// All messages have receipts.
    NothingQueued,
    /// There is no message of the past.
    NoHistory {
        /// With this peer, or with nobody.
        with: Option<PeerName>,
    },
    /// A message was removed from the outbox. It was never sent.
    Cancelled {
        to: PeerName,
        number: u64,
    },
    /// A file that this peer shares.
    Sharing {
        #[serde(flatten)]
        file: PublishedFile,
        /// The only peers that may find and fetch it, by their names in lower case; `None` for everyone.
        only: Option<Vec<PeerName>>,
    },
    /// This peer shares no file.
    NothingShared,
    /// The server has the share, so its files can be found.
    Published {
        files: u32,
        /// How many pairs of keyword and file.
        pairs: u32,
    },
    /// An entry of `keyword.txt` is not shared.
    Problem {
        /// Which entry, and why.
        problem: String,
    },
}
