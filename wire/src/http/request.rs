//! Request heads (RFC 9112, sections 2 and 3).

use super::body::BodyLength;
use super::fields::{BadFraming, Fields, Framing, Version, has_clean_line_ends, list_items};
use super::method::Method;
use super::status::Status;
use super::target::{Target, is_authority};

/// Longest head of a request. Browsers stay far below it even with cookies; an idle connection need not keep more.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields in one request; browsers send about twenty.
pub const HEADER_COUNT_MAX: usize = 100;

/// Longest target: what RFC 9110, section 4.1, asks everybody to support.
pub const TARGET_BYTES_MAX: usize = 8_000;

/// No method in IANA's registry has more than 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// `HTTP/1.1` and a CR.
const VERSION_BYTES_MAX: usize = 9;

/// A request that is refused before anybody looks for a file. The connection is closed after the answer, because
/// where the next request starts is no longer certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct BadRequest {
    /// The answer.
    pub status: Status,
    /// Why, for the person at the other end.
    pub reason: &'static str,
}

impl BadRequest {
    pub(super) fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(super) fn malformed(reason: &'static str) -> Self {
        Self::new(Status::BadRequest, reason)
    }
}

/// The head of a request that has passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead<'b> {
    /// The method.
    pub method: Method,
    /// The version of the client.
    pub version: Version,
    /// What is asked for.
    pub target: Target<'b>,
    /// All header fields.
    pub fields: Fields<'b>,
    /// How long the body is that follows; almost always `Exact(0)`.
    pub body: BodyLength,
    /// Whether the client wants the connection to stay open (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Whether the client may hold its body back until it is asked for it (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
    /// Whether there is an `If-None-Match` or `If-Modified-Since`; without, nobody needs to look for them.
    pub is_conditional: bool,
    /// Length of the head with the empty line that ends it: where the body starts in the buffer.
    pub head_bytes: usize,
}

/// Reads one request head from the start of `buffer`: none if more bytes are needed.
///
/// Only the first [`HEAD_BYTES_MAX`] bytes are looked at, so that the result does not depend on how they arrived.
///
/// # Errors
/// [`BadRequest`] as soon as it is certain.
pub fn parse_request(buffer: &[u8]) -> Result<Option<RequestHead<'_>>, BadRequest> {
    let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
    let parsed = parse_window(window)?;
    if parsed.is_none() && window.len() == HEAD_BYTES_MAX {
        return Err(BadRequest::new(Status::HeaderFieldsTooLarge, "the head has more than 16 KiB"));
    }
    Ok(parsed)
}

fn parse_window(window: &[u8]) -> Result<Option<RequestHead<'_>>, BadRequest> {
    let start = empty_lines_bytes(window);
    let Some(line) = RequestLine::parse(&window[start..])? else {
        return Ok(None);
    };
    let fields_start = start + line.bytes;
    let rest = &window[fields_start..];
    let mut slots = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let (rest_bytes, headers) = match httparse::parse_headers(rest, &mut slots) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(BadRequest::new(
                Status::HeaderFieldsTooLarge,
                "there are more than 100 header fields",
            ));
        }
        Err(_) => return Err(BadRequest::malformed("a header field is malformed")),
    };
    if !has_clean_line_ends(&rest[..rest_bytes]) {
        return Err(BadRequest::malformed("a line does not end with CR LF"));
    }
    let method = Method::parse(line.method)?;
    let gathered = Gathered::from_headers(headers)?;
    gathered.check_host(line.version)?;
    let target = Target::parse(line.target)?;
    Ok(Some(RequestHead {
        method,
        version: line.version,
        target,
        fields: Fields::checked(&rest[..rest_bytes - 2]),
        body: gathered.body_length(line.version)?,
        keep_alive: gathered.keeps_alive(line.version),
        expects_continue: gathered.expects_continue,
        is_conditional: gathered.is_conditional,
        head_bytes: fields_start + rest_bytes,
    }))
}

/// Some old clients send an extra line end after a body; it is skipped (RFC 9112, section 2.2).
fn empty_lines_bytes(window: &[u8]) -> usize {
    window.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// The three parts of the first line.
struct RequestLine<'b> {
    method: &'b [u8],
    target: &'b [u8],
    version: Version,
    bytes: usize,
}

impl<'b> RequestLine<'b> {
    /// Checks lengths first, in the order of the bytes, so that a line is refused alike however it arrives.
    fn parse(window: &'b [u8]) -> Result<Option<Self>, BadRequest> {
        let end = window.iter().position(|&byte| byte == b'\n');
        let line = &window[..end.unwrap_or(window.len())];
        let mut parts = line.splitn(3, |&byte| byte == b' ');
        let method = parts.next().unwrap_or_default();
        let target = parts.next();
        let version = parts.next();
        if method.len() > METHOD_BYTES_MAX {
            return Err(BadRequest::new(Status::NotImplemented, "the method is longer than any"));
        }
        if target.is_some_and(|target| target.len() > TARGET_BYTES_MAX) {
            return Err(BadRequest::new(Status::UriTooLong, "the target has more than 8000 bytes"));
        }
        if version.is_some_and(|version| version.len() > VERSION_BYTES_MAX) {
            return Err(BadRequest::malformed("the request line is not METHOD TARGET VERSION"));
        }
        let Some(end) = end else { return Ok(None) };
        let (Some(target), Some(version)) = (target, version) else {
            return Err(BadRequest::malformed("the request line is not METHOD TARGET VERSION"));
        };
        let version =
            version.strip_suffix(b"\r").ok_or(BadRequest::malformed("a line does not end with CR LF"))?;
        Ok(Some(Self { method, target, version: parse_version(version)?, bytes: end + 1 }))
    }
}

fn parse_version(text: &[u8]) -> Result<Version, BadRequest> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(BadRequest::new(Status::VersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        _ => Err(BadRequest::malformed("the request line does not end with HTTP/1.1")),
    }
}

/// What one pass over the header fields finds.
#[derive(Default)]
struct Gathered<'b> {
    host: Option<&'b [u8]>,
    framing: Framing,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    is_conditional: bool,
}

impl<'b> Gathered<'b> {
    fn from_headers(headers: &[httparse::Header<'b>]) -> Result<Self, BadRequest> {
        let mut gathered = Self::default();
        for header in headers {
            // The lengths of names decide most of the time, without a comparison.
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") => gathered.add_host(header.value)?,
                6 if is("expect") => {
                    gathered.expects_continue |= header.value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if is("connection") => gathered.add_connection(header.value),
                13 if is("if-none-match") => gathered.is_conditional = true,
                14 if is("content-length") => gathered.framing.add_length(header.value)?,
                17 if is("transfer-encoding") => gathered.framing.add_codings(header.value)?,
                17 if is("if-modified-since") => gathered.is_conditional = true,
                _ => {}
            }
        }
        Ok(gathered)
    }

    fn add_host(&mut self, value: &'b [u8]) -> Result<(), BadRequest> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(BadRequest::malformed("there is more than one Host")),
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in list_items(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Exactly one Host in HTTP/1.1, and never an invalid one (RFC 9112, section 3.2).
    fn check_host(&self, version: Version) -> Result<(), BadRequest> {
        match self.host {
            None if version == Version::Http10 => Ok(()),
            None => Err(BadRequest::malformed("there is no Host")),
            Some(host) if is_authority(host) => Ok(()),
            Some(_) => Err(BadRequest::malformed("the Host is not a host name")),
        }
    }

    /// RFC 9112, sections 6.1 and 6.3: whatever could be read in two ways is refused.
    fn body_length(&self, version: Version) -> Result<BodyLength, BadRequest> {
        if self.framing.is_contradictory() {
            return Err(BadRequest::malformed("there are both Content-Length and Transfer-Encoding"));
        }
        if self.framing.is_coded() && version == Version::Http10 {
            return Err(BadRequest::malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        let length = self.framing.body_length()?;
        Ok(length.unwrap_or(BodyLength::Exact(0)))
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

impl From<BadFraming> for BadRequest {
    fn from(bad: BadFraming) -> Self {
        match bad {
            BadFraming::Length => Self::malformed("Content-Length is not one number"),
            BadFraming::Coding => Self::malformed("Transfer-Encoding does not end with one chunked"),
            BadFraming::UnknownCoding => {
                Self::new(Status::NotImplemented, "no Transfer-Encoding but chunked is understood")
            }
        }
    }
}
