//! A file that is being received by pieces, from several holders: what of it is on the disk.
//!
//! Two hidden files in the directory of the destination belong to it, named after the SHA-256 of the whole file:
//! `.switchboard-SHA256.part` has each piece at its place, and `.switchboard-SHA256.pieces` a record for each of them: its number
//! (8 bytes, the lowest first) and its two links. A record is added when its piece is on the disk. So a later transfer fetches only
//! the other pieces. A record that is damaged or that is too old breaks the chain of links, and its piece is fetched again. A transfer
//! from one holder writes these records too (see [`super::part`]), so several can send what it has not brought.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wire::Digest;
use wire::digest::DIGEST_BYTES;
use wire::pieces::{Chain, Link, PIECE_BYTES, Piece, count};

use super::part::{self, PIECES, RECORD_AFTER, RECORD_BYTES, STATE};
use super::{Destination, Received, TransferError};
use crate::peer::folder::{FileError, Folder, read_whole};

const RECORD_LENGTH: usize = 8 + 2 * DIGEST_BYTES;
/// The maximum size of the records, for those of 1 TiB. With more, the rest is fetched again after an interruption.
const RECORDS_BYTES_MAX: u64 = 72 << 20;

/// Several threads put pieces into it. Dropping it keeps them for a later transfer, unless the file got its name.
pub struct PieceStore {
    folder: Folder,
    path: PathBuf,
    bytes: u64,
    sha256: Digest,
    part: File,
    kept: Mutex<Kept>,
}

struct Kept {
    /// `None` while a thread writes it.
    pieces: BTreeMap<u64, Option<Piece>>,
    records: File,
    /// Whether an earlier transfer from one holder can still be continued.
    has_state: bool,
    /// Those without a record, and when the last record was written.
    unrecorded: Vec<Piece>,
    recorded_at: Instant,
    /// Whether waiting for the disk has failed. The system tells that only once, and what it could not write then is lost; so
    /// nothing is recorded any more.
    is_damaged: bool,
    is_over: bool,
}

impl PieceStore {
    /// Opens what an earlier transfer has left, or begins anew. Returns the pieces that are here.
    ///
    /// # Errors
    /// [`TransferError::Disk`], also when another transfer receives the same content.
    pub fn open(
        destination: &Destination,
        bytes: u64,
        sha256: &Digest,
    ) -> Result<(Self, Vec<Piece>), TransferError> {
        let folder = destination.make()?;
        let path = destination.path();
        let opened = Self::open_in(&folder, bytes, sha256);
        let (part, records, here) = opened.map_err(FileError::of("receive the file", &path))?;
        let kept = Kept {
            pieces: here.iter().map(|piece| (piece.number, Some(*piece))).collect(),
            records,
            has_state: part::kept(&folder, sha256) > 0,
            unrecorded: Vec::new(),
            recorded_at: Instant::now(),
            is_damaged: false,
            is_over: false,
        };
        Ok((Self { folder, path, bytes, sha256: *sha256, part, kept: Mutex::new(kept) }, here))
    }

    fn open_in(folder: &Folder, bytes: u64, sha256: &Digest) -> io::Result<(File, File, Vec<Piece>)> {
        // A forgotten part does no harm.
        let _ = part::remove_forgotten(folder);
        let part = part::lock(folder, sha256)?;
        let length = part.metadata()?.len();
        let mut here = recorded(folder, sha256);
        // Without its bytes it is worth nothing.
        here.retain(|number, _| *number < count(bytes) && length >= end_of(*number, bytes));
        let here: Vec<Piece> = here.into_values().collect();
        Ok((part, write_records(folder, sha256, &here)?, here))
    }

    /// Writes a piece, given in chunks, unless it is here already. Returns whether it was written.
    ///
    /// # Errors
    /// [`TransferError::Disk`].
    pub(super) fn put(&self, piece: Piece, content: &[Vec<u8>]) -> Result<bool, TransferError> {
        {
            let mut kept = self.lock();
            if kept.is_over || kept.pieces.contains_key(&piece.number) {
                return Ok(false);
            }
            if kept.has_state {
                // What follows may change the bytes that it counts.
                self.folder
                    .remove(part::name(&self.sha256, STATE))
                    .and_then(|()| self.folder.sync())
                    .map_err(FileError::of("receive the file", &self.path))?;
                kept.has_state = false;
            }
            kept.pieces.insert(piece.number, None);
        }
        let written = self.write(content, piece.number * PIECE_BYTES);
        let due = {
            let mut kept = self.lock();
            if written.is_err() {
                kept.pieces.remove(&piece.number);
            } else {
                kept.pieces.insert(piece.number, Some(piece));
                kept.unrecorded.push(piece);
            }
            let is_due = kept.unrecorded.len() as u64 * PIECE_BYTES >= RECORD_BYTES
                || kept.recorded_at.elapsed() >= RECORD_AFTER;
            if is_due { kept.take_unrecorded() } else { Vec::new() }
        };
        written.and_then(|()| self.record(&due)).map_err(FileError::of("write", &self.path))?;
        Ok(true)
    }

    fn write(&self, chunks: &[Vec<u8>], mut at: u64) -> io::Result<()> {
        for chunk in chunks {
            self.part.write_all_at(chunk, at)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Adds records, after their pieces are on the disk. Nobody who puts a piece waits for the disk meanwhile.
    fn record(&self, pieces: &[Piece]) -> io::Result<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.sync()?;
        add_records(&self.lock().records, pieces)
    }

    /// Waits until what was written is on the disk.
    fn sync(&self) -> io::Result<()> {
        if self.lock().is_damaged {
            return Err(io::Error::other("the disk has not taken all that was written; repeat the command"));
        }
        self.part.sync_data().inspect_err(|_| self.lock().is_damaged = true)
    }

    /// Lets these pieces be written again.
    pub fn release(&self, pieces: &[u64]) {
        let mut kept = self.lock();
        for piece in pieces {
            kept.pieces.remove(piece);
            kept.unrecorded.retain(|unrecorded| unrecorded.number != *piece);
        }
    }

    /// Checks that the pieces lead from the first byte to the digest of the file, and only then gives it its name, durably.
    ///
    /// # Errors
    /// [`TransferError::Incomplete`], [`TransferError::Exists`], [`TransferError::Disk`].
    pub fn finish(&self, destination: &Destination) -> Result<Received, TransferError> {
        {
            let mut kept = self.lock();
            if !kept.is_whole(self.bytes, &self.sha256) {
                return Err(TransferError::Incomplete);
            }
            // No thread writes any more.
            kept.is_over = true;
        }
        let named = self
            .part
            .set_len(self.bytes)
            .and_then(|()| self.sync())
            .and_then(|()| part::give_name(&self.folder, &self.sha256, destination));
        let (bytes, sha256) = (self.bytes, self.sha256);
        match named {
            Ok(name) => Ok(Received { path: destination.path_of(name), bytes, sha256 }),
            // It was created in the meantime; that is fine if it has the same content.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => destination
                .check_in(&self.folder, bytes, &sha256)?
                .ok_or_else(|| TransferError::Exists(self.path.clone())),
            Err(error) => {
                self.lock().is_over = false;
                Err(FileError::of("give the received file its name", &self.path)(error).into())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A thread that panics while it holds the lock leaves nothing half done that matters.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take_unrecorded(&mut self) -> Vec<Piece> {
        self.recorded_at = Instant::now();
        std::mem::take(&mut self.unrecorded)
    }

    fn is_whole(&self, bytes: u64, sha256: &Digest) -> bool {
        let mut link = Chain::new().link();
        let mut pieces = self.pieces.iter();
        let leads_on = (0..count(bytes)).all(|number| match pieces.next() {
            Some((at, Some(piece))) if *at == number && piece.from == link => {
                link = piece.to;
                true
            }
            _ => false,
        });
        leads_on && link == Link(*sha256)
    }
}

impl Drop for PieceStore {
    fn drop(&mut self) {
        let (due, is_over, is_empty) = {
            let mut kept = self.lock();
            (kept.take_unrecorded(), kept.is_over, kept.pieces.is_empty() && !kept.has_state)
        };
        if is_over {
            return;
        }
        if is_empty {
            return part::remove(&self.folder, &self.sha256);
        }
        // The caller reports why the transfer has ended. If this fails, these pieces are fetched again.
        let _ = self.record(&due);
    }
}

/// Whether an earlier transfer has left pieces of this content in a folder.
pub(super) fn has_pieces(folder: &Folder, sha256: &Digest) -> bool {
    !recorded(folder, sha256).is_empty()
}

/// The pieces that have records. If one was replaced, the last record counts.
fn recorded(folder: &Folder, sha256: &Digest) -> BTreeMap<u64, Piece> {
    let file = folder.open_file(part::name(sha256, PIECES));
    let records = file.and_then(|file| read_whole(file, RECORDS_BYTES_MAX)).unwrap_or_default();
    let (records, _) = records.as_chunks::<RECORD_LENGTH>();
    records.iter().map(parse).map(|piece| (piece.number, piece)).collect()
}

/// Writes all records anew, without what was replaced or cut off.
fn write_records(folder: &Folder, sha256: &Digest, pieces: &[Piece]) -> io::Result<File> {
    let file = folder.open_or_create(part::name(sha256, PIECES))?;
    file.set_len(0)?;
    add_records(&file, pieces)?;
    Ok(file)
}

/// Adds records of pieces that are on the disk.
pub(super) fn add_records(mut file: &File, pieces: &[Piece]) -> io::Result<()> {
    file.seek(SeekFrom::End(0))?;
    file.write_all(&pieces.iter().flat_map(record_of).collect::<Vec<u8>>())
}

/// Keeps the records of the first bytes only, because others will be written behind them. Returns the file, and the link at the piece
/// of the last of these bytes, if all pieces before it have records.
pub(super) fn keep_first(folder: &Folder, sha256: &Digest, bytes: u64) -> io::Result<(File, Option<Link>)> {
    let (mut first, mut link) = (Vec::new(), Chain::new().link());
    // One that ends there is noted when more follows.
    let whole = bytes.saturating_sub(1) / PIECE_BYTES;
    for (number, piece) in (0..whole).zip(recorded(folder, sha256).into_values()) {
        if piece.number != number || piece.from != link {
            break;
        }
        link = piece.to;
        first.push(piece);
    }
    let continues = first.len() as u64 == whole;
    Ok((write_records(folder, sha256, &first)?, continues.then_some(link)))
}

fn end_of(piece: u64, bytes: u64) -> u64 {
    (piece + 1).saturating_mul(PIECE_BYTES).min(bytes)
}

fn record_of(piece: &Piece) -> Vec<u8> {
    [piece.number.to_le_bytes().as_slice(), &piece.from.0.0, &piece.to.0.0].concat()
}

fn parse(record: &[u8; RECORD_LENGTH]) -> Piece {
    let link = |at: usize| {
        let mut link = Link::default();
        link.0.0.copy_from_slice(&record[at..at + DIGEST_BYTES]);
        link
    };
    let mut number = [0; 8];
    number.copy_from_slice(&record[..8]);
    Piece { number: u64::from_le_bytes(number), from: link(8), to: link(8 + DIGEST_BYTES) }
}

#[cfg(test)]
mod tests;
