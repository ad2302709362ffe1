//! The messages between a peer and the server. PROTOCOL.md, sections 7 to 9, specifies them to the byte.
//!
//! Each enum is encoded with postcard: the number of the variant, then its fields. Variants may only be added at the end.
//! [`Envelope`] is the first variant of both enums, so that it has the same bytes in both directions and the server
//! forwards it without encoding it again.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Fingerprint};
use crate::frame::{self, BadFrame};
use crate::invitation::{InvitationClaim, KnownProof};
use crate::name::PeerName;
use crate::query::Query;
use crate::server_key::ServerPublic;
use crate::share::{Difference, Hit, ListedFile, Match, PublishedFile};

/// Identifies the store of a server; random, made with the store. If the store is lost, senders send again what it
/// held, even if the server has the same key.
pub type ServerId = [u8; 16];
/// Identifies one transfer of a file; drawn at random by the receiver.
pub type TransferId = [u8; 16];
/// What proves that a connection belongs to a member: the nonce in the [`ToPeer::Hello`] of the connection on which it has
/// joined.
pub type Token = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// The opening of a conversation. Its number is that of the oldest message without a receipt.
    Opening,
    /// A message. Its number counts the messages from this sender to this recipient, from 1.
    Message,
    /// A receipt. Its number is that of the newest message that it covers.
    Receipt,
    /// A request for a file. Its number counts the requests of the sending process.
    Request,
    /// The answer to a request. Its number is that of the request.
    Answer,
}

impl Kind {
    /// Whether the server stores it for an absent recipient. Requests and answers would be outdated later.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Opening | Self::Message | Self::Receipt)
    }

    /// The name in logs and traces.
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

/// Most names in one [`ToServer::Ping`].
pub const PING_NAMES_MAX: usize = 64;

/// Sealed content from one peer to another. The server reads everything but the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// The sender. The server refuses any name but the one that has joined.
    pub from: &'a str,
    pub to: &'a str,
    pub kind: Kind,
    /// Its meaning depends on the [`Kind`].
    pub number: u64,
    /// The content: an opening, or sealed bytes.
    #[serde(with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// An end of a transfer through the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The peer that has the file.
    Sender,
    /// The peer that wants it.
    Receiver,
}

/// A message from a peer to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer<'a> {
    /// Content for another peer.
    #[serde(borrow)]
    Envelope(Envelope<'a>),
    /// Joins: gives the peer's card and proves possession of its identity key.
    Join {
        /// An encoded [`crate::card::Card`].
        #[serde(with = "serde_bytes")]
        card: Vec<u8>,
        /// Signature of [`join_proof_text`].
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
        /// For a server that admits only members: proves that the peer has an invitation.
        invitation: Option<InvitationClaim>,
    },
    /// The peer has the first `count` envelopes of this connection on disk, so the server can drop them.
    Taken {
        /// Counted from the start of the connection.
        count: u64,
    },
    /// Asks for the card of a peer, and for each new card when that peer joins later.
    Lookup {
        name: PeerName,
    },
    /// Publishes the shared files in parts. The last part replaces everything that the peer has shared before.
    Publish {
        part: u32,
        last: bool,
        files: Vec<PublishedFile>,
    },
    Search {
        id: u32,
        query: Query,
        limit: u32,
    },
    /// The peer listens on this port for other peers. The server calls it back to check that.
    Listening {
        /// TCP port on the address at which the server sees the peer.
        port: u16,
    },
    /// Returns the challenge of a call back.
    CalledBack {
        /// The bytes after [`crate::frame::CALLBACK_PREFACE`].
        echo: [u8; 32],
    },
    Who {
        id: u32,
    },
    /// Instead of joining: this connection is one end of a file transfer through the server.
    Splice {
        transfer: TransferId,
        side: Side,
        /// As whom the peer has joined, on another connection.
        member: PeerName,
        /// The nonce of the Hello on that connection, which nobody else knows.
        token: Token,
    },
    /// Asks whether the server still answers, and which of some peers are connected.
    Ping {
        id: u32,
        /// At most [`PING_NAMES_MAX`] names.
        names: Vec<PeerName>,
    },
    /// Searches as people type it: for files that a [`crate::search::Search`] describes.
    Find {
        id: u32,
        /// The text of the search. The server reads it, so that errors in it have an answer.
        text: String,
        /// How many matches to leave out: those that earlier answers had.
        skip: u32,
        limit: u32,
    },
    /// Publishes what has changed since the last publication. It is refused unless the server has the list that it begins with.
    Change(Difference<PublishedFile>),
    /// Like [`ToServer::Publish`], of files that not everyone may see.
    PublishLimited {
        part: u32,
        last: bool,
        files: Vec<ListedFile>,
    },
    /// Like [`ToServer::Change`], with files that not everyone may see.
    ChangeLimited(Difference),
    /// Like [`ToServer::Join`], to a server with another key than the one in the invitation. If it belongs to the same cluster, it
    /// proves that with [`ToPeer::Invited`]. A server that does not know the invitation refuses the peer, unless it is a member.
    JoinInvited {
        /// An encoded [`crate::card::Card`].
        #[serde(with = "serde_bytes")]
        card: Vec<u8>,
        /// Signature of [`join_proof_text`].
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
        invitation: InvitationClaim,
    },
}

/// What became of envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Sent to the recipient's connection.
    Relayed,
    /// On the server's disk until the recipient takes it.
    Stored,
    Refused(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the recipient's mailbox on the server is full (--mail-bytes-per-recipient); try again after the recipient has \
         connected"
    )]
    MailboxFull,
    #[error("the server is busy; try again")]
    Busy,
    #[error("the recipient is not connected")]
    Absent,
    #[error(
        "you have as much undelivered mail on the server as it allows one sender (--mail-bytes-per-sender); try again when \
         some of it has been delivered"
    )]
    SenderFull,
    #[error(
        "senders at your address have as much undelivered mail on the server as it allows one address \
         (--mail-bytes-per-address); try again when some of it has been delivered"
    )]
    AddressFull,
    #[error("the server stores no more mail (--mail-bytes); try again when some of it has been delivered")]
    ServerFull,
    #[error(
        "you write to or wait for as many names that nobody has joined under as the server allows one sender \
         (--waiting-names-per-sender); try again later"
    )]
    SenderNames,
    #[error(
        "senders at your address write to or wait for as many names that nobody has joined under as the server allows one \
         address (--waiting-names-per-address); try again later"
    )]
    AddressNames,
    #[error("the server notes no more names that nobody has joined under (--waiting-names); try again later")]
    ServerNames,
    #[error("this connection watches as many names as the server allows (--watched-names); ask again later")]
    Watching,
    #[error(
        "you open more conversations than the server allows one sender in a minute (--openings-per-minute); with a larger \
         --rekey there are fewer"
    )]
    SenderOpenings,
}

/// A peer that has joined the server at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    pub name: PeerName,
    pub fingerprint: Fingerprint,
    pub online: bool,
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    Malformed,
    /// Version 1 has no such kind of message.
    UnknownKind,
    TooLong,
    /// A message that is not allowed before joining, or not any more after it.
    OutOfPlace,
    /// The sender of an envelope is not the name that has joined, or its recipient is not a valid name.
    BadEnvelope,
    BadCard,
    BadProof,
    /// The name belongs to another key.
    NameTaken,
    /// The same identity has joined on another connection.
    Superseded,
    ShuttingDown,
    Busy,
    /// The peer has not sent or read anything in time.
    TimedOut,
    /// The server admits only members, and the peer is not or no longer a member.
    NotAdmitted,
}

/// The first message of a server on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Random for each connection; the peer signs it to join.
    pub nonce: [u8; 32],
    /// Which store the server has.
    pub server: ServerId,
    /// The server's key. The server proves it in [`ToPeer::Welcome`].
    pub key: ServerPublic,
}

/// Identifies a TLS connection: both its ends compute the same bytes, and no other connection has them (`tls-exporter`, RFC
/// 9266). So what is signed with it cannot be forwarded over another TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelBinding(pub [u8; 32]);

impl ChannelBinding {
    /// The label with which it is exported from TLS (RFC 9266, section 2). The context is empty.
    pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
}

/// A message from the server to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToPeer<'a> {
    /// Content from another peer.
    #[serde(borrow)]
    Envelope(Envelope<'a>),
    /// The first frame of a connection.
    Hello(Greeting),
    Welcome {
        name: PeerName,
        /// Signature of the server's key, see [`crate::server_key::ServerKey::welcome`].
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
    },
    /// The outcome for `count` envelopes from number `first` on. The peer's envelopes are numbered from 0 on each
    /// connection.
    Routed { first: u64, count: u64, outcome: Outcome },
    /// A peer's card: the answer to a lookup, and sent again when that peer joins with another card.
    Card {
        /// An encoded [`crate::card::Card`].
        #[serde(with = "serde_bytes")]
        card: Vec<u8>,
    },
    /// Answers a lookup: no peer of that name has joined yet. Its card follows when it joins.
    Unknown { name: PeerName },
    /// The published files are on the server's disk and can be found.
    Published { files: u32, pairs: u32 },
    Found {
        id: u32,
        /// Hits of connected peers come first.
        hits: Vec<Hit>,
        /// Number of all hits, also of those beyond the limit.
        total: u64,
    },
    /// The result of a call back.
    Reachable {
        /// The address at which the server has reached the peer, if it has.
        address: Option<SocketAddr>,
    },
    Known {
        id: u32,
        /// At most 10,000, connected peers first.
        peers: Vec<KnownPeer>,
    },
    /// A request has failed. The connection continues.
    Failed {
        /// The id of the request; 0 for a publication.
        id: u32,
        /// The cause and the remedy, for people.
        detail: String,
    },
    /// The other end of the transfer is connected. The file message follows.
    Spliced,
    /// The last frame of a connection that the server ends.
    Error { code: ErrorCode, detail: String },
    Pong {
        id: u32,
        /// Those of its names whose peers are connected.
        present: Vec<PeerName>,
    },
    /// Messages of this peer were stored for `to` for too long and have been dropped undelivered: those with the numbers
    /// `first` to `last`. Counts as an envelope in [`ToServer::Taken`].
    Expired { to: PeerName, first: u64, last: u64 },
    /// Answers a lookup of a name that the server does not watch: it will not send a card later, so the peer has to ask
    /// again. If it has a card now, that comes first.
    Unwatched { name: PeerName, reason: Refusal },
    /// Answers a [`ToServer::Find`].
    Matches {
        id: u32,
        /// The best come first. Fewer than the limit if they would not fit into the frame.
        matches: Vec<Match>,
        /// Number of all matches, also of those before and after these.
        total: u64,
        /// If there is none: a search with other words that has some.
        instead: Option<String>,
    },
    /// Answers a [`ToServer::Find`] whose text is not a search.
    BadSearch {
        id: u32,
        /// The character of the text with the error, from 1.
        column: u32,
        /// What is wrong there, for people.
        detail: String,
    },
    /// Before the Welcome after a [`ToServer::JoinInvited`]: the server knows the invitation.
    Invited { proof: KnownProof },
}

const TO_SERVER_KINDS: u8 = 16;
const TO_PEER_KINDS: u8 = 19;

impl<'a> ToServer<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, BadFrame> {
        frame::decode_message(body, TO_SERVER_KINDS)
    }
}

impl<'a> ToPeer<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, BadFrame> {
        frame::decode_message(body, TO_PEER_KINDS)
    }
}

/// The first byte of an envelope's body, in both directions.
const ENVELOPE_KIND: u8 = 0;

/// Decodes the body of a frame if it is an envelope; `None` if it is another message.
pub fn decode_envelope(body: &[u8]) -> Option<Result<Envelope<'_>, BadFrame>> {
    match body.split_first() {
        Some((&ENVELOPE_KIND, rest)) => Some(frame::decode(rest)),
        _ => None,
    }
}

/// The message that a peer signs to join: the server's greeting, the digest of the peer's card, and the binding of the
/// connection if it has one.
pub fn join_proof_text(greeting: &Greeting, card: &[u8], binding: Option<&ChannelBinding>) -> Vec<u8> {
    let Greeting { nonce, server, key } = greeting;
    let binding = binding.map_or(&[][..], |binding| &binding.0);
    [nonce.as_slice(), &server[..], &key.0[..], &Digest::of(card).0[..], binding].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::ListDigest;
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
        let (removed, files) = (Vec::new(), Vec::new());
        let before_last = frame::frame(&ToServer::ChangeLimited(Difference {
            base: ListDigest::default(),
            removed,
            files,
        }));
        assert_eq!(before_last[4] + 2, TO_SERVER_KINDS);
        let invitation = InvitationClaim { id: [0; 8], mac: [0; 32] };
        let last = frame::frame(&ToServer::JoinInvited { card: Vec::new(), proof: Vec::new(), invitation });
        assert_eq!(last[4] + 1, TO_SERVER_KINDS);
        let last = frame::frame(&ToPeer::Invited { proof: [0; 32] });
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
