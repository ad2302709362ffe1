//! Requests and responses as they come, hostile ones among them, in every split.

mod conditions;
mod negotiation;
mod ranges;

use proptest::prelude::*;

use super::*;

fn status_of(request: &[u8]) -> u16 {
    match parse_request(request) {
        Ok(Some(_)) => 200,
        Ok(None) => 0,
        Err(bad) => bad.status.code(),
    }
}

#[test]
fn reads_a_browsers_request() {
    let request = b"GET /a%20b/?x=1?2 HTTP/1.1\r\nHost: localhost:6789\r\nIf-None-Match: \"e\"\r\n\r\nGET";
    let head = parse_request(request).expect("the request is good").expect("the request is whole");
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.target.path, "/a%20b/");
    assert_eq!(head.target.query, Some("x=1?2"));
    assert_eq!(head.body, BodyLength::Exact(0));
    assert!(head.keep_alive && head.is_conditional && !head.expects_continue);
    assert_eq!(&request[head.head_bytes..], b"GET");
    assert_eq!(head.fields.values("if-none-match").collect::<Vec<_>>(), [b"\"e\""]);
}

#[test]
fn answers_each_kind_of_bad_request_with_its_status() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8000));
    let fitting_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(7999));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    let long_method = "G".repeat(100);
    let long_nonsense = "ü".repeat(100);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("\r\nHEAD / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.7\r\nHost: [::1]:80\r\n\r\n", 200),
        ("GET http://a.b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (&fitting_target, 200),
        ("GET / HTTP/1.1\r\nHost: a\r\n", 0),
        // Line ends, spaces and folds.
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400),
        // Lengths.
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        // Sizes.
        (&long_target, 414),
        (&many_fields, 431),
        (&long_head, 431),
        (&long_method, 501),
        (&long_nonsense, 400),
        // Versions.
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / FTP/1.1\r\nHost: a\r\n\r\n", 400),
        // Methods.
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // Targets.
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /ü HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        assert_eq!(status_of(request.as_bytes()), status, "{request:?}");
    }
}

#[test]
fn keeps_connections_open_as_the_version_and_the_client_say() {
    for (line, fields, kept) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: x, CLOSE\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = format!("GET / {line}\r\nHost: a\r\n{fields}\r\n");
        let head =
            parse_request(request.as_bytes()).expect("the request is good").expect("the request is whole");
        assert_eq!(head.keep_alive, kept, "{request:?}");
    }
}

#[test]
fn no_path_leads_out_of_the_site() {
    for (path, decoded, is_directory) in [
        ("/", "", true),
        ("/a/b.html", "a/b.html", false),
        ("/a//b/", "a/b", true),
        ("//evil.example/x/", "evil.example/x", true),
        ("/a%20b/%C3%BC%25.txt", "a b/ü%.txt", false),
        ("/a..b/c.", "a..b/c.", false),
    ] {
        let path = SitePath::decode(path).expect("the path is good");
        assert_eq!((path.as_str(), path.is_directory()), (decoded, is_directory));
    }
    for (path, why) in [
        ("/..", BadPath::Dots),
        ("/a/../b", BadPath::Dots),
        ("/%2e%2E/b", BadPath::Dots),
        ("/.%2e", BadPath::Dots),
        ("/./a", BadPath::Dots),
        ("/.git/config", BadPath::Hidden),
        ("/a/%2egit", BadPath::Hidden),
        ("/a%2fb", BadPath::Hidden),
        ("/..%2fb", BadPath::Hidden),
        ("/a%00", BadPath::Text),
        ("/a%0Ab", BadPath::Text),
        ("/%ff", BadPath::Text),
        ("/%", BadPath::Escape),
        ("/%4", BadPath::Escape),
        ("/%zz", BadPath::Escape),
        ("/%+4", BadPath::Escape),
    ] {
        assert_eq!(SitePath::decode(path), Err(why), "{path}");
    }
    // Decoded once: what is still escaped then is a name.
    let once = SitePath::decode("/%252e%252e/x").expect("the path is good");
    assert_eq!(once.as_str(), "%2e%2e/x");
}

#[test]
fn a_location_is_never_another_host() {
    for (path, location) in [
        ("/dir", "/dir/"),
        ("//evil.example", "/evil.example/"),
        ("/a%0", ""),
        ("/%5Cevil%20x", "/%5Cevil%20x/"),
        ("/a%3Fb%23c%25", "/a%3Fb%23c%25/"),
    ] {
        let Ok(path) = SitePath::decode(path) else {
            assert_eq!(location, "");
            continue;
        };
        assert_eq!(path.directory_location(), location);
    }
}

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
        ("HTTP/1.1 200 x\r\nTransfer-Encoding: gzip\r\n\r\n", false, Err(BadResponse::UnknownCoding)),
        ("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", false, Err(BadResponse::Framing)),
        ("HTTP/1.1 200 x\r\nContent-Length: 5, 6\r\n\r\n", false, Err(BadResponse::Framing)),
    ] {
        assert_eq!(length(text, to_head), expected, "{text:?}");
    }
    let folded = parse_response(b"HTTP/1.1 100 Continue\r\nX: a\r\n b\r\n\r\nrest")
        .expect("the response is good")
        .expect("the response is whole");
    assert!(folded.is_interim());
    assert_eq!(folded.fields, [("X".to_owned(), b"a   b".to_vec())]);
    for bad in [
        "HTTP/2 200\r\n\r\n",
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

/// Requests made of pieces that matter, so that most of them get far into the parser.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("HEAD http://a/ HTTP/1.0\r\n".to_owned()),
        Just("Host: a\r\n".to_owned()),
        Just("Content-Length: 3\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just(" ".to_owned()),
        Just("5\r\nHello\r\n0\r\n".to_owned()),
        "[ -~]{0,40}",
        Just("x".repeat(9_000)),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Decodes a whole body that arrives in pieces: what was in it, and whether it went well.
fn decode_in_pieces<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> (Vec<u8>, Result<bool, BadBody>) {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut body = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() && !decoder.is_done() {
            match decoder.decode(piece) {
                Ok(decoded) => {
                    body.extend_from_slice(decoded.data);
                    piece = &piece[decoded.consumed..];
                }
                Err(bad) => return (body, Err(bad)),
            }
        }
    }
    (body, Ok(decoder.is_done()))
}

proptest! {
    #[test]
    fn a_request_is_read_alike_however_it_arrives(request in pieces(), split in 0..20_000_usize) {
        let whole = parse_request(&request);
        let part = parse_request(&request[..split.min(request.len())]);
        match part {
            Ok(None) => {}
            Ok(Some(_)) => prop_assert_eq!(part, whole),
            Err(bad) => prop_assert_eq!(Some(bad.status), whole.err().map(|bad| bad.status)),
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&bytes);
        if let Ok(Some(head)) = parse_response(&bytes) {
            let _ = head.body_length(false);
        }
        let _ = decode_in_pieces(std::iter::once(bytes.as_slice()));
    }

    #[test]
    fn chunks_come_out_as_they_went_in(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..6),
        splits in proptest::collection::vec(0..400_usize, 0..6),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let mut cuts: Vec<_> = splits.into_iter().map(|cut| cut.min(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]);
        prop_assert_eq!(decode_in_pieces(pieces), (chunks.concat(), Ok(true)));
    }

    #[test]
    fn damaged_chunks_are_read_alike_however_they_arrive(bytes in "[0-9a-fx;:\r\n ]{0,60}") {
        let at_once = decode_in_pieces(std::iter::once(bytes.as_bytes()));
        let one_by_one = decode_in_pieces(bytes.as_bytes().chunks(1));
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn a_decoded_path_has_only_harmless_components(path in "(/|%2e|%2F|%00|\\.|[a-z]|%41|%c3%bc){0,20}") {
        if let Ok(path) = SitePath::decode(&path) {
            for component in path.as_str().split('/').filter(|_| !path.as_str().is_empty()) {
                prop_assert!(!component.is_empty() && !component.starts_with('.'));
            }
            prop_assert!(!path.as_str().contains('\0'));
            let location = path.directory_location();
            prop_assert!(location.starts_with('/') && !location.starts_with("//"));
            let again = SitePath::decode(&location).expect("what was decoded can be encoded");
            prop_assert_eq!(again.as_str(), path.as_str());
        }
    }
}
