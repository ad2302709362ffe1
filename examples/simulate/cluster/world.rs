//! The servers, what connects them, and what goes wrong.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actors::cluster::{Effect, Input};
use actors::commands::cluster::Command as ClusterCommand;
use actors::commands::network::Network;
use actors::commands::router::{Command, JoinRefused, Member, MemberCommand, Run};
use actors::commands::session::{Route, SessionCommand, SessionId};
use actors::commands::store::Origin;
use actors::runtime::{Core as _, Now, Pending, reply};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wire::protocol::Outcome;

use super::nats::Bucket;
use super::peer::{CARDS, PEERS, Peer, Session, envelope, name};
use super::server::{Server, incarnation};
use super::{ARRIVED_WITHIN, SERVERS};
use crate::simulation::schedule::Schedule;
use crate::simulation::session::MailboxPort;

const TICK: Duration = Duration::from_millis(100);
/// The chance that a packet is lost while things go wrong, and that it comes late or twice.
const LOST: f64 = 0.05;

#[derive(Debug)]
enum Event {
    Trouble,
    Tick(usize),
    /// Something comes to the core of a server's cluster.
    Comes(usize, Input),
    /// What a server wants of the bucket gets there.
    Operation(usize, Effect),
    /// A server is told of the next change of the bucket.
    Watch(usize),
    Commits(usize),
    /// The session of a peer reads its mailbox.
    Takes(usize),
    /// A peer that has ended its session comes to a server.
    Joins(usize, usize),
}

/// A peer asks this server for its name.
type Claim = (usize, Pending<Result<(), JoinRefused>>);

pub(super) struct World {
    schedule: Schedule<Event>,
    dice: StdRng,
    servers: Vec<Server>,
    bucket: Bucket,
    peers: Vec<Peer>,
    /// What peers wait for.
    claims: Vec<Option<Claim>>,
    sessions: SessionId,
    /// How many more things go wrong.
    troubles: u32,
    is_trace: bool,
    failure: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, is_trace: bool) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let troubles = dice.random_range(20..200);
        Self {
            schedule: Schedule::new(),
            dice,
            servers: (0..SERVERS).map(Server::new).collect(),
            bucket: Bucket::default(),
            peers: (0..PEERS).map(|_| Peer::default()).collect(),
            claims: (0..PEERS).map(|_| None).collect(),
            sessions: 0,
            troubles,
            is_trace,
            failure: None,
        }
    }

    pub(super) fn run(mut self) -> Result<usize, String> {
        for at in 0..SERVERS {
            self.cluster_takes(at, Input::Connected(true));
            self.schedule.after(TICK, Event::Tick(at));
        }
        for peer in 0..PEERS {
            let server = self.dice.random_range(0..SERVERS);
            self.schedule.after(Duration::ZERO, Event::Joins(peer, server));
            self.schedule.after(Duration::ZERO, Event::Takes(peer));
        }
        self.schedule.after(Duration::from_secs(1), Event::Trouble);
        while self.troubles > 0 {
            self.step()?;
        }
        (0..SERVERS).for_each(|at| self.mend(at));
        let end = self.schedule.elapsed() + ARRIVED_WITHIN;
        while let Some(missing) = self.missing() {
            if self.schedule.elapsed() > end {
                return Err(format!("not arrived within {ARRIVED_WITHIN:?}: {missing}"));
            }
            self.step()?;
        }
        Ok(self
            .peers
            .iter()
            .flat_map(|peer| peer.arrived.values())
            .map(std::collections::BTreeSet::len)
            .sum())
    }

    fn missing(&self) -> Option<String> {
        let mut all = (0..PEERS).flat_map(|from| (0..PEERS).map(move |to| (from, to)));
        all.find_map(|(from, to)| {
            let sent = self.peers[from].numbers.get(&to).copied().unwrap_or_default();
            let arrived = self.peers[to].arrived.get(&from);
            let missing =
                (1..=sent).find(|number| !arrived.is_some_and(|arrived| arrived.contains(number)))?;
            Some(format!("number {missing} of {sent} from {} to {}", name(from), name(to)))
        })
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_trace {
            println!("{:>12.6} {}", self.schedule.elapsed().as_secs_f64(), what());
        }
    }

    fn now(&self) -> Now {
        let now = self.schedule.now();
        Now { instant: now.instant, time: UNIX_EPOCH + Duration::from_secs(now.unix) }
    }

    /// A time between 0 and a maximum.
    fn within(&mut self, millis: u64) -> Duration {
        Duration::from_micros(self.dice.random_range(0..millis * 1000))
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(event) = self.schedule.next() else { return Err("nothing happens any more".into()) };
        match event {
            Event::Trouble => self.trouble(),
            Event::Tick(at) => {
                self.cluster_takes(at, Input::Tick);
                self.schedule.after(TICK, Event::Tick(at));
            }
            Event::Comes(at, input) => self.cluster_takes(at, input),
            Event::Operation(at, effect) => self.operate(at, effect),
            Event::Watch(at) => self.watch(at),
            Event::Commits(at) => self.commit(at),
            Event::Takes(peer) => self.take(peer),
            Event::Joins(peer, server) => self.claim(peer, server),
        }
        match self.failure.take() {
            Some(failure) => Err(format!("at {:.6} s: {failure}", self.schedule.elapsed().as_secs_f64())),
            None => Ok(()),
        }
    }

    fn trouble(&mut self) {
        let Some(rest) = self.troubles.checked_sub(1) else { return };
        self.troubles = rest;
        let pause = [5, 100, 2000].choose(&mut self.dice).copied().unwrap_or(5);
        let wait = self.within(pause);
        self.schedule.after(wait, Event::Trouble);
        let (peer, at) = (self.dice.random_range(0..PEERS), self.dice.random_range(0..SERVERS));
        match self.dice.random_range(0..20) {
            0..=13 => {
                let to = (peer + self.dice.random_range(1..PEERS)) % PEERS;
                let count = self.dice.random_range(1..6);
                (0..count).for_each(|_| self.send(peer, to));
            }
            14 | 15 => self.leave(peer, at),
            16 | 17 => self.cut_off(at),
            _ => self.mend(at),
        }
    }

    /// A server has no connection to NATS, and notices it a while later.
    fn cut_off(&mut self, at: usize) {
        if !std::mem::replace(&mut self.servers[at].is_cut_off, true) {
            self.trace(|| format!("server {at} is cut off"));
            let wait = self.within(4000);
            self.schedule.after(wait, Event::Comes(at, Input::Connected(false)));
        }
    }

    fn mend(&mut self, at: usize) {
        if std::mem::replace(&mut self.servers[at].is_cut_off, false) {
            self.trace(|| format!("server {at} is connected again"));
            // It has noticed the loss by then.
            let wait = Duration::from_secs(4) + self.within(500);
            self.schedule.after(wait, Event::Comes(at, Input::Connected(true)));
            self.schedule.after(wait, Event::Watch(at));
        }
    }

    fn cluster_takes(&mut self, at: usize, input: Input) {
        let now = self.now();
        let mut effects = Vec::new();
        self.servers[at].cluster.handle(now, input, &mut effects);
        self.servers[at].cluster.settle(now, &mut effects);
        for effect in effects {
            self.carry_out(at, effect);
        }
        self.settle(at);
    }

    fn router_takes(&mut self, at: usize, command: Command) {
        let now = self.now();
        self.servers[at].router.handle(now, command, &mut ());
        self.settle(at);
    }

    /// Lets the cluster handle what the Router has told it, and the store commit.
    fn settle(&mut self, at: usize) {
        while let Ok(command) = self.servers[at].mailbox.try_recv() {
            self.cluster_takes(at, Input::Command(command));
        }
        self.servers[at].router.catch_up();
        if !self.servers[at].is_committing && !self.servers[at].store.0.borrow().is_empty() {
            self.servers[at].is_committing = true;
            let wait = self.within(30);
            self.schedule.after(wait, Event::Commits(at));
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Send { to, packet } => {
                let others = (0..SERVERS).filter(|other| *other != at);
                for other in others.filter(|other| to.is_none_or(|to| to == incarnation(*other))) {
                    self.transmit(at, other, &packet);
                }
            }
            Effect::Appear { name, session, window } => {
                let (reply, pending) = reply();
                let port = self.servers[at].handle.port(session, window);
                self.router_takes(at, Command::Appear { name, session, port, reply });
                let member = pending.wait(Duration::ZERO).expect("the Router answers at once");
                self.cluster_takes(at, Input::Appeared { session, member });
            }
            Effect::Tell(member, command) => self.router_takes(at, Command::From(member, command)),
            Effect::Learn(card) => self.router_takes(at, Command::Learn(card)),
            Effect::Forward(batch, envelopes) => {
                let reply = self.servers[at].handle.reply_to(batch);
                self.router_takes(at, Command::Forwarded(envelopes, reply));
            }
            Effect::PutShare { .. } | Effect::Share(_) | Effect::Release(_) => {
                panic!("nobody shares files")
            }
            operation => {
                let wait = self.within(20);
                self.schedule.after(wait, Event::Operation(at, operation));
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, packet: &[u8]) {
        let is_troubled = self.troubles > 0;
        if self.servers[from].is_cut_off
            || self.servers[to].is_cut_off
            || (is_troubled && self.dice.random_bool(LOST))
        {
            return;
        }
        let copies = if is_troubled && self.dice.random_bool(LOST) { 2 } else { 1 };
        for _ in 0..copies {
            let is_late = is_troubled && self.dice.random_bool(LOST);
            let wait = if is_late { self.within(300) } else { Duration::from_millis(1) };
            self.schedule.after(wait, Event::Comes(to, Input::Packet(packet.to_vec().into())));
        }
    }

    /// An operation reaches the bucket, unless the server is cut off. Its answer can be lost.
    fn operate(&mut self, at: usize, effect: Effect) {
        let is_lost = self.servers[at].is_cut_off;
        let forgets = is_lost || (self.troubles > 0 && self.dice.random_bool(LOST));
        let before = self.bucket.len();
        let answer = match effect {
            Effect::Create { name, card } => {
                let found = (!is_lost).then(|| self.bucket.claim(name.clone(), card, None));
                Input::Claimed { name, found: found.filter(|_| !forgets) }
            }
            Effect::Update { name, card, revision } => {
                let found = (!is_lost).then(|| self.bucket.claim(name.clone(), card, Some(revision)));
                Input::Claimed { name, found: found.filter(|_| !forgets) }
            }
            Effect::Put { name, here, over } => {
                let revision = if is_lost { None } else { self.bucket.put(name.clone(), here, over) };
                Input::Put { name, here, revision: revision.filter(|_| !forgets) }
            }
            Effect::Erase { name, revision } => {
                if !is_lost {
                    self.bucket.erase(name.clone(), revision);
                }
                Input::Erased(name)
            }
            other => panic!("{other:?} is no operation"),
        };
        for _ in before..self.bucket.len() {
            for server in 0..SERVERS {
                let wait = self.within(20);
                self.schedule.after(wait, Event::Watch(server));
            }
        }
        let wait = self.within(20);
        self.schedule.after(wait, Event::Comes(at, answer));
    }

    fn watch(&mut self, at: usize) {
        if self.servers[at].is_cut_off {
            return;
        }
        while self.servers[at].seen < self.bucket.len() {
            let change = self.bucket.change(self.servers[at].seen);
            self.servers[at].seen += 1;
            self.cluster_takes(at, change);
        }
    }

    fn commit(&mut self, at: usize) {
        let server = &mut self.servers[at];
        server.is_committing = false;
        let batch = server.store.0.take();
        for completion in server.disk.commit(batch.into()) {
            self.router_takes(at, Command::Completed(completion));
        }
        self.settle(at);
    }

    /// A peer comes to a server and asks for its name.
    fn claim(&mut self, peer: usize, at: usize) {
        let (reply, pending) = reply();
        let (card, network) = (Box::new(CARDS[peer].clone()), Network::UNKNOWN);
        self.claims[peer] = Some((at, pending));
        self.cluster_takes(at, Input::Command(ClusterCommand::Claim { card, network, reply }));
    }

    /// Joins when the name is claimed, or asks again.
    fn join(&mut self, peer: usize) {
        let Some((at, pending)) = self.claims[peer].take() else { return };
        match pending.wait(Duration::ZERO) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let wait = Duration::from_millis(200);
                self.schedule.after(wait, Event::Joins(peer, at));
                return;
            }
            Err(_) => {
                self.claims[peer] = Some((at, pending));
                return;
            }
        }
        self.sessions += 1;
        let (id, port) = (self.sessions, Arc::<MailboxPort>::default());
        let (reply, joined) = reply();
        let (card, network) = (Box::new(CARDS[peer].clone()), Network::UNKNOWN);
        let command = Command::Join { session: id, card, network, token: [0; 32], port: port.clone(), reply };
        self.router_takes(at, command);
        match joined.wait(Duration::ZERO).expect("the Router answers at once") {
            Ok(joined) => {
                self.trace(|| format!("{} joins server {at} as {id}", name(peer)));
                let member = Member { peer: joined.peer, session: id };
                self.peers[peer].session = Some(Session::new(at, member, port));
            }
            Err(refused) => self.failure = Some(format!("{} cannot join: {refused:?}", name(peer))),
        }
    }

    /// A peer ends its session, and goes to the server `to`.
    fn leave(&mut self, peer: usize, to: usize) {
        let Some(session) = &self.peers[peer].session else { return };
        self.trace(|| format!("{} goes to server {to}", name(peer)));
        let (at, member) = (session.server, session.member);
        self.peers[peer].has_stayed &= at == to;
        self.router_takes(at, Command::From(member, MemberCommand::Leave));
        self.end_session(peer);
        let wait = self.within(1000);
        self.schedule.after(wait, Event::Joins(peer, to));
    }

    /// The Router has closed a session: it hands back what its peer has not taken.
    fn end_session(&mut self, peer: usize) {
        let Some(session) = self.peers[peer].session.take() else { return };
        let mut rest: Vec<_> = session.untaken.into();
        while let Some(command) = session.port.next() {
            if let SessionCommand::Deliver(delivery) = command {
                rest.push(*delivery);
            }
        }
        self.router_takes(session.server, Command::From(session.member, MemberCommand::HandBack(rest)));
    }

    fn send(&mut self, peer: usize, to: usize) {
        let wants_route = self.dice.random_bool(0.5);
        let Peer { session: Some(session), numbers, .. } = &mut self.peers[peer] else { return };
        let number = numbers.entry(to).or_default();
        *number += 1;
        let (frames, first) = (envelope(peer, to, *number), session.sent);
        session.sent += 1;
        let (at, member) = (session.server, session.member);
        let is_routed = session.in_router.get(&to).is_none_or(|count| *count == 0)
            && session.routes.get(&to).and_then(Route::port).is_some_and(|port| {
                let origin = Origin { peer: member.peer, session: member.session, first };
                port.deliver(frames.clone(), true, origin).is_ok()
            });
        if is_routed {
            return self.settle(at);
        }
        *session.in_router.entry(to).or_default() += 1;
        session.recipients.insert(first, to);
        let run = Run { to: name(to), kept: true, first, openings: 0, wants_route, frames };
        self.router_takes(at, Command::From(member, MemberCommand::Route(vec![run])));
    }

    /// The session of a peer reads its mailbox, and its peer acknowledges some of what it got.
    fn take(&mut self, peer: usize) {
        let wait = self.within(20);
        self.schedule.after(wait, Event::Takes(peer));
        self.join(peer);
        let has_stayed = [0, 1, 2].map(|at: usize| self.peers[at].has_stayed);
        while let Some(command) = self.peers[peer].session.as_ref().and_then(|session| session.port.next()) {
            self.hear(peer, command, has_stayed);
        }
        let Some(session) = &mut self.peers[peer].session else { return };
        let (at, member) = (session.server, session.member);
        if session.port.closed().is_some() {
            self.trace(|| format!("the session of {} at server {at} was ended", name(peer)));
            self.end_session(peer);
            let (wait, to) = (self.within(1000), self.dice.random_range(0..SERVERS));
            self.peers[peer].has_stayed &= at == to;
            return self.schedule.after(wait, Event::Joins(peer, to));
        }
        let mut commands = Vec::new();
        if session.port.take_was_full() {
            commands.push(MemberCommand::Drained);
        }
        if self.dice.random_bool(0.7) {
            let stored = session.untaken.iter().filter(|delivery| delivery.is_stored);
            let taken = stored.map(|delivery| delivery.first + delivery.frames.count()).max();
            session.untaken.clear();
            commands.extend(taken.map(MemberCommand::Taken));
        }
        for command in commands {
            self.router_takes(at, Command::From(member, command));
        }
    }

    fn hear(&mut self, peer: usize, command: SessionCommand, has_stayed: [bool; PEERS]) {
        let receiver = &mut self.peers[peer];
        match command {
            SessionCommand::Deliver(delivery) => {
                if let Err(failure) = receiver.receive(&delivery, has_stayed) {
                    self.failure = Some(format!("at {}: {failure}", name(peer)));
                } else if let Some(session) = &mut receiver.session {
                    session.untaken.push_back(*delivery);
                }
            }
            SessionCommand::Routed { first, count, outcome } => {
                if let Outcome::Refused(refusal) = outcome {
                    self.failure = Some(format!("an envelope of {} is refused: {refusal:?}", name(peer)));
                }
                let Some(session) = &mut receiver.session else { return };
                for number in first..first + count {
                    let to = session.recipients.remove(&number);
                    if let Some(waiting) = to.and_then(|to| session.in_router.get_mut(&to)) {
                        *waiting -= 1;
                    }
                }
            }
            SessionCommand::Route(route) => {
                let (to, route) = *route;
                if let Some(session) = &mut receiver.session
                    && let Some(to) = (0..PEERS).find(|at| name(*at) == to)
                {
                    session.routes.insert(to, route);
                }
            }
            other => self.failure = Some(format!("nobody has asked for {other:?}")),
        }
    }
}
