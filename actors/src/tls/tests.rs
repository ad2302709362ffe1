//! The server's end against a client of rustls, with the bytes in between at hand.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use wire::protocol::ChannelBinding;

use super::{TlsBase, TlsConfig, TlsConnection, TlsFiles};

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

    // The client does not know the authority.
    let folder = Folder::new();
    let config = load(&[folder.certificate(&["a.test"])]).expect("the certificate is good");
    let stranger = folder.certificate_with(&["b.test"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    });
    let mut pair = Pair::new(&config, client_config(&[&stranger], &[&version::TLS13]), usize::MAX);
    pair.send();
    assert!(is_waiting(&pair.server.read(&mut pair.socket, &mut [0])));
    pair.client.read_tls(&mut &pair.socket.outgoing[..]).expect("it is memory");
    pair.client.process_new_packets().expect_err("the certificate is not trusted");
    pair.send();
    let error = pair.server.read(&mut pair.socket, &mut [0]).expect_err("the client refuses").to_string();
    assert!(error.contains("the client does not accept the certificate"), "{error}");
}

#[test]
fn a_bad_certificate_is_refused_with_the_file_and_the_reason() {
    let folder = Folder::new();
    let good = folder.certificate(&["a.test"]);
    let other = folder.certificate(&["b.test"]);
    let expired =
        folder.certificate_with(&["c.test"], |params| params.not_after = date_time_ymd(2020, 1, 31));
    let future = folder.certificate_with(&["d.test"], |params| params.not_before = date_time_ymd(2999, 1, 1));
    let empty = folder.put("empty.pem", "nothing\n");
    let cut = folder.put("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let refused = |files: TlsFiles, words: &[&str]| {
        let error = load(std::slice::from_ref(&files)).expect_err("it cannot be used");
        for word in words {
            assert!(error.contains(word), "{word} is not in {error}");
        }
    };
    let with = |certificate: &PathBuf, key: &PathBuf| TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        hosts: Vec::new(),
    };
    refused(with(&"missing.pem".into(), &good.key), &["certificate missing.pem", "No such file"]);
    refused(with(&empty, &good.key), &["empty.pem", "no certificate"]);
    refused(with(&good.key, &good.key), &["a.test.key", "no certificate"]);
    refused(with(&cut, &good.key), &["cut.pem", "not PEM"]);
    refused(with(&good.certificate, &empty), &["key", "empty.pem", "no private key"]);
    refused(with(&good.certificate, &other.key), &["b.test.key", "does not belong", "a.test.pem"]);
    refused(expired, &["c.test.pem", "expired on Fri, 31 Jan 2020"]);
    refused(future, &["d.test.pem", "valid only from Tue, 01 Jan 2999"]);
    assert!(load(&[good, other]).is_ok());
}

/// The certificate that a client gets that asks for `name`, and trusts all of `files`.
fn presented(config: &TlsConfig, files: &[&TlsFiles], name: &'static str) -> Option<Vec<u8>> {
    let mut pair = Pair::new(config, client_config(files, &[&version::TLS13]), usize::MAX);
    let name = name.try_into().expect("it is a name");
    pair.client = ClientConnection::new(client_config(files, &[&version::TLS13]), name).expect("it is good");
    pair.send();
    assert!(is_waiting(&pair.server.read(&mut pair.socket, &mut [0])));
    pair.client.read_tls(&mut &pair.socket.outgoing[..]).expect("it is memory");
    pair.client.process_new_packets().ok()?;
    pair.client.peer_certificates().map(|chain| chain[0].to_vec())
}

fn der(files: &TlsFiles) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(&files.certificate).expect("it is there").to_vec()
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let folder = Folder::new();
    let files = [folder.certificate(&["a.test"]), folder.certificate(&["*.b.test", "b.test"])];
    let der = files.each_ref().map(der);
    let trusted = files.each_ref();
    let config = load(&files).expect("they are good");
    assert_eq!(presented(&config, &trusted, "a.test"), Some(der[0].clone()));
    assert_eq!(presented(&config, &trusted, "b.test"), Some(der[1].clone()));
    assert_eq!(presented(&config, &trusted, "x.b.test"), Some(der[1].clone()));
    // The first one, which is not for this name, so the client refuses it.
    assert_eq!(presented(&config, &trusted, "c.test"), None);
}

#[test]
fn a_chain_is_sent_whole() {
    let folder = Folder::new();
    let authority_key = KeyPair::generate().expect("there is randomness");
    let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("it can be signed");
    let root = TlsFiles {
        certificate: folder.put("root.pem", &authority.pem()),
        key: PathBuf::new(),
        hosts: Vec::new(),
    };
    let authority_issuer = Issuer::new(params, authority_key);
    let (middle_key, leaf_key) = (KeyPair::generate(), KeyPair::generate());
    let (middle_key, leaf_key) =
        (middle_key.expect("there is randomness"), leaf_key.expect("there is randomness"));
    let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
    params.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let middle = params.signed_by(&middle_key, &authority_issuer).expect("it can be signed");
    let issuer = Issuer::new(params, middle_key);
    let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("the name is good");
    let leaf = params.signed_by(&leaf_key, &issuer).expect("it can be signed");
    let key = folder.put("leaf.key", &leaf_key.serialize_pem());
    let whole = folder.put("whole.pem", &format!("{}{}", leaf.pem(), middle.pem()));
    let part = folder.put("part.pem", &leaf.pem());
    let config =
        load(&[TlsFiles { certificate: whole, key: key.clone(), hosts: Vec::new() }]).expect("it is good");
    assert_eq!(presented(&config, &[&root], "a.test"), Some(leaf.der().to_vec()));
    // Only a warning, because the clients may know the authority in the middle.
    let config = load(&[TlsFiles { certificate: part, key, hosts: Vec::new() }]).expect("it can be used");
    assert_eq!(presented(&config, &[&root], "a.test"), None);
}

#[test]
fn a_site_has_a_certificate_of_its_own() {
    let folder = Folder::new();
    let [of_server, of_site] =
        [&["c.test", "a.test"], &["a.test", "b.test"]].map(|names| folder.certificate(names));
    let with_hosts = |hosts: &[&str]| TlsFiles {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..of_site.clone()
    };
    let all = [&of_server, &of_site];
    let shown = |config: &TlsConfig, name| {
        let shown = presented(config, &all, name).expect("there is one");
        all.map(|files| der(files) == shown)
    };
    let config = load(&[of_server.clone(), with_hosts(&["a.test"])]).expect("they are good");
    assert_eq!(shown(&config, "a.test"), [false, true]);
    assert_eq!(shown(&config, "c.test"), [true, false], "it is a name of the server");
    // A site that is named first is not for the names of others.
    let config = load(&[with_hosts(&["b.test"]), of_server.clone()]).expect("they are good");
    assert_eq!(shown(&config, "a.test"), [true, false]);
    let error = load(&[with_hosts(&["b.test", "c.test"])]).expect_err("it is not for c.test");
    for words in ["of the site b.test", "it is not for c.test"] {
        assert!(error.contains(words), "{error}");
    }
}
