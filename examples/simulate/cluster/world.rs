//! The servers, what connects them, and what goes wrong.

use std::time::{Duration, UNIX_EPOCH};

use actors::cluster::{Effect, Input};
use actors::commands::cluster::Command as ClusterCommand;
use actors::commands::router::{Command, JoinRefused};
use actors::commands::session::SessionId;
use actors::commands::store::Completion;
use actors::config::PeerLimits;
use actors::runtime::{Core as _, Now, Pending, reply};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::mail::Mail;
use super::nats::Bucket;
use super::peer::{PEERS, Peer, name};
use super::server::{Server, incarnation};
use super::transfers::Transfer;
use super::{ARRIVED_WITHIN, FIRST_WITH_SMALL_MAILBOXES, FIRST_WITH_TRANSFERS, SERVERS};
use crate::simulation::schedule::Schedule;

/// Seven envelopes.
const SMALL_MAILBOX_BYTES: u64 = 8 << 10;
const TICK: Duration = Duration::from_millis(100);
/// The chance that a packet is lost while things go wrong, and that it comes late or twice.
const LOST: f64 = 0.05;
/// The chance that a server is lost for good.
const LOSES_SERVER: f64 = 0.5;

#[derive(Debug)]
pub(super) enum Event {
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
pub(super) type Claim = (usize, Pending<Result<(), JoinRefused>>);

pub(super) struct World {
    pub(super) schedule: Schedule<Event>,
    pub(super) dice: StdRng,
    pub(super) servers: Vec<Server>,
    bucket: Bucket,
    pub(super) mail: Mail,
    pub(super) peers: Vec<Peer>,
    pub(super) transfers: Vec<Transfer>,
    /// What peers wait for.
    pub(super) claims: Vec<Option<Claim>>,
    pub(super) sessions: SessionId,
    /// How many more things go wrong.
    troubles: u32,
    /// How many of them are left when a server is lost for good.
    loses: Option<u32>,
    /// Peers get files from each other too.
    has_transfers: bool,
    pub(super) has_small_mailboxes: bool,
    is_trace: bool,
    pub(super) failure: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, is_trace: bool) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let troubles = dice.random_range(20..200);
        let has_small_mailboxes = seed >= FIRST_WITH_SMALL_MAILBOXES;
        let mut limits = PeerLimits::default();
        if has_small_mailboxes {
            limits.mail_bytes_per_recipient = SMALL_MAILBOX_BYTES;
        }
        let loses = dice.random_bool(LOSES_SERVER).then(|| dice.random_range(0..troubles));
        Self {
            schedule: Schedule::new(),
            dice,
            servers: (0..SERVERS).map(|at| Server::new(at, &limits)).collect(),
            bucket: Bucket::default(),
            mail: Mail::default(),
            transfers: Vec::new(),
            peers: (0..PEERS).map(|_| Peer::default()).collect(),
            claims: (0..PEERS).map(|_| None).collect(),
            sessions: 0,
            troubles,
            loses,
            has_transfers: (FIRST_WITH_TRANSFERS..FIRST_WITH_SMALL_MAILBOXES).contains(&seed),
            has_small_mailboxes,
            is_trace,
            failure: None,
        }
    }

    pub(super) fn run(mut self) -> Result<(usize, Duration), String> {
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
        let mended = self.schedule.elapsed();
        while let Some(missing) = self.missing() {
            if self.schedule.elapsed() > mended + ARRIVED_WITHIN {
                return Err(format!("not arrived within {ARRIVED_WITHIN:?}: {missing}"));
            }
            self.step()?;
        }
        let arrived = self.peers.iter().flat_map(|peer| peer.arrived.values());
        let arrived = arrived.map(std::collections::BTreeSet::len).sum();
        Ok((arrived, self.schedule.elapsed() - mended))
    }

    fn missing(&self) -> Option<String> {
        self.missing_envelope().or_else(|| self.unmet())
    }

    fn missing_envelope(&self) -> Option<String> {
        let is_any_lost = self.servers.iter().any(|server| server.is_lost);
        let mut all = (0..PEERS).flat_map(|from| (0..PEERS).map(move |to| (from, to)));
        all.find_map(|(from, to)| {
            let sent = self.peers[from].numbers.get(&to).copied().unwrap_or_default();
            let (sender, arrived) = (&self.peers[from], self.peers[to].arrived.get(&from));
            let must_arrive = |number: u64| {
                let is_stored = sender.stored.contains(&(to, number));
                is_stored || (!is_any_lost && sender.accepted.contains(&(to, number)))
            };
            let is_missing = |number: u64| !arrived.is_some_and(|arrived| arrived.contains(&number));
            let missing = (1..=sent).find(|number| must_arrive(*number) && is_missing(*number))?;
            Some(format!("number {missing} of {sent} from {} to {}", name(from), name(to)))
        })
    }

    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_trace {
            println!("{:>12.6} {}", self.schedule.elapsed().as_secs_f64(), what());
        }
    }

    fn now(&self) -> Now {
        let now = self.schedule.now();
        Now { instant: now.instant, time: UNIX_EPOCH + Duration::from_secs(now.unix) }
    }

    /// A time between 0 and a maximum.
    pub(super) fn within(&mut self, millis: u64) -> Duration {
        Duration::from_micros(self.dice.random_range(0..millis * 1000))
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(event) = self.schedule.next() else { return Err("nothing happens any more".into()) };
        match event {
            Event::Trouble => self.trouble(),
            Event::Tick(at) => {
                self.cluster_takes(at, Input::Tick);
                self.meet_transfers();
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
        if self.loses == Some(rest) {
            self.lose(at);
        }
        if self.has_transfers && self.dice.random_bool(0.05) {
            self.transfer(peer, (peer + 1) % PEERS);
        }
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

    /// A server is lost for good, with all that it has. Its peers go to other servers.
    fn lose(&mut self, at: usize) {
        self.trace(|| format!("server {at} is lost"));
        self.servers[at].is_lost = true;
        for peer in 0..PEERS {
            // What is lost with it leaves gaps.
            self.peers[peer].has_stayed = false;
            let is_claiming = self.claims[peer].take_if(|(of, _)| *of == at).is_some();
            let session = self.peers[peer].session.take_if(|session| session.server == at);
            if is_claiming || session.is_some() {
                self.schedule.after(Duration::from_millis(100), Event::Joins(peer, (at + 1) % SERVERS));
            }
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

    pub(super) fn cluster_takes(&mut self, at: usize, input: Input) {
        if self.servers[at].is_lost {
            return;
        }
        let now = self.now();
        let mut effects = Vec::new();
        self.servers[at].cluster.handle(now, input, &mut effects);
        self.servers[at].cluster.settle(now, &mut effects);
        for effect in effects {
            self.carry_out(at, effect);
        }
        self.settle(at);
    }

    pub(super) fn router_takes(&mut self, at: usize, command: Command) {
        let now = self.now();
        self.servers[at].router.handle(now, command, &mut ());
        self.settle(at);
    }

    /// Lets the cluster handle what the Router has told it, and the store commit.
    pub(super) fn settle(&mut self, at: usize) {
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
        let Some(effect) = self.carry_out_mail(at, effect) else { return };
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
            Effect::Elsewhere(transfer, offered) => {
                self.router_takes(at, Command::Elsewhere { transfer, offered });
            }
            // Everybody may join.
            Effect::Members(_) => {}
            Effect::PutShare { .. }
            | Effect::PutChange { .. }
            | Effect::Share(_)
            | Effect::ShareChange(_)
            | Effect::Release(_) => {
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
            || self.servers[to].is_lost
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

    /// Whether the answer to an operation is lost.
    pub(super) fn forgets(&mut self, at: usize) -> bool {
        self.servers[at].is_cut_off || (self.troubles > 0 && self.dice.random_bool(LOST))
    }

    /// An operation reaches the bucket, unless the server is cut off. Its answer can be lost.
    fn operate(&mut self, at: usize, effect: Effect) {
        let (is_lost, forgets) = (self.servers[at].is_cut_off, self.forgets(at));
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
            Effect::Mail(effect) => self.operate_mail(at, effect),
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
        if self.servers[at].is_cut_off || self.servers[at].is_lost {
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
        if server.is_lost {
            return;
        }
        server.is_committing = false;
        let batch = server.store.0.take();
        for completion in server.disk.commit(batch.into()) {
            let told = match completion {
                Completion::Put { mail, stored: true } => {
                    self.cluster_takes(at, Input::Command(ClusterCommand::Stored(mail)));
                    continue;
                }
                Completion::Forgotten { ref name, ref places, ref amounts } => {
                    let (name, places, amounts) = (name.clone(), places.clone(), amounts.clone());
                    Some(ClusterCommand::Forgotten { name, places, amounts })
                }
                _ => None,
            };
            told.into_iter().for_each(|told| self.cluster_takes(at, Input::Command(told)));
            self.router_takes(at, Command::Completed(completion));
        }
        self.settle(at);
    }
}
