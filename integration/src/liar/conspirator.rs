//! A member that helps a hostile server with its own keys.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use wire::PeerName;
use wire::card::Card;
use wire::conversation::Outgoing;
use wire::frame;
use wire::protocol::{Envelope, Kind, ToPeer};
use wire::signal::{self, Receipt};

use crate::Character;

/// The number of openings that are made. They are sent again afterwards, because making one costs more than refusing
/// it.
const OPENINGS_MAX: usize = 120;

/// Two identities: one with a name of its own, and one with the name of another peer.
pub(super) struct Conspirator {
    member: Character,
    impostor: Character,
    /// The conversations with each victim, of both identities.
    conversations: HashMap<PeerName, [Outgoing; 2]>,
    openings: HashMap<PeerName, Vec<Vec<u8>>>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

fn open(with: &Character, to: &Card) -> Outgoing {
    Outgoing::open(&with.identity, &with.card, to, 1, now(), &mut rand::rng())
}

fn envelope(from: &str, to: &Card, kind: Kind, number: u64, sealed: &[u8]) -> Vec<u8> {
    frame::body(&ToPeer::Envelope(Envelope { from, to: to.name.as_str(), kind, number, sealed }))
}

impl Conspirator {
    pub(super) fn new(member: Character, impostor: Character) -> Self {
        Self { member, impostor, conversations: HashMap::new(), openings: HashMap::new() }
    }

    /// Three frames with this receipt for a victim: from the member, from the member under the name of the impostor,
    /// and from the impostor.
    pub(super) fn receipts(&mut self, to: &Card, receipt: &Receipt) -> Vec<Vec<u8>> {
        let Self { member, impostor, conversations, .. } = self;
        let [by_member, by_impostor] =
            conversations.entry(to.name.folded()).or_insert_with(|| [open(member, to), open(impostor, to)]);
        let names = [member.card.name.as_str(), impostor.card.name.as_str()];
        let content = signal::encode(receipt);
        let mut frames = Vec::new();
        for (from, sealed_by) in [(names[0], 0), (names[1], 0), (names[1], 1)] {
            let outgoing = if sealed_by == 0 { &mut *by_member } else { &mut *by_impostor };
            frames.push(envelope(from, to, Kind::Opening, 1, outgoing.opening().as_bytes()));
            let sealed = outgoing.seal_signal(Kind::Receipt, 1, &content);
            frames.push(envelope(from, to, Kind::Receipt, 1, &sealed));
        }
        frames
    }

    /// A frame with an opening under a new name, or with an opening that was sent before.
    pub(super) fn opening(&mut self, to: &Card, at: usize) -> Vec<u8> {
        let openings = self.openings.entry(to.name.folded()).or_default();
        if openings.len() < OPENINGS_MAX {
            let name = format!("mallory{}", openings.len());
            let opening = open(&self.member.renamed(&name), to);
            openings.push(envelope(&name, to, Kind::Opening, 1, opening.opening().as_bytes()));
        }
        openings[at % openings.len()].clone()
    }
}
