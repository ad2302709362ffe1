//! Options for the request, and --verbose.

use super::server::{Server, answer};
use super::{GOOD, call, folder, names, text, webclient};

#[test]
fn header_fields_are_added_or_replace_the_own_ones() {
    let server = Server::answering([GOOD]);
    let port = server.port;
    server.call("x", &["--header", "X-A:  b", "--header", "X-A: c", "--header", "accept: text/plain"]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: switchboard-webclient/{version}\r\n\
         Accept: text/plain\r\nX-A: b\r\nX-A: c\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.finish(), [expected]);
    let server = Server::answering([GOOD]);
    server.call("x", &["--header", "Accept: a/b", "--header", "Accept: c/d"]);
    assert!(server.finish().concat().contains("\r\nAccept: a/b\r\nAccept: c/d\r\nConnection"));
    let server = Server::answering([GOOD]);
    server.call("x", &["--header", "Host: other.example", "--header", "User-Agent: mine"]);
    let request = server.finish().concat();
    assert!(
        request.contains("HTTP/1.1\r\nHost: other.example\r\nUser-Agent: mine\r\nAccept: */*\r\n"),
        "{request}"
    );
}

#[test]
fn header_fields_that_would_break_out_are_refused_before_anything_is_sent() {
    let server = Server::answering([""; 0]);
    for field in [
        "X: a\r\nY: b",
        "X: a\nY: b",
        "X\r\nY: b",
        "X Y: b",
        "no colon",
        ": b",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "connection: keep-alive",
        "Upgrade: x",
        "Range: bytes=0-",
    ] {
        let output = server.call("x", &["--header", field]);
        assert_eq!(output.status.code(), Some(2), "{field:?}");
        assert!(text(&output.stderr).contains("--header"), "{}", text(&output.stderr));
    }
    let two_hosts = server.call("x", &["--header", "Host: a", "--header", "host: b"]);
    assert_eq!(two_hosts.status.code(), Some(2));
    server.finish();
}

#[test]
fn ranges_are_asked_for_and_shown_as_they_come() {
    let parts = "--b\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--b\r\nContent-Range: bytes 8-8/9\r\n\r\nz\r\n--b--\r\n";
    let content_type = "Content-Type: multipart/byteranges; boundary=b";
    for (range, sent, answer, printed) in [
        ("0-1", "0-1", answer(206, &["Content-Range: bytes 0-1/9"], b"ab"), "ab"),
        ("7-", "7-", answer(206, &["Content-Range: bytes 7-8/9"], b"yz"), "yz"),
        ("-1", "-1", answer(206, &["Content-Range: bytes 8-8/9"], b"z"), "z"),
        ("0-1, -1", "0-1,-1", answer(206, &[content_type], parts.as_bytes()), parts),
    ] {
        let server = Server::answering([answer]);
        let output = server.call("x", &["--range", range, "--body"]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), printed.to_owned()), "{range}");
        let request = server.finish().concat();
        assert!(request.contains(&format!("\r\nRange: bytes={sent}\r\n")), "{request}");
    }
    let whole = call(GOOD, &["--range", "0-1"]);
    assert_eq!(whole.status.code(), Some(0));
    assert!(text(&whole.stderr).contains("sends the whole file"), "{}", text(&whole.stderr));
    let none = call("HTTP/1.1 416 x\r\nContent-Length: 0\r\n\r\n", &["--range", "99-"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("choose another --range"), "{}", text(&none.stderr));
    for range in ["5", "5-1", "-0", "a-b", "0-1\r\nX: y"] {
        let refused = webclient(&["localhost", "1", "x", "--range", range]);
        assert_eq!(refused.status.code(), Some(2), "{range}");
        // A refused connection has the same exit status.
        let said = text(&refused.stderr);
        assert!(said.contains("a range is FIRST-LAST"), "{range}: {said}");
    }
}

#[test]
fn a_part_is_saved_only_if_it_was_asked_for() {
    let folder = folder();
    let path = folder.path().join("out");
    let path = super::plain(&path);
    let part = "HTTP/1.1 206 x\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab";
    for options in [&["--output", path][..], &["--output", path, "--resume"]] {
        let output = call(part, options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
    assert_eq!(call(part, &["--output", path, "--range", "0-1"]).status.code(), Some(0));
    assert_eq!(std::fs::read(path).expect("it is there"), b"ab");
}

#[test]
fn verbose_shows_both_sides_and_steers_no_terminal() {
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let answer = format!("{early}HTTP/1.1 200 OK\r\nX: a\u{202e}b\u{9b}\r\nContent-Length: 5\r\n\r\nHello");
    let server = Server::answering([answer.as_str()]);
    let output = server.call("x", &["-v", "--header", "X-A: b"]);
    let said = text(&output.stderr);
    let port = server.port;
    server.finish();
    for line in [
        &format!("* connected to 127.0.0.1:{port}"),
        "> GET /x HTTP/1.1",
        &format!("> Host: 127.0.0.1:{port}"),
        "> X-A: b",
        ">",
        "< HTTP/1.1 103 Early Hints",
        "< HTTP/1.1 200 OK",
        "< X: a\\u{202e}b\\u{9b}",
        "<",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is not in\n{said}");
    }
    assert!(said.contains("* first byte after ") && said.contains("* 5 bytes of body; all in "), "{said}");
    assert!(text(&output.stdout).ends_with("\n\nHello"), "standard output is as without it");
}

#[test]
fn a_dash_is_standard_output() {
    let folder = folder();
    let server = Server::answering([GOOD]);
    let mut command =
        super::command(&["127.0.0.1", &server.port.to_string(), "x", "--body", "--output", "-"]);
    let output = command.current_dir(folder.path()).output().expect("the command can be started");
    assert_eq!(text(&output.stdout), "Hello, World\n");
    assert_eq!(names(folder.path()), [""; 0]);
    server.finish();
    let resumed = webclient(&["localhost", "1", "x", "--resume", "--output", "-"]);
    assert_eq!(resumed.status.code(), Some(2));
    let said = text(&resumed.stderr);
    assert!(said.contains("--output - is standard output"), "{said}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for options in [&["--resume"][..], &["--resume", "--output", "x", "--range", "0-1"], &["--follow=x"]] {
        let output = webclient(&[&["localhost", "1", "x"], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains("--help"), "{}", text(&output.stderr));
    }
}

#[test]
fn completions_need_no_server() {
    for shell in ["bash", "zsh", "fish"] {
        let output = webclient(&["--completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("resume"), "{shell}");
    }
    let help = text(&webclient(&["--help"]).stdout);
    assert!(help.contains("webclient [OPTIONS] <HOST> <PORT> <FILE>"), "{help}");
    assert!(help.contains("webclient [OPTIONS] <URL>"), "{help}");
    for incomplete in [&["localhost"][..], &["localhost", "1"], &["https://localhost/x", "1", "x"]] {
        let output = webclient(incomplete);
        assert_eq!(output.status.code(), Some(2), "{incomplete:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    }
}
