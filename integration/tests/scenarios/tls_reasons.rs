//! Why there is no TLS connection: both clients name each reason, and so does the server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use integration::tunnel::{self, Speaks};
use integration::{Peer, Process, Sandbox, Server};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tls::{TlsServer, make_certificate, make_expired_certificate, put_certificate, webclient};
use crate::tls_peers::{path, refused, start, tls_peer};

/// A peer and the web client.
struct Clients<'s> {
    sandbox: &'s Sandbox,
    peer: Peer,
}

impl<'s> Clients<'s> {
    fn new(sandbox: &'s Sandbox) -> Self {
        Self { sandbox, peer: tls_peer(sandbox, "A", 1) }
    }

    /// Neither gets a TLS connection to `localhost` at this port with these authorities, and both say why. `failed` is called with how
    /// many of them have failed.
    #[track_caller]
    fn fail(&self, port: u16, authorities: &Path, words: &[&str], failed: impl Fn(usize)) {
        let words = [&["no TLS connection to"], words].concat();
        let url = format!("https://localhost:{port}/");
        webclient(self.sandbox, &[&url, "--ca", path(authorities)]).expect(2).says(&words);
        failed(1);
        // The last one, because it can try again before it is ended.
        let peer = Peer { server: format!("tls:localhost:{port}"), ..self.peer.clone() };
        refused(&peer, &["--ca", path(authorities)], &words);
        failed(2);
    }
}

/// Waits until so many lines of the server's log have these words.
fn logged(server: &Server, words: &str, count: usize) {
    let has_words = |lines: &[String]| lines.iter().filter(|line| line.contains(words)).count();
    server.process().wait(words, |lines| (has_words(lines) >= count).then_some(()));
}

/// What the server logs of a client that refuses its certificate.
const REFUSED: &str = "the client does not accept the certificate";

#[test]
fn both_ends_say_that_only_one_of_them_uses_tls() {
    let sandbox = Sandbox::new();
    let clients = Clients::new(&sandbox);
    let TlsServer { server, tls, certificate } = start(&sandbox, &[]);
    let words = ["it does not speak TLS", "check the address"];
    clients.fail(server.address().port(), &certificate, &words, |count| {
        logged(&server, "the client speaks TLS, and this port does not", count);
    });

    refused(&clients.peer.at(tls), &[], &["this port speaks TLS", "tls:HOST:PORT"]);
    logged(&server, "a peer connects without TLS to a port with TLS", 1);
    let told = webclient(&sandbox, &["localhost", &tls.port().to_string(), "/"]).expect(1);
    assert!(told.lines.iter().any(|line| line.contains("https://")), "{:?}", told.lines);
    logged(&server, "the client sends plain HTTP to a port with TLS", 1);
}

#[test]
fn a_peer_with_tls_1_2_is_told_that_it_needs_1_3() {
    let sandbox = Sandbox::new();
    let server = start(&sandbox, &[]);
    // openssl sends how a peer begins.
    let told = server.openssl(&["-tls1_2", "-quiet", "-ign_eof"], "SWB2");
    assert!(told.contains("peers need TLS 1.3"), "{told}");
}

/// The file of an authority, and a certificate and its key that another one has issued in its name.
fn incomplete_chain(sandbox: &Sandbox) -> (PathBuf, [PathBuf; 2]) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("the name is good");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().expect("there is randomness"))
    };
    let (root, root_key) = authority("root.test");
    let certificate = root.self_signed(&root_key).expect("it can be signed");
    let [root_file, _] = put_certificate(sandbox, "root", &certificate, &root_key);
    let (between, between_key) = authority("between.test");
    between.signed_by(&between_key, &Issuer::new(root, root_key)).expect("it can be signed");
    let between = Issuer::new(between, between_key);
    let leaf_key = KeyPair::generate().expect("there is randomness");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("the name is good");
    let leaf = leaf.signed_by(&leaf_key, &between).expect("it can be signed");
    (root_file, put_certificate(sandbox, "leaf", &leaf, &leaf_key))
}

#[test]
fn both_ends_say_why_a_certificate_is_not_accepted() {
    let sandbox = Sandbox::new();
    let clients = Clients::new(&sandbox);
    let [other, _] = make_certificate(&sandbox, "other", "DNS:localhost");
    let TlsServer { server, tls, .. } = start(&sandbox, &[]);
    clients.fail(tls.port(), &other, &["no known authority has issued its certificate", "--ca"], |count| {
        logged(&server, REFUSED, count);
    });
    server.stop();

    let elsewhere = make_certificate(&sandbox, "elsewhere", "DNS:elsewhere.test");
    let TlsServer { server, tls, certificate } = TlsServer::with_certificate(&sandbox, elsewhere, &[]);
    clients.fail(
        tls.port(),
        &certificate,
        &["its certificate is not for localhost", "elsewhere.test"],
        |count| logged(&server, REFUSED, count),
    );
    server.stop();

    let (root, leaf) = incomplete_chain(&sandbox);
    let TlsServer { server, tls, .. } = TlsServer::with_certificate(&sandbox, leaf, &[]);
    logged(&server, "the chain of this TLS certificate is incomplete", 1);
    clients.fail(tls.port(), &root, &["the server does not send the certificates in between"], |count| {
        logged(&server, REFUSED, count);
    });
}

/// Our server does not start with these certificates: `certificates::a_bad_certificate_prevents_the_start_with_one_line`.
#[test]
fn clients_say_what_is_wrong_with_the_certificate_of_another_server() {
    let sandbox = Sandbox::new();
    let clients = Clients::new(&sandbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let behind = listener.local_addr().expect("it is bound");
    let [expired, key] = make_expired_certificate(&sandbox);
    let server = tunnel::start(Speaks::tls_with(&expired, &key), behind, Speaks::Plain);
    clients.fail(server.port(), &expired, &["its certificate expired on Fri, 31 Jan 2020"], |_| ());

    let [certificate, _] = make_certificate(&sandbox, "good", "DNS:localhost");
    let [_, other_key] = make_certificate(&sandbox, "other", "DNS:localhost");
    let server = tunnel::start(with_key(&certificate, &other_key), behind, Speaks::Plain);
    clients.fail(server.port(), &certificate, &["its key does not belong to its certificate"], |_| ());

    let address = sandbox.nobodys_address();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-nocert", "-accept", &address.to_string()]);
    let openssl = Process::start("openssl s_server", command);
    openssl.wait("ACCEPT", |lines| lines.iter().any(|line| line.contains("ACCEPT")).then_some(()));
    clients.fail(address.port(), &certificate, &["it may have no certificate", "check the address"], |_| ());
}

/// As a server whose key need not belong to its certificate.
fn with_key(certificate: &Path, key: &Path) -> Speaks {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
    let key = ring::sign::any_supported_type(&key).expect("it is an ordinary key");
    let key = CertifiedKey::new(chain.expect("they are certificates"), key);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Speaks::TlsServer(Arc::new(config))
}
