//! Seals messages and signals for other peers and sends them.

use std::time::Duration;

use wire::conversation::{ConversationId, Outgoing};
use wire::protocol::{Kind, ToServer};
use wire::signal::Receipt;

use super::Engine;
use super::contact::{Contact, Current, Lookup, Place};
use super::link::{About, Link, Parcel};
use super::local::Local;
use super::pace::jittered;
use crate::peer::event::{Event, SentEvent};
use crate::peer::records::{Direction, OutboxRecord, OutgoingRecord, SealedRecord, Write};

/// How long to wait for the answer to a lookup before asking the server again.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);
/// A conversation is replaced by a new one after this time.
const REKEY_AFTER: Duration = Duration::from_secs(60 * 60);
/// The server sends each new card of a contact by itself. It is asked this often in case that was lost.
const NEWER_CARD_EVERY: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// Sends what can be sent to every contact.
    pub(super) fn pump(&mut self) {
        if self.local.link.is_none() {
            return;
        }
        for contact in self.contacts.iter_mut().filter(|contact| contact.wants_to_send()) {
            if !self.local.may_send(contact) {
                continue;
            }
            if contact.has_valid_card(self.local.now.unix) {
                let again = std::mem::take(&mut contact.receipts_refused);
                self.receipts_due.extend(again.into_iter().map(|id| (contact.name.folded(), id)));
            }
            self.local.send_messages(contact);
            self.local.send_complaints(contact);
        }
    }
}

impl Local {
    /// Whether anything may be sent to a contact now. If not, asks the server for the contact's card until it has
    /// answered, and repeatedly while it answers with a card of another key.
    pub(super) fn may_send(&mut self, contact: &mut Contact) -> bool {
        let now = self.now.instant;
        let is_to_ask = match contact.lookup {
            Lookup::NotAsked => true,
            Lookup::Asked | Lookup::Untrusted => contact.lookup_again_at.is_none_or(|at| at <= now),
            Lookup::Known | Lookup::Unknown => false,
        };
        if is_to_ask {
            if contact.lookup == Lookup::NotAsked {
                contact.lookup = Lookup::Asked;
            }
            contact.lookup_again_at = Some(now + jittered(LOOKUP_WAIT, &mut self.rng));
            self.say(&ToServer::Lookup { name: contact.name.clone() });
        }
        if contact.lookup == Lookup::Known {
            self.ask_for_newer_card(contact);
        }
        contact.pause.until(now).is_none() && matches!(contact.lookup, Lookup::Known | Lookup::Unknown)
    }

    /// Asks the server for another card if the known one has expired, and reports that messages wait for it.
    fn ask_for_newer_card(&mut self, contact: &mut Contact) {
        let Some(Err(bad)) = contact.card.as_ref().map(|card| card.term.check(self.now.unix)) else { return };
        let is_first = contact.asked_for_newer.is_unused();
        if !contact.asked_for_newer.is_due(self.now.instant, NEWER_CARD_EVERY) {
            return;
        }
        self.say(&ToServer::Lookup { name: contact.name.clone() });
        if is_first && !contact.unacked.is_empty() {
            let to = contact.name.clone();
            let reason = format!("{bad}; messages go when {to} joins with a new card");
            self.emit(&Event::Waiting { to, reason });
        }
    }

    fn send_messages(&mut self, contact: &mut Contact) {
        if self.link.as_ref().is_some_and(|link| link.is_stalled(self.now.instant)) {
            contact.acceptance.limit();
        }
        while contact.acceptance.is_limited() || self.link.as_ref().is_some_and(Link::has_room) {
            let Some(number) = contact.next_unsent() else {
                return;
            };
            if !self.seal(contact, number) {
                return;
            }
            self.send_message(contact, number);
            contact.unsent.remove(&number);
        }
    }

    /// Seals a message that is not sealed yet. Returns false if that is not possible now.
    fn seal(&mut self, contact: &mut Contact, number: u64) -> bool {
        if contact.unacked.get(&number).is_none_or(|message| message.sealed.is_some()) {
            return true;
        }
        if !contact.has_valid_card(self.now.unix) {
            return false;
        }
        if !contact.may_seal(number) {
            return false;
        }
        let Some(record) = self.records.outbox(&contact.name, number) else {
            return true;
        };
        let Some(current) = self.conversation_to(contact) else {
            return false;
        };
        current.last_number = number;
        let opening = current.outgoing.opening();
        let conversation = opening.id;
        let is_kept = std::mem::replace(&mut current.is_kept, true);
        let opened = (!is_kept).then(|| (opening.first_number, opening.as_bytes().to_vec()));
        let sealed = current.outgoing.seal_message(number, &record.id, record.queued_at, &record.text);
        let place = Place { conversation, place: sealed.place, running_hash: sealed.running_hash };
        if let Some((first_number, opening)) = opened {
            contact.openings.insert(conversation, (first_number, opening.clone()));
            let record = OutgoingRecord { to: contact.name.clone(), first_number, opening };
            self.records.write(Write::Outgoing(conversation, record));
        }
        let kept = SealedRecord {
            conversation,
            place: place.place,
            running_hash: place.running_hash,
            bytes: sealed.bytes.clone(),
        };
        let record = OutboxRecord { sealed: Some(kept), ..record };
        self.records.write(Write::Outbox(contact.name.clone(), number, record));
        if let Some(message) = contact.unacked.get_mut(&number) {
            (message.sealed, message.bytes) = (Some(place), Some(sealed.bytes));
        }
        true
    }

    /// Returns the conversation to a contact, and opens one if none may still be used. `None` without a valid card.
    fn conversation_to<'c>(&mut self, contact: &'c mut Contact) -> Option<&'c mut Current> {
        let card = contact.card.as_ref().filter(|card| card.is_valid_at(self.now.unix))?;
        let is_usable = contact.current.as_ref().is_some_and(|current| {
            current.outgoing.messages_sealed() < self.options.rekey_messages
                && self.now.instant.saturating_duration_since(current.opened_at) < REKEY_AFTER
                && current.outgoing.opening().recipient_key == card.encryption.fingerprint()
        });
        if !is_usable {
            let first_number = contact.unacked.keys().next().copied().unwrap_or(contact.next_number);
            let (identity, now) = (&self.keys.identity, self.now);
            let outgoing = Outgoing::open(identity, &self.card, card, first_number, now.unix, &mut self.rng);
            let event = self.describe_opening(outgoing.opening(), &contact.name, Direction::Sent);
            self.emit(&Event::Conversation(Box::new(event)));
            contact.current =
                Some(Current { outgoing, opened_at: now.instant, last_number: 0, is_kept: false });
        }
        contact.current.as_mut()
    }

    fn send_message(&mut self, contact: &mut Contact, number: u64) {
        let Some(message) = contact.unacked.get_mut(&number) else {
            return;
        };
        let Some(place) = message.sealed else { return };
        let bytes = message.bytes.take().or_else(|| {
            let record = self.records.outbox(&contact.name, number)?;
            record.sealed.map(|sealed| sealed.bytes)
        });
        let Some(bytes) = bytes else { return };
        self.send_opening(contact, place.conversation);
        let sealed = self.describe_sealed(&bytes, place);
        let mut parcel = Parcel::new(Kind::Message, number, place.conversation);
        parcel.trace = Some(SentEvent { to: contact.name.clone(), number, sealed });
        self.send(&contact.name, &bytes, parcel);
        contact.acceptance.spend();
        contact.reception.spend();
        contact.await_receipt(self.now.instant, &mut self.rng);
    }

    /// Sends the opening of a conversation, unless it was sent on this connection.
    fn send_opening(&mut self, contact: &mut Contact, id: ConversationId) {
        if !contact.opened_here.insert(id) {
            return;
        }
        let current = contact.current.as_ref().map(|c| c.outgoing.opening()).filter(|o| o.id == id);
        let kept = || contact.openings.get(&id).map(|(number, bytes)| (*number, bytes.as_slice()));
        let opening = current.map(|opening| (opening.first_number, opening.as_bytes())).or_else(kept);
        if let Some((first_number, bytes)) = opening {
            self.send(&contact.name, bytes, Parcel::new(Kind::Opening, first_number, id));
        }
    }

    /// Seals and sends a receipt, a request or an answer. Without a connection or a valid card nothing is sent.
    pub(super) fn send_signal(
        &mut self,
        contact: &mut Contact,
        kind: Kind,
        number: u64,
        content: &[u8],
        about: About,
    ) {
        if self.link.is_none() {
            return;
        }
        let Some(current) = self.conversation_to(contact) else {
            return;
        };
        let id = current.outgoing.opening().id;
        let sealed = current.outgoing.seal_signal(kind, number, content);
        self.send_opening(contact, id);
        self.send(&contact.name, &sealed, Parcel { about, ..Parcel::new(kind, number, id) });
    }

    /// Seals and sends a receipt or a complaint.
    pub(super) fn send_receipt(&mut self, contact: &mut Contact, receipt: &Receipt) {
        let about = match receipt {
            Receipt::Received { conversation, .. } => About::Receipt(*conversation),
            Receipt::Refused { conversation, count, reason } => {
                About::Complaint(*conversation, *count, *reason)
            }
        };
        let number = contact.last_number;
        self.send_signal(contact, Kind::Receipt, number, &wire::signal::encode(receipt), about);
    }
}
