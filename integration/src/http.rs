//! An HTTP client that can send anything and shares no code with the server, and a proxy that cuts connections in the
//! middle of a response.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType};

use crate::PATIENCE;

/// Size of the receive buffer of a narrow connection.
const NARROW_BYTES: usize = 64 << 10;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The lines of the header fields.
    pub fields: Vec<String>,
    /// The body, whose length is that of Content-Length.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    ///
    /// # Panics
    /// There are several such fields.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice: {:?}", self.fields);
        value
    }

    /// The values of all fields with this name.
    pub fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.fields.iter().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body.
    ///
    /// # Panics
    /// The body is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

/// A connection to a web server.
#[derive(Debug)]
pub struct HttpConnection<S: Read + Write = TcpStream> {
    stream: BufReader<S>,
}

impl HttpConnection {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        Self::of(stream)
    }

    /// Connects from the given local address.
    ///
    /// # Panics
    /// Nobody listens, or the address is not local.
    pub fn open_from(from: [u8; 4], address: SocketAddr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("there is a descriptor left");
        rustix::net::bind(&socket, &SocketAddr::from((from, 0))).expect("it is an address of this machine");
        rustix::net::connect(&socket, &address).expect("the server accepts");
        Self::of(socket.into())
    }

    /// Connects with a small receive buffer, so that unread bytes wait at the server.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn open_narrow(address: SocketAddr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("there is a descriptor left");
        set_socket_recv_buffer_size(&socket, NARROW_BYTES).expect("it is a socket");
        rustix::net::connect(&socket, &address).expect("the server accepts");
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_nodelay(true).expect("it is TCP");
        Self { stream: BufReader::new(stream) }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

impl HttpConnection<UnixStream> {
    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        Self { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> HttpConnection<S> {
    /// Sends any bytes. Ignores errors, because a server may refuse a request before it has read all of it.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends a request without a body.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[&str]) {
        let has_host = fields.iter().any(|field| field.starts_with("Host:"));
        let host = if has_host { "" } else { "Host: localhost\r\n" };
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        self.send(format!("{method} {path} HTTP/1.1\r\n{host}{fields}\r\n").as_bytes());
    }

    /// Sends a GET request and reads the response.
    ///
    /// # Panics
    /// There is no complete response.
    #[track_caller]
    pub fn get(&mut self, path: &str, fields: &[&str]) -> Answer {
        self.ask("GET", path, fields);
        self.answer().expect("the server answers")
    }

    /// Reads the next response, which must not be to a HEAD. None at the end of the connection, also if it is reset.
    ///
    /// # Panics
    /// Nothing arrives, or only a part of a response.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) if lines.is_empty() => return None,
                Err(e) if e.kind() == ErrorKind::ConnectionReset && lines.is_empty() => return None,
                Ok(0) => panic!("the connection ends within a head: {lines:?}"),
                Ok(_) => {}
                Err(e) => panic!("the server neither answers nor ends the connection: {e}"),
            }
            let line = String::from_utf8(line).expect("a head is text");
            let line = line.strip_suffix("\r\n").expect("lines of a head end with CRLF");
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let status = lines.remove(0);
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let mut answer = Answer { status: status.expect("it is a status"), fields: lines, body: Vec::new() };
        if !matches!(answer.status, 204 | 304) {
            let length = answer.field("Content-Length").expect("the answer says its length");
            answer.body = vec![0; length.parse().expect("a length is a number")];
            self.stream.read_exact(&mut answer.body).expect("the body is whole");
        }
        Some(answer)
    }
}

/// The response to a single request.
///
/// # Panics
/// There is no response.
#[track_caller]
pub fn get(address: SocketAddr, path: &str, fields: &[&str]) -> Answer {
    HttpConnection::open(address).get(path, fields)
}

/// Calls `look` until it returns something.
///
/// # Panics
/// The deadline is over before.
#[track_caller]
pub fn until<T>(wanted: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "there was no time left before {wanted}");
        // The pause keeps polling from slowing down what it waits for.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Starts a proxy in front of `server` for as many connections as there are `bytes`, one after the other. It cuts each
/// connection after that many bytes of the response.
///
/// # Panics
/// There is no free port.
pub fn cut(server: SocketAddr, bytes: &'static [u64]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || -> std::io::Result<()> {
        for &bytes in bytes {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(server)?;
            let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::io::copy(&mut (&server).take(bytes), &mut &client)?;
            client.shutdown(Shutdown::Both)?;
        }
        Ok(())
    });
    address
}
