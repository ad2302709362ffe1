//! The events that a peer shows its user: the same for `--json`, for people, and over the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::conversation::ConversationId;
use wire::signal::{Complaint, Route};
use wire::{Digest, FileName, Fingerprint, PeerName};

use super::records::Direction;

mod answer;

pub use answer::Answer;

/// Something that has happened. With `--json` each event is one object on a line, its kind in the field `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The server has accepted this peer.
    Joined {
        name: PeerName,
        server: String,
        fingerprint: Fingerprint,
        /// The server's key, which it has proved, and which is pinned.
        server_key: Fingerprint,
        /// The server's certificate if it was pinned now, because no known authority has issued it.
        pinned_certificate: Option<Fingerprint>,
    },
    /// The state of the connection to the server has changed. The first connection is a [`Event::Joined`].
    Connection {
        state: ConnectionState,
        /// The address of the server of that connection; all of them, as they were given, while they are tried.
        server: String,
        /// Why it is lost, or why it could not be made.
        reason: Option<String>,
        /// The time until the next attempt in milliseconds, if that is known.
        retry_ms: Option<u64>,
    },
    Waiting {
        to: PeerName,
        reason: String,
    },
    /// A conversation was opened with another peer, or accepted from it.
    Conversation(Box<ConversationEvent>),
    /// A message is on this peer's disk.
    Queued {
        to: PeerName,
        number: u64,
        text: String,
        sha256: Digest,
    },
    /// The server has relayed a message to its recipient, who is connected. There is no receipt yet.
    Relayed(SentEvent),
    /// A message is on the server's disk, because its recipient is not connected.
    Stored(SentEvent),
    /// The recipient's receipt for a message was verified.
    Delivered {
        to: PeerName,
        number: u64,
        conversation: ConversationId,
        /// How many of its messages the receipt covers.
        count: u64,
        /// The running hash over them, equal at both ends.
        running_hash: Digest,
    },
    /// A message was decrypted and verified.
    Message(Box<MessageEvent>),
    /// Something was not accepted, by this peer, another peer or the server.
    Refused {
        with: PeerName,
        /// The number of the message, if it concerns one.
        number: Option<u64>,
        /// Why, and what to do.
        reason: String,
    },
    /// Another peer has a new identity key, which its old one has signed.
    Succeeded {
        with: PeerName,
        old: Fingerprint,
        /// The new key, which is pinned now.
        new: Fingerprint,
    },
    Result(Answer),
    /// A shared file is being read for its digest.
    FileHashing {
        name: FileName,
        /// How many bytes were read.
        done: u64,
        /// The size of the file in bytes.
        total: u64,
    },
    /// A request for a file: to its holder, or from the peer that wants it.
    FileRequest(Box<FileRequestEvent>),
    /// A request for many files over one connection: to their holder, or from the peer that wants them.
    FilesRequest(Box<FilesRequestEvent>),
    /// A request waits in the queue of the holder, which sends other files first. The place has changed, or is the first one.
    FileQueued {
        name: FileName,
        /// The holder.
        from: PeerName,
        /// 1 if the file comes next.
        place: u32,
    },
    /// A file was sent to another peer. Whether it has arrived, only that peer knows.
    FileSent {
        to: PeerName,
        name: FileName,
        /// How many bytes were sent: those from the requested offset on.
        bytes: u64,
        /// SHA-256 of the whole file.
        sha256: Digest,
        route: FileRoute,
    },
    /// A file is being received.
    FileProgress {
        name: FileName,
        /// How many bytes have arrived.
        done: u64,
        /// The size of the file in bytes.
        total: u64,
    },
    /// A holder of a file that comes from several ones is not asked any more.
    FileHolderDropped {
        name: FileName,
        /// The holder.
        from: PeerName,
        fault: HolderFault,
        /// The number of the piece that it has sent and that is not of this content, from 0.
        piece: Option<u64>,
        /// What has happened, and what follows.
        reason: String,
    },
    /// The pieces of a file have come from these holders.
    FileHolders {
        name: FileName,
        holders: Vec<HolderPart>,
    },
    /// Many files are being received.
    FilesProgress {
        /// How many have arrived, or were here already.
        files_done: u64,
        /// How many there are in all.
        files: u64,
        /// How many could not be fetched. An error says why for each.
        failed: u64,
        /// The bytes of those that have arrived.
        bytes_done: u64,
        /// The bytes of all.
        bytes: u64,
    },
    /// A file has been received and verified, and is in its place.
    FileDone {
        path: PathBuf,
        bytes: u64,
        /// SHA-256 of its content, as published.
        sha256: Digest,
        /// The holder, or the one that has sent most of it; `None` if the file existed already.
        from: Option<PeerName>,
        /// How many holders have sent a part of it.
        peers: usize,
        route: FileRoute,
    },
    Error {
        /// What has happened, to what, and what to do.
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It was established and has ended.
    Lost,
    /// It could not be established; another attempt follows.
    Trying,
    Back,
}

/// How far a message without a receipt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxState {
    /// It is on this peer's disk only, and can be cancelled.
    Queued,
    /// It was sent, and its outcome is unknown.
    Sent,
    Relayed,
    /// It is on the server's disk.
    Stored,
}

/// Why a holder is not asked for pieces any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderFault {
    /// It has sent something that is not of the content.
    Lied,
    /// The others are far faster.
    Slow,
    /// It does not answer, does not send it, or its transfers end early.
    Gone,
    /// It has more files than one command fetches.
    LeftOut,
}

/// What a holder has sent of a file that has come from several ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderPart {
    pub from: PeerName,
    /// How many bytes of the file.
    pub bytes: u64,
    pub route: FileRoute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRoute {
    Direct,
    /// Through the server.
    Server,
    /// None, because the file existed already.
    Here,
}

/// The opening of a conversation, seen from either end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationEvent {
    pub with: PeerName,
    /// Sent if this peer has opened it, received if the other has.
    pub direction: Direction,
    /// Its id: SHA-256 of the signed body of the opening.
    pub conversation: ConversationId,
    /// The identity key of the opener, which signs.
    pub sender_key: Fingerprint,
    pub recipient_key: Fingerprint,
    /// The encryption key that the conversation key is wrapped for.
    pub wrapped_for: Fingerprint,
    /// The conversation key under RSAES-OAEP, in hexadecimal, shortened unless the full trace is asked for.
    pub wrapped_key: String,
    pub commitment: Digest,
    /// The opening in hexadecimal, with card and signature, shortened unless the full trace is asked for.
    pub opening: String,
    /// The opener has verified receipts for all its messages with smaller numbers.
    pub first_number: u64,
    /// Whether the other peer's identity key was seen for the first time and is pinned now.
    pub pinned_now: bool,
}

impl From<Route> for FileRoute {
    fn from(route: Route) -> Self {
        match route {
            Route::Direct => Self::Direct,
            Route::Server => Self::Server,
        }
    }
}

/// A request for a file, and how the file message will be sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRequestEvent {
    pub with: PeerName,
    /// Sent if this peer wants the file, received if the other does.
    pub direction: Direction,
    pub name: FileName,
    pub sha256: Digest,
    /// The first byte to send.
    pub offset: u64,
    pub route: FileRoute,
    /// The id of the transfer in hexadecimal. The receiver draws it.
    pub transfer: String,
    /// The holder's part of the key in hexadecimal.
    pub salt: String,
    /// How many sealed chunks follow the header.
    pub chunks: u64,
}

/// A request for many files. They follow each other over one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesRequestEvent {
    pub with: PeerName,
    /// Sent if this peer wants the files, received if the other does.
    pub direction: Direction,
    pub files: u64,
    pub route: FileRoute,
    /// The id of the transfer in hexadecimal. The receiver draws it.
    pub transfer: String,
    /// The holder's part of the key in hexadecimal.
    pub salt: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEvent {
    pub to: PeerName,
    pub number: u64,
    #[serde(flatten)]
    pub sealed: Sealed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEvent {
    pub from: PeerName,
    pub text: String,
    pub number: u64,
    /// Always true: a message that does not verify is not shown.
    pub verified: bool,
    /// Whether the user has compared the sender's identity key.
    pub compared: bool,
    /// When it was written, by the sender's clock, in seconds since 1970.
    pub written_at: u64,
    /// SHA-256 of the text, computed here and equal to the digest sealed with it.
    pub sha256: Digest,
    /// How it was sealed; `None` if it arrived earlier and is only shown now.
    pub arrival: Option<Sealed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub conversation: ConversationId,
    /// Its place there, which is its nonce.
    pub place: u64,
    /// Length of the ciphertext.
    pub bytes: u64,
    /// SHA-256 of the ciphertext, which the server logs too.
    pub ciphertext_sha256: Digest,
    /// The ciphertext in hexadecimal, shortened unless the full trace is asked for.
    pub ciphertext: String,
    /// The running hash over the conversation up to this message.
    pub running_hash: Digest,
}

impl Event {
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }

    /// The other peer that the event is about, if any.
    pub fn peer(&self) -> Option<&PeerName> {
        match self {
            Self::Waiting { to, .. } | Self::Queued { to, .. } | Self::Delivered { to, .. } => Some(to),
            Self::Relayed(sent) | Self::Stored(sent) => Some(&sent.to),
            Self::Conversation(conversation) => Some(&conversation.with),
            Self::Message(message) => Some(&message.from),
            Self::FileRequest(request) => Some(&request.with),
            Self::FilesRequest(request) => Some(&request.with),
            Self::FileSent { to, .. } => Some(to),
            Self::Refused { with, .. } | Self::Succeeded { with, .. } => Some(with),
            _ => None,
        }
    }
}

/// Explains a complaint to the sender of the message.
pub fn explain(complaint: Complaint) -> String {
    format!("{complaint}; it is sealed anew and sent again")
}
