//! The transport of a connection: plain TCP or Unix sockets today. TLS will be another kind of transport behind the same
//! methods.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use crate::linux::{self, ReadyFor};

/// Whether a call may wait for the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It returns `WouldBlock` at once.
    None,
    /// It returns `WouldBlock` after the timeout of the socket, or at once if the socket is non-blocking.
    UntilTimeout,
}

/// One connection. It is closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// Can be a Unix socket too, because all calls that are made on it apply to both.
    socket: Arc<TcpStream>,
}

impl Transport {
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket) }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Reads once. Returns 0 at the end of the stream.
    pub(crate) fn read(&self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        let flags = match patience {
            Patience::None => RecvFlags::DONTWAIT,
            Patience::UntilTimeout => RecvFlags::empty(),
        };
        let (count, _) = rustix::net::recv(&*self.socket, buffer, flags)?;
        Ok(count)
    }

    /// Writes once, as much as the socket has room for. `more_follows`: the last packet waits for the next write
    /// (`MSG_MORE`).
    pub(crate) fn write(
        &self,
        slices: &[IoSlice<'_>],
        patience: Patience,
        more_follows: bool,
    ) -> io::Result<usize> {
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, patience == Patience::None);
        flags.set(SendFlags::MORE, more_follows);
        Ok(match slices {
            [only] => rustix::net::send(&*self.socket, only, flags)?,
            _ => rustix::net::sendmsg(&*self.socket, slices, &mut SendAncillaryBuffer::default(), flags)?,
        })
    }

    /// Sends at most `count` bytes of a file from `offset` on, and advances `offset`. Returns 0 at the end of the file.
    /// Waits for the disk, and for the client as with [`Patience::UntilTimeout`].
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
        linux::send_file(&*self.socket, file, offset, count)
    }

    /// Sets the timeout of writes with [`Patience::UntilTimeout`].
    pub(crate) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_write_timeout(Some(timeout))
    }

    /// Waits until the socket is ready or broken. False after `timeout`.
    pub(crate) fn wait_for(&self, ready_for: ReadyFor, timeout: Duration) -> io::Result<bool> {
        let events = match ready_for {
            ReadyFor::Reading => PollFlags::IN,
            ReadyFor::Writing => PollFlags::OUT,
        };
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(self, events)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// How many of the written bytes the client's system has not acknowledged.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        linux::untaken_bytes(&*self.socket)
    }

    /// Shuts down the sending side. False if the connection has ended already.
    pub(crate) fn end_writing(&self) -> bool {
        self.socket.shutdown(Shutdown::Write).is_ok()
    }

    /// Makes closing the connection reset it. Otherwise the kernel keeps the unsent bytes for minutes.
    pub(crate) fn reset_at_close(&self) {
        // If it fails the memory is freed later.
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
