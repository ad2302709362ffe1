//! Bytes in: a buffer, and reads with a deadline.

use std::io::{self, ErrorKind, Read as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use wire::http::HEAD_BYTES_MAX;

use super::left_of;

/// Room that a connection starts with: a browser's request and some pipelined ones. It grows up to a whole head.
const BUFFER_BYTES: usize = 4 * 1024;

/// Most bytes that are read and dropped from a client that we have answered for the last time.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How a read ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are more bytes.
    Some,
    /// The other side has sent all it will.
    End,
    /// Nothing came in time.
    TimedOut,
}

/// What has been read and not yet been used: `buffer[start..end]`.
pub(super) struct Input<'a> {
    stream: &'a TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The read timeout that the socket has, so that it is set only when it changes.
    timeout: Option<Duration>,
    /// When the present head or body began to be waited for.
    waiting_since: Option<Instant>,
}

impl<'a> Input<'a> {
    pub(super) fn new(stream: &'a TcpStream, buffered: Vec<u8>) -> Self {
        let end = buffered.len();
        Self { stream, buffer: buffered, start: 0, end, timeout: None, waiting_since: None }
    }

    pub(super) fn stream(&self) -> &'a TcpStream {
        self.stream
    }

    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "only what is there can be consumed");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(timeout))
    }

    /// What is waited for has arrived: the next wait has a new deadline.
    pub(super) fn end_deadline(&mut self) {
        self.waiting_since = None;
    }

    /// What is left of a deadline that began with the first call since [`Input::end_deadline`].
    pub(super) fn remaining(&mut self, limit: Duration) -> Duration {
        left_of(limit, *self.waiting_since.get_or_insert_with(Instant::now))
    }

    /// Reads once, and waits for at most `timeout`.
    pub(super) fn fill(&mut self, timeout: Duration) -> io::Result<Filled> {
        if timeout.is_zero() {
            return Ok(Filled::TimedOut);
        }
        if self.timeout != Some(timeout) {
            self.stream.set_read_timeout(Some(timeout))?;
            self.timeout = Some(timeout);
        }
        self.make_room();
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(Filled::End),
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(Filled::Some);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Filled::TimedOut);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes sure that there is somewhere to read to. It never grows beyond a head that will be refused.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let grown =
                (self.buffer.len() * 2).clamp(BUFFER_BYTES, HEAD_BYTES_MAX.max(self.end + BUFFER_BYTES));
            self.buffer.resize(grown, 0);
        }
    }
}

/// Says that nothing more will be sent, and reads until the other side has understood: closing a socket with unread
/// bytes would reset the connection, and with it what is still on its way (RFC 9112, section 9.6).
pub(super) fn linger(stream: &TcpStream, timeout: Duration) {
    let since = Instant::now();
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut dropped = 0;
    let mut buffer = [0; 4096];
    let mut reader = stream;
    while dropped < LINGER_BYTES_MAX {
        let left = left_of(timeout, since);
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => dropped += bytes,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
