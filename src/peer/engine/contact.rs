//! The state of another peer, and of the messages for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use wire::card::Card;
use wire::conversation::{ConversationId, Opening, Outgoing};
use wire::protocol::ServerId;
use wire::signal::Complaint;
use wire::{Digest, Fingerprint, PeerName};

use super::guard::Budget;
use super::pace::{Backoff, Credit, Spacing, jittered};
use crate::peer::records::{ContactRecord, LateRecord, OutboxRecord};

/// How long to wait for a receipt. Then the oldest message without one is sent again, because it or its receipt was
/// lost.
const RECEIPT_WAIT: Duration = Duration::from_secs(2);
/// How long to wait for the next receipt after one that had to be asked for. Then all messages without a receipt are
/// sent again, because those after a lost one were probably lost too.
const NEXT_RECEIPT_WAIT: Duration = Duration::from_millis(600);
/// The minimum interval between two complaints about the same conversation.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// The maximum number of conversations of one peer that are complained about in that time.
const COMPLAINTS_MAX: usize = 16;
/// The minimum interval at which openings are sent again to a peer that seems to have lost them.
const REOPEN_EVERY: Duration = Duration::from_millis(500);
/// The minimum interval at which the oldest message is sent again because a receipt could not be read.
const HEAR_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Whether two names are the same, ignoring case.
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
    /// The server has sent a card with another identity key than the pinned one.
    Untrusted,
}

/// A message without a receipt.
#[derive(Default)]
pub(super) struct Unacked {
    pub(super) sealed: Option<Place>,
    /// The ciphertext until it is first sent; after that it is only on disk.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) stored_at: Option<ServerId>,
    /// Whether it was relayed to the recipient on this connection.
    pub(super) is_relayed: bool,
}

/// The steps of recovery from a missing receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// No receipt is missing.
    Nothing,
    /// The oldest message was sent again, and no receipt has come since.
    Oldest,
    /// The receipt for the oldest message has come. Those for the others may be missing too.
    Rest,
}

/// The conversation under which a message is sealed, and its place in it.
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
    /// The number of the last message under it; 0 if there is none.
    pub(super) last_number: u64,
    /// Whether its opening is in the store, which it is from the first message on.
    pub(super) is_kept: bool,
}

pub(super) struct Contact {
    pub(super) name: PeerName,
    /// The newest card whose key is the pinned one.
    pub(super) card: Option<Card>,
    pub(super) next_number: u64,
    pub(super) last_number: u64,
    /// See [`ContactRecord::generation`].
    pub(super) generation: u64,
    /// Whether it has a record on disk. A passing contact has none: it has opened a conversation but sent no message
    /// yet. New names are free, so records of passing contacts could fill the disk.
    pub(super) is_kept: bool,
    /// Whether its record must be written, if `is_kept`.
    pub(super) is_changed: bool,
    /// Whether its pinned key is to be written together with the record.
    pub(super) is_pin_new: bool,
    pub(super) current: Option<Current>,
    /// The openings of conversations that have messages without a receipt: first number, and bytes.
    pub(super) openings: BTreeMap<ConversationId, (u64, Vec<u8>)>,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    /// The numbers of the messages to send on this connection.
    pub(super) unsent: BTreeSet<u64>,
    pub(super) lookup: Lookup,
    /// Conversations whose opening was sent on this connection.
    pub(super) opened_here: BTreeSet<ConversationId>,
    /// Conversations of the other peer that were complained about recently, and when.
    complained: BTreeMap<ConversationId, Instant>,
    /// Complaints that wait for the peer's card, because they cannot be sealed without it.
    pub(super) complaints_due: BTreeMap<ConversationId, (u64, Complaint)>,
    /// Mail from it that came after its key was destroyed and that has not come again.
    pub(super) late: Option<LateRecord>,
    /// When the server was last asked for a card to replace an expired one.
    pub(super) asked_for_newer: Spacing,
    /// Another identity key than the pinned one that the server has sent for this name.
    pub(super) distrusted: Option<Fingerprint>,
    /// Conversations whose receipt the server has refused or that lack a valid card. The receipts are sent after the
    /// pause.
    pub(super) receipts_refused: BTreeSet<ConversationId>,
    /// Whether it is connected to the server, as far as this peer knows.
    pub(super) is_present: bool,
    /// When to act on a missing receipt.
    receipt_due: Option<Instant>,
    missing: Missing,
    /// When to ask the server for the card again.
    pub(super) lookup_again_at: Option<Instant>,
    /// When a message was last sent again because a receipt could not be read.
    heard_again: Spacing,
    /// When the openings were last sent again because the other peer seems to have lost them.
    reopened: Spacing,
    /// Nothing is sent during this pause.
    pub(super) pause: Backoff,
    /// How many messages may be sent before the server accepts one.
    pub(super) acceptance: Credit,
    /// How many messages may be sent before the recipient acknowledges one.
    pub(super) reception: Credit,
    /// All messages from it have smaller places in the order of arrival.
    pub(super) arrived_before: u64,
    pub(super) openings_budget: Budget,
    /// Whether the user has blocked it, so that what it sends is ignored.
    pub(super) is_blocked: bool,
}

impl Contact {
    pub(super) fn new(name: PeerName) -> Self {
        let record = ContactRecord {
            name,
            card: None,
            next_number: 1,
            last_number: 0,
            generation: 0,
            is_blocked: false,
        };
        Self { is_kept: false, ..Self::from_record(record) }
    }

    pub(super) fn from_record(record: ContactRecord) -> Self {
        Self {
            // A card that cannot be decoded is requested from the server again.
            card: record.card.and_then(|bytes| Card::from_bytes(&bytes).ok()),
            name: record.name,
            next_number: record.next_number,
            last_number: record.last_number,
            generation: record.generation,
            is_kept: true,
            is_changed: false,
            is_pin_new: false,
            current: None,
            openings: BTreeMap::new(),
            unacked: BTreeMap::new(),
            unsent: BTreeSet::new(),
            lookup: Lookup::NotAsked,
            opened_here: BTreeSet::new(),
            complained: BTreeMap::new(),
            complaints_due: BTreeMap::new(),
            late: None,
            asked_for_newer: Spacing::default(),
            distrusted: None,
            receipts_refused: BTreeSet::new(),
            is_present: false,
            receipt_due: None,
            missing: Missing::Nothing,
            lookup_again_at: None,
            heard_again: Spacing::default(),
            reopened: Spacing::default(),
            pause: Backoff::default(),
            acceptance: Credit::default(),
            reception: Credit::default(),
            arrived_before: 0,
            openings_budget: Budget::default(),
            is_blocked: record.is_blocked,
        }
    }

    /// Keeps it on disk from now on.
    pub(super) fn keep(&mut self) {
        (self.is_kept, self.is_changed) = (true, true);
    }

    /// Whether no peer of this name has joined the server, and no card of one is known.
    pub(super) fn is_nobody(&self) -> bool {
        self.lookup == Lookup::Unknown && self.card.is_none()
    }

    pub(super) fn record(&self) -> ContactRecord {
        ContactRecord {
            name: self.name.clone(),
            card: self.card.as_ref().map(|card| card.as_bytes().to_vec()),
            next_number: self.next_number,
            last_number: self.last_number,
            generation: self.generation,
            is_blocked: self.is_blocked,
        }
    }

    /// Whether there is a card of it that is valid at `now` (seconds since 1970).
    pub(super) fn has_valid_card(&self, now: u64) -> bool {
        self.card.as_ref().is_some_and(|card| card.is_valid_at(now))
    }

    /// Whether a conversation with it was opened for the encryption key on its card.
    pub(super) fn card_is_for(&self, conversation: ConversationId) -> bool {
        let current = self.current.as_ref().map(|current| current.outgoing.opening());
        let key = current.filter(|opening| opening.id == conversation).map(|opening| opening.recipient_key);
        let kept = || {
            let (_, bytes) = self.openings.get(&conversation)?;
            Some(Opening::from_bytes(bytes).ok()?.recipient_key)
        };
        let key = key.or_else(kept);
        self.card.as_ref().is_some_and(|card| Some(card.encryption.fingerprint()) == key)
    }

    /// Takes the number for the next message to it.
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.keep();
        self.unacked.insert(number, Unacked::default());
        self.unsent.insert(number);
        number
    }

    /// Starts a new generation of numbers, because the other peer counts its messages from 1 again.
    pub(super) fn number_again(&mut self) {
        self.generation += 1;
        self.last_number = 0;
        self.is_changed = true;
    }

    /// Resets the state for a new connection to a server. All messages that this server does not have are sent again,
    /// in order.
    pub(super) fn reconnected(&mut self, server: &ServerId) {
        (self.lookup, self.lookup_again_at) = (Lookup::NotAsked, None);
        self.distrusted = None;
        self.asked_for_newer = Spacing::default();
        self.opened_here.clear();
        (self.is_present, self.receipt_due, self.missing) = (false, None, Missing::Nothing);
        self.acceptance.try_one();
        self.reception.try_one();
        self.unsent.clear();
        for (number, message) in &mut self.unacked {
            message.is_relayed = false;
            if message.stored_at != Some(*server) {
                self.unsent.insert(*number);
            }
        }
    }

    /// Sends all messages without a receipt again, in order and with their openings, because one never arrived.
    pub(super) fn send_all_again(&mut self) {
        self.opened_here.clear();
        for message in self.unacked.values_mut() {
            (message.stored_at, message.is_relayed) = (None, false);
        }
        self.unsent.extend(self.unacked.keys());
    }

    /// Discards the ciphertexts of messages, so that they are sealed again before they are sent. The ciphertexts on
    /// disk stay until then. They cannot be used after a restart, because their opening is deleted.
    pub(super) fn unseal(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(message) = self.unacked.get_mut(number) {
                (message.sealed, message.bytes) = (None, None);
            }
        }
    }

    /// Sends the oldest message without a receipt again. A recipient that has it repeats the receipt.
    fn send_oldest_again(&mut self) {
        self.unsent.extend(self.unacked.keys().next());
        self.acceptance.try_one();
        self.reception.try_one();
    }

    pub(super) fn await_receipt(&mut self, now: Instant, rng: &mut StdRng) {
        self.receipt_due.get_or_insert_with(|| now + jittered(RECEIPT_WAIT, rng));
    }

    /// Notes that the peer is connected to the server, so receipts for its stored mail should come soon.
    pub(super) fn is_there(&mut self, now: Instant, rng: &mut StdRng) {
        if !std::mem::replace(&mut self.is_present, true) && !self.unacked.is_empty() {
            self.receipt_due.get_or_insert_with(|| now + jittered(NEXT_RECEIPT_WAIT, rng));
        }
    }

    /// Notes that the server has stored a message, so the recipient is away or slow. Returns whether it counts as away
    /// now.
    ///
    /// If it was away before, no receipt is expected. If it was connected, the message that is sent again for a missing
    /// receipt shows whether it still is.
    pub(super) fn message_stored(&mut self) -> bool {
        if self.is_present && self.missing != Missing::Oldest {
            return false;
        }
        (self.is_present, self.receipt_due, self.missing) = (false, None, Missing::Nothing);
        true
    }

    /// Notes a receipt for messages that had none.
    pub(super) fn receipt_came(&mut self, now: Instant, rng: &mut StdRng) {
        self.acceptance.grow();
        self.reception.grow();
        if self.unacked.is_empty() {
            (self.receipt_due, self.missing) = (None, Missing::Nothing);
        } else if self.receipt_due.is_some() {
            let wait = match self.missing {
                Missing::Nothing => RECEIPT_WAIT,
                Missing::Oldest | Missing::Rest => {
                    self.missing = Missing::Rest;
                    NEXT_RECEIPT_WAIT
                }
            };
            self.receipt_due = Some(now + jittered(wait, rng));
        }
    }

    /// Sends messages again if a receipt has not come in time.
    pub(super) fn pass_time(&mut self, now: Instant, rng: &mut StdRng) {
        if self.receipt_due.is_none_or(|due| due > now) {
            return;
        }
        if self.missing == Missing::Rest {
            self.unsent.extend(self.unacked.keys());
            self.missing = Missing::Nothing;
        } else {
            self.send_oldest_again();
            self.missing = Missing::Oldest;
        }
        self.receipt_due = (!self.unacked.is_empty()).then(|| now + jittered(RECEIPT_WAIT, rng));
    }

    /// Asks for a repetition after a signal of an unknown conversation. If the signal was a receipt, the other peer
    /// repeats it and its opening when the oldest message comes again.
    pub(super) fn hear_again(&mut self, now: Instant) {
        if self.heard_again.is_due(now, HEAR_AGAIN_EVERY) {
            self.send_oldest_again();
        }
    }

    /// Sends the openings of this peer's conversations again before the next message, because the other peer may have
    /// lost them.
    pub(super) fn reopen(&mut self, now: Instant) {
        if self.reopened.is_due(now, REOPEN_EVERY) {
            self.opened_here.clear();
        }
    }

    /// Whether to complain about a conversation of the other peer now. The limit is by time and not by count: a peer
    /// that floods with bad conversations gets few answers, and one whose complaint was lost gets another.
    pub(super) fn may_complain(&mut self, conversation: ConversationId, now: Instant) -> bool {
        self.complained.retain(|_, at| now.saturating_duration_since(*at) < COMPLAIN_EVERY);
        let is_due = self.complained.len() < COMPLAINTS_MAX
            && self.complaints_due.len() < COMPLAINTS_MAX
            && !self.complained.contains_key(&conversation);
        if is_due {
            self.complained.insert(conversation, now);
        }
        is_due
    }

    /// Notes a card with another key than the pinned one. Returns whether it is the first on this connection with that
    /// key.
    pub(super) fn distrust(&mut self, shown: Fingerprint) -> bool {
        self.distrusted.replace(shown) != Some(shown)
    }

    /// The next message to send; `None` if none may be sent now.
    pub(super) fn next_unsent(&self) -> Option<u64> {
        let may_send = self.acceptance.has_some() && self.reception.has_some();
        self.unsent.first().copied().filter(|_| may_send)
    }

    /// Whether a message may be sealed now. After a cancelled number, that requires receipts for all smaller numbers:
    /// then the opening of a new conversation tells the recipient that no message is missing before it.
    pub(super) fn may_seal(&mut self, number: u64) -> bool {
        let is_first = self.unacked.keys().next() == Some(&number);
        let is_behind = |current: &mut Current| current.last_number > 0 && current.last_number + 1 != number;
        if is_first && self.current.as_mut().is_some_and(is_behind) {
            self.current = None;
        }
        is_first || self.unacked.contains_key(&(number - 1))
    }

    /// Whether something must be sent to it on this connection.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty() || !self.complaints_due.is_empty() || !self.receipts_refused.is_empty()
    }

    /// The next deadline, while there is a connection.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let is_asked = matches!(self.lookup, Lookup::Asked | Lookup::Untrusted);
        let lookup = self.lookup_again_at.filter(|_| is_asked);
        let to_send = self.pause.until(now).into_iter().chain(lookup).filter(|_| self.wants_to_send());
        self.receipt_due.into_iter().chain(to_send).min()
    }

    /// Removes the openings of conversations that have no message without a receipt and get no more. Returns their ids.
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
    pub(super) fn from_record(record: &OutboxRecord) -> Self {
        let sealed = record.sealed.as_ref().map(|s| Place {
            conversation: s.conversation,
            place: s.place,
            running_hash: s.running_hash,
        });
        Self { sealed, ..Self::default() }
    }
}
