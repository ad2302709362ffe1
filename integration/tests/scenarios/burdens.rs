//! Peers that do not read or do not acknowledge: the server limits what they cost, and serves everybody else.

use integration::{Character, RawConnection, Sandbox};
use wire::frame;
use wire::protocol::{Envelope, ErrorCode, Kind, Outcome, Side, ToPeer, ToServer};

/// The size of an envelope with the longest text.
const LONG_BYTES: usize = 65_592;

fn message<'a>(to: &'a str, number: u64, sealed: &'a [u8]) -> ToServer<'a> {
    ToServer::Envelope(Envelope { from: "writer", to, kind: Kind::Message, number, sealed })
}

/// The outcomes of `count` envelopes, in the order in which the server reports them.
fn outcomes(writer: &mut RawConnection, count: u64) -> Vec<(u64, Outcome)> {
    let mut said = Vec::new();
    let mut known = 0;
    while known < count {
        let body = writer.next().expect("the writer stays connected");
        if let Ok(ToPeer::Routed { count, outcome, .. }) = ToPeer::decode(&body) {
            said.push((count, outcome));
            known += count;
        }
    }
    said
}

/// The numbers of the next envelopes that a peer receives.
fn numbers(reader: &mut RawConnection, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let body = reader.next().expect("the reader stays connected");
        if let Ok(ToPeer::Envelope(envelope)) = ToPeer::decode(&body) {
            numbers.push(envelope.number);
        }
    }
    numbers
}

#[test]
fn a_peer_that_leaves_with_thousands_of_unacknowledged_deliveries_delays_nobody() {
    const PAIRS: u64 = 8_000;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut reader = RawConnection::join(server.address(), &Character::new("reader"));
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    // Kinds that are stored and kinds that are not alternate, so that each envelope is its own delivery.
    let mut bytes = Vec::new();
    for number in 0..PAIRS {
        frame::encode(&message("reader", number, b"x"), &mut bytes);
        let request = Envelope { from: "writer", to: "reader", kind: Kind::Request, number, sealed: b"x" };
        frame::encode(&ToServer::Envelope(request), &mut bytes);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| numbers(&mut reader, 1_000));
        writer.say_bytes(&bytes);
        outcomes(&mut writer, 2 * PAIRS);
    });
    drop(reader);
    let mut next = RawConnection::join(server.address(), &Character::new("next"));
    next.say(&ToServer::Who { id: 1 });
    let body = next.next().expect("the server answers");
    assert!(matches!(ToPeer::decode(&body), Ok(ToPeer::Known { .. })));
    server.stop();
}

#[test]
fn mail_flows_again_when_a_slow_reader_has_caught_up() {
    const COUNT: u64 = 129;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut reader = RawConnection::join(server.address(), &Character::new("reader"));
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    let sealed = vec![7; LONG_BYTES];
    for number in 0..COUNT {
        // Each is one read, one run and one delivery. The last ones find the mailbox of the reader full.
        writer.say(&message("reader", number, &sealed));
        outcomes(&mut writer, 1);
    }
    let mut taken = Vec::new();
    // The order is: what the session has, what is in its mailbox, and what the store has.
    for count in [64, 64, 1] {
        taken.extend(numbers(&mut reader, count));
        reader.say(&ToServer::Taken { count: taken.len() as u64 });
    }
    assert!(taken.iter().copied().eq(0..COUNT), "{taken:?}");
    server.stop();
}

#[test]
fn stored_mail_is_delivered_once_on_a_connection_while_more_arrives() {
    const COUNT: u64 = 2_000;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let owner = Character::new("reader");
    drop(RawConnection::join(server.address(), &owner));
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    let mut bytes = Vec::new();
    (0..COUNT).for_each(|number| {
        frame::encode(&message("reader", number, b"stored or relayed"), &mut bytes);
    });
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reader = RawConnection::join(server.address(), &owner);
            let numbers = numbers(&mut reader, usize::try_from(COUNT).expect("it is small"));
            reader.say(&ToServer::Taken { count: COUNT });
            numbers
        });
        for part in bytes.chunks(1_500) {
            writer.say_bytes(part);
        }
        assert!(reading.join().expect("the reader gets all of it").iter().copied().eq(0..COUNT));
    });
    server.stop();
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_its_body_arrives() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let culprit = Character::new("culprit");
    let mut connection = RawConnection::open(server.address());
    let join = culprit.join(&connection.greeting);
    connection.say_bytes(&[frame::frame(&join), vec![0xff; 4]].concat());
    let welcome = connection.next().expect("the join is good");
    assert!(matches!(ToPeer::decode(&welcome), Ok(ToPeer::Welcome { .. })));
    connection.expect_error(ErrorCode::TooLong);
    server.stop();
}

#[test]
fn a_transfer_through_the_server_does_not_prevent_its_end() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let member = RawConnection::join(server.address(), &Character::new("member"));
    let end = |side, transfer| member.splice("member", transfer, side);
    let (mut sender, mut receiver) = (end(Side::Sender, [1; 16]), end(Side::Receiver, [1; 16]));
    for connection in [&mut sender, &mut receiver] {
        let body = connection.next().expect("the two ends meet");
        assert_eq!(ToPeer::decode(&body), Ok(ToPeer::Spliced));
    }
    sender.say_bytes(b"the beginning of a file");
    let _waits_for_its_other_end = end(Side::Sender, [2; 16]);
    server.stop();
}
