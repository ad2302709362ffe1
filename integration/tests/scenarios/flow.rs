//! What passes through the server, shown live at `/switchboard/flow`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration::http::HttpConnection;
use integration::{PATIENCE, Sandbox, Server};
use serde_json::Value;

/// A stream of events.
struct Flow(BufReader<TcpStream>);

impl Flow {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let request = format!("GET /switchboard/flow HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut flow = Self(BufReader::new(stream));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(flow.line()).filter(|line| !line.is_empty())).collect();
        assert_eq!(head[0], "HTTP/1.1 200 OK");
        assert!(head.contains(&"Content-Type: text/event-stream".to_owned()), "{head:?}");
        assert!(head.contains(&"Connection: close".to_owned()), "{head:?}");
        flow
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).expect("the server sends something");
        assert!(count > 0, "the server goes on");
        line.trim_end().to_owned()
    }

    /// Kind and data of the next event.
    fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(kind) = self.line().strip_prefix("event: ") {
                let line = self.line();
                let data = line.strip_prefix("data: ").expect("an event has data");
                return (kind.to_owned(), serde_json::from_str(data).expect("it is JSON"));
            }
        }
    }

    /// The data of the next event of this kind, for which `is_it`.
    fn event(&mut self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (next, data) = self.next();
            if next == kind && is_it(&data) {
                return data;
            }
        }
    }

    /// Whether the server has ended the stream.
    fn has_ended(mut self) -> bool {
        std::iter::from_fn(|| self.0.read_line(&mut String::new()).ok()).any(|count| count == 0)
    }
}

#[test]
fn who_is_connected_and_what_passes_is_shown_to_whoever_may_see_it() {
    for (argument, is_public) in [("--flow=admin", false), ("--flow=public", true)] {
        let sandbox = Sandbox::new();
        sandbox.put_site(&[("index.html", "a site")]);
        let server = sandbox.site_server(&[argument, "--admin=127.0.0.1:0", "--quiet"]);
        let admin: SocketAddr =
            server.process().line("metrics and health on ").parse().expect("it is an address");
        // The page, with what shows the events, is at the same address.
        assert_eq!(HttpConnection::open(admin).get("/switchboard/", &[]).status, 200);
        let missing = HttpConnection::open(admin).get("/", &[]);
        assert_eq!(missing.status, 404);
        let others = "health, /switchboard/flow.html and /switchboard/flow are served here";
        assert!(missing.text().contains(others), "{}", missing.text());
        let public = if is_public { Some(Flow::open(server.address())) } else { None };
        if !is_public {
            assert_eq!(HttpConnection::open(server.address()).get("/switchboard/flow", &[]).status, 403);
        }
        let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
        let mut flows: Vec<Flow> = public.into_iter().chain([Flow::open(admin)]).collect();
        let listening = b.start(&["listen", "--count", "2"]);
        for flow in &mut flows {
            flow.event("joined", |event| event["name"] == "B");
        }
        let first = Flow::open(admin).event("present", |_| true);
        assert_eq!(first["names"], serde_json::json!(["B"]));
        // The second message goes past the Router.
        a.run_with_input(&["send", "B", "-", "--wait", "60"], &["one".to_owned(), "two".to_owned()])
            .expect(0);
        listening.finish().expect(0);
        for flow in &mut flows {
            // The sender's session may learn of the outcome after the recipient has left. A message whose receipt is late passes
            // again, so only the first time counts.
            let (mut messages, mut has_left) = (BTreeMap::new(), false);
            while messages.len() < 2 || !has_left {
                match flow.next() {
                    (kind, data) if kind == "envelope" && data["kind"] == "message" => {
                        messages.entry(data["number"].as_u64()).or_insert(data);
                    }
                    (kind, data) => has_left |= kind == "left" && data["name"] == "B",
                }
            }
            assert!(messages.keys().eq(&[Some(1), Some(2)]), "{messages:?}");
            for event in messages.values() {
                assert_eq!((&event["from"], &event["to"]), (&"A".into(), &"B".into()));
                assert_eq!(event["outcome"], "relayed");
                assert!(
                    event["bytes"].as_u64() > Some(100)
                        && event["sha256"].as_str().is_some_and(|hex| hex.len() == 64)
                );
            }
        }
        server.stop();
        assert!(flows.into_iter().all(Flow::has_ended));
    }
}

/// Whether a server has the thread that gathers what is shown.
fn has_feed(server: &Server) -> bool {
    let program = server.process().id();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let threads = std::fs::read_dir(format!("/proc/{program}/task")).expect("it is Linux").flatten();
        let others = threads.filter(|thread| thread.file_name() != *program.to_string());
        let names = others.map(|thread| std::fs::read_to_string(thread.path().join("comm")));
        let names: Vec<String> = names.map_while(Result::ok).collect();
        // Until a thread has run for the first time, it has the name of the program.
        if names.iter().all(|name| name.trim_end() != "server") {
            assert!(names.iter().any(|name| name.trim_end() == "router"), "threads have names: {names:?}");
            return names.iter().any(|name| name.trim_end() == "feed");
        }
        assert!(Instant::now() < deadline, "threads without names: {names:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_is_gathered_if_nobody_can_watch() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "a site")]);
    let admin = "--admin=127.0.0.1:0";
    for (arguments, may_watch) in [
        (&["--flow=off", admin][..], false),
        (&["--flow=admin"], false),
        (&["--flow=public", "--app=off", admin], false),
        (&["--flow=admin", admin], true),
        (&["--flow=public"], true),
    ] {
        let server = sandbox.site_server(arguments);
        assert_eq!(has_feed(&server), may_watch, "{arguments:?}");
        server.stop();
    }
}

#[test]
fn nothing_is_shown_when_it_is_switched_off() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "a site")]);
    let server = sandbox.site_server(&["--flow=off", "--admin=127.0.0.1:0"]);
    let admin: SocketAddr =
        server.process().line("metrics and health on ").parse().expect("it is an address");
    for (address, status) in [(server.address(), 403), (admin, 404)] {
        let answer = HttpConnection::open(address).get("/switchboard/flow", &[]);
        assert_eq!(
            (answer.status, answer.text().contains("flow.html")),
            (status, false),
            "{}",
            answer.text()
        );
    }
}

/// The status of the answer to a request with these fields.
fn status(address: SocketAddr, path: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the server answers");
    line.split(' ').nth(1).expect("the line has a status").to_owned()
}

#[test]
fn pages_of_other_sites_cannot_read_what_passes() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "a site")]);
    let server = sandbox.site_server(&["--flow=public", "--admin=127.0.0.1:0", "--quiet"]);
    let admin: SocketAddr =
        server.process().line("metrics and health on ").parse().expect("it is an address");
    let port = admin.port();
    for path in ["/switchboard/flow", "/switchboard/flow.html", "/metrics"] {
        // The name of another site, which resolves to the admin address by now.
        for host in ["other.example", "localhost.other.example", "127.0.0.1.other.example"] {
            assert_eq!(status(admin, path, &format!("Host: {host}:{port}\r\n")), "403", "{path} {host}");
        }
        for host in ["localhost", "LOCALHOST", "[::1]", "127.0.0.1"] {
            assert_eq!(status(admin, path, &format!("Host: {host}:{port}\r\n")), "200", "{path} {host}");
        }
    }
    // Monitoring may use a name, and learns nothing else here.
    assert_eq!(status(admin, "/.well-known/switchboard/health", "Host: server.example\r\n"), "200");
    for address in [admin, server.address()] {
        for (field, wanted) in [
            ("Origin: http://other.example".to_owned(), "403"),
            ("Origin: null".to_owned(), "403"),
            (format!("Origin: http://{address}"), "200"),
            ("Sec-Fetch-Site: cross-site".to_owned(), "403"),
            ("Sec-Fetch-Site: same-site".to_owned(), "403"),
            ("Sec-Fetch-Site: same-origin".to_owned(), "200"),
        ] {
            let fields = format!("Host: {address}\r\n{field}\r\n");
            assert_eq!(status(address, "/switchboard/flow", &fields), wanted, "{field}");
        }
    }
}
