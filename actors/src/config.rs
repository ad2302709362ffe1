//! What the server is told when it starts.
//!
//! All of it is plain data that somebody else has checked: the package above reads it from a command line, the
//! environment and a file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::site::SiteConfig;

/// What the server is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens, at least one.
    pub listen: Vec<Listen>,
    /// The directory of what it keeps; made if it is missing.
    pub data: PathBuf,
    /// The web sites, at least one. The first answers to all host names that no other has.
    pub sites: Vec<SiteConfig>,
    /// How much anybody may ask of it.
    pub limits: Limits,
    /// What it may keep of the sites in memory.
    pub cache: CacheConfig,
    /// Whether each HTTP connection has a thread of its own from its first byte to its last.
    pub http_threads: bool,
    /// Where each request is written down.
    pub access_log: Option<AccessLogConfig>,
    /// Where it answers questions about itself.
    pub admin: Option<SocketAddr>,
}

impl Default for Config {
    /// Serves `www/` on 127.0.0.1:6789.
    fn default() -> Self {
        Self {
            listen: vec![Listen::Address((Ipv4Addr::LOCALHOST, 6789).into())],
            data: "server_data".into(),
            sites: vec![SiteConfig { root: "www".into(), compression: true, ..SiteConfig::default() }],
            limits: Limits::default(),
            cache: CacheConfig::default(),
            http_threads: false,
            access_log: None,
            admin: None,
        }
    }
}

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// TCP; port 0 picks a free one.
    Address(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its name in the file system.
        path: PathBuf,
        /// Who may connect: its permission bits.
        mode: u32,
    },
    /// The sockets that the service manager has opened: `LISTEN_FDS` and `LISTEN_PID` of `sd_listen_fds(3)`.
    Inherited,
}

/// How much anybody may ask of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once.
    pub connections: usize,
    /// Most of them from one address.
    pub connections_per_address: usize,
    /// How long the head of a request may take, from its first byte; a body that nobody wants, from its head; and how long a
    /// new connection may say nothing.
    pub head_timeout: Duration,
    /// How long a connection may be without a further request, from when the last answer was taken.
    pub idle_timeout: Duration,
    /// A client that reads slower than 1 KiB/s over this time is disconnected, though not before it could have read
    /// `unreported_bytes` at that rate.
    pub write_timeout: Duration,
    /// How much a client may have read without this being visible to the server: its system announces room only in steps
    /// (RFC 9293, section 3.8.6.2.2). Linux frees its receive buffer a packet at a time, and what it calls a packet has up to
    /// 64 KiB.
    pub unreported_bytes: u64,
    /// How much of a body that nobody wants is read, to get at the next request; it may take as long as a head. A longer one
    /// ends the connection.
    pub unread_body_bytes: u64,
    /// How long a connection is kept after its last answer, for the client to read that.
    pub linger: Duration,
}

impl Limits {
    /// Three quarters of all connections, so that one address never takes them all.
    pub fn share_of_one_address(connections: usize) -> usize {
        (connections - connections / 4).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let connections = 16_384;
        Self {
            connections,
            connections_per_address: Self::share_of_one_address(connections),
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            unreported_bytes: 64 << 10,
            unread_body_bytes: 64 << 10,
            linger: Duration::from_secs(2),
        }
    }
}

/// What may be kept of the sites in memory; each has an equal share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Most bytes of content.
    pub bytes: u64,
    /// Most assets, however small.
    pub entries: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { bytes: 64 << 20, entries: 65_536 }
    }
}

/// Where each request is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file, to whose end lines are added.
    pub path: PathBuf,
    /// What a line looks like.
    pub format: AccessLogFormat,
}

/// What a line of the access log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// Apache's combined log format.
    #[default]
    Combined,
    /// One JSON object a line.
    Json,
}
