//! HTTP connections: what their bytes mean and what they are answered with.
//!
//! A connection that waits for its client rests with a poller of the Acceptor, which also answers what can be answered at
//! once: a warm GET is one read and one write and wakes nobody. An answer that has to wait for something else (the disk, or
//! a password to be checked) gets the thread of a session (`serve`), and then the connection goes back to rest. So does one
//! whose reader is slow, with what is unsent.

mod access;
mod admin;
mod brief;
mod connection;
mod cors;
mod leases;
mod outbox;
mod respond;
mod sites;
mod unsent;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Limits;

pub(crate) use self::admin::Admin;
pub(crate) use self::connection::{Connection, Next};
pub(crate) use self::outbox::Written;
pub(crate) use self::respond::{Learned, Responder};
pub use self::sites::{Site, Sites};
pub(crate) use self::unsent::Unsent;

/// How long a session waits for a client that takes nothing. Then the connection goes back to rest until there is room.
const STALL: Duration = Duration::from_millis(10);

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
/// Returns what the connection is to do then: read, linger or close. A client that does not read is not waited for: then
/// the connection has something unsent.
///
/// # Errors
/// Those of the socket; the connection is of no more use then.
pub(crate) fn serve(
    connection: &mut Connection,
    unsent: Unsent,
    responder: &mut Responder,
    limits: &Limits,
) -> io::Result<Next> {
    let Unsent { outbox, mut next } = unsent;
    connection.stream.set_write_timeout(Some(STALL))?;
    *responder.outbox() = outbox;
    let held = std::mem::take(&mut connection.held);
    let mut rest = held.as_slice();
    loop {
        if responder.outbox().write_waiting(&connection.stream)? == Written::Full {
            connection.hold(rest);
            let unsent = Unsent::new(std::mem::take(responder.outbox()), next);
            connection.park(unsent, Instant::now());
            return Ok(Next::Read);
        }
        let now = Instant::now();
        connection.note_written(now);
        if !matches!(next, Next::Wait | Next::Flush) {
            connection.hold(rest);
            return Ok(next);
        }
        next = connection.advance(&mut rest, responder, limits, now);
    }
}
