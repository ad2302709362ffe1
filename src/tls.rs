//! TLS of the clients: which certificates they accept, and the handshake over a socket.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, InvalidMessage,
    RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};
use wire::Digest;

use crate::stream::Stream;

/// Which certificates a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those of the authorities that this machine trusts.
    System,
    /// Those of the authorities in this PEM file, and the certificates in it themselves.
    Authorities(PathBuf),
    /// The one with this fingerprint. None: any; whoever asks for that pins the fingerprint.
    Pinned(Option<Digest>),
    /// Those of the authorities that this machine trusts, and those that no known authority has issued: whoever asks for that
    /// pins their fingerprints.
    SystemOrUnknown,
}

/// Which versions of TLS a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// TLS 1.2 and 1.3.
    All,
    /// TLS 1.3, which peers need because of the channel binding.
    Newest,
}

/// Why no certificate can be checked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot use the certificates in {}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error(
        "this machine has no certificates of authorities ({0}); install ca-certificates, or use --ca FILE"
    )]
    NoSystemRoots(String),
}

/// Why there is no connection with TLS, for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Other(String),
}

/// Makes connections with TLS.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

/// A connection after its handshake.
pub(crate) struct Secured {
    pub(crate) stream: Stream,
    /// Whether a known authority has issued the certificate, for this host and this time, or the certificate itself was
    /// named. False only with [`Trust::SystemOrUnknown`].
    pub(crate) is_vouched_for: bool,
}

impl Connector {
    pub(crate) fn new(trust: &Trust, versions: Versions) -> Result<Self, TrustError> {
        const NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
        let provider = Arc::new(ring::default_provider());
        let accepts = Accepts::of_trust(trust, &provider)?;
        let verifier = Arc::new(Verifier { accepts, provider: Arc::clone(&provider) });
        let builder = ClientConfig::builder_with_provider(provider);
        let config = builder
            .with_protocol_versions(if versions == Versions::All { rustls::ALL_VERSIONS } else { NEWEST })
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// Performs the handshake with `host`, a name or an address. `stream` has timeouts, if any are wanted.
    pub(crate) fn connect(&self, host: &str, mut socket: TcpStream) -> Result<Secured, HandshakeError> {
        // A zone is local to this machine (RFC 6874, section 4).
        let host = host.split_once('%').map_or(host, |(address, _)| address);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HandshakeError::Other(format!("{host} is not a host name")))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name.clone())
            .map_err(|error| HandshakeError::Other(error.to_string()))?;
        connection.complete_io(&mut socket).map_err(|error| explain(&error))?;
        let chain = connection.peer_certificates().unwrap_or_default();
        let is_vouched_for = self.verifier.vouches_for(chain, &name);
        Ok(Secured { stream: Stream::tls(socket, connection), is_vouched_for })
    }
}

/// What is wrong with a handshake, for people.
fn explain(error: &io::Error) -> HandshakeError {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return HandshakeError::Other(match error.kind() {
            ErrorKind::UnexpectedEof => "it closed the connection during the TLS handshake".to_owned(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "the TLS handshake took too long".to_owned(),
            _ => format!("the TLS handshake failed: {error}"),
        });
    };
    HandshakeError::Other(match cause {
        Error::InvalidCertificate(cause) => return HandshakeError::Certificate(explain_certificate(cause)),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => {
            format!(
                "it refused the TLS handshake ({alert:?}): it may have no certificate, or another version of TLS"
            )
        }
        cause => format!("the TLS handshake failed: {cause}"),
    })
}

fn explain_certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is valid only from {} on", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut text = format!("its certificate is not for {}", expected.to_str());
            if !presented.is_empty() {
                // Writing into a String cannot fail.
                let _ = write!(text, " but for {}", presented.join(", "));
            }
            text
        }
        CertificateError::UnknownIssuer => {
            "no known authority has issued its certificate, or the server does not send the certificates in between"
                .to_owned()
        }
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "no known authority has issued its certificate, although one has the name of its issuer".to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<Refused>() {
            Some(refused) => refused.to_string(),
            // Usually it is its own authority, which rustls finds before it looks for another.
            None => format!("no known authority has issued its certificate for a server ({cause})"),
        },
        cause => format!("its certificate cannot be used: {cause}"),
    }
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// Decides whether the certificate of a server is accepted.
#[derive(Debug)]
struct Verifier {
    accepts: Accepts,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Accepts {
    Authorities {
        verifier: Arc<WebPkiServerVerifier>,
        /// Accepted themselves too: a certificate that openssl makes with one command is its own authority, and such a one
        /// must not be a server's by RFC 5280.
        certificates: Vec<CertificateDer<'static>>,
    },
    /// The certificate with this fingerprint, whatever its names and dates, or any.
    Pinned(Option<Digest>),
    /// Those of these authorities, if there are any, and those of unknown ones.
    Unknown(Option<Arc<WebPkiServerVerifier>>),
}

impl Accepts {
    fn of_trust(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, TrustError> {
        match trust {
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let why = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Self::of_authorities(found.certs, provider).ok_or(TrustError::NoSystemRoots(why))
            }
            Trust::SystemOrUnknown => {
                let found = rustls_native_certs::load_native_certs().certs;
                Ok(Self::Unknown(verifier_of(&found, provider)))
            }
            Trust::Authorities(path) => {
                let fail = |why: String| TrustError::File { path: path.to_owned(), why };
                let found =
                    CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let certificates = found.map_err(|error| fail(error.to_string()))?;
                Self::of_authorities(certificates, provider)
                    .ok_or_else(|| fail("there is none in it".to_owned()))
            }
            Trust::Pinned(pin) => Ok(Self::Pinned(*pin)),
        }
    }

    /// None if there is no usable certificate.
    fn of_authorities(
        certificates: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Self> {
        Some(Self::Authorities { verifier: verifier_of(&certificates, provider)?, certificates })
    }
}

/// None if there is no usable certificate.
fn verifier_of(
    certificates: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    // A machine may have certificates that this library does not understand.
    let _ = roots.add_parsable_certificates(certificates.iter().cloned());
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    // Fails only without roots.
    builder.build().ok()
}

/// Whether no known authority has issued a certificate, not even for another host or for another time. Its dates were checked
/// before.
fn has_unknown_issuer(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::UnknownIssuer
            // A known authority has the name of its issuer, which is another one.
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            // It is its own authority.
            | CertificateError::Other(_)
    )
}

/// Why this client refuses a certificate, where rustls has no error for it.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("its certificate has changed: its fingerprint is {found}, and {pinned} is pinned")]
    WrongPin { found: Digest, pinned: Digest },
    #[error("its key does not belong to its certificate")]
    WrongKey,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(rustls::OtherError(Arc::new(refused))).into()
    }
}

/// The outcome of the check of a server's signature. Otherwise the error would be that of an authority's signature.
fn of_server<T>(verified: Result<T, Error>) -> Result<T, Error> {
    match verified {
        Err(Error::InvalidCertificate(CertificateError::BadSignature)) => Err(Refused::WrongKey.into()),
        verified => verified,
    }
}

impl Verifier {
    /// See [`Secured::is_vouched_for`]. The certificate was accepted.
    fn vouches_for(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> bool {
        match (&self.accepts, chain) {
            (Accepts::Unknown(None), _) => false,
            (Accepts::Unknown(Some(known)), [certificate, others @ ..]) => {
                known.verify_server_cert(certificate, others, name, &[], UnixTime::now()).is_ok()
            }
            _ => true,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.accepts {
            Accepts::Authorities { verifier, certificates } => {
                match verifier.verify_server_cert(certificate, others, name, ocsp, now) {
                    // The dates were checked before.
                    Err(Error::InvalidCertificate(CertificateError::Other(_)))
                        if certificates.iter().any(|known| known == certificate) =>
                    {
                        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                    }
                    verified => return verified,
                }
            }
            Accepts::Pinned(Some(pinned)) if *pinned != Digest::of(certificate) => {
                return Err(Refused::WrongPin { found: Digest::of(certificate), pinned: *pinned }.into());
            }
            Accepts::Unknown(Some(known)) => {
                match known.verify_server_cert(certificate, others, name, ocsp, now) {
                    Err(Error::InvalidCertificate(why)) if has_unknown_issuer(&why) => {}
                    verified => return verified,
                }
            }
            Accepts::Pinned(_) | Accepts::Unknown(None) => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        of_server(verify_tls12_signature(message, certificate, signature, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        of_server(verify_tls13_signature(message, certificate, signature, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    fn params(name: &str, issuer_name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("the name is good");
        params.distinguished_name.push(DnType::CommonName, issuer_name);
        (params, KeyPair::generate().expect("there is randomness"))
    }

    fn self_signed(params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        params.self_signed(key).expect("it can be signed").der().clone()
    }

    /// Whether a certificate is accepted for the host `a.test`, and whether a known authority vouches for it.
    fn verify(verifier: &Verifier, certificate: &CertificateDer<'static>) -> Result<bool, Error> {
        let name = ServerName::try_from("a.test").expect("it is a name");
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now())?;
        Ok(verifier.vouches_for(std::slice::from_ref(certificate), &name))
    }

    #[test]
    fn only_certificates_of_unknown_issuers_are_left_for_pinning() {
        let provider = Arc::new(ring::default_provider());
        let (mut root, root_key) = params("root.test", "root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let known = [self_signed(&root, &root_key)];
        let issuer = Issuer::new(root, root_key);
        let issued = |name: &str| {
            let (params, key) = params(name, name);
            params.signed_by(&key, &issuer).expect("it can be signed").der().clone()
        };
        let accepts = Accepts::Unknown(verifier_of(&known, &provider));
        let verifier = Verifier { accepts, provider };
        assert_eq!(verify(&verifier, &issued("a.test")), Ok(true));
        let wrong = verify(&verifier, &issued("b.test"));
        assert!(
            matches!(wrong, Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))),
            "{wrong:?}"
        );
        // Nobody known has issued it; neither if the issuer has the name of a known one.
        for issuer_name in ["somebody", "root"] {
            let (mut unknown, key) = params("b.test", issuer_name);
            assert_eq!(verify(&verifier, &self_signed(&unknown, &key)), Ok(false), "{issuer_name}");
            unknown.not_after = date_time_ymd(2020, 1, 31);
            let expired = verify(&verifier, &self_signed(&unknown, &key));
            assert!(
                matches!(expired, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))),
                "{expired:?}"
            );
        }
    }
}
