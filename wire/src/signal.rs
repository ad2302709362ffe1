//! The plaintext of signals: receipts, requests for files, and answers to them. PROTOCOL.md, section 11.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::conversation::ConversationId;
use crate::digest::Digest;
use crate::file_name::FileName;
use crate::protocol::TransferId;
use crate::transfer::TransferSalt;

pub use crate::frame::{body as encode, decode};

/// How far the recipient has received a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// The first `count` messages have arrived completely and in order, and are on the recipient's disk.
    Received {
        conversation: ConversationId,
        count: u64,
        running_hash: Digest,
        /// The highest number of a message from the opener that has ever arrived. A sender whose directory was restored from
        /// a copy learns from it which numbers it has given before.
        last_number: u64,
    },
    /// The messages from place `count` on cannot be opened. The opener must send them again in a new conversation.
    Refused { conversation: ConversationId, count: u64, reason: Complaint },
}

/// Why a recipient cannot open further messages of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Complaint {
    /// Its opening has not arrived, or was not accepted.
    #[error("the recipient does not know the conversation")]
    UnknownConversation,
    #[error("the recipient no longer has the key to open it")]
    KeyDestroyed,
    #[error("earlier messages have not arrived")]
    Gap,
    #[error("the recipient could not verify it")]
    NotAuthentic,
}

/// How a file is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// The receiver dials the holder.
    Direct,
    /// Receiver and holder dial the server, which connects them.
    Server,
}

/// What a receiver wants if its holder has no upload slot free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// The file by [`Route::Direct`], or else [`Verdict::Busy`].
    Direct,
    /// The file by [`Route::Server`], or else [`Verdict::Busy`].
    Server,
    /// The file by this route, or else a place in the queue. Holders that were made before the queue cannot read it, so a
    /// receiver sends it only after [`Verdict::Busy`].
    Queue(Route),
    /// By this route, the pieces of the file from the requested offset up to this end (see [`crate::pieces`]), or else a place in
    /// the queue. Holders that were made before cannot read it, and do not answer.
    Pieces(Route, u64),
}

impl Wish {
    /// The route of the file.
    pub fn route(self) -> Route {
        match self {
            Self::Direct => Route::Direct,
            Self::Server => Route::Server,
            Self::Queue(route) | Self::Pieces(route, _) => route,
        }
    }

    /// Whether a place in the queue is wanted.
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Queue(_) | Self::Pieces(..))
    }

    /// The end of the wanted pieces; `None` if the rest of the file is wanted.
    pub fn end(self) -> Option<u64> {
        match self {
            Self::Pieces(_, end) => Some(end),
            Self::Direct | Self::Server | Self::Queue(_) => None,
        }
    }
}

impl From<Route> for Wish {
    fn from(route: Route) -> Self {
        match route {
            Route::Direct => Self::Direct,
            Route::Server => Self::Server,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct FileRequest {
    #[zeroize(skip)]
    pub transfer: TransferId,
    /// The receiver's secret for the key of the transfer.
    pub secret: [u8; 32],
    #[zeroize(skip)]
    pub name: FileName,
    /// The digest of the file, as it was published.
    #[zeroize(skip)]
    pub sha256: Digest,
    /// Offset of the first byte to send.
    #[zeroize(skip)]
    pub offset: u64,
    #[zeroize(skip)]
    pub wish: Wish,
}

/// Takes a request back, so that its place in the queue or its upload slot is free. It has the same kind of envelope as a
/// request, and differs from it in its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub transfer: TransferId,
    pub reason: Reason,
}

/// Why a receiver does not want a file any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its user has cancelled the transfer, or it has given up.
    Left,
    /// Its disk is full. What has arrived is kept.
    DiskFull,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAnswer {
    pub transfer: TransferId,
    pub verdict: Verdict,
}

/// Whether a holder sends a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The holder waits for the receiver to fetch it.
    Ready {
        /// Length of the whole file, in bytes.
        bytes: u64,
        /// Drawn by the holder for this answer, so that a repeated request leads to another key.
        salt: TransferSalt,
    },
    NotShared,
    /// The file on disk has another content than the requested one.
    Changed,
    /// The holder has no upload slot free, and no place in the queue or none was wanted.
    Busy,
    /// The request waits in the holder's queue. Further answers follow: when the place changes, at intervals, and at last
    /// [`Verdict::Ready`].
    Queued {
        /// 1 for the request that is served next.
        place: u32,
    },
}
