//! The whole server: its actors in the order in which they start, and stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::FlockOperation;

use crate::acceptor::{self, Acceptor, Listener};
use crate::config::{Config, Listen};
use crate::file_server::{self, FileServerConfig};
use crate::index::{IndexHandle, IndexThreads};
use crate::router;
use crate::runtime::Vital;
use crate::session::Services;
use crate::store::{self, StoreError};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; is another server running there? choose another with --listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
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
    _router: Vital,
    _index: IndexThreads,
    _files: Vital,
    _store: Vital,
    /// The lock on the data directory.
    _lock: std::fs::File,
}

impl Server {
    /// Starts all actors. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let lock = lock_data(config)?;
        let address = first_address(config)?;
        let listener = Listener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        let store = store::start(&config.data.join("store.redb"))?;
        let (files, files_thread) = file_server::start(&site_of(config)?)?;
        let (index, index_threads) = IndexHandle::start(&config.data)
            .map_err(|source| StartError::Data { path: config.data.clone(), source })?;
        let (router, router_thread) =
            router::start(store.inventory, store.handle, store.completions, index.clone())?;
        let services = Services { router, index, files, stopping: Arc::new(AtomicBool::new(false)) };
        let acceptor = acceptor::start(vec![listener], config.limits.clone(), services)?;
        Ok(Self {
            acceptor,
            _router: router_thread,
            _index: index_threads,
            _files: files_thread,
            _store: store.thread,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.addresses[0]
    }
}

// The Acceptor takes one TCP address so far, and FileServer one directory.

fn first_address(config: &Config) -> io::Result<SocketAddr> {
    let mut addresses = config.listen.iter().filter_map(|listen| match listen {
        Listen::Address(address) => Some(*address),
        Listen::Unix { .. } | Listen::Inherited => None,
    });
    addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no TCP address to listen on"))
}

fn site_of(config: &Config) -> io::Result<FileServerConfig> {
    let site = config.sites.first();
    let site = site.cloned().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no site"))?;
    Ok(FileServerConfig { site: Arc::new(site), cache: config.cache.clone() })
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
