//! To the store, and its completions.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::PeerName;
use wire::frame::LENGTH_BYTES;
use wire::protocol::ServerId;

use super::network::Network;
use super::router::PeerKey;
use super::session::SessionId;
use crate::runtime::{Address, Reply, Unsent};

/// The place of an envelope in its recipient's mailbox. The Router gives each envelope the next place, whether it is
/// stored or not, so that what a broken session hands back is stored where it belongs.
pub type Ordinal = u64;

/// The sender of stored mail. The amount of mail is limited for each sender, and for each network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// Its folded name.
    pub name: PeerName,
    /// The network of its connection when it sent the mail.
    pub network: Network,
}

impl Sender {
    /// The sender of mail whose sender is unknown: the recipient itself.
    pub fn of_nobody(recipient: &PeerName) -> Self {
        Self { name: recipient.folded(), network: Network::UNKNOWN }
    }
}

/// An amount of mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub envelopes: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// An envelope counts this much more than its size, about what the store and the Router need for it. So the limits in
/// bytes also limit the number of envelopes.
const ENVELOPE_BYTES: u64 = 1 << 10;

impl Amount {
    /// The bytes that it counts against a limit.
    pub fn cost(self) -> u64 {
        self.bytes + self.envelopes * ENVELOPE_BYTES
    }
}

/// For whom stored mail is counted, where a cluster has one limit for all its servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Counted {
    /// By its folded name.
    Recipient(PeerName),
    /// By its folded name.
    Sender(PeerName),
    Network(Network),
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.envelopes += other.envelopes;
        self.bytes += other.bytes;
    }
}

/// The origin of consecutive envelopes, to which their outcome is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub peer: PeerKey,
    /// Its session at the time.
    pub session: SessionId,
    /// The number of its first envelope on that session.
    pub first: u64,
}

/// Encoded envelopes: consecutive frames, each with its length prefix, as they travel on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// The length of each frame in bytes, prefix included.
    pub lengths: Vec<u32>,
    pub bytes: Bytes,
}

impl Frames {
    /// Consecutive frames.
    pub fn of(bytes: Bytes) -> Self {
        Self { lengths: frame_lengths(&bytes).collect(), bytes }
    }

    pub fn count(&self) -> u64 {
        self.lengths.len() as u64
    }

    pub fn iter(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        self.lengths.iter().map(move |length| {
            let start = at;
            at += *length as usize;
            self.bytes.slice(start..at)
        })
    }

    pub fn amount(&self) -> Amount {
        Amount { envelopes: self.count(), bytes: self.bytes.len() as u64 }
    }

    /// Keeps only the first `count`.
    pub fn first(mut self, count: usize) -> Self {
        self.lengths.truncate(count);
        let bytes: usize = self.lengths.iter().map(|l| *l as usize).sum();
        Self { bytes: self.bytes.slice(..bytes), lengths: self.lengths }
    }

    /// Drops the first `count`.
    pub fn skip(mut self, count: usize) -> Self {
        let cut: usize = self.lengths.drain(..count).map(|l| l as usize).sum();
        Self { bytes: self.bytes.slice(cut..), lengths: self.lengths }
    }
}

/// The lengths of consecutive frames, each with its length field. An incomplete frame at the end counts as one.
pub fn frame_lengths(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = match rest.first_chunk::<LENGTH_BYTES>() {
            Some(length) => {
                (u32::from_le_bytes(*length) as usize).saturating_add(LENGTH_BYTES).min(rest.len())
            }
            None => rest.len(),
        };
        rest = &rest[length..];
        (length > 0).then(|| u32::try_from(length).unwrap_or(u32::MAX))
    })
}

/// The contents of a mailbox: groups of envelopes with consecutive places, each with the place of its first.
pub type Mail = Vec<(Ordinal, Frames)>;

#[derive(Debug)]
pub enum Command {
    /// Writes a card. Answered when it is on disk.
    PutCard {
        /// The owner; repeated in the completion.
        peer: PeerKey,
        /// The owner's folded name.
        name: PeerName,
        /// The encoded card; see [`wire::card`].
        card: Vec<u8>,
        /// Dropped if the card could not be written.
        reply: Reply<()>,
    },
    /// Drops the card of a name; answered with true once that is on disk.
    DropCard {
        /// Whose, folded.
        name: PeerName,
        /// Dropped if it could not be written.
        reply: Reply<bool>,
    },
    /// Writes envelopes; see [`Completion::Put`].
    Put {
        /// The recipient's folded name.
        name: PeerName,
        /// The place of the first envelope; the others follow.
        first: Ordinal,
        frames: Frames,
        sender: Box<Sender>,
        /// When it was accepted, in seconds since 1970.
        at: u64,
        /// Where to report the outcome.
        origin: Origin,
    },
    /// Reads envelopes from a mailbox; see [`Completion::Fetched`].
    Fetch {
        /// The recipient's folded name.
        name: PeerName,
        /// The same recipient; repeated in the completion.
        peer: PeerKey,
        /// The session that gets the envelopes; repeated in the completion.
        session: SessionId,
        /// The places to read. They do not include envelopes that are written after this command.
        places: Range<Ordinal>,
    },
    /// Deletes the envelopes at some places; see [`Completion::Forgotten`].
    Forget {
        /// The recipient's folded name.
        name: PeerName,
        places: Range<Ordinal>,
    },
    /// Looks for mail that is too old, in a bounded part of all mail; see [`Completion::Swept`].
    Sweep {
        /// Where the part begins, which is where the last one ended; `None` for the start.
        from: Option<(PeerName, Ordinal)>,
        /// Mail that was accepted before this time is too old, in seconds since 1970.
        before: u64,
    },
}

/// Mail of one sender that is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The recipient's folded name.
    pub name: PeerName,
    /// The places of the mail.
    pub places: Range<Ordinal>,
    pub sender: Sender,
    /// The frames that tell the sender which messages are dropped; `None` if there are no messages among the envelopes.
    pub notice: Option<Frames>,
}

/// The mail of a [`Command::Put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The recipient's folded name.
    pub name: PeerName,
    /// The place of the first envelope.
    pub first: Ordinal,
    pub frames: Frames,
    pub sender: Sender,
    /// Where to report the outcome.
    pub origin: Origin,
}

/// The outcome of a command.
#[derive(Debug)]
pub enum Completion {
    /// The envelopes of a [`Command::Put`] are on disk, and in a cluster also copied, or could not be written.
    Put { mail: Box<Written>, stored: bool },
    /// The envelopes of a [`Command::Put`] are on disk, but the cluster has no copy yet. They will be delivered, but the loss of
    /// this server would lose them, so their sender must not count on them.
    Uncopied { origin: Origin, amount: Amount },
    /// The result of a [`Command::Fetch`].
    Fetched {
        peer: PeerKey,
        session: SessionId,
        /// The envelopes in order, and the place to continue at if there are more. `None` if they could not be read.
        found: Option<(Mail, Option<Ordinal>)>,
    },
    /// Mail was deleted. Not sent if that failed.
    Forgotten {
        /// The recipient's folded name.
        name: PeerName,
        places: Range<Ordinal>,
        /// The deleted amount for each sender.
        amounts: Vec<(Sender, Amount)>,
    },
    /// The result of a [`Command::Sweep`].
    Swept {
        overdue: Vec<Overdue>,
        /// Where the next part begins; `None` at the end.
        next: Option<(PeerName, Ordinal)>,
    },
    /// A card is on disk, or could not be written.
    Card { peer: PeerKey, written: bool },
}

/// What is on disk when the server starts.
#[derive(Debug, Default)]
pub struct Inventory {
    pub server: ServerId,
    /// The folded names of all peers that have ever joined, and their encoded cards.
    pub cards: Vec<(PeerName, Vec<u8>)>,
    /// The mailboxes that are not empty.
    pub mailboxes: Vec<MailboxSize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSize {
    /// The recipient's folded name.
    pub name: PeerName,
    /// The amount of mail of each sender.
    pub amounts: Vec<(Sender, Amount)>,
    /// The place after the last.
    pub end: Ordinal,
}

#[derive(Debug, Clone)]
pub struct StoreHandle(pub(crate) Address<Command>);

/// The Router's access to the store; a test or simulation uses a model.
pub trait StorePort {
    /// Sends a command if there is room.
    ///
    /// The command, if the mailbox of the store is full.
    fn offer(&mut self, command: Command) -> Result<(), Command>;

    /// Sends a command, and waits while there is no room.
    fn send(&mut self, command: Command);
}

impl StorePort for StoreHandle {
    fn offer(&mut self, command: Command) -> Result<(), Command> {
        self.0.offer(command).map_err(Unsent::into_command)
    }

    fn send(&mut self, command: Command) {
        // The store ends after the Router, and if it panics the process ends.
        let _ = self.0.send(command);
    }
}
