//! The connecting side of a transfer: directly to the holder, or through the server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::frame::{self, BODY_BYTES_MAX_BEFORE_JOIN, FILE_PREFACE, LENGTH_BYTES, PREFACE};
use wire::protocol::{Side, ToPeer, ToServer, Token, TransferId};

use super::TransferError;

/// The proof that a peer has joined a server, for its other connections to that server.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The server, `HOST:PORT`.
    pub server: String,
    pub member: PeerName,
    /// The nonce of the connection on which it has joined.
    pub token: Token,
}

/// Connects directly to the holder of a file and names the transfer. The file message follows on the stream.
///
/// # Errors
/// [`TransferError::Connect`], [`TransferError::TimedOut`] after `timeout` in all.
pub fn dial_direct(
    address: SocketAddr,
    transfer: &TransferId,
    timeout: Duration,
) -> Result<TcpStream, TransferError> {
    let deadline = Instant::now() + timeout;
    let stream = connect(address, deadline).map_err(|source| unreachable(&address.to_string(), source))?;
    let mut link = Link { stream, deadline };
    link.write(&[FILE_PREFACE.as_slice(), transfer].concat())?;
    link.into_stream()
}

/// Connects to the server as one end of a transfer of a joined peer, and waits for the other end. The file message
/// follows on the stream; none of it has been read.
///
/// # Errors
/// [`TransferError::Connect`], [`TransferError::Server`] when the server refuses, [`TransferError::TimedOut`] when the
/// other end has not come after `timeout` in all.
pub fn dial_server(
    membership: &Membership,
    transfer: &TransferId,
    side: Side,
    timeout: Duration,
) -> Result<TcpStream, TransferError> {
    let deadline = Instant::now() + timeout;
    let Membership { server, member, token } = membership;
    let stream = resolve_and_connect(server, deadline).map_err(|source| unreachable(server, source))?;
    let mut link = Link { stream, deadline };
    link.write(&PREFACE)?;
    link.expect(|message| matches!(message, ToPeer::Hello { .. }))?;
    let (transfer, member, token) = (*transfer, member.clone(), *token);
    link.write(&frame::frame(&ToServer::Splice { transfer, side, member, token }))?;
    link.expect(|message| matches!(message, ToPeer::Spliced))?;
    link.into_stream()
}

fn unreachable(to: &str, source: io::Error) -> TransferError {
    let to = to.to_owned();
    TransferError::Connect { to, source }
}

/// Tries each address of the name until one accepts.
fn resolve_and_connect(server: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match connect(address, deadline) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn connect(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The time until the deadline, never zero.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A connection on which the handshake must be complete before a deadline.
struct Link {
    stream: TcpStream,
    deadline: Instant,
}

impl Link {
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        left(self.deadline)
            .and_then(|left| self.stream.set_write_timeout(Some(left)))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(TransferError::connection)
    }

    /// Reads exactly one frame. Any other than the expected one is an error.
    fn expect(&mut self, is_expected: impl FnOnce(&ToPeer) -> bool) -> Result<(), TransferError> {
        let body = self.read_frame()?;
        match ToPeer::decode(&body)? {
            ToPeer::Error { code, detail } => Err(TransferError::Server { code, detail }),
            message if is_expected(&message) => Ok(()),
            _ => Err(TransferError::Protocol(frame::BadFrame::Malformed)),
        }
    }

    fn read_frame(&mut self) -> Result<Vec<u8>, TransferError> {
        let mut length = [0; LENGTH_BYTES];
        self.read(&mut length)?;
        // Checks the length; the body has not been read yet.
        frame::split(&length, BODY_BYTES_MAX_BEFORE_JOIN)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.read(&mut body)?;
        Ok(body)
    }

    fn read(&mut self, mut buffer: &mut [u8]) -> Result<(), TransferError> {
        while !buffer.is_empty() {
            let read = left(self.deadline)
                .and_then(|left| self.stream.set_read_timeout(Some(left)))
                .and_then(|()| self.stream.read(buffer));
            match read {
                Ok(0) => {
                    let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
                    return Err(TransferError::Connection(ended));
                }
                Ok(bytes) => buffer = &mut buffer[bytes..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransferError::connection(error)),
            }
        }
        Ok(())
    }

    fn into_stream(self) -> Result<TcpStream, TransferError> {
        self.stream
            .set_read_timeout(None)
            .and_then(|()| self.stream.set_write_timeout(None))
            .map_err(TransferError::Connection)?;
        Ok(self.stream)
    }
}
