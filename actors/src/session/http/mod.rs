//! One HTTP connection, run to its end on the thread of its session.
//!
//! The thread waits in `read(2)` with a timeout, and answers with one write all requests that one read has brought.
//! Files come from FileServer as leases, so that a warm GET is one read and one write and nothing else.

mod input;
mod leases;
mod outbox;
mod respond;

#[cfg(test)]
mod tests;

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::http::{BadRequest, BodyDecoder, BodyLength, RequestHead, Status, parse_request};

use self::input::{Filled, Input, linger};
use self::respond::Responder;
use crate::file_server::FileServerHandle;

/// How long a stopping server looks for a request that has been sent already: one that was would be lost to a reset.
const ALREADY_HERE: Duration = Duration::from_millis(1);

/// How long a connection may take for what.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// From the first byte of a request's head to its last. Absolute: one byte now and then does not extend it.
    pub head_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For a client to take any bytes of an answer.
    pub write_timeout: Duration,
    /// Longest request body that is read and dropped to get at the next request; above it the connection is closed.
    pub unread_body_bytes_max: u64,
    /// How long a connection that we end is still read, so that the answer is not lost to a reset (RFC 9112, section 9.6).
    pub linger_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            unread_body_bytes_max: 64 * 1024,
            linger_timeout: Duration::from_secs(2),
        }
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client closed it, or asked us to after an answer.
    Closed,
    /// No request came within [`HttpLimits::idle_timeout`].
    Idle,
    /// The server is stopping.
    Stopping,
    /// A request was refused in such a way that the next one could not be found.
    Refused(Status),
    /// Reading or writing failed or timed out.
    Failed(io::Error),
}

/// What became of a connection.
#[derive(Debug)]
pub struct Served {
    /// How many requests were answered.
    pub requests: u64,
    /// How it ended.
    pub end: End,
}

/// Answers the requests of one connection, of which `buffered` has been read already, until it ends. The caller closes
/// the socket by dropping it, and should have set `TCP_NODELAY` on it: every write is a whole answer or more.
///
/// Once `stopping` is set the answer at work is the last. To wake a thread that waits for the next request, shut down the
/// reading side of the socket after setting it.
pub fn serve(
    stream: &TcpStream,
    buffered: Vec<u8>,
    files: &FileServerHandle,
    limits: &HttpLimits,
    stopping: &AtomicBool,
) -> Served {
    let mut connection = Connection {
        input: Input::new(stream, buffered),
        responder: Responder::new(stream, files),
        limits,
        stopping,
        requests: 0,
    };
    let end = connection.run().unwrap_or_else(End::Failed);
    Served { requests: connection.requests, end }
}

struct Connection<'a> {
    input: Input<'a>,
    responder: Responder<'a>,
    limits: &'a HttpLimits,
    stopping: &'a AtomicBool,
    requests: u64,
}

/// What has to be known of a request after its head is gone from the buffer.
struct Answered {
    head_bytes: usize,
    body: BodyLength,
    keep_alive: bool,
    /// Whether the connection ends although the client wanted to go on, and so may have sent more.
    is_cut_short: bool,
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<End> {
        self.input.set_write_timeout(self.limits.write_timeout)?;
        loop {
            let answered = match parse_request(self.input.buffered()) {
                Ok(Some(head)) => {
                    let keep_alive = self.may_keep_alive(&head);
                    self.responder.answer(&head, keep_alive)?;
                    Answered {
                        head_bytes: head.head_bytes,
                        body: head.body,
                        keep_alive,
                        is_cut_short: head.keep_alive && !keep_alive,
                    }
                }
                Ok(None) => match self.await_more_of_head()? {
                    Some(end) => return Ok(end),
                    None => continue,
                },
                Err(bad) => return self.refuse(bad),
            };
            self.requests += 1;
            self.input.consume(answered.head_bytes);
            if let Some(end) = self.pass_body(&answered)? {
                return Ok(end);
            }
        }
    }

    fn may_keep_alive(&self, head: &RequestHead<'_>) -> bool {
        let body_is_short = match head.body {
            BodyLength::Exact(bytes) => bytes <= self.limits.unread_body_bytes_max,
            BodyLength::Chunked | BodyLength::UntilClose => true,
        };
        // A client that waits for a 100 gets its answer instead, and then may or may not send the body.
        let body_is_certain = !head.expects_continue || head.body == BodyLength::Exact(0);
        head.keep_alive && body_is_short && body_is_certain && !self.stopping.load(Ordering::Relaxed)
    }

    /// Reads more, after sending what is ready. Returns how the connection ended, if it did.
    fn await_more_of_head(&mut self) -> io::Result<Option<End>> {
        self.responder.flush()?;
        let is_idle = self.input.buffered().is_empty();
        let is_stopping = self.stopping.load(Ordering::Relaxed);
        let limit = if is_idle {
            self.input.end_deadline();
            self.responder.drop_revoked();
            if is_stopping { ALREADY_HERE } else { self.limits.idle_timeout }
        } else {
            self.input.remaining(self.limits.head_timeout)
        };
        match self.input.fill(limit)? {
            Filled::Some => Ok(None),
            Filled::TimedOut | Filled::End if is_idle && is_stopping => Ok(Some(End::Stopping)),
            Filled::TimedOut if is_idle => Ok(Some(End::Idle)),
            Filled::End => Ok(Some(End::Closed)),
            Filled::TimedOut => {
                let late = BadRequest {
                    status: Status::RequestTimeout,
                    reason: "the request did not arrive in time",
                };
                self.refuse(late).map(Some)
            }
        }
    }

    /// Skips the body of a request, so that it is never taken for the next request, or ends the connection.
    fn pass_body(&mut self, answered: &Answered) -> io::Result<Option<End>> {
        self.input.end_deadline();
        if !answered.keep_alive {
            self.responder.flush()?;
            let has_unread = answered.body != BodyLength::Exact(0) || !self.input.buffered().is_empty();
            if has_unread || answered.is_cut_short {
                linger(self.input.stream(), self.limits.linger_timeout);
            }
            return Ok(Some(End::Closed));
        }
        let mut decoder = BodyDecoder::new(answered.body);
        let mut skipped: u64 = 0;
        while !decoder.is_done() {
            if self.input.buffered().is_empty() {
                self.responder.flush()?;
                let limit = self.input.remaining(self.limits.head_timeout);
                match self.input.fill(limit)? {
                    Filled::Some => {}
                    Filled::End => return Ok(Some(End::Closed)),
                    Filled::TimedOut => return self.abandon(Status::RequestTimeout).map(Some),
                }
            }
            let Ok(decoded) = decoder.decode(self.input.buffered()) else {
                return self.abandon(Status::BadRequest).map(Some);
            };
            let consumed = decoded.consumed;
            self.input.consume(consumed);
            skipped += consumed as u64;
            if skipped > self.limits.unread_body_bytes_max {
                return self.abandon(Status::BadRequest).map(Some);
            }
        }
        self.input.end_deadline();
        Ok(None)
    }

    /// Answers a request that could not be read, and ends the connection.
    fn refuse(&mut self, bad: BadRequest) -> io::Result<End> {
        self.requests += 1;
        self.responder.refuse(bad, !begins_with_head_method(self.input.buffered()));
        self.abandon(bad.status)
    }

    /// Ends the connection in such a way that what has been answered arrives.
    fn abandon(&mut self, status: Status) -> io::Result<End> {
        self.responder.flush()?;
        linger(self.input.stream(), self.limits.linger_timeout);
        Ok(End::Refused(status))
    }
}

/// Whether a request, complete or not and however malformed behind its method, is a HEAD: no answer to that has a body, not
/// even a refusal (RFC 9110, section 9.3.2). Empty lines before a request do not count (RFC 9112, section 2.2).
fn begins_with_head_method(mut request: &[u8]) -> bool {
    while let Some(rest) = request.strip_prefix(b"\r\n") {
        request = rest;
    }
    request.starts_with(b"HEAD ")
}

/// How much of `limit`, counted from `since`, is left.
fn left_of(limit: Duration, since: Instant) -> Duration {
    limit.saturating_sub(since.elapsed())
}
