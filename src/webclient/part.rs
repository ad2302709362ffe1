//! The start of a file whose download was interrupted, kept for the next call.
//!
//! `NAME.part` has the bytes, `NAME.part.source` has their URL and version. A crash must not leave bytes of one version with
//! the source of another. So a new version first empties the part, then replaces the source, and only then writes bytes;
//! each step is synced to the disk before the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::save::{create_beside, directory, rename};
use super::version::Version;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The URL is part of the identity: another file may have the same entity tag.
    pub(super) url: String,
    pub(super) version: Version,
    /// Length of the whole file, if the server has sent it.
    pub(super) total_bytes: Option<u64>,
}

/// The start of a file, locked until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    path: PathBuf,
    target: PathBuf,
    /// None while the part is empty.
    source: Option<Source>,
}

impl Part {
    /// The part of `target`, if there is one.
    pub(super) fn find(target: &Path) -> io::Result<Option<Self>> {
        match Self::open(target, false) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The part of `target`; a new, empty one if there is none.
    pub(super) fn find_or_create(target: &Path) -> io::Result<Self> {
        Self::open(target, true)
    }

    fn open(target: &Path, create: bool) -> io::Result<Self> {
        let path = with_suffix(target, ".part");
        // Do not follow a link that somebody else may have created, and do not wait for the other end of a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(create).custom_flags(flags).open(&path)?;
        let opened = file.metadata()?;
        if !opened.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a regular file", path.display()),
            ));
        }
        file.try_lock().map_err(|_| in_use(&path))?;
        // Another process may have renamed the file between our open and our lock.
        match fs::symlink_metadata(&path) {
            Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => {}
            _ => return Err(in_use(&path)),
        }
        let mut part = Self { file, path, target: target.to_owned(), source: None };
        if part.bytes()? > 0 {
            part.source = Some(part.read_source()?);
        }
        Ok(part)
    }

    fn read_source(&self) -> io::Result<Source> {
        let foreign = |_| {
            let why = format!(
                "{} exists, but it is not known which file it is a part of; remove it",
                self.path.display()
            );
            io::Error::new(ErrorKind::AlreadyExists, why)
        };
        let text = fs::read(source_path(&self.path)).map_err(foreign)?;
        serde_json::from_slice(&text).map_err(|e| foreign(e.into()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The source and the length of the part; none if it is empty.
    pub(super) fn have(&self) -> Option<(&Source, u64)> {
        let bytes = self.bytes().ok()?;
        self.source.as_ref().map(|source| (source, bytes))
    }

    /// Empties the part and makes it a part of `source`.
    pub(super) fn start(&mut self, source: Source) -> io::Result<()> {
        self.cut(0)?;
        self.file.sync_all()?;
        let path = source_path(&self.path);
        let mut file = create_beside(&path)?;
        serde_json::to_writer(file.as_file_mut(), &source)?;
        rename(file, &path)?;
        File::open(directory(&path))?.sync_all()?;
        self.source = Some(source);
        Ok(())
    }

    /// Keeps only the first `bytes`; the next write appends to them.
    pub(super) fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }

    /// Syncs the file, then renames it to the target.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        // A source without a part has no effect, so a failure here does not matter.
        let _ = fs::remove_file(source_path(&self.path));
        Ok(())
    }

    /// Removes the part and its source.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(source_path(&self.path));
    }
}

fn source_path(part: &Path) -> PathBuf {
    with_suffix(part, ".source")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn in_use(path: &Path) -> io::Error {
    let why = format!("another process is writing {}; wait for it", path.display());
    io::Error::new(ErrorKind::ResourceBusy, why)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn source(version: &str) -> Source {
        let version = Version::try_from(version.to_owned()).expect("this is a version");
        Source { url: "http://a/".to_owned(), version, total_bytes: Some(9) }
    }

    #[test]
    fn what_has_come_is_there_the_next_time_with_its_source() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let target = folder.path().join("file");
        assert!(Part::find(&target).expect("the folder can be read").is_none());
        let mut part = Part::find_or_create(&target).expect("the folder can be written to");
        part.start(source("\"a\"")).expect("the folder can be written to");
        part.file.write_all(b"start").expect("the folder can be written to");
        drop(part);
        let mut part = Part::find(&target).expect("the folder can be read").expect("it was written");
        assert_eq!(part.have(), Some((&source("\"a\""), 5)));
        part.start(source("\"b\"")).expect("the folder can be written to");
        assert_eq!(part.have(), Some((&source("\"b\""), 0)));
        part.file.write_all(b"other").expect("the folder can be written to");
        part.finish().expect("the folder can be written to");
        assert_eq!(fs::read(&target).expect("it is whole"), b"other");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder can be read").count(), 1);
    }

    #[test]
    fn two_do_not_write_one_part() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let target = folder.path().join("file");
        let first = Part::find_or_create(&target).expect("the folder can be written to");
        let second = Part::find_or_create(&target).expect_err("the first has it");
        assert_eq!(second.kind(), ErrorKind::ResourceBusy);
        drop(first);
        assert!(Part::find_or_create(&target).is_ok());
    }

    #[test]
    fn nothing_of_somebody_else_is_overwritten() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let target = folder.path().join("file");
        let part = folder.path().join("file.part");
        fs::write(&part, "precious").expect("the folder can be written to");
        assert!(Part::find_or_create(&target).is_err(), "there is no source");
        fs::write(folder.path().join("file.part.source"), "{}").expect("the folder can be written to");
        assert!(Part::find_or_create(&target).is_err(), "the source says nothing");
        assert_eq!(fs::read(&part).expect("it is there"), b"precious");
        fs::remove_file(&part).expect("it is there");
        std::os::unix::fs::symlink("elsewhere", &part).expect("links can be made");
        assert!(Part::find_or_create(&target).is_err(), "it is a link");
        assert!(!folder.path().join("elsewhere").exists());
    }
}
