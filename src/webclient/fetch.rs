//! One HTTP exchange: connect, send the request, read the response.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::ops::Range;
use std::time::{Duration, Instant};

use wire::http::{BadBody, BadResponse, BodyDecoder, BodyLength, Method, ResponseHead, parse_response};

use super::interrupt::Interrupt;
use super::secure::secure;
use super::{Journal, Request, Scheme, WebClientError};
use crate::stream::Stream;

const BUFFER_BYTES: usize = 64 * 1024;

/// A server could send interim responses (status 1xx) without end; after this many the client gives up.
const INTERIM_RESPONSES_MAX: usize = 16;

const NO_WEB_SERVER: &str = "check that it is a web server";
const USE_HTTPS: &str = "request https://HOST:PORT/FILE instead";

#[derive(Debug, Clone)]
pub(super) struct Timeouts {
    /// For each address of the host.
    pub(super) connect: Duration,
    /// Without any byte sent or received.
    pub(super) idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) head: ResponseHead,
    pub(super) body: BodyReader,
}

#[derive(Debug)]
pub(super) struct BodyReader {
    incoming: Incoming,
    decoder: BodyDecoder,
    length: BodyLength,
    read_bytes: u64,
    /// The length that Content-Range gives, and the error text for a longer body.
    expected: Option<(u64, String)>,
}

/// Sends a request and reads the head of the response. Skips interim responses.
pub(super) fn fetch(
    request: &Request,
    method: Method,
    timeouts: &Timeouts,
    journal: Journal,
) -> Result<Response, WebClientError> {
    let stream = connect(request, timeouts)?;
    if let Ok(address) = stream.peer_addr() {
        journal.detail(format_args!("connected to {address}"));
    }
    let timeouts_set = stream
        .set_read_timeout(Some(timeouts.idle))
        .and_then(|()| stream.set_write_timeout(Some(timeouts.idle)));
    timeouts_set.map_err(|cause| WebClientError::missing(format!("cannot use the connection: {cause}")))?;
    let stream = match request.scheme {
        Scheme::Http => stream.into(),
        Scheme::Https => secure(request, stream, journal)?,
    };
    let mut incoming = Incoming {
        server: request.server(),
        port: request.port,
        stream,
        interrupt: None,
        buffer: Vec::with_capacity(BUFFER_BYTES),
        used: 0,
    };
    let request_head = request.head(method);
    journal.sent(request_head.as_bytes());
    incoming.send(request_head.as_bytes())?;
    let head = incoming.read_head(journal)?;
    let length = head.body_length(method == Method::Head);
    let length = length.map_err(|cause| incoming.bad_response(cause))?;
    let decoder = BodyDecoder::of_response(length);
    Ok(Response { head, body: BodyReader { incoming, decoder, length, read_bytes: 0, expected: None } })
}

/// Tries every address of the host in the order of the system's resolver.
fn connect(request: &Request, timeouts: &Timeouts) -> Result<TcpStream, WebClientError> {
    let host = &request.host;
    let no_address = |cause: &dyn Display| {
        let what = format!("cannot find the address of {host}: {cause}");
        WebClientError::no_response(what, "check the name of the host")
    };
    let addresses = (host.as_str(), request.port).to_socket_addrs().map_err(|cause| no_address(&cause))?;
    let mut last_error = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeouts.connect) {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = Some(error),
        }
    }
    let cause = last_error.ok_or_else(|| no_address(&"it has none"))?;
    let what = format!("cannot connect to {}: {cause}", request.server());
    Err(WebClientError::no_response(what, "check that the server is running there"))
}

impl BodyReader {
    /// The next piece of the body; none at its end.
    pub(super) fn next_piece(&mut self) -> Result<Option<&[u8]>, WebClientError> {
        let range = self.next_range()?;
        self.read_bytes += range.len() as u64;
        match &self.expected {
            Some((bytes, too_long)) if self.read_bytes > *bytes => {
                Err(WebClientError::wrong_part(&self.incoming.server, too_long))
            }
            Some((bytes, _)) if range.is_empty() && self.read_bytes < *bytes => Err(self.truncated()),
            _ if range.is_empty() => Ok(None),
            _ => Ok(Some(&self.incoming.buffer[range])),
        }
    }

    /// Where in the buffer the next piece is; empty at the end.
    fn next_range(&mut self) -> Result<Range<usize>, WebClientError> {
        while !self.decoder.is_done() {
            let decoded = self.decoder.decode(&self.incoming.buffer[self.incoming.used..]);
            let (consumed, data_bytes) = match decoded {
                Ok(decoded) => (decoded.consumed, decoded.data.len()),
                Err(cause) => return Err(self.incoming.bad_body(cause)),
            };
            self.incoming.used += consumed;
            if data_bytes > 0 {
                // The data is the last part of what was consumed.
                return Ok(self.incoming.used - data_bytes..self.incoming.used);
            }
            if !self.decoder.is_done() && self.incoming.read()? == 0 {
                self.decoder.finish().map_err(|cause| self.incoming.bad_body(cause))?;
                break;
            }
        }
        Ok(0..0)
    }

    /// Makes a body of another length an error, with the text `too_long` for a longer one.
    pub(super) fn expect_bytes(&mut self, bytes: u64, too_long: String) {
        self.expected = Some((bytes, too_long));
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The error for a body that ends before the file does.
    pub(super) fn truncated(&self) -> WebClientError {
        self.incoming.bad_body(BadBody::Truncated)
    }

    /// Makes reads fail after SIGINT and SIGTERM, so that the caller can clean up.
    pub(super) fn catch_signals(&mut self) -> io::Result<()> {
        self.incoming.interrupt = Some(Interrupt::catch(self.incoming.stream.socket())?);
        Ok(())
    }

    pub(super) fn announced_bytes(&self) -> Option<u64> {
        match self.length {
            BodyLength::Exact(bytes) => Some(bytes),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }
}

/// The receiving side of the connection. `buffer[used..]` is not parsed yet.
#[derive(Debug)]
struct Incoming {
    server: String,
    port: u16,
    stream: Stream,
    interrupt: Option<Interrupt>,
    buffer: Vec<u8>,
    used: usize,
}

impl Incoming {
    fn send(&mut self, head: &[u8]) -> Result<(), WebClientError> {
        let sent = (&self.stream).write_all(head);
        sent.map_err(|cause| self.lost(cause))
    }

    fn read_head(&mut self, journal: Journal) -> Result<ResponseHead, WebClientError> {
        let (sent_at, mut is_first) = (Instant::now(), true);
        let mut interim_responses = 0;
        loop {
            let buffer = &self.buffer[self.used..];
            if is_tls_record(buffer) {
                let what = format!("{} seems to speak TLS (https)", self.server);
                return Err(WebClientError::no_response(what, USE_HTTPS));
            }
            match parse_response(buffer).map_err(|cause| self.bad_response(cause))? {
                Some(head) => {
                    journal.received(&self.buffer[self.used..self.used + head.head_bytes]);
                    self.used += head.head_bytes;
                    if head.status >= 200 {
                        return Ok(head);
                    }
                    interim_responses += 1;
                    if !head.is_interim() || interim_responses > INTERIM_RESPONSES_MAX {
                        let what =
                            format!("{} answered {} and sent no final response", self.server, head.status);
                        return Err(WebClientError::no_response(what, NO_WEB_SERVER));
                    }
                }
                None if self.read()? == 0 => {
                    return Err(no_answer(&self.server, self.port));
                }
                None if is_first => {
                    is_first = false;
                    journal.detail(format_args!("first byte after {:.1?}", sent_at.elapsed()));
                }
                None => {}
            }
        }
    }

    /// Appends what one read brings. Returns 0 at the end of the connection.
    fn read(&mut self) -> Result<usize, WebClientError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + BUFFER_BYTES, 0);
        let read = loop {
            match (&self.stream).read(&mut self.buffer[filled..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
        // A signal shuts the connection down, which looks like its end.
        match self.interrupt.as_ref().and_then(Interrupt::received) {
            Some(exit_status) => Err(WebClientError::interrupted(exit_status)),
            None => read.map_err(|cause| self.lost(cause)),
        }
    }

    fn lost(&self, cause: io::Error) -> WebClientError {
        let cause = match cause.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::new(ErrorKind::TimedOut, "no data arrived in time")
            }
            _ => cause,
        };
        WebClientError::missing(format!("lost the connection to {}: {cause}", self.server))
    }

    fn bad_response(&self, cause: BadResponse) -> WebClientError {
        WebClientError::no_response(format!("cannot understand {}: {cause}", self.server), NO_WEB_SERVER)
    }

    fn bad_body(&self, cause: BadBody) -> WebClientError {
        WebClientError::missing(format!("the file from {} is incomplete: {cause}", self.server))
    }
}

/// The error for a connection that ends without a byte, as servers that expect TLS often end it.
fn no_answer(server: &str, port: u16) -> WebClientError {
    let what = format!("{server} closed the connection without an answer");
    if port != Scheme::Https.default_port() {
        return WebClientError::no_response(what, NO_WEB_SERVER);
    }
    WebClientError::no_response(format!("{what}; the port seems to speak TLS (https)"), USE_HTTPS)
}

/// Whether these bytes start like an alert or a handshake message of TLS (RFC 8446, section 5.1).
fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_https_is_known() {
        for (port, is_tls) in [(443, true), (80, false)] {
            assert_eq!(
                no_answer("a", port).to_string().contains("seems to speak TLS (https)"),
                is_tls,
                "{port}"
            );
        }
    }
}
