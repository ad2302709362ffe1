//! Receipts: sent for messages that have arrived, and verified for messages that were sent.

use std::ops::Range;

use wire::conversation::ConversationId;
use wire::signal::{self, Complaint, Receipt};
use wire::{Digest, PeerName};

use super::Engine;
use super::contact::{Contact, Lookup};
use super::local::Local;
use crate::peer::event::{self, Event};
use crate::peer::records::Write;

/// How many numbers may be skipped at once. Without a limit, another peer could use up all numbers.
const NUMBERS_SKIPPED_MAX: u64 = 1 << 20;

impl Engine {
    /// Seals the receipts that are due. They are sent after the transaction that stores the messages.
    pub(super) fn send_receipts(&mut self) {
        for (name, conversation) in std::mem::take(&mut self.receipts_due) {
            let Some((count, running_hash)) = self.conversations.received(conversation) else { continue };
            let Some(contact) = self.contacts.get_mut(&name) else { continue };
            if contact.has_valid_card(self.local.now.unix) {
                let last_number = contact.last_number;
                let receipt = Receipt::Received { conversation, count, running_hash, last_number };
                self.local.send_receipt(contact, &receipt);
            } else {
                contact.receipts_refused.insert(conversation);
                // Asks for the card.
                self.local.may_send(contact);
            }
        }
    }

    /// Tells a sender that one of its conversations cannot be continued. If there is no valid card of the sender, the
    /// complaint waits for it.
    pub(super) fn complain(
        &mut self,
        to: &PeerName,
        conversation: ConversationId,
        count: u64,
        reason: Complaint,
    ) {
        if !self.may_take_note_of(to) {
            // The sender keeps the messages and sends them again.
            return;
        }
        self.take_note_of(to);
        let (contact, now) = (self.contacts.of(to), self.local.now.instant);
        if !contact.may_complain(conversation, now) {
            return;
        }
        // The complaint is sealed in a conversation of this peer, which the sender may have lost too.
        contact.reopen(now);
        if contact.has_valid_card(self.local.now.unix) && contact.distrusted.is_none() {
            self.local.send_receipt(contact, &Receipt::Refused { conversation, count, reason });
        } else {
            contact.complaints_due.insert(conversation, (count, reason));
        }
    }

    /// Handles a receipt or complaint that was opened.
    pub(super) fn receipt(&mut self, from: &PeerName, content: &[u8]) {
        match signal::decode(content) {
            Ok(Receipt::Received { conversation, count, running_hash, last_number }) => {
                // The client that sent the last message gets this event only if it comes before the message is reported
                // as delivered.
                self.skip_numbers(from, last_number);
                self.received(from, conversation, count, running_hash);
            }
            Ok(Receipt::Refused { conversation, count, reason }) => {
                self.seal_again(from, conversation, count, reason);
            }
            Err(_) => self.local.refuse(from, None, "a receipt cannot be read"),
        }
    }

    fn received(&mut self, from: &PeerName, id: ConversationId, count: u64, running_hash: Digest) {
        let Some(contact) = self.contacts.get_mut(from) else {
            return;
        };
        let covered = covered(contact, id, 0..count);
        // The numbers of messages that were sealed again may be in another order than their places.
        let Some((place, last)) = covered.iter().copied().max() else {
            return;
        };
        let expected = contact.unacked[&last].sealed.map(|place| place.running_hash);
        if place + 1 != count || expected != Some(running_hash) {
            let here = expected.map(|hash| hash.to_string()).unwrap_or_default();
            let reason = format!(
                "the receipt is over {count} messages with running hash {running_hash}, this side has {} with {here}; the \
                 messages stay queued",
                place + 1
            );
            return self.local.refuse(from, Some(last), &reason);
        }
        let name = contact.name.clone();
        let numbers: Vec<u64> = covered.into_iter().map(|(_, number)| number).collect();
        for number in &numbers {
            contact.unacked.remove(number);
            contact.unsent.remove(number);
            self.local.records.write(Write::Delivered(name.clone(), *number));
        }
        contact.receipt_came(self.local.now.instant, &mut self.local.rng);
        for id in contact.finished() {
            self.local.records.write(Write::OutgoingDone(id));
        }
        if let Some(link) = &mut self.local.link {
            link.forget(&name.folded(), &numbers);
        }
        for number in numbers {
            let to = name.clone();
            self.local.emit(&Event::Delivered { to, number, conversation: id, count, running_hash });
            self.local.message_done(&name, number, true);
        }
    }

    /// Skips numbers that the recipient has and this peer has not given. They were given after a copy of this directory
    /// was made, and the directory was restored from that copy.
    fn skip_numbers(&mut self, to: &PeerName, last_number: u64) {
        let Some(contact) = self.contacts.get_mut(to) else { return };
        let next = contact.next_number;
        if !(next..next.saturating_add(NUMBERS_SKIPPED_MAX)).contains(&last_number) {
            return;
        }
        contact.next_number = last_number + 1;
        contact.is_changed = true;
        let (to, next) = (contact.name.clone(), contact.next_number);
        self.local.emit(&Event::error(format!(
            "{to} has messages of this peer up to #{last_number}, which this directory does not know of: it was restored from \
             an older copy; the next message is #{next}"
        )));
    }

    /// Seals the messages of a conversation again under a new one, because the recipient cannot continue it.
    ///
    /// That includes messages that have arrived, because a receipt for them would cover another number of messages than
    /// this side expects. The recipient recognises a message that it has by its id.
    fn seal_again(&mut self, from: &PeerName, id: ConversationId, count: u64, reason: Complaint) {
        let Some(contact) = self.contacts.get_mut(from) else {
            return;
        };
        if reason == Complaint::KeyDestroyed && contact.card_is_for(id) {
            // The owner says that the key on this card is destroyed. So any other card is better, even one with a
            // smaller sequence number, because the owner may have been restored from a copy.
            contact.card = None;
            contact.is_changed = true;
        }
        if contact.current.as_ref().is_some_and(|current| current.outgoing.opening().id == id) {
            // This also applies if the conversation has only signals, which could never be read.
            (contact.current, contact.lookup) = (None, Lookup::NotAsked);
        }
        if contact.openings.remove(&id).is_none() {
            // It has no messages without a receipt, or there was a complaint about it before.
            return;
        }
        self.local.records.write(Write::OutgoingDone(id));
        let sealed = numbers(covered(contact, id, 0..u64::MAX));
        let refused = numbers(covered(contact, id, count..u64::MAX));
        // Under a new conversation all messages that are sent again keep their order, also relative to those that were
        // sealed since.
        contact.current = None;
        let Some(&first) = refused.first().or(sealed.first()) else {
            return;
        };
        // Fetch the recipient's card again, in case its encryption key has changed.
        contact.lookup = Lookup::NotAsked;
        contact.send_all_again();
        contact.unseal(&sealed);
        let failures = contact.pause.failed(self.local.now.instant, &mut self.local.rng);
        if failures == 1 {
            // Most complaints come once, after a restart or from a restored copy, so the first one is answered without
            // a pause.
            contact.pause.end();
        } else {
            contact.reception.cut();
        }
        if failures.is_power_of_two() {
            self.local.refuse(&contact.name, Some(first), &event::explain(reason));
        }
    }
}

impl Local {
    /// Sends the complaints that waited for a card.
    pub(super) fn send_complaints(&mut self, contact: &mut Contact) {
        if !contact.has_valid_card(self.now.unix)
            || contact.distrusted.is_some()
            || contact.lookup != Lookup::Known
        {
            return;
        }
        for (conversation, (count, reason)) in std::mem::take(&mut contact.complaints_due) {
            self.send_receipt(contact, &Receipt::Refused { conversation, count, reason });
        }
    }
}

/// Place and number of the messages in a range of places of a conversation, in the order of their numbers.
fn covered(contact: &Contact, id: ConversationId, places: Range<u64>) -> Vec<(u64, u64)> {
    let sealed = contact.unacked.iter().filter_map(|(number, message)| Some((message.sealed?, *number)));
    sealed
        .filter(|(place, _)| place.conversation == id && places.contains(&place.place))
        .map(|(place, number)| (place.place, number))
        .collect()
}

fn numbers(covered: Vec<(u64, u64)>) -> Vec<u64> {
    covered.into_iter().map(|(_, number)| number).collect()
}
