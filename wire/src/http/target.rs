//! Request targets and the paths that they name (RFC 9112, section 3.2; RFC 3986).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::method::Method;
use super::request::BadRequest;
use super::status::Status;

/// A request's target, split but not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'b> {
    /// The path as it was sent, starting with a slash. For an asterisk-form target it is `*`, for CONNECT the host and port.
    pub path: &'b str,
    pub query: Option<&'b str>,
}

impl<'b> Target<'b> {
    /// Reads the target of a request with `method`: origin-form (`/a?b`) or absolute-form (`http://host/a?b`), for OPTIONS
    /// also asterisk-form (`*`), for CONNECT only authority-form (RFC 9112, section 3.2). Also returns the host in
    /// it, if there is one.
    pub(super) fn parse(target: &'b [u8], method: Method) -> Result<(Self, Option<&'b str>), BadRequest> {
        let bad = BadRequest::malformed("the request target is malformed");
        // RFC 3986 has only ASCII, but people type and link other letters as UTF-8, and other servers accept that.
        if !target.iter().all(|byte| (byte.is_ascii_graphic() || !byte.is_ascii()) && *byte != b'#') {
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
            // A proxy sends `OPTIONS *` for another server in this form (RFC 9112, section 3.2.4).
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

/// The host of an authority, an IPv6 address with its brackets (RFC 3986, section 3.2). `None` if the authority is malformed or
/// contains user information.
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

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path has a percent sign without two hexadecimal digits")]
    Escape,
    #[error("the path has a control character in it")]
    Control,
    #[error("the path leads above the root of the site")]
    Above,
    /// A component that starts with a dot, or that contains an escaped slash.
    #[error("nothing is served under such a name")]
    Hidden,
}

impl BadPath {
    /// The status of the answer to a request for it.
    pub fn status(self) -> Status {
        match self {
            Self::Escape | Self::Control | Self::Above => Status::BadRequest,
            Self::Hidden => Status::NotFound,
        }
    }
}

/// The directory for site-wide metadata at the top of a site (RFC 8615, section 3). It is served although it starts with a
/// dot: certificate authorities and browsers look for it there.
const WELL_KNOWN: &[u8] = b".well-known";

/// A path on the site, decoded once and relative to the web root. It has no component that leads upwards, and no hidden
/// one unless it was decoded so. Symbolic links can still lead out of the root; whoever opens the path has to prevent that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SitePath {
    /// Components joined by single slashes, none at either end; empty for the root. File names need not be UTF-8.
    relative: Vec<u8>,
    is_directory: bool,
}

impl SitePath {
    /// Decodes the path of a request's target and resolves its `.` and `..` (RFC 3986, section 5.2.4). Decoding comes
    /// first, because an escaped dot is the same as a plain one (section 6.2.2.2). Names that start with a dot are
    /// [`BadPath::Hidden`] unless `serves_hidden`; a `.well-known` at the top is always served.
    pub fn decode(path: &str, serves_hidden: bool) -> Result<Self, BadPath> {
        let mut components = Vec::new();
        let mut is_directory = true;
        for component in path.split('/') {
            let component = decode_component(component)?;
            is_directory = matches!(&*component, b"" | b"." | b"..");
            match &*component {
                b"" | b"." => {}
                b".." => drop(components.pop().ok_or(BadPath::Above)?),
                _ => components.push(component),
            }
        }
        let is_hidden = |(depth, name): (usize, &Cow<'_, [u8]>)| {
            name.starts_with(b".") && !(depth == 0 && **name == *WELL_KNOWN)
        };
        if !serves_hidden && components.iter().enumerate().any(is_hidden) {
            return Err(BadPath::Hidden);
        }
        Ok(Self { relative: components.join(&b'/'), is_directory })
    }

    /// The path below the web root, without a slash at either end; empty for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.relative
    }

    /// Whether the path ends with a slash, `.` or `..`, and so can only name a directory.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The same path with a slash at its end, as a reference for a `Location`. It starts with exactly one slash, so that
    /// no client takes a part of it for a host.
    pub fn directory_location(&self) -> String {
        match percent_encode_path(&self.relative) {
            path if path.is_empty() => "/".to_owned(),
            path => format!("/{path}/"),
        }
    }
}

impl fmt::Debug for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.is_directory { "/" } else { "" };
        write!(f, "\"{}\"{slash}", self.relative.escape_ascii())
    }
}

fn decode_component(component: &str) -> Result<Cow<'_, [u8]>, BadPath> {
    let decoded = match component.contains('%') {
        true => Cow::Owned(percent_decode(component.as_bytes())?),
        false => Cow::Borrowed(component.as_bytes()),
    };
    if has_control_character(&decoded) {
        return Err(BadPath::Control);
    }
    // No file name has a slash in it, so this names nothing; read as a separator it would evade the checks above.
    if decoded.contains(&b'/') {
        return Err(BadPath::Hidden);
    }
    Ok(decoded)
}

/// Whether requests for a name are refused for a control character in it. Bytes that are not UTF-8 are no characters.
pub fn has_control_character(name: &[u8]) -> bool {
    name.utf8_chunks().any(|chunk| chunk.valid().contains(char::is_control))
}

fn percent_decode(mut rest: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(BadPath::Escape) };
        decoded.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    Ok(decoded)
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
pub fn percent_encode_path(path: impl AsRef<[u8]>) -> String {
    percent_encode(path.as_ref(), |byte| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte))
}

/// Escapes what a target may have and a `Location` may not: everything but ASCII. What is escaped already stays so.
pub fn percent_encode_non_ascii(reference: &str) -> Cow<'_, str> {
    if reference.is_ascii() {
        return reference.into();
    }
    percent_encode(reference.as_bytes(), |byte| byte.is_ascii()).into()
}

fn percent_encode(bytes: &[u8], is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
