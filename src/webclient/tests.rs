//! The client against servers that send prepared bytes.

use std::io::{self, ErrorKind, Read as _, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use wire::http::Method;

use super::*;

/// Answers one connection with `answer` and closes it; returns the port, and the request in the end.
fn server(answer: impl Into<Vec<u8>>) -> (u16, JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the request is whole");
            request.push(byte[0]);
        }
        // Small pieces, so that the client's reads may end anywhere.
        for piece in answer.chunks(7) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        String::from_utf8(request).expect("a request is ASCII")
    });
    (port, thread)
}

fn all() -> Wanted {
    Wanted { head: true, body: true, ..Wanted::default() }
}

/// What is printed for an answer, and the result.
fn print(answer: &str, wanted: &Wanted, is_terminal: bool) -> (String, Result<u16, WebClientError>) {
    let (port, thread) = server(answer);
    let request = Request::new("127.0.0.1", port, "file").expect("this is a host");
    let mut out = Vec::new();
    let mut screen = Screen::new(&mut out, is_terminal);
    let result = transfer(&request, wanted, &Timeouts::default(), &mut screen, Journal::default())
        .map(|outcome| outcome.status);
    drop(screen);
    thread.join().expect("the server does not panic");
    (String::from_utf8_lossy(&out).into_owned(), result)
}

#[test]
fn sends_what_servers_expect() {
    for (host, file, line, host_field) in [
        ("127.0.0.1", "a.html", "GET /a.html", "127.0.0.1:"),
        ("localhost", "/a b/ü?x=1 2", "GET /a%20b/%C3%BC?x=1%202", "localhost:"),
        ("127.0.0.1", "100%/%41#x", "GET /100%25/%41%23x", "127.0.0.1:"),
        ("127.0.0.1", "a\r\nX: y", "GET /a%0D%0AX:%20y", "127.0.0.1:"),
        ("127.0.0.1", "", "GET /", "127.0.0.1:"),
    ] {
        let (port, thread) = server("HTTP/1.1 204 No Content\r\n\r\n");
        let request = Request::new(host, port, file).expect("this is a host");
        fetch(&request, Method::Get, &Timeouts::default(), Journal::default()).expect("there is an answer");
        let sent = thread.join().expect("the server does not panic");
        assert!(sent.starts_with(&format!("{line} HTTP/1.1\r\nHost: {host_field}{port}\r\n")), "{sent}");
        assert!(sent.contains("\r\nConnection: close\r\n"), "{sent}");
    }
}

#[test]
fn knows_hosts() {
    for (host, head, server) in [
        ("[::1]", "Host: [::1]:81\r\n", "[::1]:81"),
        ("::1", "Host: [::1]:81\r\n", "[::1]:81"),
        ("fe80::1%eth0", "Host: [fe80::1]:81\r\n", "[fe80::1%eth0]:81"),
        ("a-b.example", "Host: a-b.example:81\r\n", "a-b.example:81"),
    ] {
        let request = Request::new(host, 81, "x").expect("this is a host");
        assert!(request.head(Method::Get).contains(head), "{host}");
        assert_eq!(request.server(), server);
    }
    let plain = Request::new("a", 80, "x").expect("this is a host");
    assert!(plain.head(Method::Get).contains("\r\nHost: a\r\n"));
    for host in ["", "http://a", "a/b", "a b", "a\r\nb", "u@a", "::zz", "a:b"] {
        assert!(Request::new(host, 81, "x").is_err(), "{host:?}");
    }
}

#[test]
fn reads_bodies_of_every_kind() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello, this is too much",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nHe\r\n3;x=y\r\nllo\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5   \r\nHello\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nHello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHello",
    ] {
        let wanted = Wanted { head: false, ..all() };
        let (printed, result) = print(answer, &wanted, false);
        assert_eq!((printed.as_str(), result.ok()), ("Hello", Some(200)), "{answer}");
    }
}

#[test]
fn prints_what_is_wanted() {
    let answer = "HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 4\r\n\r\ngone";
    let head = "HTTP/1.1 404 Not Found\nX-A: b\nContent-Length: 4\n";
    let only_head = Wanted { body: false, ..all() };
    for (wanted, expected) in [(all(), format!("{head}\ngone")), (only_head, head.to_owned())] {
        let (printed, result) = print(answer, &wanted, false);
        assert_eq!((printed, result.ok()), (expected, Some(404)));
    }
}

#[test]
fn a_terminal_is_never_steered() {
    let answer = "HTTP/1.1 200 \x20O\u{9b}K\r\nX: \u{202e}abc\r\nContent-Length: 17\r\n\r\na\x1b[2J\t\\\u{e9}\u{9b}\u{202e}\nz\x07";
    let (printed, result) = print(answer, &all(), true);
    assert_eq!(result.ok(), Some(200));
    assert!(printed.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{printed:?}");
    assert!(printed.contains("X: \\u{202e}abc\n"), "{printed:?}");
    assert!(printed.ends_with("\n\na\\u{1b}[2J\t\\é\\u{9b}\\u{202e}\nz\\u{7}"), "{printed:?}");
}

#[test]
fn a_character_may_arrive_in_pieces() {
    let mut out = Vec::new();
    let mut screen = Screen::new(&mut out, true);
    for byte in "gr\u{fc}n \u{9b}\u{1f642}".bytes().chain([0xff, b'a', 0xe2, 0x82]) {
        screen.print_body(&[byte]).expect("memory can be written to");
    }
    screen.finish().expect("memory can be written to");
    drop(screen);
    assert_eq!(String::from_utf8_lossy(&out), "gr\u{fc}n \\u{9b}\u{1f642}\u{fffd}a\u{fffd}");
}

#[test]
fn says_what_is_wrong_with_an_answer() {
    for (answer, what) in [
        ("", "without an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "without an answer"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "cannot understand"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "cannot understand"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "incomplete"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n", "incomplete"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n", "incomplete"),
    ] {
        let error = print(answer, &all(), false).1.expect_err(answer);
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("127.0.0.1:"), "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = nobody.local_addr().expect("it is bound").port();
    drop(nobody);
    let request = Request::new("127.0.0.1", port, "x").expect("this is a host");
    let error =
        fetch(&request, Method::Get, &Timeouts::default(), Journal::default()).expect_err("nobody listens");
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"), "{error}");
}

/// A reader that goes away at once.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (port, thread) = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello");
    let request = Request::new("127.0.0.1", port, "x").expect("this is a host");
    let mut screen = Screen::new(Gone, false);
    let result = transfer(&request, &all(), &Timeouts::default(), &mut screen, Journal::default())
        .map(|outcome| outcome.status);
    assert_eq!(result.ok(), Some(200));
    thread.join().expect("the server does not panic");
}

#[test]
fn a_server_that_falls_silent_leaves_a_part_to_go_on_with() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        stream
            .write_all(b"HTTP/1.1 200 x\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\nstart")
            .expect("the client reads");
        // Until the client has gone away.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let request = Request::new("127.0.0.1", port, "x").expect("this is a host");
    let wanted = Wanted { output: Some(folder.path().join("out")), resume: true, ..all() };
    let timeouts = Timeouts { idle: Duration::from_millis(50), ..Timeouts::default() };
    let mut screen = Screen::new(io::sink(), false);
    let error = transfer(&request, &wanted, &timeouts, &mut screen, Journal::default());
    let error = error.expect_err("the rest does not come");
    assert!(error.to_string().contains("no data arrived in time; 5 bytes are kept in"), "{error}");
    assert_eq!(error.exit_status(), 2);
    assert_eq!(std::fs::read(folder.path().join("out.part")).expect("it is there"), b"start");
    server.join().expect("the server does not panic");
}
