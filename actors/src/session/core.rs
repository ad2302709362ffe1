//! The core of a peer's session: greeting, joining, messages in both directions, and what is handed back at the end.
//!
//! It takes frames, commands and the passing of time, and yields frames for the peer, commands for the Router and
//! questions. The socket, the thread, the clock and the randomness are in the shell; a simulation replaces them.

mod joining;
pub(super) mod questions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::card::Card;
use wire::frame::{BODY_BYTES_MAX, BODY_BYTES_MAX_BEFORE_JOIN, LENGTH_BYTES};
use wire::protocol::{ChannelBinding, ErrorCode, Greeting, Outcome, PING_NAMES_MAX, ToPeer, ToServer};
use wire::server_key::ServerKey;
use wire::share::ListedFile;

use super::buffers::{Incoming, Outgoing};
use super::ended::{Ended, blame, busy, explain, explain_limit, server_ends};
use super::flow::Flow;
use super::interface::{Effect, Input, Question, SearchFor};
use super::routes::Routes;
use super::runs;
use super::transmissions::Transmissions;
use super::untaken::Untaken;
use super::watch::{Terms, Watch};
use crate::commands::feed::FeedHandle;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::commands::router::{Member, MemberCommand};
use crate::commands::session::{Delivery, SessionCommand, SessionId};
use crate::runtime::{Core, Now};

/// How long a connection may take until it joins or names a transfer.
const GREETING_WAIT: Duration = Duration::from_secs(10);
/// With more unacknowledged memory than this, the session takes nothing from its mailbox. The mailbox then fills, and
/// further envelopes go to the store.
const UNTAKEN_BYTES_MAX: u64 = 4 << 20;
/// With more unsent bytes than this, the session does not read from the peer.
const OUTGOING_BYTES_MAX: usize = 4 << 20;
/// How long a `Routed` that reports relayed envelopes may wait for other output. Then both go with one system call, and wake
/// the peer once. Nobody waits for it, because a sender keeps each message until its receipt.
pub(super) const RELAYED_WAIT: Duration = Duration::from_millis(5);

#[derive(Debug)]
enum State {
    /// The peer must join or name a transfer by this time.
    Greeting(Instant),
    /// Admission and the Router have been asked. Contains the peer's proof, which the server signs in the Welcome.
    Joining(Box<Card>, Vec<u8>),
    /// The Router has accepted the peer, and the store is writing its card.
    Writing(Vec<u8>),
    Joined,
    /// No further input is handled.
    Ended,
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Asked {
    /// The peer's id for it.
    id: u32,
    /// Whether to report success to the peer. Of the parts of a publication, only the last one is confirmed.
    is_last: bool,
}

/// Consecutive envelopes that were relayed, which the peer has not been told yet.
#[derive(Debug)]
struct Relayed {
    first: u64,
    count: u64,
    /// When to tell it at the latest.
    due: Instant,
}

/// The session of a peer.
#[derive(Debug)]
pub struct Session {
    pub incoming: Incoming,
    pub outgoing: Outgoing,
    id: SessionId,
    key: Arc<ServerKey>,
    greeting: Greeting,
    binding: Option<ChannelBinding>,
    seen_at: IpAddr,
    state: State,
    name: Option<PeerName>,
    member: Option<Member>,
    /// How many envelopes the peer has sent.
    sent: u64,
    flow: Flow,
    routes: Routes,
    untaken: Untaken,
    transmissions: Option<Transmissions>,
    relayed: Option<Relayed>,
    asked: Option<Asked>,
    watch: Watch,
    counts: Arc<PeerCounts>,
    feed: Option<FeedHandle>,
}

impl Core for Session {
    type Command = Input;
    type Out = Vec<Effect>;

    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        if let Err((code, detail)) = self.take(now, input, out) {
            self.refuse(code, detail, out);
        }
        let is_due = self.relayed.as_ref().is_some_and(|relayed| relayed.due <= now.instant);
        if is_due || self.outgoing.bytes() > 0 {
            self.tell_relayed();
        }
        if self.flow.settle(now.instant) {
            self.counts.count(Limit::MailRate);
        }
        self.watch.look(now.instant, &self.outgoing, &self.untaken);
    }
}

impl Session {
    /// Creates a session and queues its `Hello`. `already` was received after the preface; the nonce must be random and
    /// used for this session only. `binding` is that of the TLS connection.
    pub fn new(
        terms: Terms,
        id: SessionId,
        key: Arc<ServerKey>,
        (greeting, binding): (Greeting, Option<ChannelBinding>),
        seen_at: IpAddr,
        already: &[u8],
        now: Now,
    ) -> Self {
        let mut outgoing = Outgoing::default();
        outgoing.push_message(&ToPeer::Hello(greeting));
        Self {
            incoming: Incoming::new(already),
            outgoing,
            id,
            key,
            greeting,
            binding,
            seen_at: seen_at.to_canonical(),
            state: State::Greeting(now.instant + GREETING_WAIT),
            name: None,
            member: None,
            sent: 0,
            flow: Flow::new(terms.mail_rate),
            routes: Routes::default(),
            watch: Watch::new(&terms),
            counts: terms.counts,
            feed: terms.feed,
            untaken: Untaken::default(),
            transmissions: None,
            relayed: None,
            asked: None,
        }
    }

    /// The memory that it uses, in bytes. Unsent bytes are mostly unacknowledged envelopes, so only the larger of the
    /// two counts.
    pub fn held_bytes(&self) -> u64 {
        self.incoming.capacity() as u64 + self.untaken.cost().max(self.outgoing.bytes() as u64)
    }

    /// Ends the session because the memory budget of all sessions is exceeded.
    pub fn give_up(&mut self, out: &mut Vec<Effect>) {
        self.counts.count(Limit::SessionMemory);
        let detail = "the server has no memory left for your connection (--session-memory); read and acknowledge faster";
        self.refuse(ErrorCode::Busy, detail.into(), out);
    }

    /// The address from which the peer is connected. It decides which addresses the peer may learn, and is where the
    /// peer is called back.
    pub fn seen_at(&self) -> IpAddr {
        self.seen_at
    }

    /// The Router's id for the session, once it has joined.
    pub fn member(&self) -> Option<Member> {
        self.member
    }

    /// Whether the peer has been welcomed.
    pub(super) fn has_joined(&self) -> bool {
        matches!(self.state, State::Joined)
    }

    /// Whether to read from the peer: no question is open, the peer reads what is sent to it, and the limits of
    /// `Flow` allow it.
    pub fn may_read(&self) -> bool {
        self.asked.is_none() && self.outgoing.bytes() < OUTGOING_BYTES_MAX && self.flow.may_read()
    }

    /// Whether to take commands from the mailbox.
    pub fn has_room(&self) -> bool {
        self.untaken.cost() < UNTAKEN_BYTES_MAX && self.outgoing.bytes() < OUTGOING_BYTES_MAX
    }

    /// When the next [`Input::Tick`] is needed.
    pub fn deadline(&self) -> Option<Instant> {
        let greeting = match self.state {
            State::Greeting(until) => Some(until),
            _ => None,
        };
        let watched = self.watch.due().map(|(due, _)| due);
        let relayed = self.relayed.as_ref().map(|relayed| relayed.due);
        let dues = [greeting, watched, self.flow.due(), relayed];
        dues.into_iter().flatten().min()
    }

    /// The peer's name, once it has joined.
    pub fn name(&self) -> Option<&PeerName> {
        self.name.as_ref()
    }

    /// Handles a command from the Router after the connection has ended.
    pub fn hear(&mut self, now: Now, command: SessionCommand) {
        self.command(now.instant, command);
    }

    /// Whether the log still lacks the outcome of an envelope.
    pub fn has_open_transmissions(&self) -> bool {
        self.transmissions.as_ref().is_some_and(|open| !open.is_empty())
    }

    /// Returns the envelopes to hand back to the Router: those that the peer has not acknowledged, and those in `rest`,
    /// the contents of the mailbox.
    pub fn part(&mut self, rest: impl IntoIterator<Item = SessionCommand>) -> Vec<Delivery> {
        let mut untaken: Vec<Delivery> = std::mem::take(&mut self.untaken).into_rest().collect();
        for command in rest {
            match command {
                SessionCommand::Deliver(delivery) => untaken.push(*delivery),
                SessionCommand::Routed { first, count, outcome } => {
                    if let Some(transmissions) = &mut self.transmissions {
                        transmissions.routed(first, count, outcome);
                    }
                }
                SessionCommand::Card(_)
                | SessionCommand::Unknown(_)
                | SessionCommand::Unwatched(..)
                | SessionCommand::Route(..)
                | SessionCommand::Pong { .. } => {}
            }
        }
        untaken
    }

    fn take(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) -> Result<(), Ended> {
        match (input, &self.state) {
            (_, State::Ended) => Ok(()),
            (Input::Received(count), _) => {
                self.incoming.fill(count);
                self.take_frames(now, out)
            }
            (Input::Closed { is_stopping: true }, State::Joined) => Err(server_ends()),
            (Input::Closed { .. }, _) => {
                self.tell_relayed();
                self.end(false, out);
                Ok(())
            }
            (Input::Invited(proof), State::Joining(..)) => {
                self.outgoing.push_message(&ToPeer::Invited { proof });
                Ok(())
            }
            (Input::Joined(answer), State::Joining(..)) => self.joined(answer),
            (Input::CardWritten(true), State::Writing(_)) => self.welcome(now, out),
            (Input::CardWritten(false), State::Writing(_)) => {
                Err(busy("the server could not write your card to its disk; tell its administrator"))
            }
            (Input::Command(command), _) => {
                self.command(now.instant, command);
                Ok(())
            }
            (Input::Delivered(delivery, written), _) => {
                self.delivered(*delivery, written);
                Ok(())
            }
            (Input::HasRoom, _) => {
                out.push(Effect::Tell(MemberCommand::Drained));
                Ok(())
            }
            (Input::Released(reason), _) => Err(explain(reason)),
            (Input::Answered(answer), _) => {
                self.answered(answer);
                self.take_frames(now, out)
            }
            (Input::Called(address), _) => {
                if let Some(address) = address {
                    out.push(Effect::Tell(MemberCommand::Reachable(address)));
                }
                self.outgoing.push_message(&ToPeer::Reachable { address });
                Ok(())
            }
            (Input::Tick, State::Greeting(until)) if *until <= now.instant => {
                Err((ErrorCode::TimedOut, "you did not join in time".into()))
            }
            (Input::Written, _) => self.take_frames(now, out),
            (Input::Tick, _) => {
                self.watch.due().filter(|(due, _)| *due <= now.instant).map_or(Ok(()), |(_, limit)| {
                    self.counts.count(limit);
                    Err((ErrorCode::TimedOut, explain_limit(limit).into()))
                })
            }
            (Input::Invited(_) | Input::Joined(_) | Input::CardWritten(_), _) => Ok(()),
        }
    }

    /// Sends the peer an error and ends the session.
    fn refuse(&mut self, code: ErrorCode, detail: String, out: &mut Vec<Effect>) {
        tracing::info!(target: "session", ?code, detail, "refused");
        self.tell_relayed();
        self.outgoing.push_message(&ToPeer::Error { code, detail });
        self.end(true, out);
    }

    fn end(&mut self, is_refused: bool, out: &mut Vec<Effect>) {
        self.state = State::Ended;
        out.push(Effect::End { is_refused });
    }

    /// Handles all complete frames. It stops at one whose answer comes from another actor.
    fn take_frames(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), Ended> {
        loop {
            match self.state {
                State::Greeting(_) => {
                    let Some(frame) = self.next_frame(BODY_BYTES_MAX_BEFORE_JOIN)? else { return Ok(()) };
                    self.first_message(now, &decode(&frame)?, out)?;
                }
                // One read can contain thousands of questions, and each answer can be long. So the output is checked
                // before each frame.
                State::Joined if self.asked.is_none() && self.outgoing.bytes() < OUTGOING_BYTES_MAX => {
                    if self.take_envelopes(now, out)? {
                        continue;
                    }
                    let Some(frame) = self.next_frame(BODY_BYTES_MAX)? else { return Ok(()) };
                    self.message(decode(&frame)?, out)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn next_frame(&mut self, body_bytes_max: usize) -> Result<Option<bytes::Bytes>, Ended> {
        let body = self.incoming.first_frame(body_bytes_max).map_err(blame)?;
        let used = body.map(|body| body.len() + LENGTH_BYTES);
        Ok(used.map(|used| self.incoming.split(used)))
    }

    /// Delivers the envelopes at the start of the buffer, or sends them to the Router in one command. Returns whether there
    /// were any.
    fn take_envelopes(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<bool, Ended> {
        let (Some(name), Some(member)) = (&self.name, self.member) else { return Ok(false) };
        let runs = runs::take(&mut self.incoming, name, &mut self.sent, self.transmissions.as_mut())?;
        let are_any = !runs.is_empty();
        let mut routed = Vec::new();
        for run in runs {
            let (first, count) = (run.first, run.frames.count());
            match self.routes.deliver(run, member, &mut self.flow) {
                Ok(()) => self.tell_outcome(now.instant, first, count, Outcome::Relayed),
                Err(run) => {
                    self.flow.sent(first, count, run.frames.bytes.len() as u64);
                    routed.push(run);
                }
            }
        }
        if !routed.is_empty() {
            out.push(Effect::Tell(MemberCommand::Route(routed)));
        }
        Ok(are_any)
    }

    /// Tells the peer the outcome of its envelopes, a little later if they were relayed.
    fn tell_outcome(&mut self, now: Instant, first: u64, count: u64, outcome: Outcome) {
        if let Some(transmissions) = &mut self.transmissions {
            transmissions.routed(first, count, outcome);
        }
        match &mut self.relayed {
            _ if outcome != Outcome::Relayed => {
                self.tell_relayed();
                self.outgoing.push_message(&ToPeer::Routed { first, count, outcome });
            }
            Some(relayed) if relayed.first + relayed.count == first => relayed.count += count,
            _ => {
                self.tell_relayed();
                self.relayed = Some(Relayed { first, count, due: now + RELAYED_WAIT });
            }
        }
    }

    fn tell_relayed(&mut self) {
        if let Some(Relayed { first, count, .. }) = self.relayed.take() {
            self.outgoing.push_message(&ToPeer::Routed { first, count, outcome: Outcome::Relayed });
        }
    }

    fn message(&mut self, message: ToServer<'_>, out: &mut Vec<Effect>) -> Result<(), Ended> {
        match message {
            ToServer::Taken { count } => self.taken(count, out)?,
            ToServer::Lookup { name } => out.push(Effect::Tell(MemberCommand::Lookup(name))),
            ToServer::Ping { names, .. } if names.len() > PING_NAMES_MAX => {
                let detail = format!("a ping has at most {PING_NAMES_MAX} names, this one {}", names.len());
                return Err((ErrorCode::Malformed, detail));
            }
            ToServer::Ping { id, names } => {
                out.push(Effect::Tell(MemberCommand::Ping { id, names }));
            }
            // `Failed` refers to a publication as id 0 (PROTOCOL.md).
            ToServer::Publish { part, last, files } => {
                let files = files.into_iter().map(ListedFile::from).collect();
                self.ask(0, last, Question::Publish { part, last, files }, out);
            }
            ToServer::PublishLimited { part, last, files } => {
                self.ask(0, last, Question::Publish { part, last, files }, out);
            }
            ToServer::Change(difference) => self.ask(0, true, Question::Change(difference.into()), out),
            ToServer::ChangeLimited(difference) => self.ask(0, true, Question::Change(difference), out),
            ToServer::Search { id, query, limit } => {
                self.ask(id, true, Question::Search(id, SearchFor::Query(query, limit)), out);
            }
            ToServer::Find { id, text, skip, limit } => self.find(id, &text, (skip, limit), out),
            ToServer::Who { id } => self.ask(id, true, Question::Who, out),
            ToServer::Listening { port } => out.push(Effect::Call(port)),
            ToServer::CalledBack { echo } => out.push(Effect::Heard(echo)),
            ToServer::Join { .. } | ToServer::JoinInvited { .. } | ToServer::Splice { .. } => {
                let detail = "you have joined already; use another connection";
                return Err((ErrorCode::OutOfPlace, detail.into()));
            }
            ToServer::Envelope(_) => unreachable!("envelopes are taken before other messages are looked at"),
        }
        Ok(())
    }

    fn taken(&mut self, count: u64, out: &mut Vec<Effect>) -> Result<(), Ended> {
        let taken = self.untaken.take(count).map_err(|_| {
            (ErrorCode::Malformed, format!("Taken {count} is more than was sent, or less than before"))
        })?;
        let stored = taken.stored_before.map(MemberCommand::Taken);
        let elsewhere = taken.elsewhere_before.map(MemberCommand::TakenElsewhere);
        out.extend(stored.into_iter().chain(elsewhere).map(Effect::Tell));
        Ok(())
    }

    /// Writes envelopes to the peer, except for the first bytes, which are written already.
    fn delivered(&mut self, delivery: Delivery, written: usize) {
        let rest = delivery.frames.bytes.slice(written..);
        if !rest.is_empty() {
            self.outgoing.push(rest);
        }
        self.untaken.delivered(delivery);
    }

    fn command(&mut self, now: Instant, command: SessionCommand) {
        match command {
            SessionCommand::Deliver(delivery) => self.delivered(*delivery, 0),
            SessionCommand::Routed { first, count, outcome } => {
                self.flow.heard(now, first, count, outcome);
                self.tell_outcome(now, first, count, outcome);
            }
            SessionCommand::Card(card) => self.outgoing.push_message(&ToPeer::Card { card: card.to_vec() }),
            SessionCommand::Unknown(name) => self.outgoing.push_message(&ToPeer::Unknown { name }),
            SessionCommand::Pong { id, present } => {
                self.outgoing.push_message(&ToPeer::Pong { id, present });
            }
            SessionCommand::Unwatched(name, reason) => {
                self.outgoing.push_message(&ToPeer::Unwatched { name, reason });
            }
            SessionCommand::Route(route) => self.routes.learn(&route.0, route.1),
        }
    }
}

fn decode(frame: &[u8]) -> Result<ToServer<'_>, Ended> {
    ToServer::decode(&frame[LENGTH_BYTES..]).map_err(blame)
}
