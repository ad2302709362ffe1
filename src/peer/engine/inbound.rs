//! Frames from the server: answers, and envelopes of other peers.

use wire::conversation::{ConversationId, MessageId, OpenedMessage, Opening, Refused, sealed_parts};
use wire::protocol::{Envelope, Kind, ToPeer};
use wire::signal::Complaint;
use wire::{Digest, PeerName};

use super::Engine;
use super::cards::CardVerdict;
use super::contact::Place;
use crate::peer::event::{Event, MessageEvent, Sealed};
use crate::peer::records::Direction;

/// In how many generations of the sender's numbers a repeated message is looked for. The limit keeps the cost of each
/// message constant for a sender that uses one number again and again.
const GENERATIONS_SEARCHED: u64 = 8;

impl Engine {
    pub(super) fn frame(&mut self, body: &[u8]) {
        // Frames after one that has ended the connection are ignored.
        let Some(link) = &mut self.local.link else { return };
        link.heard();
        match ToPeer::decode(body) {
            Ok(ToPeer::Envelope(envelope)) => self.envelope(&envelope),
            Ok(ToPeer::Routed { first, count, outcome }) => self.routed(first, count, outcome),
            Ok(ToPeer::Card { card }) => self.card_came(&card),
            Ok(ToPeer::Unknown { name }) => self.nobody_of_that_name(&name),
            Ok(ToPeer::Published { files, pairs }) => self.published(files, pairs),
            Ok(ToPeer::Found { id, hits, total }) => self.found_for_fetch(id, hits, total),
            Ok(ToPeer::Matches { id, matches, total, instead }) => {
                self.matches(id, matches, total, instead.as_deref());
            }
            Ok(ToPeer::BadSearch { id, column, detail }) => self.bad_search(id, column, &detail),
            Ok(ToPeer::Known { id, peers }) => self.known(id, peers),
            Ok(ToPeer::Failed { id, detail }) => self.failed(id, &detail),
            Ok(
                ToPeer::Reachable { .. }
                | ToPeer::Hello { .. }
                | ToPeer::Invited { .. }
                | ToPeer::Welcome { .. }
                | ToPeer::Spliced,
            ) => {}
            Ok(ToPeer::Expired { to, first, last }) => self.mail_expired(&to, first..=last),
            Ok(ToPeer::Unwatched { name, reason }) => self.not_watched(&name, reason),
            Ok(ToPeer::Error { code, detail }) => self.refused_by_server(code, &detail),
            Ok(ToPeer::Pong { id, present }) => {
                self.pong(&present);
                self.publish_after(id);
            }
            Err(bad) => {
                let bytes = body.len();
                self.reconnect(format!(
                    "the server sent a frame of {bytes} bytes that cannot be read: {bad}"
                ));
            }
        }
    }

    /// Reports messages that the server had stored and has dropped. They are still in the outbox.
    fn mail_expired(&mut self, to: &PeerName, numbers: std::ops::RangeInclusive<u64>) {
        if let Some(link) = &mut self.local.link {
            link.received += 1;
        }
        let (first, last) = numbers.into_inner();
        let reason = format!(
            "the server has kept the messages #{first} to #{last} as long as it keeps mail, and has dropped them undelivered; \
             they stay queued on this peer's disk"
        );
        self.local.refuse(to, Some(first), &reason);
    }

    fn envelope(&mut self, envelope: &Envelope<'_>) {
        if let Some(link) = &mut self.local.link {
            link.received += 1;
        }
        let Ok(from) = envelope.from.parse::<PeerName>() else {
            return;
        };
        if !envelope.to.eq_ignore_ascii_case(self.local.name.as_str()) {
            return;
        }
        if self.contacts.get(&from).is_some_and(|contact| contact.is_blocked) {
            return;
        }
        match envelope.kind {
            Kind::Opening => self.opening(&from, envelope.sealed),
            Kind::Message => self.message(&from, envelope.number, envelope.sealed),
            Kind::Receipt | Kind::Request | Kind::Answer => self.signal(&from, envelope),
        }
    }

    fn opening(&mut self, from: &PeerName, bytes: &[u8]) {
        if Opening::peek(bytes).is_some_and(|(id, key)| self.conversations.knows(&mut self.local, id, key)) {
            return;
        }
        // With the name, so that the server cannot have an opening refused by delivering it in another name before.
        let digest = Digest::of_parts(&[from.folded().as_str().as_bytes(), b" ", bytes]);
        if !self.may_open(from, digest) {
            return;
        }
        let opening = match Opening::from_bytes(bytes) {
            Ok(opening) => opening,
            Err(bad) => {
                self.refuse_opening(digest);
                return self.local.refuse(from, None, &bad.to_string());
            }
        };
        // Senders may not have the card with this peer's new key yet.
        let is_for_us = self.local.card.is_of(&opening.recipient);
        if opening.sender.name.folded() != from.folded() || !is_for_us {
            self.refuse_opening(digest);
            let reason = "a conversation was opened in another name, or for another key";
            return self.local.refuse(from, None, reason);
        }
        self.take_note_of(from);
        let verdict = self.take_card(opening.sender.clone());
        match verdict {
            CardVerdict::Mine => return,
            // The complaint makes the sender seal these messages again once the user trusts the key.
            CardVerdict::Changed => {
                return self.complain(from, opening.id, 0, Complaint::UnknownConversation);
            }
            CardVerdict::PinnedNow | CardVerdict::Known => {}
        }
        match self.conversations.accept(&mut self.local, &opening) {
            Ok(()) => {
                let sender = &opening.sender.name;
                let mut event = self.local.describe_opening(&opening, sender, Direction::Received);
                event.pinned_now = verdict == CardVerdict::PinnedNow;
                self.local.emit(&Event::Conversation(Box::new(event)));
            }
            Err(complaint) => {
                if complaint == Complaint::KeyDestroyed {
                    // The sender must be told each time, because only a complaint makes it seal the mail again, and one
                    // may be lost.
                    self.mail_came_too_late(&opening.sender.name, opening.first_number);
                } else {
                    self.refuse_opening(digest);
                    let reason = format!("a conversation could not be accepted: {complaint}");
                    self.local.refuse(from, None, &reason);
                }
                self.complain(from, opening.id, 0, complaint);
            }
        }
    }

    fn message(&mut self, from: &PeerName, number: u64, sealed: &[u8]) {
        let Some((id, _, _)) = sealed_parts(sealed) else {
            return self.local.refuse(from, Some(number), &Complaint::NotAuthentic.to_string());
        };
        let accepted = match self.conversations.find(&mut self.local, from, id) {
            Ok(accepted) => accepted,
            Err(complaint) => return self.cannot_open(from, number, id, 0, complaint),
        };
        let name = accepted.from.clone();
        let last_number = self.contacts.of(&name).last_number;
        // The server may have held back a message of another conversation. It must not be skipped.
        let is_next = number <= last_number.saturating_add(1).max(accepted.first_number);
        let opened = if is_next {
            accepted.incoming.open_message(number, sealed)
        } else {
            Err(Refused::Gap { expected: 0 })
        };
        let (count, running_hash) = accepted.received();
        match opened {
            Ok(opened) => {
                let place = Place { conversation: id, place: opened.place, running_hash };
                let arrival = self.local.describe_sealed(sealed, place);
                self.arrived(name, number, opened, arrival);
            }
            Err(Refused::Again) => self.receipt_again(&name, id),
            Err(Refused::Gap { .. }) => self.cannot_open(&name, number, id, count, Complaint::Gap),
            Err(Refused::NotAuthentic) => {
                self.cannot_open(&name, number, id, count, Complaint::NotAuthentic);
            }
        }
    }

    fn cannot_open(
        &mut self,
        from: &PeerName,
        number: u64,
        id: ConversationId,
        count: u64,
        complaint: Complaint,
    ) {
        self.local.refuse(from, Some(number), &complaint.to_string());
        self.complain(from, id, count, complaint);
    }

    /// Handles a message that was opened and is in order.
    fn arrived(&mut self, from: PeerName, number: u64, opened: OpenedMessage, arrival: Sealed) {
        let id = arrival.conversation;
        self.conversations.message_came(id, number);
        self.earned(&from);
        self.receipts_due.insert((from.folded(), id));
        if number <= self.contacts.of(&from).last_number && self.has_arrived(&from, number, opened.id) {
            return self.receipt_again(&from, id);
        }
        self.late_mail_came(&from, number);
        let message = MessageEvent {
            compared: self.local.is_compared(&from),
            from,
            number,
            verified: true,
            written_at: opened.sent_at,
            sha256: opened.digest,
            text: opened.text,
            arrival: Some(arrival),
        };
        self.show(opened.id, &message);
    }

    /// Whether a message has arrived before, under an earlier conversation. If another message has arrived under the
    /// same number, starts a new generation of numbers, so that both are kept.
    fn has_arrived(&mut self, from: &PeerName, number: u64, id: MessageId) -> bool {
        let newest = self.contacts.of(from).generation;
        let generations = newest.saturating_sub(GENERATIONS_SEARCHED)..=newest;
        let mut known = |generation| self.local.records.received(from, generation, number);
        if generations.clone().filter_map(&mut known).any(|known| known == id) {
            return true;
        }
        if known(newest).is_some() {
            let contact = self.contacts.of(from);
            (contact.generation, contact.is_changed) = (newest + 1, true);
            self.local.emit(&Event::error(format!(
                "{from} has sent another message #{number} than the one that came before, so its directory was restored from an \
                 older copy; both are kept"
            )));
        }
        false
    }

    /// Repeats a receipt and its opening, because the sender may have lost either.
    fn receipt_again(&mut self, to: &PeerName, id: ConversationId) {
        self.contacts.of(to).reopen(self.local.now.instant);
        self.receipts_due.insert((to.folded(), id));
    }

    fn signal(&mut self, from: &PeerName, envelope: &Envelope<'_>) {
        let kind = envelope.kind;
        let found = match sealed_parts(envelope.sealed) {
            Some((id, _, _)) => self.conversations.find(&mut self.local, from, id),
            None => Err(Complaint::NotAuthentic),
        };
        let accepted = match found {
            Ok(accepted) => accepted,
            Err(complaint) => {
                if let Some(contact) = self.contacts.get_mut(from) {
                    contact.hear_again(self.local.now.instant);
                }
                let reason = format!("a {} could not be read: {complaint}", kind.as_str());
                return self.local.refuse(from, None, &reason);
            }
        };
        let name = accepted.from.clone();
        match accepted.incoming.open_signal(kind, envelope.number, envelope.sealed) {
            Ok(content) => match kind {
                Kind::Receipt => self.receipt(&name, &content),
                Kind::Request => self.request(&name, envelope.number, &content),
                _ => self.answer(&name, &content),
            },
            // The server may deliver a signal twice.
            Err(Refused::Again) => {}
            Err(refused) => self.local.refuse(&name, None, &format!("a {}: {refused}", kind.as_str())),
        }
    }
}
