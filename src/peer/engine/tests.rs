//! The engine, with a clock that the test moves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::conversation::{ConversationId, Incoming, MessageId, Opening, Outgoing};
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::keys::{EncryptionKey, IdentityKey};
use wire::protocol::{Envelope, Greeting, Kind, Outcome, Refusal, ToPeer, ToServer};
use wire::server_key::ServerPublic;
use wire::share::{Hit, PublishedFile};
use wire::signal::{self, Complaint, Receipt};
use wire::{Digest, PeerName};

use crate::peer::command::{Command, Until, Update, Wanted};
use crate::peer::engine::{
    Effect, Engine, Input, Limits, Loaded, Net, Now, Options, Out, Records, Start, Unreadable,
};
use crate::peer::event::{Answer, Event};
use crate::peer::home::{EncryptionPair, KeyTimes, Keys};
use crate::peer::records::{
    ContactRecord, Direction, HistoryRecord, IncomingRecord, OutboxRecord, PinnedKey, Write,
};

mod cards;
mod holders;
mod late_mail;
mod leaving;
mod many;
mod patterns;
mod probing;
mod publishing;
mod queue;
mod strangers;
mod succession;
mod waiting;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
const START: u64 = 1_800_000_000;
const CLIENT: u64 = 1;

/// The keys of two peers, which the examples of the protocol use too.
static KEYS: LazyLock<[(IdentityKey, EncryptionKey); 2]> = LazyLock::new(|| {
    let parse = |identity, encryption| {
        let identity = IdentityKey::from_pem(identity, None).expect("the file is a key");
        (identity, EncryptionKey::from_pem(encryption, None).expect("the file is a key"))
    };
    [
        parse(
            include_str!("../../../wire/tests/fixtures/a-identity.pem"),
            include_str!("../../../wire/tests/fixtures/a-encryption.pem"),
        ),
        parse(
            include_str!("../../../wire/tests/fixtures/b-identity.pem"),
            include_str!("../../../wire/tests/fixtures/b-encryption.pem"),
        ),
    ]
});

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

/// Keys for renewals.
static POOL: LazyLock<Vec<EncryptionKey>> = LazyLock::new(|| {
    let pems = include_str!("../../../examples/simulate/simulation/keys/renewed.pem");
    let pems = pems.split_inclusive("-----END PRIVATE KEY-----\n");
    pems.map(|pem| EncryptionKey::from_pem(pem, None).expect("the file has keys")).collect()
});

/// A card of B.
fn card_of_b(issued_at: u64, sequence: u64) -> Card {
    card_of_b_for(&KEYS[1].1, issued_at, sequence)
}

fn card_of_b_for(encryption: &EncryptionKey, issued_at: u64, sequence: u64) -> Card {
    let term = Term { sequence, issued_at, valid_until: issued_at + CARD_VALID_SECONDS_MAX };
    let identity = &KEYS[1].0;
    Card::issue(name("B"), identity, encryption.public(), term, &mut StdRng::seed_from_u64(sequence))
}

fn hit_of_b() -> Hit {
    let name = "file.txt".parse().expect("a good name");
    let file = PublishedFile { name, bytes: 1, sha256: Digest::of(b"x"), keywords: Vec::new() };
    Hit { peer: self::name("B"), file, online: true, address: None }
}

/// A disk with the records that the engine reads again.
#[derive(Clone, Default)]
struct Disk {
    contacts: Rc<RefCell<BTreeMap<String, ContactRecord>>>,
    outbox: Rc<RefCell<BTreeMap<(String, u64), OutboxRecord>>>,
    incoming: Rc<RefCell<BTreeMap<ConversationId, IncomingRecord>>>,
    /// By folded name of the sender and number, all of generation 0.
    received: Rc<RefCell<BTreeMap<(String, u64), MessageId>>>,
    forgotten: Rc<RefCell<Vec<PeerName>>>,
    pins: Rc<RefCell<BTreeMap<String, PinnedKey>>>,
}

impl Disk {
    fn write(&self, out: &Out) {
        for (name, key) in &out.pins {
            self.pins.borrow_mut().insert(name.folded().to_string(), *key);
        }
        for write in &out.writes {
            match write {
                Write::Contact(record) => {
                    self.contacts.borrow_mut().insert(record.name.folded().to_string(), record.clone());
                }
                Write::Outbox(to, number, record) => {
                    self.outbox.borrow_mut().insert((to.folded().to_string(), *number), record.clone());
                }
                Write::Incoming(id, record) => {
                    self.incoming.borrow_mut().insert(*id, record.clone());
                }
                Write::IncomingGone(id) => {
                    self.incoming.borrow_mut().remove(id);
                }
                Write::History(record) if record.direction == Direction::Received => {
                    assert_eq!(record.generation, 0, "this disk keeps one generation");
                    let key = (record.with.folded().to_string(), record.number);
                    self.received.borrow_mut().insert(key, record.id);
                }
                Write::Forgotten(name) => self.forgotten.borrow_mut().push(name.clone()),
                _ => {}
            }
        }
    }
}

impl Records for Disk {
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable> {
        Ok(self.outbox.borrow().get(&(to.folded().to_string(), number)).cloned())
    }

    fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, Unreadable> {
        Ok(self.incoming.borrow().get(&id).cloned())
    }

    fn arrived(&self, _: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable> {
        Ok(None)
    }

    fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<MessageId>, Unreadable> {
        let ids = self.received.borrow();
        Ok(ids.get(&(from.folded().to_string(), number)).copied().filter(|_| generation == 0))
    }
}

/// The engine of a peer called A, and its outputs.
struct Bench {
    engine: Engine,
    disk: Disk,
    now: Now,
    events: Vec<Event>,
    sent: Vec<ToServer<'static>>,
    effects: Vec<Effect>,
    /// Who is connected to the server.
    present: Vec<PeerName>,
    /// The server does not say what has become of envelopes.
    withholds_outcomes: bool,
    /// Whether pings have no answer, and their ids.
    withholds_pongs: bool,
    pings: Vec<u32>,
    /// How many keys were made.
    made: usize,
    /// How many envelopes were sent on this connection.
    envelopes_sent: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::start(Disk::default(), Now { unix: START, instant: Instant::now() }, START, limits)
    }

    /// Starts from a disk, with an encryption key that was made at `made_at`.
    fn on(disk: Disk, now: Now, made_at: u64) -> Self {
        Self::start(disk, now, made_at, Limits::default())
    }

    fn start(disk: Disk, now: Now, made_at: u64, limits: Limits) -> Self {
        let mut bench = Self::without_server(disk, now, made_at, limits);
        bench.take([Input::Command(CLIENT, Command::View)]);
        bench.join();
        bench
    }

    /// Like [`Self::start`], before it has joined.
    fn without_server(disk: Disk, now: Now, made_at: u64, limits: Limits) -> Self {
        let (identity, key) = KEYS[0].clone();
        let pair = EncryptionPair { key, made_at };
        let start = Start {
            name: name("A"),
            server: "server".into(),
            keys: Keys { identity, encryption: vec![pair], made_identity: false, succeeds: Vec::new() },
            options: Options {
                rekey_messages: 1024,
                full_trace: false,
                key_times: KeyTimes::default(),
                invitation: None,
                limits,
            },
            loaded: Loaded {
                contacts: disk.contacts.borrow().values().cloned().collect(),
                accepted: disk.incoming.borrow().clone().into_iter().collect(),
                pins: disk.pins.borrow().iter().map(|(name, key)| (self::name(name), *key)).collect(),
                ..Loaded::default()
            },
            records: Box::new(disk.clone()),
            rng: StdRng::seed_from_u64(1),
        };
        let engine = Engine::new(start, now);
        Self {
            engine,
            disk,
            now,
            events: Vec::new(),
            sent: Vec::new(),
            effects: Vec::new(),
            present: Vec::new(),
            withholds_outcomes: false,
            withholds_pongs: false,
            pings: Vec::new(),
            made: 0,
            envelopes_sent: 0,
        }
    }

    fn join(&mut self) {
        self.envelopes_sent = 0;
        let greeting = Greeting { nonce: [1; 32], server: [7; 16], key: ServerPublic([3; 32]) };
        let _ = self.engine.join(self.now, &greeting, None);
        self.take([Input::Net(Net::Joined { greeting, address: "server".into(), pinned_certificate: None })]);
    }

    /// Passes inputs to the engine. The server stores what is sent and answers pings.
    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let mut out = Out::default();
        self.engine.handle(self.now, inputs, &mut out).expect("the disk reads");
        self.disk.write(&out);
        for effect in out.effects {
            match effect {
                Effect::Tell(_, Update::Event(event)) => self.events.push(event),
                other => self.effects.push(other),
            }
        }
        let (mut at, mut answers) = (0, Vec::new());
        while let Ok(Some(body)) = frame::split(&out.to_server[at..], BODY_BYTES_MAX) {
            at += LENGTH_BYTES + body.len();
            match ToServer::decode(body.to_vec().leak()).expect("the engine speaks the protocol") {
                ToServer::Ping { id, .. } if self.withholds_pongs => self.pings.push(id),
                ToServer::Ping { id, names } => {
                    let present = names.into_iter().filter(|name| self.present.contains(name)).collect();
                    answers.push(ToPeer::Pong { id, present });
                }
                message => {
                    if matches!(message, ToServer::Envelope(_)) && !self.withholds_outcomes {
                        let first = self.envelopes_sent;
                        answers.push(ToPeer::Routed { first, count: 1, outcome: Outcome::Stored });
                        self.envelopes_sent += 1;
                    }
                    self.sent.push(message);
                }
            }
        }
        for answer in answers {
            self.hear(&answer);
        }
    }

    /// Passes a message of the server to the engine.
    fn hear(&mut self, message: &ToPeer<'_>) {
        let body = frame::frame(message).split_off(LENGTH_BYTES);
        self.take([Input::Net(Net::Frames(vec![Bytes::from(body)]))]);
    }

    fn hear_card(&mut self, card: &Card) {
        self.hear(&ToPeer::Card { card: card.as_bytes().to_vec() });
    }

    /// Lets time pass.
    fn sleep(&mut self, seconds: u64) {
        self.now.unix += seconds;
        self.now.instant += Duration::from_secs(seconds);
        self.take([]);
    }

    fn send(&mut self, text: &str) {
        self.take([Input::Command(
            CLIENT,
            Command::Send { to: name("B"), texts: vec![text.into()], until: Until::Queued },
        )]);
    }

    /// Answers a request for a key.
    fn make_key(&mut self) {
        let pair = EncryptionPair { key: POOL[self.made % POOL.len()].clone(), made_at: self.now.unix };
        self.made += 1;
        self.take([Input::KeyMade(Ok(Box::new(pair)))]);
    }

    /// Lets days pass, with a new key and a new connection on each.
    fn live(&mut self, days: u64) {
        for _ in 0..days {
            self.sleep(DAY);
            if self.count(|effect| matches!(effect, Effect::MakeKey)) > 0 {
                self.make_key();
                self.join();
            }
        }
    }

    /// The number of effects of one kind. Forgets all effects.
    fn count(&mut self, of: impl Fn(&Effect) -> bool) -> usize {
        self.effects.drain(..).filter(of).count()
    }

    fn refusals(&mut self) -> Vec<String> {
        let events = self.events.drain(..);
        events
            .filter_map(|e| if let Event::Refused { reason, .. } = e { Some(reason) } else { None })
            .collect()
    }

    /// Passes an envelope of B to the engine.
    fn hear_envelope(&mut self, kind: Kind, number: u64, sealed: &[u8]) {
        self.hear_from("B", kind, number, sealed);
    }

    fn hear_from(&mut self, from: &str, kind: Kind, number: u64, sealed: &[u8]) {
        self.hear(&ToPeer::Envelope(Envelope { from, to: "A", kind, number, sealed }));
    }

    /// The receipts that B reads in the sent envelopes. Forgets these.
    fn receipts(&mut self) -> Vec<Receipt> {
        let (mut incoming, mut receipts) = (None, Vec::new());
        for message in self.sent.drain(..) {
            let ToServer::Envelope(Envelope { kind, number, sealed, .. }) = message else { continue };
            if kind == Kind::Opening {
                let opening = Opening::from_bytes(sealed).expect("it reads");
                let accepted = Incoming::accept(&opening, &KEYS[1].1, None, &mut rand::rng());
                incoming = Some(accepted.expect("it was sealed for B"));
            } else if kind == Kind::Receipt {
                let incoming = incoming.as_mut().expect("the opening comes first");
                let content = incoming.open_signal(kind, number, sealed).expect("it opens");
                receipts.push(signal::decode(&content).expect("it is a receipt"));
            }
        }
        receipts
    }

    /// The kinds of the sent envelopes. Forgets these.
    fn envelopes(&mut self) -> Vec<Kind> {
        let sent = self.sent.drain(..);
        sent.filter_map(|m| if let ToServer::Envelope(e) = m { Some(e.kind) } else { None }).collect()
    }

    /// Answers the last search: nobody has it.
    fn nobody_has_it(&mut self) {
        let id = self.sent.iter().rev().find_map(|message| match message {
            ToServer::Search { id, .. } => Some(*id),
            _ => None,
        });
        self.hear(&ToPeer::Found { id: id.expect("the server was asked"), hits: Vec::new(), total: 0 });
    }

    fn lookups(&mut self) -> usize {
        self.sent.drain(..).filter(|message| matches!(message, ToServer::Lookup { .. })).count()
    }

    /// The reasons in `Waiting` events. Forgets these.
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
