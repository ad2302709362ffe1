//! Request targets and the paths that they name (RFC 9112, section 3.2; RFC 3986).

use std::fmt::{self, Write as _};

use super::method::Method;
use super::request::BadRequest;
use super::status::Status;

/// A request's target, split but not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'b> {
    /// The path as it was sent; it starts with a slash. Two targets are no paths: the `*` of `OPTIONS *`, and the host and
    /// port of a CONNECT.
    pub path: &'b str,
    /// What follows the first question mark.
    pub query: Option<&'b str>,
}

impl<'b> Target<'b> {
    /// Whether the whole server is meant (RFC 9112, section 3.2.4). Only an OPTIONS can say so.
    pub fn is_asterisk(&self) -> bool {
        self.path == "*"
    }

    /// Reads the target of a request with `method`, and the host in it if it has one: an origin-form (`/a?b`), an
    /// absolute-form (`http://host/a?b`), for OPTIONS also `*`, for CONNECT only an authority (RFC 9112, section 3.2).
    pub(super) fn parse(target: &'b [u8], method: Method) -> Result<(Self, Option<&'b str>), BadRequest> {
        let bad = BadRequest::malformed("the target is not a path");
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(bad);
        }
        let target = std::str::from_utf8(target).map_err(|_| bad)?;
        if method == Method::Other("CONNECT") {
            let host = host_of(target).ok_or(bad)?;
            return Ok((Self { path: target, query: None }, Some(host)));
        }
        if target.starts_with('/') {
            return Ok((Self::split(target), None));
        }
        if target == "*" && method == Method::Options {
            return Ok((Self { path: target, query: None }, None));
        }
        let (scheme, rest) = target.split_once("://").ok_or(bad)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(bad);
        }
        let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_start);
        let host = host_of(authority).ok_or(bad)?;
        let target = match path.strip_prefix('?') {
            // Only so can a proxy ask for `OPTIONS *` of another server (RFC 9112, section 3.2.4).
            None if path.is_empty() && method == Method::Options => Self { path: "*", query: None },
            None if path.is_empty() => Self { path: "/", query: None },
            None => Self::split(path),
            query => Self { path: "/", query },
        };
        Ok((target, Some(host)))
    }

    fn split(target: &'b str) -> Self {
        match target.split_once('?') {
            Some((path, query)) => Self { path, query: Some(query) },
            None => Self { path: target, query: None },
        }
    }
}

/// The host in a host with an optional port (RFC 3986, sections 3.2.2 and 3.2.3), an IPv6 address with its brackets. None
/// for anything else; user names are not accepted.
pub(super) fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.find(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_host_byte),
    };
    let port_is_good = match port.strip_prefix(':') {
        Some(port) => port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    (host_is_good && port_is_good).then_some(host)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Why a path names nothing on the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    Escape,
    /// Not UTF-8, or with control characters.
    #[error("the path is not text")]
    Text,
    /// A component `.` or `..`, which clients resolve themselves (RFC 3986, section 5.2.4).
    #[error("the path has a . or .. in it")]
    Dots,
    /// A component that starts with a dot, or an escaped slash within one: nothing is served under such a name.
    #[error("there is nothing under such a name")]
    Hidden,
}

impl BadPath {
    /// The answer to a request for it.
    pub fn status(self) -> Status {
        match self {
            Self::Escape | Self::Text | Self::Dots => Status::BadRequest,
            Self::Hidden => Status::NotFound,
        }
    }
}

/// A path on the site: decoded once, relative, and without any component that could lead out of the web root or, unless
/// it was decoded so, to a hidden file. Links are another matter: whoever opens it must see to them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SitePath {
    /// Components joined by single slashes, none at either end; empty for the root.
    relative: String,
    is_directory: bool,
}

impl SitePath {
    /// Decodes the path of a request's target; names that start with a dot are [`BadPath::Hidden`].
    ///
    /// # Errors
    /// [`BadPath`]
    pub fn decode(path: &str) -> Result<Self, BadPath> {
        Self::decode_with(path, false)
    }

    /// Like [`SitePath::decode`], and says whether names that start with a dot are served. `.` and `..` never are.
    ///
    /// # Errors
    /// [`BadPath`]
    pub fn decode_with(path: &str, serves_hidden: bool) -> Result<Self, BadPath> {
        let mut relative = String::with_capacity(path.len());
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let component = decode_component(component, serves_hidden)?;
            if !relative.is_empty() {
                relative.push('/');
            }
            relative.push_str(&component);
        }
        let is_directory = relative.is_empty() || path.ends_with('/');
        Ok(Self { relative, is_directory })
    }

    /// The path below the web root, without a slash at either end; empty for the root itself.
    pub fn as_str(&self) -> &str {
        &self.relative
    }

    /// Whether the path ends with a slash, and so can only name a directory.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The same path with a slash at its end, as a reference for a `Location`. It starts with exactly one slash, so
    /// no client takes a part of it for a host.
    pub fn directory_location(&self) -> String {
        let mut location = String::with_capacity(self.relative.len() + 2);
        location.push('/');
        if !self.relative.is_empty() {
            location.push_str(&percent_encode_path(&self.relative));
            location.push('/');
        }
        location
    }
}

impl fmt::Debug for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.is_directory { "/" } else { "" };
        write!(f, "{:?}{slash}", self.relative)
    }
}

fn decode_component(component: &str, serves_hidden: bool) -> Result<String, BadPath> {
    let mut decoded = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(BadPath::Escape);
        };
        decoded.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    let text = String::from_utf8(decoded).map_err(|_| BadPath::Text)?;
    if text.chars().any(char::is_control) {
        return Err(BadPath::Text);
    }
    match text.as_str() {
        "." | ".." => Err(BadPath::Dots),
        name if name.contains('/') => Err(BadPath::Hidden),
        name if name.starts_with('.') && !serves_hidden => Err(BadPath::Hidden),
        _ => Ok(text),
    }
}

fn hex_digit(byte: u8) -> Result<u8, BadPath> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(BadPath::Escape),
    }
}

/// Writes a path for a URI: slashes stay, everything that is not a `pchar` (RFC 3986, section 3.3) is escaped, and so
/// are the percent sign and the characters that old clients read as something else.
pub fn percent_encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
