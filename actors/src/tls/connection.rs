//! The server's end of one TLS connection: turns what the client sends into plain bytes, and plain bytes into what the
//! client receives. The caller passes the socket, and decides whether a call may wait for it.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{AlertDescription, Error, PeerIncompatible, ProtocolVersion, ServerConfig, ServerConnection};
use wire::frame::{self, PREFACE};
use wire::protocol::{ChannelBinding, ErrorCode, ToPeer};

/// The first byte of every TLS connection: a record of the type handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The bytes that a record adds to its plaintext in TLS 1.3. TLS 1.2 adds a few more; they are only estimated.
const RECORD_EXTRA_BYTES: usize = 22;
/// The maximum plaintext of a record (RFC 8446, section 5.1).
const RECORD_BYTES_MAX: usize = 16 << 10;

/// What a client gets that speaks plain HTTP on a port with TLS.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\nConnection: close\r\n\r\n\
    this port speaks TLS: use an address with https://\n";

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) enum TlsFailure {
    /// The client has sent a plain HTTP request.
    PlainHttp,
    /// The client is a peer that uses no TLS.
    PlainPeer,
    /// The client has sent something else that is not TLS.
    NotTls,
    /// Client and server did not agree, or one of them broke the protocol.
    Protocol(Error),
}

impl std::error::Error for TlsFailure {}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("the client sends plain HTTP to a port with TLS"),
            Self::PlainPeer => f.write_str("a peer connects without TLS to a port with TLS"),
            Self::NotTls => f.write_str("the client sends something that is not TLS to a port with TLS"),
            Self::Protocol(error) => match error {
                Error::AlertReceived(
                    AlertDescription::UnknownCA
                    | AlertDescription::BadCertificate
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::UnsupportedCertificate,
                ) => write!(f, "the client does not accept the certificate ({error})"),
                Error::PeerIncompatible(
                    PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::SupportedVersionsExtensionRequired
                    // Optional in TLS 1.2, but only older clients leave it out.
                    | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
                ) => write!(f, "the client speaks neither TLS 1.2 nor TLS 1.3 ({error})"),
                Error::NoApplicationProtocol => {
                    f.write_str("the client offers protocols (ALPN) without http/1.1")
                }
                error => error.fmt(f),
            },
        }
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> Self {
        Self::new(ErrorKind::InvalidData, failure)
    }
}

/// One connection.
pub(crate) struct TlsConnection {
    inner: ServerConnection,
    /// The first bytes that came, to tell what the client speaks if it is not TLS.
    first: [u8; 4],
    /// How many decrypted bytes were not read yet.
    unread: usize,
    /// About how many encrypted bytes were not sent yet.
    unsent: usize,
    /// Whether the client has ended its sending side (close_notify).
    has_ended: bool,
}

impl TlsConnection {
    /// A connection that was just accepted.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let inner = ServerConnection::new(config)?;
        Ok(Self { inner, first: [0; 4], unread: 0, unsent: 0, has_ended: false })
    }

    /// Reads decrypted bytes, and does what the handshake needs meanwhile. Returns 0 when the client has ended the stream in
    /// order.
    ///
    /// # Errors
    /// Those of the socket; [`TlsFailure`] as `InvalidData`; `UnexpectedEof` when the connection ended without a
    /// `close_notify`, so that bytes may be missing.
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Ok(count) => {
                    self.unread = self.unread.saturating_sub(count);
                    return Ok(count);
                }
                Err(e) => return Err(e),
            }
            self.receive(socket)?;
        }
    }

    /// Reads from the socket once, and decrypts what has come. Returns the number of encrypted bytes, 0 at the end.
    fn receive(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        // What waits there is not needed for reading: a session ticket, or the answer to a key update.
        self.try_flush(socket)?;
        let count = self.inner.read_tls(&mut Noting { socket: &mut *socket, first: &mut self.first })?;
        match self.inner.process_new_packets() {
            Ok(state) => {
                self.unread = state.plaintext_bytes_to_read();
                self.has_ended = state.peer_has_closed();
            }
            Err(error) => return Err(self.fail(error, socket).into()),
        }
        self.try_flush(socket)?;
        Ok(count)
    }

    /// Whether the client has ended or broken the connection, and nothing is left to read. The socket must not wait.
    pub(crate) fn has_ended(&mut self, socket: &mut (impl Read + Write)) -> bool {
        while self.unread == 0 && !self.has_ended {
            match self.receive(socket) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            }
        }
        self.unread == 0
    }

    /// Tells the client why the connection ends, if it understands that.
    fn fail(&mut self, error: Error, socket: &mut impl Write) -> TlsFailure {
        let failure = match self.first {
            [HANDSHAKE_RECORD, ..] => TlsFailure::Protocol(error),
            PREFACE => TlsFailure::PlainPeer,
            [b'A'..=b'Z', ..] => TlsFailure::PlainHttp,
            _ => TlsFailure::NotTls,
        };
        // The connection ends whether or not this succeeds.
        let _ = match failure {
            TlsFailure::Protocol(_) | TlsFailure::NotTls => self.flush(socket),
            TlsFailure::PlainHttp => socket.write_all(PLAIN_HTTP_ANSWER),
            TlsFailure::PlainPeer => {
                let detail = "this port speaks TLS; connect with --server tls:HOST:PORT".into();
                socket.write_all(&frame::frame(&ToPeer::Error { code: ErrorCode::Malformed, detail }))
            }
        };
        failure
    }

    /// Encrypts some of the bytes, and sends as much as the socket takes. Returns how many plain bytes were taken; of their
    /// encrypted form a part may wait for [`TlsConnection::flush`].
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` while earlier bytes still wait.
    pub(crate) fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        let count = self.encrypt(slices)?;
        self.try_flush(socket)?;
        Ok(count)
    }

    /// Encrypts some of the bytes, at most 64 KiB more than were sent. Returns how many.
    pub(crate) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = self.inner.writer().write_vectored(slices)?;
        self.unsent += count + (count / RECORD_BYTES_MAX + 1) * RECORD_EXTRA_BYTES;
        Ok(count)
    }

    /// Sends what is encrypted.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` if it did not take everything.
    pub(crate) fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.inner.wants_write() {
            match self.inner.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.unsent = self.unsent.saturating_sub(count),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.unsent = 0;
        Ok(())
    }

    /// As [`TlsConnection::flush`], but what the socket does not take waits.
    pub(crate) fn try_flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        match self.flush(socket) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Tells the client that nothing more follows (`close_notify`), as far as the socket takes it.
    pub(crate) fn end_writing(&mut self, socket: &mut impl Write) {
        self.inner.send_close_notify();
        // If the socket is full or broken, the client sees an end without it.
        let _ = self.flush(socket);
    }

    /// What identifies this connection. `None` before the end of the handshake, and with TLS 1.2: a connection of TLS 1.2 can
    /// have the binding of another one unless its client supports the extended master secret (RFC 7627).
    pub(crate) fn channel_binding(&self) -> Option<ChannelBinding> {
        if self.inner.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        let binding =
            self.inner.export_keying_material([0; 32], ChannelBinding::EXPORTER_LABEL, Some(&[])).ok()?;
        Some(ChannelBinding(binding))
    }

    /// Whether [`TlsConnection::read`] returns something without the socket: bytes, or the end.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread > 0 || self.has_ended
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.inner.wants_write()
    }

    /// About how many.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent
    }
}

impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnection").field("unread", &self.unread).finish_non_exhaustive()
    }
}

/// Notes the first bytes of the connection.
struct Noting<'a, S> {
    socket: &'a mut S,
    first: &'a mut [u8; 4],
}

impl<S: Read> Read for Noting<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        let free = self.first.iter_mut().skip_while(|byte| **byte != 0);
        free.zip(&buffer[..count]).for_each(|(first, byte)| *first = *byte);
        Ok(count)
    }
}
