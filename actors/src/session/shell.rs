//! The thread of a peer's session: one socket, one mailbox, one `poll(2)`.

mod asking;
mod joining;
mod waiting;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wire::frame::PREFACE;
use wire::protocol::{ChannelBinding, ErrorCode, Greeting, ToPeer, Token};

use super::buffers::Outgoing;
use super::callback::Callback;
use super::core::Session;
use super::interface::{Effect, Input};
use super::watch::Terms;
use super::{Services, splice};
use crate::commands::direct::DirectReader;
use crate::commands::memory::Held;
use crate::commands::network::Network;
use crate::commands::peer_counts::Limit;
use crate::commands::router::{Command, MemberCommand, SpliceEnd};
use crate::commands::session::{SessionCommand, SessionId, SessionMailbox};
use crate::handover::PeerJob;
use crate::runtime::{Core as _, Now};
use crate::transport::{Patience, Transport};
use asking::{Asked, Search};

/// How long to wait at the end for the outcome of the peer's last envelopes, which may need a commit of the store.
const OUTCOME_WAIT: Duration = Duration::from_secs(1);
/// How long a peer has to read the error before the connection is closed.
const LINGER_WAIT: Duration = Duration::from_secs(1);
/// The maximum number of reads that discard what it still sends: one frame of the largest size.
const LINGER_READS_MAX: usize = 256;
/// The pause before the Router retries a delivery that the memory budget had no room for.
const MEMORY_RETRY: Duration = Duration::from_millis(100);
/// The number of slices for one `writev(2)`.
const WRITE_SLICES_MAX: usize = 64;

/// How the loop ends.
enum Next {
    /// The connection ends.
    End { is_refused: bool },
    /// The connection is one end of a transfer.
    Splice(SpliceEnd),
}

/// A session with its socket and mailbox. Dropping it leaves the Router and hands back the unacknowledged envelopes,
/// even when the session panics.
struct SessionShell<'a> {
    services: &'a Services,
    session: Session,
    transport: &'a mut Transport,
    id: SessionId,
    /// The nonce of this connection, which only its peer knows. Other connections of the peer send it to prove whose
    /// they are.
    token: Token,
    /// The memory of the session and its mailbox.
    held: Held,
    /// The session's part of it, in bytes.
    counted: u64,
    /// When to tell the Router to retry a delivery that the memory budget had no room for.
    retry_at: Option<Instant>,
    /// Exists from the join on.
    mailbox: Option<SessionMailbox>,
    /// Lets the sessions of senders and the Index write; from the join on, if the connection is plain.
    direct: Option<DirectReader>,
    callback: Option<Callback>,
    /// A search to send when the session waits, because the Index answers on the connection then.
    to_search: Option<Search>,
    /// One that was sent.
    asked: Option<Asked>,
    effects: Vec<Effect>,
    /// The input that results from the last effect.
    following: Option<Input>,
}

/// Serves a peer until it leaves, or one end of a transfer until the transfer ends.
///
/// # Errors
/// Those of the socket.
pub(super) fn serve(job: PeerJob, services: &Services) -> io::Result<()> {
    let PeerJob { id, mut transport, address, read, place: _place } = job;
    transport.socket().set_nonblocking(true)?;
    let binding = match transport.channel_binding() {
        Ok(binding) => binding,
        Err(why) => return refuse(&mut transport, ErrorCode::BadProof, why),
    };
    let mut shell = prepare((id, address), binding, &read, &mut transport, services);
    drop(read);
    let next = match shell.run() {
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            return Ok(());
        }
        // The client has broken TLS or the WebSocket protocol.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            shell.transport.notify_end();
            return Err(e);
        }
        next => next?,
    };
    match next {
        Next::End { is_refused: false } => {
            // Fails if the peer has ended both directions.
            let _ = shell.flush();
            shell.transport.notify_end();
            Ok(())
        }
        Next::End { is_refused: true } => linger(shell.transport, &mut shell.session.outgoing),
        Next::Splice(end) => {
            drop(shell);
            splice::serve(transport, end, services)
        }
    }
}

/// Makes the session of a connection, not on the stack and not inlined: a thread keeps each page of its stack that it has used, and
/// most sessions wait most of the time.
#[inline(never)]
fn prepare<'a>(
    (id, address): (SessionId, SocketAddr),
    binding: Option<ChannelBinding>,
    read: &[u8],
    transport: &'a mut Transport,
    services: &'a Services,
) -> Box<SessionShell<'a>> {
    let already = read.strip_prefix(&PREFACE).unwrap_or(read);
    let nonce = rand::random();
    let greeting = Greeting { nonce, server: services.router.server, key: services.key.public() };
    let held = services.memory.account(Network::of(address.ip()));
    let session = Session::new(
        Terms { feed: services.feed.clone(), ..Terms::of(&services.limits, &services.router.counts) },
        id,
        Arc::clone(&services.key),
        (greeting, binding),
        address.ip(),
        already,
        Now::read(),
    );
    Box::new(SessionShell {
        services,
        session,
        transport,
        id,
        token: nonce,
        held,
        counted: 0,
        retry_at: None,
        mailbox: None,
        direct: None,
        callback: None,
        to_search: None,
        asked: None,
        effects: Vec::new(),
        following: None,
    })
}

impl SessionShell<'_> {
    fn run(&mut self) -> io::Result<Next> {
        let mut readable = true;
        // Handles what was read together with the preface.
        let mut next = self.take_in(Input::Received(0));
        loop {
            if let Some(next) = next {
                return Ok(next);
            }
            // The answer to a search comes before any other input.
            if self.to_search.is_none() {
                next = self.take_commands().or_else(|| self.count_held());
                if next.is_some() {
                    continue;
                }
            }
            if self.flush()? {
                next = self.take_in(Input::Written);
            } else if (readable || self.transport.has_unread()) && self.session.may_read() {
                (next, readable) = self.read()?;
            } else {
                let (is_readable, is_closed) = self.wait()?;
                readable |= is_readable;
                if let Some(asked) = self.asked.take() {
                    next = self.take_in(Input::Answered(asked.wait()));
                    continue;
                }
                // `poll` always reports a closed connection, so a session that must not read would never wait.
                let ends = is_closed && !self.session.may_read();
                next = self.take_in(if ends { self.closed() } else { Input::Tick });
            }
        }
    }

    /// Updates the memory account. If the budget is exceeded, a session that uses much memory ends.
    fn count_held(&mut self) -> Option<Next> {
        let bytes = self.session.held_bytes();
        if bytes != self.counted {
            self.held.add(bytes);
            self.held.sub(std::mem::replace(&mut self.counted, bytes));
        }
        if !self.held.is_over() {
            return None;
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.session.give_up(&mut effects);
        let next = effects.drain(..).find_map(|effect| self.carry_out(effect));
        self.effects = effects;
        next
    }

    /// Passes an input to the core and executes its effects, and the same with the inputs that result from them.
    fn take_in(&mut self, input: Input) -> Option<Next> {
        let mut next = self.take_one(input);
        while next.is_none()
            && let Some(input) = self.following.take()
        {
            next = self.take_one(input);
        }
        next
    }

    fn take_one(&mut self, input: Input) -> Option<Next> {
        if self.session.has_joined() {
            self.session.handle(Now::read(), input, &mut self.effects);
        } else {
            joining::handle_apart(&mut self.session, input, &mut self.effects);
        }
        let mut effects = std::mem::take(&mut self.effects);
        let mut next = None;
        for effect in effects.drain(..) {
            // An effect that yields an input is the last one of its list, because a core that asks a question waits for
            // the answer. So no effect is overtaken.
            next = next.or(self.carry_out(effect));
        }
        self.effects = effects;
        next
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Next> {
        match effect {
            Effect::Join(card, claim) => self.join(card, claim),
            Effect::Tell(command) => {
                self.tell(command);
                None
            }
            Effect::Ask(question) => {
                // Not called from here, because a peer that asks thousands of questions at once would overflow the
                // stack.
                match self.direct_search(question) {
                    Ok(search) => self.to_search = Some(search),
                    Err(question) => self.following = Some(Input::Answered(self.ask(question))),
                }
                None
            }
            Effect::Call(port) => {
                self.callback = Callback::dial(self.session.seen_at(), port, Instant::now());
                if self.callback.is_some() { None } else { self.take_in(Input::Called(None)) }
            }
            Effect::Heard(echo) => match self.callback.as_ref().and_then(|call| call.confirm(&echo)) {
                Some(address) => self.end_call(Some(address)),
                None => None,
            },
            Effect::Splice(end) => Some(Next::Splice(*end)),
            Effect::End { is_refused } => Some(Next::End { is_refused }),
        }
    }

    fn tell(&self, command: MemberCommand) {
        if let Some(member) = self.session.member() {
            // Fails only when the server shuts down, which ends this session too.
            let _ = self.services.router.send(Command::From(member, command));
        }
    }

    /// Ends the call to the peer, which has succeeded or failed.
    fn end_call(&mut self, address: Option<SocketAddr>) -> Option<Next> {
        self.callback = None;
        self.take_in(Input::Called(address))
    }

    fn take_commands(&mut self) -> Option<Next> {
        while self.session.has_room() {
            let command = self.mailbox.as_ref()?.next();
            let next = match command {
                Some(command) => self.take_command(command),
                None if self.mailbox.as_ref()?.take_refused() || self.retries() => {
                    self.take_in(Input::HasRoom)
                }
                None => break,
            };
            if next.is_some() {
                return next;
            }
        }
        let released = self.mailbox.as_ref()?.closed()?;
        self.take_in(Input::Released(released))
    }

    fn take_command(&mut self, command: SessionCommand) -> Option<Next> {
        let cost = match &command {
            SessionCommand::Deliver(delivery) => delivery.cost(),
            _ => 0,
        };
        let next = self.take_in(Input::Command(command));
        // A delivery was counted in the mailbox and is now counted in the session.
        let next = next.or_else(|| self.count_held());
        self.held.sub(cost);
        next
    }

    /// Whether it is time for the Router to retry a delivery that the memory budget had no room for.
    fn retries(&mut self) -> bool {
        if !self.held.is_refused() {
            return false;
        }
        let now = Instant::now();
        if self.retry_at.is_none() {
            self.services.router.counts.count(Limit::SessionMemory);
        }
        let is_due = *self.retry_at.get_or_insert(now + MEMORY_RETRY) <= now;
        if is_due {
            self.retry_at = None;
            self.held.forget_refused();
        }
        is_due
    }

    fn closed(&self) -> Input {
        Input::Closed { is_stopping: self.services.stopping.load(Ordering::Relaxed) }
    }

    /// Reads once. Also returns whether there may be more to read.
    fn read(&mut self) -> io::Result<(Option<Next>, bool)> {
        let room = self.session.incoming.room();
        let room_bytes = room.len();
        match self.transport.read(room, Patience::UntilTimeout) {
            Ok(0) => Ok((self.take_in(self.closed()), false)),
            Ok(count) => Ok((self.take_in(Input::Received(count)), count == room_bytes)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok((None, true)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok((None, false)),
            // TLS without a close_notify. Frames have lengths, so a cut frame is noticed without it.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok((self.take_in(self.closed()), false)),
            Err(e) => Err(e),
        }
    }

    /// Writes as much as the connection accepts. Returns whether anything was written.
    fn flush(&mut self) -> io::Result<bool> {
        flush(self.transport, &mut self.session.outgoing)
    }

    /// Waits for the outcome of the peer's last envelopes, so that the log has it for each of them.
    fn hear_outcomes(&mut self) {
        let deadline = Instant::now() + OUTCOME_WAIT;
        while self.session.has_open_transmissions() {
            let Some(command) = self.mailbox.as_ref().and_then(|mailbox| mailbox.next_by(deadline)) else {
                return;
            };
            self.session.hear(Now::read(), command);
        }
    }
}

impl Drop for SessionShell<'_> {
    fn drop(&mut self) {
        let Some(member) = self.session.member() else { return };
        self.take_written();
        self.hear_outcomes();
        if let (Some(feed), Some(name)) = (&self.services.feed, self.session.name()) {
            feed.left(name.clone());
        }
        let router = &self.services.router;
        if router.send(Command::From(member, MemberCommand::Leave)).is_err() {
            return;
        }
        let rest = self.mailbox.take().into_iter().flat_map(SessionMailbox::into_rest);
        let untaken = self.session.part(rest);
        // Fails only when the Router has ended. Then the process ends too, and the senders keep what was not
        // acknowledged.
        let _ = router.send(Command::From(member, MemberCommand::HandBack(untaken)));
        if let Some(name) = self.session.name() {
            tracing::info!(target: "session", %name, "left");
        }
    }
}

/// Writes as much as the connection accepts. Returns whether anything was written.
fn flush(transport: &mut Transport, outgoing: &mut Outgoing) -> io::Result<bool> {
    let mut wrote = false;
    while outgoing.bytes() > 0 {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let count = outgoing.slices(&mut slices);
        match transport.write(&slices[..count], Patience::UntilTimeout, false) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                outgoing.advance(written);
                wrote = true;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(wrote),
            Err(e) => return Err(e),
        }
    }
    match transport.flush(Patience::UntilTimeout) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Ok(wrote),
    }
}

/// Sends an error and ends the connection.
pub(super) fn refuse(transport: &mut Transport, code: ErrorCode, detail: &str) -> io::Result<()> {
    tracing::info!(target: "session", ?code, detail, "refused");
    let mut outgoing = Outgoing::default();
    outgoing.push_message(&ToPeer::Error { code, detail: detail.into() });
    linger(transport, &mut outgoing)
}

/// Writes the remaining output and waits until the peer has had time to read it. Closing a socket that has unread bytes
/// sends a reset, and the peer would lose the error.
fn linger(transport: &mut Transport, outgoing: &mut Outgoing) -> io::Result<()> {
    transport.socket().set_nonblocking(false)?;
    transport.set_write_timeout(LINGER_WAIT)?;
    flush(transport, outgoing)?;
    if !transport.end_writing() {
        return Ok(());
    }
    transport.socket().set_read_timeout(Some(LINGER_WAIT))?;
    let deadline = Instant::now() + LINGER_WAIT;
    let mut rest = [0; 4096];
    for _ in 0..LINGER_READS_MAX {
        match transport.read(&mut rest, Patience::UntilTimeout) {
            Ok(1..) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            end => return end.map(|_| ()),
        }
        if Instant::now() > deadline {
            break;
        }
    }
    Ok(())
}
