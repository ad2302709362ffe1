//! Timeouts and limits of connections.

use std::io::ErrorKind;
use std::net::TcpStream;

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

const SHORT: Duration = Duration::from_millis(100);
/// Never reached, so that only the tested limit can end a connection.
const LONG: Duration = Duration::from_secs(3600);

fn patient() -> Limits {
    Limits {
        head_timeout: LONG,
        idle_timeout: LONG,
        write_timeout: LONG,
        unreported_bytes: 0,
        linger: LONG,
        ..Limits::default()
    }
}

/// Sends single bytes until the server responds, or ends the connection.
fn drip(client: &mut Client, mut is_over: impl FnMut(&mut Client) -> bool) {
    wait_until("the deadline was extended", || {
        if is_over(client) || client.write_all(b"a").is_err() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(5));
        false
    });
}

fn send(client: &mut Client, request: &str) {
    client.write_all(request.as_bytes()).expect("the server reads");
}

/// Whether the connection has ended without a reset, with nothing more to read.
fn has_ended(client: &mut Client) -> bool {
    client.read(&mut [0; 10]).expect("it is closed in good order") == 0
}

#[test]
fn the_deadline_of_a_head_is_absolute() {
    if has_tls() {
        // A handshake on a busy machine can take longer than the short deadline, which includes it.
        return;
    }
    let site = Site::with_limits(Limits { head_timeout: SHORT, ..patient() });
    for (before, begun, has_body) in [
        ("", "GET / HTTP/1.1\r\nHost: ", true),
        ("", "GET /", true),
        ("", "HEAD / HTTP/1.1\r\nX: ", false),
        (&*get("/probe.txt"), "GET / HTTP/1.1\r\nHost: ", true),
    ] {
        let mut client = site.connect();
        send(&mut client, before);
        if !before.is_empty() {
            assert_eq!(read_one(&mut client).1, b"probe");
        }
        send(&mut client, begun);
        drip(&mut client, Client::is_ready);
        let mut answer = Vec::new();
        // Bytes that were sent after the end may have reset the connection after the response.
        let mut byte = [0];
        while client.read(&mut byte).is_ok_and(|count| count > 0) {
            answer.push(byte[0]);
        }
        let (answer, rest) = Answer::split_off(&answer, !has_body);
        assert_eq!((answer.status(), rest), (408, b"".as_slice()), "{begun}");
        assert_eq!(answer.field("Connection"), Some("close"));
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let site = Site::with_limits(Limits { idle_timeout: SHORT, ..patient() });
    let mut client = site.connect();
    send(&mut client, &get("/small.txt"));
    assert_eq!(read_one(&mut client).1, SMALL.as_bytes());
    assert!(has_ended(&mut client));
    if has_tls() {
        // As above.
        return;
    }
    // Before the first request the timeout of the head applies.
    let site = Site::with_limits(Limits { head_timeout: SHORT, ..patient() });
    assert!(has_ended(&mut site.connect()));
}

#[test]
fn a_body_that_does_not_come_ends_the_connection_behind_the_answer() {
    if has_tls() {
        // As above.
        return;
    }
    let site = Site::with_limits(Limits { head_timeout: SHORT, ..patient() });
    for fields in ["Content-Length: 60000", "Transfer-Encoding: chunked"] {
        let mut client = site.connect();
        send(&mut client, &format!("GET /small.txt HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(read_one(&mut client).1, SMALL.as_bytes());
        assert!(has_ended(&mut client), "{fields}");
    }
    let mut client = site.connect();
    send(&mut client, "GET /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    assert_eq!(read_one(&mut client).1, SMALL.as_bytes());
    drip(&mut client, Client::is_ready);
}

#[test]
fn a_reader_that_stops_is_given_up() {
    // With room for one connection, the next one is accepted when the other was closed.
    let limits = Limits { write_timeout: SHORT, connections: 1, ..patient() };
    let folder = usual_folder();
    let huge = 40_000_000;
    write_old(folder.path(), "huge.bin", &vec![0; huge], MODIFIED);
    let site = Site::start(limits, vec![(folder, SiteConfig::default())]);
    // From the disk, and from memory.
    for request in [get("/huge.bin"), get("/medium.bin").repeat(400)] {
        let mut stopped = site.connect();
        // The previous connection may not be closed yet.
        wait_until("there is no room", || {
            stopped = site.connect();
            stopped.socket.set_write_timeout(Some(SOON)).expect("a timeout can be set");
            let _ = stopped.write_all(request.as_bytes());
            let mut first = [0; 15];
            stopped.read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 200 OK"
        });
        wait_for_room(&site);
        let mut rest = Vec::new();
        // With or without a reset, the body must be incomplete.
        let _ = stopped.read_to_end(&mut rest);
        assert!(rest.len() < huge, "{}", rest.len());
    }
}

#[test]
fn a_reader_above_the_least_rate_is_not_cut_off_though_its_system_reports_in_steps() {
    const PAUSE: Duration = Duration::from_millis(125);
    let limits = Limits { write_timeout: SHORT, unreported_bytes: 64 << 10, ..patient() };
    let site = Site::with_limits(limits);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket.set_recv_buffer_size(1).expect("it is a socket");
    socket.connect(&site.address.into()).expect("somebody listens");
    let mut client = Client::over(TcpStream::from(socket));
    send(&mut client, &get("/large.bin"));
    // 2 KiB/s, for longer than the buffered bytes last.
    for _ in 0..40 {
        client.read_exact(&mut [0; 256]).expect("nobody is cut off who reads");
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn a_slow_reader_gets_all_and_has_its_time_after_that() {
    const PAUSE: Duration = Duration::from_millis(100);
    const PIECE: usize = 1_000_000;
    // Reading each response takes longer than that.
    let limits = Limits { write_timeout: 10 * PAUSE, idle_timeout: 20 * PAUSE, ..patient() };
    let folder = usual_folder();
    let huge = pattern(35 * PIECE);
    write_old(folder.path(), "huge.bin", &huge, MODIFIED);
    let site = Site::start(limits, vec![(folder, SiteConfig::default())]);
    // Without and with a lease; one response, and two in a row.
    std::thread::scope(|scope| {
        for count in [1, 2] {
            let (site, huge) = (&site, &huge);
            scope.spawn(move || {
                let mut client = site.connect();
                // What its system has acknowledged counts as read.
                SockRef::from(&client).set_recv_buffer_size(PIECE / 4).expect("it is a socket");
                send(&mut client, &get("/huge.bin").repeat(count));
                for _ in 0..count {
                    let head = read_head(&mut client);
                    assert_eq!(field(&head, "Content-Length"), Some("35000000"));
                    for (number, expected) in huge.chunks(PIECE).enumerate() {
                        let mut piece = vec![0; PIECE];
                        client.read_exact(&mut piece).expect("nobody is cut off who reads");
                        assert!(piece == expected);
                        // The rest at once.
                        if number < 30 {
                            std::thread::sleep(PAUSE);
                        }
                    }
                }
                std::thread::sleep(5 * PAUSE);
                send(&mut client, &get("/probe.txt"));
                assert_eq!(read_one(&mut client).1, b"probe");
            });
        }
    });
}

#[test]
fn what_was_answered_is_there_to_be_read_whatever_is_sent_meanwhile() {
    let limits = Limits { idle_timeout: SHORT, linger: SHORT, ..patient() };
    let site = Site::with_limits(limits);
    std::thread::scope(|scope| {
        for (ending, more) in [
            ("1.1\r\nHost: a\r\nConnection: close", "\r\n"),
            ("1.0", "\r\n"),
            ("1.1\r\nHost: a", "GET /probe.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ] {
            let site = &site;
            scope.spawn(move || {
                let mut client = site.connect();
                send(&mut client, &format!("GET /large.bin HTTP/{ending}\r\n\r\n"));
                client.wait();
                // Long enough for a wrong server to end the connection.
                std::thread::sleep(10 * SHORT);
                send(&mut client, more);
                std::thread::sleep(SHORT);
                let mut all = Vec::new();
                client.read_to_end(&mut all).expect("it is not reset");
                let (answer, rest) = Answer::split_off(&all, false);
                assert!(answer.body == pattern(3_000_000), "{ending}: {}", answer.body.len());
                assert_eq!(rest.is_empty(), more == "\r\n", "{ending}");
            });
        }
    });
}

fn wait_for_room(site: &Site) {
    wait_until("there is no room", || {
        let mut client = site.connect();
        // The request of a refused client is not read.
        let _ = client.write_all(get("/probe.txt").as_bytes());
        let mut start = [0; 12];
        client.read_exact(&mut start).is_ok() && &start == b"HTTP/1.1 200"
    });
}

#[test]
fn who_is_one_too_many_is_asked_to_come_back() {
    for limits in [
        Limits { connections: 2, connections_per_address: 9, ..patient() },
        Limits { connections: 9, connections_per_address: 2, ..patient() },
    ] {
        let site = Site::with_limits(limits);
        let mut inside: Vec<_> = (0..2).map(|_| site.connect()).collect();
        for client in &mut inside {
            send(client, &get("/probe.txt"));
            assert_eq!(read_one(client).1, b"probe");
        }
        if has_tls() {
            // Without a handshake there is no response, and for a handshake there is no room.
            let refused = site.connect().read(&mut [0]).map_err(|e| e.kind());
            assert!(
                matches!(refused, Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)),
                "{refused:?}"
            );
            continue;
        }
        let mut outside = site.connect();
        // The request arrives after the response.
        outside.wait();
        for _ in 0..8 {
            outside.write_all(&[b'x'; 100_000]).expect("nobody who is still asking is cut off");
        }
        outside.end_writing();
        let mut answer = Vec::new();
        outside.read_to_end(&mut answer).expect("it is closed in good order");
        let (answer, rest) = Answer::split_off(&answer, false);
        assert_eq!((answer.status(), rest), (503, b"".as_slice()));
        assert_eq!((answer.field("Retry-After"), answer.field("Connection")), (Some("1"), Some("close")));
        let mut outside = site.connect();
        send(&mut outside, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        outside.end_writing();
        let mut head = String::new();
        outside.read_to_string(&mut head).expect("it is closed in good order");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.ends_with("\r\n\r\n"), "{head}");
        // Open connections are still served, and closing one makes room.
        for client in &mut inside {
            send(client, &get("/probe.txt"));
            assert_eq!(read_one(client).1, b"probe");
        }
        inside.pop();
        wait_for_room(&site);
    }
}

#[test]
fn a_client_that_does_not_end_is_not_waited_for() {
    let last = "GET /small.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for request in [last, "GET / HTTP/1.1\r\n\r\n"] {
        // Not longer than this.
        let site = Site::with_limits(Limits { linger: SHORT, ..patient() });
        let mut client = site.connect();
        send(&mut client, request);
        read_one(&mut client);
        assert!(has_ended(&mut client), "the server's half is closed at once");
        drip(&mut client, |_| false);
        // Not more than this.
        let site = Site::with_limits(patient());
        let mut client = site.connect();
        // At once: a client that announced its last request and sends more may be reset.
        send(&mut client, &format!("{request}x"));
        read_one(&mut client);
        assert!(has_ended(&mut client), "the server's half is closed at once");
        wait_until("all is read", || client.write_all(&[0; 1 << 16]).is_err());
    }
    // Nor for a client that has not read its last response and still sends.
    let site = Site::with_limits(patient());
    let mut client = site.connect();
    SockRef::from(&client).set_recv_buffer_size(4096).expect("it is a socket");
    client.socket.set_write_timeout(Some(SOON)).expect("a timeout can be set");
    send(&mut client, "GET /medium.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nx");
    client.wait();
    wait_until("all is read", || client.write_all(&[0; 1 << 16]).is_err());
}
