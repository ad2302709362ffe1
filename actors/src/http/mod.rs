//! HTTP connections.
//!
//! A connection that waits for its client rests with a poller of the Acceptor. The poller gives every response that does
//! not have to wait; a warm GET is one read and one write and wakes no thread. A response that has to wait for the disk
//! or a password check gets the thread of a session (`Driver::wait`). Then the connection goes back to rest, also with
//! unsent bytes if the client reads slowly. With `--http-threads` a connection has a session thread from its first byte
//! to its last (`Driver::serve`).

mod access;
mod admin;
mod brief;
mod connection;
mod cors;
mod driver;
mod flow;
mod handshake;
mod leases;
mod outbox;
mod owner;
mod page;
mod record;
mod respond;
mod sites;
mod unsent;
mod verified;
mod writer;

#[cfg(test)]
mod tests;
/// The same tests over TLS.
#[cfg(test)]
#[path = "tests/mod.rs"]
#[allow(clippy::duplicate_mod)] // Each of the three has another mode.
mod tests_over_tls;
/// The same tests with a session thread for each connection (`--http-threads`).
#[cfg(test)]
#[path = "tests/mod.rs"]
#[allow(clippy::duplicate_mod)]
mod tests_with_threads;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::commands::access_log::AccessLogHandle;
use crate::commands::feed::FeedHandle;
use crate::commands::peer_counts::PeerCounts;

pub(crate) use self::admin::Admin;
pub(crate) use self::connection::Connection;
pub(crate) use self::driver::{Driver, Verdict};
pub(crate) use self::owner::Names;
pub use self::page::page_digest;
pub(crate) use self::respond::{Learned, Responder};
pub(crate) use self::sites::{Site, Sites};
#[cfg(test)]
pub(crate) use self::verified::VerifiedKey;

/// What responses to HTTP requests need.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    pub sites: Arc<Sites>,
    /// The port to which clients without TLS are redirected.
    pub https_port: Option<u16>,
    pub access_log: Option<AccessLogHandle>,
    /// What passes through the server, for those who may watch it.
    pub feed: Option<FeedHandle>,
    pub names: Names,
    /// What the sessions of peers count, for the metrics.
    pub peers: Arc<PeerCounts>,
    /// Set when the server ends. Then every response is the last on its connection.
    pub stopping: Arc<AtomicBool>,
}
