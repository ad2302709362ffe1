//! The limits of the server: too many connections, no descriptors, slow clients, many files, and a shutdown during
//! responses.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use integration::http::{Answer, HttpConnection, get, until};
use integration::{PATIENCE, Process, Sandbox, Server, binary};
use rustix::process::{Resource, Signal};

/// Far longer than a timeout of a second takes to act on a busy machine, and shorter than the timeouts that are the default.
const SOON: Duration = Duration::from_secs(20);
const SLOW_CLIENTS: usize = 300;
const SLOW_READERS: usize = 40;
/// A page of a quarter of a megabyte, far more than the socket buffers.
const PAGES: usize = 64;
const FILES: u32 = 10_000;
const BIG_BYTES: u64 = 64 << 20;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[
        ("index.html", "here"),
        ("50x.html", "<p>Later"),
        ("new.txt", "new"),
        ("newer.txt", "newer"),
    ]);
    sandbox
}

/// A file larger than all buffers between the server and a client that does not read.
fn put_big(sandbox: &Sandbox) {
    let file =
        std::fs::File::create(sandbox.path("site").join("big.bin")).expect("the sandbox can be written");
    file.set_len(BIG_BYTES).expect("it has holes only");
}

/// A server with an admin address, which is returned too.
fn server_with_admin(sandbox: &Sandbox, arguments: &[&str]) -> (Server, SocketAddr) {
    let server = sandbox.site_server(&[&["--quiet", "--admin", "127.0.0.1:0"], arguments].concat());
    let admin = server.process().line("metrics and health on ");
    (server, admin.parse().expect("it is an address"))
}

fn metric(admin: SocketAddr, name: &str) -> u64 {
    let page = get(admin, "/metrics", &[]);
    let value = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("it is there").parse().expect("it is a number")
}

/// Opens a connection that counts against the limit, because it has had a response.
fn served(address: SocketAddr) -> HttpConnection {
    let mut connection = HttpConnection::open(address);
    assert_eq!(connection.get("/", &[]).text(), "here");
    connection
}

/// The response on a connection that sends nothing.
fn greeting(address: SocketAddr) -> Answer {
    HttpConnection::open(address).answer().expect("it is told why it is turned away")
}

/// Waits until a new connection is accepted; the server notices a closed one only after some time.
fn wait_for_room(address: SocketAddr) {
    until("there is room again", || {
        let mut connection = HttpConnection::open(address);
        connection.ask("GET", "/", &[]);
        connection.answer().filter(|answer| answer.status == 200 && answer.text() == "here")
    });
}

#[test]
fn connections_over_the_limit_are_refused_until_there_is_room() {
    let sandbox = sandbox();
    let (server, admin) = server_with_admin(&sandbox, &["--sessions-max=4", "--connections-per-address=4"]);
    let mut kept: Vec<_> = (0..4).map(|_| served(server.address())).collect();
    let refused = greeting(server.address());
    assert_eq!(refused.status, 503);
    assert!(refused.field("Retry-After").is_some() && refused.field("Connection") == Some("close"));
    let elsewhere = HttpConnection::open_from([127, 0, 0, 2], server.address()).answer();
    assert_eq!(elsewhere.map(|answer| answer.status), Some(503), "the limit is for all");
    let health = get(admin, "/.well-known/switchboard/health", &[]);
    assert_eq!(health.status, 200, "a server that is full is well, and can be asked");
    for connection in &mut kept {
        assert_eq!(connection.get("/", &[]).text(), "here", "those who are here are not disturbed");
    }
    kept.truncate(1);
    wait_for_room(server.address());
    assert!(metric(admin, "switchboard_connections_turned_away_total") >= 2);
    server.stop();
}

#[test]
fn one_address_does_not_get_all_connections() {
    let sandbox = sandbox();
    let server = sandbox.site_server(&["--sessions-max=100", "--connections-per-address=3"]);
    let mut kept: Vec<_> = (0..3).map(|_| served(server.address())).collect();
    assert_eq!(greeting(server.address()).status, 503);
    let mut other = HttpConnection::open_from([127, 0, 0, 2], server.address());
    assert_eq!(other.get("/", &[]).text(), "here", "others have their own places");
    kept.pop();
    wait_for_room(server.address());
    server.stop();
}

/// Starts a server with this limit of descriptors.
fn server_with_descriptors(sandbox: &Sandbox, descriptors: u64) -> Server {
    let data = sandbox.path("server_data");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(binary("server"));
    command.arg("--data").arg(&data).arg("--root").arg(sandbox.path("site"));
    command.args(["--listen", "127.0.0.1:0"]);
    Server::launch(&data, command)
}

#[test]
fn a_crowd_of_silent_connections_leaves_descriptors_for_others_and_for_files() {
    let sandbox = sandbox();
    let server = server_with_descriptors(&sandbox, 1024);
    let line = server.process().wait("it says what it can do", |lines| {
        lines.iter().find(|line| line.contains("--sessions-max")).cloned()
    });
    assert!(line.contains("sessions_max=16384") && line.contains("descriptors=1024"), "{line}");
    let _crowd: Vec<_> = (0..1100).map(|_| HttpConnection::open(server.address())).collect();
    let start = Instant::now();
    let mut other = HttpConnection::open_from([127, 0, 0, 2], server.address());
    for path in ["/", "/new.txt", "/newer.txt"] {
        assert_eq!(other.get(path, &[]).status, 200, "{path}");
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let lines = server.stop().lines.join("\n");
    assert!(!lines.contains("web root") && !lines.contains("cannot accept"), "{lines}");
}

#[test]
fn a_server_without_descriptors_serves_existing_connections_and_recovers() {
    let sandbox = sandbox();
    // The server reads a file twice if it was written a moment ago, and would have no descriptor the second time.
    let page = std::fs::metadata(sandbox.path("site").join("index.html")).expect("it is there");
    until("the page is old enough to be believed", || {
        let age = page.modified().ok()?.elapsed().ok()?;
        (age > Duration::from_millis(100)).then_some(())
    });
    let server = sandbox.site_server(&[]);
    let mut kept = served(server.address());
    // The server accepts no more than the limit allows, so the test lowers the limit afterwards.
    let pid =
        rustix::process::Pid::from_raw(server.process().id().try_into().expect("it fits")).expect("it runs");
    let limit = |current| rustix::process::Rlimit { current: Some(current), maximum: Some(1024) };
    let set_limit = |current| rustix::process::prlimit(Some(pid), Resource::Nofile, limit(current));
    set_limit(64).expect("it is our process");
    let crowd: Vec<_> = (0..80).map(|_| HttpConnection::open(server.address())).collect();
    server.process().wait("there are no descriptors", |lines| {
        lines.iter().any(|line| line.contains("cannot accept")).then_some(())
    });
    assert_eq!(kept.get("/", &[]).text(), "here", "what is in memory is served");
    let failed = kept.get("/new.txt", &[]);
    assert_eq!((failed.status, failed.text()), (503, "<p>Later"), "and what is not has the page of the site");
    drop(crowd);
    wait_for_room(server.address());
    assert_eq!(get(server.address(), "/new.txt", &[]).text(), "new");
    assert_eq!(kept.get("/newer.txt", &[]).text(), "newer");
    let lines = server.stop().lines.join("\n");
    assert!(!lines.contains("web root"), "what cannot be looked at is not gone: {lines}");
}

#[test]
fn readers_that_pause_use_no_thread_and_get_everything() {
    let sandbox = sandbox();
    put_big(&sandbox);
    // A cached file that is larger than the socket buffers.
    let page = "x".repeat(256 << 10);
    sandbox.put_site(&[("page.txt", &page)]);
    let (server, admin) = server_with_admin(&sandbox, &[]);
    let mut pausing: Vec<_> = (0..SLOW_READERS).map(|_| HttpConnection::open(server.address())).collect();
    for reader in &mut pausing {
        reader.ask("GET", "/big.bin", &[]);
    }
    let mut pipelining = HttpConnection::open(server.address());
    for _ in 0..PAGES {
        pipelining.ask("GET", "/page.txt", &[]);
    }
    until("nobody but the one who tells it is at work", || {
        (metric(admin, "switchboard_sessions") == 1).then_some(())
    });
    assert_eq!(metric(admin, "switchboard_connections_open"), SLOW_READERS as u64 + 1, "they are still here");
    served(server.address());
    for _ in 0..PAGES {
        assert!(pipelining.answer().is_some_and(|answer| answer.text() == page));
    }
    assert_eq!(pipelining.get("/", &[]).text(), "here");
    let mut reader = pausing.pop().expect("there are some");
    let answer = reader.answer().expect("it is whole");
    assert!(answer.body.len() as u64 == BIG_BYTES && answer.body.iter().all(|&byte| byte == 0));
    assert_eq!(reader.get("/", &[]).text(), "here");
    // The server notices that the others are closed.
    drop(pausing);
    until("their places are free", || (metric(admin, "switchboard_connections_open") == 2).then_some(()));
    server.stop();
}

#[test]
fn slow_clients_do_not_delay_others() {
    let sandbox = sandbox();
    let server = sandbox.site_server(&["--quiet"]);
    let mut slow: Vec<_> = (0..SLOW_CLIENTS).map(|_| HttpConnection::open(server.address())).collect();
    for connection in &mut slow {
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    }
    let start = Instant::now();
    for _ in 0..50 {
        for connection in &mut slow {
            connection.send(b"x");
        }
        served(server.address());
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for mut connection in slow {
        connection.send(b"\r\n\r\n");
        assert_eq!(connection.answer().expect("it was not too slow").text(), "here");
    }
}

#[test]
fn ten_thousand_files_in_any_order_are_never_confused() {
    let sandbox = sandbox();
    let content = |number: u32| format!("{number}-{}\n", "x".repeat(number as usize % 300));
    for number in 0..FILES {
        sandbox.put_site(&[(&format!("many/{number}.txt"), &content(number))]);
    }
    let (server, admin) = server_with_admin(&sandbox, &["--cache-bytes=1M"]);
    let (first, address) = (rand::random_range(0..FILES), server.address());
    println!("starts with {first}");
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                let mut connection = HttpConnection::open(address);
                for step in 0..FILES {
                    // The step is coprime to the number of files, so each file is requested once. Half of the clients
                    // go in the other direction.
                    let position = if half == 0 { step } else { FILES - 1 - step };
                    let number = (first + position * 7919) % FILES;
                    let answer = connection.get(&format!("/many/{number}.txt"), &[]);
                    assert_eq!((answer.status, answer.text()), (200, content(number).as_str()));
                }
            });
        }
    });
    assert_eq!(get(address, &format!("/many/{FILES}.txt"), &[]).status, 404);
    let evicted = metric(admin, "switchboard_cache_evictions_total{site=\"default\"}");
    assert!(evicted > u64::from(FILES / 2), "there is not room for all of them: {evicted}");
    server.stop();
}

#[test]
fn existing_and_missing_files_are_requested_from_file_server_once() {
    let sandbox = sandbox();
    put_big(&sandbox);
    let (server, admin) = server_with_admin(&sandbox, &[]);
    let mut connection = HttpConnection::open(server.address());
    let paths = [("/", 200), ("/missing", 404), ("/missing/", 404), ("/.env", 404), ("/big.bin", 304)];
    // The files were written a moment ago, so the server may read them more than once.
    let conditional = ["If-None-Match: *"];
    until("pollers answer", || {
        let before = metric(admin, "switchboard_http_waited_total");
        for (path, status) in paths {
            assert_eq!(connection.get(path, &conditional[..usize::from(status == 304)]).status, status);
        }
        // The second scrape of the metrics has to wait too.
        (metric(admin, "switchboard_http_waited_total") == before + 1).then_some(())
    });
    server.stop();
}

#[test]
fn a_shutdown_completes_responses_in_progress() {
    let sandbox = sandbox();
    put_big(&sandbox);
    let server = sandbox.site_server(&[]);
    let mut readers: Vec<_> = (0..4).map(|_| HttpConnection::open(server.address())).collect();
    for reader in &mut readers {
        reader.ask("GET", "/big.bin", &[]);
        reader.stream().peek(&mut [0; 1]).expect("its answer begins");
    }
    let mut idle = served(server.address());
    let address = server.address();
    server.process().signal(Signal::TERM);
    server
        .process()
        .wait("it stops", |lines| lines.iter().any(|line| line.contains("stopping")).then_some(()));
    assert_eq!(idle.answer(), None, "who waits for nothing is let go");
    let refused = |address| TcpStream::connect(address).err().map(|error| error.kind());
    until("nobody else is let in", || (refused(address) == Some(ErrorKind::ConnectionRefused)).then_some(()));
    std::thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                let answer = reader.answer().expect("its answer is whole");
                assert!(answer.body.len() as u64 == BIG_BYTES && answer.body.iter().all(|&byte| byte == 0));
                assert_eq!(reader.answer(), None, "it is the last");
            });
        }
    });
    server.finish().expect(0);
}

fn slowhttptest(address: SocketAddr, mode: &[&str], folder: &Path) -> Process {
    let url = format!("http://{address}/big.bin");
    let mut command = Command::new("slowhttptest");
    command.args(mode).args(["-c", "200", "-r", "200", "-i", "1", "-l", "3", "-p", "2", "-u", &url]);
    command.current_dir(folder);
    Process::start(format!("slowhttptest {}", mode.join(" ")), command)
}

#[test]
fn slowhttptest_does_not_delay_others() {
    if Command::new("slowhttptest").arg("-h").output().is_err() {
        eprintln!("skipped: slowhttptest is not installed");
        return;
    }
    let sandbox = sandbox();
    put_big(&sandbox);
    let server = sandbox.site_server(&["--quiet"]);
    let address = server.address();
    for mode in [&["-H"][..], &["-B"], &["-R"], &["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"]] {
        let mut attack = slowhttptest(address, mode, &sandbox.path(""));
        attack.end_input();
        let (start, mut count) = (Instant::now(), 0);
        while !attack.has_ended() {
            let asked = Instant::now();
            served(address);
            assert!(asked.elapsed() < SOON, "{mode:?}");
            assert!(start.elapsed() < PATIENCE, "{mode:?} does not end");
            count += 1;
        }
        let finished = attack.finish();
        assert!(count > 10, "{mode:?}: {count} {finished:?}");
        let said = finished.lines.join("\n");
        assert!(said.contains("slow"), "it was at work: {said}");
    }
    wait_for_room(address);
    server.stop();
}
