//! The server: the real Router over a model of the store, and a session for each connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use actors::commands::router::{Command, Member, MemberCommand, PresencePort, Run, TakenStored};
use actors::commands::session::SessionCommand;
use actors::commands::store::Frames;
use actors::router::Router;
use actors::runtime::{Core as _, NoAnswer, Now, reply};
use bytes::Bytes;
use rand::{Rng as _, RngExt as _};
use wire::PeerName;
use wire::card::Card;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::keys::Purpose;
use wire::protocol::{
    Envelope, ErrorCode, Outcome, Refusal, ToPeer, ToServer, decode_envelope, join_proof_text,
};

use super::SERVER;
use super::network::{End, LinkId};
use super::session::{MailboxPort, Session, Stage};
use super::store::{ServerDisk, Waiting};
use super::world::{Event, Fault, World};

/// Beyond this many bytes that a peer has not read, nothing more is written to its connection.
const SOCKET_BYTES_MAX: usize = 16 << 10;
/// How often the Router tries again what the store had no room for.
const CATCH_UP_EVERY: Duration = Duration::from_millis(5);

/// Nobody searches for files here.
pub(super) struct NoIndex;

impl PresencePort for NoIndex {
    fn presence(&mut self, _: &PeerName, _: bool, _: Option<SocketAddr>) {}

    fn catch_up(&mut self) -> bool {
        true
    }
}

/// The process of the server while it runs.
pub(super) struct Process {
    router: SimulatedRouter,
    waiting: Waiting,
    is_committing: bool,
    is_catching_up: bool,
    sessions: BTreeMap<LinkId, Session>,
}

/// The server, whether it runs or not.
#[derive(Default)]
pub(super) struct Server {
    pub(super) disk: ServerDisk,
    pub(super) process: Option<Process>,
    /// How often it was started.
    pub(super) life: u64,
}

type SimulatedRouter = Router<MailboxPort, Waiting, NoIndex>;

fn tell(router: &mut SimulatedRouter, now: Now, command: Command<MailboxPort>) {
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
        let router = Router::new(self.server.disk.inventory(), waiting.clone(), NoIndex);
        self.server.process = Some(Process {
            router,
            waiting,
            is_committing: false,
            is_catching_up: false,
            sessions: BTreeMap::new(),
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
        for link in process.sessions.into_keys() {
            self.end_link(link, End::Server);
        }
    }

    /// A connection has been accepted.
    pub(super) fn accepted(&mut self, link: LinkId) {
        let mut nonce = [0; 32];
        self.dice.fill_bytes(&mut nonce);
        let Some(process) = &mut self.server.process else {
            return self.end_link(link, End::Server);
        };
        let mut session = Session::new(link, nonce);
        session.outgoing.push_back(frame::frame(&ToPeer::Hello { nonce, server: SERVER }));
        process.sessions.insert(link, session);
        self.serve();
    }

    /// Bytes of a peer have arrived.
    pub(super) fn server_reads(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(session) = self.session(link) else { return };
        session.buffer.extend_from_slice(bytes);
        while let Some(session) = self.session(link) {
            let Ok(Some(body)) = frame::split(&session.buffer, BODY_BYTES_MAX) else {
                break;
            };
            let length = LENGTH_BYTES + body.len();
            let whole: Vec<u8> = session.buffer.drain(..length).collect();
            self.server_takes(link, &whole.into());
        }
        self.serve();
    }

    fn session(&mut self, link: LinkId) -> Option<&mut Session> {
        self.server.process.as_mut()?.sessions.get_mut(&link)
    }

    fn server_takes(&mut self, link: LinkId, frame: &Bytes) {
        let body = &frame[LENGTH_BYTES..];
        if let Some(Ok(envelope)) = decode_envelope(body) {
            return self.route(link, &envelope, frame);
        }
        let now = self.router_now();
        let Some(process) = &mut self.server.process else { return };
        let Some(session) = process.sessions.get_mut(&link) else { return };
        match ToServer::decode(body).expect("the engine speaks the protocol") {
            ToServer::Join { card, proof } => self.join(link, &card, &proof),
            ToServer::Taken { count } => {
                let by = session.member().expect("only peers that have joined take mail");
                if let Some((before, envelopes, bytes)) = session.take(count) {
                    tell(
                        &mut process.router,
                        now,
                        Command::From(by, MemberCommand::Taken(TakenStored { before, envelopes, bytes })),
                    );
                }
            }
            ToServer::Lookup { name } => {
                let by = session.member().expect("only peers that have joined ask for cards");
                tell(&mut process.router, now, Command::From(by, MemberCommand::Lookup(name)));
            }
            other => panic!("no simulated peer sends {other:?}"),
        }
    }

    fn join(&mut self, link: LinkId, card: &[u8], proof: &[u8]) {
        let now = self.router_now();
        let Some(process) = &mut self.server.process else { return };
        let Some(session) = process.sessions.get_mut(&link) else { return };
        let Stage::Greeted { nonce } = session.stage else {
            panic!("a peer joins twice");
        };
        let card = Card::from_bytes(card).expect("the card is good");
        let text = join_proof_text(&nonce, &SERVER, card.as_bytes());
        card.identity.verify(Purpose::Join, &text, proof).expect("the proof is good");
        let (name, port) = (card.name.clone(), session.mailbox.clone());
        let (reply, joined) = reply();
        tell(
            &mut process.router,
            now,
            Command::Join { session: session.id, card: Box::new(card), port, reply },
        );
        match joined.wait_once(Duration::ZERO).expect("the Router answers at once") {
            Ok(joined) => {
                let member = Member { peer: joined.peer, session: session.id };
                match joined.written {
                    Some(written) => session.stage = Stage::Joining { member, name, written },
                    None => session.welcome(member, name),
                }
            }
            Err(refused) => {
                let detail = format!("{refused:?}");
                session.outgoing.push_back(frame::frame(&ToPeer::Error { code: ErrorCode::Busy, detail }));
                self.close_session(link);
            }
        }
    }

    fn route(&mut self, link: LinkId, envelope: &Envelope<'_>, frame: &Bytes) {
        let fault = self.fault.filter(|_| self.dice.random_range(0..8) == 0);
        let now = self.router_now();
        let Some(process) = &mut self.server.process else { return };
        let Some(session) = process.sessions.get_mut(&link) else { return };
        let first = session.sent;
        session.sent += 1;
        let from = session.member().expect("only peers that have joined send");
        let lengths = vec![u32::try_from(frame.len()).expect("frames are short")];
        let run = Run {
            to: envelope.to.parse().expect("the engine sends to names"),
            kept: envelope.kind.is_kept(),
            first,
            frames: Frames { lengths, bytes: frame.clone() },
        };
        let mut say =
            |outcome| session.outgoing.push_back(frame::frame(&ToPeer::Routed { first, count: 1, outcome }));
        let runs = match fault {
            None => vec![run],
            Some(Fault::Doubles) => vec![run.clone(), run],
            Some(Fault::Swallows) => return say(Outcome::Relayed),
            Some(Fault::IsBusy) => return say(Outcome::Refused(Refusal::Busy)),
        };
        tell(&mut process.router, now, Command::From(from, MemberCommand::Route(runs)));
    }

    /// Lets all sessions do what they can, and the store commit what waits.
    pub(super) fn serve(&mut self) {
        let mut again = true;
        while std::mem::take(&mut again) {
            let links: Vec<LinkId> =
                self.server.process.iter().flat_map(|process| process.sessions.keys().copied()).collect();
            for link in links {
                again |= self.serve_one(link);
            }
        }
        self.start_commit();
    }

    /// True if it has changed anything for others.
    fn serve_one(&mut self, link: LinkId) -> bool {
        let now = self.router_now();
        let mut has_changed = false;
        let Some(process) = &mut self.server.process else { return false };
        let Some(session) = process.sessions.get_mut(&link) else { return false };
        let joining = match &session.stage {
            Stage::Joining { member, name, written } => {
                Some((*member, name.clone(), written.wait_once(Duration::ZERO)))
            }
            _ => None,
        };
        match joining {
            Some((member, name, Ok(()))) => session.welcome(member, name),
            Some((.., Err(NoAnswer::Dropped))) => {
                let detail = "the card could not be written".into();
                let error = ToPeer::Error { code: ErrorCode::Busy, detail };
                session.outgoing.push_back(frame::frame(&error));
                self.close_session(link);
                return true;
            }
            _ => {}
        }
        self.flush(link);
        while let Some(session) = self.session(link) {
            if !matches!(session.stage, Stage::Joined { .. }) || !session.has_room() {
                break;
            }
            let Some(command) = session.mailbox.next() else {
                let member = session.member().filter(|_| session.mailbox.take_was_full());
                if let (Some(member), Some(process)) = (member, &mut self.server.process) {
                    tell(&mut process.router, now, Command::From(member, MemberCommand::Drained));
                    has_changed = true;
                    continue;
                }
                break;
            };
            session.carry_out(command);
            self.flush(link);
        }
        if self.session(link).is_some_and(|session| session.mailbox.closed().is_some()) {
            self.close_session(link);
            return true;
        }
        has_changed
    }

    /// Writes to the connection what it has room for.
    fn flush(&mut self, link: LinkId) {
        loop {
            if self.net.links.get(&link).is_some_and(|link| link.unread > SOCKET_BYTES_MAX) {
                return;
            }
            let Some(bytes) = self.session(link).and_then(|session| session.outgoing.pop_front()) else {
                return;
            };
            if let Some(link) = self.net.links.get_mut(&link) {
                link.unread += bytes.len();
            }
            self.transmit(link, End::Peer, bytes);
        }
    }

    /// The server closes a connection, or notices that it is gone: the session leaves and hands back what was not taken.
    pub(super) fn close_session(&mut self, link: LinkId) {
        self.flush(link);
        let now = self.router_now();
        if let Some(process) = &mut self.server.process
            && let Some(session) = process.sessions.remove(&link)
            && let Some(from) = session.member()
        {
            tell(&mut process.router, now, Command::From(from, MemberCommand::Leave));
            tell(&mut process.router, now, Command::From(from, MemberCommand::HandBack(session.into_rest())));
        }
        self.end_link(link, End::Server);
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

impl Session {
    fn welcome(&mut self, member: Member, name: PeerName) {
        self.stage = Stage::Joined { member };
        self.outgoing.push_back(frame::frame(&ToPeer::Welcome { name }));
    }

    fn carry_out(&mut self, command: SessionCommand) {
        let message = match command {
            SessionCommand::Deliver(delivery) => return self.deliver(&delivery),
            SessionCommand::Routed { first, count, outcome } => ToPeer::Routed { first, count, outcome },
            SessionCommand::Card(card) => ToPeer::Card { card: card.to_vec() },
            SessionCommand::Unknown(name) => ToPeer::Unknown { name },
        };
        self.outgoing.push_back(frame::frame(&message));
    }
}
