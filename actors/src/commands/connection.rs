//! The client of a connection, and the socket through which it came.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    pub door: Door,
}

/// The purpose of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Web sites and peers.
    Public,
    /// The same with TLS.
    Tls,
    /// Health check and metrics.
    Admin,
}

impl Visitor {
    /// Whether it uses no TLS although it could. A proxy at a Unix socket has ended the TLS of its clients already.
    pub(crate) fn needs_tls(&self) -> bool {
        self.door == Door::Public && self.address.is_some()
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
