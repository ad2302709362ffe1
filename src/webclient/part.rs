//! The part of a file that has come so far, kept from one call to the next.
//!
//! Beside the file to be there is its start, `NAME.part`, and `NAME.part.source`, which says from where it is and which version
//! of what. No crash leaves bytes of one version under the name of another: a part is emptied, and that is on the disk,
//! before its source is replaced, and that is on the disk before the first byte of the new version is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::save::{create_beside, directory, rename};
use super::version::Version;

/// What a part is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The address of the file. The same version of another file is something else.
    pub(super) url: String,
    /// Which version of it.
    pub(super) version: Version,
    /// How long the whole file is, if the server has said so.
    pub(super) total_bytes: Option<u64>,
}

/// The start of a file, ours alone until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    path: PathBuf,
    target: PathBuf,
    /// None if nothing is known about what is in it, or nothing is.
    source: Option<Source>,
}

impl Part {
    /// The part of `target` that is there; none if none is.
    pub(super) fn find(target: &Path) -> io::Result<Option<Self>> {
        match Self::open(target, false) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The part of `target`, empty if none is there.
    pub(super) fn find_or_create(target: &Path) -> io::Result<Self> {
        Self::open(target, true)
    }

    fn open(target: &Path, create: bool) -> io::Result<Self> {
        let path = with_suffix(target, ".part");
        // Neither through a link that somebody else has put there, nor waiting for the other end of a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(create).custom_flags(flags).open(&path)?;
        let opened = file.metadata()?;
        if !opened.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("{} is no file", path.display())));
        }
        file.try_lock().map_err(|_| in_use(&path))?;
        // Its last owner may have given it its final name in the meantime.
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
            let why =
                format!("{} is there and does not say of what it is a part; remove it", self.path.display());
            io::Error::new(ErrorKind::AlreadyExists, why)
        };
        let text = fs::read(source_path(&self.path)).map_err(foreign)?;
        serde_json::from_slice(&text).map_err(|e| foreign(e.into()))
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is now.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// What it is a part of, and how long it is; none if that is not known or it is empty.
    pub(super) fn have(&self) -> Option<(&Source, u64)> {
        let bytes = self.bytes().ok()?;
        self.source.as_ref().map(|source| (source, bytes))
    }

    /// Empties it, to become a part of `source`.
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

    /// Keeps the first `bytes` only; what is written next comes behind them.
    pub(super) fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }

    /// Gives it the name of the whole file once all of it is on the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        // Alone it means nothing and is in nobody's way.
        let _ = fs::remove_file(source_path(&self.path));
        Ok(())
    }

    /// Removes it: what it is a part of has come in another way, or there is nothing in it.
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
