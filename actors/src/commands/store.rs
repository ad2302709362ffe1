//! To the store, and what it says of what it has done.

use std::ops::Range;

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::ServerId;

use super::network::Network;
use super::router::PeerKey;
use super::session::SessionId;
use crate::runtime::{Address, Reply, Unsent};

/// A place in a mailbox. The Router gives each envelope for a recipient the next one, whether it is stored or not, so
/// that what comes back from a broken session is put where it belongs.
pub type Ordinal = u64;

/// Whose mail it is: what a sender, and all senders of a network together, may have stored is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// Its name, folded.
    pub name: PeerName,
    /// From where it was connected.
    pub network: Network,
}

impl Sender {
    /// Stands for the sender of mail whose sender is not known: the recipient itself.
    pub fn of_nobody(recipient: &PeerName) -> Self {
        Self { name: recipient.folded(), network: Network::UNKNOWN }
    }
}

/// An amount of mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many envelopes.
    pub envelopes: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.envelopes += other.envelopes;
        self.bytes += other.bytes;
    }
}

/// What came from one session in one go, to be told when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The sender.
    pub peer: PeerKey,
    /// Its session at the time.
    pub session: SessionId,
    /// The number of its first envelope on that session.
    pub first: u64,
}

/// Envelopes that lie one after the other, each with its frame's length in front, as they travelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// The length of each frame in bytes.
    pub lengths: Vec<u32>,
    /// All of them.
    pub bytes: Bytes,
}

impl Frames {
    /// How many.
    pub fn count(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Each on its own.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        self.lengths.iter().map(move |length| {
            let start = at;
            at += *length as usize;
            self.bytes.slice(start..at)
        })
    }

    /// Their number and size.
    pub fn amount(&self) -> Amount {
        Amount { envelopes: self.count(), bytes: self.bytes.len() as u64 }
    }

    /// Drops the first `count`.
    pub fn skip(mut self, count: usize) -> Self {
        let cut: usize = self.lengths.drain(..count).map(|l| l as usize).sum();
        Self { bytes: self.bytes.slice(cut..), lengths: self.lengths }
    }
}

/// What a mailbox holds: the place of the first of each group of envelopes.
pub type Mail = Vec<(Ordinal, Frames)>;

/// To the store.
#[derive(Debug)]
pub enum Command {
    /// Keeps a card; answered once it is on disk.
    PutCard {
        /// Whose, in the Router's terms; comes back.
        peer: PeerKey,
        /// Whose, folded.
        name: PeerName,
        /// See [`wire::card`].
        card: Vec<u8>,
        /// Dropped if it could not be written.
        reply: Reply<()>,
    },
    /// Keeps envelopes; see [`Completion::Put`].
    Put {
        /// The recipient, folded.
        name: PeerName,
        /// The place of the first; the others follow.
        first: Ordinal,
        /// What to keep.
        frames: Frames,
        /// Whose mail it is.
        sender: Box<Sender>,
        /// When it was accepted, in seconds since 1970.
        at: u64,
        /// Whom to tell.
        origin: Origin,
    },
    /// Reads a mailbox from a place on; see [`Completion::Fetched`].
    Fetch {
        /// The recipient, folded.
        name: PeerName,
        /// The same in the Router's terms; comes back.
        peer: PeerKey,
        /// For whom; comes back.
        session: SessionId,
        /// Which places: not those of envelopes that are put after this was asked.
        places: Range<Ordinal>,
    },
    /// Drops what is at some places; see [`Completion::Forgotten`].
    Forget {
        /// The recipient, folded.
        name: PeerName,
        /// Which places.
        places: Range<Ordinal>,
    },
    /// Looks for mail that is too old, a part of all mail at a time; see [`Completion::Swept`].
    Sweep {
        /// Where the part begins: where the last one ended.
        from: Option<(PeerName, Ordinal)>,
        /// Mail that was accepted before this time is too old, in seconds since 1970.
        before: u64,
    },
}

/// Mail of one sender that is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The recipient, folded.
    pub name: PeerName,
    /// Its places.
    pub places: Range<Ordinal>,
    /// Who sent it.
    pub sender: Sender,
    /// The frame that tells the sender which messages are dropped; none if there are no messages among the envelopes.
    pub notice: Option<Frames>,
}

/// What has become of a command.
#[derive(Debug)]
pub enum Completion {
    /// A put is on disk, or could not be written.
    Put {
        /// The recipient, folded.
        name: PeerName,
        /// Whom to tell.
        origin: Origin,
        /// Whose mail it is.
        sender: Sender,
        /// How much it is.
        amount: Amount,
        /// Whether it is on disk.
        stored: bool,
    },
    /// What was in the mailbox.
    Fetched {
        /// As in the command.
        peer: PeerKey,
        /// As in the command.
        session: SessionId,
        /// What was found, in order: envelopes whose places follow one another lie together behind the first place. And
        /// from where on to read next, or nothing if that was all. Nothing at all if it could not be read.
        found: Option<(Mail, Option<Ordinal>)>,
    },
    /// Mail is no longer on disk. Not told if it could not be dropped.
    Forgotten {
        /// The recipient, folded.
        name: PeerName,
        /// How much of whose mail it was.
        amounts: Vec<(Sender, Amount)>,
    },
    /// A part of all mail has been looked through.
    Swept {
        /// What is too old.
        overdue: Vec<Overdue>,
        /// Where the next part begins; none at the end.
        next: Option<(PeerName, Ordinal)>,
    },
    /// A card is on disk, or could not be written.
    Card {
        /// As in the command.
        peer: PeerKey,
        /// Whether it is on disk.
        written: bool,
    },
}

/// What is on disk when the server starts.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Which server this is.
    pub server: ServerId,
    /// Everybody who has ever joined, folded, with their card.
    pub cards: Vec<(PeerName, Vec<u8>)>,
    /// The mailboxes that are not empty.
    pub mailboxes: Vec<MailboxSize>,
}

/// How full a mailbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSize {
    /// The recipient, folded.
    pub name: PeerName,
    /// How much of whose mail is in it, by sender.
    pub amounts: Vec<(Sender, Amount)>,
    /// The place after the last.
    pub end: Ordinal,
}

/// Where commands for the store are sent.
#[derive(Debug, Clone)]
pub struct StoreHandle(pub(crate) Address<Command>);

/// What the Router puts commands into; a test puts a model there.
pub trait StorePort {
    /// Hands a command over if there is room.
    ///
    /// # Errors
    /// The command, if the store has more to do than it can take on.
    fn offer(&mut self, command: Command) -> Result<(), Command>;

    /// Hands a command over and waits while there is no room.
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
