//! The configuration of the server. The caller has validated it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::site::{PagePrefix, SiteConfig};
use crate::tls::TlsFiles;

#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, at least one.
    pub listen: Vec<Listen>,
    /// The directory for all data; created if it does not exist.
    pub data: PathBuf,
    /// The certificates for TLS. At least one if there is a [`Listen::Tls`].
    pub tls: Vec<TlsFiles>,
    /// Whether web clients that come without TLS are redirected to the first [`Listen::Tls`].
    pub redirect_to_https: bool,
    /// The web sites, at least one. The first also answers for all other host names.
    pub sites: Vec<SiteConfig>,
    pub limits: Limits,
    /// Limits on what the server stores and does for peers.
    pub peers: PeerLimits,
    /// The list of members; anybody may join if there is none.
    pub members: Option<PathBuf>,
    /// Limits of the caches of all sites together.
    pub cache: CacheConfig,
    /// Whether each HTTP connection has its own thread from its first byte to its last.
    pub http_threads: bool,
    pub access_log: Option<AccessLogConfig>,
    /// The address for health check and metrics.
    pub admin: Option<SocketAddr>,
    /// Who may watch what passes through the server; nobody if `None`.
    pub flow: Option<FlowAccess>,
    /// The cluster of which the server is a part; it is alone if there is none.
    pub cluster: Option<ClusterConfig>,
}

/// How to reach the other servers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The addresses of nats-servers, as URLs.
    pub servers: Vec<String>,
    /// The name of the cluster.
    pub name: String,
    /// A file with credentials for NATS.
    pub credentials: Option<PathBuf>,
    /// Where the other servers can connect to this one without TLS, as `HOST:PORT`.
    pub advertise: Option<String>,
}

/// Who may watch what passes through the server: names, sizes and digests, but no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowAccess {
    /// Who can connect to the admin address.
    Admin,
    /// Everybody who sees the page.
    Public,
}

impl Default for Config {
    /// Serves `www/` on 127.0.0.1:6789.
    fn default() -> Self {
        Self {
            listen: vec![Listen::Address((Ipv4Addr::LOCALHOST, 6789).into())],
            data: "server_data".into(),
            tls: Vec::new(),
            redirect_to_https: false,
            sites: vec![SiteConfig {
                root: "www".into(),
                compression: true,
                page: Some(PagePrefix::default()),
                ..SiteConfig::default()
            }],
            limits: Limits::default(),
            peers: PeerLimits::default(),
            members: None,
            cache: CacheConfig::default(),
            http_threads: false,
            access_log: None,
            admin: None,
            flow: Some(FlowAccess::Admin),
            cluster: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// TCP; port 0 picks a free one.
    Address(SocketAddr),
    /// TCP with TLS; port 0 picks a free one.
    Tls(SocketAddr),
    Unix {
        path: PathBuf,
        /// Its permission bits, which decide who may connect.
        mode: u32,
    },
    /// The sockets that the service manager has opened (`LISTEN_FDS` and `LISTEN_PID`, `sd_listen_fds(3)`).
    Inherited,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    /// The maximum number of connections from one address.
    pub connections_per_address: usize,
    /// The time for the head of a request, from its first byte; for a body that is dropped, from the end of its head; and
    /// for the first byte of a connection.
    pub head_timeout: Duration,
    /// The time for the next request, from when the client has received the last response.
    pub idle_timeout: Duration,
    /// A client that reads slower than 1 KiB/s over this time is disconnected, though not before it could have read
    /// `unreported_bytes` at that rate.
    pub write_timeout: Duration,
    /// How much a client may have read without the server seeing it, because its system reports free space only in steps
    /// (RFC 9293, section 3.8.6.2.2). Linux frees its receive buffer by packets, which can have up to 64 KiB.
    pub unreported_bytes: u64,
    /// How much of a body that is not wanted is read to get at the next request. A longer body ends the connection.
    pub unread_body_bytes: u64,
    /// How long a connection is kept after its last response, so that the client can read it.
    pub linger: Duration,
}

impl Limits {
    /// Three quarters of all connections, so that one address cannot take them all.
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

/// A limit for each sender, for each address (IPv6: network), and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub per_sender: u64,
    /// For all senders of an address together.
    pub per_address: u64,
    /// For all senders together.
    pub in_all: u64,
}

/// How much peers may have the server keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLimits {
    /// The maximum size of stored mail in bytes. Each envelope counts 1 KiB more than its size.
    pub mail_bytes: Quota,
    /// The maximum size of stored mail for each recipient in bytes, counted in the same way.
    pub mail_bytes_per_recipient: u64,
    /// The maximum of bytes per second that are stored for each sender. After a burst of four seconds at this rate, the
    /// server reads from the sender's connection only as fast as the rate allows.
    pub mail_rate: u64,
    /// Mail that was stored for this time is dropped, and its sender is notified.
    pub mail_lifetime: Duration,
    /// The maximum number of names that nobody has joined under and that have mail or are watched. Anybody can invent
    /// such names.
    pub waiting_names: Quota,
    /// The maximum number of names whose cards one session watches.
    pub watched_names: usize,
    /// A peer that reads slower than 1 KiB/s over this time is disconnected.
    pub read_timeout: Duration,
    /// A peer that acknowledges no envelope for this time is disconnected, and its mail is stored. An envelope of more than
    /// 4 KiB gives it a second more for each 4 KiB.
    pub taken_timeout: Duration,
    /// The maximum number of pairs of a keyword and a file in the Index, and also of files.
    pub index_pairs: Quota,
    /// The maximum number of new names that join from one address in an hour.
    pub new_names_per_hour: u32,
    /// The maximum number of conversations that one sender opens in a minute.
    pub openings_per_minute: u32,
    /// The maximum number of ends of file transfers through the server.
    pub transfers: Quota,
    /// The maximum of bytes per second that one member sends in file transfers through the server.
    pub transfer_rate: u64,
    /// The memory budget of all sessions together, in bytes, for what their peers have not read or not acknowledged.
    pub session_memory: u64,
}

impl Default for PeerLimits {
    fn default() -> Self {
        // One address may use at most a quarter of most limits, so that a single machine cannot fill the server.
        Self {
            mail_bytes: Quota { per_sender: 64 << 20, per_address: 4 << 30, in_all: 16 << 30 },
            mail_bytes_per_recipient: 256 << 20,
            mail_rate: 8 << 20,
            mail_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            waiting_names: Quota { per_sender: 256, per_address: 2_500, in_all: 10_000 },
            watched_names: 4_096,
            read_timeout: Duration::from_secs(30),
            taken_timeout: Duration::from_secs(30),
            // Five times the size that the index was measured with. Every number in it stays far below 2^32.
            index_pairs: Quota { per_sender: 1_000_000, per_address: 4_000_000, in_all: 16_000_000 },
            new_names_per_hour: 256,
            // Twice what one recipient accepts of one sender by default.
            openings_per_minute: 6_000,
            transfers: Quota { per_sender: 32, per_address: 128, in_all: 512 },
            transfer_rate: 64 << 20,
            session_memory: 256 << 20,
        }
    }
}

/// Limits of the caches of all sites together. Each site has an equal share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The maximum size of the content in bytes.
    pub bytes: u64,
    pub entries: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { bytes: 64 << 20, entries: 65_536 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file. Lines are appended.
    pub path: PathBuf,
    pub format: AccessLogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// Apache's combined log format.
    #[default]
    Combined,
    /// One JSON object a line.
    Json,
}
