//! The folder `index/` of the server's data: the only place of the Index that touches the disk.
//!
//! A share is two files, and both must change together. They are written beside the old ones as `*.tmp` first. Renaming
//! the list of files is what commits: it holds the digest of its keywords, so if the machine stops before the keywords
//! are renamed too, the next start finds them under their temporary name and finishes the work.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use wire::escape::Escaped;
use wire::{Digest, PeerName};

use super::format::{self, Damage, List};
use super::staging::Share;
use crate::commands::index::SHARE_TEXT_BYTES_MAX;

/// Room for the lines of a list that do not name a file.
const HEADER_BYTES_MAX: u64 = 1024;

const KEYWORDS: &str = ".txt";
const LIST: &str = ".files";
const TEMPORARY: &str = ".tmp";
const DAMAGED: &str = ".damaged";

/// Why a share was not loaded.
#[derive(Debug, thiserror::Error)]
enum NotLoaded {
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("reading it failed: {0}")]
    Unreadable(#[from] io::Error),
}

/// The folder in which shares are kept.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Makes the folder unless it is there.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Reads all shares. One that is damaged is logged and moved aside; one that cannot be read now is logged and left.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub(super) fn load(&self, mut take: impl FnMut(Share)) -> io::Result<()> {
        let (owners, temporary) = self.list()?;
        for owner in owners {
            match self.load_one(&owner) {
                Ok(share) => take(share),
                Err(reason) => self.report(&owner, &reason),
            }
        }
        // What was not needed to finish a commit was never acknowledged.
        for path in temporary.iter().filter(|path| path.exists()) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(target: "index", path = %path.display(), %error, "cannot remove a temporary file");
            }
        }
        Ok(())
    }

    /// The owners of all shares, and the temporary files.
    fn list(&self) -> io::Result<(BTreeSet<PeerName>, Vec<PathBuf>)> {
        let mut owners = BTreeSet::new();
        let mut temporary = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name.ends_with(TEMPORARY) {
                temporary.push(path);
            } else if let Some(stem) = name.strip_suffix(KEYWORDS).or(name.strip_suffix(LIST)) {
                match stem.parse::<PeerName>() {
                    Ok(owner) if owner == owner.folded() => {
                        owners.insert(owner);
                    }
                    _ => {
                        tracing::warn!(target: "index", file = %Escaped(name), "not the name of a share; left alone");
                    }
                }
            }
        }
        Ok((owners, temporary))
    }

    fn load_one(&self, owner: &PeerName) -> Result<Share, NotLoaded> {
        let list = read(&self.path(owner, LIST))?.ok_or(Damage::NoList)?;
        let list = format::read_list(&list)?;
        if list.owner().folded() != *owner {
            return Err(Damage::Owner(list.owner().clone()).into());
        }
        self.finish_commit(owner, &list)?;
        let keywords = read(&self.path(owner, KEYWORDS))?.ok_or(Damage::NoKeywords)?;
        Ok(list.with_keywords(&keywords)?)
    }

    /// Gives keywords their name if the machine stopped after the list had got its own.
    fn finish_commit(&self, owner: &PeerName, list: &List) -> Result<(), NotLoaded> {
        let path = self.temporary(owner, KEYWORDS);
        match read(&path) {
            Ok(Some(text)) if Digest::of(text.as_bytes()) == list.keywords_sha256 => {
                fs::rename(path, self.path(owner, KEYWORDS))?;
                Ok(self.sync()?)
            }
            // Nothing there, or part of a share that was never committed.
            Ok(_) | Err(NotLoaded::Damaged(_)) => Ok(()),
            Err(unreadable) => Err(unreadable),
        }
    }

    fn report(&self, owner: &PeerName, reason: &NotLoaded) {
        if let NotLoaded::Unreadable(_) = reason {
            tracing::error!(target: "index", peer = %owner, %reason, "a share could not be loaded");
            return;
        }
        let moved = [LIST, KEYWORDS].map(|kind| {
            let path = self.path(owner, kind);
            fs::rename(&path, appended(&path, DAMAGED))
        });
        let stuck = moved
            .into_iter()
            .filter_map(Result::err)
            .find(|error| error.kind() != io::ErrorKind::NotFound)
            .map(tracing::field::display);
        tracing::error!(
            target: "index", peer = %owner, %reason, stuck,
            "a share is damaged and moved aside to *.damaged; its owner will publish it again"
        );
    }

    /// Keeps shares, each of another owner. It costs three flushes of the folder however many there are, and a share that
    /// fails does not hinder the others.
    pub(super) fn keep(&self, shares: &[Share]) -> Vec<io::Result<()>> {
        let mut results: Vec<_> = shares.iter().map(|_| Ok(())).collect();
        self.step(shares, &mut results, |share| self.prepare(share));
        self.step(shares, &mut results, |share| self.commit(share));
        self.step(shares, &mut results, |share| self.finish(share));
        results
    }

    /// Takes one step for each share that has not failed, and then makes the steps durable.
    fn step(
        &self,
        shares: &[Share],
        results: &mut [io::Result<()>],
        take: impl Fn(&Share) -> io::Result<()>,
    ) {
        for (share, result) in shares.iter().zip(results.iter_mut()) {
            if result.is_ok() {
                *result = take(share);
            }
        }
        if let Err(error) = self.sync() {
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(io::Error::new(error.kind(), error.to_string()));
            }
        }
    }

    /// First step: both texts are on disk under temporary names.
    pub(super) fn prepare(&self, share: &Share) -> io::Result<()> {
        let texts = format::render(share);
        let texts = [(KEYWORDS, texts.keywords), (LIST, texts.list)];
        let written =
            texts.iter().try_for_each(|(kind, text)| write(&self.temporary(&share.owner, kind), text));
        if written.is_err() {
            // The disk may be full; at the latest the next start would remove them.
            for (kind, _) in texts {
                let _ = fs::remove_file(self.temporary(&share.owner, kind));
            }
        }
        written
    }

    /// Second step: the share is the new one from here on.
    pub(super) fn commit(&self, share: &Share) -> io::Result<()> {
        fs::rename(self.temporary(&share.owner, LIST), self.path(&share.owner, LIST))
    }

    /// Third step: the keywords get their name.
    pub(super) fn finish(&self, share: &Share) -> io::Result<()> {
        let to = self.path(&share.owner, KEYWORDS);
        fs::rename(self.temporary(&share.owner, KEYWORDS), to)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, owner: &PeerName, kind: &str) -> PathBuf {
        // A name has no separator, and with the kind behind it is neither `.` nor `..`.
        self.folder.join(format!("{}{kind}", owner.folded()))
    }

    fn temporary(&self, owner: &PeerName, kind: &str) -> PathBuf {
        appended(&self.path(owner, kind), TEMPORARY)
    }
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Reads a text that is not longer than a share can be, or nothing if it is not there.
fn read(path: &Path) -> Result<Option<String>, NotLoaded> {
    const BYTES_MAX: u64 = SHARE_TEXT_BYTES_MAX + HEADER_BYTES_MAX;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Damage::TooLong.into());
    }
    Ok(Some(String::from_utf8(bytes).map_err(|_| Damage::NotText)?))
}
