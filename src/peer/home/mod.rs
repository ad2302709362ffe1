//! A peer's directory: the files it shares, and `.switchboard/`, the private folder with keys, pins and the lock.
//!
//! Whatever is private has mode 0600 in a folder of mode 0700, and is written so that a crash leaves either the old or
//! the new, never a part.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rsa::rand_core::CryptoRng;
use rustix::fs::FlockOperation;
use wire::PeerName;
use wire::keys::BadKey;
use wire::name::BadName;

use crate::peer::folder::{Folder, read_whole};

mod keys;
mod pins;

pub use keys::{ENCRYPTION_KEPT_SECONDS, ENCRYPTION_RENEWED_SECONDS, EncryptionPair, Keys};
pub use pins::{Pin, PinProblem, Pins};

const PRIVATE: &str = ".switchboard";
const DOWNLOADS: &str = "downloads";
const LOCK: &str = "lock";
pub(crate) const PRIVATE_FILE_MODE: u32 = 0o600;

/// Why a peer's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The disk said no.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// What was tried, as a verb and its object.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory is not there, and neither is the one it would be made in.
    #[error("{}: no such directory, and none to make it in; make its parent directory first", .0.display())]
    NoParent(PathBuf),
    /// Something else than a directory is there.
    #[error("{}: not a directory; give --dir the peer's own directory", .0.display())]
    NotADirectory(PathBuf),
    /// The directory's name cannot be a peer's name.
    #[error("{}: the directory's name cannot be the peer's name ({source}); choose one with --name", path.display())]
    Name {
        /// Which directory.
        path: PathBuf,
        /// Why not.
        source: BadName,
    },
    /// A key file cannot be read as what it should be.
    #[error("{}: the key cannot be used: {source}; {advice}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadKey,
        /// What to do.
        advice: &'static str,
    },
    /// Encryption keys are there and the identity that they belong to is not.
    #[error(
        "{}: the identity key is missing although the peer has been used before; \
         put it back from a backup, or remove .switchboard to start as somebody new", .0.display()
    )]
    IdentityMissing(PathBuf),
    /// Somebody is pinned with another key.
    #[error("{name} is known with another key, {pinned}; it stays so until the new one is trusted")]
    PinnedOtherwise {
        /// Who.
        name: PeerName,
        /// The fingerprint that is pinned.
        pinned: wire::Fingerprint,
    },
}

impl HomeError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// A peer's directory, held open.
#[derive(Debug)]
pub struct Home {
    folder: Folder,
    private: Folder,
}

impl Home {
    /// Opens a peer's directory; makes it if its parent exists, and the private folder in it.
    ///
    /// # Errors
    /// [`HomeError`] when it is no directory or may not be read or written.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        match std::fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HomeError::NoParent(dir.to_owned()));
            }
            // A root directory or one on a disk that is read-only may be there all the same: opening it tells.
            Err(_) if dir.is_dir() => {}
            Err(error) => return Err(HomeError::io("make the directory", dir)(error)),
        }
        let path = dir.canonicalize().map_err(HomeError::io("find the directory", dir))?;
        let folder = Folder::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => HomeError::NotADirectory(path.clone()),
            _ => HomeError::io("open the directory", &path)(error),
        })?;
        let private = folder
            .private_child(PRIVATE)
            .map_err(HomeError::io("open the private folder", path.join(PRIVATE)))?;
        Ok(Self { folder, private })
    }

    /// The directory itself, without links in its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The private folder `.switchboard`.
    pub fn private_path(&self) -> &Path {
        self.private.path()
    }

    /// Where received files go unless told otherwise. It may not exist yet.
    pub fn downloads_path(&self) -> PathBuf {
        self.path().join(DOWNLOADS)
    }

    /// The peer's name unless another is given: the last component of the directory's path.
    ///
    /// # Errors
    /// [`HomeError::Name`] when it cannot be one.
    pub fn default_name(&self) -> Result<PeerName, HomeError> {
        let name = self.path().file_name().unwrap_or_default();
        name.to_string_lossy()
            .parse()
            .map_err(|source| HomeError::Name { path: self.path().to_owned(), source })
    }

    /// Takes the directory for this process; `None` when another process has it. The system gives it back when the
    /// [`Lock`] is dropped or the process ends in whatever way.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn try_lock(&self) -> Result<Option<Lock>, HomeError> {
        let file = self
            .private
            .open_or_create(LOCK)
            .map_err(HomeError::io("open the lock", self.private_path().join(LOCK)))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(HomeError::io("take the lock", self.private_path().join(LOCK))(error.into())),
        }
    }

    /// Loads the keys; makes those that are missing or due and destroys those whose time is over. Only for the process
    /// that holds the [`Lock`].
    ///
    /// `key_bits` is the size of keys that are made, `now` is in seconds since 1970. With a passphrase, keys that are
    /// made are kept under it; keys are read with or without it, as they were written.
    ///
    /// # Errors
    /// [`HomeError`], which names the file that cannot be read, written or used.
    pub fn keys(
        &self,
        passphrase: Option<&str>,
        key_bits: usize,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Keys, HomeError> {
        keys::load_or_make(&self.private, passphrase, key_bits, now, rng)
    }

    /// Loads whose identity keys are known.
    ///
    /// # Errors
    /// [`HomeError::Io`]; a damaged line is none, see [`Pins::problems`].
    pub fn pins(&self) -> Result<Pins, HomeError> {
        let doing = "open the private folder";
        let private = self.private.try_clone().map_err(HomeError::io(doing, self.private_path()))?;
        Pins::load(private)
    }

    /// The directory with what is shared.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The private folder.
    pub(crate) fn private(&self) -> &Folder {
        &self.private
    }
}

/// The right to work in a peer's directory; see [`Home::try_lock`].
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Reads a private file whole if it is there and has at most `bytes_max` bytes; mends a mode that lets others read it.
pub(crate) fn read_private(folder: &Folder, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match folder.open_private_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    read_whole(file, bytes_max).map(Some)
}

#[cfg(test)]
mod tests;
