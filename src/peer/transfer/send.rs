//! The sending end of a file message.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use crossbeam_channel::{Receiver, Sender, bounded};
use wire::frame::LENGTH_BYTES;
use wire::pieces::{Links, seal_links};
use wire::transfer::{FileHeader, FileSealer, TransferKey, next_chunk};

use super::rate::Paced;
use super::{CHUNKS_UNDERWAY, IDLE_MAX, RateLimit, TransferError, joined};
use crate::peer::folder::FileError;
use crate::stream::Stream;

/// The pieces of a file to send, from the offset in the header on.
pub struct Run {
    /// Those at the start of each.
    pub links: Links,
    /// Where the last one ends.
    pub end: u64,
}

/// Sends a file from `header.offset` on, or only a run of its pieces. Returns how many of its bytes were sent; only the receiver
/// knows whether they arrived.
///
/// A second thread reads and seals the next chunks while this one writes to the connection, not faster than `limit`.
///
/// # Errors
/// [`TransferError::FileChanged`] when the file ends before `header.total_bytes`, [`TransferError::TimedOut`] when the
/// receiver takes nothing for [`IDLE_MAX`], [`TransferError::Stopped`] when it closes the connection,
/// [`TransferError::Connection`], [`TransferError::Disk`].
pub fn send_file(
    stream: impl Into<Stream>,
    mut file: File,
    header: &FileHeader,
    run: Option<&Run>,
    key: &TransferKey,
    limit: Option<&RateLimit>,
) -> Result<u64, TransferError> {
    let end = run.map_or(header.total_bytes, |run| run.end);
    let bytes = end.checked_sub(header.offset).ok_or(TransferError::FileChanged)?;
    let read_error = FileError::of("read the file that is shared", header.name.as_str());
    file.seek(SeekFrom::Start(header.offset)).map_err(read_error)?;
    let stream = stream.into();
    stream.socket().set_write_timeout(Some(IDLE_MAX)).map_err(TransferError::Connection)?;
    let mut sealer = FileSealer::new(key);
    let mut head = sealer.header(header);
    if let Some(run) = run {
        head.extend(seal_links(&mut sealer, &run.links));
    }
    Paced::new(&stream, limit).write_all(&head).map_err(TransferError::sending)?;
    let (records, sealed) = bounded(CHUNKS_UNDERWAY);
    let (used, free) = bounded(CHUNKS_UNDERWAY);
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new()
            .name("sealing".into())
            .spawn_scoped(scope, move || seal_chunks(file, bytes, sealer, &records, &free))
            .map_err(TransferError::Thread)?;
        let written = write_records(&stream, sealed, &used, limit);
        let read = joined(reader).map_err(|error| failed_read(header, error));
        // If writing failed, reading ended because of it.
        written.and(read)
    })?;
    // The receiver has all it needs and may have closed the connection already.
    let _ = stream.end_writing();
    Ok(bytes)
}

/// Reads and seals chunk by chunk, until all are sealed or the channel is closed. Buffers that are `free` are used again.
fn seal_chunks(
    mut file: File,
    mut left: u64,
    mut sealer: FileSealer,
    records: &Sender<Vec<u8>>,
    free: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let (bytes, last) = next_chunk(left);
        let mut record = free.try_recv().unwrap_or_default();
        record.resize(LENGTH_BYTES + bytes, 0);
        file.read_exact(&mut record[LENGTH_BYTES..])?;
        sealer.chunk_in_place(&mut record, last);
        if records.send(record).is_err() || last {
            return Ok(());
        }
        left -= bytes as u64;
    }
}

/// Writes the records as they arrive. Returning closes the channel, which ends the sealing thread.
fn write_records(
    stream: &Stream,
    sealed: Receiver<Vec<u8>>,
    used: &Sender<Vec<u8>>,
    limit: Option<&RateLimit>,
) -> Result<(), TransferError> {
    let mut stream = Paced::new(stream, limit);
    for record in sealed {
        stream.write_all(&record).map_err(TransferError::sending)?;
        // Without room, the buffer is freed.
        let _ = used.try_send(record);
    }
    Ok(())
}

fn failed_read(header: &FileHeader, error: io::Error) -> TransferError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TransferError::FileChanged,
        _ => FileError::of("read the file that is shared", header.name.as_str())(error).into(),
    }
}
