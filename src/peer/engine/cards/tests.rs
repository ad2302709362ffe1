//! Cards, keys and their dates, with an engine whose clock the test moves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::conversation::ConversationId;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::keys::{EncryptionKey, IdentityKey};
use wire::protocol::{Kind, ToPeer, ToServer};
use wire::{Digest, PeerName};

use crate::peer::command::{Command, Update};
use crate::peer::engine::{
    Effect, Engine, Input, Loaded, Net, Now, Options, Out, Records, Start, Unreadable,
};
use crate::peer::event::Event;
use crate::peer::home::{EncryptionPair, Keys};
use crate::peer::records::{ContactRecord, HistoryRecord, IncomingRecord, OutboxRecord, Write};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
const START: u64 = 1_800_000_000;
const CLIENT: u64 = 1;

/// Two peers' keys, which the examples of the protocol use as well.
static KEYS: LazyLock<[(IdentityKey, EncryptionKey); 2]> = LazyLock::new(|| {
    let parse = |identity, encryption| {
        let identity = IdentityKey::from_pem(identity, None).expect("the file is a key");
        (identity, EncryptionKey::from_pem(encryption, None).expect("the file is a key"))
    };
    [
        parse(
            include_str!("../../../../wire/tests/fixtures/a-identity.pem"),
            include_str!("../../../../wire/tests/fixtures/a-encryption.pem"),
        ),
        parse(
            include_str!("../../../../wire/tests/fixtures/b-identity.pem"),
            include_str!("../../../../wire/tests/fixtures/b-encryption.pem"),
        ),
    ]
});

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

/// A card of B.
fn card_of_b(issued_at: u64, sequence: u64) -> Card {
    let term = Term { sequence, issued_at, valid_until: issued_at + CARD_VALID_SECONDS_MAX };
    let (identity, encryption) = &KEYS[1];
    Card::issue(name("B"), identity, encryption.public(), term, &mut StdRng::seed_from_u64(sequence))
}

/// What the engine has written of the records that it reads again.
#[derive(Clone, Default)]
struct Disk {
    contacts: Rc<RefCell<BTreeMap<String, ContactRecord>>>,
    outbox: Rc<RefCell<BTreeMap<(String, u64), OutboxRecord>>>,
}

impl Disk {
    fn write(&self, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Contact(record) => {
                    self.contacts.borrow_mut().insert(record.name.folded().to_string(), record.clone());
                }
                Write::Outbox(to, number, record) => {
                    self.outbox.borrow_mut().insert((to.folded().to_string(), *number), record.clone());
                }
                _ => {}
            }
        }
    }
}

impl Records for Disk {
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable> {
        Ok(self.outbox.borrow().get(&(to.folded().to_string(), number)).cloned())
    }

    fn incoming(&self, _: ConversationId) -> Result<Option<IncomingRecord>, Unreadable> {
        Ok(None)
    }

    fn received(&self, _: &PeerName, _: u64, _: u64) -> Result<Option<HistoryRecord>, Unreadable> {
        Ok(None)
    }
}

/// The engine of a peer called A, and what it has put out since it was last asked.
struct Bench {
    engine: Engine,
    disk: Disk,
    now: Now,
    events: Vec<Event>,
    sent: Vec<ToServer<'static>>,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Disk::default(), Now { unix: START, instant: Instant::now() }, START)
    }

    /// Starts over a disk, with an encryption key that was made at `made_at`.
    fn on(disk: Disk, now: Now, made_at: u64) -> Self {
        let (identity, key) = KEYS[0].clone();
        let pair = EncryptionPair { key, made_at, retired_at: None };
        let start = Start {
            name: name("A"),
            keys: Keys { identity, encryption: vec![pair], made_identity: false },
            options: Options { rekey_messages: 1024, full_trace: false },
            loaded: Loaded {
                contacts: disk.contacts.borrow().values().cloned().collect(),
                ..Loaded::default()
            },
            records: Box::new(disk.clone()),
            rng: StdRng::seed_from_u64(1),
        };
        let engine = Engine::new(start, now);
        let mut bench = Self { engine, disk, now, events: Vec::new(), sent: Vec::new(), effects: Vec::new() };
        bench.take([Input::Command(CLIENT, Command::View)]);
        bench.join();
        bench
    }

    fn join(&mut self) {
        self.take([Input::Net(Net::Joined { server: [7; 16], address: "server".into() })]);
    }

    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let mut out = Out::default();
        self.engine.handle(self.now, inputs, &mut out).expect("the disk reads");
        self.disk.write(&out.writes);
        let mut at = 0;
        while let Ok(Some(body)) = frame::split(&out.to_server[at..], BODY_BYTES_MAX) {
            at += LENGTH_BYTES + body.len();
            self.sent.push(ToServer::decode(body.to_vec().leak()).expect("the engine speaks the protocol"));
        }
        for effect in out.effects {
            match effect {
                Effect::Tell(_, Update::Event(event)) => self.events.push(event),
                other => self.effects.push(other),
            }
        }
    }

    /// The server says something.
    fn hear(&mut self, message: &ToPeer<'_>) {
        let body = frame::frame(message).split_off(LENGTH_BYTES);
        self.take([Input::Net(Net::Frames(vec![Bytes::from(body)]))]);
    }

    fn hear_card(&mut self, card: &Card) {
        self.hear(&ToPeer::Card { card: card.as_bytes().to_vec() });
    }

    fn send(&mut self, text: &str) {
        self.take([Input::Command(
            CLIENT,
            Command::Send { to: name("B"), texts: vec![text.into()], wait: None },
        )]);
    }

    /// The kinds of the envelopes that went out, and forgets them.
    fn envelopes(&mut self) -> Vec<Kind> {
        let sent = self.sent.drain(..);
        sent.filter_map(|m| if let ToServer::Envelope(e) = m { Some(e.kind) } else { None }).collect()
    }

    /// What was said of messages that wait, and forgets it.
    fn reasons(&mut self) -> Vec<String> {
        let events = self.events.drain(..);
        events
            .filter_map(|e| if let Event::Waiting { reason, .. } = e { Some(reason) } else { None })
            .collect()
    }

    fn card_of_b(&self) -> Option<Card> {
        let contacts = self.disk.contacts.borrow();
        Card::from_bytes(contacts.get("b")?.card.as_ref()?).ok()
    }
}

#[test]
fn a_card_from_the_future_does_not_stand_in_the_way_of_one_that_can_be_used() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START + 365 * DAY, START + 365 * DAY));
    assert_eq!(bench.envelopes(), [], "nothing is sealed for it");
    let reasons = bench.reasons();
    assert!(
        reasons.iter().any(|r| r.contains("in the future") && r.contains("messages go when B")),
        "{reasons:?}"
    );
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn an_expired_card_does_not_stand_in_the_way_of_one_with_a_smaller_sequence_number() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START - 9 * DAY, START + 1000));
    assert_eq!(bench.envelopes(), []);
    assert!(bench.reasons().iter().any(|reason| reason.contains("expired")));
    bench.hear_card(&card_of_b(START - DAY, START - DAY));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn the_sequence_number_decides_which_of_two_usable_cards_is_kept() {
    let mut bench = Bench::new();
    bench.send("hello");
    // The clock of B has gone back by an hour between the two.
    let (old, new) = (card_of_b(START, START), card_of_b(START - HOUR, START + 1));
    for (shown, kept) in [(&old, &old), (&new, &new), (&old, &new)] {
        bench.hear_card(shown);
        assert_eq!(bench.card_of_b().map(|card| card.term), Some(kept.term));
    }
}

#[test]
fn a_peer_numbers_its_cards_upwards_whatever_its_clock_does() {
    let disk = Disk::default();
    let at = |unix, disk: &Disk| {
        let bench = Bench::on(disk.clone(), Now { unix, instant: Instant::now() }, START);
        bench.engine.card().clone()
    };
    let first = at(START, &disk);
    assert_eq!(at(START + 1, &disk).as_bytes(), first.as_bytes(), "it is kept while it can be used");
    let ahead = at(START + 365 * DAY, &disk);
    assert_eq!(ahead.term.sequence, START + 365 * DAY);
    let back = at(START + DAY, &disk);
    assert_eq!((back.term.sequence, back.term.issued_at), (START + 365 * DAY + 1, START + DAY));
    assert_eq!(at(START + DAY, &Disk::default()).term.sequence, START + DAY, "restored from a copy");
    assert_ne!(Digest::of(back.as_bytes()), Digest::of(ahead.as_bytes()));
}
