//! Request lines: methods, targets and versions; and the limits of heads.

use super::*;

#[test]
fn reads_a_browsers_request() {
    let request = "GET /a%20b/?x=1?2 HTTP/1.1\r\nHost: localhost:6789\r\nIf-None-Match: \"e\"\r\n\r\nGET";
    let head = head_of(request);
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.target.path, "/a%20b/");
    assert_eq!(head.target.query, Some("x=1?2"));
    assert_eq!(head.host, Some("localhost"));
    assert_eq!(head.body, BodyLength::Exact(0));
    assert!(head.keep_alive && head.is_conditional && !head.expects_continue);
    assert_eq!(&request[head.head_bytes..], "GET");
    assert_eq!(head.fields.values("if-none-match").collect::<Vec<_>>(), [b"\"e\""]);
}

#[test]
fn each_field_sets_its_own_mark() {
    let marks =
        |head: &RequestHead<'_>| [head.is_conditional, head.has_range, head.accepts_codings, head.has_origin];
    for (field, expected) in [
        ("If-Match", [true, false, false, false]),
        ("If-None-Match", [true, false, false, false]),
        ("If-Modified-Since", [true, false, false, false]),
        ("IF-UNMODIFIED-SINCE", [true, false, false, false]),
        ("range", [false, true, false, false]),
        ("Accept-Encoding", [false, false, true, false]),
        ("Origin", [false, false, false, true]),
        ("If-Range", [false; 4]),
        ("X-Range", [false; 4]),
        ("Accept", [false; 4]),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}: x\r\n\r\n");
        assert_eq!(marks(&head_of(&request)), expected, "{field}");
    }
}

#[test]
fn the_host_is_named_without_its_port() {
    for (target, host, expected) in [
        ("/", "a", "a"),
        ("/", "a:80", "a"),
        ("/", "A.Example:", "A.Example"),
        ("/", "127.0.0.1:6789", "127.0.0.1"),
        ("/", "[::1]:80", "[::1]"),
        ("/", "[::1]", "[::1]"),
        // The host of an absolute-form target takes precedence.
        ("http://b.c/", "a", "b.c"),
        ("HTTPS://b.c:443?x", "a", "b.c"),
        ("http://[::2]:80/x", "a", "[::2]"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(head_of(&request).host, Some(expected), "{request:?}");
    }
    assert_eq!(head_of("GET / HTTP/1.0\r\n\r\n").host, None);
    assert_eq!(head_of("GET / HTTP/1.0\r\nHost: a:1\r\n\r\n").host, Some("a"));
    assert_eq!(head_of("GET http://b/ HTTP/1.0\r\n\r\n").host, Some("b"));
}

#[test]
fn methods_are_known_unknown_or_none() {
    let longest_token = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(32));
    let long_token = "G".repeat(33);
    let long_nonsense = "\u{fc}".repeat(100);
    let late_nonsense = format!("{}( / HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(32));
    expect_statuses(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"UPDATEREDIRECTREF / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GETS / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (longest_token.as_bytes(), 501),
        (long_token.as_bytes(), 501),
        (long_nonsense.as_bytes(), 400),
        (late_nonsense.as_bytes(), 400),
        (&[0xff; 1000], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // A malformed head takes precedence over a method that does not apply.
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ]);
}

#[test]
fn another_method_leaves_the_connection_usable() {
    let head = head_of("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((head.method, head.method.as_str()), (Method::Other("POST"), "POST"));
    assert_eq!((head.body, head.keep_alive), (BodyLength::Exact(3), true));
    let head = head_of("BREW /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!((head.method, head.method.as_str()), (Method::Unknown, "-"));
    assert_eq!((head.body, head.keep_alive), (BodyLength::Chunked, true));
    for allowed in Method::ALLOW.split(", ") {
        let request = format!("{allowed} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head_of(&request).method.as_str(), allowed);
    }
}

#[test]
fn targets_have_one_of_four_forms() {
    expect_statuses(&[
        (b"GET http://a.b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET http://a HTTP/1.1\r\nHost: other\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"HEAD * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"BREW * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"OPTIONS a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://\xc3\xbc/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // The Host field must be valid even if the target overrides it.
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n", 400),
    ]);
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("//a?b?c", "//a", Some("b?c")),
        ("http://a", "/", None),
        ("http://a?b", "/", Some("b")),
        ("http://a/b?c", "/b", Some("c")),
        ("/*", "/*", None),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let target = head_of(&request).target;
        assert_eq!((target.path, target.query), (path, query), "{request:?}");
    }
    for (target, path) in [("*", "*"), ("http://a", "*"), ("/*", "/*"), ("http://a/", "/")] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head_of(&request).target.path, path, "{target}");
    }
}

#[test]
fn only_versions_one_are_spoken() {
    expect_statuses(&[
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.7\r\nHost: a\r\n\r\n", 200),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2\r\nHost: a\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / FTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/a.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET / \r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ]);
    // A higher minor version is read as 1.1.
    assert_eq!(head_of("GET / HTTP/1.7\r\nHost: a\r\n\r\n").version, Version::Http11);
}

#[test]
fn sizes_are_bounded() {
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    let absolute = |bytes: usize| target(bytes - 8).replace("GET /", "GET http://a/");
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let head = |bytes: usize| {
        let padding = "y".repeat(bytes - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len());
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n")
    };
    assert_eq!(head(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    expect_statuses(&[
        (target(TARGET_BYTES_MAX).as_bytes(), 200),
        (target(TARGET_BYTES_MAX + 1).as_bytes(), 414),
        (absolute(TARGET_BYTES_MAX).as_bytes(), 200),
        (absolute(TARGET_BYTES_MAX + 1).as_bytes(), 414),
        (target(100_000).as_bytes(), 414),
        (fields(HEADER_COUNT_MAX).as_bytes(), 200),
        (fields(HEADER_COUNT_MAX + 1).as_bytes(), 431),
        (head(HEAD_BYTES_MAX).as_bytes(), 200),
        (head(HEAD_BYTES_MAX + 1).as_bytes(), 431),
        (head(100_000).as_bytes(), 431),
    ]);
}
