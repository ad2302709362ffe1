//! Range requests (RFC 9110, section 14).

use super::*;

const FILES: [(&str, usize); 2] = [("/medium.bin", 100_000), ("/large.bin", 3_000_000)];

fn range(ranges: &str) -> String {
    format!("Range: {ranges}\r\n")
}

/// The parts of a response with their offsets, and the length of the whole file, which must be the same in all.
fn parts_of(answer: &Answer) -> Vec<(usize, Vec<u8>)> {
    let media_type = answer.field("Content-Type").expect("it is there");
    let Some(boundary) = media_type.strip_prefix("multipart/byteranges; boundary=") else {
        let (first, last) = content_range(answer.field("Content-Range").expect("it is there"));
        assert_eq!(answer.body.len(), last - first + 1);
        return vec![(first, answer.body.clone())];
    };
    // Each part has its own field (RFC 9110, section 15.3.7.2).
    assert_eq!(answer.field("Content-Range"), None);
    let mut rest = answer.body.as_slice();
    let mut parts = Vec::new();
    loop {
        let delimiter = format!("{}--{boundary}", if parts.is_empty() { "" } else { "\r\n" });
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a part begins or ends here");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a part has a head");
        let head = String::from_utf8(rest[..end].to_vec()).expect("a head is ASCII");
        assert_eq!(field(&head, "Content-Type"), Some("application/octet-stream"));
        let (first, last) = content_range(field(&head, "Content-Range").expect("it is there"));
        let body = &rest[end + 4..][..last - first + 1];
        parts.push((first, body.to_vec()));
        rest = &rest[end + 4 + body.len()..];
    }
}

fn content_range(value: &str) -> (usize, usize) {
    let (bytes, _length) =
        value.strip_prefix("bytes ").and_then(|v| v.split_once('/')).expect("it is a range");
    let (first, last) = bytes.split_once('-').expect("it is a range");
    (first.parse().expect("it is a number"), last.parse().expect("it is a number"))
}

#[test]
fn parts_are_those_of_the_file() {
    let site = Site::new();
    for (path, length) in FILES {
        let whole = pattern(length);
        let end = length - 1;
        for (ranges, expected) in [
            ("bytes=0-0".to_owned(), vec![(0, 0)]),
            ("bytes=0-".into(), vec![(0, end)]),
            ("bytes=-500".into(), vec![(length - 500, end)]),
            (format!("bytes={end}-99999999999999999999999"), vec![(end, end)]),
            (format!("bytes=50-{}", end - 50), vec![(50, end - 50)]),
            // Several ranges, in the requested order.
            ("bytes=5000-5009,0-9,-10".into(), vec![(5000, 5009), (0, 9), (end - 9, end)]),
            ("bytes=0-40000,50000-90000".into(), vec![(0, 40_000), (50_000, 90_000)]),
            // Ranges that overlap or are close are joined.
            ("bytes=0-99,150-199".into(), vec![(0, 199)]),
        ] {
            let (answer, went_on) =
                site.ask_and_go_on(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{}\r\n", range(&ranges)));
            assert_eq!((answer.status(), went_on), (206, true), "{path} {ranges}");
            let parts = parts_of(&answer);
            let places: Vec<_> = parts.iter().map(|(first, body)| (*first, first + body.len() - 1)).collect();
            assert_eq!(places, expected, "{path} {ranges}");
            for (first, body) in parts {
                assert!(body == whole[first..first + body.len()], "{path} {ranges} at {first}");
            }
            if let [(first, last)] = expected[..] {
                let said = format!("bytes {first}-{last}/{length}");
                assert_eq!(answer.field("Content-Range"), Some(&*said));
            }
            // The fields of a 200 (RFC 9110, section 15.3.7).
            for name in ["ETag", "Last-Modified", "Cache-Control", "Date"] {
                assert!(answer.field(name).is_some(), "{name} in {}", answer.head);
            }
        }
    }
}

#[test]
fn what_is_no_range_is_passed_over() {
    let site = Site::new();
    for (path, length) in FILES {
        for ranges in ["", "bytes=5-4", "lines=0-4", "bytes=0-4\r\nRange: bytes=0-4"] {
            let answer = site.get(path, &range(ranges));
            assert_eq!((answer.status(), answer.body.len()), (200, length), "{path} {ranges}");
            assert_eq!(answer.field("Accept-Ranges"), Some("bytes"));
        }
    }
}

#[test]
fn ranges_that_are_not_there() {
    let site = Site::new();
    for (path, length) in FILES.into_iter().chain([("/empty.txt", 0)]) {
        for ranges in [format!("bytes={length}-"), "bytes=-0".into()] {
            let (answer, went_on) =
                site.ask_and_go_on(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{}\r\n", range(&ranges)));
            assert_eq!((answer.status(), went_on), (416, true), "{path} {ranges}");
            assert_eq!(answer.field("Content-Range"), Some(&*format!("bytes */{length}")), "{path} {ranges}");
        }
    }
    // The last bytes of an empty file are the whole file.
    assert_eq!(site.get("/empty.txt", &range("bytes=-5")).status(), 200);
}

#[test]
fn if_range_asks_for_parts_of_one_state_only() {
    let site = Site::new();
    for (path, length) in FILES {
        let whole = site.get(path, "");
        let tag = whole.field("ETag").expect("a file has a tag").to_owned();
        for (state, is_same) in [
            (tag.as_str(), true),
            (MODIFIED_DATE, true),
            (&format!("W/{tag}"), false),
            // The date must be equal (RFC 9110, section 13.1.5).
            ("Wed, 01 Jan 2020 00:00:01 GMT", false),
        ] {
            let fields = format!("If-Range: {state}\r\n");
            let answer = site.get(path, &format!("{}{fields}", range("bytes=0-9")));
            let expected = if is_same { (206, 10) } else { (200, length) };
            assert_eq!((answer.status(), answer.body.len()), expected, "{path} {state}");
            // It has no effect without a Range, and comes before a range that cannot be satisfied.
            assert_eq!(site.get(path, &fields).status(), 200, "{path} {state}");
            let status = site.get(path, &format!("{}{fields}", range(&format!("bytes={length}-")))).status();
            assert_eq!(status, if is_same { 416 } else { 200 }, "{path} {state}");
        }
    }
}

#[test]
fn conditions_come_first() {
    let site = Site::new();
    let asked = range("bytes=0-9");
    for (fields, status) in [
        ("If-None-Match: *", 304),
        ("If-Match: \"x\"", 412),
        ("If-Match: *", 206),
        ("If-None-Match: \"x\"", 206),
        (&format!("If-Modified-Since: {MODIFIED_DATE}"), 304),
        (&format!("If-Unmodified-Since: {MODIFIED_DATE}"), 206),
    ] {
        let answer = site.get("/medium.bin", &format!("{asked}{fields}\r\n"));
        assert_eq!(answer.status(), status, "{fields}");
    }
}

#[test]
fn only_the_get_of_a_file_has_ranges() {
    let site = Site::new();
    for asked in [range("bytes=0-9"), range("bytes=99999999-"), range("bytes=0-9,1000-1009")] {
        for (path, length) in FILES {
            let answer = site.head(path, &asked);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.field("Content-Length"), Some(&*length.to_string()));
            assert_eq!(answer.field("Content-Range"), None);
        }
        assert_eq!(site.get("/missing", &asked).status(), 404);
        assert_eq!(site.get("/dir", &asked).status(), 308);
        let post = format!("POST /medium.bin HTTP/1.1\r\nHost: a\r\n{asked}\r\n");
        assert_eq!(site.ask(post).status(), 405);
    }
}

#[test]
fn the_ranges_of_a_coded_file_are_those_of_its_code() {
    let folder = usual_folder();
    write_old(folder.path(), "page.html", &b"<p>".repeat(400_000), MODIFIED);
    // These are not valid gzip, which does not matter here. One is cached in memory, the other is sent from the disk.
    for (coding, length) in [("gz", 50_000), ("br", 1_000_000)] {
        write_old(folder.path(), &format!("page.html.{coding}"), &pattern(length), MODIFIED + 1);
    }
    let site = Site::start(Limits::default(), vec![(folder, SiteConfig::default())]);
    let plain = site.get("/page.html", "");
    for (coding, length) in [("gzip", 50_000), ("br", 1_000_000)] {
        let accept = format!("Accept-Encoding: {coding}\r\n");
        let whole = site.get("/page.html", &accept);
        let tag = whole.field("ETag").expect("a file has a tag");
        let answer = site.get("/page.html", &format!("{accept}{}If-Range: {tag}\r\n", range("bytes=-100")));
        assert_eq!((answer.status(), answer.field("Content-Encoding")), (206, Some(coding)));
        assert_eq!(answer.body, pattern(length)[length - 100..]);
        assert_eq!(answer.field("ETag"), Some(tag));
        assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
        let said = format!("bytes {}-{}/{length}", length - 100, length - 1);
        assert_eq!(answer.field("Content-Range"), Some(&*said));
        // A client that has the start of the plain file must not get the end of the compressed one.
        let plain_tag = plain.field("ETag").expect("a file has a tag");
        let fields = format!("{accept}{}If-Range: {plain_tag}\r\n", range("bytes=-100"));
        assert_eq!(site.get("/page.html", &fields).status(), 200);
    }
}
