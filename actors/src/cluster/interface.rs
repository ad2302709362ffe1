//! The inputs and effects of the cluster's core.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::PeerName;
use wire::card::Card;
use wire::protocol::{ServerId, TransferId};

use crate::commands::admission::{Edit, ListChange};
use crate::commands::cluster::{BatchId, Command, Forwarded, Incarnation, Offered, Window};
use crate::commands::index::{Change, Held, Share};
use crate::commands::router::{Member, MemberCommand};
use crate::commands::session::SessionId;
use crate::commands::store::{Completion, Counted, Frames, Ordinal};
use crate::runtime::Reply;

/// The number of a change of the bucket. All servers see all changes in this order.
pub type Revision = u64;

/// The number of a message in the stream of mail.
pub type Sequence = u64;

/// A copy of mail that was stored in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The place of the first envelope in the mailbox at the server that has made the copy.
    pub first: Ordinal,
    /// How many envelopes it has.
    pub count: u64,
    /// The messages that have its parts.
    pub sequences: Vec<Sequence>,
}

/// A copy that is older than mail is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldCopy {
    pub store: ServerId,
    /// The folded name of its recipient.
    pub name: PeerName,
    pub sequences: Vec<Sequence>,
    /// Envelopes of one sender.
    pub frames: Bytes,
}

/// Where copies of mail are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Find {
    /// Of the mail for this recipient, by its folded name.
    For(PeerName),
    /// Of the mail of this store.
    Of(ServerId),
    /// Of all mail.
    All,
}

/// What the shell has to do with the stream of mail. Names are the folded ones of recipients.
#[derive(Debug)]
pub enum MailEffect {
    /// Copy mail. The same number is the same mail.
    Copy { number: u64, name: PeerName, first: Ordinal, count: u64, frames: Bytes },
    /// Remove the copies of this server that are before a message.
    Drop { name: PeerName, before: Sequence },
    /// List the copies of a store, of all its mail or for one recipient and its session.
    List { store: ServerId, of: Option<(PeerName, SessionId)> },
    /// Find out which stores have copies for which recipients.
    Find(Find),
    /// Remove all copies for a recipient, whichever store has the mail.
    Purge(PeerName),
    /// Read a copy for a session.
    Read { name: PeerName, session: SessionId, sequences: Vec<Sequence> },
    /// Remove a copy.
    Remove(Vec<Sequence>),
    /// Find the oldest copies that were made before a time, in seconds since 1970.
    FindOld { before: u64 },
}

/// The result of [`MailEffect::Read`].
#[derive(Debug)]
pub enum ReadMail {
    Found(Bytes),
    /// It was removed.
    Gone,
    Failed,
}

/// The result of a [`MailEffect`]. What has failed is none.
#[derive(Debug)]
pub enum MailInput {
    Copied { number: u64, sequences: Option<Vec<Sequence>> },
    Dropped(PeerName),
    Removed,
    Listed { store: ServerId, of: Option<(PeerName, SessionId)>, found: Option<Vec<(PeerName, Parcel)>> },
    Found(Option<Vec<(ServerId, PeerName)>>),
    FoundOld(Option<Vec<OldCopy>>),
    Read { name: PeerName, session: SessionId, mail: ReadMail },
}

/// The presence of a peer as the bucket has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    pub server: Incarnation,
    /// The peer's session at that server.
    pub session: SessionId,
    /// Where the peer can be dialled, as that server has tried.
    pub address: Option<SocketAddr>,
}

impl Here {
    /// Whether it is the same join.
    pub(super) fn is_join_of(&self, other: &Self) -> bool {
        (self.server, self.session) == (other.server, other.session)
    }
}

#[derive(Debug)]
pub enum Input {
    Command(Command),
    /// The bucket has a card for a name.
    Card {
        name: PeerName,
        card: Bytes,
        revision: Revision,
    },
    /// The bucket has no card for a name any more.
    NoCard {
        name: PeerName,
        revision: Revision,
    },
    /// The result of [`Effect::Free`].
    Freed {
        reply: Reply<Option<bool>>,
        is_done: bool,
    },
    /// The bucket has another presence for a name, or none.
    Here {
        name: PeerName,
        here: Option<Here>,
        revision: Revision,
    },
    /// The bucket says something about the list of members.
    Members(ListChange),
    /// The result of [`Effect::EditMembers`].
    MembersEdited(Reply<Option<Vec<Revision>>>, Option<Vec<Revision>>),
    /// The bucket has something about what a peer shares.
    Share(ShareInput),
    /// The result of [`Effect::Create`] or [`Effect::Update`]: what the bucket now has for the name, or none if it could not be
    /// asked.
    Claimed {
        name: PeerName,
        found: Option<(Bytes, Revision)>,
    },
    /// The result of [`Effect::Put`]: the revision, or none if it has failed.
    Put {
        name: PeerName,
        here: Here,
        revision: Option<Revision>,
    },
    /// The end of [`Effect::Erase`], whatever has become of it.
    Erased(PeerName),
    /// The answer to [`Effect::Appear`]: none if the Router does not know the name's owner.
    Appeared {
        session: SessionId,
        member: Option<Member>,
    },
    /// Another server has sent something.
    Packet(Bytes),
    /// The stream of mail has answered.
    Mail(MailInput),
    /// The connection to NATS has been made, or lost.
    Connected(bool),
    Tick,
}

/// What the bucket has of what peers share.
#[derive(Debug)]
pub enum ShareInput {
    /// A part of what a peer shares.
    Part { name: PeerName, number: u32, value: Bytes, revision: Revision },
    /// A change of what a peer shares, or its removal.
    Change { name: PeerName, number: u32, value: Option<Bytes> },
    /// The result of [`Effect::PutShare`] or [`Effect::PutChange`]: the revision of each value, or none if it has failed.
    Kept(Option<Vec<Revision>>),
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// Write a card into the bucket if there is none for its name.
    Create { name: PeerName, card: Bytes },
    /// Write a card in place of the one with this revision.
    Update { name: PeerName, card: Bytes, revision: Revision },
    /// Remove the card with this revision.
    Free { name: PeerName, revision: Revision, reply: Reply<Option<bool>> },
    /// Tell the Router that a name has no owner any more.
    Unown(PeerName),
    /// Tell the Router to drop the mail for a name.
    DropMail(PeerName),
    /// Write a presence at this server into the bucket: as a new join, or only in place of the one with a revision.
    Put { name: PeerName, here: Here, over: Option<Revision> },
    /// Remove the presence with this revision.
    Erase { name: PeerName, revision: Revision },
    /// Write entries of the list of members into the bucket.
    EditMembers { edits: Vec<Edit>, reply: Reply<Option<Vec<Revision>>> },
    /// Tell Admission what the bucket says about the list of members.
    Members(ListChange),
    /// Remove so many changes of the share before, and write the parts of a share into the bucket, each in place of the one with this
    /// revision; 0 if there is none.
    PutShare { name: PeerName, parts: Vec<(Bytes, Revision)>, changes: u32 },
    /// Write a change of a share into the bucket, unless there is one with this number.
    PutChange { name: PeerName, number: u32, value: Bytes },
    /// Give the Index what a peer shares.
    Share(Box<Share>),
    /// Give the Index a change of what a peer shares.
    ShareChange(Box<Change>),
    /// Tell the Index that a share uses no more memory.
    Release(Held),
    /// Do something with the stream of mail.
    Mail(MailEffect),
    /// Tell the Router what has become of mail.
    Complete(Completion),
    /// Tell the Router that mail of a server that is gone has expired, for this recipient.
    Expired { sender: PeerName, name: PeerName, count: u64, notice: Option<Frames> },
    /// Tell the Router whether copies of mail can be made.
    KeepsMail(bool),
    /// Tell the Router how much the other servers keep.
    KeptElsewhere(Vec<(Counted, u64)>),
    /// Send a packet to a server, or to all.
    Send { to: Option<Incarnation>, packet: Vec<u8> },
    /// Tell the Router of a peer at another server. [`Input::Appeared`] follows before any other input.
    Appear { name: PeerName, session: SessionId, window: Arc<Window> },
    /// Tell the Router something in the name of a peer at another server.
    Tell(Member, MemberCommand),
    /// Tell the Router the owner of a name.
    Learn(Box<Card>),
    /// Give the Router envelopes from another server.
    Forward(BatchId, Vec<Forwarded>),
    /// Tell the Router that the sending end of a transfer waits at another server. None: this server cannot connect to it.
    Elsewhere(TransferId, Option<Offered>),
}
