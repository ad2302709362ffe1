//! The messages between a peer and the server. PROTOCOL.md, section "Messages", gives them to the byte.
//!
//! Each enum is encoded with postcard: the number of the variant, then its fields. Variants are only ever added at the
//! end. [`Envelope`] is the first of both enums, so an envelope has the same bytes on its way in and on its way out,
//! and the server hands it on as it came.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Fingerprint};
use crate::frame::{self, BadFrame};
use crate::name::PeerName;
use crate::query::Query;
use crate::share::{Hit, PublishedFile};

/// What the server proves to be the same one by: drawn once when its data directory is made.
pub type ServerId = [u8; 16];
/// Names one transfer of a file; drawn by the receiver, known to the two ends only.
pub type TransferId = [u8; 16];

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// The opening of a conversation; its number is that of the oldest message without a receipt.
    Opening,
    /// A message; its number counts the messages from this sender to this recipient, from 1.
    Message,
    /// A receipt; its number is that of the newest message it is about.
    Receipt,
    /// A request for a file; its number counts the requests of this process.
    Request,
    /// The answer to a request, with the request's number.
    Answer,
}

impl Kind {
    /// Whether the server keeps it for a recipient who is not there. Requests and answers are of the moment.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Opening | Self::Message | Self::Receipt)
    }

    /// The word for it in logs and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

/// Something sealed on its way from one peer to another. The server reads the head and never the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// Who sends it; the server refuses any other than the name that joined.
    pub from: &'a str,
    /// Whom it is for.
    pub to: &'a str,
    /// What it carries.
    pub kind: Kind,
    /// See [`Kind`].
    pub number: u64,
    /// What it carries, sealed.
    #[serde(with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// Which end of a transfer through the server a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The peer that has the file.
    Sender,
    /// The peer that wants it.
    Receiver,
}

/// From a peer to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer<'a> {
    /// Something for another peer.
    #[serde(borrow)]
    Envelope(Envelope<'a>),
    /// Joins: shows the card, proves the key by signing [`join_proof_text`].
    Join {
        /// See [`crate::card`].
        #[serde(with = "serde_bytes")]
        card: Vec<u8>,
        /// RSASSA-PSS signature.
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
    },
    /// The first `count` envelopes of this connection are safe with me; the server may drop them.
    Taken {
        /// Counted from the start of the connection.
        count: u64,
    },
    /// Asks for somebody's card, now and whenever they join.
    Lookup {
        /// Whose.
        name: PeerName,
    },
    /// Says which files I share, in parts; the last part makes it so and replaces all that was shared before.
    Publish {
        /// Counted from 0.
        part: u32,
        /// Whether it is complete.
        last: bool,
        /// The files of this part.
        files: Vec<PublishedFile>,
    },
    /// Looks for files.
    Search {
        /// Comes back with the answer.
        id: u32,
        /// What is looked for.
        query: Query,
        /// Most hits wanted.
        limit: u32,
    },
    /// I listen on this port for other peers; please call me back to see that it is so.
    Listening {
        /// TCP port at the address that the server sees me at.
        port: u16,
    },
    /// What the server said when it called.
    CalledBack {
        /// The bytes behind the preface.
        echo: [u8; 32],
    },
    /// Asks who is known here.
    Who {
        /// Comes back with the answer.
        id: u32,
    },
    /// Instead of joining: this connection is one end of a transfer of a file through the server.
    Splice {
        /// Which transfer.
        transfer: TransferId,
        /// Which end.
        side: Side,
    },
}

/// What became of envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Handed to the recipient, who is here.
    Relayed,
    /// On the server's disk until the recipient takes it.
    Stored,
    /// Not taken.
    Refused(Refusal),
}

/// Why an envelope was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The recipient's mailbox on the server is full.
    #[error("the recipient's mailbox on the server is full; try again when they have been here")]
    MailboxFull,
    /// The server has more to do than it can take on.
    #[error("the server is busy; try again")]
    Busy,
    /// The recipient is not here, and what was sent is of the moment only.
    #[error("the recipient is not here")]
    Absent,
}

/// Somebody known to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// The name as its owner writes it.
    pub name: PeerName,
    /// Of the identity key.
    pub fingerprint: Fingerprint,
    /// Whether they are here now.
    pub online: bool,
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A frame that is not one.
    Malformed,
    /// A kind of message that version 1 does not have.
    UnknownKind,
    /// A frame over the bound.
    TooLong,
    /// Something that is only for those who have joined, or that is no longer possible after joining.
    OutOfPlace,
    /// An envelope from another name than the one that joined, or to a name that is none.
    BadEnvelope,
    /// The card does not verify.
    BadCard,
    /// The proof does not verify.
    BadProof,
    /// The name belongs to another key.
    NameTaken,
    /// The same identity has joined from another place.
    Superseded,
    /// The server ends.
    ShuttingDown,
    /// The server cannot take more on.
    Busy,
    /// Nothing came in time.
    TimedOut,
}

/// From the server to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToPeer<'a> {
    /// Something from another peer.
    #[serde(borrow)]
    Envelope(Envelope<'a>),
    /// The first frame of a connection.
    Hello {
        /// To be signed by whoever joins.
        nonce: [u8; 32],
        /// Which server this is.
        server: ServerId,
    },
    /// You have joined.
    Welcome {
        /// The name as it is known here.
        name: PeerName,
    },
    /// What became of `count` of your envelopes from number `first` on, as you sent them on this connection, from 0.
    Routed {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// What became of them.
        outcome: Outcome,
    },
    /// Somebody's card: the answer to a lookup, and again when they join with a newer one.
    Card {
        /// See [`crate::card`].
        #[serde(with = "serde_bytes")]
        card: Vec<u8>,
    },
    /// Nobody of that name has joined yet; the card comes the moment they do.
    Unknown {
        /// Who was looked up.
        name: PeerName,
    },
    /// What you share is on the server's disk and can be found.
    Published {
        /// How many files.
        files: u32,
        /// How many pairs of keyword and file.
        pairs: u32,
    },
    /// What was found.
    Found {
        /// That of the search.
        id: u32,
        /// At most as many as were asked for, those online first.
        hits: Vec<Hit>,
        /// How many there are in all.
        total: u64,
    },
    /// Whether the server could call you back, and where.
    Reachable {
        /// The address that it dialled, if it could.
        address: Option<SocketAddr>,
    },
    /// Who is known here.
    Known {
        /// That of the question.
        id: u32,
        /// Those online first; at most 10,000.
        peers: Vec<KnownPeer>,
    },
    /// A request could not be carried out; the connection goes on.
    Failed {
        /// That of the request; for a publication 0.
        id: u32,
        /// What went wrong and what to do.
        detail: String,
    },
    /// The other end of the transfer is there; what follows on this connection is the file message.
    Spliced,
    /// The last frame of a connection that the server ends.
    Error {
        /// Why.
        code: ErrorCode,
        /// The same for people.
        detail: String,
    },
}

/// How many kinds of [`ToServer`] there are.
const TO_SERVER_KINDS: u8 = 10;
/// How many kinds of [`ToPeer`] there are.
const TO_PEER_KINDS: u8 = 13;

impl<'a> ToServer<'a> {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    /// [`BadFrame`].
    pub fn decode(body: &'a [u8]) -> Result<Self, BadFrame> {
        frame::decode_message(body, TO_SERVER_KINDS)
    }
}

impl<'a> ToPeer<'a> {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    /// [`BadFrame`].
    pub fn decode(body: &'a [u8]) -> Result<Self, BadFrame> {
        frame::decode_message(body, TO_PEER_KINDS)
    }
}

/// The byte that starts the body of an envelope, in both directions.
const ENVELOPE_KIND: u8 = 0;

/// Decodes the body of a frame if it is an envelope; `None` if it is something else.
///
/// # Errors
/// [`BadFrame::Malformed`].
pub fn decode_envelope(body: &[u8]) -> Option<Result<Envelope<'_>, BadFrame>> {
    match body.split_first() {
        Some((&ENVELOPE_KIND, rest)) => Some(frame::decode(rest)),
        _ => None,
    }
}

/// What a peer signs to join: the server's nonce and identity, and the digest of the card that it shows.
pub fn join_proof_text(nonce: &[u8; 32], server: &ServerId, card: &[u8]) -> Vec<u8> {
    [nonce.as_slice(), server.as_slice(), Digest::of(card).0.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_envelope_has_the_same_bytes_in_both_directions() {
        let envelope = Envelope { from: "A", to: "B", kind: Kind::Message, number: 300, sealed: b"opaque" };
        let sent = frame::frame(&ToServer::Envelope(envelope.clone()));
        assert_eq!(sent, frame::frame(&ToPeer::Envelope(envelope.clone())));
        assert_eq!(decode_envelope(&sent[4..]), Some(Ok(envelope)));
    }

    #[test]
    fn the_kinds_are_counted_right() {
        let last = frame::frame(&ToServer::Splice { transfer: [0; 16], side: Side::Sender });
        assert_eq!(last[4] + 1, TO_SERVER_KINDS);
        let last = frame::frame(&ToPeer::Error { code: ErrorCode::Busy, detail: String::new() });
        assert_eq!(last[4] + 1, TO_PEER_KINDS);
        assert_eq!(ToServer::decode(&[TO_SERVER_KINDS]), Err(BadFrame::UnknownKind(TO_SERVER_KINDS)));
        assert_eq!(ToServer::decode(&[]), Err(BadFrame::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ToServer::decode(&body);
            let _ = ToPeer::decode(&body);
            let _ = decode_envelope(&body);
        }

        #[test]
        fn envelopes_come_out_as_they_went_in(
            from in "[A-Za-z0-9._-]{1,32}", to in "[A-Za-z0-9._-]{1,32}", number: u64,
            sealed in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let envelope = Envelope { from: &from, to: &to, kind: Kind::Receipt, number, sealed: &sealed };
            let bytes = frame::frame(&ToServer::Envelope(envelope.clone()));
            prop_assert_eq!(ToServer::decode(&bytes[4..]), Ok(ToServer::Envelope(envelope)));
        }
    }
}
