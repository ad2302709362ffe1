//! What is asked for, from whom.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use wire::http::Method;

/// A text that is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name, an IPv4 address or an IPv6 address, without http:// and path")]
pub struct BadHost;

/// One file of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    host: String,
    port: u16,
    target: String,
}

impl Request {
    /// `host` is a name or an address, an IPv6 address with or without brackets. `file` is a path, with or without a
    /// slash at its start; see [`Request::target`].
    ///
    /// # Errors
    /// [`BadHost`] if no request could be sent to such a host.
    pub fn new(host: &str, port: u16, file: &str) -> Result<Self, BadHost> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_name = |text: &str| {
            let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_name_byte)
        };
        if !is_name(bare) && without_zone(bare).parse::<Ipv6Addr>().is_err() {
            return Err(BadHost);
        }
        Ok(Self { host: bare.to_owned(), port, target: encode_target(file) })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path as it is sent: it starts with a slash, and what a request cannot carry is percent-encoded. A query
    /// after `?` and what is percent-encoded already are left as they are.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Host and port, to tell people.
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The bytes of the request (RFC 9112, section 3).
    pub(super) fn head(&self, method: Method) -> String {
        let mut authority = if self.host.contains(':') {
            // A zone means something only on this machine (RFC 6874, section 4).
            format!("[{}]", without_zone(&self.host))
        } else {
            self.host.clone()
        };
        if self.port != 80 {
            // Writing into a String cannot fail.
            let _ = write!(authority, ":{}", self.port);
        }
        format!(
            "{} {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: switchboard-webclient/{}\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n",
            method.as_str(),
            self.target,
            env!("CARGO_PKG_VERSION"),
        )
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

/// Adds `text` with everything percent-encoded but letters, digits, `plain`, and what is encoded already.
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
