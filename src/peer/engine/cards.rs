//! Contact cards and the identity keys in them: which key is pinned to which name.

use wire::card::Card;
use wire::conversation::ConversationId;
use wire::protocol::Refusal;
use wire::{Fingerprint, PeerName};

use super::Engine;
use super::contact::{Contact, Lookup, same_name};
use super::interface::ClientId;
use super::tasks::TaskKind;
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};
use crate::peer::records::{ContactRecord, PinnedKey, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CardVerdict {
    /// The name had no pinned key; the card's key is pinned now.
    PinnedNow,
    /// The card's key is the pinned one.
    Known,
    /// Another key is pinned; the card is not used.
    Changed,
    Mine,
}

impl Engine {
    /// Pins a key, and replaces the one that was pinned. The pin is written when the contact is kept.
    pub(super) fn pin(&mut self, name: &PeerName, key: PinnedKey) {
        self.local.pins.insert(name.folded(), key);
        self.contacts.of(name).is_pin_new = true;
    }

    /// Handles a card from the server, from an opening, or from a file.
    pub(super) fn take_card(&mut self, card: Card) -> CardVerdict {
        if card.name.folded() == self.local.name.folded() {
            return CardVerdict::Mine;
        }
        let fingerprint = card.fingerprint();
        let verdict = match self.local.pinned(&card.name) {
            None => {
                self.pin(&card.name, PinnedKey::new(fingerprint));
                CardVerdict::PinnedNow
            }
            Some(pinned) if pinned == fingerprint => CardVerdict::Known,
            Some(pinned) if card.takes_over_from(&pinned) => {
                self.key_has_successor(&card.name, pinned, fingerprint);
                CardVerdict::Known
            }
            // This card was sent before the owner replaced its key.
            Some(_) if self.is_replaced(&card) => return CardVerdict::Changed,
            Some(pinned) => {
                let name = &card.name;
                let reason = format!(
                    "the identity key of {name} has changed: pinned is {pinned}, shown is {fingerprint}; ask them, and \
                     if it is right: trust {name} {fingerprint}"
                );
                if self.contacts.of(name).distrust(fingerprint) {
                    self.local.refuse(name, None, &reason);
                }
                return CardVerdict::Changed;
            }
        };
        let now = self.local.now.unix;
        let contact = self.contacts.of(&card.name);
        contact.distrusted = None;
        let replaces = |known: &Card| known.fingerprint() != fingerprint || card.replaces(known, now);
        if contact.card.as_ref().is_none_or(replaces) {
            contact.name = card.name.clone();
            contact.card = Some(card);
            contact.is_changed = true;
        }
        verdict
    }

    /// Handles a card that the server has sent.
    pub(super) fn card_came(&mut self, bytes: &[u8]) {
        let card = match Card::from_bytes(bytes) {
            Ok(card) => card,
            Err(bad) => return self.local.emit(&Event::error(format!("the server sent a bad card: {bad}"))),
        };
        let name = card.name.clone();
        if self.contacts.get(&name).is_none_or(|contact| contact.lookup == Lookup::NotAsked) {
            // A card that was not asked for must not be pinned.
            return;
        }
        let verdict = self.take_card(card);
        let Some(contact) = self.contacts.get_mut(&name) else {
            return;
        };
        match verdict {
            CardVerdict::Mine => {}
            CardVerdict::Changed => {
                // Nothing is sealed for the old key either, because its owner is not the one who has joined.
                contact.lookup = Lookup::Untrusted;
                self.local.end_hasty_sends(&name, Ending::Failed);
            }
            CardVerdict::PinnedNow | CardVerdict::Known => {
                contact.lookup = Lookup::Known;
                self.card_for_fetches(&name);
            }
        }
    }

    /// Handles the answer that no peer of this name has joined.
    pub(super) fn nobody_of_that_name(&mut self, name: &PeerName) {
        let Some(contact) = self.contacts.get_mut(name) else {
            return;
        };
        contact.lookup = Lookup::Unknown;
        if contact.card.is_some() {
            return;
        }
        if !contact.unacked.is_empty() {
            let event = stranger(contact);
            self.local.emit(&event);
            self.look_for_near_names(name);
        }
        self.local.end_hasty_sends(name, Ending::Done);
    }

    /// Notes that the server will not report when a peer joins or has a new card. Its answers to pings still say when
    /// the peer is connected.
    pub(super) fn not_watched(&mut self, name: &PeerName, reason: Refusal) {
        if let Some(contact) = self.contacts.get_mut(name)
            && contact.lookup == Lookup::Asked
        {
            contact.lookup = Lookup::Unknown;
        }
        self.local.refuse(name, None, &reason.to_string());
        self.local.end_hasty_sends(name, Ending::Done);
    }

    pub(super) fn import(&mut self, client: ClientId, text: &str) {
        let card = match Card::from_text(text) {
            Ok(card) => card,
            Err(bad) => return self.local.fail(client, format!("the card cannot be used: {bad}")),
        };
        let (name, fingerprint) = (card.name.clone(), card.fingerprint());
        match self.take_card(card) {
            CardVerdict::Changed => {
                let error = format!(
                    "another identity key of {name} is pinned; if the card is right: trust {name} {fingerprint}, and \
                     import it again"
                );
                self.local.fail(client, error);
            }
            CardVerdict::Mine => self.local.fail(client, "this is your own card"),
            CardVerdict::PinnedNow | CardVerdict::Known => {
                self.contacts.of(&name).keep();
                self.local.tell(client, Event::Result(Answer::Trusted { name, fingerprint }));
                self.local.done(client, Ending::Done);
            }
        }
    }

    /// Pins an identity key, even if another one is pinned.
    pub(super) fn trust(&mut self, client: ClientId, name: &PeerName, fingerprint: Fingerprint) {
        let pinned = self.local.pinned(name);
        if pinned != Some(fingerprint) {
            self.pin(name, PinnedKey::new(fingerprint));
        }
        let contact = self.contacts.of(name);
        contact.keep();
        // The pins are written before the records. After a crash in between, the pin is new and the card is the old
        // one.
        let is_other_card = contact.card.as_ref().is_some_and(|card| card.fingerprint() != fingerprint);
        if is_other_card || pinned.is_some_and(|pinned| pinned != fingerprint) {
            self.key_has_changed(name);
        }
        let contact = self.contacts.of(name);
        // Requests the card again if it was refused.
        contact.lookup = Lookup::NotAsked;
        contact.distrusted = None;
        self.local.tell(client, Event::Result(Answer::Trusted { name: name.clone(), fingerprint }));
        self.local.done(client, Ending::Done);
    }

    /// Blocks or unblocks a peer. The conversations that it has opened are forgotten, so it opens new ones when it is
    /// unblocked.
    pub(super) fn block(&mut self, client: ClientId, name: &PeerName, is_blocked: bool) {
        let contact = self.contacts.of(name);
        contact.is_blocked = is_blocked;
        contact.keep();
        if is_blocked {
            contact.complaints_due.clear();
            contact.receipts_refused.clear();
            self.conversations.forget(&mut self.local, name);
        }
        self.local.tell(client, Event::Result(Answer::Blocked { name: name.clone(), is_blocked }));
        self.local.done(client, Ending::Done);
    }

    pub(super) fn forget(&mut self, client: ClientId, name: &PeerName) {
        let Some(contact) = self.contacts.get(name).filter(|_| !same_name(name, &self.local.name)) else {
            return self.local.fail(client, format!("no other peer of the name {name} is known here"));
        };
        let name = contact.name.clone();
        let undelivered = self.delete(&name);
        self.local.end_tasks(
            Ending::Failed,
            |task| matches!(&task.kind, TaskKind::Send { to, .. } if same_name(to, &name)),
        );
        self.local.tell(client, Event::Result(Answer::Forgotten { name, undelivered }));
        self.local.done(client, Ending::Done);
    }

    /// Deletes what is stored about a peer, and returns the number of messages for it that have no receipt. The pinned key
    /// and the numbers and ids of messages are kept: without them, the server could introduce another key, and old messages
    /// would be shown again.
    pub(super) fn delete(&mut self, name: &PeerName) -> usize {
        let contact = self.contacts.of(name);
        let numbers: Vec<u64> = contact.unacked.keys().copied().collect();
        if contact.is_kept {
            let openings: Vec<ConversationId> = contact.openings.keys().copied().collect();
            let mut left = Contact::from_record(ContactRecord { card: None, ..contact.record() });
            left.is_changed = true;
            *self.contacts.of(name) = left;
            let sent = numbers.iter().map(|number| Write::Cancelled(name.clone(), *number));
            let openings = openings.into_iter().map(Write::OutgoingDone);
            let rest = [Write::Late(name.clone(), None), Write::Forgotten(name.clone())];
            sent.chain(openings).chain(rest).for_each(|write| self.local.records.write(write));
            self.conversations.forget(&mut self.local, name);
        } else {
            self.part_with(name);
        }
        if let Some(link) = &mut self.local.link {
            link.forget(&name.folded(), &numbers);
        }
        numbers.len()
    }

    /// Applies a changed identity key: the peer's numbers start again, its conversations end, and messages for it are
    /// sealed again.
    fn key_has_changed(&mut self, name: &PeerName) {
        self.contacts.of(name).number_again();
        self.seal_for_new_key(name);
    }

    /// Pins the successor of the pinned key. The owner has the same directory as before, so numbers continue.
    fn key_has_successor(&mut self, name: &PeerName, old: Fingerprint, new: Fingerprint) {
        self.pin(name, PinnedKey::new(new));
        self.seal_for_new_key(name);
        self.local.emit(&Event::Succeeded { with: name.clone(), old, new });
    }

    /// Whether the key of this card is the predecessor of the pinned one.
    fn is_replaced(&self, card: &Card) -> bool {
        let known = self.contacts.get(&card.name).and_then(|contact| contact.card.as_ref());
        known.is_some_and(|known| known.takes_over_from(&card.fingerprint()))
    }

    /// Ends the conversations with a peer whose key has changed, so that all messages without a receipt are sealed
    /// again.
    fn seal_for_new_key(&mut self, name: &PeerName) {
        self.conversations.forget(&mut self.local, name);
        let contact = self.contacts.of(name);
        (contact.card, contact.current) = (None, None);
        contact.send_all_again();
        let numbers: Vec<u64> = contact.unacked.keys().copied().collect();
        contact.unseal(&numbers);
        for id in contact.finished() {
            self.local.records.write(Write::OutgoingDone(id));
        }
    }

    pub(super) fn show_card(&mut self, client: ClientId) {
        let card = &self.local.card;
        let answer =
            Answer::Card { name: card.name.clone(), fingerprint: card.fingerprint(), card: card.to_text() };
        self.local.tell(client, Event::Result(answer));
        self.local.done(client, Ending::Done);
    }
}

/// The event for messages to a peer that has never joined.
pub(super) fn stranger(contact: &Contact) -> Event {
    let to = contact.name.clone();
    let reason = format!("{to} has never joined this server; the server says when they do");
    Event::Waiting { to, reason }
}
