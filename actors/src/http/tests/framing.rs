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
fn there_is_exactly_one_good_host() {
    // A registered name can contain a comma (RFC 3986, section 3.2.2).
    let good = ["a", "a:80", "a:", "A.Example.", "127.0.0.1:80", "[::1]", "[::1]:80", "a_b", "%41", "a,b"];
    let bad = ["", " ", "a b", "a/b", "a@b", "http://a", "a:x", "a:123456", "::1", "[::1", "[x]", "é"];
    let site = Site::new();
    check(&site, good.iter().map(|host| (with(&format!("Host: {host}")), 200, true)));
    check(&site, bad.iter().map(|host| (with(&format!("Host: {host}")), 400, false)));
    check(
        &site,
        [
            (with("X: y"), 400, false),
            (with("Host: a\r\nHost: a"), 400, false),
            (with("Host: a\r\nhost: b"), 400, false),
            ("GET http://a/small.txt HTTP/1.1\r\n\r\n".into(), 400, false),
        ],
    );
}

#[test]
fn malformed_heads_are_refused_and_nothing_behind_them_is_read() {
    let site = Site::new();
    for case in [
        and("X : y"),
        with("Host : a"),
        and("X: y\r\n folded"),
        and("X: y\r\n\tfolded"),
        with(" Host: a"),
        and("X"),
        and(": y"),
        and("X y: z"),
        and("X(: y"),
        and("X: a\rb"),
        and("X: a\0b"),
        and("X: a\x7fb"),
        and("X: a\x01b"),
        and("X: a\r"),
        "GET /small.txt HTTP/1.1\nHost: a\n\n".into(),
        "GET /small.txt HTTP/1.1\r\nHost: a\n\r\n".into(),
        "GET /small.txt HTTP/1.1\r\nHost: a\r\n\n".into(),
        "GET /small.txt HTTP/1.1\nHost: a\r\n\r\n".into(),
        "GET /small.txt\rHTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /small.txt HTTP/1.1\r\r\nHost: a\r\n\r\n".into(),
        "GET /small\0.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "\0GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "\nGET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        " GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET  /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /small.txt  HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET\t/small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /small.txt HTTP/1.1 \r\nHost: a\r\n\r\n".into(),
        "GET /small .txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /small.txt\r\n\r\n".into(),
        "GET\r\n\r\n".into(),
        "G(T /small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /small.txt#a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET ftp://a/small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET http:///small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET http://u@a/small.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".into(),
    ] {
        let (answer, went_on) = site.ask_and_go_on(&case);
        assert_eq!((answer.status(), went_on), (400, false), "{case:?} got {}", answer.head);
        assert_eq!(answer.field("Connection"), Some("close"), "{case:?}");
    }
}

#[test]
fn a_few_empty_lines_before_a_request_are_skipped() {
    let site = Site::new();
    check(
        &site,
        (0..=20).map(|lines| {
            let is_few = lines <= 4;
            ("\r\n".repeat(lines) + &and("X: y"), if is_few { 200 } else { 400 }, is_few)
        }),
    );
}

#[test]
fn versions() {
    let site = Site::new();
    for (version, status) in [
        ("HTTP/1.1", 200),
        ("HTTP/1.2", 200),
        ("HTTP/1.9", 200),
        ("HTTP/2.0", 505),
        ("HTTP/0.9", 505),
        ("HTTP/3.1", 505),
        ("http/1.1", 400),
        ("HTTP/1.10", 400),
        ("HTTP/11", 400),
        ("HTTP/1", 400),
        ("HTTP/1.", 400),
        ("HTTP/a.1", 400),
        ("HTTPS/1.1", 400),
        ("ICY/1.1", 400),
        ("", 400),
    ] {
        check(&site, [(format!("GET /small.txt {version}\r\nHost: a\r\n\r\n"), status, status == 200)]);
    }
}

#[test]
fn methods() {
    let site = Site::new();
    for (method, target, status, goes_on) in [
        ("GET", "/small.txt", 200, true),
        ("HEAD", "/small.txt", 200, true),
        ("OPTIONS", "/small.txt", 204, true),
        ("OPTIONS", "/missing", 204, true),
        ("OPTIONS", "*", 204, true),
        ("OPTIONS", "http://a", 204, true),
        ("POST", "/small.txt", 405, true),
        ("PUT", "/small.txt", 405, true),
        ("DELETE", "/missing", 405, true),
        ("PATCH", "/small.txt", 405, true),
        ("TRACE", "/small.txt", 405, true),
        ("CONNECT", "a:443", 405, true),
        ("CONNECT", "/small.txt", 400, false),
        ("POST", "*", 400, false),
        ("BREW", "/small.txt", 501, true),
        ("get", "/small.txt", 501, true),
        ("A-METHOD-LONGER-THAN-ANY-IN-THE-REGISTRY", "/small.txt", 501, false),
    ] {
        let (answer, went_on) = site.ask_and_go_on(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), went_on), (status, goes_on), "{method} {target}: {}", answer.head);
        let allowed = matches!(status, 204 | 405).then_some("GET, HEAD, OPTIONS");
        assert_eq!(answer.field("Allow"), allowed, "{method} {target}: {}", answer.head);
    }
}

#[test]
fn the_targets_length_has_a_limit() {
    let site = Site::new();
    let target = |bytes: usize| get(&format!("/{}", "x".repeat(bytes - 1)));
    let query = |bytes: usize| get(&format!("/small.txt?{}", "x".repeat(bytes - 11)));
    check(
        &site,
        [
            (query(8_000), 200, true),
            (query(8_001), 414, false),
            (target(8_000), 404, true),
            (target(8_001), 414, false),
            (target(200_000), 414, false),
        ],
    );
}

#[test]
fn the_heads_length_and_its_fields_have_a_limit() {
    let site = Site::new();
    let empty = and("X: ").len();
    let sized = |bytes: usize| and(&format!("X: {}", "x".repeat(bytes - empty)));
    let counted = |fields: usize| with(&format!("Host: a{}", "\r\nX: y".repeat(fields - 1)));
    check(
        &site,
        [
            (sized(16 << 10), 200, true),
            (sized((16 << 10) + 1), 431, false),
            (sized(200_000), 431, false),
            (counted(100), 200, true),
            (counted(101), 431, false),
            (counted(1_000), 431, false),
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
        ("Connection: close", false),
        ("connection: CLOSE", false),
        ("Connection: keep-alive", true),
        ("Connection: keep-alive, close", false),
        ("Connection: x ,,\tclose , y", false),
        ("Connection: x\r\nConnection: close", false),
        ("Connection: closed, un-close", true),
        ("Connection: \"close\"", true),
        ("Connection: Upgrade\r\nUpgrade: h2c", true),
        ("Connection:", true),
    ] {
        let (answer, went_on) = site.ask_and_go_on(and(fields));
        assert_eq!((answer.status(), went_on), (200, goes_on), "{fields}");
        assert_eq!(answer.field("Connection"), (!goes_on).then_some("close"), "{fields}");
    }
}

#[test]
fn a_client_of_http_1_0_is_closed_unless_it_asks() {
    let site = Site::new();
    for (fields, goes_on) in [
        ("", false),
        ("Host: a\r\n", false),
        ("Connection: keep-alive\r\n", true),
        ("Connection: Keep-Alive, x\r\n", true),
        ("Connection: keep-alive, close\r\n", false),
    ] {
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
