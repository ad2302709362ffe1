//! What a path names, and the header fields of it.

use std::sync::Arc;
use std::time::Duration;

use wire::http::{SitePath, Status};

use super::bench::{Bench, LIMITS, field, text};
use crate::commands::file_server::{Find, Found};
use crate::site::{FieldRule, MediaTypeRule, SiteConfig};

#[test]
fn directories_have_an_index_and_a_slash() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("index.html", "root");
    bench.disk.write("dir/index.html", "dir");
    bench.disk.write("empty/x/y.txt", "y");
    assert_eq!(text(&bench.asset("/")), "root");
    assert_eq!(text(&bench.asset("/dir/")), "dir");
    assert!(matches!(bench.find("/dir"), Found::Redirect(to) if to == "/dir/"));
    assert!(matches!(bench.find("//dir"), Found::Redirect(to) if to == "/dir/"));
    assert!(matches!(bench.find("/empty/"), Found::Nothing { .. }));
    assert!(matches!(bench.find("/index.html/"), Found::Nothing { .. }));
}

#[test]
fn the_site_may_have_its_own_page_for_what_is_missing() {
    let mut bench = Bench::new(LIMITS);
    let built_in = bench.asset("/missing");
    assert_eq!(built_in.status, Status::NotFound);
    assert!(text(&built_in).contains("nothing at this address"));
    bench.disk.write("404.html", "own page");
    let own = bench.asset("/missing");
    assert!(own.head().starts_with(b"HTTP/1.1 404 Not Found\r\n"));
    assert_eq!(text(&own), "own page");
    assert!(own.plain.validators.is_none() && own.plain.not_modified_head().is_none());
    assert_eq!(bench.asset("/404.html").status, Status::Ok);
}

#[test]
fn the_page_of_an_error_is_there_when_nothing_can_be_read() {
    let mut bench = Bench::new(LIMITS);
    assert!(bench.core.error_page(bench.now, Status::InternalServerError).is_none());
    bench.disk.write("50x.html", "sorry");
    bench.disk.write("a.txt", "a");
    let page = bench.core.error_page(bench.now, Status::ServiceUnavailable).expect("the site has a page");
    assert_eq!((page.status, text(&page)), (Status::ServiceUnavailable, "sorry".into()));
    bench.disk.set_busy(true);
    bench.pass(Duration::from_secs(60));
    let Found::Busy(Some(page)) = bench.find("/a.txt") else {
        panic!("no page");
    };
    assert_eq!(text(&page), "sorry");
    assert!(page.head().starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
    assert_eq!(field(page.head(), "Retry-After"), Some("1"));
    bench.disk.set_busy(false);
    assert_eq!(bench.asset("/50x.html").status, Status::Ok);
}

#[test]
fn what_is_kept_is_given_out_while_nothing_can_be_looked_at() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.txt", "a");
    let lease = bench.asset("/a.txt");
    bench.disk.set_busy(true);
    bench.pass(Duration::from_secs(60));
    assert!(Arc::ptr_eq(&lease, &bench.asset("/a.txt")));
    assert!(!lease.is_revoked());
}

#[test]
fn clean_addresses_lack_the_extension() {
    let site = SiteConfig { clean_urls: true, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    bench.disk.write("a.html", "page");
    bench.disk.write("blog.html", "list");
    bench.disk.write("blog/post.html", "post");
    bench.disk.write("dir.html", "hidden by the directory");
    bench.disk.write("dir/index.html", "dir");
    let lease = bench.asset("/a");
    assert_eq!(text(&lease), "page");
    assert!(Arc::ptr_eq(&lease, &bench.asset("/a.html")));
    assert_eq!(text(&bench.asset("/blog")), "list");
    assert!(matches!(bench.find("/dir"), Found::Redirect(_)));
    assert!(matches!(bench.find("/b"), Found::Nothing { .. }));
    // A file is created at the path of the page.
    bench.disk.write("a", "file");
    bench.core.note_change(Some("a".into()));
    bench.pass(Duration::from_millis(20));
    assert!(lease.is_revoked());
    assert_eq!(text(&bench.asset("/a")), "file");
    assert_eq!(text(&bench.asset("/a.html")), "page");
}

#[test]
fn without_clean_addresses_the_extension_is_needed() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.html", "page");
    assert!(matches!(bench.find("/a"), Found::Nothing { .. }));
}

#[test]
fn an_application_answers_for_what_is_missing_but_not_for_missing_files() {
    let site = SiteConfig { spa: true, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    assert!(matches!(bench.find("/users/7"), Found::Nothing { .. }));
    bench.disk.write("index.html", "app");
    let first = bench.asset("/users/7");
    assert_eq!((first.status, text(&first)), (Status::Ok, "app".into()));
    assert!(Arc::ptr_eq(&first, &bench.asset("/")), "it is the page itself");
    assert!(
        matches!(bench.find("/logo.png"), Found::Nothing { page, .. } if page.status == Status::NotFound)
    );
    // The page of the application changes.
    bench.disk.write("index.html", "new app");
    bench.core.note_change(Some("index.html".into()));
    bench.pass(Duration::from_millis(20));
    assert!(first.is_revoked());
    assert_eq!(text(&bench.asset("/users/10")), "new app");
}

#[test]
fn what_is_missing_depends_on_all_that_would_be_shown() {
    let all = SiteConfig { clean_urls: true, spa: true, ..SiteConfig::default() };
    let listed = SiteConfig { listing: true, ..SiteConfig::default() };
    for (site, path, expected) in [
        (SiteConfig::default(), "/a", &["a", "404.html"][..]),
        (SiteConfig::default(), "/a/", &["a/index.html", "404.html"]),
        (all.clone(), "/a.txt", &["a.txt", "a.txt.html", "404.html"]),
        (all.clone(), "/dir/a", &["dir/a", "dir/a.html"]),
        (all, "/dir/", &["dir/index.html"]),
        (listed, "/a/", &["a", "404.html"]),
    ] {
        let mut bench = Bench::of_site(site.clone(), LIMITS);
        bench.disk.write(if site.spa { "index.html" } else { "x" }, "");
        let Found::Nothing { absence, .. } = bench.find(path) else { panic!("{path} is there") };
        assert_eq!(absence.paths(), expected, "{path}");
        bench.disk.write("404.html", "not here");
        let Found::Nothing { absence, .. } = bench.find(path) else { panic!("{path} is there") };
        let others: Vec<_> = expected.iter().filter(|path| **path != "404.html").copied().collect();
        assert_eq!(absence.paths(), others, "{path}: the page itself is revoked when it changes");
    }
}

#[test]
fn directories_are_listed_only_where_they_may_be() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("dir/a.txt", "a");
    assert!(matches!(bench.find("/dir/"), Found::Nothing { .. }));
    let fields = vec![rule(None, "content-security-policy", "default-src 'self'")];
    let site = SiteConfig { listing: true, fields, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    bench.disk.write("dir/a.txt", "a");
    bench.disk.write("index.html", "index");
    let Found::Listing { html, json } = bench.find("/dir/") else {
        panic!("no list");
    };
    assert!(text(&html).contains("a.txt") && text(&json).contains("a.txt"));
    assert_eq!(field(html.head(), "Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(field(json.head(), "Content-Type"), Some("application/json"));
    assert_eq!(field(html.head(), "Vary"), Some("Accept"));
    assert_eq!(field(json.head(), "Cache-Control"), Some("no-cache"));
    let security = field(html.head(), "Content-Security-Policy").expect("the page says what may run in it");
    assert!(security.starts_with("default-src 'none'"));
    assert_eq!(
        String::from_utf8_lossy(html.head()).to_lowercase().matches("content-security-policy:").count(),
        1
    );
    assert!(html.is_revoked() && json.is_revoked(), "good for one answer only");
    assert_eq!(text(&bench.asset("/")), "index");
    assert!(matches!(bench.find("/missing/"), Found::Nothing { .. }));
    bench.disk.write("dir/b.txt", "b");
    bench.core.note_change(Some("dir/b.txt".into()));
    bench.pass(Duration::from_millis(20));
    assert!(matches!(bench.find("/dir/"), Found::Listing { html, .. } if text(&html).contains("b.txt")));
}

#[test]
fn who_asked_long_ago_is_not_answered() {
    let mut bench = Bench::of_site(SiteConfig::default(), LIMITS);
    bench.disk.write("a.txt", "a");
    let (reply, pending) = crate::runtime::reply();
    let path = SitePath::decode("/a.txt", false).expect("it is a path");
    let reply = reply.until(bench.now.instant + Duration::from_secs(10));
    bench.pass(Duration::from_secs(11));
    bench.core.answer(bench.now, Find { path: Some(path), reply });
    assert!(pending.wait(Duration::ZERO).is_err(), "the request has expired");
    assert_eq!(text(&bench.asset("/a.txt")), "a");
}

#[test]
fn a_list_is_made_once_for_many_who_ask_together() {
    let site = SiteConfig { listing: true, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    bench.disk.write("dir/a.txt", "a");
    let html = |found| match found {
        Found::Listing { html, .. } => html,
        other => panic!("no list but {other:?}"),
    };
    let first = html(bench.find("/dir/"));
    assert!(Arc::ptr_eq(&first, &html(bench.find("/dir/"))));
    bench.pass(Duration::from_secs(1));
    assert!(!Arc::ptr_eq(&first, &html(bench.find("/dir/"))));
}

fn rule(paths: Option<&str>, name: &str, value: &str) -> FieldRule {
    let glob = |paths| globset::Glob::new(paths).expect("the test's pattern is good").compile_matcher();
    FieldRule { paths: paths.map(glob), name: name.into(), value: value.into() }
}

#[test]
fn the_site_says_more_about_its_files() {
    let fields = vec![
        rule(None, "Content-Security-Policy", "default-src 'self'"),
        rule(None, "Cache-Control", "max-age=60"),
        rule(Some("assets/**"), "cache-control", "max-age=31536000, immutable"),
    ];
    let mut bench = Bench::of_site(SiteConfig { fields, ..SiteConfig::default() }, LIMITS);
    bench.disk.write("a.txt", "a");
    bench.disk.write("assets/app.js", "js");
    bench.disk.write("404.html", "missing");
    let (plain, script, missing) = (bench.asset("/a.txt"), bench.asset("/assets/app.js"), bench.asset("/x"));
    let fields = |head: &[u8], name: &str| {
        let head = String::from_utf8_lossy(head).to_lowercase();
        head.lines().filter(|line| line.starts_with(&format!("{name}:"))).count()
    };
    for asset in [&plain, &script, &missing] {
        assert_eq!(field(asset.head(), "Content-Security-Policy"), Some("default-src 'self'"));
        for once in ["cache-control", "content-type", "content-length", "x-content-type-options"] {
            assert_eq!(fields(asset.head(), once), 1, "{once}");
        }
    }
    assert_eq!(field(plain.head(), "Content-Length"), Some("1"));
    assert_eq!(field(plain.head(), "Cache-Control"), Some("max-age=60"));
    assert_eq!(field(plain.head(), "Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(field(script.head(), "cache-control"), Some("max-age=31536000, immutable"));
    assert_eq!(field(missing.head(), "Cache-Control"), Some("no-cache"), "an error is no page to be kept");
}

#[test]
fn the_site_may_say_what_type_its_files_have() {
    let rule = |paths: &str, media_type: &str| MediaTypeRule {
        paths: globset::Glob::new(paths).expect("the test's pattern is good").compile_matcher(),
        media_type: media_type.parse().expect("the test's media type is good"),
    };
    let media_types = vec![
        rule("*.x", "text/plain"),
        rule("raw/**", "application/octet-stream"),
        rule("*.html", "application/xhtml+xml"),
    ];
    let mut bench =
        Bench::of_site(SiteConfig { media_types, compression: true, ..SiteConfig::default() }, LIMITS);
    let long = "long enough to be worth compressing ".repeat(100);
    for file in ["a.x", "raw/a.x", "raw/a.html", "a.css", "404.html"] {
        bench.disk.write(file, &long);
    }
    for (path, media_type) in [
        ("/a.x", "text/plain; charset=utf-8"),
        ("/raw/a.x", "application/octet-stream"),
        ("/raw/a.html", "application/xhtml+xml"),
        ("/a.css", "text/css; charset=utf-8"),
        ("/missing", "application/xhtml+xml"),
    ] {
        assert_eq!(field(bench.asset(path).head(), "Content-Type"), Some(media_type), "{path}");
    }
    bench.compress();
    assert!(bench.asset("/a.x").codings().next().is_some(), "what is said decides about compression as well");
}

#[test]
fn each_kind_of_answer_has_its_part_of_the_fields() {
    let fields = vec![rule(None, "Expires", "0"), rule(None, "X-Site", "s")];
    let mut bench = Bench::of_site(SiteConfig { fields, compression: true, ..SiteConfig::default() }, LIMITS);
    bench.disk.write("a.html", "a");
    let asset = bench.asset("/a.html");
    let page = &asset.plain;
    let names = |head: &[u8]| -> Vec<String> {
        let head = std::str::from_utf8(head).expect("heads are text");
        assert!(head.ends_with("\r\n"));
        head.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    };
    let refusal = ["Accept-Ranges", "X-Content-Type-Options", "X-Site", "Vary"];
    let partial = [&["ETag", "Last-Modified", "Cache-Control", "Expires"][..], &refusal].concat();
    assert_eq!(names(page.head()), [&["Content-Type", "Content-Length"][..], &partial].concat());
    assert_eq!(names(page.partial_fields()), partial);
    assert_eq!(names(page.refusal_fields()), refusal);
    let not_modified = page.not_modified_head().expect("a file has validators");
    assert!(not_modified.starts_with(b"HTTP/1.1 304 Not Modified\r\n"));
    let expected = ["ETag", "Cache-Control", "Expires", "X-Content-Type-Options", "X-Site", "Vary"];
    assert_eq!(names(not_modified), expected);
}
