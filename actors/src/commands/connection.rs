//! What is known of a connection before a byte was read.

use std::fmt;
use std::net::SocketAddr;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its address; none on a Unix socket.
    pub address: Option<SocketAddr>,
    /// Where it came in.
    pub door: Door,
}

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The web sites and the peers.
    Public,
    /// What the server tells about itself.
    Admin,
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
