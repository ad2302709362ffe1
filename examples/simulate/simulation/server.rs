//! The server: the real Router and the real sessions, over a model of the store.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actors::commands::network::Network;
use actors::commands::router::{Command, Member, MemberCommand, PeerKey, PresencePort, Run};
use actors::commands::session::{Delivery, SessionCommand, SessionId};
use actors::config::PeerLimits;
use actors::router::Router;
use actors::runtime::{Core as _, NoAnswer, Now, reply};
use actors::session::{Effect, Input, Question, Session, Terms};
use rand::{Rng as _, RngExt as _};
use wire::PeerName;
use wire::card::Card;
use wire::protocol::{Greeting, Outcome, Refusal};
use wire::server_key::ServerKey;

use super::SERVER;
use super::network::{End, LinkId};
use super::session::Connection;
use super::store::{ServerDisk, Waiting};
use super::world::{Event, Fault, World};

/// Beyond this many bytes that a peer has not read, nothing more is written to its connection.
const SOCKET_BYTES_MAX: usize = 16 << 10;
/// How often the Router tries again what the store had no room for.
const CATCH_UP_EVERY: Duration = Duration::from_millis(5);

/// Nobody searches for files here.
pub(super) struct NoIndex;

impl PresencePort for NoIndex {
    fn presence(&mut self, _: &PeerName, _: SessionId, _: bool, _: Option<SocketAddr>) {}

    fn catch_up(&mut self) -> bool {
        true
    }
}

/// The process of the server while it runs.
pub(super) struct Process {
    router: SimulatedRouter,
    /// What sessions have sent to the Router and it has not handled yet.
    commands: VecDeque<Command>,
    /// The Router's thread will run later.
    is_behind: bool,
    /// The peers of sessions that have left and have not handed back their envelopes yet.
    parting: Vec<PeerKey>,
    waiting: Waiting,
    is_committing: bool,
    is_catching_up: bool,
    connections: BTreeMap<LinkId, Connection>,
}

/// The server, whether it runs or not.
#[derive(Default)]
pub(super) struct Server {
    pub(super) disk: ServerDisk,
    pub(super) process: Option<Process>,
    /// How often it was started.
    pub(super) life: u64,
}

type SimulatedRouter = Router<Waiting, NoIndex>;

fn tell(router: &mut SimulatedRouter, now: Now, command: Command) {
    router.handle(now, command, &mut ());
}

impl World {
    /// The time, as the server's actors are told.
    fn router_now(&self) -> Now {
        let now = self.schedule.now();
        Now { instant: now.instant, time: UNIX_EPOCH + Duration::from_secs(now.unix) }
    }

    pub(super) fn start_server(&mut self) {
        if self.server.process.is_some() {
            return;
        }
        self.trace(|| "the server starts".into());
        self.server.life += 1;
        let waiting = Waiting::default();
        let router =
            Router::new(PeerLimits::default(), self.server.disk.inventory(), waiting.clone(), NoIndex);
        self.server.process = Some(Process {
            router,
            commands: VecDeque::new(),
            is_behind: false,
            parting: Vec::new(),
            waiting,
            is_committing: false,
            is_catching_up: false,
            connections: BTreeMap::new(),
        });
    }

    /// The process of the server is killed. What it has committed stays, even if it has not said so yet.
    pub(super) fn crash_server(&mut self) {
        let Some(process) = self.server.process.take() else {
            return;
        };
        let commits = process.is_committing && self.dice.random();
        self.trace(|| format!("the server crashes; a commit that is under way is kept: {commits}"));
        if commits {
            let batch = process.waiting.0.take();
            self.server.disk.commit(batch.into());
        }
        for link in process.connections.into_keys() {
            self.end_link(link, End::Server);
        }
    }

    /// A connection has been accepted.
    pub(super) fn accepted(&mut self, link: LinkId) {
        let mut nonce = [0; 32];
        self.dice.fill_bytes(&mut nonce);
        let now = self.router_now();
        let Some(process) = &mut self.server.process else {
            return self.end_link(link, End::Server);
        };
        let terms = Terms::of(&PeerLimits::default(), process.router.counts());
        let key = Arc::new(ServerKey::from_seed(&[7; 32]));
        let greeting = Greeting { nonce, server: SERVER, key: key.public() };
        let session = Session::new(terms, link, key, (greeting, None), Ipv4Addr::LOCALHOST.into(), &[], now);
        process.connections.insert(link, Connection::new(session));
        self.serve();
    }

    /// Bytes of a peer have arrived.
    pub(super) fn server_reads(&mut self, link: LinkId, mut bytes: &[u8]) {
        while let Some(connection) = self.connection(link).filter(|_| !bytes.is_empty()) {
            let room = connection.session.incoming.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.session_takes(link, Input::Received(count));
        }
        self.serve();
    }

    fn connection(&mut self, link: LinkId) -> Option<&mut Connection> {
        self.server.process.as_mut()?.connections.get_mut(&link)
    }

    /// Gives the session of a connection an input, and carries out what comes of it.
    fn session_takes(&mut self, link: LinkId, input: Input) {
        let now = self.router_now();
        let Some(connection) = self.connection(link) else { return };
        let mut effects = Vec::new();
        connection.session.handle(now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Join(card, _) => self.join(link, card),
                Effect::Tell(MemberCommand::Route(runs)) => self.route(link, runs),
                Effect::Tell(command) => self.tell_router(link, command),
                Effect::End { .. } => self.close_session(link),
                // A peer looks for near names. It does without an answer.
                Effect::Ask(Question::Who) => self.session_takes(link, Input::Answered(None)),
                other => panic!("no simulated peer leads to {other:?}"),
            }
        }
    }

    /// Sends the Router a command, which it sometimes handles only later.
    fn tell_router(&mut self, link: LinkId, command: MemberCommand) {
        let Some(process) = &mut self.server.process else { return };
        let Some(member) = process.connections.get(&link).and_then(|c| c.session.member()) else { return };
        process.commands.push_back(Command::From(member, command));
        if process.is_behind {
            return;
        }
        if self.dice.random_range(0..4) == 0 {
            process.is_behind = true;
            let wait = Duration::from_micros(self.dice.random_range(0..3_000));
            self.schedule.after(wait, Event::RouterRuns { life: self.server.life });
        } else {
            self.run_router();
        }
    }

    /// The Router handles all that it has been sent.
    fn run_router(&mut self) {
        let now = self.router_now();
        let Some(process) = &mut self.server.process else { return };
        for command in process.commands.drain(..) {
            tell(&mut process.router, now, command);
        }
    }

    pub(super) fn router_runs(&mut self, life: u64) {
        if let Some(process) = self.server.process.as_mut().filter(|_| life == self.server.life) {
            process.is_behind = false;
            self.run_router();
            self.serve();
        }
    }

    fn join(&mut self, link: LinkId, card: Box<Card>) {
        self.run_router();
        let now = self.router_now();
        let Some(process) = &mut self.server.process else { return };
        let Some(connection) = process.connections.get_mut(&link) else { return };
        let (reply, joined) = reply();
        let port = connection.mailbox.clone();
        let network = Network::of(Ipv4Addr::LOCALHOST.into());
        tell(
            &mut process.router,
            now,
            Command::Join { session: link, card, network, token: [0; 32], port, reply },
        );
        match joined.wait(Duration::ZERO).expect("the Router answers at once") {
            Ok(joined) => {
                let is_written = joined.written.is_none();
                connection.written = joined.written;
                self.session_takes(link, Input::Joined(Some(Ok(joined.peer))));
                if is_written {
                    self.session_takes(link, Input::CardWritten(true));
                }
            }
            Err(refused) => self.session_takes(link, Input::Joined(Some(Err(refused)))),
        }
    }

    /// The fault of this server, if it shows now.
    fn misbehaves(&mut self) -> Option<Fault> {
        self.fault.filter(|_| self.dice.random_range(0..8) == 0)
    }

    /// Gives a session a command of the Router, unless the server misbehaves.
    fn session_hears(&mut self, link: LinkId, command: SessionCommand) {
        if let SessionCommand::Deliver(delivery) = &command
            && self.connection(link).is_some_and(|connection| !connection.is_in_order(delivery))
        {
            self.fail(|| format!("envelope {} overtook others of its sender", delivery.origin.first));
        }
        if matches!(command, SessionCommand::Deliver(_)) && self.is_parting(link) {
            self.fail(|| {
                "a session got envelopes before an earlier one of its peer had handed back its own".into()
            });
        }
        let is_dropped = match self.misbehaves() {
            Some(Fault::KeepsQuiet) => matches!(command, SessionCommand::Routed { .. }),
            Some(Fault::HidesCards) => {
                matches!(command, SessionCommand::Card(_) | SessionCommand::Unknown(_))
            }
            Some(Fault::SendsGarbage) => {
                self.flush(link);
                // With room left, everything before it was whole frames.
                if self.has_socket_room(link) {
                    self.transmit(link, End::Peer, vec![2, 0, 0, 0, 250, 1]);
                }
                false
            }
            _ => false,
        };
        if is_dropped {
            return;
        }
        let input = match command {
            SessionCommand::Deliver(delivery) if self.is_written_directly(link, &delivery) => {
                let count = self.dice.random_range(1..=delivery.frames.bytes.len());
                self.send(link, delivery.frames.bytes[..count].to_vec());
                Input::Delivered(delivery, count)
            }
            command => Input::Command(command),
        };
        self.session_takes(link, input);
    }

    /// Hands envelopes to the Router, unless the server misbehaves.
    fn route(&mut self, link: LinkId, runs: Vec<Run>) {
        let mut routed = Vec::new();
        for mut run in runs {
            let (first, count) = (run.first, run.frames.count());
            // All envelopes shall pass here while the server misbehaves.
            run.wants_route &= self.fault.is_none();
            let outcome = match self.misbehaves() {
                None | Some(Fault::KeepsQuiet | Fault::HidesCards | Fault::SendsGarbage) => None,
                Some(Fault::Alters) => {
                    routed.push(altered(run));
                    continue;
                }
                Some(Fault::Doubles) => {
                    routed.push(run.clone());
                    None
                }
                Some(Fault::Swallows) => Some(Outcome::Relayed),
                Some(Fault::Forgets) => Some(Outcome::Stored),
                Some(Fault::IsBusy) => Some(Outcome::Refused(Refusal::Busy)),
            };
            match outcome {
                None => routed.push(run),
                Some(outcome) => {
                    let command = SessionCommand::Routed { first, count, outcome };
                    self.session_takes(link, Input::Command(command));
                }
            }
        }
        self.tell_router(link, MemberCommand::Route(routed));
    }

    /// Lets all sessions do what they can, and the store commit what waits.
    pub(super) fn serve(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            let links: Vec<LinkId> =
                self.server.process.iter().flat_map(|process| process.connections.keys().copied()).collect();
            for link in links {
                again |= self.serve_one(link);
            }
        }
        self.start_commit();
    }

    /// True if it has changed anything for others.
    fn serve_one(&mut self, link: LinkId) -> bool {
        let Some(connection) = self.connection(link) else { return false };
        match connection.written.as_ref().map(|written| written.wait(Duration::ZERO)) {
            None | Some(Err(NoAnswer::TimedOut)) => {}
            Some(answer) => {
                connection.written = None;
                self.session_takes(link, Input::CardWritten(answer.is_ok()));
            }
        }
        self.session_takes(link, Input::Tick);
        self.flush(link);
        let mut has_changed = false;
        while self.has_socket_room(link)
            && let Some(connection) = self.connection(link)
            && connection.written.is_none()
            && connection.session.has_room()
        {
            if let Some(command) = connection.mailbox.next() {
                self.session_hears(link, command);
                self.flush(link);
            } else if connection.mailbox.take_was_full() {
                self.session_takes(link, Input::HasRoom);
                has_changed = true;
            } else {
                break;
            }
        }
        if let Some(reason) = self.connection(link).and_then(|connection| connection.mailbox.closed()) {
            self.session_takes(link, Input::Released(reason));
            has_changed = true;
        }
        has_changed
    }

    /// Whether the session of the sender has found this one waiting, and has written to its connection.
    fn is_written_directly(&mut self, link: LinkId, delivery: &Delivery) -> bool {
        let is_waiting =
            self.connection(link).is_some_and(|connection| connection.session.outgoing.bytes() == 0);
        is_waiting && !delivery.is_stored && self.has_socket_room(link) && self.dice.random_bool(0.5)
    }

    fn send(&mut self, link: LinkId, bytes: Vec<u8>) {
        if let Some(link) = self.net.links.get_mut(&link) {
            link.unread += bytes.len();
        }
        self.transmit(link, End::Peer, bytes);
    }

    fn has_socket_room(&self, link: LinkId) -> bool {
        self.net.links.get(&link).is_some_and(|link| link.unread <= SOCKET_BYTES_MAX)
    }

    /// Writes to the connection what it has room for.
    fn flush(&mut self, link: LinkId) {
        while self.has_socket_room(link) {
            let Some(connection) = self.connection(link) else { return };
            let outgoing = &mut connection.session.outgoing;
            let mut slices = [IoSlice::new(&[])];
            if outgoing.slices(&mut slices) == 0 {
                return;
            }
            let bytes = slices[0].to_vec();
            outgoing.advance(bytes.len());
            self.send(link, bytes);
            self.session_takes(link, Input::Written);
        }
    }

    /// The server closes a connection, or notices that it is gone: the session leaves and hands back what was not taken.
    pub(super) fn close_session(&mut self, link: LinkId) {
        self.flush(link);
        self.tell_router(link, MemberCommand::Leave);
        // The session takes from its mailbox until the Router closes it.
        self.run_router();
        if let Some(process) = &mut self.server.process
            && let Some(mut connection) = process.connections.remove(&link)
            && let Some(member) = connection.session.member()
        {
            let mailbox = connection.mailbox;
            let rest = connection.session.part(std::iter::from_fn(|| mailbox.next()));
            // Its thread may be slow, so a newer session of the peer can join before that.
            let wait = Duration::from_millis(self.dice.random_range(0..200));
            process.parting.push(member.peer);
            self.schedule.after(wait, Event::HandsBack { life: self.server.life, member, rest });
        }
        self.end_link(link, End::Server);
    }

    /// Whether an earlier session of the same peer has not handed back its envelopes.
    fn is_parting(&self, link: LinkId) -> bool {
        let Some(process) = &self.server.process else { return false };
        let member = process.connections.get(&link).and_then(|connection| connection.session.member());
        member.is_some_and(|member| process.parting.contains(&member.peer))
    }

    /// A session that has left hands back the envelopes that its peer has not taken.
    pub(super) fn hands_back(&mut self, life: u64, member: Member, rest: Vec<Delivery>) {
        if let Some(process) = self.server.process.as_mut().filter(|_| life == self.server.life) {
            if let Some(place) = process.parting.iter().position(|peer| *peer == member.peer) {
                process.parting.swap_remove(place);
            }
            process.commands.push_back(Command::From(member, MemberCommand::HandBack(rest)));
            self.run_router();
            self.serve();
        }
    }

    fn start_commit(&mut self) {
        let wait = Duration::from_millis(self.dice.random_range(2..50));
        let life = self.server.life;
        let Some(process) = &mut self.server.process else { return };
        if !process.is_committing && !process.waiting.0.borrow().is_empty() {
            process.is_committing = true;
            self.schedule.after(wait, Event::StoreCommits { life });
        }
        if !process.is_catching_up && !process.router.catch_up() {
            process.is_catching_up = true;
            self.schedule.after(CATCH_UP_EVERY, Event::CatchUp { life });
        }
    }

    /// A group commit of the store is done.
    pub(super) fn store_commits(&mut self, life: u64) {
        let now = self.router_now();
        let Some(process) = self.server.process.as_mut().filter(|_| life == self.server.life) else {
            return;
        };
        process.is_committing = false;
        let batch = process.waiting.0.take();
        for completion in self.server.disk.commit(batch.into()) {
            tell(&mut process.router, now, Command::Completed(completion));
        }
        self.serve();
    }

    pub(super) fn catch_up(&mut self, life: u64) {
        if let Some(process) = self.server.process.as_mut().filter(|_| life == self.server.life) {
            process.is_catching_up = false;
            self.serve();
        }
    }
}

/// A run of which the last byte is another one: it belongs to what is sealed.
fn altered(mut run: Run) -> Run {
    let mut bytes = run.frames.bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    run.frames.bytes = bytes.into();
    run
}
