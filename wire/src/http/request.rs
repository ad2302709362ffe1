//! Request heads (RFC 9112, sections 2 and 3).

use super::body::BodyLength;
use super::fields::{BadFraming, Fields, Framing, Version, has_clean_line_ends, list_items};
use super::method::Method;
use super::status::Status;
use super::target::{Target, host_of};

/// The maximum length of the head of a request in bytes. Browsers stay far below it, even with cookies.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The maximum number of header fields of a request; browsers send about twenty.
pub const HEADER_COUNT_MAX: usize = 100;

/// The maximum length of a request target in bytes: the minimum that RFC 9110, section 4.1, recommends.
pub const TARGET_BYTES_MAX: usize = 8_000;

/// The maximum number of empty lines that are skipped before a request. Faulty clients send one.
const EMPTY_LINES_MAX: usize = 4;

/// `HTTP/1.1` and a CR.
const VERSION_BYTES_MAX: usize = 9;

/// A request that is refused for its head alone. The connection must be closed after the answer, because it is not certain
/// where the next request starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct BadRequest {
    pub status: Status,
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

/// The head of a valid request. Its method can be one that does not apply to files: the connection can be used on after
/// a 405 or 501.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead<'b> {
    pub method: Method,
    pub version: Version,
    pub target: Target<'b>,
    /// The requested host without its port: from an absolute-form target, else from the Host field (RFC 9112, section
    /// 3.2.2). Always there in HTTP/1.1.
    pub host: Option<&'b str>,
    pub fields: Fields<'b>,
    /// How the end of the body is found; almost always `Exact(0)`.
    pub body: BodyLength,
    /// Whether the connection persists after the answer (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Whether the client can wait for a 100 before it sends the body (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
    /// Whether there is an `If-Match`, `If-None-Match`, `If-Modified-Since` or `If-Unmodified-Since`. This and the next three
    /// save searching `fields` on the path of a cached answer.
    pub is_conditional: bool,
    pub has_range: bool,
    pub accepts_codings: bool,
    pub has_origin: bool,
    /// Length of the head including its empty line, in bytes: where the body starts in the buffer.
    pub head_bytes: usize,
}

/// A [`RequestHead`] that owns its texts, for a request that is answered after its buffer is reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    rest: RequestHead<'static>,
    path: Box<str>,
    query: Option<Box<str>>,
    host: Option<Box<str>>,
    fields: Box<[u8]>,
}

impl RequestHead<'_> {
    pub fn keep(&self) -> KeptHead {
        let nothing = Target { path: "", query: None };
        let Self { method, version, body, keep_alive, expects_continue, is_conditional, .. } = *self;
        let Self { has_range, accepts_codings, has_origin, head_bytes, .. } = *self;
        KeptHead {
            rest: RequestHead {
                method,
                version,
                target: nothing,
                host: None,
                fields: Fields::checked(&[]),
                body,
                keep_alive,
                expects_continue,
                is_conditional,
                has_range,
                accepts_codings,
                has_origin,
                head_bytes,
            },
            path: self.target.path.into(),
            query: self.target.query.map(Into::into),
            host: self.host.map(Into::into),
            fields: self.fields.as_bytes().into(),
        }
    }
}

impl KeptHead {
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead {
            target: Target { path: &self.path, query: self.query.as_deref() },
            host: self.host.as_deref(),
            fields: Fields::checked(&self.fields),
            ..self.rest.clone()
        }
    }
}

/// Reads the head of the request at the start of `buffer`; `None` if more bytes are needed.
///
/// Bytes after the first [`HEAD_BYTES_MAX`] are ignored, so that the result does not depend on how many have arrived.
///
/// # Errors
/// [`BadRequest`] as soon as it is certain that no further bytes make the head valid.
pub fn parse_request(buffer: &[u8]) -> Result<Option<RequestHead<'_>>, BadRequest> {
    let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
    let parsed = parse_window(window)?;
    if parsed.is_none() && window.len() == HEAD_BYTES_MAX {
        return Err(BadRequest::new(Status::HeaderFieldsTooLarge, "the head has more than 16 KiB"));
    }
    Ok(parsed)
}

fn parse_window(window: &[u8]) -> Result<Option<RequestHead<'_>>, BadRequest> {
    let start = empty_lines_bytes(window)?;
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
    let gathered = Gathered::from_headers(headers)?;
    let named_host = gathered.checked_host(line.version)?;
    let (target, target_host) = Target::parse(line.target, line.method)?;
    let body = gathered.body_length(line.version)?;
    if gathered.expects_the_unknown {
        return Err(BadRequest::new(
            Status::ExpectationFailed,
            "only the expectation 100-continue is supported",
        ));
    }
    Ok(Some(RequestHead {
        method: line.method,
        version: line.version,
        target,
        host: target_host.or(named_host),
        fields: Fields::checked(&rest[..rest_bytes - 2]),
        body,
        keep_alive: gathered.keeps_alive(line.version),
        // A server must not send 100 to an HTTP/1.0 client (RFC 9110, section 15.2).
        expects_continue: gathered.expects_continue && line.version == Version::Http11,
        is_conditional: gathered.is_conditional,
        has_range: gathered.has_range,
        accepts_codings: gathered.accepts_codings,
        has_origin: gathered.has_origin,
        head_bytes: fields_start + rest_bytes,
    }))
}

/// Length of the empty lines before a request, which are skipped because old clients send one after a body (RFC 9112, section
/// 2.2). Their number is bounded, because they are examined again whenever more bytes arrive.
fn empty_lines_bytes(window: &[u8]) -> Result<usize, BadRequest> {
    let lines = window.chunks_exact(2).take_while(|pair| pair == b"\r\n").take(EMPTY_LINES_MAX + 1).count();
    if lines > EMPTY_LINES_MAX {
        return Err(BadRequest::malformed("there are empty lines instead of a request"));
    }
    Ok(lines * 2)
}

struct RequestLine<'b> {
    method: Method,
    target: &'b [u8],
    version: Version,
    bytes: usize,
}

impl<'b> RequestLine<'b> {
    /// Checks the parts in the order in which they arrive, so that a line is refused alike however it is split.
    fn parse(window: &'b [u8]) -> Result<Option<Self>, BadRequest> {
        // No byte yet, or half of an empty line.
        if matches!(window, [] | [b'\r']) {
            return Ok(None);
        }
        let end = window.iter().position(|&byte| byte == b'\n');
        let line = &window[..end.unwrap_or(window.len())];
        let mut parts = line.splitn(3, |&byte| byte == b' ');
        let method = Method::parse(parts.next().unwrap_or_default())?;
        let target = parts.next();
        let version = parts.next();
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
            Err(BadRequest::new(Status::VersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are supported"))
        }
        _ => Err(BadRequest::malformed("the request line does not end with HTTP/1.1")),
    }
}

/// What one pass over the header fields has found.
#[derive(Default)]
struct Gathered<'b> {
    host: Option<&'b [u8]>,
    framing: Framing,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_the_unknown: bool,
    is_conditional: bool,
    has_range: bool,
    accepts_codings: bool,
    has_origin: bool,
}

impl<'b> Gathered<'b> {
    fn from_headers(headers: &[httparse::Header<'b>]) -> Result<Self, BadRequest> {
        let mut gathered = Self::default();
        for header in headers {
            // Most names differ in length, so few are compared.
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") => gathered.add_host(header.value)?,
                5 if is("range") => gathered.has_range = true,
                6 if is("origin") => gathered.has_origin = true,
                6 if is("expect") => gathered.add_expectations(header.value),
                8 if is("if-match") => gathered.is_conditional = true,
                10 if is("connection") => gathered.add_connection(header.value),
                13 if is("if-none-match") => gathered.is_conditional = true,
                14 if is("content-length") => gathered.framing.add_length(header.value)?,
                15 if is("accept-encoding") => gathered.accepts_codings = true,
                17 if is("transfer-encoding") => gathered.framing.add_codings(header.value)?,
                17 if is("if-modified-since") => gathered.is_conditional = true,
                19 if is("if-unmodified-since") => gathered.is_conditional = true,
                _ => {}
            }
        }
        Ok(gathered)
    }

    fn add_host(&mut self, value: &'b [u8]) -> Result<(), BadRequest> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(BadRequest::malformed("there is more than one Host field")),
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in list_items(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn add_expectations(&mut self, value: &[u8]) {
        for expectation in list_items(value) {
            match expectation.eq_ignore_ascii_case(b"100-continue") {
                true => self.expects_continue = true,
                false => self.expects_the_unknown = true,
            }
        }
    }

    /// Exactly one Host in HTTP/1.1, and never an invalid one (RFC 9112, section 3.2).
    fn checked_host(&self, version: Version) -> Result<Option<&'b str>, BadRequest> {
        match self.host {
            None if version == Version::Http10 => Ok(None),
            None => Err(BadRequest::malformed("the Host field is missing")),
            Some(host) => match std::str::from_utf8(host).ok().and_then(host_of) {
                None => Err(BadRequest::malformed("the Host field is malformed")),
                host => Ok(host),
            },
        }
    }

    /// Refuses every body whose end two recipients could see differently, because that allows request smuggling (RFC 9112,
    /// sections 6.1 and 6.3).
    fn body_length(&self, version: Version) -> Result<BodyLength, BadRequest> {
        if self.framing.is_coded && self.framing.length.is_some() {
            return Err(BadRequest::malformed("there are both Content-Length and Transfer-Encoding"));
        }
        if self.framing.is_coded && version == Version::Http10 {
            return Err(BadRequest::malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        // Without chunked as the last coding, the end of a request's body cannot be found (RFC 9112, section 6.3).
        if self.framing.is_coded && !self.framing.is_chunked {
            return Err(BadFraming::Coding.into());
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
            BadFraming::Length => Self::malformed("Content-Length is not a single number"),
            BadFraming::Coding => {
                Self::malformed("Transfer-Encoding must end with chunked, and name it once")
            }
            BadFraming::UnknownCoding => {
                Self::new(Status::NotImplemented, "only the transfer coding chunked is supported")
            }
        }
    }
}
