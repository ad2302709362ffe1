//! Header fields of responses (RFC 9110, sections 8 and 12.5.5; CORS in the Fetch standard).

use super::*;
use crate::site::{Cors, FieldRule};

fn rule(paths: &str, name: &str, value: &str) -> FieldRule {
    let paths =
        (!paths.is_empty()).then(|| globset::Glob::new(paths).expect("it is a pattern").compile_matcher());
    FieldRule { paths, name: name.into(), value: value.into() }
}

#[test]
fn a_file_comes_with_all_that_a_browser_needs() {
    let site = Site::new();
    let answer = site.get("/small.txt", "");
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
    assert_eq!(answer.text(), SMALL);
    for (name, value) in [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "13"),
        ("Cache-Control", "no-cache"),
        ("Accept-Ranges", "bytes"),
        ("Last-Modified", MODIFIED_DATE),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        assert_eq!(answer.field(name), Some(value));
    }
    let date = answer.field("Date").expect("it is there");
    let date = httpdate::parse_http_date(date).expect("it is a date");
    let age = SystemTime::now().duration_since(date).expect("it is not in the future");
    assert!(age < SOON, "it is the time of the answer");
    for name in ["Connection", "Vary", "Content-Encoding", "Transfer-Encoding", "Server", "Set-Cookie"] {
        assert_eq!(answer.field(name), None);
    }
}

#[test]
fn no_answer_is_to_be_sniffed_or_kept_for_longer_than_it_says() {
    let site = Site::new();
    for (request, status) in [
        (get("/small.txt"), 200),
        (get("/missing"), 404),
        (get("/dir"), 308),
        (get("/%zz"), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 204),
        ("GET /small.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n".into(), 206),
        ("GET /small.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=99-\r\n\r\n".into(), 416),
        ("GET /small.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n".into(), 412),
        ("GET /small.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n".into(), 304),
    ] {
        let answer = site.ask(&request);
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"), "{request}");
        assert!(answer.field("Date").is_some(), "{request}");
        // Without the field a browser would guess the type.
        assert_eq!(answer.field("Content-Type").is_some(), !matches!(status, 204 | 304), "{request}");
        if matches!(status, 412 | 416) {
            assert_eq!(
                answer.field("Cache-Control"),
                None,
                "what is said of the file is not true of a refusal"
            );
        }
    }
}

#[test]
fn rules_add_and_replace_fields() {
    let folder = usual_folder();
    std::fs::create_dir(folder.path().join("assets")).expect("the folder can be written to");
    write_old(folder.path(), "assets/app.css", b"a {}", MODIFIED);
    write_old(folder.path(), "feed.txt", b"<feed/>", MODIFIED);
    let fields = vec![
        rule("", "X-Own", "all"),
        rule("assets/**", "Cache-Control", "public, max-age=31536000, immutable"),
        rule("*.bin", "Cache-Control", "max-age=1"),
        rule("medium.bin", "cache-control", "max-age=2"),
        rule("*.txt", "X-Text", "yes"),
    ];
    let site = Site::start(Limits::default(), vec![(folder, SiteConfig { fields, ..SiteConfig::default() })]);
    for (path, caching, is_text) in [
        ("/small.txt", "no-cache", true),
        ("/assets/app.css", "public, max-age=31536000, immutable", false),
        ("/%61ssets/app.css", "public, max-age=31536000, immutable", false),
        ("/large.bin", "max-age=1", false),
        ("/medium.bin", "max-age=2", false),
    ] {
        for (fields, status) in [
            ("", 200),
            ("If-None-Match: *\r\n", 304),
            ("Range: bytes=0-1\r\n", 206),
            ("Range: bytes=99999999-\r\n", 416),
        ] {
            let (answer, went_on) =
                site.ask_and_go_on(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!((answer.status(), went_on), (status, true), "{path} {fields}");
            assert_eq!(answer.field("X-Own"), Some("all"), "{path} {fields}");
            assert_eq!(answer.field("X-Text"), is_text.then_some("yes"), "{path} {fields}");
            assert_eq!(answer.field("Cache-Control"), (status != 416).then_some(caching), "{path} {fields}");
        }
    }
    // A rule for all paths also applies to responses without a file.
    for (request, status) in [("GET /dir", 308), ("GET /%", 400), ("POST /feed.txt", 405)] {
        let (answer, went_on) = site.ask_and_go_on(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), went_on), (status, true), "{request}");
        assert_eq!(answer.field("X-Own"), Some("all"), "{request}");
        assert_eq!(answer.field("X-Text"), None, "{request}");
        assert_eq!(answer.field("ETag"), None, "{request}");
    }
    assert_eq!(
        site.get("/missing", "").field("X-Own"),
        Some("all"),
        "policies hold for what is missing, too"
    );
}

const PREFLIGHT: &str = "OPTIONS /small.txt HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: GET\r\n\
    Access-Control-Request-Headers: range\r\n";

#[test]
fn without_cors_nothing_is_said_of_it() {
    let site = Site::new();
    let asked = [
        site.get("/small.txt", "Origin: https://one.test\r\n"),
        site.ask(format!("{PREFLIGHT}Origin: https://one.test\r\n\r\n")),
    ];
    for answer in asked {
        assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
        assert_eq!(answer.field("Vary"), None);
    }
}

#[test]
fn any_origin_may_read_if_the_site_says_so() {
    let site = Site::with_config(SiteConfig { cors: Some(Cors::Any), ..SiteConfig::default() });
    for fields in ["", "Origin: https://one.test\r\n", "Origin: null\r\n"] {
        for (path, status) in [("/small.txt", 200), ("/missing", 404), ("/dir", 308), ("/%zz", 400)] {
            let answer = site.get(path, fields);
            assert_eq!(answer.status(), status);
            assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("*"), "{path}");
            assert!(
                answer.field("Access-Control-Expose-Headers").is_some_and(|names| names.contains("ETag"))
            );
            // It is the same for all origins.
            assert_eq!(answer.field("Vary"), None, "{path}");
            assert_eq!(answer.field("Access-Control-Allow-Methods"), None, "nobody asked");
        }
    }
    let preflight = site.ask(format!("{PREFLIGHT}Origin: https://one.test\r\n\r\n"));
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(preflight.field("Access-Control-Allow-Methods"), Some("GET, HEAD, OPTIONS"));
    assert!(preflight.field("Access-Control-Allow-Headers").is_some_and(|names| names.contains("Range")));
    assert!(preflight.field("Access-Control-Max-Age").is_some());
}

#[test]
fn only_listed_origins_may_read() {
    let origins = vec!["https://one.test".to_owned(), "http://two.test:8080".to_owned()];
    let cors = Some(Cors::Origins(origins));
    let site = Site::with_config(SiteConfig { cors, compression: true, ..SiteConfig::default() });
    for (fields, allowed) in [
        ("", None),
        ("Origin: https://one.test\r\n", Some("https://one.test")),
        ("origin: http://two.test:8080\r\n", Some("http://two.test:8080")),
        ("Origin: http://one.test\r\n", None),
        ("Origin: https://one.test.evil.example\r\n", None),
        ("Origin: https://one.test:443\r\n", None),
        ("Origin: https://one.test/\r\n", None),
        ("Origin: null\r\n", None),
        ("Origin: *\r\n", None),
        ("Origin:\r\n", None),
        ("Origin: https://one.test\r\nOrigin: https://evil.example\r\n", None),
        ("Origin: https://one.test, https://evil.example\r\n", None),
    ] {
        for (path, also_varies) in [("/small.txt", true), ("/medium.bin", false), ("/missing", false)] {
            let answer = site.get(path, fields);
            assert_eq!(answer.field("Access-Control-Allow-Origin"), allowed, "{path} {fields}");
            let mut varies = answer.fields("Vary");
            varies.sort_unstable();
            let expected = if also_varies { vec!["Accept-Encoding", "Origin"] } else { vec!["Origin"] };
            assert_eq!(varies, expected, "{path} {fields}");
        }
        let preflight = site.ask(format!("{PREFLIGHT}{fields}\r\n"));
        assert_eq!(preflight.field("Access-Control-Allow-Origin"), allowed, "{fields}");
        assert_eq!(preflight.field("Vary"), Some("Origin"), "{fields}");
    }
    let same = site.get("/small.txt", "Origin: https://one.test\r\nIf-None-Match: *\r\n");
    assert_eq!((same.status(), same.field("Access-Control-Allow-Origin")), (304, Some("https://one.test")));
}
