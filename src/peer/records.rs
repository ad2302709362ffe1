//! The records that the engine decides on and the store keeps, and their changes. The store encodes them with postcard.
//! They have their own module, so that the engine does not depend on the store.

use serde::{Deserialize, Serialize};
use wire::conversation::{ConversationId, MessageId};
use wire::protocol::ServerId;
use wire::{Digest, Fingerprint, PeerName};

/// A message to another peer, kept until its receipt is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRecord {
    pub id: MessageId,
    pub text: String,
    /// When it was queued, in seconds since 1970.
    pub queued_at: u64,
    /// Its ciphertext, once it is sealed.
    pub sealed: Option<SealedRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRecord {
    pub conversation: ConversationId,
    pub place: u64,
    /// The running hash over the conversation up to this message.
    pub running_hash: Digest,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A conversation that this peer has opened, kept while messages under it have no receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRecord {
    pub to: PeerName,
    /// The number of the first message under it.
    pub first_number: u64,
    #[serde(with = "serde_bytes")]
    pub opening: Vec<u8>,
}

/// A conversation that another peer has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingRecord {
    /// The opener.
    pub from: PeerName,
    /// The opening as it was received. Its key stays wrapped, so it is lost when the encryption key is destroyed.
    #[serde(with = "serde_bytes")]
    pub opening: Vec<u8>,
    /// The encryption key of this peer that the key is wrapped for.
    pub recipient_key: Fingerprint,
    /// When it was opened, by the opener's clock, in seconds since 1970.
    pub opened_at: u64,
    /// How many messages of it have arrived.
    pub count: u64,
    /// The running hash over them.
    pub running_hash: Digest,
    /// The highest number of them; 0 if there are none.
    pub last_number: u64,
}

/// The state of another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRecord {
    /// The name as its owner spells it.
    pub name: PeerName,
    pub card: Option<Vec<u8>>,
    /// The number of the next message to this peer.
    pub next_number: u64,
    /// The highest number of a message from this peer.
    pub last_number: u64,
    /// How often its numbers have started again or were used twice: because its identity key has changed, or because
    /// its directory was restored from a copy.
    pub generation: u64,
    pub is_blocked: bool,
}

/// Mail that could not be opened because its encryption key was destroyed. Kept until the mail has come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateRecord {
    pub first_number: u64,
    /// When it was refused, in seconds since 1970.
    pub refused_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From this peer.
    Sent,
    /// To this peer.
    Received,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    pub with: PeerName,
    pub direction: Direction,
    /// For a received message: the sender's [`ContactRecord::generation`] when it arrived. Otherwise 0.
    pub generation: u64,
    pub number: u64,
    pub id: MessageId,
    /// When it was written, by the sender's clock, in seconds since 1970.
    pub written_at: u64,
    pub text: String,
    /// For a sent message: whether its receipt was verified. That is so when it is no longer in the outbox, so the store
    /// sets this when it reads the history, and needs not write the record again.
    pub delivered: bool,
}

/// The folded name of the recipient and the message's number.
pub type OutboxKey = (String, u64);

/// The identity key that a name is pinned to. It is kept in `known_peers` and not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedKey {
    pub fingerprint: Fingerprint,
    /// Whether the user has compared it with the one that its owner sees.
    pub is_compared: bool,
}

impl PinnedKey {
    /// A key that was not compared yet.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, is_compared: false }
    }
}

/// A change of the store. All changes of a step are committed together.
#[derive(Debug, Clone)]
pub enum Write {
    /// Replaces the state of a peer.
    Contact(ContactRecord),
    /// Replaces a message of the outbox.
    Outbox(PeerName, u64, OutboxRecord),
    /// Notes that a server has a message of the outbox on its disk.
    Stored(PeerName, u64, ServerId),
    /// Removes a message from the outbox. It counts as delivered in the history from then on.
    Delivered(PeerName, u64),
    /// Removes a message without a receipt from the outbox and from the history.
    Cancelled(PeerName, u64),
    /// Adds a conversation that this peer has opened.
    Outgoing(ConversationId, OutgoingRecord),
    /// Removes a conversation that this peer has opened.
    OutgoingDone(ConversationId),
    /// Replaces a conversation that another peer has opened.
    Incoming(ConversationId, IncomingRecord),
    /// Removes a conversation that another peer has opened.
    IncomingGone(ConversationId),
    /// Adds a message to the history.
    History(HistoryRecord),
    /// Adds a received message to the order of arrival: its place, its sender, generation and number.
    Arrived(u64, PeerName, u64, u64),
    /// Notes which received messages have been shown.
    Shown {
        /// All before this place in the order of arrival.
        before: u64,
        /// Those before this place are removed from the order of arrival; at most `before`.
        forget: u64,
    },
    /// Replaces the record of late mail of a peer, or removes it.
    Late(PeerName, Option<LateRecord>),
    /// Removes the messages with a peer from the history, and keeps the ids of the received ones.
    Forgotten(PeerName),
}
