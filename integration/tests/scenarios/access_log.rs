//! The access log: the content of its lines, that clients cannot inject lines, and rotation without loss.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration::http::{HttpConnection, get, until};
use integration::{Process, Sandbox, Server};
use rustix::process::Signal;
use serde_json::Value;

/// Every byte that a field value may have and that could have a meaning in a log.
const HOSTILE_AGENT: &[u8] = b"User-Agent: a\"b\\c\t\xff\x9b31m 127.0.0.1 - - \"GET /forged HTTP/1.1\" 200 0";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "here")]);
    sandbox
}

fn server(sandbox: &Sandbox, log: &Path, format: &str) -> Server {
    let log = log.to_str().expect("temporary folders have plain names");
    sandbox.site_server(&["--quiet", "--access-log", log, "--access-log-format", format])
}

/// Several requests; the last is malformed.
fn visit(address: SocketAddr) {
    let mut connection = HttpConnection::open(address);
    let fields = ["Host: site.example", "Referer: http://a.example/?q=1", "User-Agent: tester/1.0"];
    assert_eq!(connection.get("/", &fields).status, 200);
    assert_eq!(connection.get("/none?x=%22%0d%0a&y=\"quoted\"", &[]).status, 404);
    connection.ask("DELETE", "/index.html", &["Content-Length: 0"]);
    assert_eq!(connection.answer().expect("it is answered").status, 405);
    let hostile = connection.get("/%00%1b[31m%0d%0a127.0.0.1%20-%20\"GET\\", &[]);
    assert!((400..500).contains(&hostile.status), "{hostile:?}");
    let mut connection = HttpConnection::open(address);
    let request = [b"GET /index.html HTTP/1.1\r\nHost: a\r\n", HOSTILE_AGENT, b"\r\n\r\n"].concat();
    connection.send(&request);
    assert_eq!(connection.answer().expect("it is answered").status, 200);
    let mut connection = HttpConnection::open(address);
    connection.send(b"\x1b[2J nonsense\r\n127.0.0.1 - - forged\r\n\r\n");
    assert_eq!(connection.answer().expect("it is answered").status, 400);
}

fn lines(log: &Path) -> Vec<String> {
    let bytes = std::fs::read(log).expect("there is a log");
    let text = String::from_utf8(bytes).expect("whatever is sent, the log is text");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn combined_lines_have_the_request_and_the_response() {
    let sandbox = sandbox();
    let log = sandbox.path("access.log");
    let server = server(&sandbox, &log, "combined");
    visit(server.address());
    server.stop();
    let lines = lines(&log);
    assert_eq!(lines.len(), 6, "one a request, whatever is sent: {lines:#?}");
    for line in &lines {
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(line.chars().all(|c| c.is_ascii_graphic() || c == ' '), "no terminal is moved: {line}");
        // Quotation marks from clients are escaped, so the remaining ones enclose the three quoted texts.
        let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        assert_eq!(quotes, 6, "{line}");
        let time = &line["127.0.0.1 - - [".len()..][..26];
        assert!(time.ends_with(" +0000") && time.as_bytes()[2] == b'/', "{line}");
    }
    // Each thread sends its own lines, so lines can be in another order than their requests.
    for wanted in [
        "] \"GET / HTTP/1.1\" 200 4 \"http://a.example/?q=1\" \"tester/1.0\"",
        "] \"GET /none?x=%22%0d%0a&y=\\x22quoted\\x22 HTTP/1.1\" 404 ",
        "] \"DELETE /index.html HTTP/1.1\" 405 ",
        "] \"GET /%00%1b[31m%0d%0a127.0.0.1%20-%20\\x22GET\\x5C HTTP/1.1\" 4",
        "] \"GET /index.html HTTP/1.1\" 200 4 \"-\" \"a\\x22b\\x5Cc\\x09\\xFF\\x9B31m 127.0.0.1 - - \\x22GET /forged HTTP/1.1\\x22 200 0\"",
        "] \"- - -\" 400 ",
    ] {
        assert_eq!(lines.iter().filter(|line| line.contains(wanted)).count(), 1, "{wanted}: {lines:#?}");
    }
}

#[test]
fn a_renamed_log_continues_in_a_new_file_and_loses_no_line() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 1000;
    const MOVES: usize = 5;
    let sandbox = sandbox();
    let log = sandbox.path("access.log");
    let server = server(&sandbox, &log, "json");
    let address = server.address();
    let asked = AtomicUsize::new(0);
    let moved = |number| sandbox.path(&format!("access.log.{number}"));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let asked = &asked;
            scope.spawn(move || {
                let mut connection = HttpConnection::open(address);
                for request in 0..REQUESTS {
                    assert_eq!(connection.get(&format!("/?{client}-{request}"), &[]).status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..MOVES {
            let so_many = CLIENTS * REQUESTS * (number + 1) / (MOVES + 1);
            until("enough requests", || (asked.load(Ordering::Relaxed) >= so_many).then_some(()));
            std::fs::rename(&log, moved(number)).expect("there is a log");
            server.process().signal(Signal::HUP);
            until("there is a new file", || log.exists().then_some(()));
        }
    });
    server.stop();
    let mut counts = BTreeMap::<String, usize>::new();
    for file in (0..MOVES).map(moved).chain([log]) {
        let lines = lines(&file);
        assert!(!lines.is_empty(), "{} has its part", file.display());
        for line in lines {
            let line: Value = serde_json::from_str(&line).expect("each line is JSON");
            *counts.entry(line["target"].as_str().expect("it has one").to_owned()).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), CLIENTS * REQUESTS, "every request is there");
    assert!(counts.values().all(|&count| count == 1), "and once");
}

#[test]
fn a_log_that_cannot_be_written_is_reported_at_the_start() {
    let sandbox = sandbox();
    std::fs::create_dir(sandbox.path("folder")).expect("the sandbox can be written");
    for path in [sandbox.path("none").join("access.log"), sandbox.path("folder"), "/dev/null/a".into()] {
        let mut command = Server::site_command(&sandbox.path("data"), &sandbox.path("site"));
        command.args(["--listen", "127.0.0.1:0", "--access-log"]).arg(&path);
        let path = path.to_str().expect("temporary folders have plain names");
        let finished = Process::start("server", command).finish().expect(1);
        assert!(finished.lines.is_empty(), "{:?}", finished.lines);
        finished.says(&["cannot write the access log", path, "--access-log"]);
    }
}

#[test]
fn an_interrupted_response_is_logged_and_counted_as_far_as_it_was_sent() {
    const BYTES: u64 = 64 << 20;
    for format in ["combined", "json"] {
        let sandbox = sandbox();
        let big =
            std::fs::File::create(sandbox.path("site").join("big.bin")).expect("the place can be written");
        big.set_len(BYTES).expect("it has holes only");
        let log = sandbox.path("access.log");
        let path = log.to_str().expect("temporary folders have plain names");
        let server = sandbox.site_server(&[
            "--quiet",
            "--admin=127.0.0.1:0",
            "--access-log",
            path,
            "--access-log-format",
            format,
        ]);
        let admin = server.process().line("metrics and health on ").parse().expect("it is an address");
        let mut connection = HttpConnection::open_narrow(server.address());
        connection.ask("GET", "/big.bin", &[]);
        let mut taken = vec![0; 1 << 20];
        connection.stream().read_exact(&mut taken).expect("the answer has begun");
        drop(connection);
        let line = until("the answer is logged", || lines(&log).pop());
        let sent = if format == "json" {
            let line: Value = serde_json::from_str(&line).expect("it is JSON");
            assert_eq!((line["status"].as_u64(), line["cut"].as_bool()), (Some(200), Some(true)), "{line}");
            line["bytes"].as_u64()
        } else {
            let rest = line.split("HTTP/1.1\" 200 ").nth(1).expect("the status is that of its head");
            rest.split(' ').next().and_then(|bytes| bytes.parse().ok())
        };
        let sent: u64 = sent.expect("it is a number");
        assert!((taken.len() as u64 / 2..BYTES / 2).contains(&sent), "{line}");
        let metrics = get(admin, "/metrics", &[]);
        let metrics = metrics.text();
        let counted =
            metrics.lines().find_map(|line| line.strip_prefix("switchboard_http_body_bytes_total "));
        let counted: u64 = counted.and_then(|bytes| bytes.parse().ok()).expect("it is counted");
        assert!((sent..BYTES / 2).contains(&counted), "{counted} of which {sent}");
        server.stop();
    }
}
