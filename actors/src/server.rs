//! The server: its actors, in the order in which they start and stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use data_encoding::HEXLOWER;
use rustix::fs::FlockOperation;
use wire::card::Card;
use wire::server_key::{SEED_BYTES, ServerKey};

use crate::acceptor::{self, Acceptor, Listener};
use crate::access_log;
use crate::administration::Administration;
use crate::admission;
use crate::certificates;
use crate::cluster::{self, OnDisk};
use crate::commands::access_log::AccessLogHandle;
use crate::commands::admission::{AdmissionHandle, Command as AdmissionCommand};
use crate::commands::certificates::CertificatesHandle;
use crate::commands::cluster::{ClusterHandle, cluster_mailbox};
use crate::commands::connection::Door;
use crate::commands::credentials::CredentialsHandle;
use crate::commands::feed::FeedHandle;
use crate::commands::file_server::FileServerHandle;
use crate::commands::index::IndexHandle;
use crate::commands::memory::Memory;
use crate::commands::router::{self as router_commands, RouterHandle};
use crate::commands::store::{Inventory, StoreHandle};
use crate::config::{CacheConfig, Config, FlowAccess, Listen};
use crate::credentials;
use crate::feed;
use crate::file_server;
use crate::http::{self, Site, Sites};
use crate::index;
use crate::router::{self, RouterMailbox};
use crate::runtime::{Answers, Running};
use crate::session;
use crate::site::SiteConfig;
use crate::store::{self, StoreError};
use crate::tls::{CertificateError, TlsBase, TlsConfig};

/// Why the server does not start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; {}choose another with {option}", why_not(.source))]
    Listen {
        address: SocketAddr,
        /// The option that set it.
        option: &'static str,
        source: io::Error,
    },
    #[error("cannot listen on unix:{}: {source}; choose another place with --listen", path.display())]
    Unix { path: PathBuf, source: io::Error },
    /// The service manager has passed no usable sockets.
    #[error(
        "cannot listen on what the service manager has opened: {0}; --listen systemd needs LISTEN_FDS and LISTEN_PID from it"
    )]
    Inherited(io::Error),
    /// The users of a site cannot be loaded.
    #[error(transparent)]
    Users(#[from] credentials::StartError),
    #[error(transparent)]
    Members(#[from] admission::StartError),
    /// The file with the server's key is damaged.
    #[error(
        "the server's key in {} is damaged; put the file back from a backup, or remove it: peers then see a new server and \
         use it only after their users have accepted it",
        .0.display()
    )]
    Key(PathBuf),
    #[error(transparent)]
    AccessLog(#[from] access_log::StartError),
    #[error("cannot use the data directory {}: {source}; choose another with --data", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("another server uses the data directory {}; stop it or choose another with --data", path.display())]
    DataInUse { path: PathBuf },
    /// Another server that used them too would give away names again.
    #[error(
        "the names and the mail in {} were imported into the cluster {cluster}; start the server with --cluster, or remove {} to use \
         them without",
        path.display(), path.join(IMPORTED).display()
    )]
    Imported { path: PathBuf, cluster: String },
    /// The file that names the cluster is there and cannot be read.
    #[error(
        "cannot read {}: {source}; it names the cluster into which this data directory was imported: make it readable, or start the \
         server with --cluster",
        path.display()
    )]
    ImportedWhere { path: PathBuf, source: io::Error },
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cluster(#[from] cluster::StartError),
    #[error(transparent)]
    Site(#[from] file_server::StartError),
    /// The system has no thread or descriptor for it.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// What did not end when the server was stopped. What was acknowledged is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} did not end in time; what was acknowledged is on disk")]
pub struct NotEnded(&'static str);

/// The file in the data directory that names the cluster into which everything was imported.
pub(crate) const IMPORTED: &str = "imported";
/// How long the Acceptor may take to end: longer than all deadlines of its sessions together.
const ACCEPTOR_PATIENCE: Duration = Duration::from_secs(15);
/// How long each other actor may take.
const ACTOR_PATIENCE: Duration = Duration::from_secs(5);

/// Where the cluster tells Admission what it has.
type Learned = Answers<AdmissionCommand>;

/// A running server. Dropping it ends it: no more connections are accepted, sessions have until a deadline to finish,
/// then Router, Index and FileServers end, then the store, and last the access log. If something hangs, dropping does
/// too; [`Server::stop`] does not.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order.
    certificates: Option<Running<CertificatesHandle>>,
    acceptor: Acceptor,
    actors: Actors,
    /// The lock on the data directory.
    _lock: std::fs::File,
}

/// The actors that sessions use. Dropped in this order; each ends and is joined.
#[derive(Debug)]
struct Actors {
    router: Running<RouterHandle>,
    admission: Option<Running<AdmissionHandle>>,
    key: Arc<ServerKey>,
    index: Running<IndexHandle>,
    /// After the Router, so that it removes the presences of the peers that were connected.
    cluster: Option<Running<ClusterHandle>>,
    feed: Option<Running<FeedHandle>>,
    sites: Vec<SiteActors>,
    store: Running<StoreHandle>,
    /// Last, because it may be a pipe without a reader.
    access_log: Option<Running<AccessLogHandle>>,
}

#[derive(Debug)]
struct SiteActors {
    config: Arc<SiteConfig>,
    files: Running<FileServerHandle>,
    users: Option<Running<CredentialsHandle>>,
}

impl Server {
    /// Starts all actors. When it returns, connections are accepted.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let lock = lock_data(config)?;
        if config.cluster.is_none() {
            check_not_imported(&config.data)?;
        }
        let tls = TlsBase::new()?;
        let certificates = tls.load(&config.tls)?;
        let listeners = listen(config)?;
        let access_log = config.access_log.as_ref().map(access_log::start).transpose()?;
        let key = Arc::new(server_key(&config.data.join("server_key"))?);
        let router_mailbox = RouterMailbox::default();
        let cluster = config.cluster.as_ref().map(|config| (config, cluster_mailbox()));
        let handle = cluster.as_ref().map(|(_, (handle, _))| handle.clone());
        let path = config.data.join("store.redb");
        let (store, inventory) = store::start(&path, router_mailbox.completed(), handle.clone())?;
        let sites = start_sites(config)?;
        let index = index::start(&config.data, config.peers.index_pairs, handle.clone())
            .map_err(|source| StartError::Data { path: config.data.clone(), source })?;
        let on_disk = cluster.as_ref().map(|_| on_disk(&inventory)).unwrap_or_default();
        let (limits, of) = (config.peers.clone(), handle.clone());
        let router = router::start(router_mailbox, limits, inventory, store.clone(), index.clone(), of)?;
        let (admission, learned) = start_admission(config.members.as_deref(), &router, handle)?;
        let of_cluster = |((of, mailbox), learned)| {
            let others = ((*router).clone(), (*index).clone(), learned);
            cluster::start(of, &config.peers, on_disk, mailbox, others)
        };
        let cluster = cluster.zip(learned).map(of_cluster).transpose()?;
        let feed = viewers(config).map(feed::start).transpose()?;
        let actors = Actors { router, admission, key, index, cluster, feed, sites, store, access_log };
        let acceptor = actors.accept(listeners, &certificates, config)?;
        let certificates = match config.tls.is_empty() {
            true => None,
            false => Some(certificates::start(tls, &config.tls, acceptor.pollers())?),
        };
        Ok(Self { certificates, acceptor, actors, _lock: lock })
    }

    /// Ends it in the order of a drop, with deadlines.
    ///
    /// # Errors
    /// What has not ended. Its threads are still running, so the process should end.
    pub fn stop(self) -> Result<(), NotEnded> {
        let (begun, steps) = crossbeam_channel::unbounded();
        let stopper =
            thread::Builder::new().name("stop".into()).spawn(move || self.stop_step_by_step(&begun));
        // Without a thread the server was dropped, and so has ended.
        let Ok(stopper) = stopper else { return Ok(()) };
        let (mut step, mut patience) = ("the server", ACCEPTOR_PATIENCE);
        loop {
            match steps.recv_timeout(patience) {
                Ok(begun) => (step, patience) = begun,
                Err(RecvTimeoutError::Timeout) => return Err(NotEnded(step)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The channel is closed, so the thread is at its end or has panicked.
        stopper.join().unwrap_or(Err(NotEnded(step)))
    }

    /// Reports each step before it begins, with the time that it may take.
    fn stop_step_by_step(self, begun: &Sender<(&'static str, Duration)>) -> Result<(), NotEnded> {
        let begin = |step, patience| {
            // Fails if the caller does not wait any more.
            let _ = begun.send((step, patience));
        };
        let Self { certificates, acceptor, actors, _lock } = self;
        let Actors { router, admission, key: _, index, cluster, feed, sites, store, access_log } = actors;
        begin("Certificates", ACTOR_PATIENCE);
        drop(certificates);
        begin("some session", ACCEPTOR_PATIENCE);
        let have_sessions_ended = acceptor.stop();
        begin("the Router", ACTOR_PATIENCE);
        drop(router);
        begin("the cluster", ACTOR_PATIENCE);
        drop(cluster);
        begin("Admission", ACTOR_PATIENCE);
        drop(admission);
        begin("the Index", ACTOR_PATIENCE);
        index.cancel_loading();
        drop(index);
        begin("the feed", ACTOR_PATIENCE);
        drop(feed);
        begin("the file server of a site", ACTOR_PATIENCE);
        drop(sites);
        begin("the store", ACTOR_PATIENCE);
        drop(store);
        begin("the access log", ACTOR_PATIENCE);
        drop(access_log);
        if have_sessions_ended { Ok(()) } else { Err(NotEnded("some session")) }
    }

    /// The TCP addresses on which it listens with TLS.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.acceptor.tls_addresses
    }

    /// The TCP addresses on which it listens without TLS.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.acceptor.addresses
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.acceptor.admin
    }

    /// What the administrator can do while it runs.
    pub fn administration(&self) -> Administration {
        Administration {
            router: (*self.actors.router).clone(),
            index: (*self.actors.index).clone(),
            admission: self.actors.admission.as_deref().cloned(),
            key: self.actors.key.public(),
            cluster: self.actors.cluster.as_deref().cloned(),
        }
    }

    /// The TLS certificates, to read them again; none if there are none.
    pub fn certificates(&self) -> Option<CertificatesHandle> {
        self.certificates.as_deref().cloned()
    }

    /// The access log, to open it again after its file was renamed.
    pub fn access_log(&self) -> Option<AccessLogHandle> {
        self.actors.access_log.as_deref().cloned()
    }
}

impl Actors {
    fn accept(
        &self,
        listeners: Vec<Listener>,
        tls: &TlsConfig,
        config: &Config,
    ) -> Result<Acceptor, StartError> {
        let sites = self.sites.iter().map(|site| {
            Site::new(Arc::clone(&site.config), (*site.files).clone(), site.users.as_deref().cloned())
        });
        let is_tls = |listener: &&Listener| listener.door() == Door::Tls;
        let https_port = listeners.iter().find(is_tls).and_then(Listener::address).map(|a| a.port());
        let names =
            http::Names { router: (*self.router).clone(), admission: self.admission.as_deref().cloned() };
        let http = http::Services {
            sites: Arc::new(Sites::new(sites.collect())),
            https_port: https_port.filter(|_| config.redirect_to_https),
            access_log: self.access_log.as_deref().cloned(),
            feed: self.feed.as_deref().cloned(),
            names,
            peers: Arc::clone(&self.router.counts),
            stopping: Arc::default(),
        };
        let services = session::Services {
            router: (*self.router).clone(),
            index: (*self.index).clone(),
            admission: self.admission.as_deref().cloned(),
            cluster: self.cluster.as_deref().cloned(),
            key: Arc::clone(&self.key),
            memory: Memory::new(config.peers.session_memory),
            limits: Arc::new(config.peers.clone()),
            feed: http.feed.clone(),
            stopping: Arc::clone(&http.stopping),
        };
        let (of_sessions, limits) = (http.clone(), config.limits.clone());
        let workers = move |admin, counts| session::workers(services, of_sessions, limits, admin, counts);
        Ok(acceptor::start(listeners, config.limits.clone(), config.http_threads, tls, &http, workers)?)
    }
}

/// What the cluster has to know of the store.
fn on_disk(inventory: &Inventory) -> OnDisk {
    let cards = inventory.cards.iter().filter_map(|(_, card)| Card::from_bytes(card).ok()).collect();
    OnDisk { store: inventory.server, cards, mailboxes: inventory.mailboxes.clone() }
}

/// Starts Admission, if the server has a list of members, or is one of a cluster, which may have one. Returns where the cluster tells what
/// it has.
fn start_admission(
    path: Option<&Path>,
    router: &RouterHandle,
    cluster: Option<ClusterHandle>,
) -> Result<(Option<Running<AdmissionHandle>>, Option<Learned>), admission::StartError> {
    let router = router.clone();
    let expel = move |members| {
        // Fails only when the server shuts down.
        let _ = router.send(router_commands::Command::Expel(members));
    };
    match cluster {
        Some(cluster) => {
            let (running, learned) = admission::start_in_cluster(path, cluster, expel)?;
            Ok((Some(running), Some(learned)))
        }
        None => Ok((path.map(|path| admission::start(path, expel)).transpose()?, None)),
    }
}

/// Refuses to start without the cluster into which the data directory was imported.
fn check_not_imported(data: &Path) -> Result<(), StartError> {
    let path = data.to_owned();
    match std::fs::read_to_string(data.join(IMPORTED)) {
        Ok(cluster) => Err(StartError::Imported { path, cluster: cluster.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StartError::ImportedWhere { path: data.join(IMPORTED), source }),
    }
}

fn listen(config: &Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for listen in &config.listen {
        match listen {
            Listen::Address(address) => listeners.push(bind(*address, config, Door::Public)?),
            Listen::Tls(address) => listeners.push(bind(*address, config, Door::Tls)?),
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
    // If there is an IPv4 socket on the same port, the IPv6 socket must not include IPv4.
    let is_dual = !config.listen.iter().any(
        |listen| matches!(listen, Listen::Address(other) | Listen::Tls(other) if other.is_ipv4() && other.port() == address.port()),
    );
    let option = match door {
        Door::Public | Door::Tls => "--listen",
        Door::Admin => "--admin",
    };
    Listener::bind(address, is_dual, door).map_err(|source| StartError::Listen { address, option, source })
}

/// The probable reason for a failed bind.
fn why_not(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is another server running there? ",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; ",
        io::ErrorKind::PermissionDenied => "ports below 1024 are not for everybody; ",
        _ => "",
    }
}

/// Who can watch the feed. Nobody can if no site has the page, or if it is only for an admin address that there is not.
fn viewers(config: &Config) -> Option<FlowAccess> {
    let has_page = config.sites.iter().any(|site| site.page.is_some());
    config.flow.filter(|flow| has_page && (*flow == FlowAccess::Public || config.admin.is_some()))
}

fn start_sites(config: &Config) -> Result<Vec<SiteActors>, StartError> {
    // The sites share the cache equally.
    let share = config.sites.len().max(1);
    let cache = CacheConfig {
        bytes: config.cache.bytes / share as u64,
        entries: (config.cache.entries / share).max(1),
    };
    let start = |site: &SiteConfig| {
        let site = Arc::new(site.clone());
        let files = file_server::start(Arc::clone(&site), &cache)?;
        let users = site.users_file.as_deref().map(credentials::start).transpose()?;
        Ok(SiteActors { config: site, files, users })
    };
    config.sites.iter().map(start).collect()
}

pub(crate) fn lock_data(config: &Config) -> Result<std::fs::File, StartError> {
    let path = &config.data;
    let fail = |source| StartError::Data { path: path.clone(), source };
    // A directory with other files, such as /tmp, keeps its mode. The files in it are private anyway.
    let is_shared =
        !path.join("lock").exists() && path.read_dir().is_ok_and(|mut names| names.next().is_some());
    if !is_shared {
        durable::private_directory(path).map_err(fail)?;
    }
    let lock = durable::private_file(&path.join("lock")).map_err(fail)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::DataInUse { path: path.clone() }),
        Err(e) => Err(fail(e.into())),
    }
}

/// Reads the server's key. The first start makes it.
fn server_key(path: &Path) -> Result<ServerKey, StartError> {
    let fail = |source| StartError::Data { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed: [u8; SEED_BYTES] = rand::random();
            let text = format!("{}\n", HEXLOWER.encode(&seed));
            durable::replace_private(path, text.as_bytes()).map_err(fail)?;
            text
        }
        // A file that is not UTF-8 is not a key.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        read => read.map_err(fail)?,
    };
    let seed = HEXLOWER.decode(text.trim().as_bytes()).ok().and_then(|seed| seed.try_into().ok());
    Ok(ServerKey::from_seed(&seed.ok_or_else(|| StartError::Key(path.to_owned()))?))
}

/// A peer needs two descriptors and a browser one, which soon exceeds the usual soft limit of 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it fails the Acceptor lowers its limits and logs that.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
