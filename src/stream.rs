//! The connection of a client to a server, with TLS or without.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::{ClientConnection, ProtocolVersion};
use wire::Digest;
use wire::protocol::ChannelBinding;

/// A connection. One thread may read while another one writes.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// Never locked while the socket is waited for, so that a full socket in one direction does not stop the other one.
    tls: Option<Mutex<ClientConnection>>,
}

impl Stream {
    /// A connection after its TLS handshake.
    pub(crate) fn tls(socket: TcpStream, connection: ClientConnection) -> Self {
        Self { socket, tls: Some(Mutex::new(connection)) }
    }

    /// The socket below, for its addresses and timeouts.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The version of TLS, and the digest of the server's certificate. `None` without TLS.
    pub(crate) fn secured_by(&self) -> Option<(ProtocolVersion, Digest)> {
        let tls = lock(self.tls.as_ref()?);
        let certificate = tls.peer_certificates().and_then(|chain| chain.first())?;
        Some((tls.protocol_version()?, Digest::of(certificate)))
    }

    /// What identifies the TLS connection, for a peer to sign. `None` without TLS.
    ///
    /// # Errors
    /// The connection does not have it.
    pub(crate) fn channel_binding(&self) -> io::Result<Option<ChannelBinding>> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let exported = lock(tls).export_keying_material([0; 32], ChannelBinding::EXPORTER_LABEL, Some(&[]));
        exported.map(|binding| Some(ChannelBinding(binding))).map_err(io::Error::other)
    }

    /// Ends the sending side.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls {
            let encrypted = {
                let mut tls = lock(tls);
                tls.send_close_notify();
                take_encrypted(&mut tls)?
            };
            (&self.socket).write_all(&encrypted)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Waits until the socket is readable, as long as its timeout for reading allows.
    fn wait(&self) -> io::Result<()> {
        let timeout = self.socket.read_timeout()?.map(Timespec::try_from);
        let timeout = timeout.transpose().map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], timeout.as_ref())? {
            0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return (&self.socket).read(buffer) };
        loop {
            match lock(tls).reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.wait()?;
            let mut tls = lock(tls);
            // Does not wait, because nobody else reads. What is to be sent because of this goes with the next write.
            tls.read_tls(&mut &self.socket)?;
            tls.process_new_packets().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return (&self.socket).write(bytes) };
        let (count, encrypted) = {
            let mut tls = lock(tls);
            let count = tls.writer().write(bytes)?;
            (count, take_encrypted(&mut tls)?)
        };
        (&self.socket).write_all(&encrypted)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock(tls: &Mutex<ClientConnection>) -> MutexGuard<'_, ClientConnection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_encrypted(tls: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut encrypted = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut encrypted)?;
    }
    Ok(encrypted)
}
