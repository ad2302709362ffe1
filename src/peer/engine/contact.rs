//! What the engine knows of another peer, and the messages on their way to it.

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

/// How long a receipt may take. Then the oldest message without one is sent again: it or its receipt was lost.
const RECEIPT_WAIT: Duration = Duration::from_secs(2);
/// How long the next receipt may take after one that had to be asked for. Then everything without a receipt is sent
/// again: where one message was lost, those after it were most likely lost as well.
const NEXT_RECEIPT_WAIT: Duration = Duration::from_millis(600);
/// How often another peer is complained to about the same conversation.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// About how many of its conversations in that time.
const COMPLAINTS_MAX: usize = 16;
/// How often the opening of this peer's conversation is sent again to a peer that seems to have lost it.
const REOPEN_EVERY: Duration = Duration::from_millis(500);
/// How often the oldest message is sent again because a receipt could not be read.
const HEAR_AGAIN_EVERY: Duration = Duration::from_secs(1);

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
}

/// What is being done about a receipt that does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Nothing yet.
    Nothing,
    /// The oldest message was sent again, and nothing has come since.
    Oldest,
    /// The receipt for the oldest has come; those for the rest may be missing as well.
    Rest,
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
    /// The number of the last message under it; 0 if there is none.
    pub(super) last_number: u64,
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
    /// See [`ContactRecord::generation`].
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
    /// Conversations of the other peer that were complained about a short time ago, and when.
    complained: BTreeMap<ConversationId, Instant>,
    /// Complaints that cannot be sealed before the card is here.
    pub(super) complaints_due: BTreeMap<ConversationId, (u64, Complaint)>,
    /// Mail of it that came too late for its key and has not come again.
    pub(super) late: Option<LateRecord>,
    /// When the server was last asked for a newer card than an expired one.
    pub(super) asked_for_newer: Spacing,
    /// Another identity key than the pinned one, which was shown for this name.
    pub(super) distrusted: Option<Fingerprint>,
    /// Conversations whose receipt the server has refused, or that wait for a valid card. They are due again after the pause.
    pub(super) receipts_refused: BTreeSet<ConversationId>,
    /// Whether it is connected to the server, as far as is known.
    pub(super) is_present: bool,
    /// When something is done about a receipt that has not come.
    receipt_due: Option<Instant>,
    missing: Missing,
    /// When the server is asked again for the card.
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
    /// How many conversations it may open.
    pub(super) openings_budget: Budget,
    /// The user has blocked it: what it sends is ignored.
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
        Self::from_record(record)
    }

    pub(super) fn from_record(record: ContactRecord) -> Self {
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
            openings_budget: Budget::default(),
            is_blocked: record.is_blocked,
        }
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

    /// Whether something can be sealed for it at `now` (seconds since 1970).
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

    /// A message never arrived: everything without a receipt is sent again, in order, with its openings.
    pub(super) fn send_all_again(&mut self) {
        self.opened_here.clear();
        for message in self.unacked.values_mut() {
            (message.stored_at, message.is_relayed) = (None, false);
        }
        self.unsent.extend(self.unacked.keys());
    }

    /// Discards the ciphertexts of messages, so that they are sealed again when it is their turn. Those on disk stay until
    /// then: without its opening, which is gone, no ciphertext is used after a restart either.
    pub(super) fn unseal(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(message) = self.unacked.get_mut(number) {
                (message.sealed, message.bytes) = (None, None);
            }
        }
    }

    /// Sends the oldest message without a receipt again: a recipient that has it repeats the receipt.
    fn send_oldest_again(&mut self) {
        self.unsent.extend(self.unacked.keys().next());
        self.acceptance.try_one();
        self.reception.try_one();
    }

    /// A message was sent, so its receipt is awaited.
    pub(super) fn await_receipt(&mut self, now: Instant, rng: &mut StdRng) {
        self.receipt_due.get_or_insert_with(|| now + jittered(RECEIPT_WAIT, rng));
    }

    /// The server says that this peer is connected: receipts for what is stored there are to come soon.
    pub(super) fn is_there(&mut self, now: Instant, rng: &mut StdRng) {
        if !std::mem::replace(&mut self.is_present, true) && !self.unacked.is_empty() {
            self.receipt_due.get_or_insert_with(|| now + jittered(NEXT_RECEIPT_WAIT, rng));
        }
    }

    /// The server has stored a message, so the recipient is away, or behind. Returns whether it counts as away from now on.
    ///
    /// If it was away before, there is no receipt to wait for. If it was there, the message that asks for a missing receipt
    /// finds out.
    pub(super) fn message_stored(&mut self) -> bool {
        if self.is_present && self.missing != Missing::Oldest {
            return false;
        }
        (self.is_present, self.receipt_due, self.missing) = (false, None, Missing::Nothing);
        true
    }

    /// A receipt has come for messages that had none.
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

    /// Does something about a receipt that has not come in time.
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

    /// A signal could not be read, because its conversation is not known here. If it was a receipt, the other peer repeats
    /// it, and the opening before it, when the oldest message comes again.
    pub(super) fn hear_again(&mut self, now: Instant) {
        if self.heard_again.is_due(now, HEAR_AGAIN_EVERY) {
            self.send_oldest_again();
        }
    }

    /// The other peer may have lost the openings of this peer's conversations: they are sent again before what is sent
    /// next.
    pub(super) fn reopen(&mut self, now: Instant) {
        if self.reopened.is_due(now, REOPEN_EVERY) {
            self.opened_here.clear();
        }
    }

    /// Whether a conversation of the other peer may be complained about now. Complaints are limited by time: a peer that
    /// floods with bad conversations gets few answers, and one whose complaint was lost gets another.
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

    /// A card with another key than the pinned one was shown. Returns whether that is news on this connection.
    pub(super) fn distrust(&mut self, shown: Fingerprint) -> bool {
        self.distrusted.replace(shown) != Some(shown)
    }

    /// The next message to send, if one may be sent now.
    pub(super) fn next_unsent(&self) -> Option<u64> {
        let may_send = self.acceptance.has_some() && self.reception.has_some();
        self.unsent.first().copied().filter(|_| may_send)
    }

    /// Whether a message may be sealed now. Behind a number that was cancelled it may only when there are receipts for all
    /// smaller numbers: then a new conversation tells the recipient that nothing is missing before it.
    pub(super) fn may_seal(&mut self, number: u64) -> bool {
        let is_first = self.unacked.keys().next() == Some(&number);
        let is_behind = |current: &mut Current| current.last_number > 0 && current.last_number + 1 != number;
        if is_first && self.current.as_mut().is_some_and(is_behind) {
            self.current = None;
        }
        is_first || self.unacked.contains_key(&(number - 1))
    }

    /// Whether something is to be sent to it on this connection.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty() || !self.complaints_due.is_empty() || !self.receipts_refused.is_empty()
    }

    /// When something is to be done for it at the latest, while there is a connection.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let is_asked = matches!(self.lookup, Lookup::Asked | Lookup::Untrusted);
        let lookup = self.lookup_again_at.filter(|_| is_asked);
        let to_send = self.pause.until(now).into_iter().chain(lookup).filter(|_| self.wants_to_send());
        self.receipt_due.into_iter().chain(to_send).min()
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
