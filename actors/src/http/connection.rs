//! The state of an HTTP connection, and how the bytes of one read change it. This file does not read or write the socket
//! and does not look at the clock. It only shuts the socket down, and asks how many bytes are still on their way.

use std::time::Instant;

use wire::frame::PREFACE;
use wire::http::{BadRequest, BodyDecoder, BodyLength, RequestHead, Status, parse_request};

use super::respond::{Deferred, Responder, Step};
use super::unsent::{Pace, Progress, Unsent};
use super::writer::{After, Ask};
use crate::commands::connection::{Door, Visitor};
use crate::commands::gate::Place;
use crate::commands::session::SessionId;
use crate::config::Limits;
use crate::linux::ReadyFor;
use crate::transport::Transport;

/// The maximum number of bytes that are read and dropped after the last response.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;

/// The maximum number of bytes on their way to the client with which the connection is closed at once. With more, the
/// client could lose a part of the response if it sends something in the meantime, which causes a reset.
const UNTAKEN_BYTES_MAX: u64 = 8 * 1024;

/// The first bytes of every TLS connection: a record of type handshake, version 3.x (RFC 8446, section 5.1).
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// What a connection waits for.
#[derive(Debug)]
enum Waiting {
    /// The first bytes, which tell the protocol.
    First,
    Request,
    Head,
    /// The rest of a body that is read and dropped, so that it is not taken for the next request.
    Body {
        decoder: BodyDecoder,
        dropped: u64,
    },
    /// The end of the stream, after the last response. What still comes is dropped, because closing a socket with unread
    /// bytes resets the connection, and the client may lose the response (RFC 9112, section 9.6).
    End {
        dropped: u64,
    },
}

/// What to do after some bytes were processed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write the outbox, and read more.
    Read,
    /// Write the outbox. The next response has to wait for something.
    Wait,
    /// Write the outbox, and go on with the next request.
    Flush,
    /// Write the outbox, shut down the sending side, and read until the client closes.
    Linger,
    /// Write the outbox, and close.
    Close,
    /// Write the outbox, and go on as a WebSocket.
    Upgrade,
    /// Hand over to a session: the bytes that are left begin with the preface of a peer.
    Peer,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: SessionId,
    pub(crate) transport: Transport,
    pub(crate) visitor: Visitor,
    /// Bytes that were read and not used: a part of a head, or requests behind a response that waits.
    pub(crate) held: Vec<u8>,
    /// What has to be written before more is read.
    pub(crate) unsent: Option<Box<Unsent>>,
    /// The request after those in `unsent`, whose response has to wait.
    pub(super) deferred: Option<Box<Deferred>>,
    pub(crate) requests: u32,
    waiting: Waiting,
    /// When `waiting` began.
    since: Instant,
    /// How far the client had read at the last check. `None` if the connection does not wait for that.
    progress: Option<Progress>,
    /// Freed when the connection is closed.
    pub(crate) place: Place,
}

impl Connection {
    pub(crate) fn new(
        id: SessionId,
        transport: Transport,
        visitor: Visitor,
        place: Place,
        now: Instant,
    ) -> Self {
        Self {
            id,
            transport,
            visitor,
            held: Vec::new(),
            unsent: None,
            deferred: None,
            requests: 0,
            waiting: Waiting::First,
            since: now,
            progress: None,
            place,
        }
    }

    /// When the connection is closed if nothing happens. The deadline of a head counts from its first byte, so a client that
    /// sends single bytes does not extend it.
    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        if let Some(progress) = &self.progress {
            return progress.since + limits.write_timeout;
        }
        self.since
            + match self.waiting {
                Waiting::First | Waiting::Head | Waiting::Body { .. } => limits.head_timeout,
                Waiting::Request => limits.idle_timeout,
                Waiting::End { .. } => limits.linger,
            }
    }

    /// Lets the connection wait until `unsent` can be written.
    pub(crate) fn park(&mut self, unsent: Unsent, now: Instant) {
        // If it has waited for the same before, the time counts from then.
        if self.progress.is_none() {
            self.progress =
                Some(Progress { since: now, left: unsent.outbox.pending_bytes() + self.untaken_bytes() });
        }
        self.unsent = Some(Box::new(unsent));
    }

    /// Everything was written, so the time for the next request begins.
    pub(crate) fn note_written(&mut self, now: Instant) {
        self.progress = None;
        self.since = now;
    }

    /// Checks how far the client has read, after the deadline has passed. True if the connection must not be ended,
    /// because the client reads fast enough: the time for its next request begins when it has received the response.
    pub(crate) fn note_progress(&mut self, now: Instant, limits: &Limits) -> bool {
        let pending = match (&self.unsent, &self.waiting) {
            (Some(unsent), _) => unsent.outbox.pending_bytes(),
            (None, Waiting::Request | Waiting::End { .. }) => 0,
            // It has not sent its request in time.
            (None, Waiting::First | Waiting::Head | Waiting::Body { .. }) => return false,
        };
        let progress = Progress { since: now, left: pending + self.untaken_bytes() };
        if progress.left == 0 {
            self.since = now;
            return self.progress.take().is_some();
        }
        let Some(before) = self.progress else {
            self.progress = Some(progress);
            return true;
        };
        match before.pace(&progress, limits.unreported_bytes) {
            Pace::Enough => {
                self.progress = Some(progress);
                true
            }
            // Measured from the same start again later. If it has read, that shows by then.
            Pace::Unknown => true,
            Pace::TooSlow => false,
        }
    }

    /// How many of the written bytes the client's system has not acknowledged.
    fn untaken_bytes(&self) -> u64 {
        self.transport.untaken_bytes()
    }

    /// Whether the last response was written.
    pub(crate) fn is_answered_for_good(&self) -> bool {
        self.unsent.is_none() && matches!(self.waiting, Waiting::End { .. })
    }

    /// Ends the connection after the last response. True if it can be closed now. Otherwise it lingers until the client has received
    /// the response, at most once.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        if self.is_answered_for_good() || self.untaken_bytes() <= UNTAKEN_BYTES_MAX {
            self.transport.notify_end();
            return true;
        }
        !self.linger(now)
    }

    pub(crate) fn ready_for(&self) -> ReadyFor {
        match self.unsent.is_some() || self.transport.has_unsent() {
            true => ReadyFor::Writing,
            false => ReadyFor::Reading,
        }
    }

    /// Whether it is between two requests, so that nothing is lost if it ends.
    pub(crate) fn is_idle(&self) -> bool {
        self.unsent.is_none()
            && self.held.is_empty()
            && matches!(self.waiting, Waiting::First | Waiting::Request)
    }

    /// Shuts down the sending side. Whatever comes from now on is dropped. False if the connection has ended.
    pub(crate) fn linger(&mut self, now: Instant) -> bool {
        self.held = Vec::new();
        self.wait_for(Waiting::End { dropped: 0 }, now);
        self.transport.end_writing()
    }

    /// Whether there is something to do that does not wait for the socket.
    pub(crate) fn can_go_on(&self) -> bool {
        match &self.unsent {
            Some(unsent) => unsent.outbox.is_empty() && !self.transport.has_unsent(),
            None => self.transport.has_unread(),
        }
    }

    fn wait_for(&mut self, waiting: Waiting, now: Instant) {
        self.waiting = waiting;
        self.progress = None;
        self.since = now;
    }

    /// Processes `rest`, the next bytes of the stream, and removes from it what was used. Responses go to the outbox. The
    /// caller passes what is left to [`Connection::hold`].
    pub(crate) fn advance(
        &mut self,
        rest: &mut &[u8],
        responder: &mut Responder,
        limits: &Limits,
        now: Instant,
    ) -> Next {
        loop {
            match self.step(rest, responder, limits, now) {
                Some(next) => return next,
                None if responder.writer.outbox.is_full() => return Next::Flush,
                None => {}
            }
        }
    }

    /// Goes on as a WebSocket, of which `rest` are the first bytes. It begins like any connection, but only a peer can follow.
    /// Returns the plain bytes in `rest`.
    ///
    /// # Errors
    /// The client has broken the protocol.
    pub(crate) fn upgrade(&mut self, rest: &[u8], now: Instant) -> std::io::Result<Vec<u8>> {
        self.wait_for(Waiting::First, now);
        self.transport.upgrade(rest.to_vec())
    }

    /// Keeps bytes that could not be used yet.
    pub(crate) fn hold(&mut self, rest: &[u8]) {
        // Usually there are none, and then nothing is allocated.
        self.held = rest.to_vec();
    }

    /// Processes one request, or what else comes first in `rest`. `None` means to go on.
    fn step(
        &mut self,
        rest: &mut &[u8],
        responder: &mut Responder,
        limits: &Limits,
        now: Instant,
    ) -> Option<Next> {
        match &mut self.waiting {
            Waiting::Body { decoder, dropped } => {
                let Ok(decoded) = decoder.decode(rest) else { return Some(Next::Linger) };
                *dropped += decoded.consumed as u64;
                *rest = &rest[decoded.consumed..];
                if *dropped > limits.unread_body_bytes {
                    return Some(Next::Linger);
                }
                if !decoder.is_done() {
                    return rest.is_empty().then_some(Next::Read);
                }
                self.wait_for(Waiting::Request, now);
            }
            Waiting::End { dropped } => {
                *dropped += rest.len() as u64;
                *rest = &[];
                return Some(if *dropped > LINGER_BYTES_MAX { Next::Close } else { Next::Read });
            }
            Waiting::First if self.visitor.door != Door::Admin => {
                if rest.starts_with(&PREFACE) {
                    return Some(Next::Peer);
                }
                if PREFACE.starts_with(rest) {
                    return Some(Next::Read);
                }
                if self.transport.is_websocket() {
                    return Some(Next::Close);
                }
            }
            Waiting::First | Waiting::Request | Waiting::Head => {}
        }
        if rest.is_empty() {
            return Some(Next::Read);
        }
        match parse_request(rest) {
            Ok(Some(head)) => self.answer(&head, rest, responder, limits, now),
            Ok(None) => {
                if !matches!(self.waiting, Waiting::Head) {
                    self.wait_for(Waiting::Head, now);
                }
                Some(Next::Read)
            }
            Err(bad) => {
                let is_tls = rest.starts_with(&TLS_HANDSHAKE);
                let reason =
                    if is_tls { "the client speaks TLS, and this port does not" } else { bad.reason };
                responder.refuse(&self.visitor, BadRequest { reason, ..bad }, rest);
                Some(Next::Linger)
            }
        }
    }

    fn answer(
        &mut self,
        head: &RequestHead<'_>,
        rest: &mut &[u8],
        responder: &mut Responder,
        limits: &Limits,
        now: Instant,
    ) -> Option<Next> {
        let keep_alive = may_keep_alive(head, limits) && !responder.is_stopping();
        let after = After::new(keep_alive, head.version);
        let step = responder.answer(Ask { head, visitor: &self.visitor, after });
        self.requests = self.requests.saturating_add(1);
        *rest = &rest[head.head_bytes..];
        let next = self.note_answer(head, keep_alive, rest, now);
        match step {
            Step::Done => next,
            Step::Upgrade => Some(Next::Upgrade),
            Step::Wait(need) => {
                let next = next.unwrap_or(Next::Flush);
                self.deferred = Some(Box::new(Deferred { head: head.keep(), after, need, next }));
                Some(Next::Wait)
            }
        }
    }

    /// Returns what to do after the response. `None` means to go on with the next request.
    fn note_answer(
        &mut self,
        head: &RequestHead<'_>,
        keep_alive: bool,
        rest: &[u8],
        now: Instant,
    ) -> Option<Next> {
        if !keep_alive {
            // A client that asked for keep-alive may have sent more already.
            let is_clean = head.body == BodyLength::Exact(0) && rest.is_empty() && !head.keep_alive;
            return Some(if is_clean { Next::Close } else { Next::Linger });
        }
        let decoder = BodyDecoder::new(head.body);
        let waiting =
            if decoder.is_done() { Waiting::Request } else { Waiting::Body { decoder, dropped: 0 } };
        self.wait_for(waiting, now);
        None
    }

    /// Responds to a request that did not arrive in time.
    pub(crate) fn refuse_as_late(&self, responder: &mut Responder) {
        let reason = "the request did not arrive in time";
        // If only the body is late, the response to the request was sent before.
        if matches!(self.waiting, Waiting::Head) {
            let late = BadRequest { status: Status::RequestTimeout, reason };
            responder.refuse(&self.visitor, late, &self.held);
        }
    }
}

fn may_keep_alive(head: &RequestHead<'_>, limits: &Limits) -> bool {
    let body_is_short = match head.body {
        BodyLength::Exact(bytes) => bytes <= limits.unread_body_bytes,
        BodyLength::Chunked | BodyLength::UntilClose => true,
    };
    // A client that expects a 100 gets the final response instead. It may or may not send the body then.
    let body_is_certain = !head.expects_continue || head.body == BodyLength::Exact(0);
    head.keep_alive && body_is_short && body_is_certain
}
