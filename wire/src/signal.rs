//! What receipts, requests and answers say once they are opened. PROTOCOL.md, section "Signals".

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::conversation::ConversationId;
use crate::digest::Digest;
use crate::file_name::FileName;
use crate::protocol::TransferId;
use crate::transfer::TransferSalt;

pub use crate::frame::{body as encode, decode};

/// The recipient's word on what it has received in a conversation that the other side opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The first `count` messages have arrived whole and in order and are safe on the recipient's disk.
    Received {
        /// In which conversation.
        conversation: ConversationId,
        /// How many.
        count: u64,
        /// The running hash over them.
        running_hash: Digest,
    },
    /// Messages of this conversation cannot be opened from place `count` on; send them again under a new one.
    Refused {
        /// Which conversation.
        conversation: ConversationId,
        /// How many messages of it have arrived.
        count: u64,
        /// Why.
        reason: Complaint,
    },
}

/// Why a recipient cannot go on in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Complaint {
    /// Its opening never came, or was not accepted.
    #[error("the conversation is not known to the recipient")]
    UnknownConversation,
    /// The key that it was wrapped for has been destroyed.
    #[error("the recipient no longer has the key it was encrypted to")]
    KeyDestroyed,
    /// Messages before it are missing.
    #[error("messages before it never arrived")]
    Gap,
    /// It does not verify.
    #[error("it did not verify at the recipient")]
    NotAuthentic,
}

/// How a file is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// The receiver dials the holder.
    Direct,
    /// Both dial the server, which joins the two connections.
    Server,
}

/// A request for a file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct FileRequest {
    /// Names the transfer.
    #[zeroize(skip)]
    pub transfer: TransferId,
    /// What the key of the transfer is derived from.
    pub secret: [u8; 32],
    /// Which file.
    #[zeroize(skip)]
    pub name: FileName,
    /// Its SHA-256 digest, as it was published.
    #[zeroize(skip)]
    pub sha256: Digest,
    /// From which byte on.
    #[zeroize(skip)]
    pub offset: u64,
    /// How.
    #[zeroize(skip)]
    pub route: Route,
}

/// The answer to a request for a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAnswer {
    /// Names the transfer.
    pub transfer: TransferId,
    /// Whether it can be had.
    pub verdict: Verdict,
}

/// Whether a file can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It waits to be fetched.
    Ready {
        /// Its whole length.
        bytes: u64,
        /// Drawn by the holder for this answer: a request that comes again leads to another key.
        salt: TransferSalt,
    },
    /// No such file is shared.
    NotShared,
    /// The file on disk is no longer the one that was asked for.
    Changed,
    /// Too many transfers at once.
    Busy,
}
