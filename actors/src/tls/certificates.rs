//! Certificates and private keys: read from PEM files, checked, and chosen by the name that a client asks for (SNI).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::TlsConnection;

/// Larger than any chain of certificates.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate and its private key, as files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of the authorities that have issued it, without the root.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC 1.
    pub key: PathBuf,
    /// The hosts of the site that it is for. None for a certificate of the server, which is for all names in it.
    pub hosts: Vec<String>,
}

/// What a [`CertificateError`] about a private key says that it is about.
const KEY: &str = "key";

/// Why a certificate cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the TLS {what} {}{}: {why}", path.display(), of_site(site.as_ref()))]
pub struct CertificateError {
    what: &'static str,
    path: PathBuf,
    /// The first host of the site that it is for.
    site: Option<String>,
    why: Why,
}

impl CertificateError {
    /// Whether it is about the private key, and not about the certificate.
    pub fn is_of_key(&self) -> bool {
        self.what == KEY
    }
}

fn of_site(site: Option<&String>) -> String {
    site.map_or_else(String::new, |host| format!(" of the site {host}"))
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("{0}")]
    Unreadable(String),
    #[error("it is not PEM: {0}")]
    NotPem(String),
    #[error("it has no certificate (a PEM block CERTIFICATE); name the file with the chain in --tls-cert")]
    NoCertificate,
    #[error("it has no private key (a PEM block PRIVATE KEY); keys under a passphrase cannot be used")]
    NoKey,
    #[error("it does not belong to the certificate in {}; give each --tls-cert its own --tls-key, in the same order", .0.display())]
    WrongKey(PathBuf),
    #[error("it is not for {0}, which is a host of the site; make one for all of them")]
    NotForHost(String),
    #[error("it expired on {0}; renew it")]
    Expired(Moment),
    #[error("it is valid only from {0} on; check the clock of this machine")]
    NotYetValid(Moment),
    #[error("{0}")]
    Unusable(String),
}

/// A time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment(UnixTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(self.0.as_secs());
        f.write_str(&httpdate::fmt_http_date(time))
    }
}

/// What new connections use.
#[derive(Debug, Clone)]
pub struct TlsConfig(Arc<ServerConfig>);

impl TlsConfig {
    /// A connection that was just accepted.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn accept(&self) -> io::Result<TlsConnection> {
        TlsConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)
    }
}

/// What stays the same when certificates are read again: so clients can resume sessions that began before.
#[derive(Debug, Clone)]
pub struct TlsBase {
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
}

impl TlsBase {
    /// Draws the keys for session tickets, which are replaced every six hours.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> io::Result<Self> {
        let tickets = ring::Ticketer::new().map_err(io::Error::other)?;
        Ok(Self { provider: Arc::new(ring::default_provider()), tickets })
    }

    /// Reads and checks the files. Logs a warning when the chain of a certificate is incomplete.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&self, files: &[TlsFiles]) -> Result<TlsConfig, CertificateError> {
        let load = |files: &TlsFiles| {
            self.load_one(files).map(|key| Choice { key: Arc::new(key), hosts: files.hosts.clone() })
        };
        let chosen = Arc::new(ByName(files.iter().map(load).collect::<Result<_, _>>()?));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions();
        let mut config = builder
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(chosen);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.tickets);
        // Tickets are enough: all state of a session is at its client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(TlsConfig(Arc::new(config)))
    }

    fn load_one(&self, files: &TlsFiles) -> Result<CertifiedKey, CertificateError> {
        let error = |what, path: &PathBuf, why| {
            let (path, site) = (path.clone(), files.hosts.first().cloned());
            CertificateError { what, path, site, why }
        };
        let of_certificate = |why| error("certificate", &files.certificate, why);
        let of_key = |why| error(KEY, &files.key, why);
        let text = read(&files.certificate).map_err(of_certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| of_certificate(Why::NotPem(error.to_string())))?;
        let Some(first) = chain.first() else { return Err(of_certificate(Why::NoCertificate)) };
        self.check(first, &chain[1..], &files.certificate).map_err(of_certificate)?;
        let text = zeroize::Zeroizing::new(read(&files.key).map_err(of_key)?);
        let key = match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(of_key(Why::NoKey)),
            Err(error) => return Err(of_key(Why::NotPem(error.to_string()))),
        };
        let key = CertifiedKey::from_der(chain, key, &self.provider).map_err(|error| {
            of_key(match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    Why::WrongKey(files.certificate.clone())
                }
                error => Why::Unusable(error.to_string()),
            })
        })?;
        let is_missing = |host: &&String| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            !ServerName::try_from(bare).is_ok_and(|name| is_for(&key, &name))
        };
        match files.hosts.iter().find(is_missing) {
            Some(host) => Err(of_certificate(Why::NotForHost(host.clone()))),
            None => Ok(key),
        }
    }

    /// Checks the validity of a certificate, and whether each certificate of its chain was issued by another one.
    fn check(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        path: &Path,
    ) -> Result<(), Why> {
        use rustls::CertificateError as Found;
        let parsed = ParsedCertificate::try_from(first).map_err(|error| Why::Unusable(error.to_string()))?;
        // As if the client trusted the last certificate of the chain.
        let mut roots = RootCertStore::empty();
        let last = others.last().unwrap_or(first).clone().into_owned();
        roots.add(last).map_err(|error| Why::Unusable(error.to_string()))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verified =
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, UnixTime::now(), algorithms);
        match verified {
            Err(Error::InvalidCertificate(Found::ExpiredContext { not_after, .. })) => {
                Err(Why::Expired(Moment(not_after)))
            }
            Err(Error::InvalidCertificate(Found::NotValidYetContext { not_before, .. })) => {
                Err(Why::NotYetValid(Moment(not_before)))
            }
            Err(Error::InvalidCertificate(Found::UnknownIssuer)) => {
                tracing::warn!(
                    target: "server",
                    path = %path.display(),
                    "the chain of this TLS certificate is incomplete or out of order, and many clients will refuse it; append \
                     the certificates of the authorities that issued it, each after the one that it issued"
                );
                Ok(())
            }
            // Other doubts are for clients to decide, for example a certificate that is its own authority.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<String, Why> {
    durable::read_text(path, FILE_BYTES_MAX).map_err(|error| Why::Unreadable(error.to_string()))
}

/// A certificate, and the hosts of its site if it is for one.
#[derive(Debug)]
struct Choice {
    key: Arc<CertifiedKey>,
    hosts: Vec<String>,
}

/// The certificates. One of the site that a client asks for comes first, then one with the name, and for clients that ask for
/// no name or for another one the first of the server.
#[derive(Debug)]
struct ByName(Vec<Choice>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A name can have two certificates: RSA for old clients, ECDSA for the others.
        let usable = || {
            let schemes = hello.signature_schemes();
            self.0.iter().filter(|choice| choice.key.key.choose_scheme(schemes).is_some())
        };
        let named = hello.server_name().and_then(|text| {
            let is_host = |host: &String| host.eq_ignore_ascii_case(text);
            let name = ServerName::try_from(text).ok()?;
            let of_site = usable().find(|choice| choice.hosts.iter().any(is_host));
            of_site.or_else(|| usable().find(|choice| choice.hosts.is_empty() && is_for(&choice.key, &name)))
        });
        let any = || usable().find(|choice| choice.hosts.is_empty()).or_else(|| usable().next());
        named.or_else(any).map(|choice| Arc::clone(&choice.key))
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
