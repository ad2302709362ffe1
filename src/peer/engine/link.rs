//! The joined connection: which envelopes are in flight, and their outcomes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use wire::conversation::ConversationId;
use wire::frame;
use wire::protocol::{Envelope, Greeting, Kind, Outcome, Refusal, ServerId, ToServer, TransferId};
use wire::signal::Complaint;
use wire::{Fingerprint, PeerName};

use super::Engine;
use super::contact::{Contact, Unacked};
use super::local::Local;
use super::pace::jittered;
use super::presence::PING_WHILE_AWAY;
use crate::peer::event::{Event, SentEvent};
use crate::peer::records::Write;

/// The maximum number of envelopes in flight, which are sent and have no outcome yet.
const IN_FLIGHT_MAX: usize = 1024;
/// The maximum number of bytes in flight.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// If as many envelopes as allowed are in flight, and the first has no outcome after this time, the outcomes may be lost.
/// Then messages go one at a time, and more when answers come, instead of waiting for these outcomes.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// How long the server may take to report the outcome of an envelope. Longer than a slow disk takes.
const ROUTED_WAIT: Duration = Duration::from_secs(30);
/// How long the server may be silent after a ping.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A connection that has joined.
pub(super) struct Link {
    pub(super) server: ServerId,
    pub(super) server_key: Fingerprint,
    pub(super) address: String,
    pub(super) pinned_certificate: Option<Fingerprint>,
    /// The number of envelopes that have arrived, including notices of expired mail (`Expired`), which are acknowledged
    /// too.
    pub(super) received: u64,
    acknowledged: u64,
    /// The number of envelopes that were sent. Each is identified by its position.
    sent: u64,
    in_flight: BTreeMap<u64, Sent>,
    in_flight_bytes: usize,
    /// Messages that were relayed. The server may still report that they came back and are stored.
    relayed: BTreeMap<u64, Sent>,
    /// When the next ping is due.
    pub(super) ping_at: Instant,
    pub(super) pings: u32,
    /// When the first ping was sent after the last frame from the server.
    unheard_since: Option<Instant>,
}

/// What an envelope is about, in case the server refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Nothing,
    /// The transfer that a request is for.
    Transfer(TransferId),
    /// The transfer that an answer is about.
    Offer(TransferId),
    /// The conversation that a receipt is for.
    Receipt(ConversationId),
    /// The conversation that a complaint is about, how many messages of it have arrived, and why.
    Complaint(ConversationId, u64, Complaint),
}

/// The properties of an envelope besides its content.
pub(super) struct Parcel {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) conversation: ConversationId,
    pub(super) about: About,
    pub(super) trace: Option<SentEvent>,
}

impl Parcel {
    pub(super) fn new(kind: Kind, number: u64, conversation: ConversationId) -> Self {
        Self { kind, number, conversation, about: About::Nothing, trace: None }
    }
}

/// An envelope that was sent.
struct Sent {
    /// The folded name of the recipient.
    to: PeerName,
    bytes: usize,
    sent_at: Instant,
    parcel: Parcel,
}

impl Link {
    /// The first ping is sent at once and asks for the peers that stored messages wait for.
    pub(super) fn new(
        greeting: &Greeting,
        address: String,
        pinned_certificate: Option<Fingerprint>,
        ping_at: Instant,
    ) -> Self {
        Self {
            server: greeting.server,
            server_key: greeting.key.fingerprint(),
            address,
            pinned_certificate,
            received: 0,
            acknowledged: 0,
            sent: 0,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            relayed: BTreeMap::new(),
            ping_at,
            pings: 0,
            unheard_since: None,
        }
    }

    /// Notes that a frame has come from the server.
    pub(super) fn heard(&mut self) {
        self.unheard_since = None;
    }

    /// The id of the next ping.
    pub(super) fn next_ping(&self) -> u32 {
        self.pings.wrapping_add(1)
    }

    /// Notes that a ping was sent. The next is due at `next`.
    pub(super) fn pinged(&mut self, now: Instant, next: Instant) {
        self.pings = self.next_ping();
        self.unheard_since.get_or_insert(now);
        self.ping_at = next;
    }

    /// Why the connection does not work any more, although TCP has not noticed; `None` if it seems to work.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        if self.unheard_since.is_some_and(|since| since + SILENCE_MAX <= now) {
            return Some(format!("the server has been silent for {} s", SILENCE_MAX.as_secs()));
        }
        self.in_flight.first_key_value().filter(|(_, sent)| sent.sent_at + ROUTED_WAIT <= now)?;
        let (count, wait) = (self.in_flight.len(), ROUTED_WAIT.as_secs());
        Some(format!("the server has not reported the outcome of {count} envelope(s) for {wait} s"))
    }

    /// When to check [`Link::trouble`] or [`Link::is_stalled`], or send a ping.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let routed = self.in_flight.values().next().map(|sent| sent.sent_at + ROUTED_WAIT);
        let heard = self.unheard_since.map(|since| since + SILENCE_MAX);
        let stalled = self.stalled_at().filter(|at| *at > now);
        routed.into_iter().chain(heard).chain(stalled).fold(self.ping_at, Instant::min)
    }

    fn stalled_at(&self) -> Option<Instant> {
        let (_, first) = self.in_flight.first_key_value().filter(|_| !self.has_room())?;
        Some(first.sent_at + STALLED_AFTER)
    }

    /// Whether the outcomes of the envelopes in flight may be lost, see [`STALLED_AFTER`].
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_at().is_some_and(|at| at <= now)
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    /// How many envelopes have arrived, if some were not acknowledged to the server. Notes them as acknowledged.
    pub(super) fn unacknowledged(&mut self) -> Option<u64> {
        let before = std::mem::replace(&mut self.acknowledged, self.received);
        (before < self.received).then_some(self.received)
    }

    /// Schedules a ping soon, because messages wait for a peer that is away.
    fn ping_soon(&mut self, now: Instant, rng: &mut StdRng) {
        self.ping_at = self.ping_at.min(now + jittered(PING_WHILE_AWAY, rng));
    }

    /// Forgets messages that have a receipt, because their outcome at the server does not matter any more. `numbers`
    /// must be in order.
    pub(super) fn forget(&mut self, to: &PeerName, numbers: &[u64]) {
        let is_done = |sent: &Sent| {
            sent.parcel.kind == Kind::Message
                && sent.to == *to
                && numbers.binary_search(&sent.parcel.number).is_ok()
        };
        self.relayed.retain(|_, sent| !is_done(sent));
        let freed = self.in_flight.extract_if(.., |_, sent| is_done(sent)).map(|(_, sent)| sent.bytes);
        self.in_flight_bytes -= freed.sum::<usize>();
    }

    /// The positions in a range whose envelopes are in flight or relayed.
    fn known(&self, positions: Range<u64>) -> Vec<u64> {
        let in_flight = self.in_flight.range(positions.clone()).map(|(position, _)| *position);
        in_flight.chain(self.relayed.range(positions).map(|(position, _)| *position)).collect()
    }
}

impl Local {
    /// Sends an envelope.
    pub(super) fn send(&mut self, to: &PeerName, sealed: &[u8], parcel: Parcel) {
        let Some(link) = &mut self.link else { return };
        let Parcel { kind, number, .. } = parcel;
        let envelope = Envelope { from: self.name.as_str(), to: to.as_str(), kind, number, sealed };
        let bytes = frame::encode(&ToServer::Envelope(envelope), &mut self.to_server);
        let sent = Sent { to: to.folded(), bytes, sent_at: self.now.instant, parcel };
        link.in_flight.insert(link.sent, sent);
        link.in_flight_bytes += bytes;
        link.sent += 1;
    }
}

impl Engine {
    /// Handles the outcome of envelopes.
    pub(super) fn routed(&mut self, first: u64, count: u64, outcome: Outcome) {
        let Some(link) = &self.local.link else { return };
        for position in link.known(first..first.saturating_add(count)) {
            let Some(link) = &mut self.local.link else { return };
            if let Some(mut sent) = link.in_flight.remove(&position) {
                link.in_flight_bytes -= sent.bytes;
                let trace = sent.parcel.trace.take();
                self.routed_first(&sent, trace, outcome);
                let is_relayed = outcome == Outcome::Relayed && sent.parcel.kind == Kind::Message;
                if let (Some(link), true) = (&mut self.local.link, is_relayed) {
                    link.relayed.insert(position, sent);
                }
            } else if let Some(sent) = link.relayed.remove(&position) {
                self.routed_again(&sent, outcome);
            }
        }
    }

    fn routed_first(&mut self, sent: &Sent, trace: Option<SentEvent>, outcome: Outcome) {
        match (outcome, sent.parcel.kind) {
            (Outcome::Refused(refusal), _) => self.refused(sent, refusal),
            (_, Kind::Message) => self.message_went_out(sent, trace, outcome),
            _ => {}
        }
    }

    fn refused(&mut self, sent: &Sent, refusal: Refusal) {
        let Parcel { kind, number, conversation, about, .. } = sent.parcel;
        if let About::Transfer(transfer) = about {
            return self.fetch_refused(transfer, refusal);
        }
        if let About::Offer(transfer) = about {
            return self.answer_refused(&sent.to, transfer, refusal);
        }
        let Some(contact) = self.contacts.get_mut(&sent.to) else {
            return;
        };
        // Envelopes that were refused together cause one pause.
        let now = self.local.now.instant;
        let failures = match contact.pause.until(now) {
            None => contact.pause.failed(now, &mut self.local.rng),
            Some(_) => 0,
        };
        contact.acceptance.cut();
        if kind == Kind::Opening {
            contact.opened_here.remove(&conversation);
        }
        match about {
            About::Receipt(conversation) => {
                contact.receipts_refused.insert(conversation);
            }
            About::Complaint(conversation, count, reason) => {
                contact.complaints_due.insert(conversation, (count, reason));
            }
            About::Nothing | About::Transfer(_) | About::Offer(_) => {}
        }
        // The opening is refused first, then the messages of its conversation.
        if failures == 1 && matches!(kind, Kind::Opening | Kind::Message) && !contact.unacked.is_empty() {
            let reason = format!("{refusal}; the messages stay queued on this peer's disk");
            self.local.refuse(&contact.name, (kind == Kind::Message).then_some(number), &reason);
        }
        if kind == Kind::Message && contact.unacked.contains_key(&number) {
            contact.unsent.insert(number);
            self.local.message_refused(&sent.to, number);
        }
    }

    fn message_went_out(&mut self, sent: &Sent, trace: Option<SentEvent>, outcome: Outcome) {
        let Some(link) = &mut self.local.link else { return };
        let Some(contact) = self.contacts.get_mut(&sent.to) else {
            return;
        };
        let Parcel { number, conversation, .. } = sent.parcel;
        contact.acceptance.grow();
        if outcome == Outcome::Relayed {
            contact.is_present = true;
        } else {
            // The receipt may take days. Meanwhile the server's limits apply.
            contact.reception.grow();
            if contact.message_stored() {
                link.ping_soon(self.local.now.instant, &mut self.local.rng);
            }
        }
        let mut is_news = true;
        if let Some(message) = sealed_under(contact, number, conversation) {
            // A stored message is sent again only to ask for its receipt.
            is_news = message.stored_at.is_none();
            if outcome == Outcome::Stored {
                message.stored_at = Some(link.server);
                if is_news {
                    self.local.records.write(Write::Stored(contact.name.clone(), number, link.server));
                }
            } else {
                message.is_relayed = true;
            }
        }
        if let (Some(trace), true) = (trace, is_news) {
            let event = if outcome == Outcome::Stored { Event::Stored(trace) } else { Event::Relayed(trace) };
            self.local.emit(&event);
        }
        self.local.message_done(&sent.to, number, false);
    }

    /// Handles a relayed message that came back to the server, which has stored it or could not.
    fn routed_again(&mut self, sent: &Sent, outcome: Outcome) {
        let Some(link) = &mut self.local.link else { return };
        let Some(contact) = self.contacts.get_mut(&sent.to) else {
            return;
        };
        let Parcel { number, conversation, .. } = sent.parcel;
        let Some(message) = sealed_under(contact, number, conversation) else {
            return;
        };
        message.is_relayed = false;
        if outcome == Outcome::Stored {
            message.stored_at = Some(link.server);
            self.local.records.write(Write::Stored(contact.name.clone(), number, link.server));
            // It came back because its recipient has disconnected.
            contact.is_present = false;
            link.ping_soon(self.local.now.instant, &mut self.local.rng);
        } else {
            contact.unsent.insert(number);
        }
    }
}

/// Returns a message, unless it has a receipt or was sealed again under another conversation.
fn sealed_under(contact: &mut Contact, number: u64, conversation: ConversationId) -> Option<&mut Unacked> {
    let message = contact.unacked.get_mut(&number)?;
    message.sealed.is_some_and(|place| place.conversation == conversation).then_some(message)
}
