//! The destination of a received file.

use std::ffi::OsString;
use std::io;
use std::iter;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use wire::{Digest, FileName};

use super::{TransferError, part, pieces};
use crate::peer::command::Existing;
use crate::peer::folder::{FileError, Folder};
use crate::peer::home::Home;
use crate::peer::share::digest_of;

const DOWNLOADS_MODE: u32 = 0o755;

/// The highest number in the name of a file that is kept beside others.
const NUMBER_MAX: u32 = 1000;

/// A file that is complete and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: Digest,
}

/// Where a received file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// An existing directory. Its path may lead over links, because the user has chosen it.
    pub directory: PathBuf,
    /// The folders below it that the file goes into. They come from another peer, so no link is followed there. They are made
    /// when the file arrives.
    pub(super) folders: Vec<String>,
    /// The file's name in the last of them: one path component.
    pub name: OsString,
    pub existing: Existing,
}

impl Destination {
    /// The directory for received files in a peer's directory. Makes it if it does not exist.
    ///
    /// # Errors
    /// [`TransferError::Disk`] when it cannot be made.
    pub fn downloads(home: &Home, name: &FileName, existing: Existing) -> Result<Self, TransferError> {
        let directory = home.downloads_path();
        let made = std::fs::DirBuilder::new().mode(DOWNLOADS_MODE).recursive(true).create(&directory);
        made.map_err(FileError::of("make the folder", &directory))?;
        Ok(Self::below(directory, name, existing))
    }

    fn below(directory: PathBuf, name: &FileName, existing: Existing) -> Self {
        let folders = name.folders().map(str::to_owned).collect();
        Self { directory, folders, name: name.base().into(), existing }
    }

    /// A path that the user gave: either a directory, where the file keeps its name and its folders, or the path of the new
    /// file.
    ///
    /// # Errors
    /// [`TransferError::BadPath`] when it is neither.
    pub fn output(path: &Path, name: &FileName, existing: Existing) -> Result<Self, TransferError> {
        if path.is_dir() {
            return Ok(Self::below(path.to_owned(), name, existing));
        }
        let bad = || TransferError::BadPath(path.to_owned());
        // `file_name` of `new/` is `new`, but the user means a directory, which does not exist.
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(bad());
        }
        let name = path.file_name().ok_or_else(bad)?.to_owned();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { directory, folders: Vec::new(), name, existing })
    }

    pub fn path(&self) -> PathBuf {
        self.path_of(&self.name)
    }

    /// The path of a file in the last folder.
    pub(super) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        let folder = self.folders.iter().fold(self.directory.clone(), |path, folder| path.join(folder));
        folder.join(name)
    }

    /// Checks that the file can be created: `None` if so, or the existing file if it has the wanted content already.
    /// Call it before requesting the file.
    ///
    /// # Errors
    /// [`TransferError::Exists`] when another file exists and must not be replaced, [`TransferError::Disk`].
    pub fn check(&self, bytes: u64, sha256: &Digest) -> Result<Option<Received>, TransferError> {
        match self.open()? {
            Some(folder) => self.check_in(&folder, bytes, sha256),
            None => Ok(None),
        }
    }

    /// How many bytes of this content an interrupted transfer has left here. The next transfer continues with the byte after
    /// them.
    pub fn kept(&self, sha256: &Digest) -> u64 {
        self.open().ok().flatten().map_or(0, |folder| part::kept(&folder, sha256))
    }

    /// Whether an interrupted transfer has left pieces of this content here.
    pub fn has_pieces(&self, sha256: &Digest) -> bool {
        self.open().ok().flatten().is_some_and(|folder| pieces::has_pieces(&folder, sha256))
    }

    pub(super) fn check_in(
        &self,
        folder: &Folder,
        bytes: u64,
        sha256: &Digest,
    ) -> Result<Option<Received>, TransferError> {
        for name in self.names() {
            let path = self.path_of(&name);
            let is_same = match folder.open_file(&name) {
                Ok(there) => there
                    .metadata()
                    .and_then(|metadata| Ok(metadata.len() == bytes && digest_of(&there)? == *sha256))
                    .map_err(FileError::of("read what is there", &path))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                // Not a regular file, or not readable.
                Err(_) => false,
            };
            match self.existing {
                _ if is_same => return Ok(Some(Received { path, bytes, sha256: *sha256 })),
                Existing::Refuse => return Err(TransferError::Exists(path)),
                Existing::Overwrite => return Ok(None),
                Existing::KeepBoth => {}
            }
        }
        Err(TransferError::Exists(self.path()))
    }

    /// The names that the file can get: the first one that is free if both files are to be kept.
    pub(super) fn names(&self) -> impl Iterator<Item = OsString> {
        let path = Path::new(&self.name);
        let stem = path.file_stem().unwrap_or(&self.name);
        let numbers = if self.existing == Existing::KeepBoth { NUMBER_MAX } else { 1 };
        let numbered = (2..=numbers).map(move |number| {
            let mut name = stem.to_owned();
            name.push(format!(" ({number})"));
            if let Some(extension) = path.extension() {
                name.push(".");
                name.push(extension);
            }
            name
        });
        iter::once(self.name.clone()).chain(numbered)
    }

    /// The folder of the file; `None` if it does not exist yet.
    fn open(&self) -> Result<Option<Folder>, TransferError> {
        match self.top()?.descend(self.folders.iter().map(String::as_str)) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of("open the folder", self.path_of(""))(error).into()),
        }
    }

    /// The folder of the file. Makes it if it does not exist.
    pub(super) fn make(&self) -> Result<Folder, TransferError> {
        let folders = self.folders.iter().map(String::as_str);
        let made = self.top()?.descend_and_make(folders, DOWNLOADS_MODE);
        Ok(made.map_err(FileError::of("make the folder", self.path_of("")))?)
    }

    fn top(&self) -> Result<Folder, TransferError> {
        Ok(Folder::open(&self.directory).map_err(FileError::of("open the directory", &self.directory))?)
    }
}
