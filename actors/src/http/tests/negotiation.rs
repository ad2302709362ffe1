//! Content codings (RFC 9110, sections 8.4 and 12.5.3).

use std::collections::BTreeSet;

use super::*;

fn accept(codings: &str) -> String {
    format!("Accept-Encoding: {codings}\r\n")
}

fn page() -> Vec<u8> {
    b"<p>once again ".repeat(200)
}

/// A site with a page and these files beside it, each with its extension as its content.
fn site_with(beside: &[&str], config: SiteConfig) -> Site {
    let folder = usual_folder();
    write_old(folder.path(), "page.html", &page(), MODIFIED);
    for extension in beside {
        write_old(folder.path(), &format!("page.html.{extension}"), extension.as_bytes(), MODIFIED + 1);
    }
    Site::start(Limits::default(), vec![(folder, config)])
}

fn content_of(coding: Option<&str>) -> Vec<u8> {
    match coding {
        None => page(),
        Some("gzip") => b"gz".to_vec(),
        Some("zstd") => b"zst".to_vec(),
        Some(coding) => coding.as_bytes().to_vec(),
    }
}

#[test]
fn the_clients_weights_decide() {
    let site = site_with(&["gz", "br", "zst"], SiteConfig::default());
    for (fields, coding) in [
        (String::new(), None),
        (accept("gzip"), Some("gzip")),
        (accept("gzip, deflate, br, zstd"), Some("br")),
        (accept("gzip;q=1, br;q=0.5"), Some("gzip")),
        (accept("gzip") + &accept("br"), Some("br")),
        (accept("br;q=0, *"), Some("zstd")),
        (accept("identity, gzip;q=0.5"), None),
        // Nothing is acceptable. A 200 is allowed then, and better than a 406 (RFC 9110, section 12.1).
        (accept("*;q=0, identity;q=0"), None),
    ] {
        let answer = site.get("/page.html", &fields);
        assert_eq!((answer.status(), answer.field("Content-Encoding")), (200, coding), "{fields}");
        assert!(answer.body == content_of(coding), "{fields}");
        assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"), "{fields}");
        let of_head = site.head("/page.html", &fields);
        for name in ["Content-Encoding", "Content-Length", "ETag", "Vary"] {
            assert_eq!(of_head.field(name), answer.field(name), "{fields} {name}");
        }
    }
}

#[test]
fn each_coding_has_a_tag_and_a_304_of_its_own() {
    let site = site_with(&["gz", "br", "zst"], SiteConfig::default());
    let codings = ["identity", "gzip", "br", "zstd"];
    let tag_of = |coding| site.get("/page.html", &accept(coding)).field("ETag").map(String::from);
    let tags: Vec<String> = codings.into_iter().filter_map(tag_of).collect();
    assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), codings.len(), "{tags:?}");
    for (coding, own) in codings.into_iter().zip(&tags) {
        for tag in &tags {
            let condition = format!("{}If-None-Match: {tag}\r\n", accept(coding));
            let answer = site.get("/page.html", &condition);
            assert_eq!(answer.status(), if tag == own { 304 } else { 200 }, "{coding} {tag}");
            assert_eq!(answer.field("ETag"), Some(&**own));
            assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
            let condition = format!("{}If-Match: {tag}\r\n", accept(coding));
            let answer = site.get("/page.html", &condition);
            assert_eq!(answer.status(), if tag == own { 200 } else { 412 }, "{coding} {tag}");
            assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
        }
        let outside = site.get("/page.html", &format!("{}Range: bytes=9999-\r\n", accept(coding)));
        assert_eq!((outside.status(), outside.field("Vary")), (416, Some("Accept-Encoding")));
    }
}

#[test]
fn what_is_available_is_taken() {
    let everything = accept("br, zstd, gzip");
    for (beside, coding) in
        [(vec!["gz"], "gzip"), (vec!["zst"], "zstd"), (vec!["gz", "zst"], "zstd"), (vec!["br", "gz"], "br")]
    {
        let site = site_with(&beside, SiteConfig::default());
        let answer = site.get("/page.html", &everything);
        assert_eq!(answer.field("Content-Encoding"), Some(coding), "{beside:?}");
        assert!(answer.body == content_of(Some(coding)), "{beside:?}");
    }
}

#[test]
fn an_outdated_or_useless_neighbour_is_not_sent() {
    let site = site_with(&[], SiteConfig::default());
    write_old(site.root(), "page.html.br", b"br", MODIFIED - 1);
    write_old(site.root(), "page.html.gz", &b"z".repeat(page().len() + 1), MODIFIED + 1);
    std::fs::create_dir(site.root().join("page.html.zst")).expect("the folder can be written to");
    let answer = site.get("/page.html", &accept("*"));
    assert_eq!((answer.field("Content-Encoding"), answer.body == page()), (None, true));
    // A compressed file with the same age is used.
    write_old(site.root(), "page.html.br", b"br", MODIFIED);
    wait_until("the neighbour is not seen", || {
        site.get("/page.html", &accept("*")).field("Content-Encoding") == Some("br")
    });
    // When the file changes the compressed one is outdated.
    write_old(site.root(), "page.html", b"changed", MODIFIED + 5);
    wait_until("the change is not seen", || site.get("/page.html", &accept("*")).body == b"changed");
    assert_eq!(site.get("/page.html", &accept("*")).field("Content-Encoding"), None);
}

#[test]
fn a_compressed_file_that_is_asked_for_is_no_coding() {
    let site = site_with(&["gz"], SiteConfig { compression: true, ..SiteConfig::default() });
    let answer = site.get("/page.html.gz", &accept("gzip"));
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"gz".as_slice()));
    assert_eq!(answer.field("Content-Type"), Some("application/gzip"));
    assert_eq!((answer.field("Content-Encoding"), answer.field("Vary")), (None, None));
}

#[test]
fn pages_are_compressed_in_the_background_and_pictures_never() {
    let folder = usual_folder();
    for name in ["page.html", "style.css", "data.json", "picture.svg", "picture.png", "film.mp4"] {
        write_old(folder.path(), name, &page(), MODIFIED);
    }
    let site = Site::start(
        Limits::default(),
        vec![(folder, SiteConfig { compression: true, ..SiteConfig::default() })],
    );
    for path in ["/page.html", "/style.css", "/data.json", "/picture.svg"] {
        let first = site.get(path, &accept("gzip, br"));
        assert_eq!(first.field("Vary"), Some("Accept-Encoding"), "another answer may come soon");
        wait_until("it is not compressed", || {
            site.get(path, &accept("br")).field("Content-Encoding") == Some("br")
        });
        for (coding, other) in [("br", "gzip"), ("gzip", "br")] {
            let answer = site.get(path, &accept(&format!("{coding}, {other};q=0.5")));
            assert_eq!(answer.field("Content-Encoding"), Some(coding), "{path}");
            assert!(unpacked(&answer) == page(), "{path} in {coding}");
            assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
            assert_ne!(answer.field("ETag"), first.field("ETag"));
        }
        assert!(site.get(path, "").body == page(), "{path}");
        assert!(site.get(path, &accept("zstd")).body == page(), "{path}");
    }
    for path in ["/picture.png", "/film.mp4", "/medium.bin"] {
        for _ in 0..3 {
            let answer = site.get(path, &accept("gzip, br"));
            assert_eq!((answer.field("Content-Encoding"), answer.field("Vary")), (None, None), "{path}");
        }
    }
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut content = Vec::new();
    let read = match answer.field("Content-Encoding") {
        Some("br") => brotli::Decompressor::new(&*answer.body, 4096).read_to_end(&mut content),
        _ => flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut content),
    };
    read.expect("it can be unpacked");
    content
}

#[test]
fn without_compression_nothing_is_negotiated_but_what_lies_there() {
    let site = site_with(&[], SiteConfig::default());
    for _ in 0..3 {
        let answer = site.get("/page.html", &accept("gzip, br"));
        assert_eq!((answer.field("Content-Encoding"), answer.field("Vary")), (None, None));
        assert!(answer.body == page());
    }
    assert_eq!(site.files.counts.compressed.get(), 0);
}
