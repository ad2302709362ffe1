//! Messages on their way out: queued, sealed, sent, and what the server says became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::PeerName;
use wire::card::Card;
use wire::conversation::{ConversationId, Outgoing};
use wire::frame;
use wire::protocol::{Envelope, Kind, Outcome, Refusal, ServerId, ToServer, TransferId};
use wire::signal::Complaint;

use super::contact::{Contact, Current, Lookup, Place, Unacked};
use super::{Engine, Fatal, Net};
use crate::peer::event::{Event, SentEvent};
use crate::peer::home::Pin;
use crate::peer::records::{Direction, HistoryRecord, OutboxRecord, OutgoingRecord, SealedRecord, Write};

/// Most envelopes on their way to the server that it has not spoken about.
const IN_FLIGHT_MAX: usize = 1024;
/// Most bytes of them.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// A conversation is replaced by a new one after this long.
const REKEY_AFTER: Duration = Duration::from_secs(60 * 60);
/// How long to leave a recipient alone whose mailbox on the server is full.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A connection that has joined.
pub(super) struct Link {
    pub(super) server: ServerId,
    /// Where it is.
    pub(super) address: String,
    /// Envelopes that have come, and how many of them the server knows to be safe here.
    pub(super) received: u64,
    pub(super) acknowledged: u64,
    /// Envelopes that have gone out.
    sent: u64,
    in_flight: BTreeMap<u64, InFlight>,
    in_flight_bytes: usize,
    /// Messages that were relayed: the server may still say that they came back and are stored.
    relayed: BTreeMap<u64, Relayed>,
}

/// What has to be known of an envelope if the server refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Nothing,
    /// The transfer that a request is for.
    Transfer(TransferId),
    /// The conversation that a receipt is for.
    Receipt(ConversationId),
    /// The conversation that a complaint is about, how much of it has arrived, and why.
    Complaint(ConversationId, u64, Complaint),
}

/// What goes into an envelope, and what is to be known of it when the server speaks about it.
pub(super) struct Parcel<'a> {
    kind: Kind,
    number: u64,
    sealed: &'a [u8],
    conversation: ConversationId,
    pub(super) about: About,
    trace: Option<SentEvent>,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(kind: Kind, number: u64, sealed: &'a [u8], conversation: ConversationId) -> Self {
        Self { kind, number, sealed, conversation, about: About::Nothing, trace: None }
    }
}

/// A message that was relayed.
struct Relayed {
    to: PeerName,
    number: u64,
    conversation: ConversationId,
}

struct InFlight {
    to: PeerName,
    kind: Kind,
    number: u64,
    bytes: usize,
    conversation: ConversationId,
    about: About,
    trace: Option<SentEvent>,
}

impl Link {
    fn new(server: ServerId, address: String) -> Self {
        Self {
            server,
            address,
            received: 0,
            acknowledged: 0,
            sent: 0,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            relayed: BTreeMap::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    pub(super) fn forget_relayed(&mut self, to: &PeerName, numbers: &[u64]) {
        self.relayed.retain(|_, sent| sent.to != *to || !numbers.contains(&sent.number));
    }
}

impl Engine {
    pub(super) fn net(&mut self, net: Net) -> Result<(), Fatal> {
        match net {
            Net::Joined { server, address } => self.joined(server, address)?,
            Net::Frames(bodies) => {
                for body in bodies {
                    self.frame(&body)?;
                }
            }
            Net::Unreachable(why) => {
                self.disconnected();
                self.unreachable(&why);
            }
            Net::Refused(code, detail) => {
                self.disconnected();
                self.refused_by_server(code, &detail);
            }
            Net::Lost => {
                self.disconnected();
                self.fail_fetches("the connection to the server broke");
            }
        }
        Ok(())
    }

    /// What was meant for a connection goes with it.
    fn disconnected(&mut self) {
        self.link = None;
        for message in self.contacts.values_mut().flat_map(|contact| contact.unacked.values_mut()) {
            message.is_relayed = false;
        }
        self.frames.clear();
    }

    fn joined(&mut self, server: ServerId, address: String) -> Result<(), Fatal> {
        self.frames.clear();
        self.link = Some(Link::new(server, address.clone()));
        self.has_joined = true;
        for (name, number) in self.store.stored_at(&server)? {
            let contact = name.parse().ok().and_then(|name: PeerName| self.contacts.get_mut(&name));
            if let Some(message) = contact.and_then(|contact| contact.unacked.get_mut(&number)) {
                message.stored_at = Some(server);
            }
        }
        for contact in self.contacts.values_mut() {
            contact.reconnected(&server, self.now.instant);
        }
        let (name, fingerprint) = (self.me.name.clone(), self.me.card.fingerprint());
        self.emit(&Event::Joined { name, server: address, fingerprint });
        self.announce_files();
        self.resume_tasks();
        Ok(())
    }

    /// Writes messages into the outbox. Returns their numbers.
    pub(super) fn queue(&mut self, to: &PeerName, texts: Vec<String>) -> Vec<u64> {
        let now = self.now.unix;
        let contact = self.contact(to);
        let name = contact.name.clone();
        let mut numbers = Vec::with_capacity(texts.len());
        let (mut writes, mut events) = (Vec::new(), Vec::new());
        for text in texts {
            let number = contact.next_number;
            contact.next_number += 1;
            contact.unacked.insert(number, Unacked::new());
            contact.unsent.insert(number);
            let sha256 = wire::Digest::of(text.as_bytes());
            events.push(Event::Queued { to: name.clone(), number, text: text.clone(), sha256 });
            writes.push(Write::History(HistoryRecord {
                with: name.clone(),
                direction: Direction::Sent,
                generation: 0,
                number,
                written_at: now,
                text: text.clone(),
                delivered: false,
            }));
            writes.push(Write::Outbox(
                name.clone(),
                number,
                OutboxRecord { text, queued_at: now, sealed: None },
            ));
            numbers.push(number);
        }
        self.writes.append(&mut writes);
        self.changed_contacts.insert(name.folded());
        for event in events {
            self.emit(&event);
        }
        numbers
    }

    /// Sends what can be sent to everybody.
    pub(super) fn pump_all(&mut self) -> Result<(), Fatal> {
        if self.link.is_none() {
            return Ok(());
        }
        let waiting: Vec<PeerName> =
            self.contacts.iter().filter(|(_, c)| c.wants_to_send()).map(|(name, _)| name.clone()).collect();
        for name in waiting {
            // Taken out while it is worked on, so that the rest of the engine stays in reach.
            let Some(mut contact) = self.contacts.remove(&name) else {
                continue;
            };
            let pumped = self.pump(&mut contact);
            self.contacts.insert(name.clone(), contact);
            pumped?;
            self.send_complaints(&name);
        }
        Ok(())
    }

    fn pump(&mut self, contact: &mut Contact) -> Result<(), Fatal> {
        if contact.lookup == Lookup::NotAsked {
            contact.lookup = Lookup::Asked;
            frame::encode(&ToServer::Lookup { name: contact.name.clone() }, &mut self.frames);
        }
        let is_resolved = matches!(contact.lookup, Lookup::Known | Lookup::Unknown);
        if !is_resolved || contact.retry_at.is_some_and(|at| at > self.now.instant) {
            return Ok(());
        }
        contact.retry_at = None;
        let name = contact.name.folded();
        self.receipts_due
            .extend(std::mem::take(&mut contact.receipts_refused).into_iter().map(|id| (name.clone(), id)));
        while self.link.as_ref().is_some_and(Link::has_room) {
            let Some(&number) = contact.unsent.first() else {
                break;
            };
            if !self.seal(contact, number)? {
                break;
            }
            self.send_message(contact, number)?;
            contact.unsent.remove(&number);
        }
        Ok(())
    }

    /// Seals a message if it is not. False if there is no card to seal it for.
    fn seal(&mut self, contact: &mut Contact, number: u64) -> Result<bool, Fatal> {
        let Some(message) = contact.unacked.get(&number) else {
            return Ok(true);
        };
        if message.sealed.is_some() {
            return Ok(true);
        }
        if !contact.card.as_ref().is_some_and(|card| card.is_valid_at(self.now.unix)) {
            return Ok(false);
        }
        let Some(record) = self.store_entry(&contact.name, number)? else {
            return Ok(true);
        };
        self.ensure_current(contact);
        let current = contact.current.as_mut().expect("it was opened just now");
        let opening = current.outgoing.opening();
        let conversation = opening.id;
        if !current.is_kept {
            current.is_kept = true;
            let (first_number, bytes) = (opening.first_number, opening.as_bytes().to_vec());
            contact.openings.insert(conversation, (first_number, bytes.clone()));
            let record = OutgoingRecord { to: contact.name.clone(), first_number, opening: bytes };
            self.writes.push(Write::Outgoing(conversation, record));
        }
        let sealed = current.outgoing.seal_message(number, record.queued_at, &record.text);
        let place = Place { conversation, place: sealed.place, running_hash: sealed.running_hash };
        let kept = SealedRecord {
            conversation,
            place: sealed.place,
            running_hash: sealed.running_hash,
            bytes: sealed.bytes.clone(),
        };
        self.writes.push(Write::Outbox(
            contact.name.clone(),
            number,
            OutboxRecord { sealed: Some(kept), ..record },
        ));
        let message = contact.unacked.get_mut(&number).expect("it was there above");
        message.sealed = Some(place);
        message.bytes = Some(sealed.bytes);
        Ok(true)
    }

    /// A message of the outbox, also if it is to be written only with the next transaction.
    pub(super) fn store_entry(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Fatal> {
        let pending = self.writes.iter().rev().find_map(|write| match write {
            Write::Outbox(name, n, record) if *n == number && name == to => Some(record.clone()),
            _ => None,
        });
        match pending {
            Some(record) => Ok(Some(record)),
            None => Ok(self.store.outbox_entry(to, number)?),
        }
    }

    /// Sees to it that there is a conversation towards a peer that may be written under.
    pub(super) fn ensure_current(&mut self, contact: &mut Contact) {
        let Some(card) = &contact.card else { return };
        let is_usable = contact.current.as_ref().is_some_and(|current| {
            current.outgoing.messages_sealed() < self.options.rekey_messages
                && self.now.instant.saturating_duration_since(current.opened_at) < REKEY_AFTER
                && current.outgoing.opening().recipient_key == card.encryption.fingerprint()
        });
        if is_usable {
            return;
        }
        let first_number = contact.unacked.keys().next().copied().unwrap_or(contact.next_number);
        let (identity, mine) = (&self.me.keys.identity, &self.me.card);
        let outgoing = Outgoing::open(identity, mine, card, first_number, self.now.unix, &mut self.rng);
        let opening = outgoing.opening();
        let event = self.describe_opening(opening, &contact.name, Direction::Sent);
        self.emit(&Event::Conversation(Box::new(event)));
        contact.current = Some(Current { outgoing, opened_at: self.now.instant, is_kept: false });
    }

    fn send_message(&mut self, contact: &mut Contact, number: u64) -> Result<(), Fatal> {
        let Some(message) = contact.unacked.get_mut(&number) else {
            return Ok(());
        };
        let Some(place) = message.sealed else {
            return Ok(());
        };
        let bytes = match message.bytes.take() {
            Some(bytes) => Some(bytes),
            None => self.store.outbox_entry(&contact.name, number)?.and_then(|r| r.sealed).map(|s| s.bytes),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        self.send_opening(contact, place.conversation);
        let sealed = self.describe_sealed(&bytes, place);
        let trace = SentEvent { to: contact.name.clone(), number, sealed };
        let parcel = Parcel::new(Kind::Message, number, &bytes, place.conversation);
        self.send(&contact.name, Parcel { trace: Some(trace), ..parcel });
        Ok(())
    }

    /// Sends the opening of a conversation unless it went out on this connection already.
    pub(super) fn send_opening(&mut self, contact: &mut Contact, id: ConversationId) {
        if !contact.opened_here.insert(id) {
            return;
        }
        let current = contact.current.as_ref().map(|c| c.outgoing.opening()).filter(|o| o.id == id);
        let opening = match current {
            Some(opening) => Some((opening.first_number, opening.as_bytes().to_vec())),
            None => contact.openings.get(&id).cloned(),
        };
        if let Some((first_number, bytes)) = opening {
            self.send(&contact.name, Parcel::new(Kind::Opening, first_number, &bytes, id));
        }
    }

    /// Puts an envelope on its way.
    pub(super) fn send(&mut self, to: &PeerName, parcel: Parcel<'_>) {
        let Some(link) = &mut self.link else { return };
        let Parcel { kind, number, sealed, conversation, about, trace } = parcel;
        let envelope = Envelope { from: self.me.name.as_str(), to: to.as_str(), kind, number, sealed };
        let bytes = frame::encode(&ToServer::Envelope(envelope), &mut self.frames);
        let to = to.folded();
        link.in_flight.insert(link.sent, InFlight { to, kind, number, bytes, conversation, about, trace });
        link.in_flight_bytes += bytes;
        link.sent += 1;
    }

    /// Takes note of what the server says of envelopes.
    pub(super) fn routed(&mut self, first: u64, count: u64, outcome: Outcome) {
        let Some(link) = &self.link else { return };
        let places = first..first.saturating_add(count);
        let mut spoken_of: Vec<u64> = link.in_flight.range(places.clone()).map(|(place, _)| *place).collect();
        spoken_of.extend(link.relayed.range(places).map(|(place, _)| *place));
        for place in spoken_of {
            let Some(link) = &mut self.link else { return };
            if let Some(sent) = link.in_flight.remove(&place) {
                link.in_flight_bytes -= sent.bytes;
                if outcome == Outcome::Relayed && sent.kind == Kind::Message {
                    let (to, number, conversation) = (sent.to.clone(), sent.number, sent.conversation);
                    link.relayed.insert(place, Relayed { to, number, conversation });
                }
                self.routed_one(sent, outcome);
            } else if let Some(relayed) = link.relayed.remove(&place) {
                self.routed_again(&relayed, outcome);
            }
        }
    }

    fn routed_one(&mut self, sent: InFlight, outcome: Outcome) {
        if let (About::Transfer(transfer), Outcome::Refused(refusal)) = (sent.about, outcome) {
            return self.fetch_refused(transfer, refusal);
        }
        let server = self.link.as_ref().map(|link| link.server);
        let Some(contact) = self.contacts.get_mut(&sent.to) else {
            return;
        };
        if let Outcome::Refused(refusal) = outcome {
            if sent.kind == Kind::Opening {
                contact.opened_here.remove(&sent.conversation);
            }
            match sent.about {
                About::Receipt(conversation) => {
                    contact.receipts_refused.insert(conversation);
                }
                About::Complaint(conversation, count, reason) => {
                    contact.complaints_due.insert(conversation, (count, reason));
                }
                About::Nothing | About::Transfer(_) => {}
            }
            if matches!(sent.about, About::Receipt(_) | About::Complaint(..)) {
                contact.retry_at = Some(self.now.instant + RETRY_AFTER);
            }
            if sent.kind == Kind::Message {
                return self.not_taken(&sent.to, sent.number, refusal);
            }
            return;
        }
        if sent.kind != Kind::Message {
            return;
        }
        let name = contact.name.clone();
        let mut is_news = true;
        let is_same =
            |message: &&mut Unacked| message.sealed.is_some_and(|p| p.conversation == sent.conversation);
        if let Some(message) = contact.unacked.get_mut(&sent.number).filter(is_same) {
            // A stored message that goes once more only asks for its receipt.
            is_news = message.stored_at.is_none();
            match outcome {
                Outcome::Stored => {
                    message.stored_at = server;
                    let write = server.map(|server| Write::Stored(name, sent.number, server));
                    self.writes.extend(write.filter(|_| is_news));
                }
                _ => {
                    message.is_relayed = true;
                    contact.probed_at.get_or_insert(self.now.instant);
                }
            }
        }
        if let (Some(trace), true) = (sent.trace, is_news) {
            let event = if outcome == Outcome::Stored { Event::Stored(trace) } else { Event::Relayed(trace) };
            self.emit(&event);
        }
        self.message_went_out(&sent.to, sent.number);
    }

    /// A relayed message came back to the server, which has stored it, or could not.
    fn routed_again(&mut self, relayed: &Relayed, outcome: Outcome) {
        let Relayed { to, number, conversation } = relayed;
        let server = self.link.as_ref().map(|link| link.server);
        let Some(contact) = self.contacts.get_mut(to) else {
            return;
        };
        let Some(message) = contact.unacked.get_mut(number) else {
            return;
        };
        if message.sealed.is_none_or(|place| place.conversation != *conversation) {
            // It was sealed anew since.
            return;
        }
        message.is_relayed = false;
        if let (Outcome::Stored, Some(server)) = (outcome, server) {
            message.stored_at = Some(server);
            self.writes.push(Write::Stored(contact.name.clone(), *number, server));
        } else {
            contact.unsent.insert(*number);
        }
    }

    fn not_taken(&mut self, to: &PeerName, number: u64, refusal: Refusal) {
        let Some(contact) = self.contacts.get_mut(to) else {
            return;
        };
        if !contact.unacked.contains_key(&number) {
            return;
        }
        let is_first = contact.retry_at.is_none();
        contact.unsent.insert(number);
        contact.retry_at = Some(self.now.instant + RETRY_AFTER);
        let with = contact.name.clone();
        if is_first {
            let reason = format!("{refusal}; it stays queued on this peer's disk");
            self.emit(&Event::Refused { with, number: Some(number), reason });
        }
        self.message_refused(to, number);
    }

    /// Takes in a card: from the server, from an opening, or from a file. False if its key is not the pinned one.
    pub(super) fn take_card(&mut self, card: Card) -> Result<CardVerdict, Fatal> {
        if card.name.folded() == self.me.name.folded() {
            return Ok(CardVerdict::Mine);
        }
        let fingerprint = card.fingerprint();
        let verdict = match self.pins.check(&card.name, &fingerprint) {
            Pin::New => {
                self.pins.pin(&card.name, &fingerprint, self.now.unix)?;
                CardVerdict::PinnedNow
            }
            Pin::Same => CardVerdict::Known,
            Pin::Changed { pinned } => {
                self.contact(&card.name).is_distrusted = true;
                let name = card.name.clone();
                let reason = format!(
                    "the identity key of {name} has changed: pinned is {pinned}, shown is {fingerprint}; ask them, and \
                     if it is right: trust {name} {fingerprint}"
                );
                self.emit(&Event::Refused { with: name, number: None, reason });
                return Ok(CardVerdict::Changed);
            }
        };
        let contact = self.contact(&card.name);
        contact.is_distrusted = false;
        let is_newer = contact
            .card
            .as_ref()
            .is_none_or(|known| known.issued_at <= card.issued_at || known.fingerprint() != fingerprint);
        if is_newer && contact.card.as_ref().is_none_or(|known| known.as_bytes() != card.as_bytes()) {
            contact.name = card.name.clone();
            let key = card.name.folded();
            contact.card = Some(card);
            self.changed_contacts.insert(key);
        }
        Ok(verdict)
    }
}

/// What came of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CardVerdict {
    /// The key was seen for the first time and is pinned now.
    PinnedNow,
    /// The key is the pinned one.
    Known,
    /// The key is another one than the pinned one; the card is not used.
    Changed,
    /// It is this peer's own.
    Mine,
}
