//! The page for peers in a browser.

use super::super::page_digest;
use super::*;

/// A site with the page at `prefix`, and with a file of its own below it.
fn site_with_page(prefix: &str) -> Site {
    let folder = usual_folder();
    std::fs::create_dir(folder.path().join("switchboard")).expect("the folder can be written to");
    write_old(folder.path(), "switchboard/index.html", b"of the site", MODIFIED);
    write_old(folder.path(), "switchboard/own.txt", b"of the site", MODIFIED);
    let page = Some(prefix.parse().expect("it is a prefix"));
    Site::start(Limits::default(), vec![(folder, SiteConfig { page, ..SiteConfig::default() })])
}

/// The content of a file of the page.
fn content(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let entries = std::fs::read_dir(folder).expect("the page is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it is readable").file_name().into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_file_of_the_page_is_served_below_the_prefix_and_hides_those_of_the_site() {
    let site = site_with_page("/switchboard/");
    for name in names() {
        let answer = site.get(&format!("/switchboard/{name}"), "");
        assert_eq!((answer.status(), &answer.body), (200, &content(&name)), "{name}");
    }
    for path in ["/switchboard/", "/switchboard/%69ndex.html", "//switchboard/./", "/dir/../switchboard/"] {
        assert_eq!(site.get(path, "").body, content("index.html"), "{path}");
    }
    for path in ["/switchboard/own.txt", "/switchboard/index.html/", "/switchboard/a/b", "/switchboard//x"] {
        assert_eq!(site.get(path, "").status(), 404, "{path}");
    }
    let answer = site.get("/switchboard?a=b", "");
    assert_eq!((answer.status(), answer.field("Location")), (308, Some("/switchboard/?a=b")));
    assert_eq!(site.get("/switchboards/", "").status(), 404);
    assert_eq!(site.get("/small.txt", "").text(), SMALL);
}

#[test]
fn without_a_page_the_prefix_is_the_sites() {
    let folder = usual_folder();
    std::fs::create_dir(folder.path().join("switchboard")).expect("the folder can be written to");
    write_old(folder.path(), "switchboard/index.html", b"of the site", MODIFIED);
    let site = Site::start(Limits::default(), vec![(folder, SiteConfig::default())]);
    assert_eq!(site.get("/switchboard/", "").text(), "of the site");
}

#[test]
fn a_page_at_the_root_of_its_site_is_all_that_there_is() {
    let site = site_with_page("/");
    assert_eq!(site.get("/", "").body, content("index.html"));
    assert_eq!(site.get("/index.html", "").body, content("index.html"));
    assert_eq!(site.get("/small.txt", "").status(), 404);
    assert_eq!(site_with_page("/a/b.c/").get("/a/b.c/", "").body, content("index.html"));
}

#[test]
fn the_page_is_revalidated_by_its_content_and_runs_nothing_else() {
    let site = site_with_page("/switchboard/");
    let answer = site.get("/switchboard/", "");
    let tag = answer.field("ETag").expect("it has one").to_owned();
    assert_eq!(tag, format!("\"{}\"", wire::Digest::of(&answer.body)));
    assert_eq!(answer.field("Cache-Control"), Some("no-cache"));
    assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(answer.field("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(answer.field("Cross-Origin-Opener-Policy"), Some("same-origin"));
    let policy = answer.field("Content-Security-Policy").expect("it has one");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"]
    {
        assert!(policy.split("; ").any(|directive| directive == part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");

    let again = site.get("/switchboard/", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status(), again.field("ETag")), (304, Some(&*tag)));
    assert_eq!(again.field("Content-Security-Policy"), Some(policy));
    assert_eq!(site.get("/switchboard/", "Range: bytes=1-3\r\n").body, answer.body[1..4]);
    let head = site.head("/switchboard/", "");
    assert_eq!(head.field("Content-Length"), Some(&*answer.body.len().to_string()));
    assert_eq!(site.ask("POST /switchboard/ HTTP/1.1\r\nHost: a\r\n\r\n").status(), 405);
}

#[test]
fn who_asks_for_the_owner_of_a_name_gets_json_and_only_the_page_may_ask() {
    let site = site_with_page("/switchboard/");
    let answer = site.get("/switchboard/owner?name=Nobody", "Sec-Fetch-Site: same-origin\r\n");
    assert_eq!((answer.status(), &*answer.body), (200, &b"{\"owner\":null}\n"[..]));
    assert_eq!(answer.field("Content-Type"), Some("application/json"));
    assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    let head = site.head("/switchboard/owner?name=Nobody", "");
    assert_eq!((head.status(), head.field("Content-Length")), (200, Some("15")));
    for query in
        ["", "?", "?name=", "?name=a%20b", "?name=%41", "?name=a&name=b", "?name=\u{e4}", "?Name=a", "?a"]
    {
        assert_eq!(site.get(&format!("/switchboard/owner{query}"), "").status(), 400, "{query:?}");
    }
    let long = "x".repeat(33);
    assert_eq!(site.get(&format!("/switchboard/owner?name={long}"), "").status(), 400);
    for fields in ["Origin: http://b\r\n", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"]
    {
        assert_eq!(site.get("/switchboard/owner?name=Nobody", fields).status(), 403, "{fields}");
    }
    assert_eq!(Site::new().get("/switchboard/owner?name=Nobody", "").status(), 404);
}

/// README says how to compute it: `LC_ALL=C sha256sum * | sha256sum` in the folder.
#[test]
fn the_digest_of_the_page_covers_every_file() {
    let lines = names().into_iter().map(|name| format!("{}  {name}\n", wire::Digest::of(&content(&name))));
    assert_eq!(page_digest(), wire::Digest::of(lines.collect::<String>().as_bytes()));
}
