//! The conversation with the server.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use wire::http::{BadBody, BodyDecoder, BodyLength, Method, ResponseHead, parse_response};

use super::interrupt::{Interrupt, Waited};
use super::{Advice, Journal, Request, WebClientError};

/// Room for what is read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Most interim responses before the real one; more are a way to keep us waiting for ever.
const INTERIM_RESPONSES_MAX: usize = 16;

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection to each address of the host.
    pub connect: Duration,
    /// For any bytes to be sent or to arrive.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// The answer of a server, its body still to be read.
#[derive(Debug)]
pub struct Response {
    /// Status line and header fields.
    pub head: ResponseHead,
    /// The body.
    pub body: BodyReader,
}

/// A body that is on its way.
#[derive(Debug)]
pub struct BodyReader {
    incoming: Incoming,
    decoder: BodyDecoder,
    length: BodyLength,
    /// How much of it has been handed out.
    read_bytes: u64,
}

/// Sends a request and reads the head of the answer. Interim answers are skipped.
///
/// # Errors
/// [`WebClientError`]
pub fn fetch(
    request: &Request,
    method: Method,
    timeouts: &Timeouts,
    journal: &mut Journal,
) -> Result<Response, WebClientError> {
    let stream = connect(request, timeouts)?;
    if let Ok(address) = stream.peer_addr() {
        journal.detail(format_args!("connected to {address}"));
    }
    let mut incoming = Incoming {
        server: request.server(),
        stream,
        idle: timeouts.idle,
        interrupt: None,
        buffer: Vec::with_capacity(BUFFER_BYTES),
        used: 0,
    };
    let request_head = request.head(method);
    journal.sent(request_head.as_bytes());
    incoming.send(request_head.as_bytes())?;
    let head = incoming.read_head(journal)?;
    let length = head.body_length(method == Method::Head);
    let length = length.map_err(|cause| WebClientError::BadResponse { server: request.server(), cause })?;
    let decoder = BodyDecoder::of_response(length);
    Ok(Response { head, body: BodyReader { incoming, decoder, length, read_bytes: 0 } })
}

/// Tries every address of the host in the order of the system's resolver.
fn connect(request: &Request, timeouts: &Timeouts) -> Result<TcpStream, WebClientError> {
    let resolve_error = |cause| WebClientError::Resolve { host: request.host().to_owned(), cause };
    let addresses = (request.host(), request.port()).to_socket_addrs().map_err(resolve_error)?;
    let mut last_error = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeouts.connect) {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = Some(error),
        }
    }
    Err(match last_error {
        Some(cause) => WebClientError::Connect { server: request.server(), cause },
        None => resolve_error(io::Error::new(ErrorKind::NotFound, "it has no address")),
    })
}

impl BodyReader {
    /// The next part of the body; none at its end.
    ///
    /// # Errors
    /// [`WebClientError::BadBody`] if the body is damaged or ends too early, [`WebClientError::Lost`] if the
    /// connection does.
    pub fn next_part(&mut self) -> Result<Option<&[u8]>, WebClientError> {
        let range = loop {
            if self.decoder.is_done() {
                return Ok(None);
            }
            let used = self.incoming.used;
            let decoded = self.decoder.decode(&self.incoming.buffer[used..]);
            let (consumed, data_bytes) = match decoded {
                Ok(decoded) => (decoded.consumed, decoded.data.len()),
                Err(cause) => return Err(self.incoming.bad_body(cause)),
            };
            self.incoming.used += consumed;
            if data_bytes > 0 {
                // The data is the last part of what was consumed.
                break self.incoming.used - data_bytes..self.incoming.used;
            }
            if !self.decoder.is_done() && self.incoming.read()? == 0 {
                let end = self.decoder.finish();
                return end.map(|()| None).map_err(|e| self.incoming.bad_body(e));
            }
        };
        self.read_bytes += range.len() as u64;
        Ok(Some(&self.incoming.buffer[range]))
    }

    /// How many bytes there have been so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The error of a body that has ended before what it is a part of.
    pub(super) fn truncated(&self) -> WebClientError {
        self.incoming.bad_body(BadBody::Truncated)
    }

    /// From now on SIGINT and SIGTERM end the wait for the rest with [`WebClientError::Interrupted`].
    pub(super) fn catch_signals(&mut self) -> io::Result<()> {
        self.incoming.interrupt = Some(Interrupt::catch()?);
        Ok(())
    }

    /// How many bytes the server has announced, if it has.
    pub fn announced_bytes(&self) -> Option<u64> {
        match self.length {
            BodyLength::Exact(bytes) => Some(bytes),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }
}

/// What comes from the server: `buffer[used..]` is yet to be looked at.
#[derive(Debug)]
struct Incoming {
    server: String,
    stream: TcpStream,
    /// How long to wait for bytes.
    idle: Duration,
    interrupt: Option<Interrupt>,
    buffer: Vec<u8>,
    used: usize,
}

impl Incoming {
    fn send(&mut self, head: &[u8]) -> Result<(), WebClientError> {
        let sent = self
            .stream
            .set_read_timeout(Some(self.idle))
            .and_then(|()| self.stream.set_write_timeout(Some(self.idle)))
            .and_then(|()| self.stream.write_all(head));
        sent.map_err(|cause| self.lost(cause))
    }

    fn read_head(&mut self, journal: &mut Journal) -> Result<ResponseHead, WebClientError> {
        let (sent_at, mut is_first) = (Instant::now(), true);
        let mut interim_responses = 0;
        loop {
            let parsed = parse_response(&self.buffer[self.used..]);
            let parsed =
                parsed.map_err(|cause| WebClientError::BadResponse { server: self.server.clone(), cause })?;
            match parsed {
                Some(head) => {
                    journal.received(&self.buffer[self.used..self.used + head.head_bytes]);
                    self.used += head.head_bytes;
                    if head.status >= 200 {
                        return Ok(head);
                    }
                    interim_responses += 1;
                    if !head.is_interim() || interim_responses > INTERIM_RESPONSES_MAX {
                        let server = self.server.clone();
                        return Err(WebClientError::NoFinalAnswer { server, status: head.status });
                    }
                }
                None if self.read()? == 0 => {
                    return Err(WebClientError::NoAnswer { server: self.server.clone() });
                }
                None if is_first => {
                    is_first = false;
                    journal.detail(format_args!("first byte after {:.1?}", sent_at.elapsed()));
                }
                None => {}
            }
        }
    }

    /// Reads once behind what is there. Returns 0 at the end.
    fn read(&mut self) -> Result<usize, WebClientError> {
        self.wait()?;
        self.buffer.drain(..self.used);
        self.used = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + BUFFER_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
        read.map_err(|cause| self.lost(cause))
    }

    /// Waits for bytes and signals, if signals are caught; else reading itself waits.
    fn wait(&self) -> Result<(), WebClientError> {
        let Some(interrupt) = &self.interrupt else {
            return Ok(());
        };
        match interrupt.wait(&self.stream, self.idle) {
            Ok(Waited::Readable) => Ok(()),
            Ok(Waited::Signal(signal)) => {
                Err(WebClientError::Interrupted { signal, advice: Advice::default() })
            }
            Ok(Waited::TimedOut) => Err(self.lost(ErrorKind::TimedOut.into())),
            Err(cause) => Err(self.lost(cause)),
        }
    }

    fn lost(&self, cause: io::Error) -> WebClientError {
        let cause = match cause.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::new(ErrorKind::TimedOut, "nothing came for too long")
            }
            _ => cause,
        };
        WebClientError::Lost { server: self.server.clone(), cause, advice: Advice::default() }
    }

    fn bad_body(&self, cause: BadBody) -> WebClientError {
        WebClientError::BadBody { server: self.server.clone(), cause, advice: Advice::default() }
    }
}
