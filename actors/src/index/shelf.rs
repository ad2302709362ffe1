//! The directory `index/` of the server's data. Only this module of the Index uses the disk.
//!
//! A share is two files that must change together. Both are first written as `*.tmp` beside the old ones. Renaming the
//! list of files commits the change: the list has the digest of its keywords, so if the machine stops before the
//! keywords file is renamed too, the next start finds it under its temporary name and renames it. What changes later is
//! appended to a third file, see [`super::journal`].

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use wire::escape::Escaped;
use wire::{Digest, PeerName};

use super::format::{self, Damage, List};
use super::journal::{self, Changes};
use crate::commands::index::{SHARE_TEXT_BYTES_MAX, Share};

/// Room for the header and the end of a list.
const HEADER_BYTES_MAX: u64 = 1024;

const KEYWORDS: &str = ".txt";
const LIST: &str = ".files";
const CHANGES: &str = ".changes";
const TEMPORARY: &str = ".tmp";
const DAMAGED: &str = ".damaged";

/// Why a share was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLoaded {
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("reading it failed: {0}")]
    Unreadable(#[from] io::Error),
}

/// The directory of the shares.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Makes the directory if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made or listed.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        durable::private_directory(&folder)?;
        fs::read_dir(&folder)?;
        Ok(Self { folder })
    }

    /// Reads all shares, each with the size of its changes, until `take` returns false. A damaged one is logged and renamed;
    /// one that cannot be read is logged and left. Nothing may be written meanwhile, because a new share would be taken for
    /// a damaged one.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(super) fn load(&self, mut take: impl FnMut(Share, u64) -> bool) -> io::Result<()> {
        let (owners, temporary) = self.list()?;
        let mut loaded = owners.iter().filter_map(|owner| self.load_or_report(owner));
        if !loaded.all(|(share, changed_bytes)| take(share, changed_bytes)) {
            return Ok(());
        }
        // The rest belongs to shares that were not committed, so they were not acknowledged either.
        for path in temporary.iter().filter(|path| path.exists()) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(target: "index", path = %path.display(), %error, "cannot remove a temporary file");
            }
        }
        Ok(())
    }

    /// The same as an iterator. Temporary files stay.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(super) fn shares(self) -> io::Result<impl Iterator<Item = Share>> {
        let (owners, _) = self.list()?;
        Ok(owners.into_iter().filter_map(move |owner| Some(self.load_or_report(&owner)?.0)))
    }

    fn load_or_report(&self, owner: &PeerName) -> Option<(Share, u64)> {
        self.load_one(owner).inspect_err(|reason| self.report(owner, reason)).ok()
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
                        // Corrects the mode: older versions let everybody read the files.
                        durable::private_file(&path)?;
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

    fn load_one(&self, owner: &PeerName) -> Result<(Share, u64), NotLoaded> {
        let list = read(&self.path(owner, LIST))?.ok_or(Damage::NoList)?;
        let list = format::read_list(&list)?;
        if list.owner().folded() != *owner {
            return Err(Damage::Owner(list.owner().clone()).into());
        }
        self.finish_commit(owner, &list)?;
        let keywords = read(&self.path(owner, KEYWORDS))?.ok_or(Damage::NoKeywords)?;
        let digest = list.digest;
        let mut share = list.with_keywords(&keywords)?;
        let Some(changes) = self.changes(owner, digest)? else {
            self.remove_changes(owner)?;
            return Ok((share, 0));
        };
        let bytes = changes.bytes;
        changes.apply_to(&mut share);
        Ok((share, bytes))
    }

    /// The changes to the list with this digest, if there are any.
    pub(super) fn changes(&self, owner: &PeerName, list: Digest) -> Result<Option<Changes>, NotLoaded> {
        match read(&self.path(owner, CHANGES)) {
            Ok(Some(text)) => Ok(journal::read(&text, list)?),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The digest of the list of an owner.
    pub(super) fn list_digest(&self, owner: &PeerName) -> io::Result<Digest> {
        let mut list = File::open(self.path(owner, LIST))?;
        let length = list.metadata()?.len();
        list.seek(SeekFrom::Start(length.saturating_sub(format::END_BYTES)))?;
        let mut tail = String::new();
        list.take(format::END_BYTES).read_to_string(&mut tail)?;
        let cut_off = || io::Error::new(io::ErrorKind::InvalidData, Damage::ListDigest.to_string());
        format::list_digest(&tail).ok_or_else(cut_off)
    }

    /// The file with the changes of an owner.
    pub(super) fn changes_file(&self, owner: &PeerName) -> io::Result<File> {
        durable::private_file(&self.path(owner, CHANGES))
    }

    fn remove_changes(&self, owner: &PeerName) -> io::Result<()> {
        match fs::remove_file(self.path(owner, CHANGES)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Renames the keywords file if the machine stopped after the list was renamed.
    fn finish_commit(&self, owner: &PeerName, list: &List) -> Result<(), NotLoaded> {
        let path = self.temporary(owner, KEYWORDS);
        match read(&path) {
            Ok(Some(text)) if Digest::of(text.as_bytes()) == list.keywords_sha256 => {
                fs::rename(path, self.path(owner, KEYWORDS))?;
                Ok(self.sync()?)
            }
            // No file, or a part of a share that was not committed.
            Ok(_) | Err(NotLoaded::Damaged(_)) => Ok(()),
            Err(unreadable) => Err(unreadable),
        }
    }

    fn report(&self, owner: &PeerName, reason: &NotLoaded) {
        if let NotLoaded::Unreadable(_) = reason {
            tracing::error!(target: "index", peer = %owner, %reason, "a share could not be loaded");
            return;
        }
        let moved = [LIST, KEYWORDS, CHANGES].map(|kind| {
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

    /// Writes shares, each of another owner. The number of flushes of the directory is three, however many shares there
    /// are. An error of one share does not affect the others.
    pub(super) fn keep(&self, shares: &[Share]) -> Vec<io::Result<()>> {
        let mut results: Vec<_> = shares.iter().map(|_| Ok(())).collect();
        self.step(shares, &mut results, |share| self.prepare(share));
        self.step(shares, &mut results, |share| self.commit(share));
        self.step(shares, &mut results, |share| self.finish(share));
        results
    }

    /// Does one step for each share that has not failed, then makes it durable.
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

    /// First step: writes both files under temporary names.
    pub(super) fn prepare(&self, share: &Share) -> io::Result<()> {
        let replaced = match fs::read(self.path(&share.owner, CHANGES)) {
            Ok(changes) => Some(Digest::of(&changes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let texts = format::render(share, replaced);
        let texts = [(KEYWORDS, texts.keywords), (LIST, texts.list)];
        let written =
            texts.iter().try_for_each(|(kind, text)| write(&self.temporary(&share.owner, kind), text));
        if written.is_err() {
            // Frees the room at once, because the disk may be full.
            for (kind, _) in texts {
                let _ = fs::remove_file(self.temporary(&share.owner, kind));
            }
        }
        written
    }

    /// Second step: renames the list. The new share is valid from here on.
    pub(super) fn commit(&self, share: &Share) -> io::Result<()> {
        fs::rename(self.temporary(&share.owner, LIST), self.path(&share.owner, LIST))
    }

    /// Third step: renames the keywords file, and removes the changes that do not belong to the list any more.
    pub(super) fn finish(&self, share: &Share) -> io::Result<()> {
        let to = self.path(&share.owner, KEYWORDS);
        fs::rename(self.temporary(&share.owner, KEYWORDS), to)?;
        self.remove_changes(&share.owner)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, owner: &PeerName, kind: &str) -> PathBuf {
        // A peer name has no separator, and with the suffix it is neither `.` nor `..`.
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
    let mut file = durable::private_file(path)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Reads a text file; `None` if it does not exist. A file that is longer than a share can be is damaged.
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
