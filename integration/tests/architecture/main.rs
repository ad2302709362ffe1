//! Verifies the dependency rules of ARCHITECTURE.md: reads the source tree and fails on a use that is not allowed.
//!
//! No rule has exceptions. If the design changes, the rule here and ARCHITECTURE.md change with it.

mod source;

use std::path::Path;

use source::{SourceFile, Use, product_files};

/// The actors: each has its own thread and mailbox.
const ACTORS: [&str; 12] = [
    "acceptor",
    "access_log",
    "admission",
    "certificates",
    "cluster",
    "credentials",
    "feed",
    "file_server",
    "index",
    "router",
    "session",
    "store",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the repository")
}

fn wire() -> Vec<SourceFile> {
    product_files(repository(), "wire/src/lib.rs")
}

fn actors() -> Vec<SourceFile> {
    product_files(repository(), "actors/src/lib.rs")
}

/// The library of the root package: clients and the server's configuration.
fn root() -> Vec<SourceFile> {
    product_files(repository(), "src/lib.rs")
}

/// The files below a folder.
fn below(files: Vec<SourceFile>, folder: &str) -> Vec<SourceFile> {
    let found: Vec<_> = files.into_iter().filter(|file| file.path.starts_with(folder)).collect();
    assert!(!found.is_empty(), "{folder} has no product files: has it moved? Then adapt this test");
    found
}

/// The cores: structs that decide, without a thread.
fn cores() -> Vec<SourceFile> {
    let is_core =
        |file: &SourceFile| file.path.ends_with("/core.rs") || file.path.ends_with("/cluster/import.rs");
    let mut cores: Vec<_> = actors().into_iter().filter(is_core).collect();
    assert!(cores.len() >= 4, "cores are missing: {cores:?}");
    cores.extend(below(root(), "src/peer/engine/"));
    cores
}

/// Whether `path` is `module`, or something inside it.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Sockets. Addresses are plain values, so they are allowed.
fn opens_sockets(path: &str) -> bool {
    let sockets = ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs", "*"];
    sockets.iter().any(|name| is_in(path, &format!("std::net::{name}")))
        || path == "std::net"
        || is_in(path, "std::os::unix::net")
        || is_in(path, "socket2")
        || is_in(path, "rustix::net")
}

fn touches_files(path: &str) -> bool {
    let methods = [".exists", ".is_file", ".is_dir", ".canonicalize", ".read_dir"];
    is_in(path, "std::fs") || is_in(path, "rustix::fs") || methods.contains(&path)
}

fn uses_threads(path: &str) -> bool {
    ["std::thread", "std::sync::mpsc", "crossbeam_channel"].iter().any(|module| is_in(path, module))
}

fn reads_the_clock(path: &str) -> bool {
    path.ends_with("Instant::now") || path.ends_with("SystemTime::now") || path == ".elapsed"
}

/// Sources of randomness. Generators that are passed in are allowed.
fn draws_randomness(path: &str) -> bool {
    let sources = ["rand::rng", "rand::random", "rand::random_range", "rand::fill", "getrandom"];
    let generators = ["rand::rngs::ThreadRng", "rand::rngs::SysRng", "rand::rngs::OsRng"];
    sources.iter().chain(&generators).any(|source| is_in(path, source))
}

fn touches_the_world(path: &str) -> bool {
    opens_sockets(path)
        || touches_files(path)
        || uses_threads(path)
        || reads_the_clock(path)
        || draws_randomness(path)
}

/// Fails if a file has a forbidden use, and lists all of them.
fn check(rule: &str, files: &[SourceFile], is_forbidden: impl Fn(&SourceFile, &Use) -> bool) {
    assert!(!files.is_empty(), "no file is checked");
    let uses = files.iter().flat_map(|file| file.uses.iter().map(move |used| (file, used)));
    let found = uses.filter(|(file, used)| is_forbidden(file, used));
    let found: Vec<String> =
        found.map(|(file, used)| format!("\n    {}:{}: {}", file.path, used.line, used.path)).collect();
    assert!(found.is_empty(), "{rule}; not allowed:{}", found.concat());
}

/// Forbids paths in all files.
fn forbid(rule: &str, files: &[SourceFile], is_forbidden: impl Fn(&str) -> bool) {
    check(rule, files, |_, used| is_forbidden(&used.path));
}

#[test]
fn wire_does_no_io_starts_no_thread_and_reads_no_clock() {
    let is_forbidden = |path: &str| {
        touches_the_world(path)
            || ["std::process", "std::env", "std::io::stdin", "std::io::stdout", "std::io::stderr"]
                .iter()
                .any(|module| is_in(path, module))
    };
    let rule =
        "wire is handed everything: it does no I/O, starts no thread, reads no clock, draws no randomness";
    forbid(rule, &wire(), is_forbidden);
}

#[test]
fn cores_know_no_socket_file_thread_clock_or_randomness() {
    forbid("a core decides and does nothing else", &cores(), touches_the_world);
}

/// The modules of `actors`, lowest layer first. A module imports only from layers below its own, so there is no circle, and
/// no actor knows another.
const LAYERS: [&[&str]; 9] = [
    &["linux", "metrics", "site", "tls", "websocket"],
    &["config", "runtime", "transport"],
    &["commands"],
    &["http"],
    &["handover"],
    &ACTORS,
    &["administration"],
    &["server"],
    &["import"],
];

#[test]
fn modules_of_the_server_import_only_from_layers_below() {
    // `lib.rs` only lists the modules and names what the crate shows.
    let files: Vec<_> = actors().into_iter().filter(|file| file.path != "actors/src/lib.rs").collect();
    let layer = |module: &str| {
        let found = LAYERS.iter().position(|modules| modules.contains(&module));
        found.unwrap_or_else(|| panic!("actors/src/{module} is in none of LAYERS"))
    };
    let arrow_up = |file: &SourceFile, used: &Use| {
        let from = file.path.strip_prefix("actors/src/")?.split(['/', '.']).next()?;
        let to = used.path.strip_prefix("crate::")?.split("::").next()?;
        // Items at the root are re-exports of `server` or `config`.
        Some(!is_module_name(to) || (from != to && layer(to) >= layer(from)))
    };
    let rule = "an actor imports `commands`, `runtime` and other layers below, and no actor; only `server` knows them all";
    check(rule, &files, |file, used| arrow_up(file, used).unwrap_or(false));
    let folders = ACTORS.map(|actor| repository().join("actors/src").join(actor).is_dir());
    assert_eq!(folders, [true; 12], "an actor has moved: adapt ACTORS");
}

fn is_module_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
}

#[test]
fn commands_of_the_root_package_know_nothing_of_each_other() {
    const COMMANDS: [&str; 3] = ["peer", "server", "webclient"];
    let arrow = |file: &SourceFile, used: &Use| {
        let from = file.path.strip_prefix("src/")?.split(['/', '.']).next()?;
        Some(match used.path.strip_prefix("crate::") {
            Some(inside) => inside.split("::").next().is_some_and(|to| COMMANDS.contains(&to) && to != from),
            None => is_in(&used.path, "actors") && from != "server",
        })
    };
    let mut files = root();
    files.retain(|file| file.path != "src/lib.rs");
    for command in COMMANDS {
        assert!(
            files.iter().any(|file| file.path.starts_with(&format!("src/{command}/"))),
            "{command} moved"
        );
    }
    let rule = "a client has no part of the server, nor the other way round";
    check(rule, &files, |file, used| arrow(file, used).unwrap_or(false));
}

#[test]
fn the_engine_of_a_peer_knows_records_keys_and_messages_only() {
    let keys = ["home::EncryptionPair", "home::KeyTimes", "home::Keys"];
    let may_use = ["command", "comparison", "engine", "event", "records"].into_iter().chain(keys);
    let may_use: Vec<String> = may_use.map(|module| format!("crate::peer::{module}")).collect();
    let is_forbidden = |path: &str| is_in(path, "crate") && !may_use.iter().any(|m| is_in(path, m));
    let rule = "no store, share, transfer, pins or shell inside the engine";
    forbid(rule, &below(root(), "src/peer/engine/"), is_forbidden);
}

#[test]
fn nobody_but_a_store_uses_redb() {
    let mut files = actors();
    files.extend(root());
    files.retain(|file| {
        !["actors/src/store/", "src/peer/store/"].iter().any(|store| file.path.starts_with(store))
    });
    forbid("databases belong to the stores", &files, |path| is_in(path, "redb"));
}

/// The Router forwards bytes; it knows only names, places and lengths.
#[test]
fn the_router_never_looks_into_an_envelope() {
    let files = below(actors(), "actors/src/router/");
    let parses = |path: &str| {
        let parsers = ["Envelope", "ToServer", "ToPeer", "decode_envelope"];
        is_in(path, "wire::frame")
            || is_in(path, "wire::conversation")
            || is_in(path, "wire::signal")
            || parsers.iter().any(|name| is_in(path, &format!("wire::protocol::{name}")))
    };
    forbid("the Router hands on envelopes unread", &files, parses);
}

/// A poller serves thousands of connections, so everything that may block goes to a session.
#[test]
fn a_poller_asks_no_actor_and_opens_no_file() {
    let mut files = below(actors(), "actors/src/acceptor/");
    // The listener removes the name of a Unix socket at the end.
    files.retain(|file| !file.path.ends_with("/listener.rs"));
    let waits = |path: &str| {
        let asks = [".find", ".verify", ".publish", ".search", ".ask"];
        touches_files(path)
            || is_in(path, "crate::runtime::Pending")
            || path == "std::thread::sleep"
            || asks.contains(&path)
    };
    forbid("a poller waits for readiness only", &files, waits);
}

/// Only FileServer opens paths from requests, beneath the web root with `openat2`.
#[test]
fn only_file_server_opens_what_requests_name() {
    let mut files = actors();
    files.retain(|file| {
        ["actors/src/http/", "actors/src/session/", "actors/src/handover"]
            .iter()
            .any(|place| file.path.starts_with(place))
    });
    // These use files that FileServer has opened.
    let opens =
        |path: &str| (touches_files(path) && path != "std::fs::File") || path.ends_with("open_beneath");
    forbid("files of the web root are FileServer's", &files, opens);
}

#[test]
fn the_state_of_an_http_connection_does_no_io_and_reads_no_clock() {
    let io = [".read", ".write", ".write_all", ".recv", ".send", ".peek"];
    let is_forbidden = |path: &str| reads_the_clock(path) || touches_files(path) || io.contains(&path);
    let files = below(actors(), "actors/src/http/connection.rs");
    forbid("pollers and sessions run the same code on bytes", &files, is_forbidden);
}

#[test]
fn there_is_no_lock_beside_the_actors() {
    let locks = ["Mutex", "RwLock", "Condvar", "ReentrantLock"];
    let is_lock = |path: &str| path.split("::").any(|segment| locks.contains(&segment));
    forbid("state has one owner, or is atomic", &actors(), is_lock);
}

#[test]
fn unsafe_code_is_where_the_system_is_called() {
    let mut files = actors();
    files.extend(wire());
    files.extend(root());
    let places = |file: &SourceFile| file.uses.iter().filter(|used| used.path == "unsafe").count();
    let all: usize = files.iter().map(places).sum();
    let linux: usize = files.iter().filter(|file| file.path == "actors/src/linux.rs").map(places).sum();
    assert_eq!((all, linux), (2, 2), "only two calls in linux.rs need `unsafe`");
}

/// Paths that the parser of these tests must find, and paths that it must ignore.
#[test]
fn uses_are_found_wherever_they_are() {
    let text = r#"
        //! std::fs::in_a_comment
        use std::{fs, net::{TcpStream as Stream, SocketAddr}, time::Instant};
        use super::super::router::Command;
        use crate::store::{self};
        fn f(stream: Stream) {
            let text = "std::thread::in_a_string";
            let now = Instant::now();
            println!("{:?} {}", fs::read("x"), now.elapsed());
            store::open(self::g());
        }
        #[cfg(test)]
        mod tests { use std::thread; }
    "#;
    let syntax = syn::parse_file(text).expect("it is Rust");
    let module = ["session", "http"].map(str::to_owned).to_vec();
    let found: Vec<String> = source::uses(&syntax, module).into_iter().map(|used| used.path).collect();
    let wanted = [
        "std::fs",
        "std::net::TcpStream",
        "std::net::SocketAddr",
        "crate::router::Command",
        "crate::store",
        "std::time::Instant::now",
        "std::fs::read",
        ".elapsed",
        "crate::store::open",
        "crate::session::http::g",
    ];
    for path in wanted {
        assert!(found.iter().any(|found| found == path), "{path} is not in {found:?}");
    }
    assert!(!found.iter().any(|path| path.contains("in_a_") || path.contains("thread")), "{found:?}");
}

/// All Rust sources below a folder of the repository, as one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source is text"));
        }
    }
    text
}

#[test]
fn the_tests_that_security_md_names_exist() {
    let document = std::fs::read_to_string(repository().join("SECURITY.md")).expect("SECURITY.md is there");
    let folders = ["wire", "actors", "src", "tests", "integration/tests"];
    let sources: String = folders.iter().map(|folder| sources(&repository().join(folder))).collect();
    let rows = document.lines().filter_map(|line| line.trim_end_matches('|').rsplit_once('|'));
    let named: Vec<&str> = rows.flat_map(|(_, shown_by)| shown_by.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 30, "the tables name tests in their last column: {named:?}");
    for test in named {
        assert!(sources.contains(&format!("fn {test}(")), "SECURITY.md names {test}, which does not exist");
    }
}
