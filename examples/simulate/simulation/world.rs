//! The network as a whole: what can happen, and in which order it does.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use actors::commands::router::Member;
use actors::commands::session::Delivery;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wire::conversation::ConversationId;

use super::network::{End, LinkId, Network};
use super::peer::Peer;
use super::schedule::Schedule;
use super::server::Server;
use super::{DELIVERED_WITHIN, PEERS_MAX, RENEWED_WITHIN, Report};

/// What a bad server does with one in eight of what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It says that it has relayed it, and drops it.
    Swallows,
    /// It refuses it.
    IsBusy,
    /// It delivers it twice.
    Doubles,
    /// It says that it has stored it, and drops it.
    Forgets,
    /// It changes a byte of it.
    Alters,
    /// It does not say what became of it.
    KeepsQuiet,
    /// It does not answer a lookup.
    HidesCards,
    /// It sends a frame that cannot be read.
    SendsGarbage,
}

const FAULTS: [Fault; 8] = [
    Fault::Swallows,
    Fault::IsBusy,
    Fault::Doubles,
    Fault::Forgets,
    Fault::Alters,
    Fault::KeepsQuiet,
    Fault::HidesCards,
    Fault::SendsGarbage,
];

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    /// The seed decides what goes wrong next.
    Trouble,
    /// The thread of a peer's engine runs.
    Wake {
        peer: usize,
        life: u64,
    },
    Confirm {
        peer: usize,
        life: u64,
    },
    /// A peer's disk has written what a step has decided, or is still full.
    PeerWrites {
        peer: usize,
        life: u64,
    },
    /// A peer dials the server.
    Dial {
        peer: usize,
        life: u64,
    },
    /// The thread of a peer that makes a key is done.
    KeyMade {
        peer: usize,
        life: u64,
    },
    /// The server accepts a connection.
    Accepted {
        link: LinkId,
    },
    /// Bytes arrive.
    Arrives {
        link: LinkId,
        at: End,
        bytes: Vec<u8>,
    },
    /// An end notices that the connection is gone.
    Ends {
        link: LinkId,
        at: End,
    },
    /// The Router's thread runs.
    RouterRuns {
        life: u64,
    },
    /// A session that has left hands back what its peer has not taken.
    HandsBack {
        life: u64,
        member: Member,
        rest: Vec<Delivery>,
    },
    StoreCommits {
        life: u64,
    },
    CatchUp {
        life: u64,
    },
}

/// The network.
pub(super) struct World {
    pub(super) schedule: Schedule<Event>,
    pub(super) dice: StdRng,
    pub(super) net: Network,
    pub(super) server: Server,
    pub(super) peers: Vec<Peer>,
    pub(super) fault: Option<Fault>,
    /// Whether days have passed.
    has_aged: bool,
    /// How many more things go wrong.
    troubles: u32,
    prints: bool,
    digest: DefaultHasher,
    /// The first thing that does not hold.
    pub(super) failure: Option<String>,
    /// Every ciphertext that was written, by conversation and place.
    pub(super) sealed: HashMap<(ConversationId, u64), Vec<u8>>,
}

impl World {
    pub(super) fn new(seed: u64, prints: bool) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let rekey = *[1, 3, 1024].choose(&mut dice).expect("it is not empty");
        let fault = dice.random_bool(0.6).then(|| *FAULTS.choose(&mut dice).expect("it is not empty"));
        let peers = (0..dice.random_range(2..=PEERS_MAX)).map(|at| Peer::new(at, rekey)).collect();
        let troubles = dice.random_range(4..40);
        Self {
            schedule: Schedule::new(),
            dice,
            net: Network::default(),
            server: Server::default(),
            peers,
            fault,
            has_aged: false,
            troubles,
            prints,
            digest: DefaultHasher::new(),
            failure: None,
            sealed: HashMap::new(),
        }
    }

    /// Takes note of something that has happened.
    pub(super) fn trace(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        (self.schedule.elapsed(), &what).hash(&mut self.digest);
        if self.prints {
            println!("{:>12.6} {what}", self.schedule.elapsed().as_secs_f64());
        }
    }

    pub(super) fn fail(&mut self, why: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let why = why();
            self.trace(|| format!("FAILS: {why}"));
            self.failure = Some(format!("at {:.6} s: {why}", self.schedule.elapsed().as_secs_f64()));
        }
    }

    pub(super) fn run(mut self) -> Result<Report, String> {
        let (rekey, fault, troubles) = (self.peers[0].rekey, self.fault, self.troubles);
        self.trace(|| format!("rekey {rekey}, fault {fault:?}, {troubles} troubles"));
        self.start_server();
        for peer in 0..self.peers.len() {
            self.start_peer(peer);
        }
        self.schedule.after(Duration::ZERO, Event::Trouble);
        while self.troubles > 0 {
            self.step()?;
        }
        self.mend();
        let mended = self.schedule.elapsed();
        let within = DELIVERED_WITHIN + if self.has_aged { RENEWED_WITHIN } else { Duration::ZERO };
        while !self.is_all_delivered() {
            if self.schedule.is_empty() || self.schedule.elapsed() > mended + within {
                let left = self.undelivered();
                return Err(format!("not delivered within {within:?}: {left}"));
            }
            self.step()?;
        }
        let took = self.schedule.elapsed() - mended;
        // What is still on its way must change nothing any more.
        let end = self.schedule.elapsed() + Duration::from_secs(5);
        while self.schedule.elapsed() < end && !self.schedule.is_empty() {
            self.step()?;
        }
        self.check_end();
        match self.failure {
            Some(failure) => Err(failure),
            None => {
                let messages = self.peers.iter().map(|peer| peer.shown.len()).sum();
                Ok(Report { digest: self.digest.finish(), messages, took })
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(event) = self.schedule.next() else { return Ok(()) };
        match event {
            Event::Trouble => self.trouble(),
            Event::Wake { peer, life } => self.wake(peer, life),
            Event::Confirm { peer, life } => self.confirm(peer, life),
            Event::PeerWrites { peer, life } => self.peer_writes(peer, life),
            Event::Dial { peer, life } => self.dial(peer, life),
            Event::KeyMade { peer, life } => self.key_made(peer, life),
            Event::Accepted { link } => {
                if self.net.reaches(link, End::Server) {
                    self.accepted(link);
                }
            }
            Event::Arrives { link, at, bytes } => {
                if self.net.reaches(link, at) {
                    match at {
                        End::Peer => self.peer_reads(link, &bytes),
                        End::Server => self.server_reads(link, &bytes),
                    }
                }
            }
            Event::Ends { link, at: End::Peer } => self.peer_loses(link),
            Event::Ends { link, at: End::Server } => {
                if self.net.links.get(&link).is_some_and(|link| link.is_open[End::Server as usize]) {
                    self.close_session(link);
                    self.serve();
                }
            }
            Event::RouterRuns { life } => self.router_runs(life),
            Event::HandsBack { life, member, rest } => self.hands_back(life, member, rest),
            Event::StoreCommits { life } => self.store_commits(life),
            Event::CatchUp { life } => self.catch_up(life),
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Sends bytes to one end of a connection.
    pub(super) fn transmit(&mut self, link: LinkId, at: End, bytes: Vec<u8>) {
        if let Some(arrival) = self.net.arrival(link, at, self.schedule.elapsed()) {
            self.schedule.at(arrival, Event::Arrives { link, at, bytes });
        }
    }

    /// One end closes a connection. The other notices it behind everything that is on its way to it.
    pub(super) fn end_link(&mut self, link: LinkId, at: End) {
        let other = match at {
            End::Peer => End::Server,
            End::Server => End::Peer,
        };
        if let Some(arrival) = self.net.arrival(link, other, self.schedule.elapsed())
            && self.net.reaches(link, other)
        {
            self.schedule.at(arrival, Event::Ends { link, at: other });
        }
        self.net.close(link, at);
    }

    fn trouble(&mut self) {
        self.troubles -= 1;
        if self.troubles > 0 {
            let pause = [5, 100, 2_000].choose(&mut self.dice).copied().unwrap_or(5);
            let wait = Duration::from_millis(self.dice.random_range(0..pause));
            self.schedule.after(wait, Event::Trouble);
        }
        let peer = self.dice.random_range(0..self.peers.len());
        match self.dice.random_range(0..40) {
            0..=17 => {
                let to = self.dice.random_range(0..self.peers.len());
                self.user_sends(peer, to);
            }
            18..=20 => self.crash_peer(peer),
            21..=23 => self.start_peer(peer),
            24 | 25 => self.crash_server(),
            26..=28 => self.start_server(),
            29..=31 => self.cut(),
            32 => self.stall(),
            33 => self.fill_peer_disk(peer),
            34 => self.fill_server_disk(),
            35 => self.slow_down(peer),
            36 => self.open_view(peer),
            37 => self.close_view(peer),
            38 => {
                let hours = self.dice.random_range(0..2);
                self.trace(|| format!("{hours} hours pass"));
                self.schedule.sleep(Duration::from_secs(3_700 * hours));
            }
            39 => {
                let days = self.dice.random_range(1..18);
                self.trace(|| format!("{days} days pass"));
                self.has_aged = true;
                self.schedule.sleep(Duration::from_secs(86_400 * days));
            }
            _ => {}
        }
    }

    /// A connection carries nothing any more; its ends notice that at different times.
    fn cut(&mut self) {
        let links: Vec<LinkId> = self.net.links.keys().copied().collect();
        let Some(&id) = links.choose(&mut self.dice) else { return };
        self.trace(|| format!("connection {id} is cut"));
        if let Some(link) = self.net.links.get_mut(&id) {
            link.is_cut = true;
        }
        for at in [End::Peer, End::Server] {
            let wait = Duration::from_millis(self.dice.random_range(0..20_000));
            self.schedule.after(wait, Event::Ends { link: id, at });
        }
    }

    /// A connection becomes slow.
    fn stall(&mut self) {
        let links: Vec<LinkId> = self.net.links.keys().copied().collect();
        let latency = Duration::from_millis(self.dice.random_range(1_000..30_000));
        if let Some(id) = links.choose(&mut self.dice)
            && let Some(link) = self.net.links.get_mut(id)
        {
            link.latency = latency;
            self.trace(|| format!("connection {id} takes {latency:?}"));
        }
    }

    fn fill_peer_disk(&mut self, peer: usize) {
        let mut disk = self.peers[peer].disk.content();
        disk.is_full = !disk.is_full;
        let is_full = disk.is_full;
        drop(disk);
        self.trace(|| format!("the disk of {peer} is full: {is_full}"));
    }

    fn fill_server_disk(&mut self) {
        self.server.disk.is_full = !self.server.disk.is_full;
        let is_full = self.server.disk.is_full;
        self.trace(|| format!("the disk of the server is full: {is_full}"));
    }

    fn slow_down(&mut self, peer: usize) {
        let pause = Duration::from_millis(self.dice.random_range(0..2_000));
        self.peers[peer].pause = pause;
        self.trace(|| format!("peer {peer} takes {pause:?} for each step"));
    }

    /// From here on nothing goes wrong.
    fn mend(&mut self) {
        self.trace(|| "all is mended".into());
        self.fault = None;
        self.server.disk.is_full = false;
        let now = self.schedule.elapsed();
        for id in self.net.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.net.links.get_mut(&id) else { continue };
            link.latency = Duration::from_millis(1);
            if link.is_cut || link.is_late(now) {
                // What is on its way would come long after the trouble: the connection breaks instead.
                link.is_cut = true;
                for at in [End::Peer, End::Server] {
                    self.schedule.after(Duration::ZERO, Event::Ends { link: id, at });
                }
            }
        }
        self.start_server();
        for peer in 0..self.peers.len() {
            self.peers[peer].disk.content().is_full = false;
            self.peers[peer].pause = Duration::ZERO;
            self.start_peer(peer);
            self.open_view(peer);
        }
    }
}
