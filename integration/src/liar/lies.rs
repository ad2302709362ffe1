//! What a hostile server does with each frame.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpStream;

use wire::card::Card;
use wire::conversation::{ConversationId, Opening, sealed_parts};
use wire::frame;
use wire::protocol::{Envelope, Kind, Outcome, Refusal, ToPeer, ToServer};
use wire::signal::{Complaint, Receipt};
use wire::{Digest, PeerName};

use super::{Conspirator, Lie};

/// A name that no peer has.
const NOBODY: &str = "nobody";
/// The number of envelopes that it keeps for replays, in all and of each peer.
const KEPT_MAX: usize = 16;
/// How many openings it sends with each frame when it floods.
const FLOOD: usize = 20;

/// The bodies of frames.
type Bodies = Vec<Vec<u8>>;

/// The connection of a peer.
#[derive(Default)]
pub(super) struct Line {
    /// The peer, once it has joined.
    peer: Option<PeerName>,
    /// For each envelope that was sent to the peer, whether the real server has sent it.
    real: Vec<bool>,
}

/// A conversation of a peer, as the server sees it.
struct Seen {
    owner: PeerName,
    messages: u64,
    running_hash: Digest,
}

/// An envelope that was sent to a peer, or by one.
struct Kept {
    from: String,
    to: String,
    kind: Kind,
    number: u64,
    sealed: Vec<u8>,
}

impl Kept {
    fn of(envelope: &Envelope<'_>) -> Self {
        let Envelope { from, to, kind, number, sealed } = *envelope;
        Self { from: from.into(), to: to.into(), kind, number, sealed: sealed.into() }
    }

    /// A frame for a peer with this envelope under other names.
    fn named(&self, from: &str, to: &str) -> Vec<u8> {
        let Self { kind, number, sealed, .. } = self;
        frame::body(&ToPeer::Envelope(Envelope { from, to, kind: *kind, number: *number, sealed }))
    }
}

pub(super) struct State {
    pub(super) lie: Lie,
    /// How often it has lied since the lie was set.
    pub(super) told: u64,
    pub(super) other_card: Vec<u8>,
    pub(super) streams: Vec<TcpStream>,
    pub(super) is_over: bool,
    /// Envelopes that it has delivered.
    kept: VecDeque<Kept>,
    /// The last envelopes of each peer.
    sent: HashMap<PeerName, VecDeque<Kept>>,
    /// The cards that peers have joined with.
    cards: HashMap<PeerName, Card>,
    seen: HashMap<ConversationId, Seen>,
    /// Forged frames for a peer, which are sent with its next one.
    forged: HashMap<PeerName, Bodies>,
    conspirator: Conspirator,
}

impl State {
    pub(super) fn new(other_card: Vec<u8>, conspirator: Conspirator) -> Self {
        Self {
            lie: Lie::None,
            told: 0,
            other_card,
            streams: Vec::new(),
            is_over: false,
            kept: VecDeque::new(),
            sent: HashMap::new(),
            cards: HashMap::new(),
            seen: HashMap::new(),
            forged: HashMap::new(),
            conspirator,
        }
    }

    /// The bodies to send to the peer in place of this one.
    pub(super) fn pass_to_peer(&mut self, line: &mut Line, body: Vec<u8>) -> io::Result<Bodies> {
        let message = ToPeer::decode(&body);
        let is_envelope = matches!(message, Ok(ToPeer::Envelope(_)));
        let is_greeting = matches!(message, Ok(ToPeer::Hello { .. } | ToPeer::Welcome { .. }));
        if self.lie == Lie::Disconnects {
            self.told += 1;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut said = self.instead_for_peer(body);
        line.real.extend(is_envelope.then_some(true));
        if let Some(peer) = line.peer.clone().filter(|_| !is_greeting) {
            let forged = self.beside(&peer);
            line.real.extend(forged.iter().map(|_| false));
            said.extend(forged);
        }
        Ok(said)
    }

    fn instead_for_peer(&mut self, mut body: Vec<u8>) -> Bodies {
        let said = match (self.lie, ToPeer::decode(&body)) {
            // An invalid first frame would only show the peer that this is not a server.
            (Lie::SendsGarbage, Ok(message)) if !matches!(message, ToPeer::Hello { .. }) => {
                Some(vec![vec![250, 1, 2, 3]])
            }
            (lie, Ok(ToPeer::Envelope(envelope))) => self.envelope_to_peer(lie, &envelope),
            (Lie::ClaimsStored, Ok(ToPeer::Routed { first, count, .. })) => {
                Some(vec![frame::body(&ToPeer::Routed { first, count, outcome: Outcome::Stored })])
            }
            (Lie::Refuses, Ok(ToPeer::Routed { first, count, .. })) => {
                let outcome = Outcome::Refused(Refusal::MailboxFull);
                Some(vec![frame::body(&ToPeer::Routed { first, count, outcome })])
            }
            (Lie::WithholdsOutcomes | Lie::Swallows, Ok(ToPeer::Routed { .. }))
            | (Lie::WithholdsCards, Ok(ToPeer::Card { .. } | ToPeer::Unknown { .. })) => Some(Vec::new()),
            (Lie::ShowsOtherCards, Ok(ToPeer::Card { .. })) => {
                Some(vec![frame::body(&ToPeer::Card { card: self.other_card.clone() })])
            }
            _ => None,
        };
        if let Some(said) = said {
            self.told += 1;
            return said;
        }
        if self.lie == Lie::Alters && wire::protocol::decode_envelope(&body).is_some() {
            self.told += 1;
            // The sealed bytes are at the end.
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
        }
        vec![body]
    }

    fn envelope_to_peer(&mut self, lie: Lie, envelope: &Envelope<'_>) -> Option<Bodies> {
        let Envelope { from, to, .. } = *envelope;
        // Peers count envelopes, so one for another recipient takes the place of one that is dropped.
        let nothing = frame::body(&ToPeer::Envelope(Envelope { to: NOBODY, ..envelope.clone() }));
        match lie {
            Lie::Drops => Some(vec![nothing]),
            Lie::Replays if !self.kept.is_empty() => {
                let at = usize::try_from(self.told).unwrap_or(0) % self.kept.len();
                let kept = &self.kept[at];
                Some(vec![kept.named(&kept.from, &kept.to)])
            }
            Lie::Reflects => {
                let own = to.parse().ok().and_then(|to: PeerName| self.sent.get(&to.folded()));
                let at = usize::try_from(self.told).unwrap_or(0);
                let reflected = own.and_then(|own| own.get(at % own.len()));
                Some(vec![reflected.map_or(nothing, |kept| kept.named(&kept.to, &kept.from))])
            }
            Lie::Crosses => {
                let other = self.kept.iter().rev().find(|kept| kept.to == to && kept.from != from);
                let crossed = other.map(|kept| kept.named(from, to));
                self.keep(envelope);
                crossed.map(|crossed| vec![crossed])
            }
            _ => {
                self.keep(envelope);
                None
            }
        }
    }

    fn keep(&mut self, envelope: &Envelope<'_>) {
        self.kept.push_back(Kept::of(envelope));
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// Forged frames for a peer, which are sent with a real one.
    fn beside(&mut self, peer: &PeerName) -> Bodies {
        let mut frames = self.forged.remove(peer).unwrap_or_default();
        if let (Lie::Floods, Some(card)) = (self.lie, self.cards.get(peer)) {
            let told = usize::try_from(self.told).unwrap_or(0);
            frames.extend((told..told + FLOOD).map(|at| self.conspirator.opening(card, at)));
            let reason = Complaint::UnknownConversation;
            for conversation in self.seen.iter().filter(|(_, seen)| seen.owner == *peer).map(|(id, _)| *id) {
                let complaint = Receipt::Refused { conversation, count: 0, reason };
                frames.extend(self.conspirator.receipts(card, &complaint));
            }
        }
        self.told += frames.len() as u64;
        frames
    }

    /// The bodies to send to the real server in place of this one.
    pub(super) fn pass_to_server(&mut self, line: &mut Line, mut body: Vec<u8>) -> io::Result<Bodies> {
        let message = ToServer::decode(&body);
        match &message {
            Ok(ToServer::Join { card, .. }) => {
                let card = Card::from_bytes(card).map_err(io::Error::other)?;
                line.peer = Some(card.name.folded());
                self.cards.insert(card.name.folded(), card);
            }
            Ok(ToServer::Envelope(envelope)) => self.see(line.peer.as_ref(), envelope),
            _ => {}
        }
        match (self.lie, message) {
            // The real server counts only what it has sent.
            (_, Ok(ToServer::Taken { count })) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let real = line.real.iter().take(count).filter(|is_real| **is_real).count();
                Ok(vec![frame::body(&ToServer::Taken { count: real as u64 })])
            }
            (
                Lie::ClaimsStored | Lie::Refuses | Lie::ForgesReceipts | Lie::Swallows,
                Ok(ToServer::Envelope(envelope)),
            ) => {
                self.told += 1;
                if self.lie == Lie::ForgesReceipts {
                    self.forge_receipts(line.peer.as_ref(), &envelope);
                }
                let envelope = Envelope { to: NOBODY, ..envelope };
                Ok(vec![frame::body(&ToServer::Envelope(envelope))])
            }
            (Lie::ShowsLimitedFiles, Ok(ToServer::PublishLimited { part, last, files })) => {
                self.told += 1;
                let files = files.into_iter().map(|listed| listed.file).collect();
                Ok(vec![frame::body(&ToServer::Publish { part, last, files })])
            }
            (Lie::DamagesFrames, Ok(message)) if !matches!(message, ToServer::Join { .. }) => {
                self.told += 1;
                body[0] = 250;
                Ok(vec![body])
            }
            _ => Ok(vec![body]),
        }
    }

    /// Notes what a peer sends.
    fn see(&mut self, owner: Option<&PeerName>, envelope: &Envelope<'_>) {
        let Some(owner) = owner else { return };
        let sent = self.sent.entry(owner.clone()).or_default();
        sent.push_back(Kept::of(envelope));
        if sent.len() > KEPT_MAX {
            sent.pop_front();
        }
        match envelope.kind {
            Kind::Opening => {
                let Some((id, _)) = Opening::peek(envelope.sealed) else { return };
                let seen = Seen { owner: owner.clone(), messages: 0, running_hash: id };
                self.seen.entry(id).or_insert(seen);
            }
            Kind::Message => {
                let Some((id, place, _)) = sealed_parts(envelope.sealed) else { return };
                if let Some(seen) = self.seen.get_mut(&id).filter(|seen| seen.messages == place) {
                    seen.messages += 1;
                    let text = [&seen.running_hash.0, envelope.sealed].concat();
                    seen.running_hash = Digest::of(&text);
                }
            }
            _ => {}
        }
    }

    /// Makes receipts for a message that its recipient will never see.
    fn forge_receipts(&mut self, sender: Option<&PeerName>, envelope: &Envelope<'_>) {
        let Some(card) = sender.and_then(|sender| self.cards.get(sender)) else { return };
        let Some((conversation, _, _)) = sealed_parts(envelope.sealed) else { return };
        let Some(seen) = self.seen.get(&conversation) else { return };
        let Seen { messages: count, running_hash, .. } = *seen;
        let receipt = Receipt::Received { conversation, count, running_hash, last_number: envelope.number };
        let frames = self.conspirator.receipts(card, &receipt);
        self.forged.entry(card.name.folded()).or_default().extend(frames);
    }
}
