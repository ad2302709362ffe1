//! The request and the URL that it is for.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use wire::http::Method;

use super::field::Field;
use super::range::Ranges;
use super::{Check, Scheme, Url};

/// A request for one file of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) scheme: Scheme,
    /// How certificates are checked.
    pub(super) check: Check,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The request target: starts with a slash. Characters that a request cannot carry are percent-encoded; a query after `?`
    /// and existing percent-encodings stay.
    pub(super) target: String,
    /// They replace the default fields of the same name.
    pub(super) fields: Vec<Field>,
    /// None for the whole file.
    pub(super) ranges: Option<Ranges>,
    /// The validator of `If-Range`: if the file has another one, the server ignores the ranges.
    pub(super) if_range: Option<String>,
}

impl Request {
    /// `host` is a name or an address, an IPv6 address with or without brackets. `file` is a path, with or without a
    /// slash at its start; see [`Request::target`].
    pub(super) fn new(host: &str, port: u16, file: &str) -> Result<Self, &'static str> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_name = |text: &str| {
            let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_name_byte)
        };
        if !is_name(bare) && without_zone(bare).parse::<Ipv6Addr>().is_err() {
            return Err("a host is a name, an IPv4 address or an IPv6 address, without http:// and path");
        }
        let (host, target) = (bare.to_owned(), encode_target(file));
        let (scheme, check) = (Scheme::default(), Check::default());
        Ok(Self { scheme, check, host, port, target, fields: Vec::new(), ranges: None, if_range: None })
    }

    pub(super) fn of_url(url: &Url) -> Result<Self, &'static str> {
        Ok(Self { scheme: url.scheme, ..Self::new(&url.host, url.port, &url.file)? })
    }

    /// Whether the user has sent an `Accept-Encoding`.
    pub(super) fn accepts_codings(&self) -> bool {
        self.fields.iter().any(|field| field.is_called("accept-encoding"))
    }

    /// Asks for what follows the first `have` bytes if the file still has this `validator`, and for the whole file if not (RFC
    /// 9110, section 13.1.5).
    #[must_use]
    pub(super) fn continued(mut self, have: u64, validator: &str) -> Self {
        self.ranges = Some(Ranges::from(have));
        self.if_range = Some(validator.to_owned());
        self
    }

    /// The same request to the target of a redirection. To another origin (scheme, host and port) it carries no header fields that
    /// may be secret. They stay dropped if that origin redirects back, since it would choose the path.
    pub(super) fn redirected(&self, url: &Url) -> Result<Self, &'static str> {
        let mut next = Self { check: self.check.clone(), ..Self::of_url(url)? };
        let is_same_host = next.host.eq_ignore_ascii_case(without_zone(&self.host));
        let is_same_origin = is_same_host && next.port == self.port && next.scheme == self.scheme;
        if is_same_origin {
            // Keeps the zone of an IPv6 address, which the server cannot know.
            next.host.clone_from(&self.host);
        }
        next.fields = self.fields.iter().filter(|f| is_same_origin || f.may_travel()).cloned().collect();
        next.ranges.clone_from(&self.ranges);
        Ok(next)
    }

    /// Host and port, for messages.
    pub(super) fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme.name(), self.authority(), self.target)
    }

    fn authority(&self) -> String {
        let mut authority = if self.host.contains(':') {
            // A zone is local to this machine (RFC 6874, section 4).
            format!("[{}]", without_zone(&self.host))
        } else {
            self.host.clone()
        };
        if self.port != self.scheme.default_port() {
            // Writing into a String cannot fail.
            let _ = write!(authority, ":{}", self.port);
        }
        authority
    }

    /// The bytes of the request (RFC 9112, section 3).
    pub(super) fn head(&self, method: Method) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", method.as_str(), self.target);
        let mut add = |name: &str, value: &str| {
            // Writing into a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        let defaults = [
            ("Host", self.authority()),
            ("User-Agent", format!("switchboard-webclient/{}", env!("CARGO_PKG_VERSION"))),
            ("Accept", "*/*".to_owned()),
        ];
        for (name, value) in &defaults {
            let mut given = self.fields.iter().filter(|field| field.is_called(name)).peekable();
            if given.peek().is_none() {
                add(name, value);
            }
            given.for_each(|field| add(name, &field.value));
        }
        let is_default = |field: &Field| defaults.iter().any(|(name, _)| field.is_called(name));
        for field in self.fields.iter().filter(|field| !is_default(field)) {
            add(&field.name, &field.value);
        }
        if let Some(ranges) = &self.ranges {
            add("Range", &format!("bytes={ranges}"));
        }
        if let Some(validator) = &self.if_range {
            add("If-Range", validator);
        }
        add("Connection", "close");
        head.push_str("\r\n");
        head
    }
}

fn without_zone(host: &str) -> &str {
    host.split_once('%').map_or(host, |(address, _)| address)
}

fn encode_target(file: &str) -> String {
    let (path, query) = match file.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (file, None),
    };
    let mut target = String::with_capacity(file.len() + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    encode(path, b"/-._~!$&'()*+,;=:@", &mut target);
    if let Some(query) = query {
        target.push('?');
        encode(query, b"/?-._~!$&'()*+,;=:@", &mut target);
    }
    target
}

/// Percent-encodes what servers often put into `Location` although it is not allowed in a URI, such as spaces.
pub(super) fn encode_reference(text: &str) -> String {
    let mut reference = String::with_capacity(text.len());
    encode(text, b"/?#[]-._~!$&'()*+,;=:@", &mut reference);
    reference
}

/// Appends `text`, percent-encoded except for letters, digits, `plain` and existing encodings.
fn encode(text: &str, plain: &[u8], target: &mut String) {
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let is_escape = byte == b'%'
            && matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit));
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) || is_escape {
            target.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
}
