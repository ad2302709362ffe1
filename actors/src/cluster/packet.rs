//! What servers of a cluster send to each other over core NATS: a version byte, and a value in postcard.

use serde::{Deserialize, Serialize};
use wire::protocol::{ServerId, TransferId};
use wire::{PeerName, frame};

use crate::commands::cluster::{Incarnation, Offered};
use crate::commands::network::Network;
use crate::commands::session::SessionId;
use crate::commands::store::Counted;

/// Servers of different versions ignore each other's packets.
const VERSION: u8 = 5;
/// A batch is cut into parts of this size, because nats-server refuses messages above 1 MiB unless told otherwise.
pub(super) const PART_BYTES_MAX: usize = 256 << 10;
/// The maximum size of a batch: what a sender puts together, and one delivery more.
pub(super) const BATCH_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packet<'a> {
    pub(super) from: Incarnation,
    #[serde(borrow)]
    pub(super) body: Body<'a>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body<'a> {
    /// The server is alive, and has this store.
    Alive { store: ServerId },
    /// The server ends.
    Ends,
    /// A part of a batch.
    Part {
        /// Counts the fresh starts of the link.
        epoch: u64,
        /// Counts the parts of the epoch, from 0.
        number: u64,
        is_last: bool,
        /// What went the other way, and whose outcome was not said yet.
        handled: Vec<Handled>,
        #[serde(with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// The same, if no batch goes this way soon.
    Done(Vec<Handled>),
    /// The peer has taken this many envelopes, of those that the store of the receiving server keeps and that it has handed
    /// over for a presence.
    Taken { presence: SessionId, count: u64 },
    /// The server has admitted a new name from this network.
    Newcomer { network: Network },
    /// The mail for a name is to be dropped, because the name is released.
    DropMail { name: PeerName },
    /// How much mail the server keeps, in steps of a limit (`kept`). `is_all`: nothing that it has said before holds.
    Kept { is_all: bool, amounts: Vec<(Counted, u64)> },
    /// The server may have missed something: what others keep.
    Missed,
    /// The receiving end of a transfer waits at the server.
    Wanted { transfer: TransferId },
    /// The sending end waits at the server. None: other servers cannot connect to it.
    Offered { transfer: TransferId, offered: Option<Offered> },
}

/// The outcome of the batch that ended with a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handled {
    pub(super) epoch: u64,
    /// The number of the part.
    pub(super) number: u64,
    /// The places of the items that could not be relayed.
    pub(super) refused: Vec<u32>,
}

/// A name as one part of a key or a subject of NATS, where a dot separates parts.
pub(super) fn token(name: &PeerName) -> String {
    name.as_str().replace('.', "=")
}

/// The name in a [`token`].
pub(super) fn name_in(token: &str) -> Option<PeerName> {
    token.replace('=', ".").parse().ok()
}

/// Consecutive envelopes of one sender for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) from: PeerName,
    pub(super) to: PeerName,
    /// The recipient's session at the receiving server.
    pub(super) session: SessionId,
    /// The presence at the sending server, by whose id the receiving one knows which items follow a refused one.
    pub(super) presence: SessionId,
    pub(super) is_kept: bool,
    /// The store of the sending server keeps them until they are taken.
    pub(super) is_stored: bool,
    #[serde(with = "serde_bytes")]
    pub(super) frames: Vec<u8>,
}

impl Packet<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(frame::body(self));
        bytes
    }
}

/// Returns none for a packet of another version, or one that is damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&VERSION, body) = bytes.split_first()? else { return None };
    frame::decode(body).ok()
}
