//! Response heads.

use super::super::*;

#[test]
fn reads_responses_and_how_long_they_are() {
    let length = |text: &str, to_head| {
        let head =
            parse_response(text.as_bytes()).expect("the response is good").expect("the response is whole");
        head.body_length(to_head)
    };
    for (text, to_head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, Ok(BodyLength::Exact(5))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, Ok(BodyLength::Exact(0))),
        ("HTTP/1.1 200\r\n\r\n", false, Ok(BodyLength::UntilClose)),
        ("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", false, Ok(BodyLength::Exact(0))),
        ("HTTP/1.1 204 x\r\n\r\n", false, Ok(BodyLength::Exact(0))),
        (
            "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok(BodyLength::Chunked),
        ),
        (
            "HTTP/1.1 200 x\r\nContent-Length: 5, 6\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
            false,
            Ok(BodyLength::Chunked),
        ),
        (
            "HTTP/1.1 200 x\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n",
            false,
            Err(BadResponse::UnknownCoding),
        ),
        (
            "HTTP/1.1 200 x\r\nContent-Length: 5\r\nTransfer-Encoding:\r\n\r\n",
            false,
            Err(BadResponse::Framing),
        ),
        ("HTTP/1.1 200 x\r\nContent-Length: x\r\n\r\n", false, Err(BadResponse::Framing)),
        ("HTTP/1.1 200 x\r\nTransfer-Encoding: gzip\r\n\r\n", false, Err(BadResponse::UnknownCoding)),
        ("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", false, Err(BadResponse::Framing)),
        ("HTTP/1.1 200 x\r\nContent-Length: 5, 6\r\n\r\n", false, Err(BadResponse::Framing)),
    ] {
        assert_eq!(length(text, to_head), expected, "{text:?}");
    }
}

#[test]
fn a_folded_field_is_read_as_one_line() {
    let folded = parse_response(b"HTTP/1.1 100 Continue\r\nX: a\r\n b\r\n\r\nrest")
        .expect("the response is good")
        .expect("the response is whole");
    assert!(folded.is_interim());
    assert_eq!(folded.fields, [("X".to_owned(), b"a   b".to_vec())]);
}

#[test]
fn refuses_malformed_and_endless_responses() {
    for bad in [
        "HTTP/2 200\r\n\r\n",
        "HTTP/2.1 200\r\n\r\n",
        "HTTP/0.9 200\r\n\r\n",
        "HTTP/1.10 200\r\n\r\n",
        "HTTP/1.x 200\r\n\r\n",
        "http/1.9 200\r\n\r\n",
        "\r\nHTTP/1.9 200\r\n\r\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\nX: y\n\n",
        "HTTP/1.1 20 x\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
    ] {
        assert_eq!(parse_response(bad.as_bytes()), Err(BadResponse::Malformed), "{bad:?}");
    }
    assert_eq!(
        parse_response(&[b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; 70_000]].concat()),
        Err(BadResponse::TooLarge)
    );
}

#[test]
fn a_later_minor_version_is_read_as_1_1() {
    for minor in 1..=9 {
        let text = format!("HTTP/1.{minor} 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let head =
            parse_response(text.as_bytes()).expect("the response is good").expect("the response is whole");
        assert_eq!((head.version, head.status, head.head_bytes), (Version::Http11, 200, text.len()));
        assert_eq!(head.body_length(false), Ok(BodyLength::Chunked));
        for end in 0..text.len() {
            assert_eq!(parse_response(&text.as_bytes()[..end]), Ok(None), "{:?}", &text[..end]);
        }
    }
    let head = parse_response(b"HTTP/1.0 200 OK\r\n\r\n").expect("the response is good");
    assert_eq!(head.expect("the response is whole").version, Version::Http10);
}

#[test]
fn statuses_have_their_registered_numbers_and_phrases() {
    for (status, line) in [
        (Status::Ok, "200 OK"),
        (Status::NoContent, "204 No Content"),
        (Status::PartialContent, "206 Partial Content"),
        (Status::MovedPermanently, "301 Moved Permanently"),
        (Status::Found, "302 Found"),
        (Status::NotModified, "304 Not Modified"),
        (Status::TemporaryRedirect, "307 Temporary Redirect"),
        (Status::PermanentRedirect, "308 Permanent Redirect"),
        (Status::BadRequest, "400 Bad Request"),
        (Status::Unauthorized, "401 Unauthorized"),
        (Status::Forbidden, "403 Forbidden"),
        (Status::NotFound, "404 Not Found"),
        (Status::MethodNotAllowed, "405 Method Not Allowed"),
        (Status::RequestTimeout, "408 Request Timeout"),
        (Status::PreconditionFailed, "412 Precondition Failed"),
        (Status::UriTooLong, "414 URI Too Long"),
        (Status::RangeNotSatisfiable, "416 Range Not Satisfiable"),
        (Status::ExpectationFailed, "417 Expectation Failed"),
        (Status::HeaderFieldsTooLarge, "431 Request Header Fields Too Large"),
        (Status::InternalServerError, "500 Internal Server Error"),
        (Status::NotImplemented, "501 Not Implemented"),
        (Status::ServiceUnavailable, "503 Service Unavailable"),
        (Status::VersionNotSupported, "505 HTTP Version Not Supported"),
    ] {
        assert_eq!(status.to_string(), line);
    }
}
