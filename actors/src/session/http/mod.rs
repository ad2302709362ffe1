//! HTTP connections: what their bytes mean and what they are answered with.
//!
//! A connection that waits for its client rests with a poller of the Acceptor, which also answers what can be answered at
//! once: a warm GET is one read and one write and wakes nobody. An answer that has to wait for something else (the disk,
//! a slow reader, a password to be checked) gets the thread of a session (`serve`), and then the connection goes
//! back to rest.

mod access;
mod admin;
mod brief;
mod connection;
mod cors;
mod leases;
mod outbox;
mod respond;
mod sites;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::config::Limits;

pub(crate) use self::admin::Admin;
pub(crate) use self::connection::{Connection, Next};
pub(crate) use self::outbox::{Outbox, Written};
pub(crate) use self::respond::{Learned, Responder};
pub use self::sites::{Site, Sites};

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

/// Gives the requests that a connection holds their answers, waiting for whatever they need, on the thread of a session.
/// `outbox` is what has been answered before and not been written, and `next` what to do after that. Returns what the
/// connection is to do then: read, linger or close.
///
/// # Errors
/// Those of the socket; the connection is of no more use then.
pub(crate) fn serve(
    connection: &mut Connection,
    outbox: Outbox,
    mut next: Next,
    responder: &mut Responder,
    limits: &Limits,
) -> io::Result<Next> {
    connection.stream.set_write_timeout(Some(limits.write_timeout))?;
    *responder.outbox() = outbox;
    let held = std::mem::take(&mut connection.held);
    let mut rest = held.as_slice();
    responder.outbox().write_all(&connection.stream, limits.write_timeout)?;
    while matches!(next, Next::Wait | Next::Flush) {
        next = connection.advance(&mut rest, responder, limits, Instant::now());
        responder.outbox().write_all(&connection.stream, limits.write_timeout)?;
    }
    connection.hold(rest);
    Ok(next)
}
