//! The store's tables in redb.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use wire::PeerName;
use wire::protocol::ServerId;

use crate::commands::store::{Frames, Inventory, Mail, MailboxSize, Ordinal};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const CARDS: TableDefinition<&str, &[u8]> = TableDefinition::new("cards");
const MAIL: TableDefinition<(&str, Ordinal), &[u8]> = TableDefinition::new("mail");

const SERVER_ID: &str = "server";
const FORMAT: &str = "format";
const FORMAT_VERSION: &[u8] = b"1";

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb reports an error of the file or of the system.
    #[error("{path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What redb says.
        source: Box<redb::Error>,
    },
    /// The file was written by another version.
    #[error("{path} was written by another version of the server; keep it and start with another --data")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Something in the file is not what this server writes.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

/// What one transaction does.
#[derive(Debug)]
pub enum Write<'a> {
    /// Keeps a card under a folded name.
    Card(&'a PeerName, &'a [u8]),
    /// Keeps envelopes from a place on.
    Mail(&'a PeerName, Ordinal, &'a Frames),
    /// Drops what is before a place.
    Forget(&'a PeerName, Ordinal),
}

/// The open database.
pub struct Disk {
    path: PathBuf,
    database: Database,
}

impl Disk {
    /// Opens or creates the database at `path`; `new_server_id` names the server if it is created.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, new_server_id: ServerId) -> Result<Self, StoreError> {
        let fail = |source: redb::Error| StoreError::Database { path: path.into(), source: source.into() };
        let database = Database::create(path).map_err(|e| fail(e.into()))?;
        let disk = Self { path: path.into(), database };
        let found = disk.transact(|write| {
            write.open_table(CARDS)?;
            write.open_table(MAIL)?;
            let mut meta = write.open_table(META)?;
            if meta.get(FORMAT)?.is_none() {
                meta.insert(FORMAT, FORMAT_VERSION)?;
                meta.insert(SERVER_ID, new_server_id.as_slice())?;
            }
            let format = meta.get(FORMAT)?.map(|v| v.value().to_vec());
            Ok(format)
        });
        match found.map_err(fail)? {
            Some(format) if format == FORMAT_VERSION => Ok(disk),
            _ => Err(StoreError::Format { path: path.into() }),
        }
    }

    fn transact<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        write.set_two_phase_commit(true);
        let result = work(&write)?;
        write.commit()?;
        Ok(result)
    }

    fn error(&self, source: redb::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), source: source.into() }
    }

    /// Does all of it in one transaction and returns when it is on disk.
    ///
    /// # Errors
    /// [`StoreError`]; then none of it is done.
    pub fn commit(&self, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.transact(|write| {
            let mut cards = write.open_table(CARDS)?;
            let mut mail = write.open_table(MAIL)?;
            for step in writes {
                match step {
                    Write::Card(name, card) => {
                        cards.insert(name.as_str(), *card)?;
                    }
                    Write::Mail(name, first, frames) => {
                        for (ordinal, frame) in (*first..).zip(frames.iter()) {
                            mail.insert((name.as_str(), ordinal), frame.as_ref())?;
                        }
                    }
                    Write::Forget(name, before) => {
                        mail.retain_in((name.as_str(), 0)..(name.as_str(), *before), |_, _| false)?;
                    }
                }
            }
            Ok(())
        })
        .map_err(|e| self.error(e))
    }

    /// Reads places of a mailbox until `bytes_max` are passed. The second value says from where on to read next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fetch(
        &self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Result<(Mail, Option<Ordinal>), StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(MAIL)?;
            let (mut mail, mut bytes) = (Gathered::default(), 0);
            for entry in table.range((name.as_str(), places.start)..(name.as_str(), places.end))? {
                let (key, frame) = entry?;
                let ordinal = key.value().1;
                if bytes >= bytes_max {
                    return Ok((mail.finish(), Some(ordinal)));
                }
                bytes += frame.value().len();
                mail.push(ordinal, frame.value());
            }
            Ok((mail.finish(), None))
        };
        read().map_err(|e| self.error(e))
    }

    /// All that the Router has to know when the server starts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let damaged = |what: String| StoreError::Damaged { path: self.path.clone(), what };
        let (server, cards, sizes) = self.read_inventory().map_err(|e| self.error(e))?;
        let name = |text: String| -> Result<PeerName, StoreError> {
            text.parse().map_err(|e| damaged(format!("the name {text:?}: {e}")))
        };
        let server = server.try_into().map_err(|_| damaged("the server's identity".into()))?;
        let mut inventory = Inventory { server, ..Inventory::default() };
        for (owner, card) in cards {
            inventory.cards.push((name(owner)?, card));
        }
        for (owner, (envelopes, bytes, end)) in sizes {
            inventory.mailboxes.push(MailboxSize { name: name(owner)?, envelopes, bytes, end });
        }
        Ok(inventory)
    }

    #[allow(clippy::type_complexity)]
    fn read_inventory(
        &self,
    ) -> Result<(Vec<u8>, Vec<(String, Vec<u8>)>, BTreeMap<String, (u64, u64, Ordinal)>), redb::Error> {
        let read = self.database.begin_read()?;
        let server = read.open_table(META)?.get(SERVER_ID)?.map(|v| v.value().to_vec());
        let mut cards = Vec::new();
        for entry in read.open_table(CARDS)?.iter()? {
            let (name, card) = entry?;
            cards.push((name.value().to_owned(), card.value().to_vec()));
        }
        let mut sizes: BTreeMap<String, (u64, u64, Ordinal)> = BTreeMap::new();
        for entry in read.open_table(MAIL)?.iter()? {
            let (key, frame) = entry?;
            let (name, ordinal) = key.value();
            let length = frame.value().len() as u64;
            match sizes.get_mut(name) {
                Some(size) => *size = (size.0 + 1, size.1 + length, ordinal + 1),
                None => {
                    sizes.insert(name.to_owned(), (1, length, ordinal + 1));
                }
            }
        }
        Ok((server.unwrap_or_default(), cards, sizes))
    }
}

/// Puts envelopes whose places follow one another behind each other.
#[derive(Default)]
struct Gathered {
    done: Mail,
    first: Ordinal,
    lengths: Vec<u32>,
    bytes: Vec<u8>,
}

impl Gathered {
    fn push(&mut self, ordinal: Ordinal, frame: &[u8]) {
        if ordinal != self.first + self.lengths.len() as u64 {
            self.close();
            self.first = ordinal;
        }
        self.lengths.push(u32::try_from(frame.len()).expect("a frame is at most 1 MiB"));
        self.bytes.extend_from_slice(frame);
    }

    fn close(&mut self) {
        if !self.lengths.is_empty() {
            let (lengths, bytes) = (std::mem::take(&mut self.lengths), std::mem::take(&mut self.bytes));
            self.done.push((self.first, Frames { lengths, bytes: bytes.into() }));
        }
    }

    fn finish(mut self) -> Mail {
        self.close();
        self.done
    }
}
