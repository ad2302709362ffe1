//! The buffers of one connection: received frames, and frames to send. The bytes of large runs of envelopes are not
//! copied on their way. There is no socket here: the shell reads into one buffer and writes from the other.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use wire::frame::{self, BODY_BYTES_MAX, BadFrame, LENGTH_BYTES};

/// The initial size of the read buffer. It is small because most connections are idle most of the time. A busy one fills it
/// and so gets a large one after a few reads.
const READ_BYTES_MIN: usize = 512;
/// The size to which the read buffer grows on a busy connection, and so the maximum size of a batch of envelopes.
const READ_BYTES_MAX: usize = 64 << 10;
/// A new buffer is allocated when less than this is free in the old one. The old one may still be in use by envelopes.
const READ_BYTES_LEFT_MIN: usize = 1 << 10;

/// The bytes that were received from the peer.
#[derive(Debug)]
pub struct Incoming {
    /// All of it is initialised; the first `filled` bytes have been read.
    buffer: BytesMut,
    filled: usize,
    read_bytes: usize,
}

impl Incoming {
    /// Creates a buffer with bytes that were read already.
    pub fn new(already: &[u8]) -> Self {
        let mut buffer = BytesMut::zeroed(READ_BYTES_MIN.max(already.len()));
        buffer[..already.len()].copy_from_slice(already);
        Self { buffer, filled: already.len(), read_bytes: READ_BYTES_MIN }
    }

    /// The memory that it uses, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// The bytes that were read and not split off yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// The body of the first frame; `None` if it is not complete yet.
    pub(super) fn first_frame(&self, body_bytes_max: usize) -> Result<Option<&[u8]>, BadFrame> {
        frame::split(self.received(), body_bytes_max)
    }

    pub(super) fn split(&mut self, count: usize) -> Bytes {
        debug_assert!(count <= self.filled);
        self.filled -= count;
        let bytes = self.buffer.split_to(count).freeze();
        if self.filled == 0 && self.is_small() {
            // The next read needs another buffer. Until then, an idle connection does not keep this one, in which the frame was.
            self.buffer = BytesMut::new();
        }
        bytes
    }

    /// Whether too little is free for a read to be worth a system call.
    fn is_small(&self) -> bool {
        self.buffer.len() - self.filled < READ_BYTES_LEFT_MIN.min(self.read_bytes)
    }

    /// The free space to read into. It is large enough for the rest of the frame that has begun, and for a read to be
    /// worth a system call.
    pub fn room(&mut self) -> &mut [u8] {
        let begun = match self.received().first_chunk::<LENGTH_BYTES>() {
            // `first_frame` refuses a longer frame.
            Some(length) => LENGTH_BYTES + (u32::from_le_bytes(*length) as usize).min(BODY_BYTES_MAX),
            None => 0,
        };
        if self.is_small() || self.buffer.len() < begun {
            let bytes =
                self.read_bytes.max(begun).max(self.filled + READ_BYTES_LEFT_MIN.min(self.read_bytes));
            let mut next = BytesMut::zeroed(bytes);
            next[..self.filled].copy_from_slice(self.received());
            self.buffer = next;
        }
        &mut self.buffer[self.filled..]
    }

    /// Notes that `count` bytes were read into the room. If that filled it, the next buffer is larger.
    pub(super) fn fill(&mut self, count: usize) {
        let room_bytes = self.buffer.len() - self.filled;
        assert!(count <= room_bytes, "no more is read than there is room for");
        self.filled += count;
        if count == room_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
    }
}

/// The bytes to send to the peer.
#[derive(Debug, Default)]
pub struct Outgoing {
    parts: VecDeque<Bytes>,
    bytes: usize,
    written: u64,
}

impl Outgoing {
    pub(super) fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    pub(super) fn push_message<T: Serialize>(&mut self, message: &T) {
        self.push(frame::frame(message).into());
    }

    /// How many bytes wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes were written since the connection began.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Sets `slices` to the first parts to write, for one `writev(2)`. Returns how many were set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    pub fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        self.written += count as u64;
        while count > 0 {
            let front = self.parts.front_mut().expect("no more was written than waited");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_idle_connection_does_not_keep_the_buffer_of_its_last_frame() {
        let frame = frame::frame(&vec![7_u8; 3 * READ_BYTES_MIN]);
        let mut incoming = Incoming::new(&frame[..LENGTH_BYTES]);
        let room = incoming.room();
        let rest = frame.len() - LENGTH_BYTES;
        room[..rest].copy_from_slice(&frame[LENGTH_BYTES..]);
        incoming.fill(rest);
        let split = incoming.split(frame.len());
        assert_eq!(split, frame);
        assert!(split.is_unique());
        assert!(incoming.room().len() >= READ_BYTES_MIN);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frames_arrive_whole_whatever_their_sizes_and_however_they_are_cut(
            sizes in prop::collection::vec(0usize..20_000, 1..40),
            reads in prop::collection::vec(1usize..30_000, 1..20),
            already in 0usize..200,
        ) {
            let bodies: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(fill, size)| vec![fill; *size]).collect();
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
                stream.extend_from_slice(body);
            }
            let already = already.min(stream.len());
            let mut incoming = Incoming::new(&stream[..already]);
            let mut rest = &stream[already..];
            let mut got = Vec::new();
            for most in reads.iter().cycle() {
                while let Some(body) = incoming.first_frame(BODY_BYTES_MAX).expect("the frames are good") {
                    got.push(body.to_vec());
                    let used = LENGTH_BYTES + body.len();
                    incoming.split(used);
                }
                if rest.is_empty() {
                    break;
                }
                let room = incoming.room();
                let count = room.len().min(*most).min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                incoming.fill(count);
                rest = &rest[count..];
            }
            prop_assert_eq!(got, bodies);
            prop_assert!(incoming.received().is_empty());
        }

        #[test]
        fn what_waits_is_written_in_order_and_counted(
            sizes in prop::collection::vec(1usize..300, 0..100),
            writes in prop::collection::vec(1usize..5_000, 1..20),
        ) {
            let parts: Vec<Bytes> = (0u8..).zip(&sizes).map(|(fill, size)| vec![fill; *size].into()).collect();
            let expected = parts.concat();
            let mut outgoing = Outgoing::default();
            parts.into_iter().for_each(|part| outgoing.push(part));
            let mut written = Vec::new();
            for most in writes.iter().cycle() {
                prop_assert_eq!(outgoing.bytes(), expected.len() - written.len());
                if outgoing.bytes() == 0 {
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 8];
                let count = outgoing.slices(&mut slices);
                let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).take(*most).collect();
                written.extend_from_slice(&bytes);
                outgoing.advance(bytes.len());
            }
            prop_assert_eq!(written, expected);
        }
    }
}
