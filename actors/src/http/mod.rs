//! HTTP connections: what their bytes mean and what they are answered with.
//!
//! A connection that waits for its client rests with a poller of the Acceptor, which answers what can be answered at once: a
//! warm GET is one read and one write and wakes nobody. An answer that has to wait for something else (the disk, or a
//! password to be checked) gets the thread of a session (`Driver::wait`), and then the connection goes back to rest. So
//! does one whose reader is slow, with what is unsent. With `--http-threads` a connection has a session thread from its first
//! byte to its last (`Driver::serve`).

mod access;
mod admin;
mod brief;
mod connection;
mod cors;
mod driver;
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
/// The same tests with a session thread for each connection (`--http-threads`).
#[cfg(test)]
#[path = "tests/mod.rs"]
#[allow(clippy::duplicate_mod)] // Each of the two has another mode.
mod tests_with_threads;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::commands::access_log::AccessLogHandle;

pub(crate) use self::admin::Admin;
pub(crate) use self::connection::Connection;
pub(crate) use self::driver::{Driver, Verdict};
pub(crate) use self::respond::{Learned, Responder};
pub(crate) use self::sites::{Site, Sites};
#[cfg(test)]
pub(crate) use self::verified::VerifiedKey;

/// What answers to HTTP requests are made of.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    /// The web sites, each with its FileServer.
    pub sites: Arc<Sites>,
    /// Where each request is written down.
    pub access_log: Option<AccessLogHandle>,
    /// Set when the server ends: then every answer is the last on its connection.
    pub stopping: Arc<AtomicBool>,
}
