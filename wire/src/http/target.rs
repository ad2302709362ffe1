//! Request targets and the paths that they name (RFC 9112, section 3.2; RFC 3986).

use std::fmt::{self, Write as _};

use super::request::BadRequest;
use super::status::Status;

/// A request's target, split but not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'b> {
    /// The path as it was sent; it starts with a slash.
    pub path: &'b str,
    /// What follows the first question mark.
    pub query: Option<&'b str>,
}

impl<'b> Target<'b> {
    /// Reads an origin-form (`/a?b`) or an absolute-form (`http://host/a?b`), whose authority must be a valid one but
    /// is otherwise of no interest: there is one site here.
    pub(super) fn parse(target: &'b [u8]) -> Result<Self, BadRequest> {
        let bad = BadRequest::malformed("the target is not a path");
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(bad);
        }
        let target = std::str::from_utf8(target).map_err(|_| bad)?;
        if target.starts_with('/') {
            return Ok(Self::split(target));
        }
        let (scheme, rest) = target.split_once("://").ok_or(bad)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(bad);
        }
        let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_start);
        if !is_authority(authority.as_bytes()) {
            return Err(bad);
        }
        if path.starts_with('/') {
            return Ok(Self::split(path));
        }
        Ok(Self { path: "/", query: path.strip_prefix('?') })
    }

    fn split(target: &'b str) -> Self {
        match target.split_once('?') {
            Some((path, query)) => Self { path, query: Some(query) },
            None => Self { path: target, query: None },
        }
    }
}

/// Whether this is a host with an optional port (RFC 3986, sections 3.2.2 and 3.2.3); user names are not accepted.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let port_is_good = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    if let Some(inside) = text.strip_prefix(b"[") {
        let Some(end) = inside.iter().position(|&byte| byte == b']') else {
            return false;
        };
        let address =
            std::str::from_utf8(&inside[..end]).ok().and_then(|a| a.parse::<std::net::Ipv6Addr>().ok());
        let port = &inside[end + 1..];
        return address.is_some() && (port.is_empty() || port.strip_prefix(b":").is_some_and(port_is_good));
    }
    let (host, port) = match text.iter().position(|&byte| byte == b':') {
        Some(colon) => (&text[..colon], &text[colon + 1..]),
        None => (text, &b""[..]),
    };
    let is_host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    !host.is_empty() && host.iter().all(is_host_byte) && port_is_good(port)
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

/// A path on the site: decoded once, relative, and without any component that could lead out of the web root or to a
/// hidden file. Links are another matter: whoever opens it must see to them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SitePath {
    /// Components joined by single slashes, none at either end; empty for the root.
    relative: String,
    is_directory: bool,
}

impl SitePath {
    /// Decodes the path of a request's target.
    ///
    /// # Errors
    /// [`BadPath`]
    pub fn decode(path: &str) -> Result<Self, BadPath> {
        let mut relative = String::with_capacity(path.len());
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let component = decode_component(component)?;
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

fn decode_component(component: &str) -> Result<String, BadPath> {
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
        hidden if hidden.starts_with('.') || hidden.contains('/') => Err(BadPath::Hidden),
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
