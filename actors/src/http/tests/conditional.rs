//! Conditional requests (RFC 9110, section 13).

use super::*;
use crate::site::{Cors, FieldRule};

const EARLIER: &str = "Tue, 31 Dec 2019 23:59:59 GMT";
const LATER: &str = "Wed, 01 Jan 2020 00:00:01 GMT";

/// Conditions of requests and the result. TAG stands for the entity tag of the file; SAME, EARLIER and LATER are dates.
const CASES: &[(&str, u16)] = &[
    ("If-Match: TAG", 200),
    ("If-Match: W/TAG", 412),
    ("If-Unmodified-Since: EARLIER", 412),
    ("If-Unmodified-Since: SAME", 200),
    ("If-None-Match: W/TAG", 304),
    ("If-None-Match: \"x\"", 200),
    ("If-Modified-Since: SAME", 304),
    ("If-Modified-Since: EARLIER", 200),
    ("If-Match: \"x\"\nIf-None-Match: TAG", 412),
    ("If-Match: TAG\nIf-None-Match: TAG", 304),
];

/// The field lines of a case.
fn lines(case: &str, tag: &str) -> String {
    let lines = case.replace("TAG", tag).replace("EARLIER", EARLIER).replace("LATER", LATER);
    lines.replace("SAME", MODIFIED_DATE).split('\n').map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn the_conditions_have_an_order() {
    let site = Site::new();
    for path in ["/small.txt", "/large.bin"] {
        let whole = site.get(path, "");
        let tag = whole.field("ETag").expect("a file has a tag").to_owned();
        assert!(tag.starts_with('"'), "it is a strong one");
        assert_eq!(whole.field("Last-Modified"), Some(MODIFIED_DATE));
        for (case, status) in CASES {
            for method in ["GET", "HEAD"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(case, &tag));
                let (answer, went_on) = site.ask_and_go_on(request);
                assert_eq!((answer.status(), went_on), (*status, true), "{method} {path} {case}");
                if *status == 304 {
                    assert_eq!(answer.field("ETag"), Some(&*tag));
                }
            }
        }
    }
}

#[test]
fn a_304_carries_what_caches_need() {
    let site = Site::with_config(SiteConfig {
        compression: true,
        cors: Some(Cors::Any),
        fields: [("Cache-Control", "max-age=60"), ("Expires", LATER), ("X-Own", "yes")]
            .map(|(name, value)| FieldRule { paths: None, name: name.into(), value: value.into() })
            .into(),
        ..SiteConfig::default()
    });
    let whole = site.get("/small.txt", "");
    let same = site.get("/small.txt", "If-None-Match: *\r\n");
    assert_eq!(same.status(), 304);
    for name in [
        "Cache-Control",
        "Expires",
        "ETag",
        "Vary",
        "X-Own",
        "X-Content-Type-Options",
        "Access-Control-Allow-Origin",
    ] {
        assert!(whole.field(name).is_some(), "{name} in {}", whole.head);
        assert_eq!(same.field(name), whole.field(name), "{name}");
    }
    assert!(same.field("Date").is_some());
    // They would describe the content of the response, which has none (RFC 9110, section 15.4.5).
    for name in ["Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding"] {
        assert_eq!(same.field(name), None, "{name}");
    }
}

#[test]
fn conditions_count_only_where_the_answer_would_be_200() {
    let site = Site::new();
    for (request, status) in [
        ("GET /missing", 404),
        ("GET /dir", 308),
        ("GET /%zz", 400),
        ("POST /small.txt", 405),
        ("OPTIONS /small.txt", 204),
        ("BREW /small.txt", 501),
    ] {
        for condition in
            ["If-None-Match: *", "If-Match: \"x\"", "If-Match: *", &lines("If-Modified-Since: LATER", "")]
        {
            let condition = condition.trim_end();
            let answer = site.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n{condition}\r\n\r\n"));
            assert_eq!(answer.status(), status, "{request} {condition}");
        }
    }
}

#[test]
fn a_page_that_stands_for_what_is_missing_is_never_not_modified() {
    let folder = usual_folder();
    write_old(folder.path(), "404.html", b"nothing", MODIFIED);
    let site = Site::start(Limits::default(), vec![(folder, SiteConfig::default())]);
    let page = site.get("/404.html", "");
    let tag = page.field("ETag").expect("a file has a tag");
    for condition in
        [format!("If-None-Match: {tag}"), format!("If-Modified-Since: {LATER}"), "If-Match: \"x\"".into()]
    {
        let answer = site.get("/missing", &format!("{condition}\r\n"));
        assert_eq!((answer.status(), answer.text().as_str()), (404, "nothing"), "{condition}");
        assert_eq!((answer.field("ETag"), answer.field("Last-Modified")), (None, None));
    }
}

#[test]
fn a_changed_file_has_another_tag() {
    let site = Site::new();
    let before = site.get("/small.txt", "");
    let tag = before.field("ETag").expect("a file has a tag").to_owned();
    // With the same length and date only the entity tag differs.
    write_old(site.root(), "small.txt", b"hELLO, wORLD\n", MODIFIED);
    wait_until("the change is not seen", || {
        let answer = site.get("/small.txt", &format!("If-None-Match: {tag}\r\n"));
        answer.status() == 200 && answer.body == b"hELLO, wORLD\n" && answer.field("ETag") != Some(&*tag)
    });
    assert_eq!(site.get("/small.txt", &format!("If-Match: {tag}\r\n")).status(), 412);
}
