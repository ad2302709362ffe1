//! A peer: its engine while its process runs, and what its user does and sees.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use switchboard::peer::command::{Command, Until, Update};
use switchboard::peer::engine::{Effect, Engine, Input, Limits, Net, Options, Out, Start};
use switchboard::peer::event::Event as PeerEvent;
use switchboard::peer::home::KeyTimes;
use wire::PeerName;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::protocol::{Greeting, ToPeer};

use super::disk::Disk;
use super::network::{End, LinkId};
use super::world::{Event, World};
use super::{NAMES, keys};

/// The client that sends messages. Those that look at them count from here, one for each time that the user looks.
const SENDER: u64 = 0;
/// How long it takes to make a key.
const KEY_TAKES: Duration = Duration::from_secs(2);
/// Longer than any run.
const WAIT_SECONDS: u64 = 10_000_000;
/// How often a full disk is tried again.
const DISK_RETRY_EVERY: Duration = Duration::from_secs(1);
/// The maximum number of inputs that one step takes.
const BATCH_MAX: usize = 64;

/// The connection of a peer to the server.
pub(super) struct Connection {
    link: LinkId,
    /// Bytes that are no whole frame yet.
    buffer: Vec<u8>,
    /// Which server has greeted; after the welcome frames are the engine's.
    greeted: Option<Greeting>,
    has_joined: bool,
}

/// The process of a peer while it runs.
pub(super) struct Process {
    engine: Engine,
    inputs: VecDeque<Input>,
    /// What a step has decided and the disk has not written yet.
    writing: Option<Out>,
    connection: Option<Connection>,
    /// The connections whose joining waits among the inputs.
    joining: VecDeque<LinkId>,
    /// The connection that the engine knows of, to which its frames go: a later one may stand already.
    known: Option<LinkId>,
    has_view: bool,
    /// The client that looks at messages, or the last one that did.
    viewer: u64,
    /// Messages that it has seen and not confirmed.
    seen: u64,
}

/// A peer, whether its process runs or not.
pub(super) struct Peer {
    pub(super) name: PeerName,
    pub(super) rekey: u64,
    pub(super) disk: Disk,
    pub(super) process: Option<Process>,
    /// How often it was started.
    pub(super) life: u64,
    /// How long each step takes.
    pub(super) pause: Duration,
    /// Messages that the user has seen: from whom, number and text.
    pub(super) shown: Vec<(PeerName, u64, String)>,
    /// The last number from each peer that the present viewer has seen.
    pub(super) last_in_view: BTreeMap<PeerName, u64>,
    /// The texts that the user was told are queued, by recipient.
    pub(super) queued: BTreeMap<PeerName, Vec<String>>,
}

impl Peer {
    pub(super) fn new(at: usize, rekey: u64) -> Self {
        Self {
            name: NAMES[at].parse().expect("a good name"),
            rekey,
            disk: Disk::default(),
            process: None,
            life: 0,
            pause: Duration::ZERO,
            shown: Vec::new(),
            last_in_view: BTreeMap::new(),
            queued: BTreeMap::new(),
        }
    }
}

impl World {
    pub(super) fn start_peer(&mut self, at: usize) {
        let now = self.schedule.now();
        let seed = self.dice.random();
        let peer = &mut self.peers[at];
        if peer.process.is_some() {
            return;
        }
        peer.life += 1;
        let keys = peer.disk.content().open_keys(now.unix).clone();
        let start = Start {
            name: peer.name.clone(),
            keys: keys::of(at, &keys),
            server: "here".into(),
            options: Options {
                rekey_messages: peer.rekey,
                full_trace: false,
                key_times: KeyTimes::default(),
                invitation: None,
                limits: Limits::default(),
            },
            loaded: peer.disk.load(),
            records: Box::new(peer.disk.clone()),
            rng: StdRng::seed_from_u64(seed),
        };
        let engine = Engine::new(start, now);
        peer.process = Some(Process {
            engine,
            inputs: VecDeque::new(),
            writing: None,
            connection: None,
            joining: VecDeque::new(),
            known: None,
            has_view: false,
            viewer: SENDER,
            seen: 0,
        });
        self.trace(|| format!("peer {at} starts"));
        if self.dice.random_range(0..4) > 0 {
            self.open_view(at);
        } else {
            self.input(at, Input::Command(SENDER, Command::Drain { wait: WAIT_SECONDS }));
        }
    }

    /// The process is killed. What it was writing may have reached the disk.
    pub(super) fn crash_peer(&mut self, at: usize) {
        let is_written = self.dice.random();
        let peer = &mut self.peers[at];
        let Some(process) = peer.process.take() else { return };
        if let Some(out) = process.writing.filter(|_| is_written && !peer.disk.content().is_full) {
            peer.disk.write(&out);
        }
        self.trace(|| format!("peer {at} crashes; a write that is under way is kept: {is_written}"));
        if let Some(connection) = process.connection {
            self.end_link(connection.link, End::Peer);
        }
    }

    pub(super) fn open_view(&mut self, at: usize) {
        let Some(process) = &mut self.peers[at].process else { return };
        if !std::mem::replace(&mut process.has_view, true) {
            process.viewer += 1;
            let viewer = process.viewer;
            self.trace(|| format!("the user of {at} looks"));
            self.peers[at].last_in_view.clear();
            self.input(at, Input::Command(viewer, Command::View));
        }
    }

    pub(super) fn close_view(&mut self, at: usize) {
        let Some(process) = &mut self.peers[at].process else { return };
        if std::mem::replace(&mut process.has_view, false) {
            process.seen = 0;
            let viewer = process.viewer;
            self.trace(|| format!("the user of {at} looks away"));
            self.input(at, Input::Gone(viewer));
        }
    }

    pub(super) fn user_sends(&mut self, at: usize, to: usize) {
        if at == to || self.peers[at].process.is_none() {
            return;
        }
        // Many at once go past the Router, when they have a route. If each of them opened a conversation, a stranger could
        // not send them within the time that is allowed here.
        let is_burst = self.dice.random_range(0..6) == 0 && self.peers[at].rekey > 1;
        let count = if is_burst { 40 } else { self.dice.random_range(1..4) };
        let mut texts = Vec::new();
        for _ in 0..count {
            let padding = "x".repeat(self.dice.random_range(0..500));
            texts.push(format!("{:016x} {padding}", self.dice.random::<u64>()));
        }
        self.trace(|| format!("the user of {at} writes {count} messages to {to}"));
        let until = [Until::Queued, Until::Sent, Until::Delivered { seconds: WAIT_SECONDS }];
        let until = until[self.dice.random_range(0..until.len())];
        let to = self.peers[to].name.clone();
        self.input(at, Input::Command(SENDER, Command::Send { to, texts, until }));
    }

    /// The viewer of a peer confirms what it has seen.
    pub(super) fn confirm(&mut self, at: usize, life: u64) {
        let peer = &mut self.peers[at];
        let Some(process) = peer.process.as_mut().filter(|_| life == peer.life) else { return };
        let (viewer, seen) = (process.viewer, std::mem::take(&mut process.seen));
        if seen > 0 {
            self.input(at, Input::Shown(viewer, seen));
        }
    }

    /// Something has happened to a peer.
    fn input(&mut self, at: usize, input: Input) {
        let peer = &mut self.peers[at];
        let Some(process) = &mut peer.process else { return };
        process.inputs.push_back(input);
        if process.writing.is_none() {
            self.schedule.after(peer.pause, Event::Wake { peer: at, life: peer.life });
        }
    }

    /// The engine's thread takes what waits, unless it is still writing.
    pub(super) fn wake(&mut self, at: usize, life: u64) {
        let now = self.schedule.now();
        let peer = &mut self.peers[at];
        let Some(process) = peer.process.as_mut().filter(|p| life == peer.life && p.writing.is_none()) else {
            return;
        };
        let count = process.inputs.len().min(BATCH_MAX);
        let inputs: Vec<Input> = process.inputs.drain(..count).collect();
        let has_frames = inputs.iter().any(|input| matches!(input, Input::Net(Net::Frames(_))));
        for input in &inputs {
            match input {
                Input::Net(Net::Joined { .. }) => process.known = process.joining.pop_front(),
                Input::Net(Net::Lost(_) | Net::Unreachable(..) | Net::Refused(..)) => process.known = None,
                _ => {}
            }
        }
        let mut out = Out::default();
        if let Err(unreadable) = process.engine.handle(now, inputs, &mut out) {
            return self.fail(|| format!("peer {at}: {unreadable}"));
        }
        let is_small = out.writes.is_empty() && out.pins.is_empty();
        process.writing = Some(out);
        let link = process.connection.as_ref().map(|connection| connection.link);
        let wait = if is_small { 0 } else { self.dice.random_range(1..20) };
        self.schedule.after(Duration::from_millis(wait), Event::PeerWrites { peer: at, life });
        if let (Some(link), true) = (link, has_frames) {
            self.has_read(link);
        }
    }

    /// The engine has taken what came over a connection, so there is room for more.
    fn has_read(&mut self, id: LinkId) {
        if let Some(link) = self.net.links.get_mut(&id) {
            link.unread = 0;
            self.serve();
        }
    }

    pub(super) fn peer_writes(&mut self, at: usize, life: u64) {
        let peer = &mut self.peers[at];
        let Some(process) = peer.process.as_mut().filter(|_| life == peer.life) else {
            return;
        };
        let Some(out) = process.writing.take() else { return };
        let is_small = out.writes.is_empty() && out.pins.is_empty();
        if peer.disk.content().is_full && !is_small {
            process.writing = Some(out);
            return self.schedule.after(DISK_RETRY_EVERY, Event::PeerWrites { peer: at, life });
        }
        peer.disk.write(&out);
        self.check_written(at, &out);
        self.carry_out(at, out);
        let peer = &self.peers[at];
        let Some(process) = &peer.process else { return };
        let wake = Event::Wake { peer: at, life };
        if process.inputs.is_empty() {
            if let Some(deadline) = process.engine.next_deadline() {
                let time = self.schedule.time_of(deadline);
                self.schedule.at(time, wake);
            }
        } else {
            self.schedule.after(peer.pause, wake);
        }
    }

    fn carry_out(&mut self, at: usize, out: Out) {
        let process = self.peers[at].process.as_ref();
        let connection =
            process.and_then(|process| process.connection.as_ref().map(|c| (c.link, process.known)));
        if let Some((link, known)) = connection
            && known == Some(link)
            && !out.to_server.is_empty()
        {
            self.transmit(link, End::Server, out.to_server);
        }
        for effect in out.effects {
            match effect {
                Effect::Tell(client, Update::Event(event)) => self.told(at, client, event),
                Effect::Connect => self.redial(at, Duration::ZERO),
                Effect::Reconnect => self.abort(at),
                Effect::Disconnect => self.fail(|| format!("peer {at} was sent away")),
                Effect::MakeKey => {
                    let life = self.peers[at].life;
                    self.schedule.after(KEY_TAKES, Event::KeyMade { peer: at, life });
                }
                Effect::DestroyKey(made_at) => {
                    self.trace(|| format!("peer {at} destroys the key of {made_at}"));
                    self.peers[at].disk.content().keys.remove(&made_at);
                }
                _ => {}
            }
        }
    }

    /// The thread that makes a key is done.
    pub(super) fn key_made(&mut self, at: usize, life: u64) {
        let now = self.schedule.now().unix;
        let peer = &mut self.peers[at];
        if life != peer.life || peer.process.is_none() {
            return;
        }
        let mut disk = peer.disk.content();
        let made = if disk.is_full {
            Err("the disk is full".to_owned())
        } else {
            let renewals = disk.add_key(now);
            Ok(Box::new(keys::pair(at, renewals, now)))
        };
        drop(disk);
        self.trace(|| format!("peer {at} has a new key: {}", made.is_ok()));
        self.input(at, Input::KeyMade(made));
    }

    fn told(&mut self, at: usize, client: u64, event: PeerEvent) {
        match event {
            PeerEvent::Message(message) if self.looks(at, client) => {
                self.trace(|| format!("the user of {at} sees #{} of {}", message.number, message.from));
                self.check_shown(at, &message);
                let seen = (message.from.folded(), message.number, message.text.clone());
                let peer = &mut self.peers[at];
                peer.last_in_view.insert(seen.0.clone(), seen.1);
                peer.shown.push(seen);
                if let Some(process) = &mut peer.process {
                    process.seen += 1;
                }
                let (life, wait) = (peer.life, Duration::from_millis(self.dice.random_range(0..500)));
                self.schedule.after(wait, Event::Confirm { peer: at, life });
            }
            PeerEvent::Queued { to, number, text, .. } if client == SENDER => {
                self.trace(|| format!("#{number} of {at} to {to} is queued"));
                self.peers[at].queued.entry(to.folded()).or_default().push(text);
            }
            PeerEvent::Delivered { to, number, .. } if client == SENDER => {
                self.trace(|| format!("#{number} of {at} to {to} is delivered"));
            }
            PeerEvent::Refused { with, number, reason } => {
                self.trace(|| format!("at {at}, with {with}, refused {number:?}: {reason}"));
            }
            PeerEvent::Error { message } => self.trace(|| format!("at {at}, error: {message}")),
            _ => {}
        }
    }

    /// Whether the user of a peer looks at what this client is told.
    fn looks(&self, at: usize, client: u64) -> bool {
        self.peers[at].process.as_ref().is_some_and(|process| process.has_view && process.viewer == client)
    }

    fn redial(&mut self, at: usize, wait: Duration) {
        let life = self.peers[at].life;
        self.schedule.after(wait, Event::Dial { peer: at, life });
    }

    pub(super) fn dial(&mut self, at: usize, life: u64) {
        let peer = &mut self.peers[at];
        let Some(process) = peer.process.as_mut().filter(|_| life == peer.life) else {
            return;
        };
        if process.connection.is_some() {
            return;
        }
        if self.server.process.is_none() {
            let wait = Duration::from_millis(self.dice.random_range(100..2_000));
            self.input(at, Input::Net(Net::Unreachable("no server".into(), wait)));
            return self.redial(at, wait);
        }
        let latency = Duration::from_micros(self.dice.random_range(50..50_000));
        let link = self.net.connect(at, latency);
        let connection = Connection { link, buffer: Vec::new(), greeted: None, has_joined: false };
        process.connection = Some(connection);
        self.trace(|| format!("peer {at} dials: connection {link}"));
        self.schedule.after(latency, Event::Accepted { link });
    }

    /// Bytes of the server have arrived.
    pub(super) fn peer_reads(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(at) = self.net.links.get(&link).map(|link| link.peer) else {
            return;
        };
        let now = self.schedule.now();
        let mut bodies: Vec<Bytes> = Vec::new();
        let Some(process) = &mut self.peers[at].process else { return };
        let Some(connection) = process.connection.as_mut().filter(|c| c.link == link) else {
            return;
        };
        connection.buffer.extend_from_slice(bytes);
        while let Ok(Some(body)) = frame::split(&connection.buffer, BODY_BYTES_MAX) {
            let length = LENGTH_BYTES + body.len();
            let whole: Vec<u8> = connection.buffer.drain(..length).collect();
            let body = Bytes::from(whole).slice(LENGTH_BYTES..);
            if connection.has_joined {
                bodies.push(body);
                continue;
            }
            match ToPeer::decode(&body).expect("the server speaks the protocol") {
                ToPeer::Hello(greeting) => {
                    connection.greeted = Some(greeting);
                    let join = frame::frame(&process.engine.join(now, &greeting, None));
                    self.transmit(link, End::Server, join);
                    return self.has_read(link);
                }
                ToPeer::Welcome { .. } => {
                    connection.has_joined = true;
                    let greeting = connection.greeted.expect("the server has greeted");
                    process.joining.push_back(connection.link);
                    process.inputs.push_back(Input::Net(Net::Joined {
                        greeting,
                        address: "here".into(),
                        pinned_certificate: None,
                    }));
                }
                ToPeer::Error { code, detail } => {
                    process.inputs.push_back(Input::Net(Net::Refused(code, detail)));
                }
                other => panic!("the server sends {other:?} before the welcome"),
            }
        }
        self.input(at, Input::Net(Net::Frames(bodies)));
    }

    /// A peer gives its connection up.
    fn abort(&mut self, at: usize) {
        let Some(process) = &self.peers[at].process else { return };
        let Some(link) = process.connection.as_ref().map(|connection| connection.link) else { return };
        self.trace(|| format!("peer {at} gives connection {link} up"));
        if let Some(arrival) = self.net.arrival(link, End::Server, self.schedule.elapsed()) {
            self.schedule.at(arrival, Event::Ends { link, at: End::Server });
        }
        self.peer_loses(link);
    }

    /// A peer notices that its connection is gone, and dials again.
    pub(super) fn peer_loses(&mut self, link: LinkId) {
        let Some(at) = self.net.links.get(&link).map(|link| link.peer) else {
            return;
        };
        if !self.net.close(link, End::Peer) {
            return;
        }
        let Some(process) = &mut self.peers[at].process else { return };
        if process.connection.as_ref().is_some_and(|connection| connection.link == link) {
            process.connection = None;
            self.trace(|| format!("peer {at} loses its connection"));
            let wait = Duration::from_millis(self.dice.random_range(100..2_000));
            self.input(at, Input::Net(Net::Lost(wait)));
            self.redial(at, wait);
        }
    }
}

impl Peer {
    /// Whether its engine has something to take or to write.
    pub(super) fn is_busy(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.writing.is_some() || !process.inputs.is_empty())
    }
}
