//! The records that the engine decides on and the store keeps, and the changes of them. The store encodes them with
//! postcard. A room of its own, so that the engine need not know of the store.

use serde::{Deserialize, Serialize};
use wire::conversation::ConversationId;
use wire::protocol::ServerId;
use wire::{Digest, PeerName};

/// A message on its way out; kept until the recipient's receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRecord {
    /// What was written.
    pub text: String,
    /// When, in seconds since 1970.
    pub queued_at: u64,
    /// As it travels, once it is sealed.
    pub sealed: Option<SealedRecord>,
}

/// A sealed message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRecord {
    /// Under which conversation.
    pub conversation: ConversationId,
    /// Its place there.
    pub place: u64,
    /// The running hash with it.
    pub running_hash: Digest,
    /// The sealed bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A conversation that this peer has opened and under which messages are still on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRecord {
    /// Towards whom.
    pub to: PeerName,
    /// The number of the first message under it.
    pub first_number: u64,
    /// The opening as it travels.
    #[serde(with = "serde_bytes")]
    pub opening: Vec<u8>,
}

/// A conversation that another peer has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingRecord {
    /// By whom.
    pub from: PeerName,
    /// The opening as it came: its key stays wrapped, so that it goes when the encryption key goes.
    #[serde(with = "serde_bytes")]
    pub opening: Vec<u8>,
    /// How many messages have been opened.
    pub count: u64,
    /// The running hash over them.
    pub running_hash: Digest,
}

/// What is known of another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRecord {
    /// As its owner writes it.
    pub name: PeerName,
    /// The newest card seen.
    pub card: Option<Vec<u8>>,
    /// The number of the next message to it.
    pub next_number: u64,
    /// The highest number of a message from it.
    pub last_number: u64,
    /// How often another identity key was trusted in place of the one before.
    pub generation: u64,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From this peer.
    Sent,
    /// To this peer.
    Received,
}

/// A message in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// The other peer.
    pub with: PeerName,
    /// Which way it went.
    pub direction: Direction,
    /// For a received one: which of the other's identity keys it came under, see [`ContactRecord::generation`]. Else 0.
    pub generation: u64,
    /// Its number.
    pub number: u64,
    /// When it was written, by the writer's clock, in seconds since 1970.
    pub written_at: u64,
    /// What was written.
    pub text: String,
    /// For a sent one: whether the recipient's receipt was verified.
    pub delivered: bool,
}

/// The folded name of the recipient and the message's number.
pub type OutboxKey = (String, u64);

/// One change; changes are collected and committed together.
#[derive(Debug, Clone)]
pub enum Write {
    /// What is known of a peer.
    Contact(ContactRecord),
    /// A message on its way out.
    Outbox(PeerName, u64, OutboxRecord),
    /// A message of the outbox that a server has on its disk.
    Stored(PeerName, u64, ServerId),
    /// A message that has arrived, and needs to be kept no longer.
    Delivered(PeerName, u64),
    /// A conversation of ours.
    Outgoing(ConversationId, OutgoingRecord),
    /// A conversation of ours under which nothing is on its way any more.
    OutgoingDone(ConversationId),
    /// A conversation of somebody else's.
    Incoming(ConversationId, IncomingRecord),
    /// A message for the history.
    History(HistoryRecord),
    /// A message that was received while nobody was looking: from whom, under which of their keys, its number.
    Unshown(PeerName, u64, u64),
    /// All that was received is shown now.
    AllShown,
}
