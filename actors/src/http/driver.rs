//! The loop of an HTTP connection: read, respond, write. Pollers and session threads run the same loop and differ in what
//! they wait for. A poller only waits for readiness, and hands a connection to a session when it needs the disk or a
//! password check. A session thread of `--http-threads` waits for everything itself.

use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime};

use wire::frame::PREFACE;
use wire::http::{BadRequest, Status};

use super::connection::{Connection, Next};
use super::flow;
use super::outbox::{Outbox, Written};
use super::respond::Responder;
use super::unsent::Unsent;
use crate::commands::connection::{Door, Visitor};
use crate::config::Limits;
use crate::runtime::isolated;
use crate::transport::{Patience, Transport};

/// The size of one read: a request of a browser, or many small ones.
const READ_BYTES: usize = 16 << 10;

/// The maximum number of further writes of one connection in a row, so that the other connections of the thread get
/// their turn.
const WRITES_MAX: u32 = 3;

/// How long a session waits for a client that does not read. Then the connection rests until the socket has room.
const STALL: Duration = Duration::from_millis(10);

/// Shortest and longest wait of a thread with one connection between two checks of deadlines and leases.
const REST: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It rests until its client has written, or has read.
    Rest,
    Close,
    /// It needs something that has to be waited for, with [`Driver::wait`].
    Wait,
    /// It is a connection of a peer.
    Peer,
}

/// Serves the HTTP connections of one thread.
pub(crate) struct Driver {
    pub(crate) responder: Responder,
    limits: Limits,
    buffer: Box<[u8]>,
}

impl Driver {
    pub(crate) fn new(responder: Responder, limits: Limits) -> Self {
        Self { responder, limits, buffer: vec![0; READ_BYTES].into() }
    }

    /// Writes what is unsent, or else reads once, and responds, without waiting. If that panics only this connection
    /// ends.
    pub(crate) fn go_on(&mut self, connection: &mut Connection, now: Instant) -> Verdict {
        let mut verdict = Verdict::Close;
        if !isolated(|| verdict = self.turns(connection, now)) {
            tracing::error!(target: "session", id = connection.id, "a request caused a panic; its connection is closed");
            self.responder.reset();
        } else if verdict == Verdict::Close {
            connection.transport.notify_end();
        }
        verdict
    }

    /// Takes turns while there is something to read that no event of the socket announces.
    fn turns(&mut self, connection: &mut Connection, now: Instant) -> Verdict {
        loop {
            let verdict = self.turn(connection, now);
            let may_read = verdict == Verdict::Rest && connection.unsent.is_none();
            if !(may_read && connection.transport.has_unread()) {
                return verdict;
            }
        }
    }

    fn turn(&mut self, connection: &mut Connection, now: Instant) -> Verdict {
        let Self { responder, limits, buffer } = self;
        if let Some(unsent) = connection.unsent.take() {
            responder.writer.outbox = unsent.outbox;
            let held = std::mem::take(&mut connection.held);
            return work(connection, &held, Some(unsent.next), responder, limits, now);
        }
        let count = match connection.transport.read(buffer, Patience::None) {
            Ok(0) => return Verdict::Close,
            Ok(count) => count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Verdict::Rest;
            }
            Err(error) => {
                note_failure(&connection.visitor, &error);
                return Verdict::Close;
            }
        };
        if connection.held.is_empty() {
            return work(connection, &buffer[..count], None, responder, limits, now);
        }
        let mut held = std::mem::take(&mut connection.held);
        held.extend_from_slice(&buffer[..count]);
        work(connection, &held, None, responder, limits, now)
    }

    /// Gives the response that has to wait for something, or sends a file. Does not wait for a client that does not read.
    /// False if the connection has ended.
    pub(crate) fn wait(&mut self, connection: &mut Connection) -> bool {
        let responder = &mut self.responder;
        let mut next = Next::Wait;
        if let Some(unsent) = connection.unsent.take() {
            responder.writer.outbox = unsent.outbox;
            next = unsent.next;
        }
        if next == Next::Wait
            && let Some(deferred) = connection.deferred.take()
        {
            next = responder.answer_deferred(*deferred, &connection.visitor);
        }
        let timeout = connection.transport.set_write_timeout(STALL);
        let written =
            timeout.and_then(|()| responder.writer.write(&mut connection.transport, Patience::UntilTimeout));
        if let Some(view) = responder.view.take() {
            if matches!(written, Ok(Written::All)) {
                let shown = flow::show(&view, &mut connection.transport, responder.stopping());
                tracing::debug!(target: "web", visitor = %connection.visitor, ?shown, "a view of the flow has ended");
            }
            return false;
        }
        match written {
            Ok(Written::All) => {
                connection.note_written(Instant::now());
                connection.unsent =
                    (next != Next::Read).then(|| Box::new(Unsent::new(Outbox::default(), next)));
                true
            }
            Ok(Written::Full | Written::OnDisk) => {
                let unsent = Unsent::new(std::mem::take(&mut responder.writer.outbox), next);
                connection.park(unsent, Instant::now());
                true
            }
            Err(error) => {
                tracing::debug!(target: "web", visitor = %connection.visitor, %error, "ended");
                responder.writer.cut(&connection.visitor, &connection.transport);
                connection.transport.reset_at_close();
                false
            }
        }
    }

    /// Serves a connection on this thread until it ends. Returns it if it is a connection of a peer: a poller then hands it over
    /// as such, so that it can be ended as such when the server ends.
    pub(crate) fn serve(&mut self, mut connection: Connection) -> Option<Connection> {
        loop {
            self.responder.writer.set_time(SystemTime::now());
            let goes_on = match self.go_on(&mut connection, Instant::now()) {
                Verdict::Rest => true,
                Verdict::Close => false,
                Verdict::Peer => {
                    connection.unsent = Some(Box::new(Unsent::new(Outbox::default(), Next::Peer)));
                    return Some(connection);
                }
                Verdict::Wait => {
                    let goes_on = self.wait(&mut connection);
                    let learned = self.responder.take_learned();
                    self.responder.learn(learned);
                    goes_on
                }
            };
            if !goes_on || !(connection.can_go_on() || self.rest(&mut connection)) {
                return None;
            }
        }
    }

    /// Waits until the client has written, or has read. False if the connection has ended.
    fn rest(&mut self, connection: &mut Connection) -> bool {
        self.responder.writer.flush_log();
        let [rest_min, rest_max] = REST;
        loop {
            let now = Instant::now();
            // It lingers, because closing it while its client sends would reset it.
            if self.responder.is_stopping() && connection.is_idle() && !connection.linger(now) {
                return false;
            }
            if self.end_if_late(connection, now) {
                return false;
            }
            let wait = connection.deadline(&self.limits).saturating_duration_since(now);
            match connection.transport.wait_for(connection.ready_for(), wait.clamp(rest_min, rest_max)) {
                Ok(true) => return true,
                Ok(false) => self.responder.drop_revoked(),
                Err(_) => return false,
            }
        }
    }

    /// Ends a connection whose deadline has passed. Returns whether it did.
    pub(crate) fn end_if_late(&mut self, connection: &mut Connection, now: Instant) -> bool {
        let is_late =
            connection.deadline(&self.limits) <= now && !connection.note_progress(now, &self.limits);
        if is_late && !connection.is_answered_for_good() {
            self.responder.writer.counts.timed_out.add(1);
            if connection.unsent.is_some() {
                self.cut(connection);
            } else {
                connection.refuse_as_late(&mut self.responder);
                // The connection is closed whether or not this succeeds.
                let _ = self.responder.writer.write(&mut connection.transport, Patience::None);
                self.responder.writer.cut(&connection.visitor, &connection.transport);
                connection.transport.notify_end();
            }
        }
        is_late
    }

    /// Drops what is unsent on a connection that is about to be closed.
    pub(crate) fn cut(&mut self, connection: &mut Connection) {
        if let Some(unsent) = connection.unsent.take() {
            self.responder.writer.outbox = unsent.outbox;
            self.responder.writer.cut(&connection.visitor, &connection.transport);
            connection.transport.reset_at_close();
        }
    }

    /// Responds to a client for which there is no room. False if the connection must be closed at once, because it is
    /// broken or a peer's, which needs no response.
    pub(crate) fn turn_away(&mut self, transport: &mut Transport, visitor: Visitor) -> bool {
        if visitor.door == Door::Tls {
            // Without a handshake no response can be sent, and there is no room for one.
            return false;
        }
        // Closing a socket with unread bytes would reset the connection.
        let count = transport.read(&mut self.buffer, Patience::None).unwrap_or(0);
        let begun = &self.buffer[..count];
        if begun.starts_with(&PREFACE) {
            return false;
        }
        let full =
            BadRequest { status: Status::ServiceUnavailable, reason: "there are too many connections" };
        self.responder.refuse(&visitor, full, begun);
        let written = self.responder.writer.write(transport, Patience::None);
        self.responder.writer.cut(&visitor, transport);
        written.is_ok()
    }
}

/// Logs how a client has broken TLS or the WebSocket protocol. Errors of the socket are not logged: clients disconnect all the
/// time.
fn note_failure(visitor: &Visitor, error: &std::io::Error) {
    if error.kind() == ErrorKind::InvalidData {
        tracing::info!(target: "web", %visitor, %error, "the connection is closed");
    }
}

/// Responds to the requests in `bytes` until one has to wait. `known` is what to do first, after an interruption.
fn work(
    connection: &mut Connection,
    bytes: &[u8],
    mut known: Option<Next>,
    responder: &mut Responder,
    limits: &Limits,
    now: Instant,
) -> Verdict {
    let mut rest = bytes;
    let mut is_resumed = known.is_some();
    let mut writes_left = WRITES_MAX;
    loop {
        let next = match known.take() {
            Some(next) => next,
            None => connection.advance(&mut rest, responder, limits, now),
        };
        let Ok(written) = responder.writer.write(&mut connection.transport, Patience::None) else {
            responder.writer.cut(&connection.visitor, &connection.transport);
            return Verdict::Close;
        };
        if std::mem::take(&mut is_resumed) && written == Written::All {
            connection.note_written(now);
        }
        match (next, written) {
            (Next::Peer, _) => {
                connection.hold(rest);
                return Verdict::Peer;
            }
            (next, Written::Full | Written::OnDisk) => {
                connection.hold(rest);
                connection.park(Unsent::new(std::mem::take(&mut responder.writer.outbox), next), now);
                return if written == Written::Full { Verdict::Rest } else { Verdict::Wait };
            }
            (Next::Upgrade, Written::All) => return upgrade(connection, rest, responder, limits, now),
            (Next::Flush, Written::All) if writes_left > 0 => writes_left -= 1,
            (Next::Flush, Written::All) => {
                connection.hold(rest);
                connection.park(Unsent::new(Outbox::default(), Next::Flush), now);
                return Verdict::Rest;
            }
            (Next::Wait, Written::All) => {
                connection.hold(rest);
                return Verdict::Wait;
            }
            (Next::Read, Written::All) => {
                connection.hold(rest);
                return Verdict::Rest;
            }
            (Next::Linger, Written::All) => {
                return if connection.linger(now) { Verdict::Rest } else { Verdict::Close };
            }
            (Next::Close, Written::All) => {
                return if connection.end(now) { Verdict::Close } else { Verdict::Rest };
            }
        }
    }
}

/// Goes on as a WebSocket with the bytes that have arrived.
fn upgrade(
    connection: &mut Connection,
    bytes: &[u8],
    responder: &mut Responder,
    limits: &Limits,
    now: Instant,
) -> Verdict {
    match connection.upgrade(bytes, now) {
        Ok(plain) => work(connection, &plain, None, responder, limits, now),
        Err(error) => {
            note_failure(&connection.visitor, &error);
            Verdict::Close
        }
    }
}
