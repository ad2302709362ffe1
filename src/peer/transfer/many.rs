//! The transfer of many small files over one connection (PROTOCOL.md, section 15.6).
//!
//! Each file alone would cost a request, a connection and several waits for the disk. Here files follow each other, and each
//! wait for the disk is for many of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use data_encoding::HEXLOWER;
use wire::frame::LENGTH_BYTES;
use wire::many::{Entry, NotSent, open_end, open_entry, seal_end, seal_entry};
use wire::transfer::{CHUNK_BYTES, FileOpener, FileSealer, RECORD_BYTES_MAX, TransferKey};
use wire::{Digest, FileName};

use super::part::{self, RECEIVED_MODE};
use super::rate::Paced;
use super::receive::HEADER_RECORD_BYTES_MAX;
use super::{Destination, IDLE_MAX, RateLimit, Received, TransferError};
use crate::peer::command::Existing;
use crate::peer::folder::{FileError, Folder};
use crate::stream::Stream;

const BUFFER_BYTES: usize = 256 << 10;
/// How many received files wait for the thread that writes them.
const FILES_UNDERWAY: usize = 16;
/// After so many files, so many bytes, or this time, all of them get their names, which waits for the disk.
const NAMED_FILES: usize = 1024;
const NAMED_BYTES: u64 = 32 << 20;
const NAMED_AFTER: Duration = Duration::from_secs(1);
/// For so few files, each is waited for by itself.
const FEW_FILES: usize = 4;
/// How many folders are held open.
const FOLDERS_OPEN_MAX: usize = 64;
const TAG_BYTES: usize = RECORD_BYTES_MAX - CHUNK_BYTES;

/// Sends files one after the other. Returns how many bytes of them were sent.
///
/// # Errors
/// [`TransferError::FileChanged`] when a file becomes shorter meanwhile, [`TransferError::TimedOut`] when the receiver takes nothing
/// for [`IDLE_MAX`], [`TransferError::Stopped`] when it closes the connection, [`TransferError::Connection`],
/// [`TransferError::Disk`].
pub fn send_many(
    stream: impl Into<Stream>,
    files: impl Iterator<Item = (Entry, Option<File>)>,
    key: &TransferKey,
    limit: Option<&RateLimit>,
) -> Result<u64, TransferError> {
    let stream = stream.into();
    stream.socket().set_write_timeout(Some(IDLE_MAX)).map_err(TransferError::Connection)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, Paced::new(&stream, limit));
    let mut sealer = FileSealer::new(key);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    for (entry, file) in files {
        out.write_all(&seal_entry(&mut sealer, &entry)).map_err(TransferError::sending)?;
        let (Entry::File(header), Some(mut file)) = (entry, file) else { continue };
        let mut left = header.total_bytes;
        while left > 0 {
            let size = chunk_bytes(left);
            file.read_exact(&mut buffer[..size]).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => TransferError::FileChanged,
                _ => FileError::of("read the file that is shared", header.name.as_str())(error).into(),
            })?;
            out.write_all(&sealer.chunk(&buffer[..size], false)).map_err(TransferError::sending)?;
            left -= size as u64;
        }
        bytes += header.total_bytes;
    }
    out.write_all(&seal_end(&mut sealer)).map_err(TransferError::sending)?;
    out.flush().map_err(TransferError::sending)?;
    drop(out);
    // The receiver has all it needs and may have closed the connection already.
    let _ = stream.end_writing();
    Ok(bytes)
}

/// How many bytes the next chunk has when `left` are still to come.
fn chunk_bytes(left: u64) -> usize {
    usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES))
}

/// A file to receive.
pub struct ExpectedFile {
    pub name: FileName,
    pub bytes: u64,
    pub sha256: Digest,
    pub destination: Destination,
}

/// What has become of some files, by their numbers in the request.
pub type Reports = Vec<(usize, Result<Received, TransferError>)>;

/// Receives files in the order in which they were requested. `report` is called with those that have their names or have failed;
/// if it returns false, the transfer is cancelled. A file that cannot be received does not affect the others, but if there is no room
/// for one, the transfer ends.
///
/// A second thread hashes and writes. A file is hidden until its SHA-256 is checked and it is on the disk.
///
/// # Errors
/// Those of the connection: [`TransferError::CutOff`], [`TransferError::NotAuthentic`], [`TransferError::OtherFile`],
/// [`TransferError::TimedOut`]; and [`TransferError::Disk`] without room. Files that were not reported have not arrived then.
pub fn receive_many(
    stream: impl Into<Stream>,
    key: &TransferKey,
    files: &[ExpectedFile],
    limit: Option<&RateLimit>,
    report: &mut (dyn FnMut(Reports) -> bool + Send),
) -> Result<(), TransferError> {
    let stream = stream.into();
    stream.socket().set_read_timeout(Some(IDLE_MAX)).map_err(TransferError::Connection)?;
    let (contents, received) = bounded(FILES_UNDERWAY);
    let transfer = HEXLOWER.encode(&key.transfer);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("hashing".into())
            // The channel is closed when this thread ends, also after an error.
            .spawn_scoped(scope, move || Writer::new(files, transfer, report).write_all(&received))
            .map_err(TransferError::Thread)?;
        let from = BufReader::with_capacity(BUFFER_BYTES, Paced::new(&stream, limit));
        let taken = take_all(from, key, files, &contents);
        // The writer ends when the channel is closed.
        drop(contents);
        match writer.join() {
            // If the writer has ended first, receiving ended because of that.
            Ok(written) => written.and(taken),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A file that has arrived, or the reason why it was not sent.
type Content = (usize, Result<Vec<u8>, NotSent>);

fn take_all(
    from: BufReader<Paced<'_, &Stream>>,
    key: &TransferKey,
    files: &[ExpectedFile],
    contents: &Sender<Content>,
) -> Result<(), TransferError> {
    let left = files.iter().map(|file| file.bytes).sum();
    let mut incoming = Incoming { from, opener: FileOpener::new(key), record: Vec::new(), left };
    for (number, file) in files.iter().enumerate() {
        let content = incoming.file(file)?;
        incoming.left -= file.bytes;
        if contents.send((number, content)).is_err() {
            return Ok(());
        }
    }
    incoming.read_record(|length| length == TAG_BYTES)?;
    open_end(&mut incoming.opener, &incoming.record).map_err(|_| TransferError::NotAuthentic)
}

struct Incoming<'s> {
    from: BufReader<Paced<'s, &'s Stream>>,
    opener: FileOpener,
    record: Vec<u8>,
    /// How many bytes of files are still to come.
    left: u64,
}

impl Incoming<'_> {
    fn file(&mut self, expected: &ExpectedFile) -> Result<Result<Vec<u8>, NotSent>, TransferError> {
        self.read_record(|length| length <= HEADER_RECORD_BYTES_MAX)?;
        let entry = open_entry(&mut self.opener, &self.record).map_err(|_| TransferError::NotAuthentic)?;
        let header = match entry {
            Entry::File(header) => header,
            Entry::NotSent(why) => return Ok(Err(why)),
        };
        let is_right = header.name == expected.name
            && header.total_bytes == expected.bytes
            && header.sha256 == expected.sha256
            && header.offset == 0;
        if !is_right {
            return Err(TransferError::OtherFile);
        }
        let mut content = Vec::with_capacity(chunk_bytes(expected.bytes));
        while (content.len() as u64) < expected.bytes {
            let size = chunk_bytes(expected.bytes - content.len() as u64);
            self.read_record(|length| length == size + TAG_BYTES)?;
            let chunk = self.opener.chunk(&self.record, false).map_err(|_| TransferError::NotAuthentic)?;
            content.extend_from_slice(&chunk);
        }
        Ok(Ok(content))
    }

    /// Reads the next record into `self.record`. A wrong length is refused before anything is allocated, with the same error as a
    /// record that does not verify.
    fn read_record(&mut self, is_right: impl FnOnce(usize) -> bool) -> Result<(), TransferError> {
        let mut length = [0; LENGTH_BYTES];
        let missing = self.left;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TransferError::CutOff { missing },
            _ => TransferError::connection(error),
        };
        self.from.read_exact(&mut length).map_err(failed)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > RECORD_BYTES_MAX || !is_right(length) {
            return Err(TransferError::NotAuthentic);
        }
        self.record.resize(length, 0);
        self.from.read_exact(&mut self.record).map_err(failed)
    }
}

/// A file that is written and does not have its name yet.
struct Hidden {
    number: usize,
    folder: Rc<Folder>,
    name: OsString,
}

/// A file that has its name, which may not be on the disk yet.
struct Named {
    number: usize,
    folder: Rc<Folder>,
    path: PathBuf,
}

struct Writer<'w> {
    files: &'w [ExpectedFile],
    /// The transfer, which makes hidden names unique.
    transfer: String,
    report: &'w mut (dyn FnMut(Reports) -> bool + Send),
    folders: HashMap<(PathBuf, Vec<String>), Rc<Folder>>,
    hidden: Vec<Hidden>,
    hidden_bytes: u64,
    named: Vec<Named>,
    reports: Reports,
    /// That there is no room for a file.
    full: Option<TransferError>,
}

impl<'w> Writer<'w> {
    fn new(
        files: &'w [ExpectedFile],
        transfer: String,
        report: &'w mut (dyn FnMut(Reports) -> bool + Send),
    ) -> Self {
        Self {
            files,
            transfer,
            report,
            folders: HashMap::new(),
            hidden: Vec::new(),
            hidden_bytes: 0,
            named: Vec::new(),
            reports: Vec::new(),
            full: None,
        }
    }

    /// Writes what comes.
    fn write_all(mut self, received: &Receiver<Content>) -> Result<(), TransferError> {
        let mut last = Instant::now();
        while self.full.is_none() {
            match received.recv_timeout(NAMED_AFTER) {
                Ok((number, content)) => {
                    let written = content.map_err(TransferError::NotSent);
                    if let Err(error) = written.and_then(|content| self.write(number, &content)) {
                        self.failed(number, error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let is_full = self.hidden.len() >= NAMED_FILES || self.hidden_bytes >= NAMED_BYTES;
            let has_some = !(self.hidden.is_empty() && self.named.is_empty() && self.reports.is_empty());
            if is_full || (has_some && last.elapsed() >= NAMED_AFTER) {
                self.give_names()?;
                last = Instant::now();
            }
        }
        // The names, and then what makes them durable. Without room, what has arrived stays.
        self.give_names()?;
        self.give_names()?;
        self.full.map_or(Ok(()), Err)
    }

    fn failed(&mut self, number: usize, error: TransferError) {
        if error.is_disk_full() {
            self.full = Some(error);
        } else {
            self.reports.push((number, Err(error)));
        }
    }

    fn write(&mut self, number: usize, content: &[u8]) -> Result<(), TransferError> {
        let expected = &self.files[number];
        let got = Digest::of(content);
        if got != expected.sha256 {
            return Err(TransferError::WrongDigest { expected: expected.sha256, got });
        }
        let folder = self.folder(&expected.destination)?;
        let path = expected.destination.path();
        let name = part::name_of_many(&self.transfer, number);
        let mut file =
            folder.create_new(&name, RECEIVED_MODE).map_err(FileError::of("receive the file", &path))?;
        if let Err(error) = file.write_all(content) {
            // Frees the room at once, because the disk may be full.
            let _ = folder.remove(&name);
            return Err(FileError::of("write", path)(error).into());
        }
        self.hidden.push(Hidden { number, folder, name });
        self.hidden_bytes += expected.bytes;
        Ok(())
    }

    fn folder(&mut self, destination: &Destination) -> Result<Rc<Folder>, TransferError> {
        let key = (destination.directory.clone(), destination.folders.clone());
        if let Some(folder) = self.folders.get(&key) {
            return Ok(Rc::clone(folder));
        }
        if self.folders.len() >= FOLDERS_OPEN_MAX {
            self.folders.clear();
        }
        let folder = Rc::new(destination.make()?);
        // What stays does no harm.
        let _ = part::remove_forgotten(&folder);
        part::hold(&folder);
        self.folders.insert(key, Rc::clone(&folder));
        Ok(folder)
    }

    /// Waits until the hidden files are on the disk, and the names that were given before. Then gives the hidden files their
    /// names, and reports those that had theirs.
    ///
    /// # Errors
    /// [`TransferError::Cancelled`].
    fn give_names(&mut self) -> Result<(), TransferError> {
        let (hidden, named) = (std::mem::take(&mut self.hidden), std::mem::take(&mut self.named));
        self.hidden_bytes = 0;
        let synced = sync(&hidden, &named);
        let not_synced = |error: &io::Error, path: PathBuf| {
            let copy = io::Error::new(error.kind(), error.to_string());
            TransferError::from(FileError::of("write", path)(copy))
        };
        for Named { number, path, .. } in named {
            let ExpectedFile { bytes, sha256, .. } = self.files[number];
            match &synced {
                Ok(()) => self.reports.push((number, Ok(Received { path, bytes, sha256 }))),
                Err(error) => self.failed(number, not_synced(error, path)),
            }
        }
        for Hidden { number, folder, name } in hidden {
            let expected = &self.files[number];
            let result = match &synced {
                Ok(()) => give_name(&folder, &name, expected),
                Err(error) => Err(not_synced(error, expected.destination.path())),
            };
            match result {
                Ok(path) => self.named.push(Named { number, folder, path }),
                Err(error) => {
                    // What stays is removed by the next transfer into this folder.
                    let _ = folder.remove(&name);
                    self.failed(number, error);
                }
            }
        }
        let goes_on = (self.report)(std::mem::take(&mut self.reports));
        if goes_on { Ok(()) } else { Err(TransferError::Cancelled) }
    }
}

/// Waits until contents and names are on the disk. Of many files, waits for the whole file system, because that is one wait.
fn sync(hidden: &[Hidden], named: &[Named]) -> io::Result<()> {
    let of_both = hidden.iter().map(|file| &file.folder).chain(named.iter().map(|file| &file.folder));
    if hidden.len() > FEW_FILES {
        let mut devices = Vec::new();
        for folder in of_both {
            let device = folder.device()?;
            if !devices.contains(&device) {
                devices.push(device);
                folder.sync_system()?;
            }
        }
        return Ok(());
    }
    for Hidden { folder, name, .. } in hidden {
        folder.open_file(name)?.sync_all()?;
    }
    let mut folders: Vec<&Rc<Folder>> = Vec::new();
    for Named { folder, .. } in named {
        if !folders.iter().any(|other| Rc::ptr_eq(other, folder)) {
            folder.sync()?;
            folders.push(folder);
        }
    }
    Ok(())
}

/// Gives a file its final name, and returns its path.
fn give_name(folder: &Folder, hidden: &OsString, expected: &ExpectedFile) -> Result<PathBuf, TransferError> {
    let destination = &expected.destination;
    let path = destination.path();
    for name in destination.names() {
        let named = match destination.existing {
            Existing::Overwrite => folder.rename(hidden, &name),
            Existing::Refuse | Existing::KeepBoth => folder.rename_new(hidden, &name),
        };
        match named {
            Ok(()) => return Ok(destination.path_of(name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::of("give the received file its name", path)(error).into()),
        }
    }
    // It was created in the meantime; that is fine if it has the same content.
    match destination.check_in(folder, expected.bytes, &expected.sha256)? {
        Some(there) => {
            let _ = folder.remove(hidden);
            Ok(there.path)
        }
        None => Err(TransferError::Exists(path)),
    }
}
