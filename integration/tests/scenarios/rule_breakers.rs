//! Connections that violate the protocol: each gets an error frame, and the server keeps serving everybody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use integration::{Character, PATIENCE, RawConnection, Sandbox, Server};
use wire::frame::{BODY_BYTES_MAX, BODY_BYTES_MAX_BEFORE_JOIN, PREFACE};
use wire::protocol::{Envelope, ErrorCode, Greeting, Kind, Side, ToPeer, ToServer};

/// A peer that has joined and must be served all the time.
struct Witness {
    connection: RawConnection,
    asked: u32,
}

impl Witness {
    fn of(server: &Server) -> Self {
        let connection = RawConnection::join(server.address(), &Character::new("witness"));
        Self { connection, asked: 0 }
    }

    #[track_caller]
    fn is_served(&mut self) {
        self.asked += 1;
        self.connection.say(&ToServer::Who { id: self.asked });
        let body = self.connection.next().expect("the witness stays connected");
        match ToPeer::decode(&body) {
            Ok(ToPeer::Known { id, peers }) => {
                assert_eq!(id, self.asked);
                assert!(peers.iter().any(|p| p.name.as_str() == "witness" && p.online));
            }
            other => panic!("the witness hears {other:?}"),
        }
    }
}

fn length_only(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("scenarios use short lengths").to_le_bytes()
}

#[test]
fn bad_frames_get_an_error_before_and_after_joining() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut witness = Witness::of(&server);
    let culprit = Character::new("culprit");
    let good = wire::frame::frame(&ToServer::Who { id: 1 });
    let with_more = [&length_only(good.len() - 3)[..], &good[4..], &[0]].concat();
    // What is sent, and the error code for a connection that has not joined and for one that has.
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("an empty body", length_only(0).to_vec(), ErrorCode::Malformed),
        ("a kind and nothing else", vec![1, 0, 0, 0, 3], ErrorCode::Malformed),
        ("bytes left over", with_more, ErrorCode::Malformed),
        ("an unknown kind", vec![2, 0, 0, 0, 200, 1], ErrorCode::UnknownKind),
        ("the first kind after the last", vec![1, 0, 0, 0, 16], ErrorCode::UnknownKind),
        ("1 MiB and a byte", length_only(BODY_BYTES_MAX + 1).to_vec(), ErrorCode::TooLong),
        ("4 GiB", vec![0xff; 4], ErrorCode::TooLong),
        ("an envelope that is none", vec![3, 0, 0, 0, 0, 0xff, 0xff], ErrorCode::Malformed),
    ];
    for (what, bytes, code) in &cases {
        println!("{what}");
        let mut stranger = RawConnection::open(server.address());
        stranger.say_bytes(bytes);
        stranger.expect_error(*code);
        let mut member = RawConnection::join(server.address(), &culprit);
        member.say_bytes(bytes);
        member.expect_error(*code);
        witness.is_served();
    }
    // Before joining, fewer messages are allowed.
    let mut stranger = RawConnection::open(server.address());
    stranger.say_bytes(&length_only(BODY_BYTES_MAX_BEFORE_JOIN + 1));
    stranger.expect_error(ErrorCode::TooLong);
    witness.is_served();
    server.stop();
}

#[test]
fn incomplete_frames_and_unknown_first_bytes_harm_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut witness = Witness::of(&server);
    let culprit = Character::new("culprit");
    for part in [&[][..], &[100], &[100, 0, 0, 0], &[100, 0, 0, 0, 1, 2, 3]] {
        let stranger = RawConnection::open(server.address());
        let member = RawConnection::join(server.address(), &culprit);
        for mut connection in [stranger, member] {
            connection.say_bytes(part);
            connection.end();
            assert_eq!(connection.next(), None, "there is nothing to say");
        }
        witness.is_served();
    }
    for first in [&b"SWB9"[..], b"SW", b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n\r\n\r\n", &[0xff; 5000]] {
        let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        // The server may close the connection before all is sent.
        let _ = stream.write_all(first);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = ["HTTP/1.1 400", "HTTP/1.1 501"].iter().any(|status| answer.starts_with(status));
        let shown = &first[..first.len().min(8)];
        assert!(answer.is_empty() || is_refused, "{shown:?} gets {answer}");
        witness.is_served();
    }
    // The preface may arrive in pieces.
    let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
    for byte in PREFACE {
        stream.write_all(&[byte]).expect("the server reads");
    }
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).expect("the server greets");
    server.stop();
}

#[test]
fn nobody_joins_with_another_proof_card_or_name() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut witness = Witness::of(&server);
    let culprit = Character::new("culprit");
    let join = |connection: &RawConnection| match culprit.join(&connection.greeting) {
        ToServer::Join { card, proof, .. } => (card, proof),
        other => panic!("{other:?} is no join"),
    };

    let mut damaged = RawConnection::open(server.address());
    let (card, mut proof) = join(&damaged);
    proof[7] ^= 1;
    damaged.say(&ToServer::Join { card, proof, invitation: None });
    damaged.expect_error(ErrorCode::BadProof);

    let other = RawConnection::open(server.address());
    let mut replayed = RawConnection::open(server.address());
    let (card, proof) = join(&other);
    replayed.say(&ToServer::Join { card, proof, invitation: None });
    replayed.expect_error(ErrorCode::BadProof);

    let mut forged = RawConnection::open(server.address());
    let (mut card, proof) = join(&forged);
    card[40] ^= 1;
    forged.say(&ToServer::Join { card, proof, invitation: None });
    forged.expect_error(ErrorCode::BadCard);
    witness.is_served();

    // Another peer's name in any case, also while its owner is away.
    for name in ["witness", "WITNESS", "Witness"] {
        let mut thief = RawConnection::open(server.address());
        let second = Character::new(name);
        thief.say(&second.join(&thief.greeting));
        thief.expect_error(ErrorCode::NameTaken);
        witness.is_served();
    }
    drop(RawConnection::join(server.address(), &culprit));
    let mut thief = RawConnection::open(server.address());
    thief.say(&Character::new("Culprit").join(&thief.greeting));
    thief.expect_error(ErrorCode::NameTaken);
    RawConnection::join(server.address(), &culprit);
    server.stop();
}

fn envelope<'a>(from: &'a str, to: &'a str) -> ToServer<'a> {
    ToServer::Envelope(Envelope { from, to, kind: Kind::Message, number: 1, sealed: b"opaque" })
}

#[test]
fn misplaced_messages_and_forged_senders_end_the_connection() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut witness = Witness::of(&server);
    let culprit = Character::new("culprit");

    for early in [envelope("culprit", "witness"), ToServer::Taken { count: 0 }, ToServer::Who { id: 1 }] {
        let mut stranger = RawConnection::open(server.address());
        stranger.say(&early);
        stranger.expect_error(ErrorCode::OutOfPlace);
    }
    let again = culprit.join(&Greeting::default());
    let member = "culprit".parse().expect("a good name");
    let splice = ToServer::Splice { transfer: [1; 16], side: Side::Sender, member, token: [0; 32] };
    let long = "x".repeat(33);
    for (message, code) in [
        (again, ErrorCode::OutOfPlace),
        (splice, ErrorCode::OutOfPlace),
        (envelope("witness", "nobody"), ErrorCode::BadEnvelope),
        (envelope("", "witness"), ErrorCode::BadEnvelope),
        (envelope("culprit", "no name"), ErrorCode::BadEnvelope),
        (envelope("culprit", &long), ErrorCode::BadEnvelope),
        (ToServer::Taken { count: 1 }, ErrorCode::Malformed),
        (ToServer::Taken { count: u64::MAX }, ErrorCode::Malformed),
    ] {
        println!("{message:?}");
        let mut member = RawConnection::join(server.address(), &culprit);
        member.say(&message);
        member.expect_error(code);
        witness.is_served();
    }

    // Each end of a transfer can be claimed only once.
    let mut first = witness.connection.splice("witness", [2; 16], Side::Receiver);
    let mut second = witness.connection.splice("witness", [2; 16], Side::Receiver);
    // The second one is refused.
    let told = std::thread::scope(|scope| {
        let (sender, told) = std::sync::mpsc::channel();
        for connection in [&mut first, &mut second] {
            let sender = sender.clone();
            scope.spawn(move || {
                let code = connection.next().map(|body| match ToPeer::decode(&body) {
                    Ok(ToPeer::Error { code, .. }) => Some(code),
                    _ => None,
                });
                // The test needs only the first response.
                let _ = sender.send(code);
            });
        }
        let told = told.recv_timeout(PATIENCE).expect("one of them is told");
        // The other end connects, so that no thread waits for it any longer.
        let mut sender = witness.connection.splice("witness", [2; 16], Side::Sender);
        sender.end();
        told
    });
    assert_eq!(told, Some(Some(ErrorCode::OutOfPlace)));
    witness.is_served();

    // The witness can still send: its envelope arrives at another peer.
    let mut member = RawConnection::join(server.address(), &culprit);
    witness.connection.say(&envelope("witness", "culprit"));
    let body = member.next().expect("the envelope arrives");
    assert!(matches!(ToPeer::decode(&body), Ok(ToPeer::Envelope(e)) if e.from == "witness"));
    server.stop();
}
