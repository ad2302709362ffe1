//! Interrupted downloads that --resume continues.

use std::fs;

use super::server::{Server, answer};
use super::{folder, names, plain, text};

const FILE_BYTES: usize = 300_000;

/// The number of bytes before the connection ends for the first time.
const CUT: usize = 123_457;

/// Pseudo-random content; each seed gives another.
fn file(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(FILE_BYTES).collect()
}

/// A response for the whole file, of which only the first bytes arrive.
fn cut(body: &[u8], bytes: usize, version: &str) -> Vec<u8> {
    let mut answer = answer(200, &[version], body);
    answer.truncate(answer.len() - (body.len() - bytes));
    answer
}

/// A 206 response with the rest of a file.
fn rest(body: &[u8], from: usize, version: &str) -> Vec<u8> {
    let range = format!("Content-Range: bytes {from}-{}/{}", body.len() - 1, body.len());
    answer(206, &[version, &range], &body[from..])
}

const V1: &str = "ETag: \"v1\"";
const V2: &str = "ETag: \"v2\"";

#[test]
fn a_download_that_was_cut_off_goes_on() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    // Two interruptions; the second is within a 206 response.
    let mut second = rest(&body, CUT, V1);
    second.truncate(second.len() - 1000);
    let server = Server::answering([cut(&body, CUT, V1), second, rest(&body, FILE_BYTES - 1000, V1)]);
    let options = ["--output", plain(&path), "--resume", "--body"];
    for kept in [CUT, FILE_BYTES - 1000] {
        let output = server.call("file", &options);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{kept} bytes are kept in")), "{said}");
        assert!(said.contains("out.part; run the same command again with --resume"), "{said}");
        assert_eq!(names(folder.path()), ["out.part", "out.part.source"]);
        assert!(fs::read(folder.path().join("out.part")).expect("it is there") == body[..kept]);
    }
    let output = server.call("file", &options);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(fs::read(&path).expect("it is there") == body, "byte for byte");
    assert_eq!(names(folder.path()), ["out"]);
    let requests = server.finish();
    assert!(!requests[0].contains("Range"), "{}", requests[0]);
    for (request, from) in [(&requests[1], CUT), (&requests[2], FILE_BYTES - 1000)] {
        let fields = format!("\r\nRange: bytes={from}-\r\nIf-Range: \"v1\"\r\n");
        assert!(request.contains(&fields), "{request}");
    }
}

#[test]
fn without_a_tag_the_time_of_the_last_change_will_do() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let times = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 09:49:37 GMT";
    let server = Server::answering([cut(&body, CUT, times), rest(&body, CUT, times)]);
    server.call("file", &["--output", plain(&path), "--resume"]);
    assert_eq!(server.call("file", &["--output", plain(&path), "--resume"]).status.code(), Some(0));
    assert!(fs::read(&path).expect("it is there") == body);
    let requests = server.finish();
    assert!(requests[1].contains("\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{}", requests[1]);
}

#[test]
fn a_file_that_has_changed_comes_again_from_its_start() {
    let (folder, old, new) = (folder(), file(1), file(2));
    let path = folder.path().join("out");
    let server = Server::answering([cut(&old, CUT, V1), cut(&new, CUT - 1, V2), rest(&new, CUT - 1, V2)]);
    let options = ["--output", plain(&path), "--resume"];
    server.call("file", &options);
    let second = server.call("file", &options);
    assert!(text(&second.stderr).contains("another version"), "{}", text(&second.stderr));
    assert_eq!(server.call("file", &options).status.code(), Some(0));
    assert!(fs::read(&path).expect("it is there") == new, "nothing of the old one is in it");
    assert!(server.finish()[2].contains("If-Range: \"v2\""));
}

#[test]
fn a_part_that_is_whole_only_gets_its_name() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    // Every byte arrives, but not the last chunk, so the client cannot know that the body is complete.
    let head = format!("HTTP/1.1 200 x\r\n{V1}\r\nTransfer-Encoding: chunked\r\n\r\n{FILE_BYTES:x}\r\n");
    let first = [head.as_bytes(), &body].concat();
    let satisfied = answer(416, &[V1, &format!("Content-Range: bytes */{FILE_BYTES}")], b"");
    let server = Server::answering([first, satisfied]);
    let options = ["--output", plain(&path), "--resume"];
    assert_eq!(server.call("file", &options).status.code(), Some(2));
    let done = server.call("file", &options);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(fs::read(&path).expect("it is there") == body);
    assert_eq!(names(folder.path()), ["out"]);
    server.finish();
}

#[test]
fn a_part_longer_than_the_file_starts_again() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let shorter = answer(416, &["Content-Range: bytes */10"], b"");
    let server = Server::answering([cut(&body, CUT, V1), shorter, answer(200, &[V2], b"ten bytes!")]);
    let options = ["--output", plain(&path), "--resume"];
    server.call("file", &options);
    assert_eq!(server.call("file", &options).status.code(), Some(0));
    assert_eq!(fs::read(&path).expect("it is there"), b"ten bytes!");
    assert!(!server.finish()[2].contains("Range"));
}

#[test]
fn a_rest_that_does_not_fit_is_refused() {
    let body = file(1);
    let (last, total) = (FILE_BYTES - 1, FILE_BYTES);
    let range =
        |first: usize, last: usize, total: usize| format!("Content-Range: bytes {first}-{last}/{total}");
    let right = range(CUT, last, total);
    let tail = &body[CUT..];
    let coding = format!("{right}\r\nTransfer-Encoding: chunked");
    let chunk = format!("HTTP/1.1 206 x\r\n{coding}\r\n\r\n{:x}\r\n", tail.len() + 1);
    let chunked = [chunk.as_bytes(), tail, b"!\r\n0\r\n\r\n"];
    for (wrong, says) in [
        (answer(206, &[V1, &range(CUT - 1, last, total)], &body[CUT - 1..]), "starts at another byte"),
        (answer(206, &[V1, &range(CUT + 1, last, total)], &body[CUT + 1..]), "starts at another byte"),
        (answer(206, &[V1, &range(CUT, last, total + 1)], tail), "length of the file has changed"),
        (
            answer(206, &[V1, &range(CUT, last + 1, total + 2)], &[tail, b"!"].concat()),
            "length of the file has changed",
        ),
        (answer(206, &[V1], tail), "no usable Content-Range"),
        (answer(206, &[V1, "Content-Range: bytes 1-0/9"], tail), "no usable Content-Range"),
        (
            answer(206, &[V1, "Content-Type: multipart/byteranges; boundary=x"], tail),
            "no usable Content-Range",
        ),
        (answer(206, &[V2, &right], tail), "another version"),
        (answer(206, &[V1, &right], &tail[1..]), "its length differs from its Content-Range"),
        (chunked.concat(), "longer than its Content-Range"),
    ] {
        let folder = folder();
        let path = folder.path().join("out");
        let server = Server::answering([cut(&body, CUT, V1), wrong]);
        let options = ["--output", plain(&path), "--resume"];
        server.call("file", &options);
        let refused = server.call("file", &options);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(says) && said.contains("nothing is added"), "{said} instead of {says}");
        assert_eq!(names(folder.path()), ["out.part", "out.part.source"], "{says}");
        let kept = fs::read(folder.path().join("out.part")).expect("it is there");
        assert!(kept == body[..CUT], "{says}: the part is as it was");
        server.finish();
    }
}

#[test]
fn a_rest_that_ends_early_is_kept_and_not_taken_for_the_file() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let middle = CUT + 500;
    let range = format!("Content-Range: bytes {CUT}-{}/{FILE_BYTES}", middle - 1);
    let server = Server::answering([
        cut(&body, CUT, V1),
        answer(206, &[V1, &range], &body[CUT..middle]),
        rest(&body, middle, V1),
    ]);
    let options = ["--output", plain(&path), "--resume"];
    for expected in [2, 2, 0] {
        assert_eq!(server.call("file", &options).status.code(), Some(expected));
    }
    assert!(fs::read(&path).expect("it is there") == body);
    server.finish();
}

#[test]
fn what_no_version_is_known_of_leaves_no_part() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    for version in ["X: y", "ETag: W/\"v1\""] {
        let server = Server::answering([cut(&body, CUT, version)]);
        let output = server.call("file", &["--output", plain(&path), "--resume"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("does not say which version"), "{}", text(&output.stderr));
        assert_eq!(names(folder.path()), [""; 0]);
        server.finish();
    }
}

#[test]
fn the_part_of_one_file_does_not_go_on_with_another() {
    let (folder, one, other) = (folder(), file(1), file(2));
    let path = folder.path().join("out");
    let server = Server::answering([cut(&one, CUT, V1), answer(200, &[V1], &other)]);
    let options = ["--output", plain(&path), "--resume"];
    server.call("one", &options);
    assert_eq!(server.call("other", &options).status.code(), Some(0));
    assert!(fs::read(&path).expect("it is there") == other);
    assert!(!server.finish()[1].contains("Range"), "the same tag there means nothing");
}

#[test]
fn a_part_goes_on_behind_a_redirection() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let moved = || answer(302, &["Location: /real"], b"");
    let server = Server::answering([moved(), cut(&body, CUT, V1), moved(), rest(&body, CUT, V1)]);
    let options = ["--output", plain(&path), "--resume", "--follow"];
    assert_eq!(server.call("file", &options).status.code(), Some(2));
    assert_eq!(server.call("file", &options).status.code(), Some(0));
    assert!(fs::read(&path).expect("it is there") == body);
    let requests = server.finish();
    assert!(!requests[2].contains("Range") && requests[3].contains("If-Range: \"v1\""), "{requests:?}");
}

#[test]
fn an_error_page_leaves_the_part_alone() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let server = Server::answering([cut(&body, CUT, V1), answer(503, &[V1], b"later"), rest(&body, CUT, V1)]);
    let options = ["--output", plain(&path), "--resume"];
    for expected in [2, 1, 0] {
        assert_eq!(server.call("file", &options).status.code(), Some(expected));
    }
    assert!(fs::read(&path).expect("it is there") == body);
    server.finish();
}

#[test]
fn a_server_that_sends_no_parts_sends_it_all_again() {
    let (folder, body) = (folder(), file(1));
    let path = folder.path().join("out");
    let server = Server::answering([cut(&body, CUT, V1), answer(200, &[V1], &body)]);
    let options = ["--output", plain(&path), "--resume"];
    server.call("file", &options);
    let second = server.call("file", &options);
    assert_eq!(second.status.code(), Some(0));
    assert!(text(&second.stderr).contains("the server does not support ranges"), "{}", text(&second.stderr));
    assert!(fs::read(&path).expect("it is there") == body);
    server.finish();
}
