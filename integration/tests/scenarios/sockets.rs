//! Where the server listens: Unix sockets, several addresses at once, sockets of systemd, and the admin address.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use integration::http::{HttpConnection, get};
use integration::{Process, Sandbox, Server, binary};
use rustix::process::Signal;

const HEALTH: &str = "/.well-known/switchboard/health";
/// The number of connections that are open at once, each with a descriptor.
const CROWD: u32 = 50;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "here")]);
    sandbox
}

/// Starts a server of the sandbox, with its data in the directory `data`.
fn server(sandbox: &Sandbox, data: &str, arguments: &[&str]) -> Process {
    let mut command = Server::site_command(&sandbox.path(data), &sandbox.path("site"));
    command.args(arguments);
    Process::start(format!("server {}", arguments.join(" ")), command)
}

fn listen_unix(path: &Path) -> String {
    format!("unix:{}", path.to_str().expect("temporary folders have plain names"))
}

fn page_at(socket: &Path) -> String {
    HttpConnection::open_unix(socket).get("/", &[]).text().to_owned()
}

/// Sends SIGTERM, and waits until the server has ended.
fn stop(server: Process) {
    server.signal(Signal::TERM);
    server.finish().expect(0);
}

#[test]
fn a_unix_socket_has_its_mode_and_is_removed_with_its_server() {
    let sandbox = sandbox();
    let socket = sandbox.path("web.socket");
    for (suffix, mode) in [("", 0o660), (",mode=0666", 0o666), (",mode=0600", 0o600)] {
        let server = server(&sandbox, "data", &["--listen", &(listen_unix(&socket) + suffix)]);
        assert_eq!(server.line("listening on "), listen_unix(&socket));
        let metadata = std::fs::symlink_metadata(&socket).expect("it is there");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{suffix}");
        assert_eq!(page_at(&socket), "here");
        stop(server);
        assert!(!socket.exists(), "it is removed at the end");
    }
}

#[test]
fn a_leftover_socket_is_replaced_and_one_in_use_is_not() {
    let sandbox = sandbox();
    let socket = sandbox.path("web.socket");
    drop(UnixListener::bind(&socket).expect("the sandbox can be written"));
    assert!(socket.exists(), "nobody has removed it");
    let listen = listen_unix(&socket);
    let first = server(&sandbox, "data", &["--listen", &listen]);
    first.line("listening on ");
    assert_eq!(page_at(&socket), "here");

    let refused = server(&sandbox, "other_data", &["--listen", &listen]).finish().expect(1);
    refused.says(&[&listen, "in use", "--listen"]);
    assert_eq!(page_at(&socket), "here", "the first is not disturbed");

    // A killed server leaves the name of its Unix socket behind.
    first.kill();
    assert!(socket.exists());
    let again = server(&sandbox, "data", &["--listen", &listen]);
    again.line("listening on ");
    assert_eq!(page_at(&socket), "here");
    stop(again);
}

#[test]
fn a_file_that_is_not_a_socket_is_not_replaced() {
    let sandbox = sandbox();
    let file = sandbox.path("precious");
    std::fs::write(&file, "precious").expect("the sandbox can be written");
    let listen = listen_unix(&file);
    server(&sandbox, "data", &["--listen", &listen]).finish().expect(1).says(&[&listen, "--listen"]);
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"precious");
    let nowhere = listen_unix(&sandbox.path("none").join("socket"));
    server(&sandbox, "data", &["--listen", &nowhere]).finish().expect(1).says(&[&nowhere, "--listen"]);
}

#[test]
fn a_server_listens_on_several_addresses() {
    let sandbox = sandbox();
    let socket = sandbox.path("web.socket");
    let unix = listen_unix(&socket);
    let mut listen = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", &unix];
    let mut count = 3;
    if TcpListener::bind("[::1]:0").is_ok() {
        listen.extend(["--listen", "[::1]:0"]);
        count += 1;
    } else {
        eprintln!("skipped: [::1], which this machine does not have");
    }
    let server = server(&sandbox, "data", &listen);
    let addresses: HashSet<String> = server.wait("all addresses", |lines| {
        let addresses = lines.iter().filter_map(|line| line.strip_prefix("listening on "));
        let addresses: Vec<String> = addresses.map(str::to_owned).collect();
        (addresses.len() == count).then(|| addresses.into_iter().collect())
    });
    assert_eq!(addresses.len(), count, "each is another address: {addresses:?}");
    assert_eq!(addresses.iter().filter(|address| address.starts_with("[::1]:")).count(), count - 3);
    for address in &addresses {
        let page = match address.strip_prefix("unix:") {
            Some(path) => page_at(Path::new(path)),
            None => get(address.parse().expect("it is an address"), "/", &[]).text().to_owned(),
        };
        assert_eq!(page, "here", "{address}");
    }
    stop(server);
}

/// Runs the server as systemd does: with `stdin` as descriptor 3, and LISTEN_PID set to `pid`.
fn activated(sandbox: &Sandbox, stdin: OwnedFd, pid: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("LISTEN_PID={pid} LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null")]);
    command.arg(binary("server")).arg("--data").arg(sandbox.path("data"));
    command.arg("--root").arg(sandbox.path("site")).args(arguments);
    Process::start_with_stdin("server of systemd", command, Stdio::from(stdin))
}

#[test]
fn sockets_of_systemd_are_used() {
    let sandbox = sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = activated(&sandbox, listener.into(), "$$", &["--listen", "systemd"]);
    assert_eq!(server.line("listening on "), address.to_string());
    assert_eq!(get(address, "/", &[]).text(), "here");
    stop(server);

    let socket = sandbox.path("theirs.socket");
    let listener = UnixListener::bind(&socket).expect("the sandbox can be written");
    let also = ["--listen", "systemd", "--listen", "127.0.0.1:0"];
    let server = activated(&sandbox, listener.into(), "$$", &also);
    let own = server.line("listening on ").parse().expect("it is an address");
    assert_eq!(get(own, "/", &[]).text(), "here");
    assert_eq!(page_at(&socket), "here");
    stop(server);
    assert!(socket.exists(), "it belongs to systemd");
}

#[test]
fn without_sockets_of_systemd_the_server_says_so() {
    let sandbox = sandbox();
    let words = ["cannot listen", "service manager", "--listen systemd"];
    server(&sandbox, "data", &["--listen", "systemd"]).finish().expect(1).says(&words);
    // Sockets for another process id are ignored.
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    activated(&sandbox, listener.into(), "1", &["--listen", "systemd"]).finish().expect(1).says(&words);
}

/// The samples of a page in the text format of Prometheus; checks each line.
fn samples(page: &str) -> Vec<(String, f64)> {
    let is_name = |name: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        name.chars().all(is_good) && name.starts_with(|c: char| !c.is_ascii_digit())
    };
    assert!(page.ends_with('\n'), "the last line is whole");
    let (mut kinds, mut samples) = (HashSet::new(), Vec::new());
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name) = (words.next(), words.next().expect("a comment names its metric"));
            assert!(is_name(name), "{line}");
            match (word, words.next()) {
                (Some("HELP"), Some(_)) => {}
                (Some("TYPE"), Some("counter" | "gauge")) => {
                    assert!(kinds.insert(name), "{name} has two types");
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
        let name = sample.split('{').next().expect("a split has a first part");
        assert!(kinds.contains(name), "{name} comes after its type");
        if let Some(labels) = sample.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            for label in labels.expect("labels are in braces").split(',') {
                let (name, value) = label.split_once('=').expect("a label has a value");
                assert!(is_name(name) && value.len() >= 2, "{line}");
                assert!(value.starts_with('"') && value.ends_with('"'), "{line}");
            }
        }
        samples.push((sample.to_owned(), value.parse().expect("a value is a number")));
    }
    let names: HashSet<&String> = samples.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), samples.len(), "every sample comes once");
    samples
}

#[test]
fn the_admin_address_counts_what_is_served_and_serves_nothing_else() {
    let sandbox = sandbox();
    sandbox.put_site(&[("metrics.txt", "of the site")]);
    let server = server(&sandbox, "data", &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let public: SocketAddr = server.line("listening on ").parse().expect("it is an address");
    let admin: SocketAddr = server.line("metrics and health on ").parse().expect("it is an address");
    assert_ne!(public, admin);

    let health = get(admin, HEALTH, &[]);
    assert_eq!((health.status, health.text()), (200, "well\n"));
    let looks = Cell::new(0);
    let metrics = |name: &str| {
        looks.set(looks.get() + 1);
        let page = get(admin, "/metrics", &[]);
        let media_type = page.field("Content-Type").expect("it has one");
        assert!(media_type.starts_with("text/plain; version=0.0.4"), "{media_type}");
        let samples = samples(page.text());
        let found = samples.iter().find(|(sample, _)| sample == name);
        found.unwrap_or_else(|| panic!("{name} is not in {samples:?}")).1
    };
    let (good, missing) = ("requests_total{status=\"2xx\"}", "requests_total{status=\"4xx\"}");
    let (good, missing) = (format!("switchboard_http_{good}"), format!("switchboard_http_{missing}"));
    // Each scrape is itself a request and a connection, and counts those before it.
    let (missing_before, good_before) = (metrics(&missing), metrics(&good));
    let connections = metrics("switchboard_connections_total");
    let looks_before = looks.get();
    let mut connection = HttpConnection::open(public);
    for _ in 0..20 {
        assert_eq!(connection.get("/", &[]).text(), "here");
    }
    for path in ["/nothing", "/metrics", HEALTH] {
        let answer = connection.get(path, &[]);
        assert_eq!(answer.status, 404, "{path} is not for the public");
        assert!(!answer.text().contains("switchboard_") && !answer.text().contains("well"));
    }
    assert_eq!(metrics(&missing) - missing_before, 3.0);
    // The scrapes in between count too, because they are requests.
    assert_eq!(metrics(&good) - good_before, 23.0);
    let all = metrics("switchboard_connections_total") - connections;
    assert_eq!(all, f64::from(looks.get() - looks_before + 1), "the looks, and the one for the public");
    let descriptors = metrics("process_open_fds");
    let mut crowd: Vec<HttpConnection> = (0..CROWD).map(|_| HttpConnection::open(public)).collect();
    for connection in &mut crowd {
        assert_eq!(connection.get("/", &[]).text(), "here");
    }
    // Connections that have ended may have been counted before.
    assert!(metrics("process_open_fds") - descriptors > f64::from(CROWD / 2));
    drop(crowd);

    for path in ["/", "/index.html", "/metrics.txt"] {
        let answer = get(admin, path, &[]);
        assert_eq!(answer.status, 404, "{path} is not for those who run the server");
        assert!(answer.text() != "here" && !answer.text().contains("of the site"));
    }
    let mut post = HttpConnection::open(admin);
    post.ask("POST", "/metrics", &["Content-Length: 0"]);
    assert_eq!(post.answer().expect("it is answered").status, 405);
    // The admin address does not accept peers.
    let mut peer = HttpConnection::open(admin);
    peer.send(b"SWB2\r\n\r\n");
    assert_eq!(peer.answer().map(|answer| answer.status), Some(400));
    stop(server);
}
