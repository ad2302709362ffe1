//! The result does not depend on the pieces in which bytes arrive, and no input causes a panic.

use proptest::prelude::*;

use super::super::*;

/// Requests that are composed of relevant parts, so that most of them get far into the parser.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("HEAD http://a/ HTTP/1.0\r\n".to_owned()),
        Just("OPTIONS * HTTP/1.1\r\n".to_owned()),
        Just("BREW /".to_owned()),
        Just("\u{fc}".to_owned()),
        Just("\r".to_owned()),
        Just("Host: a\r\n".to_owned()),
        Just("Expect: x\r\n".to_owned()),
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

/// Decodes a chunked body from pieces. Returns the decoded bytes, and whether the body is complete or why it is refused.
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
    fn damaged_chunks_are_read_alike_however_they_arrive(bytes in "[05a;=\"\\\\\r\n ]{0,60}|[0-9a-fx;:\r\n ]{0,60}") {
        let at_once = decode_in_pieces(std::iter::once(bytes.as_bytes()));
        let one_by_one = decode_in_pieces(bytes.as_bytes().chunks(1));
        prop_assert_eq!(at_once, one_by_one);
    }
}
