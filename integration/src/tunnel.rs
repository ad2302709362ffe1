//! Something in the middle of a connection that adds TLS, removes it, or ends it and begins it again.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

/// How one side of a tunnel speaks.
#[derive(Debug, Clone)]
pub enum Speaks {
    /// Without TLS.
    Plain,
    /// As a server with a certificate.
    TlsServer(Arc<ServerConfig>),
    /// As a client that accepts one certificate.
    TlsClient(Arc<ClientConfig>),
}

impl Speaks {
    /// As a server with the certificate and the key in these files.
    ///
    /// # Panics
    /// The files cannot be used.
    pub fn tls_with(certificate: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites")
            .with_no_client_auth()
            .with_single_cert(chain.expect("they are certificates"), key);
        Self::TlsServer(Arc::new(config.expect("they belong together")))
    }

    /// As a client that accepts this certificate of `localhost`.
    ///
    /// # Panics
    /// The file cannot be used.
    pub fn tls_to(certificate: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).expect("it is a certificate");
        roots.add(certificate).expect("it can be an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self::TlsClient(Arc::new(config))
    }

    fn end(&self, socket: TcpStream) -> io::Result<End> {
        socket.set_nonblocking(true)?;
        let name = || ServerName::try_from("localhost").expect("it is a name");
        let mut tls = match self {
            Self::Plain => None,
            Self::TlsServer(config) => {
                Some(Connection::from(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?))
            }
            Self::TlsClient(config) => Some(Connection::from(
                ClientConnection::new(Arc::clone(config), name()).map_err(io::Error::other)?,
            )),
        };
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(None);
        }
        Ok(End { socket, tls, outgoing: Vec::new(), has_ended: false, is_finished: false })
    }
}

/// Accepts connections until the process ends, and forwards what comes on each of them to another address.
///
/// # Panics
/// There is no free port.
pub fn start(accepts: Speaks, to: SocketAddr, forwards: Speaks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (accepts, forwards) = (accepts.clone(), forwards.clone());
            std::thread::spawn(move || {
                // Ends with the connection, whatever ends that.
                let _ = TcpStream::connect(to)
                    .and_then(|other| forward([accepts.end(socket)?, forwards.end(other)?]));
            });
        }
    });
    address
}

fn forward(mut ends: [End; 2]) -> io::Result<()> {
    while !ends.iter().all(|end| end.is_finished) {
        for at in [0, 1] {
            let bytes = ends[at].take()?;
            let has_ended = ends[at].has_ended;
            ends[1 - at].put(&bytes, has_ended)?;
        }
        let wanted = |end: &End| {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, !end.has_ended);
            wanted.set(PollFlags::OUT, !end.outgoing.is_empty());
            wanted
        };
        let mut sockets = [0, 1].map(|at| PollFd::new(&ends[at].socket, wanted(&ends[at])));
        if ends.iter().any(|end| !end.has_ended || !end.outgoing.is_empty()) {
            poll(&mut sockets, None)?;
        }
    }
    Ok(())
}

struct End {
    socket: TcpStream,
    tls: Option<Connection>,
    /// Bytes for the socket.
    outgoing: Vec<u8>,
    /// Whether nothing more comes from the socket.
    has_ended: bool,
    /// Whether the sending side is shut down.
    is_finished: bool,
}

impl End {
    /// What has come, without TLS.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let mut bytes = [0; 16 << 10];
        while !self.has_ended {
            let count = match self.socket.read(&mut bytes) {
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            self.has_ended = count == 0;
            let Some(tls) = &mut self.tls else {
                plain.extend_from_slice(&bytes[..count]);
                continue;
            };
            let mut rest = &bytes[..count];
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                let state = tls.process_new_packets();
                tls.write_tls(&mut self.outgoing)?;
                self.has_ended |= state.map_err(io::Error::other)?.peer_has_closed();
                // Ends with `WouldBlock` when everything is read.
                let _ = tls.reader().read_to_end(&mut plain);
            }
        }
        Ok(plain)
    }

    /// Sends bytes, and ends the sending side if these are the last.
    fn put(&mut self, plain: &[u8], are_last: bool) -> io::Result<()> {
        match &mut self.tls {
            None => self.outgoing.extend_from_slice(plain),
            Some(tls) => {
                tls.writer().write_all(plain)?;
                if are_last && !self.is_finished {
                    tls.send_close_notify();
                }
                while tls.wants_write() {
                    tls.write_tls(&mut self.outgoing)?;
                }
            }
        }
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        if are_last && !self.is_finished {
            self.is_finished = true;
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}
