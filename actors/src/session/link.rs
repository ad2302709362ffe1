//! The bytes of one connection: frames in, frames out, none copied on the way through.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use wire::frame::{self, BODY_BYTES_MAX, BadFrame, LENGTH_BYTES};

/// First size of the read buffer: most connections are idle most of the time.
const READ_BYTES_MIN: usize = 4 << 10;
/// Size to which the read buffer grows when a connection is busy; a batch of commands carries at most this much.
const READ_BYTES_MAX: usize = 64 << 10;
/// A new buffer is made when less than this is left in the old one, which others may still hold parts of.
const READ_BYTES_LEFT_MIN: usize = 1 << 10;
/// Slices given to one `writev(2)`.
const WRITE_SLICES_MAX: usize = 64;

/// The two directions of a connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Arc<TcpStream>,
    /// All of it is initialised; the first `filled` bytes have been read.
    buffer: BytesMut,
    filled: usize,
    read_bytes: usize,
    outgoing: VecDeque<Bytes>,
    outgoing_bytes: usize,
}

/// What one read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Something, and there may be more at once.
    More,
    /// Something, or nothing for now.
    Drained,
    /// The end.
    Closed,
}

impl Link {
    /// Takes over a connection of which `already` has been read.
    pub(super) fn new(stream: Arc<TcpStream>, already: &[u8]) -> Self {
        let mut buffer = BytesMut::zeroed(READ_BYTES_MIN.max(already.len()));
        buffer[..already.len()].copy_from_slice(already);
        Self {
            stream,
            buffer,
            filled: already.len(),
            read_bytes: READ_BYTES_MIN,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
        }
    }

    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// What has been read and not yet split off.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Splits off the first `count` bytes of what has been read.
    pub(super) fn split(&mut self, count: usize) -> Bytes {
        debug_assert!(count <= self.filled);
        self.filled -= count;
        self.buffer.split_to(count).freeze()
    }

    /// Reads once.
    pub(super) fn read(&mut self) -> io::Result<ReadOutcome> {
        self.make_room();
        let room = &mut self.buffer[self.filled..];
        let room_bytes = room.len();
        match (&*self.stream).read(room) {
            Ok(0) => Ok(ReadOutcome::Closed),
            Ok(count) => {
                self.filled += count;
                if count < room_bytes {
                    return Ok(ReadOutcome::Drained);
                }
                self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
                Ok(ReadOutcome::More)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(ReadOutcome::More),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::Drained),
            Err(e) => Err(e),
        }
    }

    /// Sees to it that the frame that has begun fits, and that a read is worth its system call.
    fn make_room(&mut self) {
        let begun = match self.received().first_chunk::<LENGTH_BYTES>() {
            // Whoever looks for the frame refuses one that is longer.
            Some(length) => LENGTH_BYTES + (u32::from_le_bytes(*length) as usize).min(BODY_BYTES_MAX),
            None => 0,
        };
        let left = self.buffer.len() - self.filled;
        if left >= READ_BYTES_LEFT_MIN.min(self.read_bytes) && self.buffer.len() >= begun {
            return;
        }
        let mut next = BytesMut::zeroed(self.read_bytes.max(begun).max(self.filled + READ_BYTES_LEFT_MIN));
        next[..self.filled].copy_from_slice(self.received());
        self.buffer = next;
    }

    /// The body of the first frame that has been read whole.
    pub(super) fn first_frame(&self, body_bytes_max: usize) -> Result<Option<&[u8]>, BadFrame> {
        frame::split(self.received(), body_bytes_max)
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.outgoing_bytes += bytes.len();
        self.outgoing.push_back(bytes);
    }

    pub(super) fn push_message<T: Serialize>(&mut self, message: &T) {
        self.push(frame::frame(message).into());
    }

    /// How much waits to be written.
    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing_bytes
    }

    /// Writes what the connection takes. Returns whether anything was written.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let mut wrote = false;
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            match (&*self.stream).write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written(written);
                    wrote = true;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(wrote),
                Err(e) => return Err(e),
            }
        }
        Ok(wrote)
    }

    fn written(&mut self, mut count: usize) {
        self.outgoing_bytes -= count;
        while count > 0 {
            let front = self.outgoing.front_mut().expect("no more was written than waited");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.outgoing.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        (near, listener.accept().expect("somebody dialled").0)
    }

    fn read_all(link: &mut Link, count: usize) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            while let Some(body) = link.first_frame(BODY_BYTES_MAX).expect("the frames are good") {
                bodies.push(body.to_vec());
                let used = LENGTH_BYTES + body.len();
                link.split(used);
            }
            if bodies.len() < count {
                assert_ne!(link.read().expect("the connection is open"), ReadOutcome::Closed);
            }
        }
        bodies
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frames_arrive_whole_whatever_their_sizes_and_whatever_was_read_before(
            sizes in prop::collection::vec(0usize..20_000, 1..40),
            already in 0usize..200,
        ) {
            let bodies: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(fill, size)| vec![fill; *size]).collect();
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
                stream.extend_from_slice(body);
            }
            let (near, far) = pair();
            let already = already.min(stream.len());
            let mut link = Link::new(Arc::new(near), &stream[..already]);
            let rest = stream.split_off(already);
            let writer = std::thread::spawn(move || (&far).write_all(&rest).map(|()| far));
            prop_assert_eq!(read_all(&mut link, bodies.len()), bodies);
            prop_assert!(link.received().is_empty());
            prop_assert!(writer.join().is_ok_and(|written| written.is_ok()));
        }
    }

    #[test]
    fn what_waits_is_written_in_order_and_counted() {
        let (near, mut far) = pair();
        near.set_nonblocking(true).expect("a socket can be non-blocking");
        let mut link = Link::new(Arc::new(near), &[]);
        let parts: Vec<Bytes> = (0u8..200).map(|fill| Bytes::from(vec![fill; 40_000])).collect();
        let expected: Vec<u8> = parts.concat();
        parts.into_iter().for_each(|part| link.push(part));
        assert_eq!(link.outgoing_bytes(), expected.len());
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 200 * 40_000];
            far.read_exact(&mut got).map(|()| got)
        });
        while link.outgoing_bytes() > 0 {
            link.flush().expect("the connection is open");
            std::thread::yield_now();
        }
        let got = reader.join().expect("the reader does not panic").expect("all of it arrives");
        assert!(got == expected);
    }
}
