//! The client of the tests: bytes over a socket, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, ClientConnection, Stream, version};

use super::{SOON, has_tls};
use crate::tls::TlsConfig;
use crate::tls::tests::{Folder, HOST, client_config, load};

/// The server's certificate, and clients that trust it. They resume sessions, so few handshakes are full ones.
static TLS: LazyLock<(TlsConfig, Arc<ClientConfig>)> = LazyLock::new(|| {
    let folder = Folder::new();
    let files = folder.certificate(&[HOST]);
    let client = client_config(&[&files], &[&version::TLS13]);
    (load(&[files]).expect("the certificate is good"), client)
});

pub(super) fn tls_of_server() -> TlsConfig {
    TLS.0.clone()
}

/// A connection to the server. The handshake takes place at the first read or write.
pub(super) struct Client {
    pub(super) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("somebody listens"))
    }

    pub(super) fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        socket.set_nodelay(true).expect("it is a socket");
        let tls = has_tls().then(|| {
            let name = HOST.try_into().expect("it is a name");
            let mut tls = ClientConnection::new(Arc::clone(&TLS.1), name).expect("the configuration is good");
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        Self { socket, tls }
    }

    /// Sends the last bytes, and ends the sending side. With TLS both go together: if the server closed the connection in
    /// between, the `close_notify` would reset it, and the response would be lost.
    pub(super) fn send_last(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.socket.write_all(bytes).expect("the server reads"),
            Some(tls) => {
                while tls.is_handshaking() {
                    tls.complete_io(&mut self.socket).expect("the server answers");
                }
                tls.writer().write_all(bytes).expect("there is memory");
            }
        }
        self.end_writing();
    }

    /// Ends the sending side.
    pub(super) fn end_writing(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush().expect("it is connected");
        }
        self.socket.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// Waits until something has come, which stays to be read. With TLS it may be a session ticket.
    pub(super) fn wait(&self) {
        self.socket.peek(&mut [0]).expect("something comes");
    }

    /// Whether there is something to read, or the connection has ended or is broken. Does not wait.
    pub(super) fn is_ready(&mut self) -> bool {
        self.socket.set_nonblocking(true).expect("it is a socket");
        let is_ready = match &mut self.tls {
            None => self.socket.peek(&mut [0]).map(|_| true),
            Some(tls) => loop {
                match tls.read_tls(&mut self.socket) {
                    Ok(1..) => {}
                    end => break end.map(|_| true),
                }
                match tls.process_new_packets() {
                    Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                    _ => break Ok(true),
                }
            },
        };
        self.socket.set_nonblocking(false).expect("it is a socket");
        is_ready.unwrap_or_else(|e| e.kind() != io::ErrorKind::WouldBlock)
    }
}

impl Read for Client {
    /// Without a `close_notify`, the end of a connection with TLS is an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).read(buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).flush(),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
