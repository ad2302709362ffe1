//! A peer's directory: the files it shares, and `.switchboard/`, the private directory with keys, pins and the lock.
//!
//! Private files have mode 0600 in a directory of mode 0700. They are replaced atomically, so a crash leaves either the
//! old or the new content.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use wire::PeerName;
use wire::keys::BadKey;
use wire::name::BadName;

pub use crate::peer::folder::FileError;
use crate::peer::folder::{Folder, read_whole};

mod key_times;
mod keys;
mod known_servers;
mod locked;
mod moving;
mod passphrase;
mod pins;
mod store_key;

pub use key_times::{BadKeyTimes, KeyTimes};
pub use keys::{EncryptionPair, Keys};
pub use locked::BadLocked;
pub use moving::{Exported, Numbers};
pub use passphrase::Staged;
pub use pins::{Pin, Pins};

const PRIVATE: &str = ".switchboard";
pub(crate) const DOWNLOADS: &str = "downloads";
const LOCK: &str = "lock";
const PROMPT_HISTORY: &str = "prompt_history";
pub(crate) const PRIVATE_FILE_MODE: u32 = 0o600;

/// Why a peer's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(transparent)]
    Io(#[from] FileError),
    #[error("{}: no such directory, and none to make it in; make its parent directory first", .0.display())]
    NoParent(PathBuf),
    #[error("{}: not a directory; give --dir the peer's own directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{}: the directory's name cannot be the peer's name ({source}); choose one with --name", path.display())]
    Name { path: PathBuf, source: BadName },
    #[error("{}: the key cannot be used: {source}; {advice}", path.display())]
    Key { path: PathBuf, source: BadKey, advice: &'static str },
    #[error("{}: encrypted under a passphrase; give it with --passphrase-file", .0.display())]
    PassphraseMissing(PathBuf),
    #[error("{}: {source}; {}", path.display(), match source {
        BadLocked::Passphrase => "give the one that it was made with",
        BadLocked::Damaged => "put it back from a backup; without it nobody can read the store",
    })]
    Locked { path: PathBuf, source: BadLocked },
    #[error(
        "{}: the identity key is missing although the peer has been used before; \
         put it back from a backup, or remove .switchboard to start as somebody new", .0.display()
    )]
    IdentityMissing(PathBuf),
    #[error("{}: there is no identity key yet; run `card` to make one", .0.display())]
    NoIdentity(PathBuf),
    #[error(
        "{}: the statement after the key, which the old key has signed, is damaged; put the file back from a backup",
        .0.display()
    )]
    StatementDamaged(PathBuf),
    #[error(
        "{} line {line}: {reason}; correct the line or put the file back from a backup; if you remove the line, the \
         key that it pinned has to be trusted again", path.display()
    )]
    PinDamaged {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        reason: &'static str,
    },
    #[error(
        "{} lacks {}, whose keys this peer has accepted before; put the file back from a backup, or trust each again: {}",
        path.display(), names_of(missing), trust_commands(missing)
    )]
    PinsMissing {
        path: PathBuf,
        /// Who is missing, and with which key. Not empty.
        missing: Vec<(PeerName, wire::Fingerprint)>,
    },
    #[error("another key of {name} is pinned, {pinned}, until the new one is trusted")]
    PinnedOtherwise { name: PeerName, pinned: wire::Fingerprint },
}

/// Most peers that an error names.
const NAMED_MAX: usize = 3;

fn names_of(missing: &[(PeerName, wire::Fingerprint)]) -> String {
    let mut names: Vec<String> = missing.iter().take(NAMED_MAX).map(|(name, _)| name.to_string()).collect();
    if missing.len() > NAMED_MAX {
        names.push(format!("{} more", missing.len() - NAMED_MAX));
    }
    names.join(", ")
}

fn trust_commands(missing: &[(PeerName, wire::Fingerprint)]) -> String {
    let commands = missing.iter().take(NAMED_MAX).map(|(name, key)| format!("trust {name} {key}"));
    commands.collect::<Vec<_>>().join(", ")
}

/// A peer's directory, held open.
#[derive(Debug)]
pub struct Home {
    folder: Folder,
    private: Folder,
}

impl Home {
    /// Opens a peer's directory and the private directory in it. Makes both if the parent exists.
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
            // For `/` and on a read-only file system the error is another one, although the directory exists.
            Err(_) if dir.is_dir() => {}
            Err(error) => return Err(FileError::of("make the directory", dir)(error).into()),
        }
        let path = dir.canonicalize().map_err(FileError::of("find the directory", dir))?;
        let folder = Folder::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => HomeError::NotADirectory(path.clone()),
            _ => FileError::of("open the directory", &path)(error).into(),
        })?;
        let private = folder
            .private_child(PRIVATE)
            .map_err(FileError::of("open the private folder", path.join(PRIVATE)))?;
        Ok(Self { folder, private })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the private directory `.switchboard`.
    pub fn private_path(&self) -> &Path {
        self.private.path()
    }

    /// The default directory for received files. It may not exist yet.
    pub fn downloads_path(&self) -> PathBuf {
        self.path().join(DOWNLOADS)
    }

    /// The peer's default name: the last component of the directory's path.
    ///
    /// # Errors
    /// [`HomeError::Name`] when it is not a valid name.
    pub fn default_name(&self) -> Result<PeerName, HomeError> {
        let name = self.path().file_name().unwrap_or_default();
        name.to_string_lossy()
            .parse()
            .map_err(|source| HomeError::Name { path: self.path().to_owned(), source })
    }

    /// Locks the directory for this process; `None` when another process holds the lock. The system releases it when
    /// the [`Lock`] is dropped or the process ends. Completes a change of the passphrase that a crash has interrupted.
    pub fn try_lock(&self) -> Result<Option<Lock>, HomeError> {
        let file = self
            .private
            .open_or_create(LOCK)
            .map_err(FileError::of("open the lock", self.private_path().join(LOCK)))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                passphrase::complete(&self.private)?;
                Ok(Some(Lock { _file: file }))
            }
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => {
                Err(FileError::of("take the lock", self.private_path().join(LOCK))(error.into()).into())
            }
        }
    }

    /// Whether a passphrase is needed to use this directory.
    pub fn is_locked(&self) -> Result<bool, HomeError> {
        Ok(store_key::exists(&self.private)? || keys::is_identity_locked(&self.private)?)
    }

    /// The file with the lines that were typed at earlier prompts. They contain messages, so there is no such file if
    /// the peer has a passphrase or messages are not to be kept; an existing one is destroyed.
    pub fn prompt_history(&self, keeps_history: bool) -> Result<Option<PathBuf>, HomeError> {
        if keeps_history && !self.is_locked()? {
            return Ok(Some(self.private_path().join(PROMPT_HISTORY)));
        }
        match self.private.destroy(PROMPT_HISTORY) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::of("destroy", self.private_path().join(PROMPT_HISTORY))(error).into())
            }
            _ => Ok(None),
        }
    }

    /// Loads the identity keys of other peers.
    ///
    /// # Errors
    /// [`HomeError::Io`]; [`HomeError::PinDamaged`] for the first line that cannot be read.
    pub fn pins(&self) -> Result<Pins, HomeError> {
        let doing = "open the private folder";
        let private = self.private.try_clone().map_err(FileError::of(doing, self.private_path()))?;
        Pins::load(private)
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn private(&self) -> &Folder {
        &self.private
    }
}

/// The lock on a peer's directory; see [`Home::try_lock`].
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Reads a private file of at most `bytes_max` bytes; `None` if it does not exist. Corrects a mode that lets others
/// read it.
pub(crate) fn read_private(folder: &Folder, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match folder.open_private_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    read_whole(file, bytes_max).map(Some)
}

#[cfg(test)]
mod tests;
