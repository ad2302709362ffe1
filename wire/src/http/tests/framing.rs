//! Ambiguous header fields, and those that control the connection.

use super::*;

#[test]
fn there_is_one_good_host() {
    expect_statuses(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nhOST:\ta.b-c_d:65535 \r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: A.Example.\r\n\r\n", 200),
        // A registered name can contain a comma or an escape (RFC 3986, section 3.2.2).
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: %41\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xbc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: ::1]\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]:x\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
    ]);
}

#[test]
fn lines_end_with_cr_lf_and_do_not_go_on() {
    expect_statuses(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \t y\xff\t \r\n\r\n", 200),
        // White space before the colon or before a name.
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX(: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xbc: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
        // Obsolete line folding.
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400),
        // Bare CR, bare LF, NUL and other controls.
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
        (b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
        // Incomplete heads.
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0),
        (b"", 0),
    ]);
}

#[test]
fn four_empty_lines_are_skipped() {
    let after = |count: usize| format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(count));
    assert_eq!(head_of(&after(4)).head_bytes, after(4).len());
    let endless = "\r\n".repeat(10_000);
    expect_statuses(&[
        (after(1).as_bytes(), 200),
        (after(4).as_bytes(), 200),
        (after(5).as_bytes(), 400),
        (endless.as_bytes(), 400),
        (b"\r\n\r\n\r\n\r\n\r\n", 400),
        (b"\r\n\r", 0),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ]);
}

/// The status of a request with these header lines.
fn with_fields(version: &str, fields: &str) -> u16 {
    status_of(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n").as_bytes())
}

#[test]
fn a_length_is_one_number() {
    for (fields, status) in [
        ("Content-Length: 5\r\n", 200),
        ("Content-Length: 0\r\n", 200),
        ("Content-Length: 18446744073709551615\r\n", 200),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 200),
        ("Content-Length: 5, 5\r\n", 200),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 0\r\n", 400),
        ("Content-Length: 5, 6\r\n", 400),
        ("Content-Length: 5,\r\n", 400),
        ("Content-Length: \r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 5_0\r\n", 400),
        ("Content-Length: five\r\n", 400),
        ("Content-Length: 1e1\r\n", 400),
        ("Content-Length: \"5\"\r\n", 400),
        ("Content-Length: \u{665}\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Content-Length: 99999999999999999999999999\r\n", 400),
    ] {
        assert_eq!(with_fields("1.1", fields), status, "{fields:?}");
    }
    let body = |fields: &str| head_of(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).body;
    assert_eq!(body("Content-Length: 007\r\n"), BodyLength::Exact(7));
    assert_eq!(body("Content-Length: 18446744073709551615\r\n"), BodyLength::Exact(u64::MAX));
    assert_eq!(body(""), BodyLength::Exact(0));
}

#[test]
fn chunked_is_the_only_coding_and_excludes_a_length() {
    for (fields, status) in [
        ("Transfer-Encoding: Chunked\r\n", 200),
        ("Transfer-Encoding: , chunked ,\r\n", 200),
        // An unknown coding before chunked: the end of the body is known, but not its content.
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        // The end of the body is not known.
        ("Transfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked;q=1\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: ,\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        // Transfer-Encoding and Content-Length.
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding:\r\n", 400),
    ] {
        assert_eq!(with_fields("1.1", fields), status, "{fields:?}");
    }
    assert_eq!(with_fields("1.0", "Transfer-Encoding: chunked\r\n"), 400);
    assert_eq!(with_fields("1.0", "Content-Length: 5\r\n"), 200);
    let chunked = head_of("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked.body, BodyLength::Chunked);
}

#[test]
fn nothing_but_100_continue_can_be_expected() {
    for (version, fields, status, expects_continue) in [
        ("1.1", "Expect: 100-continue\r\n", 200, true),
        ("1.1", "Expect: 100-Continue\r\n", 200, true),
        ("1.1", "Expect: , 100-continue\r\n", 200, true),
        ("1.1", "Expect: 100-continue\r\nExpect: 100-continue\r\n", 200, true),
        ("1.1", "Expect:\r\n", 200, false),
        ("1.1", "", 200, false),
        ("1.1", "Expect: tea\r\n", 417, false),
        ("1.1", "Expect: 100-continue, tea\r\n", 417, false),
        ("1.1", "Expect: tea\r\nExpect: 100-continue\r\n", 417, false),
        ("1.1", "Expect: 100-continued\r\n", 417, false),
        ("1.1", "Expect: 100-continue=1\r\n", 417, false),
        ("1.0", "Expect: 100-continue\r\n", 200, false),
        ("1.0", "Expect: tea\r\n", 417, false),
        // Ambiguous lengths take precedence.
        ("1.1", "Expect: tea\r\nContent-Length: 1, 2\r\n", 400, false),
    ] {
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(status_of(request.as_bytes()), status, "{request:?}");
        if status == 200 {
            assert_eq!(head_of(&request).expects_continue, expects_continue, "{request:?}");
        }
    }
}

#[test]
fn keeps_connections_open_as_the_version_and_the_client_say() {
    for (line, fields, kept) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: x, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: ,close,\r\n", false),
        ("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: closed, not-close, close x\r\n", true),
        ("HTTP/1.1", "Connection: \"close\"\r\n", true),
        ("HTTP/1.1", "Proxy-Connection: close\r\n", true),
        ("HTTP/1.7", "", true),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: x, keep-alive\r\n", true),
        ("HTTP/1.0", "Connection: upgrade\r\n", false),
        ("HTTP/1.0", "Keep-Alive: timeout=5\r\n", false),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = format!("GET / {line}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(head_of(&request).keep_alive, kept, "{request:?}");
    }
}
