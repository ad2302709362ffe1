//! Connecting to a server: each address of its host in turn, and TLS if its address asks for it.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use wire::Fingerprint;

use super::server_address::ServerAddress;
use crate::stream::Stream;
use crate::tls::{Connector, HandshakeError, Trust, TrustError, Versions};

/// How to reach a server.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) address: ServerAddress,
    /// Only for a server with TLS.
    connector: Option<Connector>,
}

/// A server to which this peer has connected.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) access: Access,
    /// The SHA-256 digest of its certificate if no known authority has issued it. Then it must be pinned.
    pub(super) unknown_certificate: Option<Fingerprint>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Socket(error) => error,
            ConnectError::Handshake(error) => Self::other(error),
        }
    }
}

impl Access {
    /// `trust` decides about certificates.
    ///
    /// # Errors
    /// The certificates of authorities cannot be used.
    pub(super) fn new(address: ServerAddress, trust: &Trust) -> Result<Self, TrustError> {
        let connector = address.is_tls.then(|| Connector::new(trust, Versions::Newest)).transpose()?;
        Ok(Self { address, connector })
    }

    /// Connects to the first address that accepts. Each address may take `wait`, and so may each answer of the TLS handshake.
    pub(super) fn connect(&self, wait: Duration) -> Result<(Stream, Server), ConnectError> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.address.host(), self.address.port()).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, wait) {
                Ok(socket) => return self.secure(socket, wait),
                Err(error) => failure = error,
            }
        }
        Err(failure.into())
    }

    fn secure(&self, socket: TcpStream, wait: Duration) -> Result<(Stream, Server), ConnectError> {
        socket.set_nodelay(true)?;
        let server = |unknown_certificate| Server { access: self.clone(), unknown_certificate };
        let Some(connector) = &self.connector else { return Ok((socket.into(), server(None))) };
        socket.set_read_timeout(Some(wait))?;
        socket.set_write_timeout(Some(wait))?;
        let secured = connector.connect(self.address.host(), socket)?;
        let certificate = secured.stream.secured_by().map(|(_, certificate)| certificate);
        let unknown_certificate = certificate.filter(|_| !secured.is_vouched_for);
        Ok((secured.stream, server(unknown_certificate)))
    }
}
