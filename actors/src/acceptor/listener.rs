//! Listening sockets.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::commands::connection::{Door, Visitor};
use crate::linux;

/// Connections that the kernel queues while the pollers are busy.
const BACKLOG: i32 = 4096;
/// TCP checks after this idle time whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long the kernel holds back connections without data.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    door: Door,
    /// The path of a Unix socket that this process has made. Removed at the end.
    path: Option<PathBuf>,
    /// Whether a service manager opened it.
    is_inherited: bool,
}

impl Listener {
    /// Binds a TCP socket. `is_dual`: whether the unspecified IPv6 address includes IPv4.
    pub(crate) fn bind(address: SocketAddr, is_dual: bool, door: Door) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(!is_dual)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::of_tcp(socket, door)
    }

    /// Binds a Unix socket. Replaces one that another process has left behind, but not one in use.
    ///
    /// # Errors
    /// Those of the system; `AddrInUse` also if something else has this path.
    pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let is_left_behind = found.file_type().is_socket()
                && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
            if !is_left_behind {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before it listens, so that nobody without permission can connect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, door: Door::Public, path: Some(path.to_owned()), is_inherited: false })
    }

    /// Takes the TCP and Unix sockets that a service manager has opened for this process (`sd_listen_fds(3)`).
    ///
    /// # Errors
    /// Those of the system; `NotFound` if there are none.
    pub(crate) fn inherited() -> io::Result<Vec<Self>> {
        let mut found = ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..found.len() {
            if let Ok(Some(listener)) = found.take_tcp_listener(index) {
                let mut listener = Self::of_tcp(Socket::from(listener), Door::Public)?;
                listener.is_inherited = true;
                listeners.push(listener);
            } else if let Some(listener) = found.take_unix_listener(index)? {
                let socket = Socket::from(OwnedFd::from(listener));
                socket.set_nonblocking(true)?;
                listeners.push(Self { socket, door: Door::Public, path: None, is_inherited: true });
            }
        }
        if listeners.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(listeners) }
    }

    fn of_tcp(socket: Socket, door: Door) -> io::Result<Self> {
        // Connections inherit both options. Nagle's algorithm is of no use, because each write has at least a whole response.
        // Keep-alive finds peers that have vanished.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
        // Only an optimisation, so an error does not matter.
        let _ = linux::defer_accept(&socket, FIRST_BYTES_WAIT);
        socket.set_nonblocking(true)?;
        Ok(Self { socket, door, path: None, is_inherited: false })
    }

    /// The bound address; `None` for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Refuses further connections. A socket of a service manager stays open, because it belongs to that.
    pub(super) fn refuse(&self) {
        if !self.is_inherited {
            // Fails only if another poller has done it.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn door(&self) -> Door {
        self.door
    }

    pub(super) fn accept(&self) -> io::Result<(TcpStream, Visitor)> {
        let (stream, address) = self.socket.accept()?;
        let visitor = Visitor { address: address.as_socket(), door: self.door };
        Ok((TcpStream::from(OwnedFd::from(stream)), visitor))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
