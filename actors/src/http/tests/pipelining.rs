//! Many requests on one connection: responses are in order and complete, however the bytes of the requests arrive.

use std::io::{Read as _, Write as _};

use super::*;

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_size() {
    let site = Site::new();
    let paths = ["/small.txt", "/medium.bin", "/missing", "/large.bin", "/medium.bin", "/small.txt"];
    let requests: String = paths.iter().cycle().take(60).map(|path| get(path)).collect();
    let mut client = site.connect();
    // They fit into the buffers of the sockets.
    client.write_all(requests.as_bytes()).expect("the server reads");
    for path in paths.iter().cycle().take(60) {
        let (head, body) = read_one(&mut client);
        match *path {
            "/small.txt" => assert_eq!(body, SMALL.as_bytes()),
            "/medium.bin" => assert_eq!(body, pattern(100_000)),
            "/large.bin" => assert_eq!(body, pattern(3_000_000)),
            _ => assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}"),
        }
    }
    client.end_writing();
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
fn hundreds_of_requests_in_one_write_are_answered_in_order() {
    let site = Site::new();
    // Cached and not, found and not, with and without bodies.
    let requests = [
        (get("/small.txt"), 200),
        ("HEAD /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(), 200),
        (get("/missing"), 404),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(), 204),
        (get("/dir"), 308),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /".into(), 405),
        ("GET /medium.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n".into(), 206),
        ("GET /small.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n".into(), 304),
        (get("/%zz"), 400),
        (get("/probe.txt"), 200),
    ];
    let all: String = requests.iter().cycle().take(500).map(|(request, _)| request.as_str()).collect();
    let answers = site.exchange(all);
    let mut rest = answers.as_slice();
    for (request, status) in requests.iter().cycle().take(500) {
        let (answer, after) = Answer::split_off(rest, is_head(request.as_bytes()));
        assert_eq!(answer.status(), *status, "{request}: {}", answer.head);
        match request.split(' ').nth(1) {
            Some("/probe.txt") => assert_eq!(answer.body, b"probe"),
            Some("/medium.bin") => assert_eq!(answer.body, pattern(10)),
            _ => {}
        }
        rest = after;
    }
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(rest));
}

#[test]
fn nothing_is_answered_behind_a_request_that_closes() {
    let site = Site::new();
    let last = "GET /small.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = site.exchange(format!("{}{last}{}", get("/probe.txt"), get("/probe.txt").repeat(100)));
    let (first, rest) = Answer::split_off(&all, false);
    let (second, rest) = Answer::split_off(rest, false);
    assert_eq!((first.field("Connection"), second.field("Connection")), (None, Some("close")));
    assert!(rest.is_empty());
}
