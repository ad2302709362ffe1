//! The server's end against a client of rustls, with the bytes in between at hand.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use wire::protocol::ChannelBinding;

use super::{TlsBase, TlsConfig, TlsConnection, TlsFiles};

mod certificates;

/// The host that clients ask for.
pub(crate) const HOST: &str = "a.test";

/// A folder with certificates.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("there is a place for temporary files"))
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path
    }

    /// A certificate that is its own authority, for these names.
    pub(crate) fn certificate(&self, names: &[&str]) -> TlsFiles {
        self.certificate_with(names, |_| {})
    }

    fn certificate_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = CertificateParams::new(names.clone()).expect("the names are good");
        change(&mut params);
        let certificate = params.self_signed(&key).expect("it can be signed");
        TlsFiles {
            certificate: self.put(&format!("{}.pem", names[0]), &certificate.pem()),
            key: self.put(&format!("{}.key", names[0]), &key.serialize_pem()),
            hosts: Vec::new(),
        }
    }
}

pub(crate) fn load(files: &[TlsFiles]) -> Result<TlsConfig, String> {
    TlsBase::new().expect("there is randomness").load(files).map_err(|error| error.to_string())
}

pub(crate) fn client_config(
    roots: &[&TlsFiles],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut store = RootCertStore::empty();
    for files in roots {
        let root = CertificateDer::from_pem_file(&files.certificate).expect("it is there");
        store.add(root).expect("it is a certificate");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("ring has these versions");
    Arc::new(builder.with_root_certificates(store).with_no_client_auth())
}

/// The socket of the server, in memory. The default takes and gives everything at once.
struct Socket {
    /// From the client.
    incoming: VecDeque<u8>,
    is_closed: bool,
    /// To the client.
    outgoing: Vec<u8>,
    /// The most that one read or write moves.
    step: usize,
    /// How many bytes it takes before it is full.
    room: usize,
}

impl Socket {
    fn new(step: usize) -> Self {
        Self { incoming: VecDeque::new(), is_closed: false, outgoing: Vec::new(), step, room: usize::MAX }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.step).min(self.incoming.len());
        if count == 0 && !self.is_closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.incoming.read(&mut buffer[..count])
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.step).min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.outgoing.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client, a server, and what each has received.
struct Pair {
    client: ClientConnection,
    server: TlsConnection,
    socket: Socket,
    at_server: Vec<u8>,
    at_client: Vec<u8>,
}

impl Pair {
    fn new(config: &TlsConfig, client: Arc<ClientConfig>, step: usize) -> Self {
        Self {
            client: ClientConnection::new(client, HOST.try_into().expect("it is a name"))
                .expect("the configuration is good"),
            server: config.accept().expect("the configuration is good"),
            socket: Socket::new(step),
            at_server: Vec::new(),
            at_client: Vec::new(),
        }
    }

    /// Moves what the client has to send.
    fn send(&mut self) {
        while self.client.wants_write() {
            let mut sent = Vec::new();
            self.client.write_tls(&mut sent).expect("there is memory");
            self.socket.incoming.extend(sent);
        }
    }

    /// Moves bytes until both wait. Returns how the server's last read ended.
    fn run(&mut self) -> io::Result<usize> {
        loop {
            self.send();
            let mut buffer = [0; 100];
            let read = self.server.read(&mut self.socket, &mut buffer);
            if let Ok(count) = read {
                self.at_server.extend_from_slice(&buffer[..count]);
            }
            let arrived = std::mem::take(&mut self.socket.outgoing);
            let mut rest = &arrived[..];
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).expect("it is memory");
                self.client.process_new_packets().expect("the server keeps to the protocol");
                let mut plain = Vec::new();
                // Ends with `WouldBlock`, because the stream has not ended.
                let _ = self.client.reader().read_to_end(&mut plain);
                self.at_client.extend(plain);
            }
            if self.client.wants_write() || matches!(read, Ok(1..)) {
                continue;
            }
            return read;
        }
    }
}

fn pair(step: usize) -> (Folder, Pair) {
    let folder = Folder::new();
    let files = folder.certificate(&["a.test"]);
    let client = client_config(&[&files], &[&version::TLS13]);
    let config = load(&[files]).expect("the certificate is good");
    (folder, Pair::new(&config, client, step))
}

fn is_waiting<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_whole_in_both_directions_however_the_stream_is_cut(
        step in prop_oneof![Just(1_usize), 1_usize..40, 1_usize..5000],
        request in prop::collection::vec(any::<u8>(), 0..3000),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..4),
        is_old in any::<bool>(),
    ) {
        let folder = Folder::new();
        let files = folder.certificate(&["a.test"]);
        let versions: &[_] = if is_old { &[&version::TLS12] } else { &[&version::TLS13] };
        let client = client_config(&[&files], versions);
        let config = load(&[files]).expect("the certificate is good");
        let mut pair = Pair::new(&config, client, step);
        pair.client.writer().write_all(&request).expect("there is memory");
        prop_assert!(is_waiting(&pair.run()));
        prop_assert_eq!(&pair.at_server, &request);
        let mut rest = parts.concat();
        let expected = rest.clone();
        while !rest.is_empty() {
            let (first, second) = rest.split_at(rest.len() / 2);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let count = pair.server.write(&mut pair.socket, &slices)?;
            rest.drain(..count);
        }
        prop_assert!(!pair.server.has_unsent());
        prop_assert!(is_waiting(&pair.run()));
        prop_assert_eq!(&pair.at_client, &expected);
    }
}

#[test]
fn a_full_socket_keeps_what_was_encrypted_for_later() {
    let (_folder, mut pair) = pair(usize::MAX);
    assert!(is_waiting(&pair.run()));
    pair.socket.room = 10;
    let count = pair.server.write(&mut pair.socket, &[IoSlice::new(b"some text")]).expect("it is taken");
    assert_eq!(count, 9);
    assert!(pair.server.has_unsent());
    assert!((1..40).contains(&pair.server.unsent_bytes()), "{}", pair.server.unsent_bytes());
    let more = pair.server.write(&mut pair.socket, &[IoSlice::new(b"!")]);
    assert!(is_waiting(&more), "nothing is taken before the earlier bytes are sent");
    pair.socket.room = usize::MAX;
    pair.server.flush(&mut pair.socket).expect("there is room");
    assert_eq!((pair.server.has_unsent(), pair.server.unsent_bytes()), (false, 0));
    assert!(is_waiting(&pair.run()));
    assert_eq!(pair.at_client, b"some text");
}

#[test]
fn one_call_takes_a_bounded_number_of_bytes() {
    let (_folder, mut pair) = pair(usize::MAX);
    assert!(is_waiting(&pair.run()));
    let large = vec![1; 1 << 20];
    let count = pair.server.write(&mut pair.socket, &[IoSlice::new(&large)]).expect("there is room");
    assert!((16 << 10..=64 << 10).contains(&count), "{count}");
}

#[test]
fn an_end_in_order_is_told_from_a_connection_that_is_cut() {
    let (_folder, mut ended) = pair(usize::MAX);
    assert!(is_waiting(&ended.run()));
    ended.client.writer().write_all(b"last").expect("there is memory");
    ended.client.send_close_notify();
    assert_eq!(ended.run().ok(), Some(0));
    assert_eq!(ended.at_server, b"last");
    assert!(ended.server.has_unread(), "the end can be read without the socket");
    ended.server.write(&mut ended.socket, &[IoSlice::new(b"answer")]).expect("the other direction is open");

    let (_folder, mut cut) = pair(usize::MAX);
    cut.client.writer().write_all(b"last").expect("there is memory");
    assert!(is_waiting(&cut.run()));
    cut.socket.is_closed = true;
    assert_eq!(cut.run().expect_err("bytes may be missing").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(cut.at_server, b"last");
}

#[test]
fn both_ends_compute_the_same_binding_and_no_other_connection_does() {
    let (_folder, mut first) = pair(usize::MAX);
    assert_eq!(first.server.channel_binding(), None, "there is none before the handshake");
    assert!(is_waiting(&first.run()));
    let of_client = first
        .client
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))
        .expect("the handshake is done");
    assert_eq!(first.server.channel_binding(), Some(ChannelBinding(of_client)));
    let (_folder, mut second) = pair(usize::MAX);
    assert!(is_waiting(&second.run()));
    assert_ne!(second.server.channel_binding(), first.server.channel_binding());
}

#[test]
fn a_binding_needs_tls_1_3() {
    let folder = Folder::new();
    let files = folder.certificate(&["a.test"]);
    let client = client_config(&[&files], &[&version::TLS12]);
    let config = load(&[files]).expect("the certificate is good");
    let mut pair = Pair::new(&config, client, usize::MAX);
    assert!(is_waiting(&pair.run()));
    assert_eq!(pair.server.channel_binding(), None);
}

#[test]
fn an_end_is_noticed_when_everything_is_read() {
    let (_folder, mut pair) = pair(usize::MAX);
    assert!(is_waiting(&pair.run()));
    assert!(!pair.server.has_ended(&mut pair.socket), "the client says nothing");
    pair.client.writer().write_all(b"last").expect("there is memory");
    pair.client.send_close_notify();
    pair.send();
    assert!(!pair.server.has_ended(&mut pair.socket), "there is something to read");
    assert_eq!(pair.run().ok(), Some(0));
    assert_eq!(pair.at_server, b"last");
    assert!(pair.server.has_ended(&mut pair.socket));

    let (_folder, mut cut) = self::pair(usize::MAX);
    assert!(is_waiting(&cut.run()));
    cut.socket.is_closed = true;
    assert!(cut.server.has_ended(&mut cut.socket));
}

#[test]
fn the_client_is_told_the_end() {
    let (_folder, mut pair) = pair(usize::MAX);
    assert!(is_waiting(&pair.run()));
    pair.server.end_writing(&mut pair.socket);
    assert!(is_waiting(&pair.run()));
    assert_eq!(pair.client.reader().read(&mut [0]).ok(), Some(0), "the client has its close_notify");
}

/// Reads these bytes of a client. Returns the error, and what the client gets.
fn failure(bytes: &[u8]) -> (String, Vec<u8>) {
    let (_folder, mut pair) = pair(usize::MAX);
    pair.socket.incoming.extend(bytes);
    let error = pair.server.read(&mut pair.socket, &mut [0; 10]).expect_err("it is no handshake");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    (error.to_string(), pair.socket.outgoing)
}

#[test]
fn clients_without_tls_are_told_that_it_is_needed() {
    let (error, answer) = failure(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(error.contains("plain HTTP"), "{error}");
    let answer = String::from_utf8(answer).expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https://"), "{answer}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");

    let (error, answer) = failure(b"SWB2....");
    assert!(error.contains("a peer connects without TLS"), "{error}");
    let body = wire::frame::split(&answer, 1000).expect("it is a frame").expect("it is whole");
    let message = wire::protocol::ToPeer::decode(body).expect("it is a message");
    assert!(matches!(message, wire::protocol::ToPeer::Error { .. }), "{message:?}");

    let (error, _) = failure(b"\x00\x01\x02\x03\x04\x05\x06");
    assert!(error.contains("not TLS"), "{error}");
}

/// The first message of a client that speaks TLS 1.0 only.
fn old_hello() -> Vec<u8> {
    let body = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0xC0, 0x13, 1, 0]].concat();
    let length = u8::try_from(body.len()).expect("it is short");
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[test]
fn an_error_of_the_handshake_says_what_it_is() {
    let (error, answer) = failure(&old_hello());
    assert!(error.contains("neither TLS 1.2 nor TLS 1.3"), "{error}");
    // A fatal alert (RFC 8446, section 6).
    assert!(answer.starts_with(&[21, 3, 3, 0, 2, 2]), "{answer:?}");
}

/// The time of a client, in seconds since 1970.
#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

#[test]
fn the_reason_why_a_client_does_not_accept_the_certificate_is_told() {
    let folder = Folder::new();
    let files = folder.certificate_with(&["b.test", HOST], |params| {
        params.not_after = date_time_ymd(2990, 1, 1);
    });
    let stranger = folder.certificate_with(&["c.test"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    });
    let elsewhere = folder.certificate(&["d.test"]);
    let with_clock = |unix| {
        let mut client = ClientConfig::clone(&client_config(&[&files], &[&version::TLS13]));
        client.time_provider = Arc::new(Clock(unix));
        Arc::new(client)
    };
    // It is in the year 2999 for the client: the certificate has expired while the server runs.
    for (server, client, alert) in [
        (&files, with_clock(32_472_144_000), "CertificateExpired"),
        (&files, client_config(&[&stranger], &[&version::TLS13]), "UnknownCA"),
        (&elsewhere, client_config(&[&elsewhere], &[&version::TLS13]), "BadCertificate"),
    ] {
        let config = load(std::slice::from_ref(server)).expect("the certificate is good");
        let mut pair = Pair::new(&config, client, usize::MAX);
        pair.send();
        assert!(is_waiting(&pair.server.read(&mut pair.socket, &mut [0])));
        pair.client.read_tls(&mut &pair.socket.outgoing[..]).expect("it is memory");
        pair.client.process_new_packets().expect_err("the certificate is not accepted");
        pair.send();
        let error = pair.server.read(&mut pair.socket, &mut [0]).expect_err("the client refuses").to_string();
        let words = "the client does not accept the certificate";
        assert!(error.contains(words) && error.contains(alert), "{alert}: {error}");
    }
}

/// Requests that have come until the next write share an answer (RFC 8446, section 4.6.3).
#[test]
fn a_client_that_asks_for_new_keys_again_and_again_costs_no_memory() {
    let (_folder, mut pair) = pair(usize::MAX);
    assert!(is_waiting(&pair.run()));
    let ask = |pair: &mut Pair| {
        pair.client.refresh_traffic_keys().expect("the handshake is done");
        pair.send();
        pair.server.read(&mut pair.socket, &mut [0])
    };
    assert!((0..20).all(|_| is_waiting(&ask(&mut pair))));
    pair.server.write(&mut pair.socket, &[IoSlice::new(b"x")]).expect("there is room");
    assert!((25..100).contains(&pair.socket.outgoing.len()), "{}", pair.socket.outgoing.len());
    let end = (0..100).map(|_| ask(&mut pair)).find(|read| !is_waiting(read));
    assert!(end.is_some_and(|end| end.is_err_and(|e| e.kind() == ErrorKind::InvalidData)));
}

#[test]
fn the_first_message_of_a_client_may_be_long_and_come_in_single_bytes() {
    let folder = Folder::new();
    let files = folder.certificate(&[HOST]);
    let mut client = ClientConfig::clone(&client_config(&[&files], &[&version::TLS13]));
    client.alpn_protocols = (0..70).map(|number| vec![number; 200]).collect();
    client.alpn_protocols.push(b"http/1.1".to_vec());
    let config = load(&[files]).expect("the certificate is good");
    let mut pair = Pair::new(&config, Arc::new(client), 1);
    pair.send();
    assert!(pair.socket.incoming.len() > 14_000);
    pair.client.writer().write_all(b"request").expect("there is memory");
    assert!(is_waiting(&pair.run()));
    assert_eq!(pair.at_server, b"request");
}
