//! A client that does as little as possible, so that its latency is that of the server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use measure::{Latency, percentile};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::interrupt::Interrupt;

/// Timeout for a response; far longer than one takes during an attack that leaves the server usable.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A connection, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

/// A persistent connection.
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: Stream::Plain(Self::socket(address)?), buffer: Vec::new() })
    }

    /// Connects with TLS. The handshake takes place with the first request.
    pub(crate) fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        let connection = ClientConnection::new(Arc::clone(config), address.ip().into())?;
        let stream = StreamOwned::new(connection, Self::socket(address)?);
        Ok(Self { stream: Stream::Tls(Box::new(stream)), buffer: Vec::new() })
    }

    /// The kind of the handshake; none without TLS.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.conn.handshake_kind(),
        }
    }

    fn socket(address: SocketAddr) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_WAIT).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        Ok(stream)
    }

    /// Requests `path` and returns the body.
    pub(crate) fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.send(&request(path))
    }

    /// Sends a request and returns the body of the response, which must have status 200 and a Content-Length.
    fn send(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request).context("cannot send a request")?;
        let head_bytes = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.buffer.len() < HEAD_BYTES_MAX, "the head of an answer does not end");
            self.read_more()?;
        };
        let body_bytes = body_bytes(&self.buffer[..head_bytes])?;
        while self.buffer.len() < head_bytes + body_bytes {
            self.read_more()?;
        }
        ensure!(self.buffer.len() == head_bytes + body_bytes, "an answer is longer than it says");
        let mut answer = std::mem::take(&mut self.buffer);
        Ok(answer.split_off(head_bytes))
    }

    fn read_more(&mut self) -> Result<()> {
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let count = self.stream.read(&mut self.buffer[before..]).context("no answer came")?;
        self.buffer.truncate(before + count);
        ensure!(count > 0, "the connection ended within an answer");
        Ok(())
    }

    /// Requests `path` repeatedly for `time`, or until `is_over`.
    pub(crate) fn latency(
        &mut self,
        path: &str,
        time: Duration,
        interrupt: &Interrupt,
        mut is_over: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Latency>> {
        let request = request(path);
        let mut took = Vec::new();
        let start = Instant::now();
        while start.elapsed() < time {
            // Not each time, because the check itself takes time.
            if took.len() % 64 == 0 && is_over()? {
                break;
            }
            interrupt.check()?;
            let asked = Instant::now();
            self.send(&request)?;
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        let us = |percent| percentile(&took, percent).map(|took| took.as_secs_f64() * 1e6);
        let both = us(50).zip(us(99));
        Ok(both.map(|(p50_us, p99_us)| Latency { requests: took.len(), p50_us, p99_us }))
    }
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The length of the body, from the head of a response.
fn body_bytes(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head).context("the head of an answer is not text")?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200 "), "the answer is {status:?}");
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    bail!("an answer has no length")
}
