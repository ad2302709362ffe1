//! Servers whose response does not match the request.

use std::fs;

use super::server::{Server, answer};
use super::{call, command, folder, names, plain, text};

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let range = |range: &str| format!("Content-Range: bytes {range}");
    let long = "HTTP/1.1 206 x\r\nContent-Range: bytes 2-4/9\r\n\r\nabcd".as_bytes().to_vec();
    let multipart = "Content-Type: multipart/byteranges; boundary=b";
    for (asked, answer, came) in [
        ("2-4", answer(206, &[&range("0-2/9")], b"abc"), "bytes 0-2/9"),
        ("2-4", answer(206, &[&range("2-5/9")], b"abcd"), "bytes 2-5/9"),
        ("2-4", answer(206, &[&range("2-3/9")], b"ab"), "bytes 2-3/9"),
        ("2-4", answer(206, &[&range("2-4/4")], b"abc"), "no usable Content-Range"),
        ("2-4", answer(206, &[], b"abc"), "no usable Content-Range"),
        ("2-4", answer(206, &[&range("2-4/9"), &range("2-4/9")], b"abc"), "no usable Content-Range"),
        ("2-4", answer(206, &[multipart], b"--b--"), "multipart"),
        ("2-4", answer(206, &[&range("2-4/9")], b"abcd"), "4 bytes"),
        ("2-4", answer(206, &[&range("2-4/9")], b"ab"), "2 bytes"),
        ("2-4", long, "more than 3 bytes"),
        ("5-", answer(206, &[&range("4-8/9")], b"abcde"), "bytes 4-8/9"),
        ("5-", answer(206, &[&range("5-7/9")], b"abc"), "bytes 5-7/9"),
        ("-3", answer(206, &[&range("0-2/9")], b"abc"), "bytes 0-2/9"),
        ("0-1,5-6", answer(206, &[&range("2-3/9")], b"ab"), "bytes 2-3/9"),
        ("0-1,5-6", answer(206, &[], b"ab"), "no usable Content-Range"),
    ] {
        let folder = folder();
        let path = folder.path().join("out");
        for options in [&["--range", asked, "--body"][..], &["--range", asked, "--output", plain(&path)]] {
            let server = Server::answering([answer.clone()]);
            let output = server.call("x", options);
            server.finish();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{asked}: {said}");
            let asked = format!("asked for bytes {asked}");
            assert!(said.contains(&asked) && said.contains(came), "{asked}, {came}: {said}");
            assert_eq!(names(folder.path()), [""; 0], "{said}");
        }
    }
}

#[test]
fn a_part_that_ends_early_is_not_whole() {
    let output =
        call("HTTP/1.1 206 x\r\nContent-Range: bytes 2-4/9\r\n\r\nab", &["--range", "2-4", "--body"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("is incomplete"), "{said}");
}

#[test]
fn a_part_may_be_as_long_as_the_file_allows() {
    for (asked, lines, body) in [
        ("2-4", &["Content-Range: bytes 2-3/4"][..], &b"ab"[..]),
        ("2-4", &["Content-Range: bytes 2-4/*"], b"abc"),
        ("5-", &["Content-Range: bytes 5-8/9"], b"abcd"),
        ("-9", &["Content-Range: bytes 0-2/3"], b"abc"),
        // One of two ranges is beyond the end, or the server has coalesced both.
        ("0-1,50-60", &["Content-Range: bytes 0-1/9"], b"ab"),
        ("0-1,2-3", &["Content-Range: bytes 0-3/9"], b"abcd"),
        ("0-1,5-6", &["Content-Type: Multipart/ByteRanges; boundary=b"], b"--b--"),
    ] {
        let server = Server::answering([answer(206, lines, body)]);
        let output = server.call("x", &["--range", asked, "--body"]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), body), "{asked}");
        assert_eq!(text(&output.stderr), "", "{asked}");
        server.finish();
    }
}

#[test]
fn the_advice_fits_the_status() {
    for (status, advice) in [
        (400, "check the request"),
        (401, "--header 'Authorization: "),
        (403, "access is denied"),
        (404, "check the name of the file"),
        (410, "check the name of the file"),
        (429, "try again later"),
        (500, "try again later"),
        (503, "try again later"),
    ] {
        let output = call(&format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"), &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(&format!("answered {status}")) && said.contains(advice), "{status}: {said}");
        assert_eq!(said.contains("check the name"), matches!(status, 404 | 410), "{status}: {said}");
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn a_higher_minor_version_is_understood() {
    let output = call("HTTP/1.9 200 OK\r\nContent-Length: 2\r\n\r\nhi", &["--body"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "hi".to_owned()));
}

#[test]
fn a_compressed_body_that_nobody_asked_for_is_said_to_be_one() {
    let folder = folder();
    let path = folder.path().join("out");
    for (coding, unpack) in [("gzip", "gzip -d"), ("br", "brotli -d"), ("zstd", "zstd -d"), ("x-own", "")] {
        let line = format!("Content-Encoding: {coding}");
        for options in [&["--body"][..], &["--output", plain(&path)], &["--output", plain(&path), "--resume"]]
        {
            let server = Server::answering([answer(200, &[&line], b"\x1f\x8b")]);
            let output = server.call("x", options);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(said.contains(&format!("compressed ({coding})")) && said.contains(unpack), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            server.finish();
        }
        assert_eq!(fs::read(&path).expect("it is saved as it came"), b"\x1f\x8b");
    }
    for (lines, options) in [
        (&["Content-Encoding: gzip"][..], &["--body", "--header", "accept-encoding: gzip"][..]),
        (&["Content-Encoding: identity"], &["--body"]),
        (&["Content-Encoding: gzip"], &["--head"]),
    ] {
        let server = Server::answering([answer(200, lines, b"\x1f\x8b")]);
        let output = server.call("x", options);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        server.finish();
    }
}

#[test]
fn a_port_that_speaks_tls_is_recognised() {
    // A TLS alert as OpenSSL sends it for a plain request, and the start of a handshake.
    for reply in [&b"\x15\x03\x01\x00\x02\x02\x46"[..], b"\x16\x03\x03\x00\x7a\x02\x00"] {
        let server = Server::answering([reply]);
        let output = server.call("x", &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains("seems to speak TLS (https)"), "{said}");
        server.finish();
    }
    let closed = call("", &[]);
    assert!(!text(&closed.stderr).contains("TLS"), "another port may have any reason");
}

#[test]
fn a_part_is_not_asked_of_a_head() {
    let server = Server::answering([answer(206, &[], b"")]);
    let port = server.port.to_string();
    let output = command(&["127.0.0.1", &port, "x", "--head", "--range", "0-1"]).output();
    assert_eq!(output.expect("the command can be started").status.code(), Some(0));
    server.finish();
}
