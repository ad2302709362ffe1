//! The web root on the disk.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use wire::http::has_control_character;

use super::StartError;
use super::listing;
use crate::commands::absence::Absence;
use crate::commands::asset::Body;
use crate::linux::open_beneath;

/// The maximum number of attempts to read a file that changes while it is read.
const READ_ATTEMPTS_MAX: usize = 3;

/// Metadata that tells versions of a file apart without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    /// The last change of content, owner or mode. Unlike `modified` it cannot be set back.
    pub(super) changed: SystemTime,
    pub(super) device: u64,
    pub(super) inode: u64,
}

#[derive(Debug)]
pub(super) enum Entry {
    Directory,
    File { stamp: Stamp, body: Body },
}

/// Why a path gives no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskError {
    NotFound,
    /// Not a regular file, not readable, or outside the root.
    Refused,
    /// The system is out of descriptors or memory for the moment.
    Busy,
    Failed,
}

/// The files below a root. Paths are relative to it and have no `.` or `..`.
pub(super) trait Disk {
    /// Opens a path. Reads a file of at most `memory_bytes_max`.
    fn load(&self, path: &Path, memory_bytes_max: u64) -> Result<Entry, DiskError>;

    /// Stats a regular file without opening it.
    fn stamp(&self, path: &Path) -> Result<Stamp, DiskError>;

    /// The files and directories in a directory that can be requested, in no order, at most `entries_max`. Hidden ones
    /// are left out unless `with_hidden`.
    fn list(
        &self,
        path: &Path,
        with_hidden: bool,
        entries_max: usize,
    ) -> Result<Vec<listing::Entry>, DiskError>;

    /// If the path of the root names another directory now, switches to that and returns true.
    fn reopen_if_replaced(&mut self) -> bool;

    /// The condition that these paths do not exist.
    fn absence(&self, paths: Vec<PathBuf>) -> Absence;
}

/// A directory that no path leads out of.
#[derive(Debug)]
pub(super) struct RootDirectory {
    path: PathBuf,
    directory: Arc<OwnedFd>,
    /// Whether the path did not exist at the last check.
    is_gone: bool,
}

impl RootDirectory {
    pub(super) fn open(root: &Path) -> Result<Self, StartError> {
        let directory =
            open_root(root).map_err(|e| StartError::Root { root: root.to_owned(), cause: e.into() })?;
        open_beneath(&directory, Path::new(""), OFlags::PATH)
            .map_err(|e| StartError::NoOpenat2 { root: root.to_owned(), cause: e.into() })?;
        Ok(Self { path: root.to_owned(), directory: Arc::new(directory), is_gone: false })
    }

    fn open_below(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, DiskError> {
        open_beneath(self.directory.as_fd(), path, flags).map_err(|e| meaning_of(e, path))
    }

    /// `O_NONBLOCK`, because opening a named pipe would wait for a writer.
    fn open_for_reading(&self, path: &Path) -> Result<File, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_below(path, flags).map(File::from)
    }

    /// The entry for a name; `None` if it cannot be requested.
    fn listed(&self, directory: &OwnedFd, path: &Path, name: &CStr) -> Option<listing::Entry> {
        let mut stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let target = open_beneath(self.directory.as_fd(), &path, OFlags::PATH).ok()?;
            stat = rustix::fs::fstat(target).ok()?;
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => listing::EntryKind::File,
            FileType::Directory => listing::EntryKind::Directory,
            _ => return None,
        };
        let Stamp { bytes, modified, .. } = Stamp::from(&stat);
        let bytes = if kind == listing::EntryKind::File { bytes } else { 0 };
        Some(listing::Entry::new(name.to_bytes(), kind, bytes, modified))
    }
}

fn open_root(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

impl Disk for RootDirectory {
    fn load(&self, path: &Path, memory_bytes_max: u64) -> Result<Entry, DiskError> {
        let file = self.open_for_reading(path)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let stat = stat_of(&file, path)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {}
                FileType::Directory => return Ok(Entry::Directory),
                _ => return Err(DiskError::Refused),
            }
            let stamp = Stamp::from(&stat);
            if stamp.bytes > memory_bytes_max {
                let bytes = stamp.bytes;
                let body = Body::File { file: Arc::new(file), bytes };
                return Ok(Entry::File { stamp, body });
            }
            let content = read_whole(&file, stamp.bytes).map_err(|e| failed(&e, path))?;
            let is_settled = Stamp::from(&stat_of(&file, path)?) == stamp;
            // If the file changes all the time, an inconsistent copy is served. Its stamp is outdated, so the next
            // comparison revokes it.
            if is_settled || attempts == READ_ATTEMPTS_MAX {
                let body = Body::Memory(content);
                return Ok(Entry::File { stamp, body });
            }
        }
    }

    fn stamp(&self, path: &Path) -> Result<Stamp, DiskError> {
        let stat = stat_of(self.open_below(path, OFlags::PATH)?, path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Stamp::from(&stat)),
            FileType::Directory => Err(DiskError::NotFound),
            _ => Err(DiskError::Refused),
        }
    }

    fn list(
        &self,
        path: &Path,
        with_hidden: bool,
        entries_max: usize,
    ) -> Result<Vec<listing::Entry>, DiskError> {
        let directory = self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let read = Dir::read_from(&directory).map_err(|e| meaning_of(e, path))?;
        let name_of = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            let is_hidden = name.starts_with(b".") && (!with_hidden || matches!(name, b"." | b".."));
            let can_be_asked_for = !is_hidden && !has_control_character(name);
            can_be_asked_for.then(|| entry.file_name().to_owned())
        };
        let names = read.filter_map(name_of);
        Ok(names.filter_map(|name| self.listed(&directory, path, &name)).take(entries_max).collect())
    }

    fn reopen_if_replaced(&mut self) -> bool {
        // If there is none, as in the middle of a replacement, the previous one stays in use.
        let opened = open_root(&self.path);
        // Out of descriptors, so nothing is known about it.
        if matches!(opened, Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM)) {
            return false;
        }
        let was_gone = std::mem::replace(&mut self.is_gone, opened.is_err());
        let directory = match opened {
            Ok(directory) => directory,
            Err(error) => {
                if !was_gone {
                    let root = self.path.display();
                    tracing::warn!(target: "file_server", %root, %error, "the web root does not exist any more; serving the previous directory until there is another");
                }
                return false;
            }
        };
        let identity =
            |directory: &OwnedFd| rustix::fs::fstat(directory).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let is_replaced = identity(&directory) != identity(&self.directory);
        if is_replaced {
            tracing::info!(target: "file_server", root = %self.path.display(), "the web root has been replaced");
            self.directory = Arc::new(directory);
        }
        is_replaced
    }

    fn absence(&self, paths: Vec<PathBuf>) -> Absence {
        Absence::new(Arc::clone(&self.directory), paths)
    }
}

/// Reads at most `bytes` from the start, because a file that grows must not fill the memory.
fn read_whole(mut file: &File, bytes: u64) -> std::io::Result<Bytes> {
    std::io::Seek::rewind(&mut file)?;
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content.into())
}

fn stat_of(file: impl std::os::fd::AsFd, path: &Path) -> Result<Stat, DiskError> {
    rustix::fs::fstat(file).map_err(|e| meaning_of(e, path))
}

fn meaning_of(error: Errno, path: &Path) -> DiskError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => DiskError::NotFound,
        // XDEV: the path leads out of the root. NXIO: a socket, or a pipe without a reader.
        Errno::XDEV | Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::NXIO | Errno::NODEV => {
            DiskError::Refused
        }
        // AGAIN: a component was renamed during each attempt.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => DiskError::Busy,
        other => failed(&other.into(), path),
    }
}

fn failed(error: &std::io::Error, path: &Path) -> DiskError {
    tracing::warn!(target: "file_server", path = %wire::escape::Escaped(&path.to_string_lossy()), %error, "cannot read a file");
    DiskError::Failed
}

impl Stamp {
    /// That of an open file.
    pub(super) fn of(file: &File) -> Option<Self> {
        rustix::fs::fstat(file).ok().map(|stat| Self::from(&stat))
    }
}

impl From<&Stat> for Stamp {
    // The types of these fields differ between architectures.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    fn from(stat: &Stat) -> Self {
        Self {
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: time_of(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: time_of(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }
}

/// A time of the file system. Times before 1970 become 1970.
fn time_of(seconds: i64, nanoseconds: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(seconds + nanoseconds).unwrap_or(SystemTime::UNIX_EPOCH)
}
