//! WebSockets (RFC 6455) of peers in a browser.

use std::net::{TcpListener, TcpStream};

use wire::frame::{self, BODY_BYTES_MAX, PREFACE};
use wire::protocol::ToPeer;

use super::super::Connection;
use super::*;
use crate::commands::connection::Visitor;
use crate::commands::gate::Gate;
use crate::transport::Transport;

/// A request that is granted. `HOST` and `KEY` stand in for what the tests change.
const FIELDS: &str = "Upgrade: websocket\nConnection: keep-alive, Upgrade\nSec-WebSocket-Version: 13\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: https://a:1\nHost: a:1\n";

fn site_with_page() -> Site {
    Site::with_config(SiteConfig { page: Some(Default::default()), ..SiteConfig::default() })
}

/// The granted request with a line replaced; an empty one is left out.
fn request(line: &str) -> String {
    let name = line.split(':').next().unwrap_or_default();
    let others = FIELDS.lines().filter(|other| other.split(':').next() != Some(name));
    let lines = others.chain([line]).filter(|line| line.contains(": "));
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("GET /switchboard/socket HTTP/1.1\r\n{lines}\r\n")
}

/// A frame of a client. Under a mask of zeros the payload is readable.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    assert!(length < 126, "it is short");
    [&[first, 0x80 | length, 0, 0, 0, 0][..], payload].concat()
}

/// Connects as a WebSocket.
fn connect(site: &Site) -> Client {
    let mut client = site.connect();
    client.write_all(request("").as_bytes()).expect("the server reads");
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert_eq!(field(&head, "Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((field(&head, "Upgrade"), field(&head, "Connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(field(&head, "Content-Length"), None);
    client
}

/// Reads one frame of the server: its first byte and its payload.
fn read_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).expect("a frame comes");
    let mut length = [0, head[1]];
    if head[1] == 126 {
        client.read_exact(&mut length).expect("the frame is whole");
    }
    let mut payload = vec![0; u16::from_be_bytes(length).into()];
    client.read_exact(&mut payload).expect("the frame is whole");
    (head[0], payload)
}

/// Whether the server has closed the connection in order.
fn has_ended(client: &mut Client) -> bool {
    client.read(&mut [0]).is_ok_and(|count| count == 0)
}

#[track_caller]
fn expect_hello(client: &mut Client) {
    let (first, payload) = read_frame(client);
    assert_eq!(first, 0x82, "a binary message");
    let body = frame::split(&payload, BODY_BYTES_MAX).expect("the frame is good").expect("it is whole");
    assert!(matches!(ToPeer::decode(body), Ok(ToPeer::Hello(_))), "{body:?}");
}

#[test]
fn a_request_for_a_websocket_is_granted_only_as_the_rfc_and_the_page_have_it() {
    let site = site_with_page();
    connect(&site);
    for (line, status) in [
        ("Upgrade: h2c, WebSocket", 101),
        ("Connection: UPGRADE", 101),
        // Without TLS here, a proxy has ended that of the page.
        ("Origin: https://A:1", 101),
        ("Origin: http://A:1", if has_tls() { 403 } else { 101 }),
        ("Upgrade", 426),
        ("Upgrade: h2c", 426),
        ("Connection", 426),
        ("Connection: keep-alive", 426),
        ("Sec-WebSocket-Version", 426),
        ("Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version: 13, 8", 426),
        ("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13", 426),
        ("Origin", 403),
        ("Origin: null", 403),
        ("Origin: https://a", 403),
        ("Origin: https://a:12", 403),
        ("Origin: https://b:1", 403),
        ("Origin: https://a:1.b", 403),
        ("Origin: https://b/https://a:1", 403),
        ("Origin: ftp://a:1", 403),
        ("Origin: https://a:1\r\nOrigin: https://a:1", 403),
        ("Sec-WebSocket-Key", 400),
        ("Sec-WebSocket-Key: c2hvcnQ=", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Content-Length: 1", 400),
        ("Transfer-Encoding: chunked", 400),
        ("Connection: Upgrade, close", 400),
    ] {
        let head = site.text(request(line));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
        let is_told =
            head.contains("Sec-WebSocket-Version: 13\r\n") && head.contains("Upgrade: websocket\r\n");
        assert_eq!(is_told, status == 426, "{line}: {head}");
    }
    assert_eq!(site.get("/switchboard/socket", "").status(), 426);
    assert_eq!(site.ask("GET /switchboard/socket HTTP/1.0\r\n\r\n").status(), 426);
    assert_eq!(Site::new().ask(request("")).status(), 404);
}

#[test]
fn a_peer_in_a_websocket_is_greeted_however_its_preface_is_divided() {
    let site = site_with_page();
    let [first, second, third, fourth] = PREFACE;
    let divided =
        [masked(0x02, &[first]), masked(0x80, &[]), masked(0x82, &[second, third]), masked(0x82, &[fourth])]
            .concat();
    for bytes in [masked(0x82, &PREFACE), divided] {
        let mut client = connect(&site);
        client.write_all(&bytes).expect("the server reads");
        expect_hello(&mut client);
        let mut client = connect(&site);
        for byte in &bytes {
            client.write_all(&[*byte]).expect("the server reads");
        }
        expect_hello(&mut client);
        // A client may send more before it has seen the response.
        let mut client = site.connect();
        client.write_all(&[request("").as_bytes(), &bytes].concat()).expect("the server reads");
        read_head(&mut client);
        expect_hello(&mut client);
    }
}

#[test]
fn nothing_but_a_peer_is_served_in_a_websocket() {
    let site = site_with_page();
    for (bytes, code) in [
        (masked(0x82, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 1000u16),
        (masked(0x82, b"SWB1"), 1000),
        (masked(0x81, &PREFACE), 1003),
        (b"\x82\x04SWB2".to_vec(), 1002),
        (masked(0x88, &1001u16.to_be_bytes()), 1001),
    ] {
        let mut client = connect(&site);
        client.write_all(&bytes).expect("the server reads");
        assert_eq!(read_frame(&mut client), (0x88, code.to_be_bytes().to_vec()), "{bytes:?}");
        assert!(has_ended(&mut client), "{bytes:?}");
    }
}

#[test]
fn a_peer_in_a_websocket_is_told_of_what_is_wrong_before_it_is_closed() {
    let site = site_with_page();
    // What the protocol of peers refuses: an unknown message.
    let mut client = connect(&site);
    client.write_all(&masked(0x82, &PREFACE)).expect("the server reads");
    expect_hello(&mut client);
    client.write_all(&masked(0x82, &[1, 0, 0, 0, 99])).expect("the server reads");
    let (first, error) = read_frame(&mut client);
    // 12 is Error, 1 is UnknownKind (PROTOCOL.md, sections 7.2 and 7.3).
    assert_eq!((first, error.get(4..6)), (0x82, Some(&[12, 1][..])));
    assert_eq!(read_frame(&mut client), (0x88, vec![0x03, 0xe8]));
    client.write_all(&masked(0x88, &[])).expect("the server reads");
    assert!(has_ended(&mut client));
    // Frames that WebSockets refuse, in the middle of the connection.
    let mut client = connect(&site);
    client.write_all(&masked(0x82, &PREFACE)).expect("the server reads");
    expect_hello(&mut client);
    client.write_all(&masked(0x89, b"ping")).expect("the server reads");
    assert_eq!(read_frame(&mut client), (0x8a, b"ping".to_vec()));
    client.write_all(&masked(0x81, b"text")).expect("the server reads");
    assert_eq!(read_frame(&mut client), (0x88, 1003u16.to_be_bytes().to_vec()));
    assert!(has_ended(&mut client));
}

#[test]
fn a_websocket_has_the_time_of_a_new_connection_for_its_first_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let _client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (stream, address) = listener.accept().expect("a client has connected");
    let visitor = Visitor { address: Some(address), door: Door::Public };
    let place = Arc::new(Gate::unshared(1)).enter(visitor.ip()).expect("there is room");
    let since = Instant::now();
    let mut connection = Connection::new(1, Transport::plain(stream), visitor, place, since);
    let (later, limits) = (since + Duration::from_secs(10), Limits::default());
    let plain = connection.upgrade(&masked(0x82, &PREFACE[..3]), later).expect("nothing is wrong");
    assert_eq!(plain, PREFACE[..3]);
    assert_eq!(connection.deadline(&limits), later + limits.head_timeout);
}
