//! Tests with raw bytes over real sockets.

mod bodies;
mod client;
mod conditional;
mod fields;
mod framing;
mod lifetime;
mod limits;
mod negotiation;
mod page;
mod paths;
mod pipelining;
mod ranges;
mod sites;
mod socket;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use wire::server_key::ServerKey;

use tempfile::TempDir;

use self::client::Client;
use super::{Names, Services, Sites};
use crate::acceptor::{self, Acceptor, Listener};
use crate::commands::connection::Door;
use crate::commands::file_server::FileServerHandle;
use crate::commands::index::IndexHandle;
use crate::commands::memory::Memory;
use crate::commands::router::RouterHandle;
use crate::commands::store::StoreHandle;
use crate::config::{CacheConfig, Limits, PeerLimits};
use crate::file_server;
use crate::index;
use crate::router::RouterMailbox;
use crate::runtime::Running;
use crate::site::SiteConfig;
use crate::{router, session, store};

/// The deadline of everything that must happen.
const SOON: Duration = Duration::from_secs(20);

const SMALL: &str = "Hello, World\n";

/// When all files of the usual site were modified: the first second of 2020, as a number and as an HTTP date.
const MODIFIED: u64 = 1_577_836_800;
const MODIFIED_DATE: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

/// A server on a free port, whose first site has a temporary folder.
struct Site {
    address: SocketAddr,
    files: FileServerHandle,
    /// Set when the server has begun to end.
    stopping: Arc<AtomicBool>,
    // Dropped in this order, because the Acceptor uses the others.
    _acceptor: Acceptor,
    folders: Vec<TempDir>,
    _others: Others,
}

/// The actors that only sessions of peers use.
struct Others {
    _router: Running<RouterHandle>,
    _index: Running<IndexHandle>,
    _store: Running<StoreHandle>,
    _files: Vec<Running<FileServerHandle>>,
    _data: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::start(limits, vec![(usual_folder(), SiteConfig::default())])
    }

    fn with_config(config: SiteConfig) -> Self {
        Self::start(Limits::default(), vec![(usual_folder(), config)])
    }

    /// Serves each folder with its configuration.
    fn start(limits: Limits, sites: Vec<(TempDir, SiteConfig)>) -> Self {
        let (mut served, mut running, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for (folder, config) in sites {
            let config = Arc::new(SiteConfig { root: folder.path().to_owned(), ..config });
            let files =
                file_server::start(Arc::clone(&config), &CacheConfig::default()).expect("the root is there");
            served.push(super::Site::new(config, (*files).clone(), None));
            running.push(files);
            folders.push(folder);
        }
        Self::with_sites(limits, served, running, folders)
    }

    fn with_sites(
        limits: Limits,
        sites: Vec<super::Site>,
        running: Vec<Running<FileServerHandle>>,
        folders: Vec<TempDir>,
    ) -> Self {
        let data = tempfile::tempdir().expect("there is a place for temporary files");
        let mailbox = RouterMailbox::default();
        let (store, inventory) = store::start(&data.path().join("store"), mailbox.completed(), None)
            .expect("the folder can be written to");
        let index = index::start(data.path(), PeerLimits::default().index_pairs, None)
            .expect("the folder can be written to");
        let router =
            router::start(mailbox, PeerLimits::default(), inventory, store.clone(), index.clone(), None)
                .expect("there are threads");
        let files = sites[0].files.clone();
        let sites = Arc::new(Sites::new(sites));
        let stopping = Arc::<AtomicBool>::default();
        let http = Services {
            sites,
            https_port: None,
            access_log: None,
            feed: None,
            names: Names { router: (*router).clone(), admission: None },
            peers: Arc::default(),
            stopping: Arc::clone(&stopping),
        };
        let services = session::Services {
            cluster: None,
            router: (*router).clone(),
            index: (*index).clone(),
            admission: None,
            key: Arc::new(ServerKey::from_seed(&[1; 32])),
            memory: Memory::new(PeerLimits::default().session_memory),
            limits: Arc::new(PeerLimits::default()),
            feed: None,
            stopping: Arc::clone(&stopping),
        };
        let workers = {
            let (http, limits) = (http.clone(), limits.clone());
            move |admin, counts| session::workers(services, http, limits, admin, counts)
        };
        let door = if has_tls() { Door::Tls } else { Door::Public };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), true, door).expect("there is a free port");
        let tls = client::tls_of_server();
        let acceptor = acceptor::start(vec![listener], limits, has_http_threads(), &tls, &http, workers)
            .expect("there are threads");
        let others = Others { _router: router, _index: index, _store: store, _files: running, _data: data };
        Self {
            address: if has_tls() { acceptor.tls_addresses[0] } else { acceptor.addresses[0] },
            files,
            stopping,
            _acceptor: acceptor,
            folders,
            _others: others,
        }
    }

    fn root(&self) -> &Path {
        self.folders[0].path()
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends `request` and reads to the end of the connection.
    fn exchange(&self, request: impl AsRef<[u8]>) -> Vec<u8> {
        let mut client = self.connect();
        client.send_last(request.as_ref());
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the connection is not reset");
        answer
    }

    fn text(&self, request: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&self.exchange(request)).into_owned()
    }

    /// The response to one request. Nothing may follow it.
    fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        let all = self.exchange(request);
        let (answer, rest) = Answer::split_off(&all, is_head(request));
        assert!(rest.is_empty(), "{:?} after {}", String::from_utf8_lossy(rest), answer.head);
        answer
    }

    /// A GET with further field lines, each with its CRLF.
    fn get(&self, path: &str, fields: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    fn head(&self, path: &str, fields: &str) -> Answer {
        self.ask(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    /// The response to a request, and whether the next request on the same connection was answered too. Nothing may come in
    /// between, so that no byte of the first request was taken for another request.
    fn ask_and_go_on(&self, request: impl AsRef<[u8]>) -> (Answer, bool) {
        let request = request.as_ref();
        let all = self.exchange([request, get("/probe.txt").as_bytes()].concat());
        let (answer, rest) = Answer::split_off(&all, is_head(request));
        if rest.is_empty() {
            return (answer, false);
        }
        let (next, rest) = Answer::split_off(rest, false);
        assert_eq!((next.status(), next.body.as_slice()), (200, b"probe".as_slice()), "{}", next.head);
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(rest));
        (answer, true)
    }
}

/// A folder with a few files of all sizes.
fn usual_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    std::fs::create_dir(folder.path().join("dir")).expect("the folder can be written to");
    for (name, content) in [
        ("small.txt", SMALL.as_bytes()),
        ("probe.txt", b"probe"),
        ("empty.txt", b""),
        ("medium.bin", &pattern(100_000)),
        ("large.bin", &pattern(3_000_000)),
        ("dir/index.html", b"index"),
    ] {
        write_old(folder.path(), name, content, MODIFIED);
    }
    folder
}

/// Writes a file that was modified `modified` seconds after 1970.
fn write_old(root: &Path, name: &str, content: &[u8], modified: u64) {
    let mut file = std::fs::File::create(root.join(name)).expect("the folder can be written to");
    file.write_all(content).expect("the folder can be written to");
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
    file.set_modified(modified).expect("it is our file");
}

/// One response. The body has the length that the head says.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// Takes the first response from `bytes`. Responses to HEAD, 204 and 304 have no body (RFC 9112, section 6.3).
    fn split_off(bytes: &[u8], to_head: bool) -> (Self, &[u8]) {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes))) + 4;
        let (head, rest) = bytes.split_at(end);
        let mut answer =
            Self { head: String::from_utf8(head.to_vec()).expect("a head is ASCII"), body: vec![] };
        let status = answer.status();
        let length = match answer.field("Content-Length") {
            None => {
                assert!(matches!(status, 204 | 304), "no length in {}", answer.head);
                0
            }
            Some(length) => {
                assert!(!matches!(status, 204 | 304), "a length in {}", answer.head);
                length.parse().expect("it is a number")
            }
        };
        let length = if to_head { 0 } else { length };
        assert!(length <= rest.len(), "{length} bytes are not there: {}", answer.head);
        answer.body = rest[..length].to_vec();
        (answer, &rest[length..])
    }

    fn status(&self) -> u16 {
        let code = self.head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {}", self.head))
    }

    /// The value of a field that must not occur twice.
    fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields(name);
        assert!(values.len() <= 1, "{name} twice in {}", self.head);
        values.first().copied()
    }

    fn fields(&self, name: &str) -> Vec<&str> {
        let value = |line| {
            let (field, value) = str::split_once(line, ": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        };
        self.head.lines().filter_map(value).collect()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn is_head(mut request: &[u8]) -> bool {
    while let Some(rest) = request.strip_prefix(b"\r\n") {
        request = rest;
    }
    request.starts_with(b"HEAD ")
}

fn pattern(bytes: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..=250).collect();
    let mut pattern = period.repeat(bytes.div_ceil(period.len()));
    pattern.truncate(bytes);
    pattern
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Whether these are the tests with `--http-threads`: this module is compiled once for each mode.
fn has_http_threads() -> bool {
    module_path!().ends_with("with_threads")
}

/// Whether these are the tests over TLS.
fn has_tls() -> bool {
    module_path!().ends_with("over_tls")
}

/// Reads up to the end of one head, byte by byte.
fn read_head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the answer is whole");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is ASCII")
}

/// Reads one head, and the body whose length it gives.
fn read_one(client: &mut Client) -> (String, Vec<u8>) {
    let head = read_head(client);
    let length = field(&head, "Content-Length").map_or(0, |n| n.parse().expect("it is a number"));
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("the answer is whole");
    (head, body)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Waits until `is_so`.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}
