//! Bodies of requests are dropped, and never taken for the next request (RFC 9112, sections 6 and 7).

use super::*;

/// A GET with these field lines and a body.
fn with(fields: &str, body: &str) -> String {
    format!("GET /small.txt HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    with("Transfer-Encoding: chunked", body)
}

/// A request that is smuggled in a body.
const HIDDEN: &str = "GET /dir/ HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn behind_a_body_without_a_certain_end_there_is_nothing() {
    let site = Site::new();
    for (fields, status) in [
        ("Content-Length: five", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        // A length that nobody can send.
        ("Content-Length: 18446744073709551615", 200),
    ] {
        let (answer, went_on) = site.ask_and_go_on(with(fields, HIDDEN));
        assert_eq!((answer.status(), went_on), (status, false), "{fields}");
    }
    let (answer, went_on) = site.ask_and_go_on(with("Content-Length: 5\r\nContent-Length: 5", "GET /"));
    assert_eq!((answer.status(), went_on), (200, true));
}

#[test]
fn an_unread_body_is_dropped() {
    let site = Site::new();
    let size = HIDDEN.len();
    for request in [
        with(&format!("Content-Length: {size}"), HIDDEN),
        with(&format!("Content-Length: {}", 60_000), &HIDDEN.repeat(60_000)[..60_000]),
        chunked(&format!("{size:x}\r\n{HIDDEN}\r\n0\r\n\r\n")),
        chunked(&format!("{size:X};a=b;c=\"d\"\r\n{HIDDEN}\r\n{size:x}\r\n{HIDDEN}\r\n000\r\n\r\n")),
        chunked("0\r\nA: b\r\nContent-Length: 9\r\n\r\n"),
        chunked(&format!("1\r\n\r\r\n{size:x}\r\n{HIDDEN}\r\n0\r\n\r\n")),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{HIDDEN}"),
        format!("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{HIDDEN}"),
        format!("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{HIDDEN}"),
        format!("GET /large.bin HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{HIDDEN}"),
    ] {
        let (answer, went_on) = site.ask_and_go_on(&request);
        assert!(went_on, "{request:?}: {}", answer.head);
        assert_eq!(answer.field("Connection"), None, "{request:?}");
    }
}

#[test]
fn behind_a_malformed_chunk_there_is_nothing() {
    let site = Site::new();
    let size = HIDDEN.len();
    for body in [
        "xyz\r\n".to_owned(),
        "5\r\nabcdef\r\n0\r\n\r\n".into(),
        "0\r\nA: b\nB: c\r\n\r\n".into(),
        format!("1{size:016x}\r\n"),
        format!("5;{}\r\nabcde\r\n0\r\n\r\n", "a".repeat(2_000)),
        format!("0\r\n{}\r\n", "A: b\r\n".repeat(2_000)),
    ] {
        let (answer, went_on) = site.ask_and_go_on(chunked(&format!("{body}{HIDDEN}")));
        assert_eq!((answer.status(), went_on), (200, false), "{body:?}");
        assert_eq!(answer.text(), SMALL);
    }
}

#[test]
fn a_body_that_is_too_long_ends_the_connection() {
    let site = Site::with_limits(Limits { unread_body_bytes: 1_000, ..Limits::default() });
    let sized = |bytes: usize| with(&format!("Content-Length: {bytes}"), &"x".repeat(bytes));
    let in_chunks = |bytes: usize| chunked(&format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes)));
    let in_bytes = |chunks: usize| chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(chunks)));
    for (request, goes_on) in [
        (sized(1_000), true),
        (sized(1_001), false),
        (in_chunks(900), true),
        (in_chunks(1_001), false),
        (in_chunks(50_000), false),
        (in_bytes(100), true),
        // The framing counts too. Otherwise chunks of one byte would cost six times as much as the limit allows.
        (in_bytes(500), false),
    ] {
        let (answer, went_on) = site.ask_and_go_on(&request);
        assert_eq!((answer.status(), went_on), (200, goes_on), "{}", request.len());
    }
}

#[test]
fn expectations() {
    let site = Site::new();
    let body = "Content-Length: 5\r\n";
    for (fields, sent, status, goes_on) in [
        // Without a body there is nothing to wait for.
        ("Expect: 100-continue".to_owned(), "", 200, true),
        // The final response comes at once, and then it is uncertain whether the body follows (RFC 9110, section 10.1.1).
        (format!("{body}Expect: 100-continue"), "GET /", 200, false),
        (format!("{body}Expect: 100-continue"), "", 200, false),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue".into(), "", 200, false),
        ("Expect: 200-ok".into(), "", 417, false),
    ] {
        let (answer, went_on) = site.ask_and_go_on(with(&fields, sent));
        assert_eq!((answer.status(), went_on), (status, goes_on), "{fields}");
    }
    // An HTTP/1.0 client does not know 100, so its body is certain to come.
    let old = format!(
        "GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n{body}\r\nGET /"
    );
    let (answer, went_on) = site.ask_and_go_on(old);
    assert_eq!((answer.status(), went_on), (200, true));
}

#[test]
fn a_client_that_waits_for_a_100_gets_its_answer_instead() {
    let site = Site::new();
    let mut client = site.connect();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(request.as_bytes()).expect("the server reads");
    let (head, _) = read_one(&mut client);
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert_eq!(client.read(&mut [0]).expect("it is closed in good order"), 0);
}
