//! Where a received file goes, and how it gets there: under a temporary name until it is whole and verified.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use wire::{Digest, FileName};

use super::TransferError;
use crate::peer::folder::Folder;
use crate::peer::home::Home;
use crate::peer::share::digest_of;

const DOWNLOADS_MODE: u32 = 0o755;
/// What the user's mask leaves of it, like any file that a program writes for its user.
const RECEIVED_MODE: u32 = 0o666;
/// Around the temporary name of a file that is being received.
const TEMPORARY: (&str, &str) = (".switchboard-", ".part");
/// A temporary file is left alone this long, so that one is never taken for a leftover before it is locked.
const LEFTOVER_AFTER: Duration = Duration::from_secs(60);

/// A file that is here, whole and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where.
    pub path: PathBuf,
    /// How long.
    pub bytes: u64,
    /// The digest of all of it.
    pub sha256: Digest,
}

/// Where a received file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// An existing directory.
    pub directory: PathBuf,
    /// The file's name in it: one component.
    pub name: OsString,
    /// Whether what has that name may be replaced.
    pub overwrite: bool,
}

impl Destination {
    /// The folder for received files in a peer's directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`TransferError::Disk`] when it cannot be made.
    pub fn downloads(home: &Home, name: &FileName, overwrite: bool) -> Result<Self, TransferError> {
        let directory = home.downloads_path();
        let made = std::fs::DirBuilder::new().mode(DOWNLOADS_MODE).recursive(true).create(&directory);
        made.map_err(TransferError::disk("make the folder", &directory))?;
        Ok(Self { directory, name: name.as_str().into(), overwrite })
    }

    /// The path that a person gave: a directory, where the file keeps its name, or the path of the file to be.
    ///
    /// # Errors
    /// [`TransferError::BadPath`] when it is neither.
    pub fn output(path: &Path, name: &FileName, overwrite: bool) -> Result<Self, TransferError> {
        if path.is_dir() {
            return Ok(Self { directory: path.to_owned(), name: name.as_str().into(), overwrite });
        }
        let bad = || TransferError::BadPath(path.to_owned());
        // `file_name` would take `new/` for `new`, though it can only mean a directory that is not there.
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(bad());
        }
        let name = path.file_name().ok_or_else(bad)?.to_owned();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { directory, name, overwrite })
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Looks whether the name is free for this file: `None` when it is, or what is there when it is that very file.
    /// Worth asking before the file is asked for.
    ///
    /// # Errors
    /// [`TransferError::Exists`] when something else is there and must not be replaced, [`TransferError::Disk`].
    pub fn check(&self, bytes: u64, sha256: &Digest) -> Result<Option<Received>, TransferError> {
        self.check_in(&self.open()?, bytes, sha256)
    }

    pub(super) fn check_in(
        &self,
        folder: &Folder,
        bytes: u64,
        sha256: &Digest,
    ) -> Result<Option<Received>, TransferError> {
        let path = self.path();
        let exists = || match self.overwrite {
            true => Ok(None),
            false => Err(TransferError::Exists(self.path())),
        };
        let there = match folder.open_file(&self.name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Something that is no regular file, or none that we may read.
            Err(_) => return exists(),
        };
        let read_error = TransferError::disk("read what is there", &path);
        let is_same = there
            .metadata()
            .and_then(|metadata| Ok(metadata.len() == bytes && digest_of(&there)? == *sha256))
            .map_err(read_error)?;
        let sha256 = *sha256;
        if is_same { Ok(Some(Received { path, bytes, sha256 })) } else { exists() }
    }

    pub(super) fn open(&self) -> Result<Folder, TransferError> {
        Folder::open(&self.directory).map_err(TransferError::disk("open the directory", &self.directory))
    }
}

/// A file that has no name yet; it is removed unless [`Unnamed::name`] gives it one.
pub(super) struct Unnamed<'a> {
    folder: &'a Folder,
    temporary: OsString,
    is_named: bool,
}

impl<'a> Unnamed<'a> {
    /// Clears away what processes that were killed have left, then makes a new one.
    pub(super) fn create(folder: &'a Folder) -> io::Result<(Self, File)> {
        // A leftover that stays is a nuisance, no reason to refuse a file.
        let _ = remove_leftovers(folder);
        let (prefix, suffix) = TEMPORARY;
        let temporary = OsString::from(format!("{prefix}{:016x}{suffix}", rand::random::<u64>()));
        let file = folder.create_new(&temporary, RECEIVED_MODE)?;
        // Held as long as the file is open: by this, a file that is still being received is known. On a file system
        // without locks nothing can be locked by those who look for leftovers either.
        let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let unnamed = Self { folder, temporary, is_named: false };
        Ok((unnamed, file))
    }

    /// Gives it its name, durably. Fails with `AlreadyExists` when the name is taken and must not be.
    pub(super) fn name(mut self, name: &OsStr, overwrite: bool) -> io::Result<()> {
        if overwrite {
            self.folder.rename(&self.temporary, name)?;
        } else {
            self.folder.rename_new(&self.temporary, name)?;
        }
        self.is_named = true;
        self.folder.sync()
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // Nothing more can be done; why the file did not come is what is told.
            let _ = self.folder.remove(&self.temporary);
        }
    }
}

/// Removes the temporary files that nobody is writing any more.
fn remove_leftovers(folder: &Folder) -> io::Result<()> {
    let (prefix, suffix) = TEMPORARY;
    for name in folder.names()? {
        let bytes = name.as_encoded_bytes();
        if !(bytes.starts_with(prefix.as_bytes()) && bytes.ends_with(suffix.as_bytes())) {
            continue;
        }
        let file = folder.open_file(&name)?;
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        let is_held = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        if age >= LEFTOVER_AFTER && !is_held() {
            folder.remove(&name)?;
        }
    }
    Ok(())
}
