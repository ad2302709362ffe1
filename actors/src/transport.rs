//! What lies between a socket and the bytes that HTTP and peers speak: nothing yet, they are sent as they are.
//!
//! Everything above asks a [`Transport`] to read, to write, to send a file, and how much its client has taken. Encryption is
//! another kind of transport, and changes nothing above.

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
    /// It returns `WouldBlock` when the socket's timeout has passed, if it has one; at once if the socket is non-blocking.
    UntilTimeout,
}

/// One connection. Clones are the same connection; it is closed when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// Also stands for a Unix socket: the calls that are made on it are the same for both.
    socket: Arc<TcpStream>,
}

impl Transport {
    /// Sends and receives bytes as they are.
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket) }
    }

    /// The socket below, to wait on and to set options of.
    pub(crate) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Reads once. Returns 0 at the end.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub(crate) fn read(&self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        let flags = match patience {
            Patience::None => RecvFlags::DONTWAIT,
            Patience::UntilTimeout => RecvFlags::empty(),
        };
        let (count, _) = rustix::net::recv(&*self.socket, buffer, flags)?;
        Ok(count)
    }

    /// Writes once, as much as there is room for. `more_follows`: whether the last packet may wait for what is written next.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
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

    /// Sends at most `count` bytes of a file from `offset` on, and advances `offset`. Returns how many; 0 at the end of the
    /// file. It may wait for the disk, and for the client as [`Patience::UntilTimeout`] says.
    ///
    /// # Errors
    /// Those of `sendfile(2)`.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
        linux::send_file(&*self.socket, file, offset, count)
    }

    /// For how long [`Patience::UntilTimeout`] waits when it writes.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub(crate) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_write_timeout(Some(timeout))
    }

    /// Waits until the client has written, or until there is room for writing, or until it has gone: false if none of this
    /// is so after `timeout`.
    ///
    /// # Errors
    /// Those of `poll(2)`.
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

    /// How many of the bytes that were written have not been taken by the client's system.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        linux::untaken_bytes(&*self.socket)
    }

    /// Tells the client that nothing more comes. False if the connection has ended already.
    pub(crate) fn end_writing(&self) -> bool {
        self.socket.shutdown(Shutdown::Write).is_ok()
    }

    /// Has the system drop what the client has not taken when the connection is closed, and reset it. Otherwise that takes
    /// memory for minutes.
    pub(crate) fn reset_at_close(&self) {
        // Where it fails the memory is free later.
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
