//! A file that is being received: its content so far, and what is needed to continue after an interruption.
//!
//! Two hidden files in the directory of the destination belong to it, named after the SHA-256 of the whole file:
//! `.switchboard-SHA256.part` has the content, and `.switchboard-SHA256.state` the number of bytes that are on disk and the
//! state of their SHA-256. So a later transfer of the same content neither fetches nor hashes these bytes again. What the
//! part has beyond them is discarded.
//!
//! What is at the pieces that have arrived whole is in `.switchboard-SHA256.pieces`, so that several holders can send the rest, see
//! [`super::pieces`]. A file that comes from several holders has only that.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use wire::Digest;
use wire::pieces::{Chain, Link, PIECE_BYTES, Piece};
use wire::protocol::TransferId;

use super::{Destination, joined, pieces};
use crate::peer::command::Existing;
use crate::peer::folder::{Folder, read_whole};

/// Before the umask, as for any file that a program writes for its user.
pub(super) const RECEIVED_MODE: u32 = 0o666;
pub(super) const PREFIX: &str = ".switchboard-";
pub(super) const PART: &str = ".part";
pub(super) const STATE: &str = ".state";
/// The record of the pieces that are in the part.
pub(super) const PIECES: &str = ".pieces";
/// Bytes are recorded as received when there are this many of them, or after [`RECORD_AFTER`]. Each record waits for the disk. A
/// crash costs at most these, and what arrives during that wait.
pub(super) const RECORD_BYTES: u64 = 64 << 20;
pub(super) const RECORD_AFTER: Duration = Duration::from_secs(1);
/// A part that nobody has continued for this long is removed when another file is received beside it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// A file can be replaced between its opening and its locking; then it is opened again, at most this many times.
const ATTEMPTS_MAX: usize = 3;

pub(super) fn name(sha256: &Digest, suffix: &str) -> OsString {
    format!("{PREFIX}{sha256}{suffix}").into()
}

/// How many bytes of a file with this digest were received earlier and can be kept.
pub(super) fn kept(folder: &Folder, sha256: &Digest) -> u64 {
    let part = folder.open_file(name(sha256, PART)).and_then(|part| part.metadata());
    let bytes = recorded(folder, sha256).map_or(0, |(bytes, _)| bytes);
    // Without the part, its state is worth nothing.
    part.map_or(0, |part| if part.len() >= bytes { bytes } else { 0 })
}

/// The recorded number of bytes, and the state of the hash over them. A damaged state leads to a wrong digest at the end, so
/// it is not checked here.
fn recorded(folder: &Folder, sha256: &Digest) -> Option<(u64, Chain)> {
    let file = folder.open_file(name(sha256, STATE)).ok()?;
    let state = read_whole(file, 1024).ok()?;
    let (bytes, hash) = state.split_first_chunk()?;
    Some((u64::from_le_bytes(*bytes), Chain::resume(hash)?))
}

/// How much of a file has arrived, from its first byte on.
#[derive(Clone)]
pub(super) struct SoFar {
    bytes: u64,
    /// The hash over them.
    hash: Chain,
}

impl SoFar {
    pub(super) fn add(&mut self, chunk: &[u8]) {
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
    }
}

/// What was written, and what of it has no record yet.
struct Written {
    so_far: SoFar,
    /// The link at the piece that is being written, if that is known.
    link: Option<Link>,
    /// The whole pieces that have no record.
    unrecorded: Vec<Piece>,
}

impl Written {
    /// Counts a chunk, with which this much has arrived.
    fn add(&mut self, so_far: SoFar) {
        if self.so_far.bytes.is_multiple_of(PIECE_BYTES) {
            self.note_piece();
        }
        self.so_far = so_far;
    }

    /// Notes the piece that ends here. Another one follows, so it does not lead to the digest.
    fn note_piece(&mut self) {
        let to = self.so_far.hash.link();
        if let (Some(from), Some(number)) = (self.link, (self.so_far.bytes / PIECE_BYTES).checked_sub(1)) {
            self.unrecorded.push(Piece { number, from, to });
        }
        self.link = Some(to);
    }
}

/// What is to be recorded when it is on disk.
struct Due {
    so_far: SoFar,
    pieces: Vec<Piece>,
}

/// The files that belong to a part.
struct Files {
    content: File,
    state: File,
    /// The records of the pieces.
    records: File,
}

impl Files {
    /// Records what was written, after it is on disk.
    fn record(&self, due: &Due) -> io::Result<()> {
        self.content.sync_data()?;
        self.write_state(&due.so_far)?;
        self.state.sync_data()?;
        // Without these, one holder alone can still continue.
        let _ = pieces::add_records(&self.records, &due.pieces);
        Ok(())
    }

    fn write_state(&self, so_far: &SoFar) -> io::Result<()> {
        let mut state = so_far.bytes.to_le_bytes().to_vec();
        state.extend_from_slice(&so_far.hash.state());
        self.state.write_all_at(&state, 0)
    }
}

/// Dropping it keeps what was written for a later transfer, unless it got its name or was discarded.
pub(super) struct Part<'a> {
    folder: &'a Folder,
    sha256: Digest,
    files: Files,
    written: Written,
    /// Whether waiting for the disk has failed. The system tells that only once, and what it could not write then is lost; so only
    /// the earlier record is valid.
    is_damaged: bool,
    is_over: bool,
}

impl<'a> Part<'a> {
    /// Opens the part of a file with this digest, to receive it from the byte `from` on: 0, or the number that [`kept`] has
    /// returned.
    ///
    /// # Errors
    /// `ResourceBusy` when another transfer receives the same content, or has received more of it meanwhile.
    pub(super) fn open(folder: &'a Folder, sha256: &Digest, from: u64) -> io::Result<Self> {
        // A forgotten part does no harm.
        let _ = remove_forgotten(folder);
        let mut content = lock(folder, sha256)?;
        let hash = match recorded(folder, sha256) {
            _ if from == 0 => Chain::new(),
            Some((bytes, hash)) if bytes == from && kept(folder, sha256) == from => hash,
            _ => return Err(busy()),
        };
        content.set_len(from)?;
        let (records, link) = pieces::keep_first(folder, sha256, from)?;
        content.seek(SeekFrom::Start(from))?;
        let files = Files { content, state: folder.open_or_create(name(sha256, STATE))?, records };
        let written = Written { so_far: SoFar { bytes: from, hash }, link, unrecorded: Vec::new() };
        // Takes the room on the disk that later records need, so that they succeed when it is full.
        files.write_state(&written.so_far)?;
        Ok(Self { folder, sha256: *sha256, files, written, is_damaged: false, is_over: false })
    }

    /// What was written.
    pub(super) fn so_far(&self) -> SoFar {
        self.written.so_far.clone()
    }

    /// Writes the chunks, each of which comes with what has arrived up to its end. Returns when the channel is closed or writing
    /// fails. A second thread waits for the disk and records what is on it, so that this one need not wait.
    pub(super) fn write_all(
        &mut self,
        chunks: &Receiver<(Vec<u8>, SoFar)>,
        used: &Sender<Vec<u8>>,
    ) -> io::Result<()> {
        let (files, written) = (&self.files, &mut self.written);
        // Without room: one is taken only when the one before is recorded.
        let (due, to_record) = bounded::<Due>(0);
        std::thread::scope(|scope| {
            let recorder = std::thread::Builder::new()
                .name("recording".into())
                .spawn_scoped(scope, move || to_record.into_iter().try_for_each(|due| files.record(&due)))?;
            let ended = write_chunks(&files.content, chunks, used, written, &due);
            drop(due);
            let recorded = joined(recorder);
            self.is_damaged |= recorded.is_err();
            ended.and(recorded)
        })
    }

    /// The digest of all that was written.
    pub(super) fn digest(&self) -> Digest {
        self.so_far().hash.digest()
    }

    /// Removes it with all that has arrived.
    pub(super) fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        self.is_over = true;
        remove(self.folder, &self.sha256);
    }

    /// Gives it its final name, durably, and returns that. Fails with `AlreadyExists` when the name exists and must not be
    /// replaced.
    pub(super) fn finish(mut self, destination: &Destination) -> io::Result<OsString> {
        self.files.content.sync_data().inspect_err(|_| self.is_damaged = true)?;
        let named = give_name(self.folder, &self.sha256, destination);
        self.is_over =
            named.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::AlreadyExists, |_| true);
        named
    }
}

/// Writes chunks until the channel is closed, writing fails, or nobody takes what is `due` any more, because recording has failed.
fn write_chunks(
    mut content: &File,
    chunks: &Receiver<(Vec<u8>, SoFar)>,
    used: &Sender<Vec<u8>>,
    written: &mut Written,
    due: &Sender<Due>,
) -> io::Result<()> {
    let mut recorded = written.so_far.bytes;
    let mut due_at = Instant::now() + RECORD_AFTER;
    loop {
        match chunks.recv_deadline(due_at) {
            Ok((chunk, so_far)) => {
                // After an incomplete write, `written` is still what was written whole.
                content.write_all(&chunk)?;
                written.add(so_far);
                // Without room, the buffer is freed.
                let _ = used.try_send(chunk);
            }
            // What has arrived is recorded also while nothing more comes.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let bytes = written.so_far.bytes;
        if bytes - recorded < RECORD_BYTES && Instant::now() < due_at {
            continue;
        }
        due_at = Instant::now() + RECORD_AFTER;
        if bytes == recorded {
            continue;
        }
        let pieces = std::mem::take(&mut written.unrecorded);
        match due.try_send(Due { so_far: written.so_far.clone(), pieces }) {
            Ok(()) => recorded = bytes,
            Err(TrySendError::Full(due)) => written.unrecorded = due.pieces,
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.is_over || self.is_damaged {
            return;
        }
        if self.written.so_far.bytes == 0 {
            return self.remove();
        }
        // The caller reports why the transfer has ended. If this fails, the earlier record is valid.
        let pieces = std::mem::take(&mut self.written.unrecorded);
        let _ = self.files.record(&Due { so_far: self.so_far(), pieces });
    }
}

/// Removes a part with all that has arrived.
pub(super) fn remove(folder: &Folder, sha256: &Digest) {
    for suffix in [PART, STATE, PIECES] {
        // What stays is overwritten by the next transfer of this content, or removed later.
        let _ = folder.remove(name(sha256, suffix));
    }
}

/// Gives a part that is complete and on the disk its final name, durably, and returns that. Fails with `AlreadyExists` when the
/// name exists and must not be replaced; then the part is removed.
pub(super) fn give_name(folder: &Folder, sha256: &Digest, destination: &Destination) -> io::Result<OsString> {
    let part = name(sha256, PART);
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for name in destination.names() {
        let named = match destination.existing {
            Existing::Overwrite => folder.rename(&part, &name),
            Existing::Refuse | Existing::KeepBoth => folder.rename_new(&part, &name),
        };
        match named {
            Ok(()) => {
                remove(folder, sha256);
                return folder.sync().map(|()| name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            // What has arrived is kept.
            Err(error) => return Err(error),
        }
    }
    // Its content exists under the name, or the user decides about that first; then it is fetched again.
    remove(folder, sha256);
    Err(taken)
}

/// Opens the part, or creates it, and locks it for this transfer.
pub(super) fn lock(folder: &Folder, sha256: &Digest) -> io::Result<File> {
    let name = name(sha256, PART);
    for _ in 0..ATTEMPTS_MAX {
        let file = match folder.create_new(&name, RECEIVED_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.open_for_writing(&name)?,
            created => created?,
        };
        // Not every file system has locks. Without them, two transfers of one content at the same time disturb each other.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(busy());
        }
        // The transfer that had the lock before may have given the file its name.
        let inode = folder.open_file(&name).and_then(|there| there.metadata()).map(|there| there.ino());
        if inode.is_ok_and(|inode| file.metadata().is_ok_and(|mine| mine.ino() == inode)) {
            return Ok(file);
        }
    }
    Err(busy())
}

fn busy() -> io::Error {
    let why = "another transfer receives the same content into this folder; repeat the command when that has ended, or name another \
               folder with --output";
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

/// Removes the parts that no later transfer will use: those that were not continued for long, and those of transfers of many files
/// that were stopped or killed. Files of many are not continued, because they are small.
///
/// Such a transfer holds the folder locked while it has parts there (see [`hold`]), and a lock ends with its process. So if nobody
/// has the folder locked, their transfers have ended. Without locks, they are removed like the others.
pub(super) fn remove_forgotten(folder: &Folder) -> io::Result<()> {
    let is_free = folder.lock(FlockOperation::NonBlockingLockExclusive).is_ok();
    let removed = remove_unused(folder, is_free);
    if is_free {
        folder.lock(FlockOperation::Unlock)?;
    }
    removed
}

/// Marks that a transfer of many files has parts in the folder, until the folder is closed.
pub(super) fn hold(folder: &Folder) {
    // Waits only while another transfer looks for parts to remove. Not every file system has locks; without them, nobody can lock the
    // folder to remove these parts either.
    let _ = folder.lock(FlockOperation::LockShared);
}

/// The name of the part of one of many files.
pub(super) fn name_of_many(transfer: &str, number: usize) -> OsString {
    format!("{PREFIX}{transfer}-{number}{PART}").into()
}

fn is_of_many(stem: &str) -> bool {
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_transfer =
        |hex: &str| hex.len() == 2 * size_of::<TransferId>() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    stem.split_once('-').is_some_and(|(transfer, number)| is_transfer(transfer) && is_number(number))
}

fn remove_unused(folder: &Folder, is_free: bool) -> io::Result<()> {
    for name in folder.names()? {
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(PART)) else { continue };
        let Some(of) = stem.strip_prefix(PREFIX) else { continue };
        if is_of_many(of) {
            if is_free {
                folder.remove(&name)?;
            }
            continue;
        }
        let file = folder.open_file(&name)?;
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        let is_held = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        if age >= FORGOTTEN_AFTER && !is_held() {
            for suffix in [STATE, PIECES, PART] {
                folder.remove(format!("{stem}{suffix}"))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
