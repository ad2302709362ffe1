//! Receipts: given for what has arrived, and checked when they come for what was sent.

use wire::PeerName;
use wire::conversation::ConversationId;
use wire::protocol::Kind;
use wire::signal::{self, Complaint, Receipt};

use super::contact::{Contact, Lookup, PROBE_EVERY};
use super::outbound::{About, Parcel};
use super::{Engine, Fatal};
use crate::peer::event::{self, Event};
use crate::peer::records::{OutboxRecord, Write};

/// Most conversations of one peer that are complained about on one connection.
const COMPLAINTS_MAX: usize = 64;

impl Engine {
    /// Seals the receipts that are due. They go out after the transaction that holds what they acknowledge.
    pub(super) fn send_receipts(&mut self) {
        for (name, conversation) in std::mem::take(&mut self.receipts_due) {
            let Some(accepted) = self.accepted.get(&conversation) else {
                continue;
            };
            let (count, running_hash) = accepted.received();
            self.send_receipt(&name, &Receipt::Received { conversation, count, running_hash });
        }
    }

    /// Tells a sender, once on a connection, that a conversation of theirs cannot be gone on with; if their card is not
    /// known, as soon as it is.
    pub(super) fn complain(
        &mut self,
        to: &PeerName,
        conversation: ConversationId,
        count: u64,
        reason: Complaint,
    ) {
        let contact = self.contact(to);
        if contact.complained.len() >= COMPLAINTS_MAX || !contact.complained.insert(conversation) {
            return;
        }
        if contact.card.is_some() && !contact.is_distrusted {
            self.send_receipt(&to.folded(), &Receipt::Refused { conversation, count, reason });
        } else {
            contact.complaints_due.insert(conversation, (count, reason));
        }
    }

    /// Sends the complaints that waited for a card.
    pub(super) fn send_complaints(&mut self, to: &PeerName) {
        let Some(contact) = self.contacts.get_mut(to) else {
            return;
        };
        let waits = contact.retry_at.is_some_and(|at| at > self.now.instant);
        if waits || contact.card.is_none() || contact.is_distrusted || contact.lookup != Lookup::Known {
            return;
        }
        for (conversation, (count, reason)) in std::mem::take(&mut contact.complaints_due) {
            self.send_receipt(to, &Receipt::Refused { conversation, count, reason });
        }
    }

    fn send_receipt(&mut self, to: &PeerName, receipt: &Receipt) {
        let number = self.contacts.get(to).map_or(0, |contact| contact.last_number);
        let about = match receipt {
            Receipt::Received { conversation, .. } => About::Receipt(*conversation),
            Receipt::Refused { conversation, count, reason } => {
                About::Complaint(*conversation, *count, *reason)
            }
        };
        self.send_signal(to, Kind::Receipt, number, &signal::encode(receipt), about);
    }

    /// Seals a signal under the conversation towards a peer, which is opened if need be, and sends it. Without a
    /// connection or a card nothing is sent.
    pub(super) fn send_signal(
        &mut self,
        to: &PeerName,
        kind: Kind,
        number: u64,
        content: &[u8],
        about: About,
    ) {
        if self.link.is_none() {
            return;
        }
        // Taken out while it is worked on, so that the rest of the engine stays in reach.
        let Some(mut contact) = self.contacts.remove(&to.folded()) else {
            return;
        };
        if contact.card.is_some() {
            self.ensure_current(&mut contact);
            let current = contact.current.as_mut().expect("it was opened just now");
            let id = current.outgoing.opening().id;
            let sealed = current.outgoing.seal_signal(kind, number, content);
            self.send_opening(&mut contact, id);
            let mut parcel = Parcel::new(kind, number, &sealed, id);
            parcel.about = about;
            self.send(&contact.name, parcel);
        }
        self.contacts.insert(to.folded(), contact);
    }

    /// A receipt has come and was opened.
    pub(super) fn receipt(&mut self, from: &PeerName, content: &[u8]) -> Result<(), Fatal> {
        match signal::decode(content) {
            Ok(Receipt::Received { conversation, count, running_hash }) => {
                self.received(from, conversation, count, running_hash);
                Ok(())
            }
            Ok(Receipt::Refused { conversation, count, reason }) => {
                self.seal_anew(from, conversation, count, reason)
            }
            Err(_) => {
                let reason = "a receipt cannot be read".to_owned();
                self.emit(&Event::Refused { with: from.clone(), number: None, reason });
                Ok(())
            }
        }
    }

    fn received(&mut self, from: &PeerName, id: ConversationId, count: u64, running_hash: wire::Digest) {
        let Some(contact) = self.contacts.get_mut(&from.folded()) else {
            return;
        };
        let covered: Vec<u64> = covered(contact, id, 0..count).collect();
        // Numbers that were sealed anew need not lie in the order of their places.
        let furthest = covered.iter().max_by_key(|number| contact.unacked[*number].sealed.map(|s| s.place));
        let Some(last) = furthest else { return };
        let place = contact.unacked[last].sealed.expect("what is covered is sealed");
        if place.place + 1 != count || place.running_hash != running_hash {
            let number = Some(*last);
            let reason = format!(
                "the receipt is over {count} messages with running hash {running_hash}, this side has {} with {}; the \
                 messages stay queued",
                place.place + 1,
                place.running_hash
            );
            self.emit(&Event::Refused { with: from.clone(), number, reason });
            return;
        }
        let name = contact.name.clone();
        for number in &covered {
            contact.unacked.remove(number);
            contact.unsent.remove(number);
            self.writes.push(Write::Delivered(name.clone(), *number));
        }
        // Whoever was asked for one lost receipt may have lost more: the next stored message asks on.
        let was_asked =
            contact.probed_at.is_some_and(|at| self.now.instant.saturating_duration_since(at) < PROBE_EVERY);
        if contact.unacked.values().next().is_some_and(|message| message.stored_at.is_some()) && was_asked {
            contact.send_oldest_again(self.now.instant);
        }
        for id in contact.finished() {
            self.writes.push(Write::OutgoingDone(id));
        }
        if let Some(link) = &mut self.link {
            link.forget_relayed(&from.folded(), &covered);
        }
        for number in covered {
            let to = name.clone();
            self.emit(&Event::Delivered { to, number, conversation: id, count, running_hash });
            self.message_delivered(from, number);
        }
    }

    /// The recipient cannot go on in a conversation: what it has not received is sealed under a new one.
    fn seal_anew(
        &mut self,
        from: &PeerName,
        id: ConversationId,
        count: u64,
        reason: Complaint,
    ) -> Result<(), Fatal> {
        let Some(contact) = self.contacts.get_mut(&from.folded()) else {
            return Ok(());
        };
        // Nothing stays sealed under a conversation that is given up, not even what has arrived: its receipts would be over
        // other counts than are known here. Whoever has a message knows it again by its number and text.
        let sealed: Vec<u64> = covered(contact, id, 0..u64::MAX).collect();
        let refused: Vec<u64> = covered(contact, id, count..u64::MAX).collect();
        // What goes again goes in order, so not behind what was sealed since.
        contact.current = None;
        let Some(&first) = refused.first().or(sealed.first()) else { return Ok(()) };
        let name = contact.name.clone();
        // A fresh card, in case the old key is gone.
        contact.lookup = Lookup::NotAsked;
        for number in &refused {
            let message = contact.unacked.get_mut(number).expect("it was found above");
            // What is missing is no fault of the message's own.
            message.refusals += u32::from(reason != Complaint::Gap);
        }
        contact.send_all_again();
        self.unseal(&name, &sealed)?;
        let reason = event::explain(reason);
        self.emit(&Event::Refused { with: name, number: Some(first), reason });
        Ok(())
    }
}

impl Engine {
    /// Messages are to be sealed anew.
    pub(super) fn unseal(&mut self, to: &PeerName, numbers: &[u64]) -> Result<(), Fatal> {
        for number in numbers {
            let contact = self.contact(to);
            if let Some(message) = contact.unacked.get_mut(number) {
                (message.sealed, message.bytes) = (None, None);
            }
            let name = contact.name.clone();
            if let Some(record) = self.store_entry(&name, *number)? {
                self.writes.push(Write::Outbox(name, *number, OutboxRecord { sealed: None, ..record }));
            }
        }
        Ok(())
    }
}

/// The numbers of the messages in a range of places of a conversation.
fn covered(
    contact: &Contact,
    id: ConversationId,
    places: std::ops::Range<u64>,
) -> impl Iterator<Item = u64> + use<'_> {
    contact
        .unacked
        .iter()
        .filter(move |(_, m)| m.sealed.is_some_and(|s| s.conversation == id && places.contains(&s.place)))
        .map(|(number, _)| *number)
}
