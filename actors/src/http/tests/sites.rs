//! The choice of the site, and responses without a file: redirections, lists, error pages.

use wire::http::Status;

use super::*;
use crate::commands::file_server::{Find, Found, detached};
use crate::site::RedirectRule;

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = usual_folder();
    for (name, content) in files {
        let directory = folder.path().join(name);
        std::fs::create_dir_all(directory.parent().expect("it is below"))
            .expect("the folder can be written to");
        write_old(folder.path(), name, content.as_bytes(), MODIFIED);
    }
    folder
}

fn site_with(files: &[(&str, &str)], config: SiteConfig) -> Site {
    Site::start(Limits::default(), vec![(folder_with(files), config)])
}

#[test]
fn the_host_decides_which_site_answers() {
    let named = |content: &str, hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        (folder_with(&[("who.txt", content)]), SiteConfig { hosts, ..SiteConfig::default() })
    };
    let sites = vec![
        named("first", &["one.test"]),
        named("second", &["two.test", "www.two.test"]),
        named("third", &["[::1]", "127.0.0.1"]),
    ];
    let site = Site::start(Limits::default(), sites);
    let mut all = String::new();
    let cases = [
        ("one.test", "first"),
        ("two.test", "second"),
        ("www.two.test", "second"),
        ("TWO.Test", "second"),
        ("two.test:8080", "second"),
        ("two.test.", "second"),
        ("Two.Test.:80", "second"),
        ("127.0.0.1:6789", "third"),
        ("[::1]:6789", "third"),
        // The first site answers for all other hosts.
        ("unknown.test", "first"),
        ("x.two.test", "first"),
        ("two.test..", "first"),
        ("two.testing", "first"),
    ];
    for (host, content) in cases {
        let request = format!("GET /who.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(site.ask(&request).text(), content, "{host}");
        all.push_str(&request);
    }
    assert_eq!(site.ask("GET /who.txt HTTP/1.0\r\n\r\n").text(), "first");
    // Also on one connection, although all have the same path and are cached.
    let answers = site.exchange(all);
    let mut rest = answers.as_slice();
    for (host, content) in cases {
        let (answer, after) = Answer::split_off(rest, false);
        assert_eq!(answer.text(), content, "{host}");
        rest = after;
    }
}

#[test]
fn what_may_not_be_shown_is_in_the_way_of_a_clean_address_too() {
    let site = site_with(&[("d.html", "page")], SiteConfig { clean_urls: true, ..SiteConfig::default() });
    assert_eq!(site.get("/d", "").text(), "page");
    std::os::unix::fs::symlink("/", site.root().join("d")).expect("links can be made");
    wait_until("what was given before is still given", || site.get("/d", "").status() == 403);
}

#[test]
fn what_has_moved_is_said() {
    let rule = |from: &str, to: &str, status| RedirectRule { from: from.into(), to: to.into(), status };
    let redirects = vec![
        rule("/old", "/new", Status::MovedPermanently),
        rule("/found", "https://other.test/", Status::Found),
        rule("/blog/*", "/posts/*", Status::PermanentRedirect),
        rule("/go/*", "/*", Status::TemporaryRedirect),
        rule("/find", "/search?in=all", Status::Found),
        // It takes precedence over a file with that name.
        rule("/small.txt", "/dir/", Status::Found),
    ];
    let site = Site::with_config(SiteConfig { redirects, ..SiteConfig::default() });
    for (path, status, location) in [
        ("/old", 301, Some("/new")),
        ("/old?a=b", 301, Some("/new?a=b")),
        ("/find?a=b", 302, Some("/search?in=all")),
        ("/OLD", 404, None),
        ("/found", 302, Some("https://other.test/")),
        ("/blog/a/b%20c", 308, Some("/posts/a/b%20c")),
        ("/go///evil.example?//x", 307, Some("/evil.example?//x")),
        ("/small.txt", 302, Some("/dir/")),
    ] {
        for method in ["GET", "HEAD"] {
            let (answer, went_on) = site
                .ask_and_go_on(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n"));
            assert_eq!((answer.status(), went_on), (status, true), "{method} {path}");
            assert_eq!(answer.field("Location"), location, "{method} {path}");
        }
    }
}

#[test]
fn a_directory_is_listed_as_the_client_likes() {
    let files = [
        ("list/<b>&.txt", "x"),
        ("list/sub/y.txt", "y"),
        ("list/.hidden", "z"),
        ("with/index.html", "index"),
    ];
    let site = site_with(&files, SiteConfig { listing: true, ..SiteConfig::default() });
    for (accept, is_json) in [("", false), ("Accept: text/html;q=0.5, application/json\r\n", true)] {
        let answer = site.get("/list/", accept);
        assert_eq!(answer.status(), 200, "{accept}");
        let media_type = if is_json { "application/json" } else { "text/html; charset=utf-8" };
        assert_eq!(answer.field("Content-Type"), Some(media_type), "{accept}");
        assert_eq!(answer.field("Vary"), Some("Accept"), "{accept}");
        assert!(!answer.text().contains(".hidden"), "{accept}");
        assert_eq!(answer.field("Content-Security-Policy").is_some(), !is_json, "{accept}");
        if is_json {
            let list: serde_json::Value = serde_json::from_slice(&answer.body).expect("it is JSON");
            let names: Vec<_> =
                list["entries"].as_array().expect("it is a list").iter().map(|e| &e["name"]).collect();
            assert_eq!(names, ["sub", "<b>&.txt"], "{accept}");
        } else {
            assert!(
                answer.text().contains("&#60;b&#62;&#38;.txt") && !answer.text().contains("<b>"),
                "{accept}"
            );
        }
        assert_eq!(site.head("/list/", accept).field("Content-Length"), answer.field("Content-Length"));
        // Lists have no validators, so conditions and ranges are ignored.
        let asked = site.get("/list/", &format!("{accept}If-None-Match: *\r\nRange: bytes=0-1\r\n"));
        assert_eq!((asked.status(), asked.field("ETag"), asked.field("Accept-Ranges")), (200, None, None));
    }
    assert_eq!(site.get("/list", "").field("Location"), Some("/list/"));
    assert_eq!(site.get("/with/", "").text(), "index");
    assert_eq!(site.get("/missing/", "").status(), 404);
    let closed = site_with(&files, SiteConfig::default());
    assert_eq!(closed.get("/list/", "Accept: application/json\r\n").status(), 404);
}

#[test]
fn a_name_that_is_not_text_is_listed_and_its_link_leads_to_the_file() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    for name in [b"caf\xe9.txt", b"caf\xe8.txt"] {
        let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, name).expect("the folder can be written to");
    }
    let config = SiteConfig { listing: true, ..SiteConfig::default() };
    let site = Site::start(Limits::default(), vec![(folder, config)]);
    let html = site.get("/", "");
    let list = site.get("/", "Accept: application/json\r\n");
    let list: serde_json::Value = serde_json::from_slice(&list.body).expect("it is JSON");
    for (entry, name) in [(0, b"caf\xe8.txt"), (1, b"caf\xe9.txt")] {
        let link = format!("./caf%{:X}.txt", name[3]);
        let entry = &list["entries"][entry];
        assert_eq!((&entry["name"], &entry["link"]), (&"caf\u{fffd}.txt".into(), &(*link).into()));
        assert!(html.text().contains(&format!("<a href=\"{link}\"><bdi>caf\u{fffd}.txt</bdi>")), "{link}");
        assert_eq!(site.get(&link[1..], "").body, name, "{link}");
    }
}

#[test]
fn a_site_has_its_own_page_for_what_is_missing() {
    let site = site_with(&[("404.html", "<p>not here")], SiteConfig::default());
    for path in ["/missing", "/missing/", "/.hidden", "/dir/missing", "/small.txt/x"] {
        let (answer, went_on) = site.ask_and_go_on(get(path));
        assert_eq!((answer.status(), answer.text().as_str(), went_on), (404, "<p>not here", true), "{path}");
        assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"));
        assert_eq!(answer.field("Last-Modified"), None);
        assert_eq!(site.head(path, "").field("Content-Length"), Some("11"));
    }
    assert_eq!(site.get("/404.html", "").status(), 200, "under its own name it is a page like others");
    let without = site_with(&[], SiteConfig::default()).get("/missing", "");
    assert_eq!(without.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(!without.text().contains("missing"), "what was asked for is not repeated");
}

#[test]
fn what_was_missing_is_there_at_once_when_it_is() {
    let pages: [(&str, &str); 2] = [("index.html", "app"), ("404.html", "nothing")];
    for (spa, instead) in [(false, "nothing"), (true, "app")] {
        let site = site_with(&pages, SiteConfig { spa, clean_urls: true, ..SiteConfig::default() });
        let mut client = site.connect();
        let mut ask = |path: &str| {
            client.write_all(get(path).as_bytes()).expect("the server reads");
            read_one(&mut client).1
        };
        for number in 0..50 {
            let (path, file) = (format!("/new/{number}"), site.root().join(format!("new/{number}.html")));
            for _ in 0..3 {
                assert_eq!(ask(&path), instead.as_bytes());
            }
            std::fs::create_dir_all(site.root().join("new")).expect("the folder can be written to");
            std::fs::write(&file, "new").expect("the folder can be written to");
            assert_eq!(ask(&path), b"new");
        }
    }
}

#[test]
fn a_site_has_its_own_page_for_when_it_fails() {
    let page_for = |status| file_server::page_of(status, "<p>later");
    let (failed, busy) = (page_for(Status::InternalServerError), page_for(Status::ServiceUnavailable));
    // A FileServer whose disk fails.
    let (files, mailbox) = detached(8);
    let failing = std::thread::spawn(move || {
        while let Some(command) = mailbox.next() {
            let Find { path, reply, .. } = command;
            reply.answer(match path.expect("it has a name").as_bytes() {
                b"failed" => Found::Failed(Some(Arc::clone(&failed))),
                b"busy" => Found::Busy(Some(Arc::clone(&busy))),
                b"failed-bare" => Found::Failed(None),
                _ => Found::Busy(None),
            });
        }
    });
    let sites = vec![super::super::Site::new(Arc::default(), files, None)];
    let site = Site::with_sites(Limits::default(), sites, Vec::new(), Vec::new());
    for (path, status, own) in [
        ("/failed", 500, true),
        ("/busy", 503, true),
        ("/failed-bare", 500, false),
        ("/busy-bare", 503, false),
    ] {
        // Twice on one connection, because the page must not be cached: the error may be over.
        let answers = site.exchange(get(path).repeat(2));
        let (first, rest) = Answer::split_off(&answers, false);
        let (second, rest) = Answer::split_off(rest, false);
        assert!(rest.is_empty(), "{path}");
        for answer in [first, second] {
            assert_eq!(
                (answer.status(), answer.text() == "<p>later"),
                (status, own),
                "{path}: {}",
                answer.head
            );
            assert_eq!(answer.field("ETag"), None, "{path}");
            if status == 503 && !own {
                assert!(answer.field("Retry-After").is_some(), "{path}: {}", answer.head);
            }
        }
    }
    drop(site);
    failing.join().expect("no panic");
}
