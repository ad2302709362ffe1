//! The transport of a connection: a TCP or Unix socket, with TLS on it or without, and with a WebSocket on that or without. The
//! code above sees plain bytes.
//!
//! With TLS or a WebSocket, [`Transport::write`] takes bytes that the socket has not taken yet, and [`Transport::read`] may leave bytes that
//! were decrypted already. So whoever waits for the socket asks [`Transport::has_unsent`] and [`Transport::has_unread`] first.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;
use wire::protocol::ChannelBinding;

use crate::linux::{self, ReadyFor};
use crate::tls::{TlsConfig, TlsConnection};
use crate::websocket::WebSocket;

/// With TLS, files are read and encrypted in pieces of this size: one record each.
const FILE_PIECE_BYTES: usize = 16 << 10;
/// The maximum number of bytes of a file that are encrypted before they are sent.
const FILE_BYTES_MAX: usize = 64 << 10;
/// The buffer between two connections, if they cannot be connected in the kernel.
const COPY_BYTES: usize = 64 << 10;

/// Whether a call may wait for the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It returns `WouldBlock` at once.
    None,
    /// It returns `WouldBlock` after the timeout of the socket, or at once if the socket is non-blocking.
    UntilTimeout,
}

/// One connection. The socket is closed when the last reference to it is dropped.
#[derive(Debug)]
pub struct Transport {
    /// Can be a Unix socket too, because all calls that are made on it apply to both.
    socket: Arc<TcpStream>,
    tls: Option<Box<TlsConnection>>,
    websocket: Option<Box<WebSocket>>,
}

impl Transport {
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), tls: None, websocket: None }
    }

    /// The server's end of a connection with TLS. The handshake takes place while it is read.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn tls(socket: TcpStream, config: &TlsConfig) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(socket), tls: Some(Box::new(config.accept()?)), websocket: None })
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Goes on as a WebSocket. `read` are the bytes of it that were read already; returns the plain bytes in them.
    ///
    /// # Errors
    /// Those of the socket, and a [`Violation`](crate::websocket::Violation) as `InvalidData`.
    pub(crate) fn upgrade(&mut self, mut read: Vec<u8>) -> io::Result<Vec<u8>> {
        self.websocket = Some(Box::default());
        let count = self.decode(&mut read, Patience::None)?;
        read.truncate(count);
        Ok(read)
    }

    /// Whether the bytes on the socket are those that are written here.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// Reads once. Returns 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of the socket, those of [`TlsConnection::read`], and a [`Violation`](crate::websocket::Violation) as `InvalidData`.
    /// `Interrupted` also if only control frames of a WebSocket have come: a client that sends nothing else must not keep a
    /// poller from its other connections.
    pub(crate) fn read(&mut self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        if self.websocket.is_none() {
            return self.read_below(buffer, patience);
        }
        if self.has_client_closed() {
            return Ok(0);
        }
        let count = self.read_below(buffer, patience)?;
        let plain = self.decode(&mut buffer[..count], patience)?;
        match count > 0 && plain == 0 && !self.has_client_closed() {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(plain),
        }
    }

    /// Whether the client has closed the WebSocket, so that nothing more is read.
    fn has_client_closed(&self) -> bool {
        self.websocket.as_ref().is_some_and(|websocket| websocket.has_client_closed())
    }

    /// Replaces received bytes by the plain bytes in them, and sends the replies to control frames as far as the socket takes
    /// them. Returns the number of plain bytes.
    fn decode(&mut self, bytes: &mut [u8], patience: Patience) -> io::Result<usize> {
        let Some(websocket) = &mut self.websocket else { return Ok(bytes.len()) };
        let plain = websocket.decode(bytes);
        match self.flush(patience) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
        plain.map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation))
    }

    fn read_below(&mut self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        match &mut self.tls {
            None => receive(&self.socket, buffer, patience),
            Some(tls) => {
                tls.read(&mut Socket { socket: &self.socket, patience, more_follows: false }, buffer)
            }
        }
    }

    /// Writes once, as much as the socket has room for. `more_follows`: the last packet waits for the next write
    /// (`MSG_MORE`).
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` while earlier bytes still wait; `BrokenPipe` after the end of a WebSocket.
    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        patience: Patience,
        more_follows: bool,
    ) -> io::Result<usize> {
        if self.websocket.is_none() {
            return self.write_below(slices, patience, more_follows);
        }
        self.flush(patience)?;
        let websocket = self.websocket.as_mut();
        let count =
            websocket.and_then(|websocket| websocket.encode(slices)).ok_or(io::ErrorKind::BrokenPipe)?;
        match self.flush(patience) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(count),
        }
    }

    fn write_below(
        &mut self,
        slices: &[IoSlice<'_>],
        patience: Patience,
        more_follows: bool,
    ) -> io::Result<usize> {
        match &mut self.tls {
            None => send(&self.socket, slices, patience, more_follows),
            Some(tls) => tls.write(&mut Socket { socket: &self.socket, patience, more_follows }, slices),
        }
    }

    /// Writes all bytes, and waits for the client as with [`Patience::UntilTimeout`].
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` if it takes nothing for longer than its timeout.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(&[IoSlice::new(bytes)], Patience::UntilTimeout, false) {
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            self.flush(Patience::UntilTimeout)?;
        }
        Ok(())
    }

    /// Copies everything that comes on this connection to another one, in parts of at most `part_bytes_max`. Both sockets must be
    /// blocking and have timeouts. Calls `after_each` with the size of each part. Returns the number of all bytes.
    ///
    /// # Errors
    /// Those of the sockets and of [`TlsConnection::read`]; `WouldBlock` when one made no progress for longer than its timeout.
    pub(crate) fn copy_to(
        &mut self,
        to: &mut Self,
        part_bytes_max: usize,
        mut after_each: impl FnMut(usize),
    ) -> io::Result<u64> {
        if [&*self, &*to].iter().all(|end| end.is_plain()) {
            return linux::splice_all(&self.socket, &to.socket, part_bytes_max, after_each);
        }
        let mut buffer = vec![0; COPY_BYTES.min(part_bytes_max)];
        let mut total = 0;
        loop {
            match self.read(&mut buffer, Patience::UntilTimeout) {
                Ok(0) => return Ok(total),
                Ok(count) => {
                    to.write_all(&buffer[..count])?;
                    total += count as u64;
                    after_each(count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether the client has ended or broken the connection, and nothing is left to read. Does not wait. The socket must be
    /// non-blocking. What comes in a WebSocket is lost, so a client that sends something then has broken it.
    pub(crate) fn has_ended(&mut self) -> bool {
        let patience = Patience::None;
        if self.is_websocket() {
            return match self.read(&mut [0; 256], patience) {
                Ok(_) => true,
                Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            };
        }
        match &mut self.tls {
            None => match self.socket.peek(&mut [0]) {
                Ok(count) => count == 0,
                Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            },
            Some(tls) => tls.has_ended(&mut Socket { socket: &self.socket, patience, more_follows: false }),
        }
    }

    /// Sends at most `count` bytes of a file from `offset` on, and advances `offset`. Returns 0 at the end of the file.
    /// Waits for the disk, and for the client as with [`Patience::UntilTimeout`].
    pub(crate) fn send_file(&mut self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return linux::send_file(&*self.socket, file, offset, count) };
        let socket =
            &mut Socket { socket: &self.socket, patience: Patience::UntilTimeout, more_follows: false };
        tls.flush(socket)?;
        let mut piece = [0; FILE_PIECE_BYTES];
        let mut sent = 0;
        while sent < count.min(FILE_BYTES_MAX) {
            let room = FILE_PIECE_BYTES.min(count - sent);
            let read = file.read_at(&mut piece[..room], *offset)?;
            if read == 0 {
                break;
            }
            let taken = tls.encrypt(&[IoSlice::new(&piece[..read])])?;
            *offset += taken as u64;
            sent += taken;
            if taken < read {
                break;
            }
        }
        tls.try_flush(socket)?;
        Ok(sent)
    }

    /// Sends what [`Transport::write`] has taken and the socket has not.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` if there is still some left.
    pub(crate) fn flush(&mut self, patience: Patience) -> io::Result<()> {
        if let Some(mut websocket) = self.websocket.take() {
            let flushed = self.flush_websocket(&mut websocket, patience);
            self.websocket = Some(websocket);
            flushed?;
        }
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => tls.flush(&mut Socket { socket: &self.socket, patience, more_follows: false }),
        }
    }

    fn flush_websocket(&mut self, websocket: &mut WebSocket, patience: Patience) -> io::Result<()> {
        while websocket.has_unsent() {
            match self.write_below(&[IoSlice::new(websocket.unsent())], patience, false) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => websocket.advance(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether there is something for [`Transport::flush`].
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
            || self.websocket.as_ref().is_some_and(|websocket| websocket.has_unsent())
    }

    /// Whether [`Transport::read`] returns bytes, or the end of the stream, even if nothing comes from the socket.
    pub(crate) fn has_unread(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unread()) || self.has_client_closed()
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

    /// What identifies the TLS connection, for peers to sign; `None` without TLS, and in a WebSocket, because a browser does not
    /// tell it to its pages.
    ///
    /// # Errors
    /// The connection uses a version of TLS that does not have this.
    pub(crate) fn channel_binding(&self) -> Result<Option<ChannelBinding>, &'static str> {
        match &self.tls {
            Some(tls) if !self.is_websocket() => {
                tls.channel_binding().map(Some).ok_or("peers need TLS 1.3 or no TLS")
            }
            _ => Ok(None),
        }
    }

    /// How many of the written bytes the client's system has not acknowledged. With TLS this includes what encryption adds.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        let of_websocket = self.websocket.as_ref().map_or(0, |websocket| websocket.unsent_bytes());
        let of_tls = self.tls.as_ref().map_or(0, |tls| tls.unsent_bytes());
        linux::untaken_bytes(&*self.socket) + (of_websocket + of_tls) as u64
    }

    /// Tells a client that uses TLS or a WebSocket that nothing more follows. Otherwise the end of the connection says that.
    pub(crate) fn notify_end(&mut self) {
        if let Some(websocket) = &mut self.websocket {
            websocket.end();
            // If the socket is full or broken, the client sees an end without it.
            let _ = self.flush(Patience::None);
        }
        if let Some(tls) = &mut self.tls {
            let patience = Patience::None;
            tls.end_writing(&mut Socket { socket: &self.socket, patience, more_follows: false });
        }
    }

    /// Shuts down the sending side. False if the connection has ended already.
    pub(crate) fn end_writing(&mut self) -> bool {
        self.notify_end();
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

/// The socket below TLS, during one call.
struct Socket<'a> {
    socket: &'a TcpStream,
    patience: Patience,
    more_follows: bool,
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(self.socket, buffer, self.patience)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send(self.socket, slices, self.patience, self.more_follows)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what the socket takes without waiting.
///
/// # Errors
/// Those of the socket; `WouldBlock` if it takes nothing.
pub(crate) fn try_send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    send(socket, &[IoSlice::new(bytes)], Patience::None, false)
}

fn receive(socket: &TcpStream, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
    let flags = match patience {
        Patience::None => RecvFlags::DONTWAIT,
        Patience::UntilTimeout => RecvFlags::empty(),
    };
    let (count, _) = rustix::net::recv(socket, buffer, flags)?;
    Ok(count)
}

fn send(
    socket: &TcpStream,
    slices: &[IoSlice<'_>],
    patience: Patience,
    more_follows: bool,
) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, patience == Patience::None);
    flags.set(SendFlags::MORE, more_follows);
    Ok(match slices {
        [only] => rustix::net::send(socket, only, flags)?,
        _ => rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A poller serves other connections between two reads of one.
    #[test]
    fn a_client_that_only_sends_control_frames_does_not_hold_up_its_reader() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (socket, _) = listener.accept().expect("a client has connected");
        let mut transport = Transport::plain(socket);
        transport.upgrade(Vec::new()).expect("nothing is wrong");
        // Pings without a payload, under a mask of zeros, and the payload `x`.
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        client
            .write_all(&[&ping.repeat(100)[..], &[0x82, 0x81, 0, 0, 0, 0, b'x']].concat())
            .expect("it is connected");
        let mut buffer = [0; 60];
        let mut read = || transport.read(&mut buffer, Patience::UntilTimeout).map_err(|e| e.kind());
        for _ in 0..10 {
            assert_eq!(read(), Err(io::ErrorKind::Interrupted));
        }
        assert_eq!(read(), Ok(1));
    }
}
