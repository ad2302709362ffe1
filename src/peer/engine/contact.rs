//! What the engine knows of another peer, and the messages on their way to it.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Values, ValuesMut};
use std::time::{Duration, Instant};

use wire::Digest;
use wire::PeerName;
use wire::card::Card;
use wire::conversation::{ConversationId, Outgoing};
use wire::protocol::ServerId;
use wire::signal::Complaint;

use super::interface::Loaded;
use crate::peer::records::{ContactRecord, OutboxRecord, Write};

/// A stored message is sent again, to ask for its receipt, at most this often.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(60);
/// A message that its recipient has refused more often is not sent again on this connection.
const REFUSALS_MAX: u32 = 3;

/// Whether two names have the same owner: case does not count.
pub(super) fn same_name(a: &PeerName, b: &PeerName) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

/// Whether the server has been asked for a peer's card on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    NotAsked,
    Asked,
    /// The server has sent its newest card.
    Known,
    /// No peer of that name has joined there.
    Unknown,
    /// The card shows another identity key than the pinned one.
    Untrusted,
}

/// A message without a receipt.
#[derive(Default)]
pub(super) struct Unacked {
    pub(super) sealed: Option<Place>,
    /// The ciphertext until it is first sent; after that it is only on disk.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) stored_at: Option<ServerId>,
    /// Relayed to the recipient on this connection.
    pub(super) is_relayed: bool,
    /// How often the recipient has refused it.
    pub(super) refusals: u32,
}

/// Under which conversation a message is sealed, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conversation: ConversationId,
    pub(super) place: u64,
    pub(super) running_hash: Digest,
}

/// A conversation that this process has opened.
pub(super) struct Current {
    pub(super) outgoing: Outgoing,
    pub(super) opened_at: Instant,
    /// Whether its opening is in the store. It is written with the first message under it.
    pub(super) is_kept: bool,
}

/// Another peer.
pub(super) struct Contact {
    pub(super) name: PeerName,
    /// The newest card whose key is the pinned one.
    pub(super) card: Option<Card>,
    pub(super) next_number: u64,
    pub(super) last_number: u64,
    /// How often the numbers of its messages have started again.
    pub(super) generation: u64,
    /// Whether the record of it is to be written.
    pub(super) is_changed: bool,
    pub(super) current: Option<Current>,
    /// Openings of conversations under which messages are on their way: first number, and bytes.
    pub(super) openings: BTreeMap<ConversationId, (u64, Vec<u8>)>,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    /// The numbers of the messages to be sent on this connection.
    pub(super) unsent: BTreeSet<u64>,
    pub(super) lookup: Lookup,
    /// Conversations whose opening was sent on this connection.
    pub(super) opened_here: BTreeSet<ConversationId>,
    /// Conversations of the other peer that were complained about on this connection.
    pub(super) complained: BTreeSet<ConversationId>,
    /// Complaints that cannot be sealed before the card is here.
    pub(super) complaints_due: BTreeMap<ConversationId, (u64, Complaint)>,
    /// Another identity key than the pinned one was shown for this name.
    pub(super) is_distrusted: bool,
    /// Conversations whose receipt the server has refused. They are due again after `retry_at`.
    pub(super) receipts_refused: BTreeSet<ConversationId>,
    /// When a message was last sent again to make the recipient repeat a lost receipt.
    pub(super) probed_at: Option<Instant>,
    /// When a message was last sent again because a receipt could not be read.
    pub(super) unread_at: Option<Instant>,
    /// Nothing is sent before this time.
    pub(super) retry_at: Option<Instant>,
}

impl Contact {
    fn new(name: PeerName) -> Self {
        let record = ContactRecord { name, card: None, next_number: 1, last_number: 0, generation: 0 };
        Self::from_record(record)
    }

    fn from_record(record: ContactRecord) -> Self {
        Self {
            // A card that no longer reads is asked for again.
            card: record.card.and_then(|bytes| Card::from_bytes(&bytes).ok()),
            name: record.name,
            next_number: record.next_number,
            last_number: record.last_number,
            generation: record.generation,
            is_changed: false,
            current: None,
            openings: BTreeMap::new(),
            unacked: BTreeMap::new(),
            unsent: BTreeSet::new(),
            lookup: Lookup::NotAsked,
            opened_here: BTreeSet::new(),
            complained: BTreeSet::new(),
            complaints_due: BTreeMap::new(),
            is_distrusted: false,
            receipts_refused: BTreeSet::new(),
            probed_at: None,
            unread_at: None,
            retry_at: None,
        }
    }

    fn record(&self) -> ContactRecord {
        ContactRecord {
            name: self.name.clone(),
            card: self.card.as_ref().map(|card| card.as_bytes().to_vec()),
            next_number: self.next_number,
            last_number: self.last_number,
            generation: self.generation,
        }
    }

    /// The number of the next message to it.
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.is_changed = true;
        self.unacked.insert(number, Unacked::default());
        self.unsent.insert(number);
        number
    }

    /// The other peer counts its messages from 1 again.
    pub(super) fn number_again(&mut self) {
        self.generation += 1;
        self.last_number = 0;
        self.is_changed = true;
    }

    /// A new connection to a server: every message that this server does not have is sent again, in order.
    ///
    /// The oldest of those that it has is sent again as well, unless that was done recently: its receipt may have been lost
    /// with the server's memory, and a recipient that already has the message repeats the receipt.
    pub(super) fn reconnected(&mut self, server: &ServerId, now: Instant) {
        self.lookup = Lookup::NotAsked;
        self.opened_here.clear();
        self.complained.clear();
        self.retry_at = None;
        self.unsent.clear();
        for (number, message) in &mut self.unacked {
            (message.is_relayed, message.refusals) = (false, 0);
            if message.stored_at != Some(*server) {
                self.unsent.insert(*number);
            }
        }
        if self.probed_at.is_none_or(|at| now.saturating_duration_since(at) > PROBE_EVERY) {
            self.send_oldest_again(now);
        }
    }

    /// A message never arrived: everything without a receipt is sent again, in order, with its openings.
    pub(super) fn send_all_again(&mut self) {
        self.opened_here.clear();
        for (number, message) in &mut self.unacked {
            (message.stored_at, message.is_relayed) = (None, false);
            if message.refusals <= REFUSALS_MAX {
                self.unsent.insert(*number);
            } else {
                self.unsent.remove(number);
            }
        }
    }

    /// Sends the oldest message without a receipt again: a recipient that has it repeats the receipt.
    pub(super) fn send_oldest_again(&mut self, now: Instant) {
        if let Some(number) = self.unacked.keys().next() {
            self.probed_at = Some(now);
            self.unsent.insert(*number);
        }
    }

    /// When to send a message again that was relayed and has no receipt.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        let (_, oldest) = self.unacked.first_key_value()?;
        self.probed_at.filter(|_| oldest.is_relayed).map(|at| at + PROBE_EVERY)
    }

    pub(super) fn probe(&mut self, now: Instant) {
        if self.probe_at().is_some_and(|at| at <= now) {
            self.send_oldest_again(now);
        }
    }

    /// Whether something is to be sent to it on this connection.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty() || !self.complaints_due.is_empty() || !self.receipts_refused.is_empty()
    }

    /// Forgets the openings of conversations under which no message is on its way and none will be. Returns their ids.
    pub(super) fn finished(&mut self) -> Vec<ConversationId> {
        let mut used: BTreeSet<ConversationId> =
            self.unacked.values().filter_map(|m| m.sealed.map(|s| s.conversation)).collect();
        used.extend(self.current.as_ref().map(|c| c.outgoing.opening().id));
        let finished: Vec<ConversationId> =
            self.openings.keys().filter(|id| !used.contains(id)).copied().collect();
        for id in &finished {
            self.openings.remove(id);
        }
        finished
    }
}

/// All other peers, by folded name.
#[derive(Default)]
pub(super) struct Contacts(BTreeMap<PeerName, Contact>);

impl Contacts {
    pub(super) fn load(loaded: &mut Loaded) -> Self {
        let records = std::mem::take(&mut loaded.contacts);
        let mut contacts =
            Self(records.into_iter().map(|r| (r.name.folded(), Contact::from_record(r))).collect());
        // A contact is written in the same transaction as the first message to it, so it is there.
        for ((name, number), record) in std::mem::take(&mut loaded.outbox) {
            if let Some(contact) = contacts.of_folded(&name) {
                contact.unacked.insert(number, Unacked::from_record(&record));
            }
        }
        for ((name, number), server) in &loaded.stored {
            let message = contacts.of_folded(name).and_then(|contact| contact.unacked.get_mut(number));
            if let Some(message) = message {
                message.stored_at = Some(*server);
            }
        }
        for (id, record) in std::mem::take(&mut loaded.outgoing) {
            if let Some(contact) = contacts.get_mut(&record.to) {
                contact.openings.insert(id, (record.first_number, record.opening));
            }
        }
        contacts
    }

    fn of_folded(&mut self, name: &str) -> Option<&mut Contact> {
        self.0.get_mut(&name.parse::<PeerName>().ok()?)
    }

    pub(super) fn get(&self, name: &PeerName) -> Option<&Contact> {
        self.0.get(&name.folded())
    }

    pub(super) fn get_mut(&mut self, name: &PeerName) -> Option<&mut Contact> {
        self.0.get_mut(&name.folded())
    }

    /// The contact of a name; a new one if the name is not known.
    pub(super) fn of(&mut self, name: &PeerName) -> &mut Contact {
        self.0.entry(name.folded()).or_insert_with(|| Contact::new(name.clone()))
    }

    pub(super) fn iter(&self) -> Values<'_, PeerName, Contact> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> ValuesMut<'_, PeerName, Contact> {
        self.0.values_mut()
    }

    /// The records that have changed since the last call.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = Write> {
        self.iter_mut().filter_map(|contact| {
            std::mem::take(&mut contact.is_changed).then(|| Write::Contact(contact.record()))
        })
    }
}

impl Unacked {
    fn from_record(record: &OutboxRecord) -> Self {
        let sealed = record.sealed.as_ref().map(|s| Place {
            conversation: s.conversation,
            place: s.place,
            running_hash: s.running_hash,
        });
        Self { sealed, ..Self::default() }
    }
}
