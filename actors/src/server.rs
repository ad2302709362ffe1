//! The whole server: its actors in the order in which they start, and stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::acceptor::{self, Acceptor, Listener};
use crate::access_log;
use crate::commands::access_log::AccessLogHandle;
use crate::commands::connection::Door;
use crate::config::{CacheConfig, Config, Listen};
use crate::credentials;
use crate::file_server::{self, FileServerConfig};
use crate::http::{self, Site, Sites};
use crate::index::{self, IndexThreads};
use crate::router;
use crate::runtime::Vital;
use crate::session;
use crate::store::{self, StoreError};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}choose another with {option}", why_not(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it was given with.
        option: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A Unix socket cannot be listened on.
    #[error("cannot listen on unix:{}: {source}; choose another place with --listen", path.display())]
    Unix {
        /// The name of the socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There are no sockets of a service manager.
    #[error(
        "cannot listen on what the service manager has opened: {0}; --listen systemd needs LISTEN_FDS and LISTEN_PID from it"
    )]
    Inherited(io::Error),
    /// The users of a site cannot be read.
    #[error(transparent)]
    Users(#[from] credentials::StartError),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] access_log::StartError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}; choose another with --data", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another server uses the data directory.
    #[error("another server uses the data directory {}; stop it or choose another with --data", path.display())]
    DataInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    /// The web root cannot be served.
    #[error(transparent)]
    Site(#[from] file_server::StartError),
    /// The system gives no thread or descriptor.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A running server. Dropping it ends it: no more connections are accepted, sessions are drained to a deadline, then
/// Router, Index and FileServer end, and last the store.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order.
    acceptor: Acceptor,
    access_log: Option<AccessLogHandle>,
    _threads: Threads,
    /// The lock on the data directory.
    _lock: std::fs::File,
}

/// The threads of the actors. Dropping it waits for each until it has ended, which it does when nobody can send it anything
/// any more.
#[derive(Debug, Default)]
struct Threads {
    // Dropped in this order.
    router: Option<Vital>,
    index: Option<IndexThreads>,
    files: Vec<Vital>,
    access_log: Option<Vital>,
    store: Option<Vital>,
}

impl Server {
    /// Starts all actors. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let lock = lock_data(config)?;
        let listeners = listen(config)?;
        // Before all that can be sent something: whatever fails from here on, that is dropped first.
        let mut threads = Threads::default();
        let access_log;
        (access_log, threads.access_log) =
            config.access_log.as_ref().map(access_log::start).transpose()?.unzip();
        let store = store::start(&config.data.join("store.redb"))?;
        threads.store = Some(store.thread);
        let sites = start_sites(config, &mut threads.files)?;
        let (index, index_threads) = index::start(&config.data)
            .map_err(|source| StartError::Data { path: config.data.clone(), source })?;
        threads.index = Some(index_threads);
        let (router, router_thread) =
            router::start(store.inventory, store.handle, store.completions, index.clone())?;
        threads.router = Some(router_thread);
        let http = http::Services { sites, access_log: access_log.clone(), stopping: Arc::default() };
        let services =
            session::Services { router: router.clone(), index, stopping: Arc::clone(&http.stopping) };
        let limits = config.limits.clone();
        let workers = {
            let (http, limits) = (http.clone(), limits.clone());
            move |admin, counts| session::workers(services, http, limits, admin, counts)
        };
        let acceptor = acceptor::start(listeners, limits, router, &http, workers)?;
        Ok(Self { acceptor, access_log, _threads: threads, _lock: lock })
    }

    /// Where it listens for TCP; none if only Unix sockets lead to it.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.acceptor.addresses
    }

    /// Where it answers questions about itself.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.acceptor.admin
    }

    /// What opens the access log anew after somebody has moved its file.
    pub fn access_log(&self) -> Option<AccessLogHandle> {
        self.access_log.clone()
    }
}

fn listen(config: &Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for listen in &config.listen {
        match listen {
            Listen::Address(address) => listeners.push(bind(*address, config, Door::Public)?),
            Listen::Unix { path, mode } => {
                let bound = Listener::bind_unix(path, *mode);
                listeners.push(bound.map_err(|source| StartError::Unix { path: path.clone(), source })?);
            }
            Listen::Inherited => listeners.extend(Listener::inherited().map_err(StartError::Inherited)?),
        }
    }
    if let Some(address) = config.admin {
        listeners.push(bind(address, config, Door::Admin)?);
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, config: &Config, door: Door) -> Result<Listener, StartError> {
    // With an IPv4 socket on the same port the IPv6 one has to leave it alone.
    let is_dual = !config.listen.iter().any(
        |listen| matches!(listen, Listen::Address(other) if other.is_ipv4() && other.port() == address.port()),
    );
    let option = match door {
        Door::Public => "--listen",
        Door::Admin => "--admin",
    };
    Listener::bind(address, is_dual, door).map_err(|source| StartError::Listen { address, option, source })
}

/// What may be the reason that an address cannot be listened on.
fn why_not(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is another server running there? ",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; ",
        io::ErrorKind::PermissionDenied => "ports below 1024 are not for everybody; ",
        _ => "",
    }
}

fn start_sites(config: &Config, threads: &mut Vec<Vital>) -> Result<Arc<Sites>, StartError> {
    let mut sites = Vec::new();
    // Each has its share.
    let share = config.sites.len().max(1);
    let cache = CacheConfig {
        bytes: config.cache.bytes / share as u64,
        entries: (config.cache.entries / share).max(1),
    };
    for site in &config.sites {
        let site = Arc::new(site.clone());
        let config = FileServerConfig { site: Arc::clone(&site), cache: cache.clone() };
        let (files, thread) = file_server::start(&config)?;
        threads.push(thread);
        let (users, users_thread) = site.users_file.as_deref().map(credentials::start).transpose()?.unzip();
        threads.extend(users_thread);
        sites.push(Site::new(site, files, users));
    }
    Ok(Arc::new(Sites::new(sites)))
}

fn lock_data(config: &Config) -> Result<std::fs::File, StartError> {
    let path = &config.data;
    let fail = |source| StartError::Data { path: path.clone(), source };
    std::fs::create_dir_all(path).map_err(fail)?;
    let lock = std::fs::File::create(path.join("lock")).map_err(fail)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::DataInUse { path: path.clone() }),
        Err(e) => Err(fail(e.into())),
    }
}

/// Two descriptors a peer and one a browser are soon more than the usual 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without it there are fewer sessions, and accepting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
