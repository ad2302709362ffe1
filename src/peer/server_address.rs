//! The address of a server as the user types it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use wire::escape::Escaped;

/// The port of a server unless another is given.
const PORT: u16 = 6789;
/// The maximum length of a host name (RFC 1123, section 2.1).
const HOST_BYTES_MAX: usize = 255;

/// In front of the address of a server with TLS.
const TLS: &str = "tls:";

/// The host name or IP address of a server, its port, and whether it uses TLS. It is displayed as `HOST:PORT` or
/// `tls:HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Whether the server is reached through TLS.
    pub is_tls: bool,
    host: String,
    port: u16,
}

impl ServerAddress {
    /// That of a server on this machine with the usual port.
    pub fn usual() -> Self {
        Self { is_tls: false, host: Ipv4Addr::LOCALHOST.to_string(), port: PORT }
    }

    /// The host name, or the IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same address without `tls:`.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { is_tls: false, ..self.clone() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    #[error("{0} is neither a host name nor an IP address; write HOST, HOST:PORT or tls:HOST:PORT")]
    Host(String),
    #[error("{0} is no port; a port is a number from 1 to 65535")]
    Port(String),
}

impl FromStr for ServerAddress {
    type Err = BadAddress;

    /// Reads `HOST` or `HOST:PORT`, with or without `tls:` in front. An IPv6 address with a port is in square brackets.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (is_tls, text) = text.strip_prefix(TLS).map_or((false, text), |rest| (true, rest));
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            // The colon is inside the brackets.
            Some((_, after)) if after.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let port = match port {
            None => PORT,
            Some(port) => {
                let number = port.parse().ok().filter(|number| *number > 0);
                number.ok_or_else(|| BadAddress::Port(Escaped(port).to_string()))?
            }
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.filter(|bare| bare.parse::<Ipv6Addr>().is_ok()).unwrap_or(host);
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            return Err(BadAddress::Host(format!("{:?}", Escaped(host).to_string())));
        }
        Ok(Self { is_tls, host: host.to_owned(), port })
    }
}

/// Whether `host` can be a host name: labels of letters, digits, hyphens and underscores. A last label of digits only
/// belongs to an IPv4 address (RFC 3696, section 2), which was checked before.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let labels = host.strip_suffix('.').unwrap_or(host);
    let last = labels.rsplit('.').next().unwrap_or("");
    host.len() <= HOST_BYTES_MAX
        && labels.split('.').all(is_label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_tls, host, port } = self;
        f.write_str(if *is_tls { TLS } else { "" })?;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_usual_port_unless_it_names_another() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1:6789"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost", "localhost:6789"),
            ("chat.example.org.:7000", "chat.example.org.:7000"),
            ("::1", "[::1]:6789"),
            ("[::1]", "[::1]:6789"),
            ("[::1]:80", "[::1]:80"),
            ("tls:localhost", "tls:localhost:6789"),
            ("tls:[::1]:6443", "tls:[::1]:6443"),
        ] {
            assert_eq!(
                text.parse::<ServerAddress>().map(|a| a.to_string()),
                Ok(address.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":80",
            "a b",
            "http://localhost",
            "localhost/",
            "300.1.1.1",
            "1.2.3",
            "[::1",
            "a..b",
            "tls:",
            "tls:tls:localhost",
            "\u{1b}[2J",
        ] {
            assert!(
                matches!(text.parse::<ServerAddress>(), Err(BadAddress::Host(_) | BadAddress::Port(_))),
                "{text}"
            );
        }
        for text in ["localhost:0", "localhost:65536", "localhost:http", "localhost:", "[::1]:x"] {
            assert!(matches!(text.parse::<ServerAddress>(), Err(BadAddress::Port(_))), "{text}");
        }
    }
}
