//! The Router against models of sessions and of the store: what was accepted is delivered or stored, once and in order.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use wire::PeerName;
use wire::card::{Card, Term};
use wire::keys::{EncryptionKey, IdentityKey};
use wire::protocol::{KnownPeer, Refusal, TransferId};

use super::ledger::Usage;
use super::*;
use crate::commands::cluster::WaitingEnd;
use crate::commands::network::Network;
use crate::commands::router::{Command, JoinRefused, Member, MemberCommand, PresencePort, Run};
use crate::commands::session::{Delivery, EndReason, Port, Route, SessionCommand, SessionId};
use crate::commands::store::{
    self, Amount, Completion, Frames, Inventory, Mail, Ordinal, Origin, Overdue, Sender, StorePort, Written,
};
use crate::config::PeerLimits;
use crate::runtime::{Core as _, Lease, Now, reply};
use wire::protocol::Outcome;

mod limits;
mod presence;
mod remote;

const SOON: Duration = Duration::from_secs(5);
const MAILBOX: usize = 3;
const TOKEN: [u8; 32] = [4; 32];

static KEYS: LazyLock<(IdentityKey, EncryptionKey)> = LazyLock::new(|| {
    let rng = &mut rand::rng();
    let identity = IdentityKey::generate(2048, rng).expect("a good size");
    (identity, EncryptionKey::generate(2048, rng).expect("a good size"))
});

/// Issues a card once for each name: some tests join thousands of times, and a signature takes a millisecond.
fn card_of(name: &str) -> Card {
    static ISSUED: Mutex<BTreeMap<String, Card>> = Mutex::new(BTreeMap::new());
    let mut issued = ISSUED.lock().expect("no test panics here");
    let issue = || {
        let name = name.parse().expect("a good name");
        Card::issue(name, &KEYS.0, KEYS.1.public(), Term::starting(1, 1, None), &mut rand::rng())
    };
    issued.entry(name.to_owned()).or_insert_with(issue).clone()
}

fn card_of_another(name: &str) -> Card {
    let identity = IdentityKey::generate(2048, &mut rand::rng()).expect("a good size");
    let encryption = EncryptionKey::generate(2048, &mut rand::rng()).expect("a good size");
    Card::issue(
        name.parse().expect("a good name"),
        &identity,
        encryption.public(),
        Term::starting(1, 1, None),
        &mut rand::rng(),
    )
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn network(last: u8) -> Network {
    Network::of(std::net::Ipv4Addr::new(10, 0, 0, last).into())
}

fn sender(text: &str) -> Sender {
    Sender { name: name(text), network: network(1) }
}

/// A session without a connection.
#[derive(Debug, Default)]
struct FakeSession {
    mailbox: VecDeque<SessionCommand>,
    overflowed: bool,
    ended: Option<EndReason>,
}

#[derive(Debug, Default)]
struct FakePort {
    session: Mutex<FakeSession>,
    lease: Lease,
}

impl FakePort {
    fn lock(&self) -> MutexGuard<'_, FakeSession> {
        self.session.lock().expect("nobody panics with it")
    }
}

impl Port for FakePort {
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand> {
        let mut session = self.lock();
        if session.mailbox.len() >= MAILBOX {
            session.overflowed = true;
            return Err(command);
        }
        session.mailbox.push_back(command);
        Ok(())
    }

    fn close(&self, reason: EndReason) {
        self.lock().ended = Some(reason);
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}

/// A store that executes each command at once and delivers its completion when the test says so.
#[derive(Default)]
struct FakeStore {
    mail: BTreeMap<(String, Ordinal), Stored>,
    cards: BTreeMap<String, Vec<u8>>,
    completions: VecDeque<Completion>,
    is_full: bool,
}

struct Stored {
    frame: Bytes,
    sender: Sender,
    at: u64,
}

impl Stored {
    fn amount(&self) -> Amount {
        Amount { envelopes: 1, bytes: self.frame.len() as u64 }
    }
}

#[derive(Clone, Default)]
struct FakeStorePort(Rc<RefCell<FakeStore>>);

impl FakeStore {
    fn carry_out(&mut self, command: store::Command) {
        match command {
            store::Command::PutCard { peer, name, card, reply } => {
                self.cards.insert(name.to_string(), card);
                reply.answer(());
                self.completions.push_back(Completion::Card { peer, written: true });
            }
            store::Command::DropCard { name, reply } => {
                self.cards.remove(name.as_str());
                reply.answer(true);
            }
            store::Command::Put { name, first, frames, sender, at, origin } => {
                for (ordinal, frame) in (first..).zip(frames.iter()) {
                    let stored = Stored { frame, sender: (*sender).clone(), at };
                    self.mail.insert((name.to_string(), ordinal), stored);
                }
                let mail = Box::new(Written { name, first, frames, sender: *sender, origin });
                self.completions.push_back(Completion::Put { mail, stored: true });
            }
            store::Command::Fetch { name, peer, session, places } => {
                let range = (name.to_string(), places.start)..(name.to_string(), places.end);
                let mut found =
                    self.mail.range(range).map(|((_, ordinal), stored)| (*ordinal, stored.frame.clone()));
                let mail: Mail =
                    found.by_ref().take(2).map(|(ordinal, frame)| (ordinal, one(frame))).collect();
                let next = found.next().map(|(ordinal, _)| ordinal);
                self.completions.push_back(Completion::Fetched { peer, session, found: Some((mail, next)) });
            }
            store::Command::Forget { name, places } => {
                let range = (name.to_string(), places.start)..(name.to_string(), places.end);
                let gone = self.mail.extract_if(range, |_, _| true);
                let amounts = gone.map(|(_, stored)| (stored.sender.clone(), stored.amount())).collect();
                self.completions.push_back(Completion::Forgotten { name, places, amounts });
            }
            store::Command::Sweep { before, .. } => {
                let overdue = self.mail.iter().filter(|(_, stored)| stored.at < before);
                let overdue = overdue.map(|((name, ordinal), stored)| Overdue {
                    name: name.parse().expect("a good name"),
                    places: *ordinal..ordinal + 1,
                    sender: stored.sender.clone(),
                    notice: Some(one(Bytes::from(format!("expired: {:?}", stored.frame)))),
                });
                let overdue = overdue.collect();
                self.completions.push_back(Completion::Swept { overdue, next: None });
            }
        }
    }
}

impl StorePort for FakeStorePort {
    fn offer(&mut self, command: store::Command) -> Result<(), store::Command> {
        let is_put = matches!(command, store::Command::Put { .. } | store::Command::Fetch { .. });
        if self.0.borrow().is_full && is_put {
            return Err(command);
        }
        self.0.borrow_mut().carry_out(command);
        Ok(())
    }

    fn send(&mut self, command: store::Command) {
        self.0.borrow_mut().carry_out(command);
    }
}

/// Hears only which ends of transfers wait.
#[derive(Default)]
struct Deaf(Vec<Option<WaitingEnd>>);

impl PresencePort for Deaf {
    fn presence(&mut self, _: &PeerName, _: SessionId, _: bool, _: Option<SocketAddr>) {}

    fn transfer_waits(&mut self, _: TransferId, end: Option<WaitingEnd>) {
        self.0.push(end);
    }

    fn catch_up(&mut self) -> bool {
        true
    }
}

fn one(frame: Bytes) -> Frames {
    let length = u32::try_from(frame.len()).expect("a short frame");
    Frames { lengths: vec![length], bytes: frame }
}

/// A peer of the test: what it has sent and acknowledged.
struct FakePeer {
    name: &'static str,
    session: Option<Joint>,
    sent: u64,
    taken: Vec<String>,
}

/// A session that has joined.
struct Joint {
    member: Member,
    port: Arc<FakePort>,
    sent: u64,
    open: BTreeMap<u64, String>,
    untaken: VecDeque<Delivery>,
    routes: BTreeMap<PeerName, Route>,
}

struct World {
    router: Router<FakeStorePort, Deaf>,
    store: FakeStorePort,
    peers: Vec<FakePeer>,
    next_session: SessionId,
    /// Superseded sessions that have not noticed yet.
    zombies: Vec<Joint>,
    accepted: Vec<(String, String)>,
}

impl World {
    fn new() -> Self {
        Self::with_limits(PeerLimits::default())
    }

    fn with_limits(limits: PeerLimits) -> Self {
        let store = FakeStorePort::default();
        let router = Router::new(limits, Inventory::default(), store.clone(), Deaf::default());
        let peers = ["A", "B", "C"]
            .map(|name| FakePeer { name, session: None, sent: 0, taken: Vec::new() })
            .into_iter()
            .collect();
        Self { router, store, peers, next_session: 1, zombies: Vec::new(), accepted: Vec::new() }
    }

    fn handle(&mut self, command: Command) {
        self.router.handle(Now::read(), command, &mut ());
    }

    fn join(&mut self, at: usize) {
        let port = Arc::<FakePort>::default();
        let (reply, pending) = reply();
        let session = self.next_session;
        self.next_session += 1;
        let card = Box::new(card_of(self.peers[at].name));
        let network = network(1);
        self.handle(Command::Join { session, card, network, token: TOKEN, port: port.clone(), reply });
        let joined = pending.wait(SOON).expect("it is answered at once").expect("the key is the same");
        let member = Member { peer: joined.peer, session };
        let (open, untaken, routes) = Default::default();
        let joint = Joint { member, port, sent: 0, open, untaken, routes };
        self.zombies.extend(self.peers[at].session.replace(joint));
    }

    fn send(&mut self, at: usize, to: usize, count: u64) {
        let to = self.peers[to].name;
        let peer = &mut self.peers[at];
        let Some(joint) = &mut peer.session else { return };
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        for place in 0..count {
            let text = format!("{}>{to}:{:04}", peer.name, peer.sent + place);
            lengths.push(u32::try_from(text.len()).expect("a short text"));
            bytes.extend_from_slice(text.as_bytes());
            joint.open.insert(joint.sent + place, text);
        }
        let mut frames = Frames { lengths, bytes: bytes.into() };
        let (from, first, to) = (joint.member, joint.sent, name(to));
        (peer.sent, joint.sent) = (peer.sent + count, joint.sent + count);
        if joint.open.len() as u64 == count
            && let Some(port) = joint.routes.get(&to).and_then(Route::port)
        {
            // Nothing from this sender is in the Router.
            let origin = Origin { peer: from.peer, session: from.session, first };
            match port.deliver(frames, true, origin) {
                Ok(()) => {
                    let outcome = Outcome::Relayed;
                    return joint
                        .take_in(SessionCommand::Routed { first, count, outcome }, &mut self.accepted);
                }
                Err(refused) => frames = refused,
            }
        }
        let run = Run { to, kept: true, first, openings: 0, wants_route: true, frames };
        self.handle(Command::From(from, MemberCommand::Route(vec![run])));
    }

    /// A session takes commands from its mailbox.
    fn read(&mut self, at: usize, most: usize) {
        let Some(joint) = &mut self.peers[at].session else {
            return;
        };
        for _ in 0..most {
            let Some(command) = joint.port.lock().mailbox.pop_front() else {
                break;
            };
            joint.take_in(command, &mut self.accepted);
        }
        let mut session = joint.port.lock();
        if session.mailbox.is_empty() && std::mem::take(&mut session.overflowed) {
            let member = joint.member;
            drop(session);
            self.handle(Command::From(member, MemberCommand::Drained));
        }
    }

    /// A peer acknowledges the first deliveries.
    fn take(&mut self, at: usize, most: usize) {
        let peer = &mut self.peers[at];
        let Some(joint) = &mut peer.session else { return };
        let mut stored = None;
        for _ in 0..most {
            let Some(delivery) = joint.untaken.pop_front() else {
                break;
            };
            for frame in delivery.frames.iter() {
                peer.taken.push(String::from_utf8(frame.to_vec()).expect("the test sends text"));
            }
            if delivery.is_stored {
                stored = Some(delivery.first + delivery.frames.count());
            }
        }
        if let Some(before) = stored {
            let by = joint.member;
            self.handle(Command::From(by, MemberCommand::Taken(before)));
        }
    }

    fn leave(&mut self, at: usize) {
        if let Some(joint) = self.peers[at].session.take() {
            self.part(joint);
        }
    }

    fn part(&mut self, mut joint: Joint) {
        self.handle(Command::From(joint.member, MemberCommand::Leave));
        let rest: Vec<SessionCommand> = joint.port.lock().mailbox.drain(..).collect();
        for command in rest {
            joint.take_in(command, &mut self.accepted);
        }
        let untaken = joint.untaken.into();
        self.handle(Command::From(joint.member, MemberCommand::HandBack(untaken)));
    }

    fn complete(&mut self, most: usize) {
        for _ in 0..most {
            let Some(completion) = self.store.0.borrow_mut().completions.pop_front() else {
                return;
            };
            self.handle(Command::Completed(completion));
        }
    }

    /// All peers join, read and acknowledge until nothing is left.
    fn settle(&mut self) {
        self.store.0.borrow_mut().is_full = false;
        for zombie in std::mem::take(&mut self.zombies) {
            self.part(zombie);
        }
        for at in 0..self.peers.len() {
            if self.peers[at].session.is_none() {
                self.join(at);
            }
        }
        for _ in 0..300 {
            for at in 0..self.peers.len() {
                self.read(at, usize::MAX);
                self.take(at, usize::MAX);
            }
            self.complete(usize::MAX);
            self.router.catch_up();
        }
    }
}

impl Joint {
    fn take_in(&mut self, command: SessionCommand, accepted: &mut Vec<(String, String)>) {
        match command {
            SessionCommand::Deliver(delivery) => self.untaken.push_back(*delivery),
            SessionCommand::Route(named) => {
                let (to, route) = *named;
                self.routes.insert(to, route);
            }
            SessionCommand::Routed { first, count, outcome: Outcome::Relayed | Outcome::Stored } => {
                for place in first..first + count {
                    if let Some(text) = self.open.remove(&place) {
                        let to =
                            text.split(['>', ':']).nth(1).expect("the test sends FROM>TO:NUMBER").to_owned();
                        accepted.push((to, text));
                    }
                }
            }
            _ => {}
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Leave(usize),
    Notice(usize),
    Send(usize, usize, u64),
    Read(usize, usize),
    Take(usize, usize),
    Complete(usize),
    StoreFull(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0usize..3;
    prop_oneof![
        2 => peer.clone().prop_map(Step::Join),
        1 => peer.clone().prop_map(Step::Leave),
        1 => (0usize..4).prop_map(Step::Notice),
        6 => (peer.clone(), 0usize..3, 1u64..4).prop_map(|(from, to, count)| Step::Send(from, to, count)),
        5 => (peer.clone(), 1usize..4).prop_map(|(at, most)| Step::Read(at, most)),
        4 => (peer, 1usize..4).prop_map(|(at, most)| Step::Take(at, most)),
        4 => (1usize..6).prop_map(Step::Complete),
        1 => any::<bool>().prop_map(Step::StoreFull),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_accepted_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Join(at) => world.join(at),
                Step::Leave(at) => world.leave(at),
                Step::Notice(at) => {
                    if at < world.zombies.len() {
                        let zombie = world.zombies.swap_remove(at);
                        world.part(zombie);
                    }
                }
                Step::Send(from, to, count) => world.send(from, to, count),
                Step::Read(at, most) => world.read(at, most),
                Step::Take(at, most) => world.take(at, most),
                Step::Complete(most) => world.complete(most),
                Step::StoreFull(is_full) => world.store.0.borrow_mut().is_full = is_full,
            }
        }
        world.settle();
        for (to, text) in &world.accepted {
            let peer = world.peers.iter().find(|p| p.name == to).expect("it is one of three");
            let times = peer.taken.iter().filter(|t| *t == text).count();
            prop_assert_eq!(times, 1, "{} arrived {} times at {}", text, times, to);
        }
        for peer in &world.peers {
            for sender in ["A", "B", "C"] {
                let from: Vec<&String> = peer.taken.iter().filter(|t| t.starts_with(sender)).collect();
                prop_assert!(from.is_sorted(), "{} got {:?}", peer.name, from);
            }
        }
        prop_assert!(world.store.0.borrow().mail.is_empty(), "acknowledged mail is still in the store");
        prop_assert_eq!(world.router.ledger.all(), Usage::default(), "acknowledged mail is not charged");
    }
}
