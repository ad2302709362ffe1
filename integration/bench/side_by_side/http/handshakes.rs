//! TLS: the certificate of all servers, the configuration of clients, and handshakes that resume a session, which wrk cannot
//! do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use integration::Sandbox;
use measure::{Turn, percentile};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};

use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::servers::Server;

/// Threads that connect.
const THREADS: usize = 2;

/// A certificate for 127.0.0.1, and a client that trusts it and keeps session tickets.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        // ECDSA with P-256, the usual kind.
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let made = params.self_signed(&key)?;
        let [certificate, key_file] = ["bench.pem", "bench.key"].map(|name| sandbox.path(name));
        std::fs::write(&certificate, made.pem()).context("cannot write the certificate")?;
        std::fs::write(&key_file, key.serialize_pem()).context("cannot write the key")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.der().to_vec()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { certificate, key: key_file, client: Arc::new(client) })
    }
}

/// Connects again and again with a session ticket, sends a request each time, and waits for the response.
pub(super) fn resume(
    tls: &Tls,
    server: &Server,
    path: &str,
    time: Duration,
    interrupt: &Interrupt,
) -> Result<Turn> {
    let cpu_before = server.cpu_time()?;
    let begun = Instant::now();
    let connect = || -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        while begun.elapsed() < time {
            interrupt.check()?;
            let asked = Instant::now();
            let mut client = Client::connect_tls(server.tls, &tls.client)?;
            client.get(path)?;
            if client.handshake() == Some(HandshakeKind::Resumed) {
                took.push(asked.elapsed());
            }
        }
        Ok(took)
    };
    let took = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connect)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut took = took.concat();
    took.sort_unstable();
    let us = |percent| percentile(&took, percent).map(|took| took.as_secs_f64() * 1e6);
    let (p50_us, p99_us) = us(50).zip(us(99)).context("no session was resumed")?;
    let cpu = server.cpu_time()?.saturating_sub(cpu_before);
    let requests = took.len() as u64;
    Ok(Turn {
        requests,
        requests_per_second: requests as f64 / seconds,
        bytes_per_second: 0.0,
        p50_us,
        p99_us,
        cpu_us_per_request: Some(cpu.as_secs_f64() * 1e6 / requests as f64),
        cpu_beneath_us_per_request: None,
    })
}
