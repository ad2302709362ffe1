//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::session::http::Visitor;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;
/// After this long without a word TCP asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A socket that connections come from.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

impl Listener {
    /// Binds a TCP socket.
    ///
    /// # Errors
    /// Those of the system, for example when the address is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        // Connections inherit both. Every write is a whole answer or more; a peer that vanished is noticed.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// The address that it is bound to; none for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// The next connection.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, Visitor)> {
        let (stream, address) = self.socket.accept()?;
        Ok((TcpStream::from(OwnedFd::from(stream)), Visitor { address: address.as_socket() }))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
