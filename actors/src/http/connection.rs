//! What is known of an HTTP connection between two reads, and what the bytes of one read lead to. No byte is read or
//! written and no clock looked at in here; the system is told about ends, and asked what is still on its way.

use std::time::Instant;

use wire::frame::PREFACE;
use wire::http::{BadRequest, BodyDecoder, BodyLength, RequestHead, Status, parse_request};

use super::respond::{Deferred, Responder};
use super::unsent::{Pace, Progress, Unsent};
use super::writer::{After, Ask};
use crate::commands::connection::{Door, Visitor};
use crate::commands::gate::Place;
use crate::commands::session::SessionId;
use crate::config::Limits;
use crate::linux::ReadyFor;
use crate::transport::Transport;

/// What is read and dropped at most from a client that has been answered for the last time.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;

/// What a client may still have to take of its last answer when the connection is closed: what is on its way at once. Of
/// more it could lose a part, if it sends anything meanwhile.
const UNTAKEN_BYTES_MAX: u64 = 8 * 1024;

/// What a connection waits for.
#[derive(Debug)]
enum Waiting {
    /// Its first bytes, which say what it speaks.
    First,
    /// The next request.
    Request,
    /// The rest of a head.
    Head,
    /// The rest of a body that is read and dropped, so that it is never taken for the next request.
    Body { decoder: BodyDecoder, dropped: u64 },
    /// The end: all has been answered, and what still comes is dropped. Closing a socket with unread bytes would reset
    /// the connection, and with it what is on its way (RFC 9112, section 9.6).
    End { dropped: u64 },
}

/// What to do with a connection after some of its bytes have been worked on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read when there is more.
    Read,
    /// Write what is gathered; then the next answer has to wait for something.
    Wait,
    /// Write what is gathered, and go on.
    Flush,
    /// Write what is gathered, and say that nothing more comes; then read until the client is done too.
    Linger,
    /// Write what is gathered, and close.
    Close,
    /// A peer: the preface is at the start of what is left.
    Peer,
}

/// An HTTP connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: SessionId,
    pub(crate) transport: Transport,
    pub(crate) visitor: Visitor,
    /// What has been read and not been used yet: a part of a head, or what waits behind an answer.
    pub(crate) held: Vec<u8>,
    /// What has to be written before more is read.
    pub(crate) unsent: Option<Box<Unsent>>,
    /// What comes behind that, and has to wait for something else than the client.
    pub(super) deferred: Option<Box<Deferred>>,
    /// How many requests have been answered.
    pub(crate) requests: u32,
    waiting: Waiting,
    since: Instant,
    /// What the client had still to take when that was last looked at; none as long as nobody waits for it to read.
    progress: Option<Progress>,
    /// Given back when the connection is closed.
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
        let (held, waiting) = (Vec::new(), Waiting::First);
        Self {
            id,
            transport,
            visitor,
            held,
            unsent: None,
            deferred: None,
            requests: 0,
            waiting,
            since: now,
            progress: None,
            place,
        }
    }

    /// When it has waited for too long, whatever it waits for. The deadline of a head is absolute: one byte now and then
    /// does not move it.
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

    /// Waits for the client to read, and then for the disk or for what comes next.
    pub(crate) fn park(&mut self, unsent: Unsent, now: Instant) {
        // Not if the same is still being sent: then it counts how long that takes already.
        if self.progress.is_none() {
            self.progress =
                Some(Progress { since: now, left: unsent.outbox.pending_bytes() + self.untaken_bytes() });
        }
        self.unsent = Some(Box::new(unsent));
    }

    /// All has been written: the client has its time from now on.
    pub(crate) fn note_written(&mut self, now: Instant) {
        self.progress = None;
        self.since = now;
    }

    /// Looks how far the client has come with reading. True if it is too early to end the connection although its deadline
    /// has passed: until the client has taken what was answered, its own time has not begun.
    pub(crate) fn note_progress(&mut self, now: Instant, limits: &Limits) -> bool {
        let pending = match (&self.unsent, &self.waiting) {
            (Some(unsent), _) => unsent.outbox.pending_bytes(),
            (None, Waiting::Request | Waiting::End { .. }) => 0,
            // It is late with what it sends.
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
            // Counted from the same moment on: if it did read, that shows in time.
            Pace::Unknown => true,
            Pace::TooSlow => false,
        }
    }

    /// What has been written and the client's system has not taken, in bytes.
    fn untaken_bytes(&self) -> u64 {
        self.transport.untaken_bytes()
    }

    /// Whether the client has got its last answer and nothing is left to be done for it.
    pub(crate) fn is_answered_for_good(&self) -> bool {
        self.unsent.is_none() && matches!(self.waiting, Waiting::End { .. })
    }

    /// Ends it, all being answered. True if it is to be closed now; otherwise it waits until the client has taken that. It
    /// does so once: who then goes on sending has had its chance.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        self.is_answered_for_good() || self.untaken_bytes() <= UNTAKEN_BYTES_MAX || !self.linger(now)
    }

    /// What it waits for.
    pub(crate) fn ready_for(&self) -> ReadyFor {
        if self.unsent.is_some() { ReadyFor::Writing } else { ReadyFor::Reading }
    }

    /// Whether it is between requests, so that ending it loses nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.unsent.is_none()
            && self.held.is_empty()
            && matches!(self.waiting, Waiting::First | Waiting::Request)
    }

    /// Says that nothing more will be sent; from now on all that comes is dropped. False if the connection has ended.
    pub(crate) fn linger(&mut self, now: Instant) -> bool {
        self.held = Vec::new();
        self.wait_for(Waiting::End { dropped: 0 }, now);
        self.transport.end_writing()
    }

    /// Whether there is something to do at once: nothing has to be written, or be read by the client, first.
    pub(crate) fn can_go_on(&self) -> bool {
        self.unsent.as_ref().is_some_and(|unsent| unsent.outbox.is_empty())
    }

    fn wait_for(&mut self, waiting: Waiting, now: Instant) {
        self.waiting = waiting;
        self.progress = None;
        self.since = now;
    }

    /// Works on `rest`, which follows what was worked on before, and takes from it what has been used; answers go to the
    /// responder's outbox. What is left then is for [`Connection::hold`].
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

    /// Keeps what could not be used yet.
    pub(crate) fn hold(&mut self, rest: &[u8]) {
        // Usually nothing, and then nothing is allocated or kept.
        self.held = rest.to_vec();
    }

    /// Works on the first thing in `rest`. Returns what is next unless that is to go on.
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
            Waiting::First if self.visitor.door == Door::Public => {
                if rest.starts_with(&PREFACE) {
                    return Some(Next::Peer);
                }
                if !rest.is_empty() && PREFACE.starts_with(rest) {
                    return Some(Next::Read);
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
                responder.refuse(&self.visitor, bad, rest);
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
        let need = responder.answer(Ask { head, visitor: &self.visitor, after });
        self.requests = self.requests.saturating_add(1);
        *rest = &rest[head.head_bytes..];
        let next = self.note_answer(head, keep_alive, rest, now);
        let Some(need) = need else { return next };
        let next = next.unwrap_or(Next::Flush);
        self.deferred = Some(Box::new(Deferred { head: head.keep(), after, need, next }));
        Some(Next::Wait)
    }

    /// Returns what comes behind the answer to a request unless that is the next one.
    fn note_answer(
        &mut self,
        head: &RequestHead<'_>,
        keep_alive: bool,
        rest: &[u8],
        now: Instant,
    ) -> Option<Next> {
        if !keep_alive {
            // A client that wanted to go on may have sent more already.
            let is_clean = head.body == BodyLength::Exact(0) && rest.is_empty() && !head.keep_alive;
            return Some(if is_clean { Next::Close } else { Next::Linger });
        }
        let decoder = BodyDecoder::new(head.body);
        let waiting =
            if decoder.is_done() { Waiting::Request } else { Waiting::Body { decoder, dropped: 0 } };
        self.wait_for(waiting, now);
        None
    }

    /// The answer to what has taken too long.
    pub(crate) fn refuse_as_late(&self, responder: &mut Responder) {
        let reason = "the request did not arrive in time";
        // The answer to a request whose body is late has been sent.
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
    // A client that waits for a 100 gets its answer instead, and then may or may not send the body.
    let body_is_certain = !head.expects_continue || head.body == BodyLength::Exact(0);
    head.keep_alive && body_is_short && body_is_certain
}
