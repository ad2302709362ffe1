//! Recovers a damaged store: copies what can be read into a new one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use durable::{Database, Error as StoreError, catch_quietly};
use redb::{AccessGuard, ReadableTable as _};
use wire::PeerName;
use wire::protocol::ServerId;

use super::core::Write;
use super::disk::{CARDS, Disk, MAIL, MailKey, OPTIONS, read_cards};
use super::parcel::sender_of;
use crate::commands::store::{Frames, Inventory, Ordinal};
use crate::runtime::Now;

/// The number of records that are copied in one transaction: at most 1 GiB, usually a few MiB.
const CHUNK_RECORDS: usize = 1000;

/// Opens the store at `path` and reads its inventory. If the file is damaged but all cards can be read, a new store with
/// the cards and the readable mail replaces it, and the damaged file is kept beside it.
///
/// All cards are required, because a name without a card is free: whoever takes it receives the mail for it. Mail may be
/// missing: the new store has a new identity, `new_server_id`, so senders send everything again for which they have no
/// receipt.
///
/// # Errors
/// [`StoreError`]; a damaged file is then as it was.
pub(super) fn open(path: &Path, new_server_id: ServerId) -> Result<(Disk, Inventory), StoreError> {
    match open_whole(path, new_server_id) {
        Err(damage @ StoreError::Damaged { .. }) => Recovery::new(path).run(new_server_id).map_err(|error| {
            tracing::error!(target: "store", %error, "the damaged store cannot be recovered");
            damage
        }),
        opened => opened,
    }
}

fn open_whole(path: &Path, new_server_id: ServerId) -> Result<(Disk, Inventory), StoreError> {
    let disk = Disk::open(path, new_server_id)?;
    let inventory = disk.inventory()?;
    Ok((disk, inventory))
}

struct Recovery<'a> {
    path: &'a Path,
    /// Holds the new store until it is complete, and a copy of the damaged one to read: redb changes a file that it opens.
    directory: PathBuf,
}

impl<'a> Recovery<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, directory: path.with_extension("recovery") }
    }

    fn run(&self, new_server_id: ServerId) -> Result<(Disk, Inventory), StoreError> {
        // An earlier recovery that crashed may have left it. If it cannot be removed, the next step fails with an
        // error.
        let _ = std::fs::remove_dir_all(&self.directory);
        let replaced = self.replace(new_server_id);
        let _ = std::fs::remove_dir_all(&self.directory);
        let (envelopes, kept) = replaced?;
        let (disk, inventory) = open_whole(self.path, new_server_id)?;
        tracing::error!(
            target: "store", path = %self.path.display(), kept = %kept.display(),
            names = inventory.cards.len(), envelopes,
            "the store was damaged; it is replaced by a new one with all names and the mail that could be read; \
             peers send the rest again when they connect; the damaged file is kept"
        );
        Ok((disk, inventory))
    }

    /// Replaces the damaged file. Returns how many envelopes the new one has, and where the damaged one is kept.
    fn replace(&self, new_server_id: ServerId) -> Result<(u64, PathBuf), StoreError> {
        let io = |e: io::Error| StoreError::Database { path: self.path.into(), source: Box::new(e.into()) };
        let (new, copy) = (self.directory.join("store.redb"), self.directory.join("damaged.redb"));
        durable::private_directory(&self.directory).map_err(io)?;
        std::fs::copy(self.path, &copy).map_err(io)?;
        let envelopes = fill(&Disk::open(&new, new_server_id)?, &Database::open_damaged(&copy, OPTIONS)?)?;
        let kept = self.keep_damaged().map_err(io)?;
        std::fs::rename(&new, self.path).map_err(io)?;
        let directory = File::open(self.path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        directory.sync_all().map_err(io)?;
        Ok((envelopes, kept))
    }

    /// Gives the damaged file a second name. Returns that name.
    fn keep_damaged(&self) -> io::Result<PathBuf> {
        let mut number = 1;
        loop {
            let kept = self.path.with_extension(format!("damaged-{number}"));
            match std::fs::hard_link(self.path, &kept) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                linked => return linked.map(|()| kept),
            }
        }
    }
}

/// Copies cards and mail. Returns how many envelopes could be read.
fn fill(new: &Disk, damaged: &Database) -> Result<u64, StoreError> {
    damaged.read(|read| {
        let cards = read_cards(&read.open_table(CARDS)?)?;
        Ok(copy_cards(new, damaged, &cards).and_then(|()| {
            let mut copier = Copier { new, chunk: Vec::new(), last: None, envelopes: 0 };
            // An unreadable page ends the first pass, so a second pass starts at the other end.
            let _ = catch_quietly(|| copier.copy(read.open_table(MAIL)?.iter()?, None));
            copier.flush()?;
            let last = copier.last.clone();
            let _ = catch_quietly(|| copier.copy(read.open_table(MAIL)?.iter()?.rev(), last.as_ref()));
            copier.flush()?;
            Ok(copier.envelopes)
        }))
    })?
}

fn copy_cards(new: &Disk, damaged: &Database, cards: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
    let names = cards.iter().map(|(name, _)| name.parse()).collect::<Result<Vec<PeerName>, _>>();
    let names = names.map_err(|e| damaged.damaged(format!("a name: {e}")))?;
    let writes: Vec<_> = names.iter().zip(cards).map(|(name, (_, card))| Write::Card(name, card)).collect();
    new.write(&writes).map(drop)
}

struct Copier<'a> {
    new: &'a Disk,
    /// Records that are not written yet.
    chunk: Vec<(PeerName, Ordinal, Frames)>,
    /// The last record that was read.
    last: Option<(PeerName, Ordinal)>,
    envelopes: u64,
}

/// What reading the table of mail yields.
type Entry<'a> = Result<(AccessGuard<'a, MailKey>, AccessGuard<'a, &'static [u8]>), redb::StorageError>;

impl Copier<'_> {
    /// Copies until something cannot be read, or until the record `end`.
    fn copy<'e>(
        &mut self,
        entries: impl Iterator<Item = Entry<'e>>,
        end: Option<&(PeerName, Ordinal)>,
    ) -> Result<(), redb::Error> {
        for entry in entries {
            let (key, record) = entry?;
            let (name, ordinal) = key.value();
            let Ok(name) = name.parse::<PeerName>() else { continue };
            let place = (name.clone(), ordinal);
            if end == Some(&place) {
                break;
            }
            self.chunk.push((name, ordinal, Frames::of(Bytes::copy_from_slice(record.value()))));
            self.last = Some(place);
            if self.chunk.len() >= CHUNK_RECORDS && self.flush().is_err() {
                // Writing fails again after this, and that is reported.
                break;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        // The parcels may be damaged too. So the sender is taken from each envelope, and the time of acceptance is now.
        let at = Now::read().unix();
        let senders: Vec<_> =
            self.chunk.iter().map(|(name, _, frames)| sender_of(frames, name.as_str())).collect();
        let chunk = self.chunk.iter().zip(&senders);
        let writes: Vec<_> = chunk
            .map(|((name, ordinal, frames), sender)| Write::Mail(name, *ordinal, frames, sender, at))
            .collect();
        self.new.write(&writes)?;
        self.envelopes += self.chunk.iter().map(|(_, _, frames)| frames.count()).sum::<u64>();
        self.chunk.clear();
        Ok(())
    }
}
