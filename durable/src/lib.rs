//! One redb file, as the server and the peers keep it.
//!
//! redb alone is not enough for three reasons:
//! - It panics on a damaged page that it meets while reading. Here the file is checked when it is opened, and a panic
//!   while it is in use becomes [`Error::Damaged`].
//! - It refuses all work after an I/O error, for example on a full disk. Here the file is opened again for the next
//!   transaction.
//! - It creates a file that is missing. Here a marker beside the file says that it existed, because starting with an
//!   empty store can be dangerous: a peer would use message numbers again, a server would give away names.
//!
//! A package of its own, because the server (`actors`) and the peers use it, and neither may depend on the other.
#![warn(missing_docs)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Once;

use redb::backends::FileBackend;
use redb::{
    Durability, ReadTransaction, ReadableDatabase as _, StorageBackend, TableDefinition, WriteTransaction,
};

mod private;
#[cfg(test)]
mod tests;

pub use private::{private_directory, private_file, read_text, replace_private};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &str = "format";
const FORMAT_VERSION: &[u8] = b"1";

/// A file up to this size is checked each time it is opened. The check reads and hashes all of it, which took 5 to 8
/// seconds for 1 GiB on a busy machine. In a larger file, damage is found when it is read. After an unclean end, redb
/// checks a file of any size.
const CHECKED_BYTES_MAX: u64 = 256 << 20;
/// redb's header, which it changes when it opens a file.
const HEADER_BYTES: usize = 4096;
/// The extension of the marker.
const MARKER: &str = "made";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// redb reports an error of the file or of the system.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What redb says.
        source: Box<redb::Error>,
    },
    /// The file was written by a version with another format.
    #[error(
        "{} was written by another version of this program, and is left as it is; use that version, or {}",
        path.display(), giving_up(path, lost)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// See [`Options::lost`].
        lost: &'static str,
    },
    /// The content of the file is damaged.
    #[error("{} is damaged ({what}); {}", path.display(), way_out(path, lost))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
        /// See [`Options::lost`].
        lost: &'static str,
    },
    /// The file existed once, and is now missing or empty.
    #[error("{} is missing or empty although it has been used; {}", path.display(), way_out(path, lost))]
    Missing {
        /// The file.
        path: PathBuf,
        /// See [`Options::lost`].
        lost: &'static str,
    },
}

impl Error {
    /// Whether the disk is full: the same call succeeds once there is room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Database { source, .. } => matches!(&**source, redb::Error::Io(e) if is_disk_full(e)),
            _ => false,
        }
    }
}

/// Whether an error says that there is no room: on the disk, in the user's quota, or below the process's file size limit.
pub fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn way_out(path: &Path, lost: &str) -> String {
    format!("put it back from a backup, or {}", giving_up(path, lost))
}

fn giving_up(path: &Path, lost: &str) -> String {
    format!(
        "give up {lost}: move it away, if it is there, and remove {}",
        path.with_extension(MARKER).display()
    )
}

/// Options for opening a database.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Maximum size of the page cache of redb, in bytes.
    pub cache_bytes: usize,
    /// What is lost without the file, as the object of "give up"; for error texts.
    pub lost: &'static str,
}

/// Opens the backend; called again after each error.
type Source = Box<dyn Fn(&redb::Builder) -> Result<redb::Database, redb::DatabaseError> + Send>;

/// An open database. Each transaction is on the disk when it returns.
pub struct Database {
    path: PathBuf,
    options: Options,
    /// Instead of the file at `path`.
    source: Option<Source>,
    /// None after an error; the next transaction opens it again.
    open: RefCell<Option<redb::Database>>,
}

impl Database {
    /// Opens or creates the file at `path`, and sets its mode to 0600.
    ///
    /// # Errors
    /// [`Error`]. A file that is damaged is left as it is.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let this = Self::new(path.into(), options, None)?;
        this.mark().map_err(|e| this.failed(e.into()))?;
        Ok(this)
    }

    /// Creates a file that will take the place of another one, for example because that has pages that must go. Makes no marker.
    pub fn create(path: &Path, options: Options) -> Result<Self, Error> {
        let source: Source = {
            let path = path.to_owned();
            Box::new(move |builder| {
                let file = private_file(&path).map_err(redb::StorageError::Io)?;
                builder.create_with_backend(FileBackend::new(file)?)
            })
        };
        Self::new(path.into(), options, Some(source))
    }

    /// Opens a file that is damaged, to read what can still be read. Use a copy: closing it writes to it.
    pub fn open_damaged(path: &Path, options: Options) -> Result<Self, Error> {
        let source: Source = {
            let path = path.to_owned();
            Box::new(move |builder| builder.open(&path))
        };
        let this = Self { path: path.into(), options, source: Some(source), open: RefCell::default() };
        this.with(|_| Ok(()))?;
        Ok(this)
    }

    /// Keeps the data in `backend` instead of a file; for tests. `backend` is called again after each error.
    pub fn with_backend<B: StorageBackend>(
        options: Options,
        backend: impl Fn() -> B + Send + 'static,
    ) -> Result<Self, Error> {
        let source: Source = Box::new(move |builder| builder.create_with_backend(backend()));
        Self::new("memory".into(), options, Some(source))
    }

    fn new(path: PathBuf, options: Options, source: Option<Source>) -> Result<Self, Error> {
        let this = Self { path, options, source, open: RefCell::default() };
        let format = this.read(|read| match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            meta => Ok(meta?.get(FORMAT)?.map(|version| version.value().to_vec())),
        })?;
        if format.is_none() {
            this.write(|write| Ok(write.open_table(META)?.insert(FORMAT, FORMAT_VERSION).map(drop)?))?;
        }
        if format.is_none_or(|format| format == FORMAT_VERSION) {
            Ok(this)
        } else {
            Err(Error::Format { path: this.path.clone(), lost: options.lost })
        }
    }

    /// Changes tables in one transaction, which is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error`]; then either nothing is changed, or all of it is: a commit whose last flush fails may still be on the disk.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        self.with(|database| {
            let mut write = database.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            write.set_two_phase_commit(true);
            let result = work(&write)?;
            write.commit()?;
            Ok(result)
        })
    }

    /// Reads tables in one transaction.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        self.with(|database| work(&database.begin_read()?))
    }

    /// An [`Error::Damaged`] of this file, for a record that cannot be decoded.
    pub fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), what: what.into(), lost: self.options.lost }
    }

    fn with<T>(&self, work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let mut open = self.open.borrow_mut();
        let database = match open.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let result = self.guard(|| work(&database));
        if result.is_ok() {
            *open = Some(database);
        } else {
            close(database);
        }
        result
    }

    /// Runs `work`; a panic of redb means a damaged page.
    fn guard<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Error> {
        match catch_quietly(work) {
            Ok(result) => result.map_err(|e| self.failed(e)),
            Err(message) => Err(self.damaged(format!("a page cannot be read: {message}"))),
        }
    }

    fn failed(&self, source: redb::Error) -> Error {
        match source {
            redb::Error::Corrupted(what) => self.damaged(what),
            redb::Error::Io(e)
                if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                self.damaged(e.to_string())
            }
            redb::Error::UpgradeRequired(_) => {
                Error::Format { path: self.path.clone(), lost: self.options.lost }
            }
            source => Error::Database { path: self.path.clone(), source: source.into() },
        }
    }

    fn reopen(&self) -> Result<redb::Database, Error> {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(self.options.cache_bytes);
        match &self.source {
            Some(source) => self.guard(|| Ok(source(&builder)?)),
            None => self.reopen_file(&mut builder),
        }
    }

    fn reopen_file(&self, builder: &mut redb::Builder) -> Result<redb::Database, Error> {
        let io = |e: io::Error| self.failed(e.into());
        let length = self.path.metadata().map_or(0, |metadata| metadata.len());
        if length == 0 && self.marker().exists() {
            return Err(Error::Missing { path: self.path.clone(), lost: self.options.lost });
        }
        let file = private_file(&self.path).map_err(io)?;
        let mut header = vec![0; HEADER_BYTES];
        let header_bytes = file.read_at(&mut header, 0).map_err(io)?;
        let was_repaired = Rc::new(Cell::new(false));
        let repaired = Rc::clone(&was_repaired);
        builder.set_repair_callback(move |_| repaired.set(true));
        let opened = self.guard(|| {
            let backend = FileBackend::new(file.try_clone()?)?;
            let mut database = builder.create_with_backend(backend)?;
            if length <= CHECKED_BYTES_MAX && !was_repaired.get() {
                // What it can repair was not data: each page of a table has a checksum.
                let checked = database.check_integrity();
                if let Err(e) = checked {
                    close(database);
                    return Err(e.into());
                }
            }
            Ok(database)
        });
        if let Err(Error::Damaged { .. }) = opened {
            // Opening has set the flag for an unclean end; with it, nothing of the file could be read again.
            file.write_all_at(&header[..header_bytes], 0).and_then(|()| file.sync_all()).map_err(io)?;
        }
        opened
    }

    fn marker(&self) -> PathBuf {
        self.path.with_extension(MARKER)
    }

    /// Makes the marker, once the file itself is sure to be in its directory.
    fn mark(&self) -> io::Result<()> {
        let marker = self.marker();
        if marker.exists() {
            return Ok(());
        }
        let directory = File::open(self.path.parent().unwrap_or(Path::new(".")))?;
        directory.sync_all()?;
        private_file(&marker)?;
        directory.sync_all()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(database) = self.open.get_mut().take() {
            close(database);
        }
    }
}

/// Closing writes to the file, and so may meet a damaged page. Whatever goes wrong, redb repairs it at the next start.
fn close(database: redb::Database) {
    let _ = catch_quietly(|| drop(database));
}

/// Runs `work`, which reads a damaged database. If it panics, returns the message instead of printing it.
///
/// # Errors
/// The message of the panic.
pub fn catch_quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                print(info);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(before);
    result.map_err(|payload| {
        let message = payload.downcast_ref::<&str>().copied();
        message.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic").to_owned()
    })
}
