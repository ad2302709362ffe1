//! Reading from a connection that rests, and answering what can be answered at once.

use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use wire::frame::PREFACE;
use wire::http::{BadRequest, Status};

use crate::commands::connection::Visitor;
use crate::config::Limits;
use crate::http::{Connection, Next, Responder, Unsent, Written};
use crate::runtime::isolated;

/// Room for one read: a request of a browser, or many small ones.
const READ_BYTES: usize = 16 << 10;

/// Writes of one connection in a row, beside the first; who has asked for more gets it from a session, so that the others
/// here get their turn.
const WRITES_MAX: u32 = 3;

/// What is to become of a connection.
pub(super) enum Verdict {
    /// It waits for its client.
    Rest,
    /// It has ended.
    Close,
    /// A session has to write this, and then to go on.
    Session(Unsent),
    /// A session has to serve a peer on it.
    Peer,
}

/// The reading side of a poller.
pub(super) struct Reader {
    pub(super) responder: Responder,
    limits: Limits,
    buffer: Box<[u8]>,
}

impl Reader {
    pub(super) fn new(responder: Responder, limits: Limits) -> Self {
        Self { responder, limits, buffer: vec![0; READ_BYTES].into() }
    }

    /// Writes what is unsent, or else reads once, and works on what has come. What panics here ends alone.
    pub(super) fn go_on(&mut self, connection: &mut Connection, now: Instant) -> Verdict {
        let mut verdict = Verdict::Close;
        let mut go_on = || match connection.unsent.take() {
            Some(unsent) => self.write(connection, *unsent, now),
            None => self.read(connection, now),
        };
        if !isolated(|| verdict = go_on()) {
            tracing::error!(target: "session", id = connection.id, "a request caused a panic; its connection ends");
            self.responder.reset();
        }
        verdict
    }

    fn write(&mut self, connection: &mut Connection, mut unsent: Unsent, now: Instant) -> Verdict {
        match unsent.outbox.write_now(&connection.stream) {
            Err(_) => Verdict::Close,
            Ok(Written::Full) => {
                connection.park(unsent, now);
                Verdict::Rest
            }
            Ok(Written::OnDisk) => Verdict::Session(unsent),
            Ok(Written::All) => {
                connection.note_written(now);
                let held = std::mem::take(&mut connection.held);
                work(connection, &held, Some(unsent.next), &mut self.responder, &self.limits, now)
            }
        }
    }

    fn read(&mut self, connection: &mut Connection, now: Instant) -> Verdict {
        let count = match rustix::net::recv(&*connection.stream, &mut *self.buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Verdict::Close,
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Verdict::Rest,
            Err(_) => return Verdict::Close,
        };
        let bytes = &self.buffer[..count];
        if connection.held.is_empty() {
            return work(connection, bytes, None, &mut self.responder, &self.limits, now);
        }
        let mut held = std::mem::take(&mut connection.held);
        held.extend_from_slice(bytes);
        work(connection, &held, None, &mut self.responder, &self.limits, now)
    }

    /// Ends a connection that has waited for too long.
    pub(super) fn end_late(&mut self, connection: &Connection) {
        if connection.is_answered_for_good() {
            return;
        }
        self.responder.counts().timed_out.fetch_add(1, Ordering::Relaxed);
        if connection.unsent.is_some() {
            connection.abort();
            return;
        }
        connection.refuse_as_late(&mut self.responder);
        // It is closed whether or not the client takes the answer.
        let _ = self.responder.outbox().write_now(&connection.stream);
        self.responder.reset();
    }

    /// Tells somebody for whom there is no room to come back. False if the connection is to be closed at once: a peer
    /// understands that.
    pub(super) fn turn_away(&mut self, stream: &TcpStream, visitor: Visitor) -> bool {
        // Unread bytes would turn the closing into a reset.
        let read = rustix::net::recv(stream, &mut *self.buffer, RecvFlags::DONTWAIT);
        let count = read.map_or(0, |(count, _)| count);
        let begun = &self.buffer[..count];
        if begun.starts_with(&PREFACE) {
            return false;
        }
        let full =
            BadRequest { status: Status::ServiceUnavailable, reason: "there are too many connections" };
        self.responder.refuse(&visitor, full, begun);
        let written = self.responder.outbox().write_now(stream);
        self.responder.reset();
        written.is_ok()
    }
}

/// Answers what `bytes` ask for, as far as that needs no waiting; what is `known` comes first.
fn work(
    connection: &mut Connection,
    bytes: &[u8],
    mut known: Option<Next>,
    responder: &mut Responder,
    limits: &Limits,
    now: Instant,
) -> Verdict {
    let mut rest = bytes;
    let mut writes_left = WRITES_MAX;
    loop {
        let next = match known.take() {
            Some(next) => next,
            None => connection.advance(&mut rest, responder, limits, now),
        };
        let Ok(written) = responder.outbox().write_now(&connection.stream) else {
            responder.reset();
            return Verdict::Close;
        };
        match (next, written) {
            (Next::Flush, Written::All) if writes_left > 0 => writes_left -= 1,
            (Next::Peer, _) => {
                connection.hold(rest);
                return Verdict::Peer;
            }
            (next @ (Next::Wait | Next::Flush), _) | (next, Written::Full | Written::OnDisk) => {
                connection.hold(rest);
                let unsent = Unsent::new(std::mem::take(responder.outbox()), next);
                if written == Written::Full {
                    connection.park(unsent, now);
                    return Verdict::Rest;
                }
                return Verdict::Session(unsent);
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
