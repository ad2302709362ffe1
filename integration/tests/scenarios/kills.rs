//! The server and peers that write to each other are killed (SIGKILL) at random: no message is lost, doubled or out of order.
//!
//! In some rounds a recipient is killed after it has written messages to its disk, and before the sender can have the receipts:
//! those messages come again. The scenario was seen to fail when stores acknowledged what was not on the disk yet, when peers
//! did not write messages to their outbox before they sent them, and when peers did not recognise repeated messages after a
//! restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use integration::{PATIENCE, Passing, Peer, Process, Proxy, Sandbox, Server};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use serde_json::Value;

/// The peers, and after how many messages each opens a new conversation. Each writes to both of its neighbours.
const PEERS: [(&str, &str); 3] = [("A", "3"), ("B", "1"), ("C", "1024")];
/// Pairs of sender and recipient.
const PAIRS: [(usize, usize); 4] = [(0, 1), (1, 0), (1, 2), (2, 1)];
const LINES_A_ROUND: usize = 6;
/// The last peer, which is connected through a proxy, and its sender.
const MUTED: (usize, usize) = (2, 1);
/// In one of so many rounds the receipts of [`MUTED`] are lost, and it is killed.
const MUTED_EVERY: usize = 4;
/// The chance that a killed peer is away for the next round.
const AWAY: f64 = 0.3;

/// What the processes of a peer have reported as written to its disk.
#[derive(Default)]
struct Said {
    /// By recipient and number.
    queued: BTreeMap<(String, u64), String>,
    /// The numbers that each process has shown, by sender.
    shown: Vec<BTreeMap<String, Vec<u64>>>,
    /// The messages that have arrived, by sender and number. Others were shown again because the confirmation was lost.
    arrived: BTreeSet<(String, u64)>,
}

fn text<'v>(event: &'v Value, field: &str) -> &'v str {
    event[field].as_str().expect("the event has it")
}

fn number(event: &Value) -> u64 {
    event["number"].as_u64().expect("the event has it")
}

impl Said {
    fn hear(&mut self, process: Process) {
        let finished = process.kill();
        for event in finished.events("queued") {
            let key = (text(&event, "to").to_owned(), number(&event));
            let before = self.queued.insert(key, text(&event, "text").to_owned());
            assert_eq!(before, None, "a number was given twice: {event}");
        }
        let mut shown = BTreeMap::<String, Vec<u64>>::new();
        for event in finished.events("message") {
            let (from, number) = (text(&event, "from").to_owned(), number(&event));
            let has_arrived = !event["arrival"].is_null();
            assert!(!has_arrived || self.arrived.insert((from.clone(), number)), "it arrived twice: {event}");
            shown.entry(from).or_default().push(number);
        }
        self.shown.push(shown);
    }

    /// Checks that each process has shown the messages of a sender once and in order, and that none is missing between
    /// two processes.
    fn check_shown(&self, from: &str) {
        let mut last = 0;
        for shown in self.shown.iter().filter_map(|shown| shown.get(from)) {
            assert!(shown.is_sorted_by(|a, b| a + 1 == *b), "of {from}: {shown:?}");
            assert!(shown[0] <= last + 1, "of {from}: after #{last} the next process shows {shown:?}");
            last = last.max(shown[shown.len() - 1]);
        }
    }
}

struct World {
    random: StdRng,
    /// Always some.
    server: Option<Server>,
    peers: Vec<Peer>,
    /// Between [`MUTED`] and the server.
    proxy: Proxy,
    /// None while a peer is away.
    running: Vec<Option<Process>>,
    said: Vec<Said>,
}

impl World {
    fn round(&mut self, round: usize) {
        for at in 0..PEERS.len() {
            if self.running[at].is_none() && !self.random.random_bool(AWAY) {
                self.start(at);
            }
        }
        for line in 1..=LINES_A_ROUND {
            for (from, to) in PAIRS {
                if let Some(process) = &mut self.running[from] {
                    process.type_line(&format!("/msg {} {round}.{line} of {}", PEERS[to].0, PEERS[from].0));
                }
            }
        }
        let victim = self.random.random_range(0..=PEERS.len());
        let watched = if victim < PEERS.len() { victim } else { round % PEERS.len() };
        if let Some(process) = &self.running[watched] {
            // At a random moment between the first line and some time after the last message was queued.
            process.lines_or_end(self.random.random_range(0..3 * LINES_A_ROUND));
        }
        match self.running.get_mut(victim) {
            Some(process) => {
                if let Some(process) = process.take() {
                    self.said[victim].hear(process);
                }
                if !self.random.random_bool(AWAY) {
                    self.start(victim);
                }
            }
            None => self.server = self.server.take().map(Server::crash_and_restart),
        }
    }

    /// Kills a recipient that has shown a message whose receipt cannot have reached the sender.
    fn lose_receipts(&mut self, round: usize) {
        let (to, from) = MUTED;
        // A connection that it has lost could not be replaced while it is muted, so it starts anew.
        if let Some(process) = self.running[to].take() {
            self.said[to].hear(process);
        }
        self.start(to);
        if self.running[from].is_none() {
            self.start(from);
        }
        let recipient = self.running[to].take().expect("it was started");
        let sender = self.running[from].as_mut().expect("it was started");
        for (is_mute, what) in [(false, "comes"), (true, "is lost")] {
            self.proxy.mute(is_mute);
            let text = format!("{round}: the receipt {what}");
            sender.type_line(&format!("/msg {} {text}", PEERS[to].0));
            let message = recipient.event("message", |event| event["text"] == text.as_str());
            // After a complaint, a sender waits for receipts before it sends more.
            if !is_mute {
                sender.event("delivered", |event| {
                    event["to"] == PEERS[to].0 && event["number"] == message["number"]
                });
            }
        }
        self.said[to].hear(recipient);
        self.proxy.mute(false);
    }

    fn start(&mut self, at: usize) {
        self.running[at] = Some(self.peers[at].start(&["--rekey", PEERS[at].1]));
    }

    /// Sends one more message for each pair, without kills, so that all earlier ones are delivered.
    fn come_to_rest(&mut self) {
        for (process, said) in self.running.iter_mut().zip(&mut self.said) {
            process.take().into_iter().for_each(|process| said.hear(process));
        }
        let listening: Vec<Process> = self.peers.iter().map(|peer| peer.start(&["listen"])).collect();
        listening.iter().for_each(|process| drop(process.event("joined", |_| true)));
        for (from, to) in PAIRS {
            self.peers[from].run(&["send", PEERS[to].0, "the last", "--wait", "60"]).expect(0);
        }
        // Receipts for earlier conversations may come later.
        let deadline = Instant::now() + PATIENCE;
        for peer in &self.peers {
            while !peer.run(&["outbox"]).expect(0).answers("outbox").is_empty() {
                assert!(Instant::now() < deadline, "{}: messages have no receipt", peer.name());
            }
        }
        for process in listening {
            process.signal(Signal::TERM);
            process.finish().expect(0);
        }
    }

    fn check(&self) -> usize {
        let mut messages = 0;
        for (from, to) in PAIRS {
            let names = (PEERS[from].0, PEERS[to].0);
            let sent = self.peers[from].history(names.1, "sent");
            let received = self.peers[to].history(names.0, "received");
            let texts = |records: &[Value]| -> Vec<(u64, String)> {
                records.iter().map(|record| (number(record), text(record, "text").to_owned())).collect()
            };
            assert_eq!(texts(&sent), texts(&received), "{names:?}: all, once, in order");
            assert!(sent.iter().map(number).eq(1..=sent.len() as u64), "{names:?}: no number is missing");
            assert!(sent.iter().all(|record| record["delivered"] == true), "{names:?}: the outbox is empty");
            let queued = self.said[from].queued.iter().filter(|((who, _), _)| who == names.1);
            for ((_, number), queued) in queued {
                let at = usize::try_from(*number - 1).expect("it is small");
                assert_eq!(text(&sent[at], "text"), queued, "{names:?}: what was said to be queued was");
            }
            self.said[to].check_shown(names.0);
            messages += sent.len();
        }
        messages
    }
}

fn kill(kills: usize, seed: u64) {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let mut peers: Vec<Peer> = PEERS.iter().map(|(name, _)| sandbox.peer(name, server.address())).collect();
    let proxy = Proxy::start(server.address(), Passing::All);
    peers[MUTED.0] = peers[MUTED.0].at(proxy.address());
    peers.iter().for_each(|peer| drop(peer.run(&["who"]).expect(0)));
    let running = PEERS.iter().map(|_| None).collect();
    let said = PEERS.iter().map(|_| Said::default()).collect();
    let random = StdRng::seed_from_u64(seed);
    let mut world = World { random, server: Some(server), peers, proxy, running, said };
    for round in 0..kills {
        if round % MUTED_EVERY == MUTED_EVERY - 1 {
            world.lose_receipts(round);
        } else {
            world.round(round);
        }
    }
    world.come_to_rest();
    let messages = world.check();
    println!("{kills} kills, seed {seed}: {messages} messages");
    assert!(messages > kills, "the scenario has to kill in the middle, not before the start");
}

/// For longer, with another seed each time: `KILLS=200 cargo test --workspace --test scenarios -- kills --nocapture`
#[test]
fn peers_and_a_server_that_are_killed_at_random_lose_and_double_nothing() {
    match std::env::var("KILLS") {
        Ok(kills) => kill(kills.parse().expect("KILLS is a number"), rand::random()),
        Err(_) => kill(12, 20_260_801),
    }
}
