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
mod record;
mod respond;
mod sites;
mod unsent;
mod verified;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::commands::access_log::AccessLogHandle;
use crate::config::Limits;
use crate::metrics::WebCounts;

pub(crate) use self::admin::Admin;
pub(crate) use self::connection::{Connection, Next};
pub(crate) use self::outbox::Written;
pub(crate) use self::respond::{Learned, Responder};
pub use self::sites::{Site, Sites};
pub(crate) use self::unsent::Unsent;
#[cfg(test)]
pub(crate) use self::verified::VerifiedKey;

/// What answers to HTTP requests are made of.
#[derive(Debug, Clone)]
pub struct Services {
    /// The web sites, each with its FileServer.
    pub sites: Arc<Sites>,
    /// Where each request is written down.
    pub access_log: Option<AccessLogHandle>,
    /// Set when the server ends: then every answer is the last on its connection.
    pub stopping: Arc<AtomicBool>,
}

impl Services {
    /// What answers HTTP requests on one thread.
    pub(crate) fn responder(&self, admin: &Arc<Admin>, counts: Arc<WebCounts>, may_wait: bool) -> Responder {
        let (sites, stopping) = (Arc::clone(&self.sites), Arc::clone(&self.stopping));
        Responder::new(sites, Arc::clone(admin), stopping, counts, self.access_log.clone(), may_wait)
    }
}

/// How long a session waits for a client that takes nothing. Then the connection goes back to rest until there is room.
const STALL: Duration = Duration::from_millis(10);

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
