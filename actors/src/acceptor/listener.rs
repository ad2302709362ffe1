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

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;
/// After this long without a word TCP asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long the system holds connections back that have not said anything.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(1);

/// A socket that connections come from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    door: Door,
    /// The name of a Unix socket of ours, removed at the end.
    path: Option<PathBuf>,
    /// Whether a service manager has opened it.
    is_inherited: bool,
}

impl Listener {
    /// Binds a TCP socket. `is_dual`: whether an unspecified IPv6 address also stands for IPv4.
    ///
    /// # Errors
    /// Those of the system, for example when the address is in use.
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

    /// Binds a Unix socket. One that a server has left behind is replaced, one that is in use is not.
    ///
    /// # Errors
    /// Those of the system; `AddrInUse` also when something else has that name.
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
        // Before it listens, so that nobody comes in who may not.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, door: Door::Public, path: Some(path.to_owned()), is_inherited: false })
    }

    /// The sockets that a service manager has opened for this process (`sd_listen_fds(3)`), TCP or Unix. They are taken: a
    /// second call finds none.
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
        // Connections inherit both. Every write is a whole answer or more; a peer that vanished is noticed.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
        // Without it the first read of a connection finds nothing, and it is waited for.
        let _ = linux::defer_accept(&socket, FIRST_BYTES_WAIT);
        socket.set_nonblocking(true)?;
        Ok(Self { socket, door, path: None, is_inherited: false })
    }

    /// The address that it is bound to; none for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Lets the system refuse whoever comes from now on. What a service manager has opened stays open: it is its own.
    pub(super) fn refuse(&self) {
        if !self.is_inherited {
            // Fails only when another poller has done it.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    /// What it is for.
    pub(super) fn door(&self) -> Door {
        self.door
    }

    /// The next connection.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, Visitor)> {
        let (stream, address) = self.socket.accept()?;
        let visitor = Visitor { address: address.as_socket(), door: self.door };
        Ok((TcpStream::from(OwnedFd::from(stream)), visitor))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Somebody else may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
