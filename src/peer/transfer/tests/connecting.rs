//! The listener, and the two ways to dial.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use wire::frame::{self, CALLBACK_PREFACE, FILE_PREFACE, PREFACE};
use wire::protocol::{Greeting, Side, ToPeer, ToServer};

use crate::peer::access::{Access, Server};
use crate::tls::Trust;

fn listener(decide_within: Duration) -> (Listener, crossbeam_channel::Receiver<ListenerEvent>) {
    listener_at(Ipv4Addr::LOCALHOST.into(), decide_within)
}

fn listener_at(
    address: IpAddr,
    decide_within: Duration,
) -> (Listener, crossbeam_channel::Receiver<ListenerEvent>) {
    let (events, seen) = crossbeam_channel::unbounded();
    let tell = move |event| drop(events.send(event));
    let listener = Listener::start_with(address, decide_within, tell).expect("a free port");
    (listener, seen)
}

fn dial_raw(listener: &Listener, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(listener.address()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("it is open");
    stream.write_all(said).expect("it is open");
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_listener_tells_who_has_connected() {
    let (listener, seen) = listener(DEADLINE);
    let mut server = dial_raw(&listener, &[CALLBACK_PREFACE.as_slice(), &[5; 32]].concat());
    match seen.recv_timeout(DEADLINE) {
        Ok(ListenerEvent::CalledBack { echo }) => assert_eq!(echo, [5; 32]),
        other => panic!("{other:?}"),
    }
    assert!(is_closed(&mut server));

    let address = listener.address();
    let receiver = dial_direct(address, &TRANSFER, DEADLINE).expect("it listens");
    let Ok(ListenerEvent::Fetch { transfer, mut stream }) = seen.recv_timeout(DEADLINE) else {
        panic!("a transfer was named");
    };
    assert_eq!(transfer, TRANSFER);
    stream.write_all(b"file").expect("it is open");
    (&receiver).read_exact(&mut [0; 4]).expect("it is the same connection");

    let said = [FILE_PREFACE.as_slice(), &[3; 16], b"!"].concat();
    let mut hasty = dial_raw(&listener, &said);
    let event = seen.recv_timeout(DEADLINE);
    let Ok(ListenerEvent::Fetch { transfer, mut stream }) = event else {
        panic!("a transfer was named, not {event:?}");
    };
    assert_eq!(transfer, [3; 16]);
    hasty.write_all(b"?").expect("it is open");
    let mut next = [0; 2];
    stream.read_exact(&mut next).expect("the stream blocks until something comes");
    assert_eq!(&next, b"!?", "nothing beyond the name of the transfer was taken");
}

#[test]
fn the_listener_waits_for_slow_peers_and_closes_unknown_connections() {
    let (listener, seen) = listener(DEADLINE);
    let mut slow = dial_raw(&listener, &FILE_PREFACE[..2]);
    for said in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"SWB2", b"SWBX"] {
        assert!(is_closed(&mut dial_raw(&listener, said)), "{said:?}");
    }
    let gone = dial_raw(&listener, &[FILE_PREFACE.as_slice(), &[1; 15]].concat());
    drop(gone);
    slow.write_all(&FILE_PREFACE[2..]).expect("it is open");
    slow.write_all(&[3; 16]).expect("it is open");
    match seen.recv_timeout(DEADLINE) {
        Ok(ListenerEvent::Fetch { transfer, .. }) => assert_eq!(transfer, [3; 16]),
        other => panic!("{other:?}"),
    }
    drop(listener);
    assert!(seen.recv().is_err(), "the thread has ended and nobody else was announced");
}

#[test]
fn silent_connections_delay_others_only_briefly() {
    let (listener, seen) = listener(Duration::from_millis(50));
    // More connections than may be undecided at once, and none of them sends anything.
    let mut silent: Vec<_> = (0..40).map(|_| dial_raw(&listener, b"")).collect();
    let address = listener.address();
    let _receiver = dial_direct(address, &TRANSFER, DEADLINE).expect("the system takes it");
    let event = seen.recv_timeout(DEADLINE);
    assert!(matches!(event, Ok(ListenerEvent::Fetch { .. })), "{event:?}");
    assert!(is_closed(&mut silent[0]));
}

#[test]
fn the_listener_takes_ipv6_where_the_system_has_it() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let (listener, seen) = listener_at(Ipv6Addr::LOCALHOST.into(), DEADLINE);
    let _stream = dial_direct(listener.address(), &TRANSFER, DEADLINE).expect("it listens");
    assert!(seen.recv_timeout(DEADLINE).is_ok());
}

#[test]
fn the_listener_is_reached_at_its_own_address_only() {
    let (listener, _) = listener(DEADLINE);
    // All of 127.0.0.0/8 is this machine.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), listener.address().port()));
    let refused = TcpStream::connect(other).expect_err("nothing listens there");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    TcpStream::connect(listener.address()).expect("it listens");
}

/// A server that sends `hello` first and `answer` after a request. Returns the request.
fn server(hello: Vec<u8>, answer: Vec<u8>) -> (String, thread::JoinHandle<(Vec<u8>, TcpStream)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody dials");
        stream.write_all(&hello).expect("it is open");
        let question = frame::frame(&splice());
        let mut asked = vec![0; PREFACE.len() + question.len()];
        // A peer that rejects the greeting sends no request.
        if stream.read_exact(&mut asked).is_ok() {
            stream.write_all(&answer).expect("it is open");
        }
        (asked, stream)
    });
    (address, thread)
}

fn joined(address: &str) -> Membership {
    let member = "B".parse().expect("a good name");
    let access = Access::new(address.parse().expect("it is an address"), &Trust::SystemOrUnknown);
    let access = access.expect("no certificates are needed");
    Membership { server: Server { access, unknown_certificate: None }, member, token: [6; 32] }
}

fn splice() -> ToServer<'static> {
    let Membership { member, token, .. } = joined("localhost");
    ToServer::Splice { transfer: TRANSFER, side: Side::Receiver, member, token }
}

fn hello() -> Vec<u8> {
    frame::frame(&ToPeer::Hello(Greeting::default()))
}

#[test]
fn two_ends_meet_at_the_server_and_no_byte_of_the_file_is_lost() {
    let spliced = frame::frame(&ToPeer::Spliced);
    let (address, thread) = server(hello(), [spliced.as_slice(), b"file message"].concat());
    let stream =
        dial_server(&joined(&address), &TRANSFER, Side::Receiver, DEADLINE, &|_| true).expect("they meet");
    let (asked, far) = thread.join().expect("the server does not panic");
    let question = frame::frame(&splice());
    assert_eq!(asked, [PREFACE.as_slice(), &question].concat());
    far.shutdown(Shutdown::Both).expect("it is open");
    let mut rest = Vec::new();
    (&stream).read_to_end(&mut rest).expect("it reads to the end");
    assert_eq!(rest, b"file message");
}

#[test]
fn a_refusal_of_the_server_is_shown_escaped() {
    let refusal = frame::frame(&ToPeer::Error { code: ErrorCode::Busy, detail: "no\x1b[2Jw".into() });
    for (first, second) in [(hello(), refusal.clone()), (refusal, Vec::new())] {
        let (address, thread) = server(first, second);
        let error = dial_server(&joined(&address), &TRANSFER, Side::Receiver, DEADLINE, &|_| true)
            .expect_err("it is refused");
        assert!(matches!(&error, TransferError::Server { code: ErrorCode::Busy, .. }), "{error}");
        assert!(error.to_string().contains("no\\u{1b}[2Jw"), "{error}");
        thread.join().expect("the server does not panic");
    }
}

#[test]
fn a_server_that_speaks_something_else_is_refused() {
    let unexpected = frame::frame(&ToPeer::Spliced);
    for greeting in [unexpected, b"HTTP/1.1 200 OK\r\n".to_vec(), vec![1, 0, 0, 0, 99]] {
        let (address, thread) = server(greeting, Vec::new());
        let refused = dial_server(&joined(&address), &TRANSFER, Side::Receiver, DEADLINE, &|_| true);
        assert!(matches!(refused, Err(TransferError::Protocol(_))), "{refused:?}");
        thread.join().expect("the server does not panic");
    }
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    let unused = unused.expect("a free port").to_string();
    let refused = dial_server(&joined(&unused), &TRANSFER, Side::Sender, DEADLINE, &|_| true);
    assert!(matches!(refused, Err(TransferError::Connect { .. })), "{refused:?}");
}

#[test]
fn a_server_that_says_nothing_is_left_in_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let refused =
        dial_server(&joined(&address), &TRANSFER, Side::Sender, Duration::from_millis(50), &|_| true);
    assert!(matches!(refused, Err(TransferError::TimedOut)), "{refused:?}");
}
