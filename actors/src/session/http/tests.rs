//! Raw bytes over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use wire::http::SitePath;

use super::{Door, Sites};
use crate::acceptor::{self, Acceptor, Listener};
use crate::config::Limits;
use crate::file_server::{self, Asset, FileServerConfig, FileServerHandle, Found};
use crate::index::{IndexHandle, IndexThreads};
use crate::runtime::Vital;
use crate::session::Services;
use crate::site::SiteConfig;
use crate::{router, store};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);

const SMALL: &str = "Hello, World\n";

/// A site in a folder of its own, served on a free port.
struct Site {
    address: SocketAddr,
    files: FileServerHandle,
    // Dropped in this order: the Acceptor has handles of all others.
    _acceptor: Acceptor,
    folder: tempfile::TempDir,
    _others: Others,
}

/// What a session could ask for, and does not in these tests.
struct Others {
    _router: Vital,
    _index: IndexThreads,
    _store: Vital,
    _files: Option<Vital>,
    _data: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let write = |name: &str, content: &[u8]| {
            std::fs::write(folder.path().join(name), content).expect("the folder can be written to");
        };
        write("small.txt", SMALL.as_bytes());
        write("medium.bin", &pattern(100_000));
        write("large.bin", &pattern(3_000_000));
        std::fs::create_dir(folder.path().join("dir")).expect("the folder can be written to");
        write("dir/index.html", b"index");
        let root = folder.path().to_owned();
        let (files, vital) = file_server::start(&FileServerConfig {
            site: Arc::new(SiteConfig { root, ..Default::default() }),
            ..Default::default()
        })
        .expect("the root is there");
        Self::with_files(files, Some(vital), limits, folder)
    }

    fn with_files(
        files: FileServerHandle,
        files_thread: Option<Vital>,
        limits: Limits,
        folder: tempfile::TempDir,
    ) -> Self {
        let data = tempfile::tempdir().expect("there is a place for temporary files");
        let store = store::start(&data.path().join("store")).expect("the folder can be written to");
        let (index, index_threads) = IndexHandle::start(data.path()).expect("the folder can be written to");
        let (router, router_thread) =
            router::start(store.inventory, store.handle, store.completions, index.clone())
                .expect("there are threads");
        let config = Arc::new(SiteConfig::default());
        let sites = Arc::new(Sites::new(vec![super::Site { config, files: files.clone(), users: None }]));
        let services = Services { router, index, sites, access_log: None, stopping: Arc::default() };
        let listener =
            Listener::bind(([127, 0, 0, 1], 0).into(), true, Door::Public).expect("there is a free port");
        let acceptor = acceptor::start(vec![listener], limits, services).expect("there are threads");
        let others = Others {
            _router: router_thread,
            _index: index_threads,
            _store: store.thread,
            _files: files_thread,
            _data: data,
        };
        Self { address: acceptor.addresses[0], files, _acceptor: acceptor, folder, _others: others }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("somebody listens");
        client.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        client.set_nodelay(true).expect("it is a socket");
        client
    }

    /// Sends all of `request` and reads all that comes.
    fn exchange(&self, request: impl AsRef<[u8]>) -> Vec<u8> {
        let mut client = self.connect();
        client.write_all(request.as_ref()).expect("the server reads");
        client.shutdown(Shutdown::Write).expect("it is connected");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the connection is not reset");
        answer
    }

    fn text(&self, request: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&self.exchange(request)).into_owned()
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Reads up to the end of one head, byte by byte, and the body whose length it gives.
fn read_one(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the answer is whole");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let length = field(&head, "Content-Length").map_or(0, |n| n.parse().expect("it is a number"));
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("the answer is whole");
    (head, body)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_file_comes_with_all_that_a_browser_needs() {
    let site = Site::new();
    let answer = site.text(get("/small.txt"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, SMALL);
    for (name, value) in [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "13"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        assert_eq!(field(head, name), Some(value));
    }
    for name in ["Date", "Last-Modified"] {
        let date = field(head, name).expect("the field is there");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    }
    assert!(field(head, "ETag").is_some_and(|tag| tag.starts_with('"')));
    assert_eq!(field(head, "Connection"), None);
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_size() {
    let site = Site::new();
    let paths = ["/small.txt", "/medium.bin", "/missing", "/large.bin", "/medium.bin", "/small.txt"];
    let requests: String = paths.iter().cycle().take(60).map(|path| get(path)).collect();
    let mut client = site.connect();
    let mut writer = client.try_clone().expect("a socket can be cloned");
    let sending = std::thread::spawn(move || writer.write_all(requests.as_bytes()));
    for path in paths.iter().cycle().take(60) {
        let (head, body) = read_one(&mut client);
        match *path {
            "/small.txt" => assert_eq!(body, SMALL.as_bytes()),
            "/medium.bin" => assert_eq!(body, pattern(100_000)),
            "/large.bin" => assert_eq!(body, pattern(3_000_000)),
            _ => assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}"),
        }
    }
    sending.join().expect("no panic").expect("the server reads");
    client.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(client.read(&mut [0]).expect("it is closed in good order"), 0);
}

#[test]
fn any_split_of_the_bytes_is_good() {
    let site = Site::new();
    let request = format!("{}{}", get("/small.txt"), get("/dir/"));
    for split in 0..=request.len() {
        let (before, after) = request.as_bytes().split_at(split);
        let mut client = site.connect();
        client.write_all(before).expect("the server reads");
        client.write_all(after).expect("the server reads");
        assert_eq!(read_one(&mut client).1, SMALL.as_bytes());
        assert_eq!(read_one(&mut client).1, b"index");
    }
}

#[test]
fn head_and_conditional_requests_have_no_body() {
    let site = Site::new();
    let mut client = site.connect();
    let mut ask = |request: String| {
        client.write_all(request.as_bytes()).expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("the answer is whole");
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("a head is ASCII")
    };
    let head = ask("HEAD /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(field(&head, "Content-Length"), Some("13"));
    let missing = ask("HEAD /missing HTTP/1.1\r\nHost: a\r\n\r\n".into());
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    let tag = field(&head, "ETag").expect("there is a tag");
    let modified = field(&head, "Last-Modified").expect("there is a date");
    for condition in [
        format!("If-None-Match: {tag}"),
        format!("If-None-Match: \"x\", W/{tag}"),
        format!("If-Modified-Since: {modified}"),
    ] {
        let answer = ask(format!("GET /small.txt HTTP/1.1\r\nHost: a\r\n{condition}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{condition}: {answer}");
        assert_eq!(field(&answer, "ETag"), Some(tag));
    }
    // All of these were without bodies, else this would not be a head.
    let last = ask("GET /dir HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n".into());
    assert!(last.starts_with("HTTP/1.1 308 "), "{last}");
    assert_eq!(field(&last, "Location"), Some("/dir/"));
}

#[test]
fn redirects_stay_on_this_host_and_keep_the_query() {
    let site = Site::new();
    let answer = site.text(get("//dir?a=//b"));
    assert_eq!(field(&answer, "Location"), Some("/dir/?a=//b"), "{answer}");
}

#[test]
fn what_is_refused_is_said_and_then_the_connection_ends() {
    let site = Site::new();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), "505 HTTP Version Not Supported"),
        (get(&format!("/{}", "x".repeat(9000))), "414 URI Too Long"),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            "431 Request Header Fields Too Large",
        ),
    ] {
        // What follows must neither be answered nor make a reset of the connection that eats the answer.
        let followed = format!("{request}{}{}", get("/small.txt"), "x".repeat(200_000));
        let answer = site.exchange(followed);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert_eq!(field(&answer, "Connection"), Some("close"), "{answer}");
        assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{answer}");
    }
}

#[test]
fn other_methods_are_answered_and_the_connection_goes_on() {
    let site = Site::new();
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ", "405 Method Not Allowed"),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "501 Not Implemented"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "204 No Content"),
    ] {
        let answer = site.text(format!("{request}{}", get("/small.txt")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert_eq!(field(&answer, "Allow").is_some(), !status.starts_with("501"), "{answer}");
        assert_eq!(answer.matches("\r\nDate: ").count(), 2, "{answer}");
    }
}

#[test]
fn a_refused_head_request_gets_no_body_either() {
    let site = Site::new();
    for (request, has_body) in [
        ("HEAD / HTTP/1.1\r\n\r\n", false),
        ("\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", false),
        ("HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", false),
        ("HEADS / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nX: HEAD \r\n\r\n", true),
    ] {
        let answer = site.text(request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
        assert_eq!(!body.is_empty(), has_body, "{request:?} got {answer}");
        assert_ne!(field(head, "Content-Length"), Some("0"), "{answer}");
    }
}

#[test]
fn paths_that_lead_elsewhere_get_nothing() {
    let site = Site::new();
    std::os::unix::fs::symlink("/etc/passwd", site.root().join("passwd")).expect("links can be made");
    std::fs::write(site.root().join(".secret"), "x").expect("the folder can be written to");
    for (path, status) in [
        ("/../etc/passwd", 400),
        ("/%2e%2e/etc/passwd", 400),
        ("/small.txt%00", 400),
        ("/%", 400),
        ("/.secret", 404),
        ("/dir%2findex.html", 404),
        ("/passwd", 403),
        ("/small.txt/", 404),
    ] {
        let answer = site.text(get(path));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[test]
fn an_unread_body_is_never_the_next_request() {
    let site = Site::new();
    let hidden = get("/dir/");
    let sized =
        format!("GET /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let chunked = format!(
        "GET /small.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    );
    for request in [sized, chunked] {
        let answer = site.text(format!("{request}{}", get("/missing")));
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 1, "{answer}");
        assert!(!answer.contains("index"), "{answer}");
    }
    for refused in [
        "Content-Length: 100000\r\n\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let request = format!("GET /small.txt HTTP/1.1\r\nHost: a\r\n{refused}{hidden}");
        let answer = site.text(request);
        assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{answer}");
        assert!(answer.ends_with(SMALL), "{answer}");
    }
}

#[test]
fn old_clients_are_closed_unless_they_ask() {
    let site = Site::new();
    let answer = site.exchange("GET /small.txt HTTP/1.0\r\n\r\n");
    assert_eq!(field(&String::from_utf8_lossy(&answer), "Connection"), Some("close"));
    let kept = "GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    let answer = site.exchange(kept);
    assert_eq!(field(&String::from_utf8_lossy(&answer), "Connection"), Some("keep-alive"));
    assert_eq!(String::from_utf8_lossy(&answer).matches(SMALL).count(), 2);
}

#[test]
fn a_changed_file_is_seen_on_an_open_connection() {
    let site = Site::new();
    let mut client = site.connect();
    let mut ask = || {
        client.write_all(get("/small.txt").as_bytes()).expect("the server reads");
        read_one(&mut client).1
    };
    assert_eq!(ask(), SMALL.as_bytes());
    std::fs::write(site.root().join("small.txt"), "changed").expect("the folder can be written to");
    let since = Instant::now();
    while ask() != b"changed" {
        assert!(since.elapsed() < SOON, "the change was not seen");
    }
}

fn find(site: &Site, file: &str) -> Arc<Asset> {
    match site.files.find(SitePath::decode(file).expect("it is a path")) {
        Ok(Found::Asset(asset)) => asset,
        other => panic!("{file} gave {other:?}"),
    }
}

/// Does `keep` until it has been given what FileServer has: a file that was just written may be read more than once.
fn keep_current(site: &Site, file: &str, mut keep: impl FnMut(&Arc<Asset>)) -> Arc<Asset> {
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < SOON, "the file does not come to rest");
        let asset = find(site, file);
        keep(&asset);
        if Arc::ptr_eq(&asset, &find(site, file)) {
            return asset;
        }
    }
}

/// Changes a file, and waits until what it was is not to be used any more.
fn outdate(site: &Site, file: &str, old: Arc<Asset>) -> Weak<Asset> {
    std::fs::write(site.root().join(&file[1..]), "changed").expect("the folder can be written to");
    let since = Instant::now();
    while !old.is_revoked() {
        assert!(since.elapsed() < SOON, "the change was not seen");
        find(site, file);
    }
    let weak = Arc::downgrade(&old);
    drop(old);
    weak
}

#[test]
fn an_outdated_file_is_let_go_though_nobody_asks() {
    let site = Site::new();
    let mut client = site.connect();
    let mut ask = |path| {
        client.write_all(get(path).as_bytes()).expect("the server reads");
        read_one(&mut client).0
    };
    let old = keep_current(&site, "/small.txt", |_| assert!(ask("/small.txt").contains(" 200 ")));
    let old = outdate(&site, "/small.txt", old);
    assert!(old.upgrade().is_some(), "it is kept");
    let since = Instant::now();
    while old.upgrade().is_some() {
        assert!(since.elapsed() < SOON, "it is still kept");
        std::thread::yield_now();
    }
}

#[test]
fn slow_heads_are_cut_off_and_idle_connections_closed() {
    let short = Duration::from_millis(60);
    let site = Site::with_limits(Limits { head_timeout: short, idle_timeout: short, ..Limits::default() });
    let mut client = site.connect();
    // A byte now and then until the server has had enough: the deadline is for the whole head.
    let since = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("the server reads");
    loop {
        assert!(since.elapsed() < SOON, "the deadline was extended");
        if client.write_all(b"a").is_err() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
        if has_answer(&client) {
            break;
        }
    }
    let mut answer = [0; 35];
    client.read_exact(&mut answer).expect("the answer is whole");
    assert_eq!(&answer, b"HTTP/1.1 408 Request Timeout\r\nConte");
    let mut client = site.connect();
    assert_eq!(client.read(&mut [0; 10]).expect("it is closed in good order"), 0);
    client = site.connect();
    client.write_all(get("/small.txt").as_bytes()).expect("the server reads");
    read_one(&mut client);
    assert_eq!(client.read(&mut [0; 10]).expect("it is closed in good order"), 0);
}

fn has_answer(client: &TcpStream) -> bool {
    client.set_nonblocking(true).expect("it is a socket");
    let is_ready = client.peek(&mut [0]).is_ok();
    client.set_nonblocking(false).expect("it is a socket");
    is_ready
}

#[test]
fn stopping_lets_the_answer_at_work_be_the_last() {
    let site = Site::new();
    let mut client = site.connect();
    // More than the sockets between us take, so that the answer is at work until it is read.
    let large = pattern(20_000_000);
    std::fs::write(site.root().join("huge.bin"), &large).expect("the folder can be written to");
    client.write_all(get("/huge.bin").as_bytes()).expect("the server reads");
    let mut first = [0; 15];
    client.read_exact(&mut first).expect("the answer has begun");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let stopping = std::thread::spawn(move || drop(site));
    client.write_all(get("/small.txt").repeat(2).as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the connection is not reset");
    stopping.join().expect("no panic");
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a head");
    assert!(answer[head + 4..].starts_with(&large), "the answer at work is whole");
    assert_eq!(String::from_utf8_lossy(&answer[head + 4 + large.len()..]).matches(SMALL).count(), 0);
}

#[test]
fn when_the_file_server_is_busy_clients_are_asked_to_come_back() {
    // There is no room in this mailbox.
    let (files, mailbox) = file_server::detached(0);
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let site = Site::with_files(files, None, Limits::default(), folder);
    let answer = site.text(get("/small.txt"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(field(&answer, "Retry-After"), Some("1"));
    drop(mailbox);
}
