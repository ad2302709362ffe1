//! What the engine knows of another peer, and the messages on their way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::Digest;
use wire::PeerName;
use wire::card::Card;
use wire::conversation::{ConversationId, Outgoing};
use wire::protocol::ServerId;
use wire::signal::Complaint;

use super::Fatal;
use crate::peer::records::{ContactRecord, OutboxRecord};
use crate::peer::store::Store;

/// How often at most a stored message is sent again on a new connection.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(60);
/// A message that its recipient has refused more often is not sent again by this process.
const REFUSALS_MAX: u32 = 3;

/// Whether the server has been asked for somebody's card on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    NotAsked,
    Asked,
    /// The card is the newest that the server has.
    Known,
    /// Nobody of that name has joined there.
    Unknown,
    /// The card shows another key than the pinned one.
    Untrusted,
}

/// A message on its way.
pub(super) struct Unacked {
    /// Where it is sealed.
    pub(super) sealed: Option<Place>,
    /// Sealed bytes, if they were sealed since the process started; else they are on disk.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) stored_at: Option<ServerId>,
    /// Relayed to the recipient on this connection.
    pub(super) is_relayed: bool,
    /// How often the recipient has refused it.
    pub(super) refusals: u32,
}

/// Where a message is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conversation: ConversationId,
    pub(super) place: u64,
    pub(super) running_hash: Digest,
}

/// A conversation opened since the process started.
pub(super) struct Current {
    pub(super) outgoing: Outgoing,
    pub(super) opened_at: Instant,
    /// Whether it is in the store, so that its messages can be sent again after a restart.
    pub(super) is_kept: bool,
}

/// Another peer.
pub(super) struct Contact {
    pub(super) name: PeerName,
    /// The newest card whose key is the pinned one.
    pub(super) card: Option<Card>,
    pub(super) next_number: u64,
    pub(super) last_number: u64,
    /// How often another identity key was trusted in place of the one before; numbers start again then.
    pub(super) generation: u64,
    pub(super) current: Option<Current>,
    /// Openings of conversations under which messages are on their way, as they travel.
    pub(super) openings: BTreeMap<ConversationId, (u64, Vec<u8>)>,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    /// The numbers to be sent on this connection.
    pub(super) unsent: BTreeSet<u64>,
    pub(super) lookup: Lookup,
    /// Conversations whose opening went out on this connection.
    pub(super) opened_here: BTreeSet<ConversationId>,
    /// Conversations of theirs that were complained about on this connection.
    pub(super) complained: BTreeSet<ConversationId>,
    /// Complaints that wait for a card to seal them for.
    pub(super) complaints_due: BTreeMap<ConversationId, (u64, Complaint)>,
    /// Another identity key than the pinned one was shown for this name, and is not trusted.
    pub(super) is_distrusted: bool,
    /// Conversations of theirs for which a receipt could not be handed on; due again after `retry_at`.
    pub(super) receipts_refused: BTreeSet<ConversationId>,
    /// When a message that is stored was last sent again, to make the recipient repeat a receipt that was lost.
    pub(super) probed_at: Option<Instant>,
    /// When a message was last sent again because a receipt could not be read.
    pub(super) unread_at: Option<Instant>,
    /// Not to be tried again before.
    pub(super) retry_at: Option<Instant>,
}

impl Contact {
    pub(super) fn new(name: PeerName) -> Self {
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

    pub(super) fn record(&self) -> ContactRecord {
        ContactRecord {
            name: self.name.clone(),
            card: self.card.as_ref().map(|card| card.as_bytes().to_vec()),
            next_number: self.next_number,
            last_number: self.last_number,
            generation: self.generation,
        }
    }

    /// A new connection to a server: everything that it does not have is to be sent again, in order.
    ///
    /// Of what it has stored the oldest goes once more if it has not lately: the receipt may have been lost with the
    /// server's memory, and a recipient that has the message repeats it.
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

    /// Something never arrived: everything without a receipt goes once more, in order, with its openings.
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

    /// The oldest message without a receipt goes once more: whoever has it repeats the receipt.
    pub(super) fn send_oldest_again(&mut self, now: Instant) {
        if let Some(number) = self.unacked.keys().next() {
            self.probed_at = Some(now);
            self.unsent.insert(*number);
        }
    }

    /// When to ask for the receipt of a message that was relayed and never acknowledged, if there is one.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        let (_, oldest) = self.unacked.first_key_value()?;
        self.probed_at.filter(|_| oldest.is_relayed).map(|at| at + PROBE_EVERY)
    }

    /// Asks for it if it is time to.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.probe_at().is_some_and(|at| at <= now) {
            self.send_oldest_again(now);
        }
    }

    /// Whether something is to be said to it on this connection.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty() || !self.complaints_due.is_empty() || !self.receipts_refused.is_empty()
    }

    /// Conversations of ours under which nothing is on its way any more and nothing will be.
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

impl Unacked {
    pub(super) fn new() -> Self {
        Self { sealed: None, bytes: None, stored_at: None, is_relayed: false, refusals: 0 }
    }

    fn from_record(record: &OutboxRecord) -> Self {
        let sealed = record.sealed.as_ref().map(|s| Place {
            conversation: s.conversation,
            place: s.place,
            running_hash: s.running_hash,
        });
        Self { sealed, ..Self::new() }
    }
}

/// All contacts, with what is on its way to them.
pub(super) fn load(store: &Store) -> Result<BTreeMap<PeerName, Contact>, Fatal> {
    let mut contacts: BTreeMap<PeerName, Contact> = BTreeMap::new();
    for record in store.contacts()? {
        contacts.insert(record.name.folded(), Contact::from_record(record));
    }
    for ((name, number), record) in store.outbox()? {
        // A contact is written with the first message to it, so it is there.
        if let Some(contact) = name.parse().ok().and_then(|name: PeerName| contacts.get_mut(&name)) {
            contact.unacked.insert(number, Unacked::from_record(&record));
        }
    }
    for (id, record) in store.outgoing()? {
        if let Some(contact) = contacts.get_mut(&record.to.folded()) {
            contact.openings.insert(id, (record.first_number, record.opening));
        }
    }
    Ok(contacts)
}
