//! The connecting side of a transfer: directly to the holder, or through the server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::frame::{self, BODY_BYTES_MAX_BEFORE_JOIN, FILE_PREFACE, LENGTH_BYTES, PREFACE};
use wire::protocol::{Side, ToPeer, ToServer, Token, TransferId};

use super::TransferError;
use crate::peer::access::Server;
use crate::stream::Stream;

/// The proof that a peer has joined a server, for its other connections to that server.
#[derive(Debug, Clone)]
pub struct Membership {
    pub server: Server,
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
) -> Result<Stream, TransferError> {
    let deadline = Instant::now() + timeout;
    let stream = connect(address, timeout).map_err(|source| unreachable(&address, source))?;
    let mut link = Link { stream: stream.into(), deadline };
    link.write(&[FILE_PREFACE.as_slice(), transfer].concat())?;
    link.into_stream()
}

/// Connects to the server as one end of a transfer of a joined peer, and waits for the other end. The file message
/// follows on the stream; none of it has been read. `is_wanted` gets the socket before that wait, and can refuse it.
///
/// # Errors
/// [`TransferError::Cancelled`] when the socket is refused,
/// [`TransferError::Connect`], [`TransferError::Server`] when the server refuses, [`TransferError::TimedOut`] when the
/// other end has not come after `timeout` in all.
pub fn dial_server(
    membership: &Membership,
    transfer: &TransferId,
    side: Side,
    timeout: Duration,
    is_wanted: &dyn Fn(&TcpStream) -> bool,
) -> Result<Stream, TransferError> {
    let deadline = Instant::now() + timeout;
    let Membership { server: Server { access, unknown_certificate }, member, token } = membership;
    let connected = access.connect(timeout).map_err(|source| unreachable(&access.address, source.into()));
    let (stream, found) = connected?;
    // The server that this peer has joined, and no other one, may see the token.
    if found.unknown_certificate != *unknown_certificate {
        let changed = io::Error::other("the server's certificate has changed since this peer has joined");
        return Err(unreachable(&access.address, changed));
    }
    if !is_wanted(stream.socket()) {
        return Err(TransferError::Cancelled);
    }
    let mut link = Link { stream, deadline };
    link.write(&PREFACE)?;
    link.expect(|message| matches!(message, ToPeer::Hello { .. }))?;
    let (transfer, member, token) = (*transfer, member.clone(), *token);
    link.write(&frame::frame(&ToServer::Splice { transfer, side, member, token }))?;
    link.expect(|message| matches!(message, ToPeer::Spliced))?;
    link.into_stream()
}

fn unreachable(to: &impl ToString, source: io::Error) -> TransferError {
    TransferError::Connect { to: to.to_string(), source }
}

fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
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
    stream: Stream,
    deadline: Instant,
}

impl Link {
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        left(self.deadline)
            .and_then(|left| self.stream.socket().set_write_timeout(Some(left)))
            .and_then(|()| (&self.stream).write_all(bytes))
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
                .and_then(|left| self.stream.socket().set_read_timeout(Some(left)))
                .and_then(|()| (&self.stream).read(buffer));
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

    fn into_stream(self) -> Result<Stream, TransferError> {
        let socket = self.stream.socket();
        socket
            .set_read_timeout(None)
            .and_then(|()| socket.set_write_timeout(None))
            .map_err(TransferError::Connection)?;
        Ok(self.stream)
    }
}
