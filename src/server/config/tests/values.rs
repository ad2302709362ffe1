//! Values: what they mean, and what is said about those that are none.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use actors::config::{AccessLogFormat, Listen};
use actors::site::{MediaTypeRule, PagePrefix, RedirectRule};
use wire::http::Status;

use crate::server::config::LogFormat;
use crate::server::config::site_values::{CacheControl, Header, Host, Origin, pattern};
use crate::server::config::tests::load;
use crate::server::config::values::{Advertised, Grammar};

fn listen(text: &str) -> Result<Listen, String> {
    Grammar::parse(text)
}

fn bytes(text: &str) -> Result<u64, String> {
    Grammar::parse(text)
}

fn timeout(text: &str) -> Result<Duration, String> {
    Grammar::parse(text)
}

fn header(text: &str) -> Result<actors::site::FieldRule, String> {
    Header::parse(text).map(|header| header.0)
}

fn cache_control(text: &str) -> Result<actors::site::FieldRule, String> {
    CacheControl::parse(text).map(|rule| rule.0)
}

fn media_type(text: &str) -> Result<MediaTypeRule, String> {
    Grammar::parse(text)
}

fn origin(text: &str) -> Result<String, String> {
    Origin::parse(text).map(|origin| origin.0)
}

fn host(text: &str) -> Result<String, String> {
    Host::parse(text).map(|host| host.0)
}

fn redirect(text: &str) -> Result<RedirectRule, String> {
    Grammar::parse(text)
}

/// Checks that each text is refused with a message that has these words and the text.
#[track_caller]
fn refuses<T: Debug>(parse: impl Fn(&str) -> Result<T, String>, table: &[(&str, &str)]) {
    for (text, words) in table {
        let message = parse(text).expect_err(text);
        assert!(message.contains(words), "{text:?}: {words:?} is not in {message:?}");
        assert!(!message.contains(['\n', '\r', '\u{1b}']), "{message:?} would be more than a line");
    }
}

#[test]
fn sizes_count_in_powers_of_1024() {
    for (text, expected) in
        [("0", 0), ("500", 500), ("3k", 3 << 10), ("1.5M", 3 << 19), ("64MB", 64 << 20), ("2G", 2 << 30)]
    {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
    let words = "such as 65536, 500K, 64M or 2G";
    let table = ["", "K", "M64", "-1", "1.5.5M", "64X", "99999999999G", "1 M"].map(|text| (text, words));
    refuses(bytes, &table);
}

#[test]
fn times_have_units_and_bounds() {
    for (text, milliseconds) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1m 15s", 75_000)] {
        assert_eq!(timeout(text), Ok(Duration::from_millis(milliseconds)), "{text}");
    }
    refuses(
        timeout,
        &[
            ("30", "unit"),
            ("", "such as 500ms, 30s or 2m"),
            ("soon", "such as 500ms, 30s or 2m"),
            ("0s", "over zero"),
            ("2days", "up to a day"),
        ],
    );
}

#[test]
fn formats_have_names() {
    let formats = |log: &str, access_log: &str| {
        let arguments =
            [&format!("--log-format={log}"), "--access-log=a", &format!("--access-log-format={access_log}")];
        let settings = load(&arguments, &[]).map_err(|problems| problems.to_string())?;
        Ok((settings.log_format, settings.config.access_log.expect("it has a path").format))
    };
    assert_eq!(formats("text", "combined"), Ok((LogFormat::Text, AccessLogFormat::Combined)));
    assert_eq!(formats("json", "json"), Ok((LogFormat::Json, AccessLogFormat::Json)));
    refuses(|log| formats(log, "json"), &[("xml", "\"xml\" is not one of text, json")]);
    refuses(|access_log| formats("json", access_log), &[("text", "\"text\" is not combined or json")]);
}

#[test]
fn places_to_listen_at() {
    for text in ["127.0.0.1:0", "[::1]:80"] {
        assert_eq!(listen(text), Ok(Listen::Address(text.parse().expect("it is an address"))));
    }
    let unix = |path: &str, mode| Ok(Listen::Unix { path: PathBuf::from(path), mode });
    assert_eq!(listen("unix:/run/a.socket"), unix("/run/a.socket", 0o660));
    assert_eq!(listen("unix:a,b,mode=0606"), unix("a,b", 0o606));
    assert_eq!(listen("systemd"), Ok(Listen::Inherited));
    assert_eq!(listen("tls:[::1]:0"), Ok(Listen::Tls("[::1]:0".parse().expect("it is an address"))));
    refuses(
        listen,
        &[
            ("nowhere", "unix:PATH[,mode=0660], or systemd"),
            ("localhost:80", "127.0.0.1:6789"),
            ("127.0.0.1:70000", "127.0.0.1:6789"),
            ("unix:", "unix:PATH"),
            ("unix:,mode=0660", "unix:PATH"),
            ("unix:a,mode=0888", "mode"),
            ("unix:a,mode=+7", "mode"),
            ("unix:a,mode=7777", "mode"),
            ("unix:a,mode=", "mode"),
        ],
    );
}

#[test]
fn patterns_fit_names_at_every_depth_or_paths_from_the_root_on() {
    for (text, fitting, other) in [
        ("*.css", &["a.css", "b/c/a.css"][..], &["a.css.gz", "a.js"][..]),
        ("index.html", &["index.html", "a/index.html"], &["an-index.html"]),
        ("/*.css", &["a.css"], &["b/a.css"]),
        ("assets/*.js", &["assets/a.js"], &["assets/b/a.js", "c/assets/a.js"]),
        ("/assets/**", &["assets/a.js", "assets/b/a.js"], &["assets", "c/assets/a.js"]),
        ("*.{png,jpg}", &["a.png", "b/a.jpg"], &["a.gif"]),
    ] {
        let matcher = pattern(text).expect(text);
        assert!(fitting.iter().all(|path| matcher.is_match(path)), "{text}");
        assert!(!other.iter().any(|path| matcher.is_match(path)), "{text}");
    }
    refuses(pattern, &[("", "empty"), ("[", "unclosed"), ("{a", "unclosed")]);
}

#[test]
fn header_fields_are_sent_as_they_are_told() {
    let rule = header("X-Robots-Tag:  noindex, nofollow\t").expect("it is good");
    assert_eq!((&*rule.name, &*rule.value), ("X-Robots-Tag", "noindex, nofollow"));
    assert!(rule.paths.is_none());
    let rule = header("/a/**  Link: <https://example.org>; rel=\"x\"").expect("it is good");
    assert_eq!((&*rule.name, &*rule.value), ("Link", "<https://example.org>; rel=\"x\""));
    assert!(rule.paths.is_some_and(|paths| paths.is_match("a/b") && !paths.is_match("b")));
    refuses(
        header,
        &[
            ("X-A", "such as 'X-Robots-Tag: noindex'"),
            ("", "such as"),
            (": a", "not the name"),
            ("X-A : a", "not the name"),
            ("X\u{e9}: a", "not the name"),
            ("[ X-A: a", "not a pattern"),
            ("X-A:", "no value"),
            ("X-A: \t ", "no value"),
            ("X-A: \u{e9}", "not all visible ASCII"),
            ("X-A: a\r\nX-B: b", "not all visible ASCII"),
            ("X-A: a\nX-B: b", "not all visible ASCII"),
            ("X-A: \u{1b}[2J", "not all visible ASCII"),
            ("X-A: a\u{7f}", "not all visible ASCII"),
        ],
    );
    assert!(Header::new(None, "X-A\r\nX-B", "b").is_err());
}

#[test]
fn fields_of_the_server_are_its_own() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Keep-Alive",
        "Trailer",
        "Upgrade",
        "date",
        "Content-Range",
        "Content-Encoding",
        "Content-Type",
        "ETAG",
        "Last-Modified",
        "Vary",
        "Accept-Ranges",
        "Allow",
        "Location",
        "Retry-After",
        "WWW-Authenticate",
        "X-Content-Type-Options",
    ] {
        refuses(header, &[(&format!("{name}: a"), "the server sends the field")]);
    }
    for (name, option) in [
        ("cache-control", "cache-control"),
        ("Access-Control-Allow-Origin", "cors"),
        ("Access-Control-Allow-Methods", "cors"),
        ("Access-Control-Allow-Headers", "cors"),
        ("Access-Control-Max-Age", "cors"),
    ] {
        refuses(header, &[(&format!("{name}: a"), &format!("an option of its own: {option}"))]);
    }
}

#[test]
fn cache_control_tells_patterns_from_directives() {
    for text in ["no-cache", "max-age=60", "public, max-age=60, s-maxage=5"] {
        let rule = cache_control(text).expect(text);
        assert_eq!((&*rule.name, &*rule.value), ("Cache-Control", text));
        assert!(rule.paths.is_none());
    }
    for (text, fitting) in
        [("*.css=max-age=60", "a/b.css"), ("/a/**=no-store", "a/b"), ("sw.js=no-store", "sw.js")]
    {
        let rule = cache_control(text).expect(text);
        assert_eq!(rule.value, text.split_once('=').expect("it has one").1);
        assert!(rule.paths.is_some_and(|paths| paths.is_match(fitting) && !paths.is_match("c.js")), "{text}");
    }
    refuses(
        cache_control,
        &[
            ("", "no value"),
            ("*.css=", "no value"),
            ("[=no-cache", "not a pattern"),
            ("a\nb", "visible ASCII"),
        ],
    );
}

#[test]
fn media_types_are_those_of_a_header_field() {
    for (text, expected) in [
        ("*.go=text/plain", "text/plain; charset=utf-8"),
        ("/data/** = application/x-tar", "application/x-tar"),
        ("*.txt=text/plain; charset=iso-8859-1", "text/plain; charset=iso-8859-1"),
    ] {
        assert_eq!(media_type(text).expect(text).media_type.as_str(), expected);
    }
    let rule = media_type("/data/**=a/b").expect("it is good");
    assert!(rule.paths.is_match("data/a/b") && !rule.paths.is_match("b"));
    refuses(
        media_type,
        &[
            ("text/plain", "such as '*.go=text/plain'"),
            ("*.go=", "not a media type"),
            ("*.go=text", "not a media type"),
            ("*.go=text/plain\r\nX: y", "not a media type"),
            ("=text/plain", "not a pattern"),
        ],
    );
}

#[test]
fn origins_are_as_browsers_send_them() {
    for text in [
        "*",
        "https://example.org",
        "http://localhost:5173",
        "http://[::1]:80001".trim_end_matches('1'),
        "app://a",
    ] {
        assert_eq!(origin(text).as_deref(), Ok(text));
    }
    refuses(
        origin,
        &[
            ("example.org", "https://example.org"),
            ("null", "https://example.org"),
            ("HTTPS://example.org", "browsers send \"https://example.org\""),
            ("://example.org", "such as https://example.org"),
            ("https://example.org/", "browsers send \"https://example.org\""),
            ("https://example.org/a", "browsers send \"https://example.org\""),
            ("https://Example.org", "browsers send \"https://example.org\""),
            ("https://a@example.org", "leave it out"),
            ("https://", "not a host name"),
            ("https://*.example.org", "not a host name"),
            ("https://example.org:443", "browsers send \"https://example.org\""),
            ("http://example.org:80", "browsers send \"http://example.org\""),
            ("http://example.org:99999", "port"),
            ("http://example.org:", "browsers send \"http://example.org\""),
            ("https://a\r\nb", "such as https://example.org"),
        ],
    );
}

#[test]
fn hosts_are_names_in_lower_case_or_addresses() {
    for text in ["example.org", "a", "xn--bcher-kva.example", "192.0.2.1", "[2001:db8::1]"] {
        assert_eq!(host(text).as_deref(), Ok(text));
    }
    assert_eq!(host("Example.ORG").as_deref(), Ok("example.org"));
    let long_label = format!("{}.org", "a".repeat(64));
    refuses(
        host,
        &[
            ("", "letters, digits and hyphens"),
            ("example.org:80", "without port"),
            ("2001:db8::1", "brackets"),
            ("[::g]", "IPv6 address in brackets"),
            ("b\u{fc}cher.example", "xn--"),
            ("a..b", "letters, digits and hyphens"),
            ("example.org.", "letters, digits and hyphens"),
            ("-a", "letters, digits and hyphens"),
            ("a-.b", "letters, digits and hyphens"),
            ("*.example.org", "letters, digits and hyphens"),
            ("a b", "letters, digits and hyphens"),
            (&long_label, "letters, digits and hyphens"),
        ],
    );
}

#[test]
fn the_page_is_at_a_plain_path() {
    let prefix = |text: &str| PagePrefix::parse(text).map(|prefix| prefix.as_str().to_owned());
    for (text, path) in [("/", ""), ("/a/", "a"), ("/a-1/B_2.x/", "a-1/B_2.x")] {
        assert_eq!(prefix(text).as_deref(), Ok(path));
    }
    let why = "is not a path for the page";
    refuses(
        prefix,
        &["", "//", "a", "/a", "a/", "/a//b/", "/../", "/.a/", "/a b/", "/%61/", "/a?/"]
            .map(|text| (text, why)),
    );
}

#[test]
fn other_servers_are_told_a_host_and_a_port_to_connect_to() {
    let advertised = |text: &str| Advertised::parse(text).map(|advertised| advertised.0);
    for text in ["192.0.2.7:6789", "one.example.org:1", "[2001:db8::1]:6789"] {
        assert_eq!(advertised(text).as_deref(), Ok(text));
    }
    let wrong = [
        "",
        "one.example.org",
        "a:0",
        "a:65536",
        ":6789",
        "0.0.0.0:6789",
        "[::]:6789",
        "2001:db8::1:6789",
        "tls:a:1",
        "a/b:1",
    ];
    refuses(advertised, &wrong.map(|text| (text, "such as 192.0.2.7:6789")));
}

#[test]
fn redirects_lead_from_a_path_to_a_path_or_another_host() {
    for (text, from, to, status) in [
        ("/old /new", "/old", "/new", Status::MovedPermanently),
        ("/a  /b?c#d 302", "/a", "/b?c#d", Status::Found),
        ("/a/* /b/* 307", "/a/*", "/b/*", Status::TemporaryRedirect),
        ("/* https://example.org/* 308", "/*", "https://example.org/*", Status::PermanentRedirect),
        ("/a/* http://Example.org:8080", "/a/*", "http://Example.org:8080", Status::MovedPermanently),
        ("/a /a/b 301", "/a", "/a/b", Status::MovedPermanently),
    ] {
        let rule = redirect(text).expect(text);
        assert_eq!((&*rule.from, &*rule.to, rule.status), (from, to, status));
    }
    refuses(
        redirect,
        &[
            ("/a", "such as '/old /new 301'"),
            ("", "such as"),
            ("/a /b 301 x", "such as"),
            ("/a /b 303", "301, 302, 307 or 308"),
            ("/a /b for-good", "301, 302, 307 or 308"),
            ("a /b", "slash at its start"),
            ("/a b", "neither to a path"),
            ("/a //example.org", "neither to a path"),
            ("/a ftp://example.org/", "neither to a path"),
            ("/a /\\example.org", "characters"),
            ("/\u{e9} /b", "characters"),
            ("/a /\u{1b}", "characters"),
            ("/a?b /c", "more than a path"),
            ("/a* /b*c", "not at an end"),
            ("/*/a /b", "not at an end"),
            ("/a /b/*", "stands for nothing"),
            ("/a http://", "proper host"),
            ("/a https:///b", "proper host"),
            ("/a https://user@example.org/", "proper host"),
            ("/a http://example.org:x/", "proper host"),
            ("/* https://example.org*", "slash between"),
            ("/* https://example.org:8*", "slash between"),
            ("/a /a", "leads to itself"),
            ("/a /a?b", "leads to itself"),
            ("/a* /about", "leads to itself"),
            ("/a/* /a/b/*", "leads to itself"),
        ],
    );
}
