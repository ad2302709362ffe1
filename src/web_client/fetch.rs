//! The conversation with the server.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use wire::http::{BodyDecoder, BodyLength, Method, ResponseHead, parse_response};

use super::{Request, WebClientError};

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
}

/// Sends a request and reads the head of the answer. Interim answers are skipped.
///
/// # Errors
/// [`WebClientError`]
pub fn fetch(request: &Request, method: Method, timeouts: &Timeouts) -> Result<Response, WebClientError> {
    let mut incoming = Incoming {
        server: request.server(),
        stream: connect(request, timeouts)?,
        buffer: Vec::with_capacity(BUFFER_BYTES),
        used: 0,
    };
    incoming.send(request.head(method).as_bytes(), timeouts)?;
    let head = incoming.read_head()?;
    let length = head.body_length(method == Method::Head);
    let length = length.map_err(|cause| WebClientError::BadResponse { server: request.server(), cause })?;
    Ok(Response { head, body: BodyReader { incoming, decoder: BodyDecoder::of_response(length), length } })
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
        Ok(Some(&self.incoming.buffer[range]))
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
    buffer: Vec<u8>,
    used: usize,
}

impl Incoming {
    fn send(&mut self, head: &[u8], timeouts: &Timeouts) -> Result<(), WebClientError> {
        let sent = self
            .stream
            .set_read_timeout(Some(timeouts.idle))
            .and_then(|()| self.stream.set_write_timeout(Some(timeouts.idle)))
            .and_then(|()| self.stream.write_all(head));
        sent.map_err(|cause| self.lost(cause))
    }

    fn read_head(&mut self) -> Result<ResponseHead, WebClientError> {
        let mut interim_responses = 0;
        loop {
            let parsed = parse_response(&self.buffer[self.used..]);
            let parsed =
                parsed.map_err(|cause| WebClientError::BadResponse { server: self.server.clone(), cause })?;
            match parsed {
                Some(head) => {
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
                None => {}
            }
        }
    }

    /// Reads once behind what is there. Returns 0 at the end.
    fn read(&mut self) -> Result<usize, WebClientError> {
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

    fn lost(&self, cause: io::Error) -> WebClientError {
        let cause = match cause.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::new(ErrorKind::TimedOut, "nothing came for too long")
            }
            _ => cause,
        };
        WebClientError::Lost { server: self.server.clone(), cause }
    }

    fn bad_body(&self, cause: wire::http::BadBody) -> WebClientError {
        WebClientError::BadBody { server: self.server.clone(), cause }
    }
}
