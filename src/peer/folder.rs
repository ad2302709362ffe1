//! A directory that is held open. All operations are relative to the open handle and follow no symbolic link, so nobody
//! can redirect them to another directory.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use wire::FileName;
use wire::escape::Escaped;

/// Prefix and suffix of the name of a file that is being written.
const UNFINISHED: (&str, &str) = (".", ".new");

/// An operation on a file or directory that has failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {doing}: {source}", Escaped(&path.to_string_lossy()))]
pub struct FileError {
    /// The operation, as a verb and its object.
    doing: &'static str,
    path: PathBuf,
    pub(crate) source: io::Error,
}

impl FileError {
    /// Adds operation and path to an I/O error.
    pub(crate) fn of(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { doing, path, source }
    }
}

/// A directory that is held open. The names given to its methods are single path components.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a directory. Follows symbolic links in `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let path = path.to_owned();
        Ok(Self { handle, path })
    }

    /// Locks the directory until the handle is closed or locked in another way.
    pub(crate) fn lock(&self, how: FlockOperation) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.handle, how)?)
    }

    /// Opens a directory inside this one. Makes it if it does not exist. Its mode is 0700 afterwards.
    pub(crate) fn private_child(&self, name: &str) -> io::Result<Self> {
        self.make_child(name, 0o700)?;
        let child = self.child(name)?;
        if rustix::fs::fstat(&child.handle)?.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&child.handle, Mode::RWXU)?;
        }
        Ok(child)
    }

    /// Opens a directory inside this one. Follows no symbolic link.
    pub(crate) fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Self { handle, path: self.path.join(name) }),
            // Linux says of a link only that it is no directory.
            Err(Errno::NOTDIR | Errno::LOOP) => Err(unsuitable("it is not a folder, or a symbolic link")),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the directory that is reached by these names, one below the other. Follows no symbolic link.
    pub(crate) fn descend<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        names.into_iter().try_fold(self.try_clone()?, |folder, name| folder.child(name))
    }

    /// Like [`Folder::descend`]. Makes the directories that do not exist, with this mode before the umask.
    pub(crate) fn descend_and_make<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        mode: u32,
    ) -> io::Result<Self> {
        names.into_iter().try_fold(self.try_clone()?, |folder, name| {
            folder.make_child(name, mode)?;
            folder.child(name)
        })
    }

    fn make_child(&self, name: &str, mode: u32) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.sync(),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a shared file for reading. Follows no symbolic link, also not to a folder in its name.
    pub(crate) fn open_shared(&self, name: &FileName) -> io::Result<File> {
        match name.split() {
            (None, base) => self.open_file(base),
            (Some(_), base) => self.descend(name.folders())?.open_file(base),
        }
    }

    /// The metadata of a shared file, if it is a regular one. Follows no symbolic link, also not to a folder in its name. Nothing is
    /// opened for reading, so whoever watches the folder (inotify) is not told of it.
    pub(crate) fn metadata_of_shared(&self, name: &FileName) -> io::Result<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = None;
        for outer in name.folders() {
            let at = folder.as_ref().unwrap_or(&self.handle);
            folder = Some(rustix::fs::openat(at, outer, flags | OFlags::DIRECTORY, Mode::empty())?);
        }
        let at = folder.as_ref().unwrap_or(&self.handle);
        let metadata = File::from(rustix::fs::openat(at, name.base(), flags, Mode::empty())?).metadata()?;
        if metadata.is_file() { Ok(metadata) } else { Err(unsuitable("it is not a regular file")) }
    }

    /// The inode, by which another directory of the same name is recognised.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.handle)?.st_ino)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()?, path: self.path.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading. Follows no symbolic link, and does not block on a named pipe.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_regular(name.as_ref(), OFlags::RDONLY)
    }

    /// Like [`Folder::open_file`]. Removes all permissions of group and others.
    pub(crate) fn open_private_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let file = self.open_file(name)?;
        if rustix::fs::fstat(&file)?.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(file)
    }

    /// Opens a regular file for reading and writing. Follows no symbolic link.
    pub(crate) fn open_for_writing(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_regular(name.as_ref(), OFlags::RDWR)
    }

    fn open_regular(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => handle.into(),
            Err(Errno::LOOP) => return Err(unsuitable("it is a symbolic link")),
            // A socket, or a named pipe without a reader that is opened for writing.
            Err(Errno::NXIO) => return Err(unsuitable("it is not a regular file")),
            Err(error) => return Err(error.into()),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(unsuitable("it is not a regular file")) }
    }

    /// Creates a file of the given mode; fails with `AlreadyExists` if it exists.
    pub(crate) fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name.as_ref(), flags, Mode::from_raw_mode(mode))?;
        Ok(handle.into())
    }

    /// Opens a file for reading and writing. Creates it with mode 0600 if it does not exist.
    pub(crate) fn open_or_create(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name.as_ref(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(handle.into())
    }

    /// Replaces the content of a file atomically and durably: after a crash it is either the old content or `bytes`,
    /// and once this has returned it is `bytes`.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.write_with(name, bytes, mode, |_| Ok(()))
    }

    /// Like [`Folder::write`], but an existing file keeps its mode, whatever the umask. A new one gets `new_mode`.
    pub(crate) fn rewrite(&self, name: &str, bytes: &[u8], new_mode: u32) -> io::Result<()> {
        let mode = match self.open_file(name) {
            Ok(there) => rustix::fs::fstat(&there)?.st_mode & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.write(name, bytes, new_mode);
            }
            Err(error) => return Err(error),
        };
        self.write_with(name, bytes, mode, |file| Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?))
    }

    fn write_with(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        prepare: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let unfinished = Self::unfinished(name);
        let mut file = match self.create_new(&unfinished, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.destroy(&unfinished)?;
                self.create_new(&unfinished, mode)?
            }
            other => other?,
        };
        let written = prepare(&file).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| self.rename(&unfinished, name)) {
            // The first error is the one to report; the next write removes the temporary file.
            let _ = self.destroy(&unfinished);
            return Err(error);
        }
        self.sync()
    }

    /// The name of the temporary file in which the new content of a file is written.
    pub(crate) fn unfinished(name: &str) -> String {
        format!("{}{name}{}", UNFINISHED.0, UNFINISHED.1)
    }

    /// Puts the temporary file of `name` in its place and destroys the old content. After a crash, `name` has either
    /// content, and the other one is destroyed by the next [`Folder::clear_unfinished`].
    pub(crate) fn replace(&self, name: &str) -> io::Result<()> {
        let unfinished = Self::unfinished(name);
        let exchanged =
            rustix::fs::renameat_with(&self.handle, &unfinished, &self.handle, name, RenameFlags::EXCHANGE);
        match exchanged {
            Ok(()) => {
                self.sync()?;
                self.destroy(&unfinished)
            }
            // Not every file system can exchange two files.
            Err(Errno::INVAL | Errno::NOSYS) => self.replace_by_rename(name),
            Err(error) => Err(error.into()),
        }
    }

    /// A crash before the old content is overwritten leaves it in free blocks of the disk.
    fn replace_by_rename(&self, name: &str) -> io::Result<()> {
        let old = self.open_regular(name.as_ref(), OFlags::WRONLY)?;
        self.rename(Self::unfinished(name), name)?;
        self.sync()?;
        overwrite(old)
    }

    /// Like [`Folder::write`], but destroys the old content.
    pub(crate) fn write_over(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.stage(name, bytes, mode)?;
        self.replace(name)
    }

    /// Writes the temporary file of `name`, which must not exist. Its name is durable after [`Folder::sync`].
    pub(crate) fn stage(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = self.create_new(Self::unfinished(name), mode)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Destroys the temporary files of interrupted writes.
    pub(crate) fn clear_unfinished(&self) -> io::Result<()> {
        for name in self.names()? {
            if Self::target(&name).is_some() {
                self.destroy(&name)?;
            }
        }
        Ok(())
    }

    /// The inverse of [`Folder::unfinished`]; `None` for other names.
    pub(crate) fn target(name: &OsStr) -> Option<&OsStr> {
        let target = name.as_bytes().strip_prefix(UNFINISHED.0.as_bytes())?;
        target.strip_suffix(UNFINISHED.1.as_bytes()).map(OsStr::from_bytes)
    }

    /// Renames a file inside this directory and replaces an existing one.
    pub(crate) fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from.as_ref(), &self.handle, to.as_ref())?)
    }

    /// Renames a file inside this directory; fails with `AlreadyExists` when the new name exists, also as a link.
    pub(crate) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.handle, from, &self.handle, to, flags) {
            // Not every file system supports the flag.
            Err(Errno::INVAL | Errno::NOSYS) => self.rename_by_link(from, to),
            other => Ok(other?),
        }
    }

    fn rename_by_link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        rustix::fs::linkat(&self.handle, from, &self.handle, to, AtFlags::empty())?;
        self.remove(from)
    }

    /// Removes a file, if it exists.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Overwrites a file with zeros, then removes it, durably. Flash and file systems with snapshots may keep the old
    /// content all the same; there is no portable remedy.
    pub(crate) fn destroy(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        overwrite(self.open_regular(name, OFlags::WRONLY)?)?;
        self.remove(name)?;
        self.sync()
    }

    /// The names in it and what each is, in no particular order. Not every file system says what they are.
    pub(crate) fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                entries.push((name.to_owned(), entry.file_type()));
            }
        }
        Ok(entries)
    }

    /// The names in it, in no particular order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(self.entries()?.into_iter().map(|(name, _)| name).collect())
    }

    /// The file system that it is on.
    pub(crate) fn device(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.handle)?.st_dev)
    }

    /// Makes everything durable that was written to its file system. One wait is enough for any number of files.
    pub(crate) fn sync_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.handle)?)
    }

    /// Makes all creations, renames and removals in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.handle)?)
    }
}

/// Overwrites a file with zeros.
fn overwrite(mut file: File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

/// Reads a file of at most `bytes_max` bytes; a longer one is an error of the kind `InvalidData`.
pub(crate) fn read_whole(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > bytes_max {
        let why = format!("it has {length} bytes, at most {bytes_max} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unsuitable(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = Folder::open(dir.path()).expect("it opens");
        (dir, folder)
    }

    #[test]
    fn only_regular_files_are_opened_and_nobody_waits_for_a_pipe() {
        let (dir, folder) = folder();
        std::fs::write(dir.path().join("plain"), b"x").expect("it can be written");
        std::os::unix::fs::symlink("plain", dir.path().join("link")).expect("a link");
        std::fs::create_dir(dir.path().join("folder")).expect("a directory");
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, dir.path().join("pipe"), pipe, Mode::RWXU, 0).expect("a pipe");
        assert!(folder.open_file("plain").is_ok());
        for name in ["link", "folder", "pipe"] {
            let error = folder.open_file(name).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}: {error}");
        }
    }

    #[test]
    fn a_write_replaces_whole_files_and_what_a_crash_left() {
        let (dir, folder) = folder();
        std::fs::write(dir.path().join(".key.new"), b"half a k").expect("it can be written");
        folder.write("key", b"whole", 0o600).expect("it writes");
        folder.write("key", b"again", 0o600).expect("it writes");
        assert_eq!(std::fs::read(dir.path().join("key")).ok(), Some(b"again".to_vec()));
        assert_eq!(folder.names().expect("names"), ["key"]);
        let mode = std::fs::metadata(dir.path().join("key")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_new_name_is_never_taken_from_another_file() {
        let (dir, folder) = folder();
        let (from, to) = (OsStr::new("from"), OsStr::new("to"));
        for rename in [Folder::rename_new, Folder::rename_by_link] {
            std::fs::write(dir.path().join("from"), b"new").expect("it can be written");
            rename(&folder, from, to).expect("the name is free");
            assert_eq!(folder.names().expect("names"), ["to"]);
            std::fs::write(dir.path().join("from"), b"newer").expect("it can be written");
            let error = rename(&folder, from, to).expect_err("the name is taken");
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(dir.path().join("to")).ok(), Some(b"new".to_vec()));
            folder.remove("to").expect("it goes");
        }
    }

    #[test]
    fn what_is_replaced_is_overwritten_with_zeros() {
        for replace in [Folder::replace, Folder::replace_by_rename] {
            let (dir, folder) = folder();
            std::fs::write(dir.path().join("key"), b"secret").expect("it can be written");
            std::fs::hard_link(dir.path().join("key"), dir.path().join("witness")).expect("a second name");
            std::fs::write(dir.path().join(Folder::unfinished("key")), b"sealed").expect("it can be written");
            replace(&folder, "key").expect("it is replaced");
            assert_eq!(std::fs::read(dir.path().join("key")).ok(), Some(b"sealed".to_vec()));
            assert_eq!(std::fs::read(dir.path().join("witness")).ok(), Some(vec![0; 6]));
            assert_eq!(folder.names().expect("names").len(), 2, "no temporary file is left");
        }
    }

    #[test]
    fn what_is_destroyed_is_overwritten_first() {
        let (dir, folder) = folder();
        std::fs::write(dir.path().join("key"), b"secret").expect("it can be written");
        std::fs::hard_link(dir.path().join("key"), dir.path().join("witness")).expect("a second name");
        folder.destroy("key").expect("it goes");
        assert_eq!(
            std::fs::read(dir.path().join("witness")).ok(),
            Some(vec![0; 6]),
            "the bytes themselves are gone"
        );
        assert_eq!(folder.names().expect("names"), ["witness"]);
    }
}
