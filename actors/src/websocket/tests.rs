//! The codec on bytes, without a socket.

use proptest::prelude::*;

use super::*;

/// A frame of a client, with its first byte, under a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(MASKED | u8::try_from(short).expect("it is short")),
        middle @ 126..65_536 => {
            bytes.push(MASKED | 126);
            bytes.extend_from_slice(&u16::try_from(middle).expect("it is short").to_be_bytes());
        }
        long => {
            bytes.push(MASKED | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What a WebSocket makes of bytes: the plain bytes.
fn plain(websocket: &mut WebSocket, bytes: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut bytes = bytes.to_vec();
    let count = websocket.decode(&mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Takes what waits for the client.
fn replies(websocket: &mut WebSocket) -> Vec<u8> {
    let mut replies = Vec::new();
    while websocket.has_unsent() {
        let unsent = websocket.unsent().to_vec();
        assert!(!unsent.is_empty(), "something waits");
        websocket.advance(unsent.len());
        replies.extend_from_slice(&unsent);
    }
    replies
}

/// The frame that closes with a code.
fn closing(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

/// RFC 6455, section 1.3.
#[test]
fn the_key_of_the_rfc_has_its_answer() {
    assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZQ==AA",
        "dGhl*HNhbXBsZSBub25jZQ==",
    ] {
        assert_eq!(accept_value(key.as_bytes()), None, "{key}");
    }
}

/// The masked "Hello" of RFC 6455, section 5.7, as a binary message.
#[test]
fn the_masked_message_of_the_rfc_is_read() {
    let bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(plain(&mut WebSocket::default(), &bytes), Ok(b"Hello".to_vec()));
}

/// The unmasked examples of RFC 6455, section 5.7, are those of a server.
#[test]
fn messages_have_the_shortest_header() {
    for (length, header) in [
        (0, &[0x82, 0x00][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 0x7e, 0x00, 126]),
        (256, &[0x82, 0x7e, 0x01, 0x00]),
        (65_535, &[0x82, 0x7e, 0xff, 0xff]),
        (65_536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let payload = vec![7; length];
        let mut websocket = WebSocket::default();
        assert_eq!(websocket.encode(&[IoSlice::new(&payload)]), Some(length));
        assert_eq!(replies(&mut websocket), [header, &payload].concat(), "{length}");
    }
    // More waits for the next message.
    let (long, more) = (vec![1; MESSAGE_BYTES_MAX - 1], [2; 5]);
    let mut websocket = WebSocket::default();
    assert_eq!(websocket.encode(&[IoSlice::new(&long), IoSlice::new(&more)]), Some(MESSAGE_BYTES_MAX));
    let sent = replies(&mut websocket);
    assert_eq!((sent.len(), sent.last()), (10 + MESSAGE_BYTES_MAX, Some(&2)));
}

#[test]
fn a_ping_between_the_frames_of_a_message_gets_its_payload_back() {
    let mut websocket = WebSocket::default();
    let bytes =
        [frame(0x02, b"Hel"), frame(0x89, b"Hello"), frame(0x8a, b"not asked"), frame(0x80, b"lo")].concat();
    assert_eq!(plain(&mut websocket, &bytes), Ok(b"Hello".to_vec()));
    assert_eq!(replies(&mut websocket), [&[0x8a, 5][..], b"Hello"].concat());
    // Of many pings the last one is answered, so they cost no memory.
    let pings: Vec<u8> = (0..100).flat_map(|n| frame(0x89, &[n; 125])).collect();
    assert_eq!(plain(&mut websocket, &pings), Ok(vec![]));
    assert_eq!(websocket.unsent_bytes(), 0);
    assert_eq!(replies(&mut websocket), [&[0x8a, 125][..], &[99; 125]].concat());
}

#[test]
fn the_reply_to_a_ping_waits_for_the_end_of_the_message_that_is_sent() {
    let mut websocket = WebSocket::default();
    websocket.encode(&[IoSlice::new(b"abc")]);
    websocket.advance(2);
    plain(&mut websocket, &frame(0x89, b"p")).expect("a ping is fine");
    assert_eq!(websocket.unsent(), b"abc");
    assert_eq!(replies(&mut websocket), [&b"abc"[..], &[0x8a, 1, b'p']].concat());
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_both_directions() {
    for (payload, code) in [(&[][..], 1000), (&[0x03, 0xe9], 1001), (&[0x0f, 0xa0, b'b', b'y', b'e'], 4000)] {
        let mut websocket = WebSocket::default();
        let bytes = [frame(0x82, b"last"), frame(0x88, payload), frame(0x82, b"too late")].concat();
        assert_eq!(plain(&mut websocket, &bytes), Ok(b"last".to_vec()));
        assert!(websocket.has_client_closed());
        websocket.end();
        assert_eq!(websocket.encode(&[IoSlice::new(b"x")]), None);
        assert_eq!(replies(&mut websocket), closing(code));
    }
}

#[test]
fn the_server_closes_once_and_still_reads_until_the_client_has_closed() {
    let mut websocket = WebSocket::default();
    websocket.end();
    websocket.end();
    assert_eq!(plain(&mut websocket, &frame(0x82, b"on its way")), Ok(b"on its way".to_vec()));
    plain(&mut websocket, &[frame(0x89, b""), frame(0x88, &1000u16.to_be_bytes())].concat())
        .expect("it closes");
    assert_eq!(replies(&mut websocket), closing(1000));
    assert!(websocket.has_client_closed());
}

/// Each is refused as soon as the bytes are there that are wrong, and the client is told the code.
#[test]
fn what_breaks_the_protocol_is_refused_with_its_code() {
    let protocol = [
        ("unmasked", vec![0x82, 0x05]),
        ("unmasked and long", vec![0x82, 0x7f]),
        ("a reserved bit", vec![0xc2, 0x80]),
        ("another reserved bit", vec![0x92, 0x80]),
        ("a reserved opcode", vec![0x83, 0x80]),
        ("a reserved control opcode", vec![0x8b, 0x80]),
        ("a continuation of nothing", vec![0x80, 0x80]),
        ("a message inside another", [frame(0x02, b"a"), vec![0x82, 0x80]].concat()),
        ("a continuation behind the end", [frame(0x02, b"a"), frame(0x80, b"b"), vec![0x80, 0x80]].concat()),
        ("a ping in fragments", vec![0x09, 0x80]),
        ("a ping with a long payload", vec![0x89, 0x80 | 126]),
        ("a close with a long payload", vec![0x88, 0x80 | 127]),
        ("a length of 125 in two bytes", vec![0x82, 0x80 | 126, 0, 125, 1, 2, 3, 4]),
        ("a length of 65535 in eight", vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]),
        ("a length of 2^63", vec![0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("a close with half a code", frame(0x88, &[3])),
        ("a close with the code for no code", frame(0x88, &1005u16.to_be_bytes())),
        ("a close with a code that means nothing", frame(0x88, &999u16.to_be_bytes())),
    ];
    let text = ("a text message", vec![0x81, 0x85]);
    let reason = ("a reason that is not UTF-8", frame(0x88, &[0x03, 0xe8, 0xff]));
    let of = |violation| move |(what, bytes)| (what, bytes, violation);
    let cases = protocol.map(of(Violation::Protocol)).into_iter();
    for (what, bytes, violation) in cases.chain([of(Violation::Text)(text), of(Violation::Reason)(reason)]) {
        let mut websocket = WebSocket::default();
        assert_eq!(plain(&mut websocket, &bytes), Err(violation), "{what}");
        assert_eq!(replies(&mut websocket), closing(violation as u16), "{what}");
        let mut websocket = WebSocket::default();
        let (last, before) = bytes.split_last().expect("there are bytes");
        assert!(plain(&mut websocket, before).is_ok(), "{what}: nothing is wrong before the last byte");
        assert_eq!(plain(&mut websocket, &[*last]), Err(violation), "{what}");
    }
}

/// The longest length that a header can have costs nothing.
#[test]
fn a_frame_may_be_longer_than_the_memory() {
    let mut websocket = WebSocket::default();
    let header = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(plain(&mut websocket, &header), Ok(vec![]));
    assert_eq!(plain(&mut websocket, b"abc"), Ok(b"abc".to_vec()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_stream_is_the_same_however_messages_frames_and_reads_divide_it(
        messages in prop::collection::vec(prop::collection::vec((0usize..300, prop::option::of(0usize..126)), 1..4), 1..8),
        reads in prop::collection::vec(1usize..200, 1..20),
    ) {
        let mut fill = 0u8;
        let (mut stream, mut expected, mut last_ping) = (Vec::new(), Vec::new(), None);
        for frames in &messages {
            for (index, (bytes, ping)) in frames.iter().enumerate() {
                fill = fill.wrapping_add(1);
                let payload = vec![fill; *bytes];
                let opcode = if index == 0 { BINARY } else { CONTINUATION };
                let fin = if index + 1 == frames.len() { FIN } else { 0 };
                stream.extend(frame(fin | opcode, &payload));
                expected.extend(payload);
                if let Some(bytes) = ping {
                    stream.extend(frame(FIN | PING, &vec![fill; *bytes]));
                    last_ping = Some(vec![fill; *bytes]);
                }
            }
        }
        let mut websocket = WebSocket::default();
        let (mut got, mut rest) = (Vec::new(), &stream[..]);
        for most in reads.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (read, after) = rest.split_at(rest.len().min(*most));
            got.extend(plain(&mut websocket, read).expect("the frames are good"));
            rest = after;
        }
        prop_assert_eq!(got, expected);
        let length = |payload: &[u8]| u8::try_from(payload.len()).expect("it is short");
        let pong = last_ping.map(|payload| [&[FIN | PONG, length(&payload)][..], &payload].concat());
        prop_assert_eq!(replies(&mut websocket), pong.unwrap_or_default());
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), reads in 1usize..50) {
        let mut websocket = WebSocket::default();
        for read in bytes.chunks(reads) {
            if plain(&mut websocket, read).is_err() {
                break;
            }
            prop_assert!(websocket.unsent_bytes() <= 4 && websocket.control.len() <= 125);
        }
    }
}
