//! What happens in a peer, as its user is told: the same for `--json`, for people, and through the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::conversation::ConversationId;
use wire::share::Hit;
use wire::signal::Complaint;
use wire::{Digest, FileName, Fingerprint, PeerName};

use super::records::Direction;

/// Something that happened. With `--json` each is one object on a line, its kind in the field `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The server has let this peer in.
    Joined {
        /// The name here.
        name: PeerName,
        /// The server's address.
        server: String,
        /// Of the own identity key.
        fingerprint: Fingerprint,
    },
    /// Messages wait for something that is not there yet.
    Waiting {
        /// For whom they are.
        to: PeerName,
        /// What they wait for.
        reason: String,
    },
    /// A conversation was opened towards somebody, or accepted from them.
    Conversation(Box<ConversationEvent>),
    /// A message is on this peer's disk.
    Queued {
        /// For whom.
        to: PeerName,
        /// Its number.
        number: u64,
        /// What was written.
        text: String,
        /// SHA-256 of the text.
        sha256: Digest,
    },
    /// A message was handed to the recipient, who is here; its receipt is still to come.
    Relayed(SentEvent),
    /// A message is on the server's disk, for a recipient who is not here.
    Stored(SentEvent),
    /// The recipient's receipt for a message was verified.
    Delivered {
        /// By whom.
        to: PeerName,
        /// Which.
        number: u64,
        /// In which conversation.
        conversation: ConversationId,
        /// How many messages the receipt covers.
        count: u64,
        /// The running hash over them, equal at both ends.
        running_hash: Digest,
    },
    /// A message was decrypted and verified.
    Message(Box<MessageEvent>),
    /// Something was not accepted, here or by somebody else.
    Refused {
        /// Whose it is.
        with: PeerName,
        /// The number of the message, if it is about one.
        number: Option<u64>,
        /// Why, and what to do.
        reason: String,
    },
    /// An answer to what was asked.
    Result(Answer),
    /// A file is on its way.
    FileProgress {
        /// Which.
        name: FileName,
        /// Bytes that have arrived.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A file has arrived, is verified and has its name.
    FileDone {
        /// Where it is.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// SHA-256 of all of it, as it was published.
        sha256: Digest,
        /// From whom; none if it was here already.
        from: Option<PeerName>,
        /// How it came.
        route: FileRoute,
    },
    /// Something could not be done.
    Error {
        /// What happened, to what, and what to do.
        message: String,
    },
}

/// How a file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRoute {
    /// Straight from its holder.
    Direct,
    /// Through the server.
    Server,
    /// It was here already.
    Here,
}

/// The opening of a conversation, seen from either end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationEvent {
    /// The other peer.
    pub with: PeerName,
    /// Sent: this peer has opened it. Received: the other has.
    pub direction: Direction,
    /// Names the conversation: SHA-256 of the signed body.
    pub conversation: ConversationId,
    /// The opener's identity key, which signs.
    pub sender_key: Fingerprint,
    /// The recipient's identity key.
    pub recipient_key: Fingerprint,
    /// The encryption key that the conversation's key is wrapped for.
    pub wrapped_for: Fingerprint,
    /// The conversation's key under RSAES-OAEP, in hexadecimal.
    pub wrapped_key: String,
    /// The commitment to the key.
    pub commitment: Digest,
    /// The whole opening in hexadecimal, with the card and the signature, shortened unless the whole trace is asked for.
    pub opening: String,
    /// The opener has verified receipts for all its messages with smaller numbers.
    pub first_number: u64,
    /// Whether the other's identity key was seen for the first time and is pinned now.
    pub pinned_now: bool,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEvent {
    /// For whom.
    pub to: PeerName,
    /// Its number.
    pub number: u64,
    /// How it was sealed.
    #[serde(flatten)]
    pub sealed: Sealed,
}

/// A message that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEvent {
    /// By whom.
    pub from: PeerName,
    /// What was written.
    pub text: String,
    /// Its number.
    pub number: u64,
    /// Always true: what does not verify is no message.
    pub verified: bool,
    /// When it was written, by the writer's clock, in seconds since 1970.
    pub written_at: u64,
    /// SHA-256 of the text, computed here and equal to the one that came inside.
    pub sha256: Digest,
    /// How it came; none if it came earlier and is only shown now.
    pub arrival: Option<Sealed>,
}

/// How a message was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Under which conversation.
    pub conversation: ConversationId,
    /// Its place there, which is its nonce.
    pub place: u64,
    /// Length of what was sealed.
    pub bytes: u64,
    /// SHA-256 of what was sealed: what the server prints.
    pub ciphertext_sha256: Digest,
    /// The ciphertext in hexadecimal, shortened unless the whole trace is asked for.
    pub ciphertext: String,
    /// The running hash with this message.
    pub running_hash: Digest,
}

/// An answer to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// A file that was found.
    File(Hit),
    /// How many files were found in all.
    Found {
        /// That many.
        total: u64,
    },
    /// Somebody known to the server.
    Peer {
        /// Who.
        name: PeerName,
        /// Of their identity key.
        fingerprint: Fingerprint,
        /// Whether they are here now.
        online: bool,
    },
    /// A contact card.
    Card {
        /// Whose.
        name: PeerName,
        /// Of the identity key.
        fingerprint: Fingerprint,
        /// As text to mail or print.
        card: String,
    },
    /// Somebody's identity key is trusted from now on.
    Trusted {
        /// Whose.
        name: PeerName,
        /// Which.
        fingerprint: Fingerprint,
    },
    /// A message of the past.
    History {
        /// The other peer.
        with: PeerName,
        /// Which way it went.
        direction: Direction,
        /// Its number.
        number: u64,
        /// When it was written, in seconds since 1970.
        written_at: u64,
        /// What was written.
        text: String,
        /// For a sent one: whether the receipt was verified.
        delivered: bool,
    },
    /// A file that this peer shares.
    Sharing {
        /// Its name.
        name: FileName,
        /// Its length.
        bytes: u64,
        /// SHA-256 of all of it.
        sha256: Digest,
        /// What it is found by.
        keywords: Vec<String>,
    },
    /// What this peer shares is on the server and can be found.
    Published {
        /// How many files.
        files: u32,
        /// How many pairs of keyword and file.
        pairs: u32,
    },
    /// Something in `keyword.txt` is not shared.
    Problem {
        /// Where and why.
        problem: String,
    },
}

impl Event {
    /// A shorthand for [`Event::Error`].
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }

    /// The peer that it is about, if it is about one.
    pub fn peer(&self) -> Option<&PeerName> {
        match self {
            Self::Waiting { to, .. } | Self::Queued { to, .. } | Self::Delivered { to, .. } => Some(to),
            Self::Relayed(sent) | Self::Stored(sent) => Some(&sent.to),
            Self::Conversation(conversation) => Some(&conversation.with),
            Self::Message(message) => Some(&message.from),
            Self::Refused { with, .. } => Some(with),
            _ => None,
        }
    }
}

/// A complaint as a sentence for the sender.
pub fn explain(complaint: Complaint) -> String {
    format!("{complaint}; it is sealed anew and sent again")
}
