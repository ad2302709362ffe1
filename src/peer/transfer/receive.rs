//! The receiving end of a file message.

use std::io::{self, Read as _};
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded};
use wire::frame::LENGTH_BYTES;
use wire::transfer::{CHUNK_BYTES, FileOpener, RECORD_BYTES_MAX, TransferKey, next_chunk};
use wire::{Digest, FileName};

mod run;

pub use run::{Arrived, receive_run};

use super::part::Part;
use super::rate::Paced;
use super::{CHUNKS_UNDERWAY, Destination, IDLE_MAX, RateLimit, Received, TransferError, joined};
use crate::peer::folder::FileError;
use crate::stream::Stream;

const TAG_BYTES: usize = RECORD_BYTES_MAX - CHUNK_BYTES;
/// The maximum length of the record with the header. The longest name, two numbers, a digest and the tag take 582
/// bytes.
pub(super) const HEADER_RECORD_BYTES_MAX: usize = 1024;

pub struct Expected {
    /// The material from which the transfer's key is derived.
    pub key: TransferKey,
    /// The file's name at its holder.
    pub name: FileName,
    pub bytes: u64,
    pub sha256: Digest,
    /// The first byte to receive: 0, or what [`Destination::kept`] has returned.
    pub offset: u64,
}

/// Receives a file until its total length has arrived, checks its SHA-256 and only then gives it its name. Until then
/// it is a hidden file in the same directory, which a later transfer of the same content continues after an error.
///
/// Other threads hash and write while this one reads and opens the next chunks. `progress` is called after each
/// chunk with the number of bytes that have arrived, and the total; if it returns false, the transfer is cancelled.
///
/// # Errors
/// [`TransferError::Exists`] when another file has the name (the same content counts as received),
/// [`TransferError::CutOff`], [`TransferError::NotAuthentic`], [`TransferError::OtherFile`],
/// [`TransferError::WrongDigest`], [`TransferError::TimedOut`] after [`IDLE_MAX`] without a byte,
/// [`TransferError::Disk`].
pub fn receive_file(
    stream: impl Into<Stream>,
    expected: &Expected,
    destination: &Destination,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Received, TransferError> {
    let folder = destination.make()?;
    if let Some(received) = destination.check_in(&folder, expected.bytes, &expected.sha256)? {
        return Ok(received);
    }
    let stream = stream.into();
    stream.socket().set_read_timeout(Some(IDLE_MAX)).map_err(TransferError::Connection)?;
    let mut incoming = Incoming::new(stream, expected);
    incoming.header(expected)?;
    let path = destination.path();
    let opened = Part::open(&folder, &expected.sha256, expected.offset);
    let mut part = opened.map_err(FileError::of("receive the file", &path))?;
    take_content(&mut incoming, &mut part, &path, progress)?;
    let got = part.digest();
    if got != expected.sha256 {
        part.discard();
        let expected = expected.sha256;
        return Err(TransferError::WrongDigest { expected, got });
    }
    match part.finish(destination) {
        Ok(name) => Ok(Received { path: destination.path_of(name), bytes: expected.bytes, sha256: got }),
        // It was created in the meantime; that is fine if it has the same content.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => destination
            .check_in(&folder, expected.bytes, &expected.sha256)?
            .ok_or(TransferError::Exists(path)),
        Err(error) => Err(FileError::of("give the received file its name", path)(error).into()),
    }
}

/// Receives, hashes and writes all chunks. Each of these has a thread of its own, so that none waits for the others.
fn take_content(
    incoming: &mut Incoming<'_>,
    part: &mut Part<'_>,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(), TransferError> {
    let mut so_far = part.so_far();
    let (chunks, opened) = bounded::<Vec<u8>>(CHUNKS_UNDERWAY);
    let (hashed, to_write) = bounded(CHUNKS_UNDERWAY);
    // As many as the channels hold, and one for each thread.
    let (used, free) = bounded(2 * CHUNKS_UNDERWAY + 3);
    std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        // Each of them closes its channel when it ends, also after an error, so that the one before it ends too.
        let writing = thread("writing").spawn_scoped(scope, move || part.write_all(&to_write, &used));
        let writer = writing.map_err(TransferError::Thread)?;
        let hashing = thread("hashing").spawn_scoped(scope, move || {
            for chunk in opened {
                so_far.add(&chunk);
                if hashed.send((chunk, so_far.clone())).is_err() {
                    break;
                }
            }
        });
        hashing.map_err(TransferError::Thread)?;
        let taken = incoming.chunks(&chunks, &free, progress);
        // The threads end when all is written.
        drop(chunks);
        let written = joined(writer).map_err(|error| FileError::of("write", path)(error).into());
        // If writing failed, receiving ended early without an error.
        taken.and(written)
    })
}

/// The connection with the file message.
struct Incoming<'l> {
    stream: Stream,
    /// Counts what is read.
    limit: Option<&'l RateLimit>,
    opener: FileOpener,
    total: u64,
    left: u64,
}

impl Incoming<'_> {
    fn new(stream: Stream, expected: &Expected) -> Self {
        Self {
            stream,
            limit: None,
            opener: FileOpener::new(&expected.key),
            total: expected.bytes,
            left: expected.bytes - expected.offset,
        }
    }

    /// Receives the header and checks that it is that of the requested file, from the requested byte on.
    fn header(&mut self, expected: &Expected) -> Result<(), TransferError> {
        let record = self.read_record(Vec::new(), |length| length <= HEADER_RECORD_BYTES_MAX)?;
        let header = self.opener.header(&record).map_err(|_| TransferError::NotAuthentic)?;
        let is_right = header.name == expected.name
            && header.total_bytes == expected.bytes
            && header.sha256 == expected.sha256
            && header.offset == expected.offset;
        if is_right { Ok(()) } else { Err(TransferError::OtherFile) }
    }

    /// Receives chunks and sends them to the channel, until the total has arrived or the channel is closed. Buffers that are
    /// `free` are used again.
    fn chunks(
        &mut self,
        chunks: &Sender<Vec<u8>>,
        free: &Receiver<Vec<u8>>,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), TransferError> {
        loop {
            let (bytes, last) = next_chunk(self.left);
            let free = free.try_recv().unwrap_or_default();
            let mut record = self.read_record(free, |length| length == bytes + TAG_BYTES)?;
            self.opener.chunk_in_place(&mut record, last).map_err(|_| TransferError::NotAuthentic)?;
            if chunks.send(record).is_err() {
                return Ok(());
            }
            self.left -= bytes as u64;
            if !progress(self.total - self.left, self.total) {
                return Err(TransferError::Cancelled);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Reads the next record into `record`. A wrong length is refused before anything is allocated, with the same error as a
    /// record that does not verify.
    fn read_record(
        &self,
        mut record: Vec<u8>,
        is_right: impl FnOnce(usize) -> bool,
    ) -> Result<Vec<u8>, TransferError> {
        let mut length = [0; LENGTH_BYTES];
        self.read_exact_into(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if !is_right(length) {
            return Err(TransferError::NotAuthentic);
        }
        record.resize(length, 0);
        self.read_exact_into(&mut record)?;
        Ok(record)
    }

    fn read_exact_into(&self, buffer: &mut [u8]) -> Result<(), TransferError> {
        let missing = self.left;
        Paced::new(&self.stream, self.limit).read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TransferError::CutOff { missing },
            _ => TransferError::connection(error),
        })
    }
}
