//! What comes from the server: answers, and envelopes of other peers.

use std::time::Duration;

use wire::PeerName;
use wire::card::Card;
use wire::conversation::{ConversationId, Incoming, Opening, Refused, sealed_parts};
use wire::frame;
use wire::protocol::{Envelope, ErrorCode, Kind, ToPeer, ToServer};
use wire::signal::Complaint;
use wire::{Digest, escape::Escaped};

use super::contact::{Lookup, Place};
use super::outbound::CardVerdict;
use super::{Engine, Fatal};
use crate::peer::event::{Event, MessageEvent};
use crate::peer::home::Pin;
use crate::peer::records::{Direction, HistoryRecord, IncomingRecord, Write};

/// How often at most a message is sent again because a receipt could not be read.
const HEAR_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// A conversation of somebody else's that this peer has accepted.
pub(super) struct Accepted {
    from: PeerName,
    opening: Vec<u8>,
    /// The sender has receipts for all its messages before this number.
    first_number: u64,
    incoming: Incoming,
}

impl Accepted {
    pub(super) fn record(&self) -> IncomingRecord {
        IncomingRecord {
            from: self.from.clone(),
            opening: self.opening.clone(),
            count: self.incoming.messages_opened(),
            running_hash: self.incoming.running_hash(),
        }
    }

    pub(super) fn received(&self) -> (u64, Digest) {
        (self.incoming.messages_opened(), self.incoming.running_hash())
    }
}

impl Engine {
    /// Takes one frame in.
    pub(super) fn frame(&mut self, body: &[u8]) -> Result<(), Fatal> {
        match ToPeer::decode(body) {
            Ok(ToPeer::Envelope(envelope)) => self.envelope(&envelope)?,
            Ok(ToPeer::Routed { first, count, outcome }) => self.routed(first, count, outcome),
            Ok(ToPeer::Card { card }) => self.card_came(&card)?,
            Ok(ToPeer::Unknown { name }) => self.nobody_of_that_name(&name),
            Ok(ToPeer::Published { files, pairs }) => self.published(files, pairs),
            Ok(ToPeer::Found { id, hits, total }) => self.found(id, hits, total),
            Ok(ToPeer::Known { id, peers }) => self.known(id, peers),
            Ok(ToPeer::Failed { id, detail }) => self.failed(id, &detail),
            Ok(
                ToPeer::Reachable { .. } | ToPeer::Hello { .. } | ToPeer::Welcome { .. } | ToPeer::Spliced,
            ) => {}
            Ok(ToPeer::Error { code, detail }) => self.refused_by_server(code, &detail),
            Err(bad) => {
                self.refused_by_server(ErrorCode::Malformed, &format!("the server sent a bad frame: {bad}"));
            }
        }
        Ok(())
    }

    fn card_came(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        let card = match Card::from_bytes(bytes) {
            Ok(card) => card,
            Err(bad) => {
                self.emit(&Event::error(format!("the server sent a bad card: {bad}")));
                return Ok(());
            }
        };
        let name = card.name.folded();
        if self.contacts.get(&name).is_none_or(|contact| contact.lookup == Lookup::NotAsked) {
            // Nobody asked for it, so it is not pinned either.
            return Ok(());
        }
        let verdict = self.take_card(card)?;
        if verdict == CardVerdict::Mine {
            return Ok(());
        }
        let is_valid_at = self.now.unix;
        let Some(contact) = self.contacts.get_mut(&name) else {
            return Ok(());
        };
        if verdict == CardVerdict::Changed {
            // Nothing is sealed for a key that is not trusted, not even for the old one: it is not there any more.
            contact.lookup = Lookup::Untrusted;
            self.waits_for_trust(&name);
            return Ok(());
        }
        contact.lookup = Lookup::Known;
        if contact.card.as_ref().is_some_and(|card| !card.is_valid_at(is_valid_at)) {
            let to = contact.name.clone();
            let reason = format!("the card of {to} has expired; messages go when {to} joins again");
            self.emit(&Event::Waiting { to, reason });
        }
        self.card_for_fetches(&name);
        Ok(())
    }

    fn nobody_of_that_name(&mut self, name: &PeerName) {
        let Some(contact) = self.contacts.get_mut(&name.folded()) else {
            return;
        };
        contact.lookup = Lookup::Unknown;
        let to = contact.name.clone();
        if contact.card.is_none() && !contact.unacked.is_empty() {
            let reason = format!("{to} has never joined this server; the server says when they do");
            self.emit(&Event::Waiting { to, reason });
        }
        self.waits_for_stranger(name);
    }

    fn envelope(&mut self, envelope: &Envelope<'_>) -> Result<(), Fatal> {
        if let Some(link) = &mut self.link {
            link.received += 1;
        }
        let Ok(from) = envelope.from.parse::<PeerName>() else {
            return Ok(());
        };
        if !envelope.to.eq_ignore_ascii_case(self.me.name.as_str()) {
            return Ok(());
        }
        match envelope.kind {
            Kind::Opening => self.opening(&from, envelope.sealed),
            Kind::Message => self.message(&from, envelope.number, envelope.sealed),
            Kind::Receipt | Kind::Request | Kind::Answer => self.signal(&from, envelope),
        }
    }

    fn opening(&mut self, from: &PeerName, bytes: &[u8]) -> Result<(), Fatal> {
        let opening = match Opening::from_bytes(bytes) {
            Ok(opening) => opening,
            Err(bad) => {
                self.refuse(from, None, &bad.to_string());
                return Ok(());
            }
        };
        if opening.sender.name.folded() != from.folded() || opening.recipient != self.me.card.fingerprint() {
            self.refuse(from, None, "a conversation was opened in another name, or for another key");
            return Ok(());
        }
        let verdict = self.take_card(opening.sender.clone())?;
        match verdict {
            CardVerdict::Mine => return Ok(()),
            CardVerdict::Changed => {
                // Once the key is trusted, what came under this conversation is asked for again.
                self.complain(from, opening.id, 0, Complaint::UnknownConversation);
                return Ok(());
            }
            CardVerdict::PinnedNow | CardVerdict::Known => {}
        }
        if self.accepted.contains_key(&opening.id) || self.store.incoming(opening.id)?.is_some() {
            return Ok(());
        }
        let accepted = match self.me.keys.by_fingerprint(&opening.recipient_key) {
            None => Err(Complaint::KeyDestroyed),
            Some(key) => {
                Incoming::accept(&opening, key, None, &mut self.rng).map_err(|_| Complaint::NotAuthentic)
            }
        };
        match accepted {
            Err(complaint) => {
                self.refuse(from, None, &format!("a conversation could not be accepted: {complaint}"));
                self.complain(from, opening.id, 0, complaint);
            }
            Ok(incoming) => {
                self.show_accepted(&opening, verdict);
                let from = opening.sender.name.clone();
                let accepted =
                    Accepted { from, opening: bytes.to_vec(), first_number: opening.first_number, incoming };
                self.accepted.insert(opening.id, accepted);
                self.changed_accepted.insert(opening.id);
            }
        }
        Ok(())
    }

    fn show_accepted(&mut self, opening: &Opening, verdict: CardVerdict) {
        let mut event = self.describe_opening(opening, &opening.sender.name, Direction::Received);
        event.pinned_now = verdict == CardVerdict::PinnedNow;
        self.emit(&Event::Conversation(Box::new(event)));
    }

    /// The accepted conversation that something is sealed under, taken up from disk if need be.
    fn conversation(
        &mut self,
        from: &PeerName,
        sealed: &[u8],
    ) -> Result<Result<ConversationId, Complaint>, Fatal> {
        let Some((id, _, _)) = sealed_parts(sealed) else {
            return Ok(Err(Complaint::NotAuthentic));
        };
        if !self.accepted.contains_key(&id) {
            let Some(record) = self.store.incoming(id)? else {
                return Ok(Err(Complaint::UnknownConversation));
            };
            let Ok(opening) = Opening::from_bytes(&record.opening) else {
                return Ok(Err(Complaint::UnknownConversation));
            };
            if self.pins.check(&record.from, &opening.sender.fingerprint()) != Pin::Same {
                // It was opened under a key that is no longer trusted.
                return Ok(Err(Complaint::UnknownConversation));
            }
            let Some(key) = self.me.keys.by_fingerprint(&opening.recipient_key) else {
                return Ok(Err(Complaint::KeyDestroyed));
            };
            let resume = Some((record.count, record.running_hash));
            let Ok(incoming) = Incoming::accept(&opening, key, resume, &mut self.rng) else {
                return Ok(Err(Complaint::NotAuthentic));
            };
            let first_number = opening.first_number;
            let accepted = Accepted { from: record.from, opening: record.opening, first_number, incoming };
            self.accepted.insert(id, accepted);
        }
        let is_theirs =
            self.accepted.get(&id).is_some_and(|accepted| accepted.from.folded() == from.folded());
        Ok(if is_theirs { Ok(id) } else { Err(Complaint::UnknownConversation) })
    }

    fn message(&mut self, from: &PeerName, number: u64, sealed: &[u8]) -> Result<(), Fatal> {
        let id = match self.conversation(from, sealed)? {
            Ok(id) => id,
            Err(complaint) => {
                self.refuse(from, Some(number), &complaint.to_string());
                if let Some((id, _, _)) = sealed_parts(sealed) {
                    self.complain(from, id, 0, complaint);
                }
                return Ok(());
            }
        };
        let accepted = self.accepted.get_mut(&id).expect("it was found above");
        let (name, first_number) = (accepted.from.clone(), accepted.first_number);
        let last_number = self.contact(&name).last_number;
        let accepted = self.accepted.get_mut(&id).expect("it was found above");
        // Messages under another conversation may have been held back: none of them is passed over.
        let is_next = number <= last_number.saturating_add(1).max(first_number);
        let opened = if is_next {
            accepted.incoming.open_message(number, sealed)
        } else {
            Err(Refused::Gap { expected: 0 })
        };
        let (count, running_hash) = accepted.received();
        let complaint = match opened {
            Ok(opened) => {
                self.changed_accepted.insert(id);
                self.receipts_due.insert((name.folded(), id));
                if number <= last_number {
                    match self.received_text(&name, number)? {
                        // It came before, sealed under an earlier conversation.
                        Some(text) if text == opened.text => {
                            self.receipt_again(&name, id);
                            return Ok(());
                        }
                        // Another message under the same number: the sender's directory was restored from an older copy.
                        Some(_) => self.number_again(&name),
                        None => {}
                    }
                }
                let place = Place { conversation: id, place: opened.place, running_hash };
                let arrival = self.describe_sealed(sealed, place);
                self.show_message(MessageEvent {
                    from: name,
                    number,
                    verified: true,
                    written_at: opened.sent_at,
                    sha256: opened.digest,
                    text: opened.text,
                    arrival: Some(arrival),
                });
                return Ok(());
            }
            Err(Refused::Again) => {
                self.receipt_again(&name, id);
                return Ok(());
            }
            Err(Refused::Gap { .. }) => Complaint::Gap,
            Err(Refused::NotAuthentic) => Complaint::NotAuthentic,
        };
        self.refuse(&name, Some(number), &complaint.to_string());
        self.complain(&name, id, count, complaint);
        Ok(())
    }

    /// A receipt that was given before goes once more, and the opening before it: the sender may have lost either.
    fn receipt_again(&mut self, to: &PeerName, id: ConversationId) {
        self.contact(to).opened_here.clear();
        self.receipts_due.insert((to.folded(), id));
    }

    /// The text of a message that was received, also if it is written only with the next transaction.
    fn received_text(&self, from: &PeerName, number: u64) -> Result<Option<String>, Fatal> {
        let generation = self.contacts.get(&from.folded()).map_or(0, |contact| contact.generation);
        let pending = self.writes.iter().rev().find_map(|write| match write {
            Write::History(record)
                if record.direction == Direction::Received
                    && (record.generation, record.number) == (generation, number)
                    && record.with.folded() == from.folded() =>
            {
                Some(record.text.clone())
            }
            _ => None,
        });
        match pending {
            Some(text) => Ok(Some(text)),
            None => Ok(self.store.received(from, generation, number)?.map(|record| record.text)),
        }
    }

    /// Conversations of somebody are not gone on with, unless they are taken up again from disk.
    pub(super) fn forget_accepted(&mut self, from: &PeerName) {
        self.accepted.retain(|_, accepted| accepted.from.folded() != from.folded());
    }

    /// Somebody's numbers start again.
    pub(super) fn number_again(&mut self, from: &PeerName) {
        let contact = self.contact(from);
        contact.generation += 1;
        contact.last_number = 0;
        self.changed_contacts.insert(from.folded());
    }

    /// Writes a message down, and shows it if somebody is looking.
    fn show_message(&mut self, message: MessageEvent) {
        let (name, number) = (message.from.clone(), message.number);
        let contact = self.contact(&name);
        contact.last_number = contact.last_number.max(number);
        let generation = contact.generation;
        self.changed_contacts.insert(name.folded());
        self.writes.push(Write::History(HistoryRecord {
            with: name.clone(),
            direction: Direction::Received,
            generation,
            number,
            written_at: message.written_at,
            text: message.text.clone(),
            delivered: true,
        }));
        if self.has_viewer() {
            self.emit(&Event::Message(Box::new(message)));
            self.message_shown();
        } else {
            self.writes.push(Write::Unshown(name, generation, number));
        }
    }

    fn signal(&mut self, from: &PeerName, envelope: &Envelope<'_>) -> Result<(), Fatal> {
        let id = match self.conversation(from, envelope.sealed)? {
            Ok(id) => id,
            Err(complaint) => {
                self.hear_again(from);
                self.refuse(
                    from,
                    None,
                    &format!("a {} could not be read: {complaint}", envelope.kind.as_str()),
                );
                return Ok(());
            }
        };
        let accepted = self.accepted.get_mut(&id).expect("it was found above");
        let name = accepted.from.clone();
        match accepted.incoming.open_signal(envelope.kind, envelope.number, envelope.sealed) {
            Ok(content) => match envelope.kind {
                Kind::Receipt => self.receipt(&name, &content)?,
                Kind::Request => self.request(&name, envelope.number, &content),
                _ => self.answer(&name, &content),
            },
            // The server may hand a signal over twice.
            Err(Refused::Again) => {}
            Err(refused) => self.refuse(&name, None, &format!("a {}: {refused}", envelope.kind.as_str())),
        }
        Ok(())
    }

    /// Something of a peer could not be read, because this side does not have its conversation. If a receipt of it is
    /// waited for, the oldest message goes once more, which makes the other side send its opening and the receipt again.
    fn hear_again(&mut self, from: &PeerName) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&from.folded()) else { return };
        if contact.unread_at.is_none_or(|at| now.saturating_duration_since(at) > HEAR_AGAIN_EVERY) {
            contact.unread_at = Some(now);
            contact.send_oldest_again(now);
        }
    }

    fn refuse(&mut self, with: &PeerName, number: Option<u64>, reason: &str) {
        let reason = Escaped(reason).to_string();
        self.emit(&Event::Refused { with: with.clone(), number, reason });
    }

    /// Tells the server what is safe here; it is, once the transaction of this step is written.
    pub(super) fn acknowledge(&mut self) {
        let Some(link) = &mut self.link else { return };
        if link.received > link.acknowledged {
            link.acknowledged = link.received;
            frame::encode(&ToServer::Taken { count: link.received }, &mut self.frames);
        }
    }
}
