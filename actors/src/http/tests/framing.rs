//! Valid and invalid requests (RFC 9112; RFC 9110, sections 7 to 10).

use super::*;

/// Heads, the status of the response, and whether the connection persists.
fn check<R: AsRef<[u8]>>(site: &Site, cases: impl IntoIterator<Item = (R, u16, bool)>) {
    for (request, status, goes_on) in cases {
        let shown =
            String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(200)]).into_owned();
        let (answer, went_on) = site.ask_and_go_on(&request);
        assert_eq!(answer.status(), status, "{shown:?} got {}", answer.head);
        assert_eq!(went_on, goes_on, "{shown:?} got {}", answer.head);
        assert!(answer.field("Date").is_some(), "{shown:?} got {}", answer.head);
    }
}

/// A GET with these field lines instead of a Host.
fn with(fields: &str) -> String {
    format!("GET /small.txt HTTP/1.1\r\n{fields}\r\n\r\n")
}

/// A GET with a Host and these field lines.
fn and(fields: &str) -> String {
    with(&format!("Host: a\r\n{fields}"))
}

#[test]
fn malformed_heads_are_refused_and_nothing_behind_them_is_read() {
    let site = Site::new();
    for case in [
        with("X: y"),
        and("X : y"),
        "GET /small.txt HTTP/1.1\r\nHost: a\n\r\n".into(),
        "GET /small.txt\r\n\r\n".into(),
        "GET http://u@a/small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "\r\n\r\n\r\n\r\n\r\nGET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".into(),
    ] {
        let (answer, went_on) = site.ask_and_go_on(&case);
        assert_eq!((answer.status(), went_on), (400, false), "{case:?} got {}", answer.head);
        assert_eq!(answer.field("Connection"), Some("close"), "{case:?}");
    }
}

#[test]
fn methods() {
    let site = Site::new();
    for (method, target, status, goes_on) in [
        ("GET", "/small.txt", 200, true),
        ("HEAD", "/small.txt", 200, true),
        ("OPTIONS", "/missing", 204, true),
        ("OPTIONS", "*", 204, true),
        ("POST", "/small.txt", 405, true),
        ("DELETE", "/missing", 405, true),
        ("CONNECT", "a:443", 405, true),
        ("CONNECT", "/small.txt", 400, false),
        ("BREW", "/small.txt", 501, true),
        ("A-METHOD-LONGER-THAN-ANY-IN-THE-REGISTRY", "/small.txt", 501, false),
    ] {
        let (answer, went_on) = site.ask_and_go_on(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), went_on), (status, goes_on), "{method} {target}: {}", answer.head);
        let allowed = matches!(status, 204 | 405).then_some("GET, HEAD, OPTIONS");
        assert_eq!(answer.field("Allow"), allowed, "{method} {target}: {}", answer.head);
    }
}

#[test]
fn a_head_of_the_maximum_length_is_read() {
    let site = Site::new();
    let sized = |bytes: usize| and(&format!("X: {}", "x".repeat(bytes - and("X: ").len())));
    let query = |bytes: usize| get(&format!("/small.txt?{}", "x".repeat(bytes - 11)));
    check(
        &site,
        [
            (sized(16 << 10), 200, true),
            (sized((16 << 10) + 1), 431, false),
            (query(8_000), 200, true),
            (query(8_001), 414, false),
        ],
    );
}

#[test]
fn the_host_of_an_absolute_target_counts_and_not_the_field() {
    let second = tempfile::tempdir().expect("there is a place for temporary files");
    write_old(second.path(), "probe.txt", b"probe", MODIFIED);
    write_old(second.path(), "small.txt", b"second", MODIFIED);
    let named = |host: &str| SiteConfig { hosts: vec![host.into()], ..SiteConfig::default() };
    let site = Site::start(
        Limits::default(),
        vec![(usual_folder(), named("one.test")), (second, named("two.test"))],
    );
    for (target, host, content) in [
        ("/small.txt", "one.test", SMALL),
        ("/small.txt", "two.test", "second"),
        ("http://two.test/small.txt", "one.test", "second"),
        ("http://one.test/small.txt", "two.test", SMALL),
        ("HTTP://TWO.test:80/small.txt", "one.test", "second"),
        ("https://two.test/small.txt?q", "one.test", "second"),
    ] {
        let answer = site.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), content, "{target} of {host}");
    }
}

#[test]
fn connection_is_a_list_of_tokens() {
    let site = Site::new();
    for (fields, goes_on) in [
        ("Connection: x ,,\tclose , y", false),
        ("Connection: keep-alive", true),
        ("Connection: Upgrade\r\nUpgrade: h2c", true),
    ] {
        let (answer, went_on) = site.ask_and_go_on(and(fields));
        assert_eq!((answer.status(), went_on), (200, goes_on), "{fields}");
        assert_eq!(answer.field("Connection"), (!goes_on).then_some("close"), "{fields}");
    }
}

#[test]
fn a_client_of_http_1_0_is_closed_unless_it_asks() {
    let site = Site::new();
    for (fields, goes_on) in
        [("", false), ("Connection: keep-alive\r\n", true), ("Connection: keep-alive, close\r\n", false)]
    {
        let (answer, went_on) = site.ask_and_go_on(format!("GET /small.txt HTTP/1.0\r\n{fields}\r\n"));
        assert_eq!((answer.status(), went_on), (200, goes_on), "{fields}");
        let said = if goes_on { "keep-alive" } else { "close" };
        assert_eq!(answer.field("Connection"), Some(said), "{fields}");
    }
}

#[test]
fn an_answer_to_head_never_has_a_body() {
    let site = Site::new();
    for (path, status) in [
        ("/small.txt", 200),
        ("/medium.bin", 200),
        ("/large.bin", 200),
        ("/empty.txt", 200),
        ("/dir", 308),
        ("/dir/", 200),
        ("/missing", 404),
        ("/%zz", 400),
        ("/.hidden", 404),
    ] {
        let (of_get, _) = site.ask_and_go_on(get(path));
        let (answer, went_on) = site.ask_and_go_on(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), went_on), (status, true), "{path}");
        // The field is that of the response to a GET (RFC 9110, section 9.3.2).
        let without_date = |head: &str| {
            head.lines().filter(|line| !line.starts_with("Date: ")).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&answer.head), without_date(&of_get.head), "{path}");
    }
    for (refused, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n", 501),
    ] {
        assert_eq!(site.ask(refused).status(), status, "{refused:?}");
    }
    for like_head in ["HEADS / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nX: HEAD \r\n\r\n"] {
        assert!(!site.ask(like_head).body.is_empty(), "{like_head:?}");
    }
}

#[test]
fn a_refusal_is_heard_though_the_client_goes_on_sending() {
    let site = Site::new();
    for (request, status) in [
        (with("X: y"), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
        (get(&format!("/{}", "x".repeat(9000))), 414),
        (and(&format!("X: {}", "x".repeat(100_000))), 431),
        (and("Expect: x"), 417),
        (and("Content-Length: 300000"), 200),
        (and("Connection: close"), 200),
    ] {
        let answer = site.ask(format!("{request}{}{}", get("/probe.txt"), "x".repeat(200_000)));
        assert_eq!(answer.status(), status, "{}", answer.head);
        assert_eq!(answer.field("Connection"), Some("close"), "{}", answer.head);
    }
}
