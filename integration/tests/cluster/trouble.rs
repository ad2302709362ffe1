//! Three servers at three nats-servers, and peers that write to each other while parts of it fail: no message is lost, doubled or
//! out of order.
//!
//! `CLUSTER_ROUNDS=100 CLUSTER_PEERS=20 CLUSTER_SEED=1 cargo test -p integration --test cluster trouble -- --nocapture` makes
//! more trouble than the suite.

use std::env;
use std::time::Duration;

use integration::{Link, Nats, Peer, Process, Sandbox, Server};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

const LINES_A_ROUND: usize = 10;

/// What fails in a round.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    ServerKilled,
    ServerStopped,
    /// The links of one server to all nats-servers.
    ServerCutOff,
    NatsKilled,
    NatsStopped,
}

/// In the suite no nats-server is killed, because the others need up to 10 seconds for an election.
const IN_SUITE: [Trouble; 3] = [Trouble::ServerCutOff, Trouble::ServerKilled, Trouble::ServerStopped];
const ALL: [Trouble; 5] = [
    Trouble::ServerCutOff,
    Trouble::ServerKilled,
    Trouble::ServerStopped,
    Trouble::NatsKilled,
    Trouble::NatsStopped,
];

pub(super) struct World {
    random: StdRng,
    sandbox: Sandbox,
    pub(super) nats: Vec<Option<Nats>>,
    /// For each server, one to each nats-server.
    links: Vec<Vec<Link>>,
    pub(super) servers: Vec<Option<Server>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Option<Self> {
        let sandbox = Sandbox::new();
        let nats = Nats::start_three(&sandbox)?;
        let links: Vec<Vec<Link>> =
            (0..3).map(|_| nats.iter().map(|nats| Link::to(nats.address())).collect()).collect();
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            sandbox,
            nats: nats.into_iter().map(Some).collect(),
            links,
            servers: Vec::new(),
        };
        for n in 0..3 {
            let address = world.sandbox.nobodys_address().to_string();
            world.servers.push(Some(world.launch(n, &address)));
        }
        Some(world)
    }

    pub(super) fn launch(&self, n: usize, address: &str) -> Server {
        let data = self.sandbox.path(&format!("server{n}"));
        let urls: Vec<String> =
            self.links[n].iter().map(|link| format!("nats://{}", link.address())).collect();
        let mut command = Server::command(&data, address);
        command.args(["--cluster", &urls.join(","), "--quiet"]);
        Server::launch(&data, command)
    }

    /// A peer that uses all servers, beginning with this one.
    fn peer(&self, name: &str, first: usize) -> Peer {
        let address = |n: usize| self.servers[n % 3].as_ref().expect("all run").address();
        let mut peer = self.sandbox.peer(name, address(first));
        peer.server = format!("{},{},{}", address(first), address(first + 1), address(first + 2));
        peer
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..3000)));
    }

    /// Makes something fail for a while. `meanwhile` is called while it does.
    fn trouble(&mut self, trouble: Trouble, mut meanwhile: impl FnMut()) {
        let at = self.random.random_range(0..3);
        eprintln!("{trouble:?} {at}");
        match trouble {
            Trouble::ServerKilled => {
                let server = self.servers[at].take().expect("all run");
                let address = server.address().to_string();
                server.process().signal(Signal::KILL);
                server.finish();
                meanwhile();
                self.pause();
                self.servers[at] = Some(self.launch(at, &address));
            }
            Trouble::ServerStopped => {
                let signal = |world: &Self, signal| {
                    world.servers[at].as_ref().expect("all run").process().signal(signal);
                };
                signal(self, Signal::STOP);
                meanwhile();
                self.pause();
                signal(self, Signal::CONT);
            }
            Trouble::ServerCutOff => {
                self.links[at].iter().for_each(Link::cut);
                meanwhile();
                self.pause();
                self.links[at].iter().for_each(Link::mend);
            }
            Trouble::NatsKilled => {
                let stopped = self.nats[at].take().expect("all run").kill();
                meanwhile();
                self.pause();
                self.nats[at] = Some(stopped.start());
            }
            Trouble::NatsStopped => {
                let signal = |world: &Self, signal| world.nats[at].as_ref().expect("all run").signal(signal);
                signal(self, Signal::STOP);
                meanwhile();
                self.pause();
                signal(self, Signal::CONT);
            }
        }
    }
}

/// Two peers that write to each other.
pub(super) struct Pair {
    names: [String; 2],
    processes: [Process; 2],
    texts: Vec<String>,
}

impl Pair {
    pub(super) fn start(world: &World, n: usize) -> Self {
        let names = ["A", "B"].map(|side| format!("{side}{n}"));
        // They begin at different servers.
        let processes = [0, 1].map(|side| world.peer(&names[side], n + side).start(&["--wait", "60"]));
        for process in &processes {
            process.event("joined", |_| true);
        }
        Self { names, processes, texts: Vec::new() }
    }

    pub(super) fn write(&mut self, count: usize) {
        for _ in 0..count {
            let text = format!("line {}", self.texts.len() + 1);
            for side in [0, 1] {
                self.processes[side].type_line(&format!("/msg {} {text}", self.names[1 - side]));
            }
            self.texts.push(text);
        }
    }

    /// Waits until both have everything.
    pub(super) fn wait(&self) {
        for process in &self.processes {
            process.events("message", self.texts.len());
        }
    }

    pub(super) fn check(mut self) {
        self.wait();
        self.processes.iter_mut().for_each(Process::end_input);
        for process in self.processes {
            let messages = process.finish().expect(0).events("message");
            let shown: Vec<&str> = messages.iter().filter_map(|message| message["text"].as_str()).collect();
            assert_eq!(shown, self.texts);
        }
    }
}

fn number(variable: &str) -> Option<usize> {
    env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn trouble_loses_doubles_and_reorders_nothing() {
    let seed = number("CLUSTER_SEED").unwrap_or(1);
    eprintln!("CLUSTER_SEED={seed}");
    let Some(mut world) = World::new(seed as u64) else { return };
    let pairs = number("CLUSTER_PEERS").unwrap_or(4) / 2;
    let mut pairs: Vec<Pair> = (0..pairs).map(|n| Pair::start(&world, n)).collect();
    let rounds = number("CLUSTER_ROUNDS");
    for round in 0..rounds.unwrap_or(IN_SUITE.len()) {
        let kinds: &[Trouble] = if rounds.is_some() { &ALL } else { &IN_SUITE };
        eprint!("round {round}: ");
        pairs.iter_mut().for_each(|pair| pair.write(LINES_A_ROUND / 2));
        world.trouble(kinds[round % kinds.len()], || {
            pairs.iter_mut().for_each(|pair| pair.write(LINES_A_ROUND / 2));
        });
        // In half of the rounds the next trouble begins before this one is over.
        if world.random.random_bool(0.5) {
            pairs.iter().for_each(Pair::wait);
        }
    }
    pairs.into_iter().for_each(Pair::check);
}
