//! The tables of the store in redb.

use std::borrow::Borrow;
use std::path::Path;

use durable::{Database, Error as StoreError, Options};
use redb::{ReadableTable, TableDefinition, TableHandle as _, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::conversation::ConversationId;
use wire::protocol::ServerId;
use wire::{Digest, PeerName};

use crate::peer::records::{
    ContactRecord, Direction, HistoryRecord, IncomingRecord, LateRecord, OutboxKey, OutboxRecord,
    OutgoingRecord, Write,
};

type Bytes = &'static [u8];
type HistoryKey = (&'static str, u8, u64, u64);

const CONTACTS: TableDefinition<&str, Bytes> = TableDefinition::new("contacts");
const OUTBOX: TableDefinition<(&str, u64), Bytes> = TableDefinition::new("outbox");
const OUTGOING: TableDefinition<&[u8; 32], Bytes> = TableDefinition::new("outgoing");
const INCOMING: TableDefinition<&[u8; 32], Bytes> = TableDefinition::new("incoming");
/// The key is: the other peer, the direction, the generation of their identity key (numbers start again with a new
/// key), the number.
const HISTORY: TableDefinition<HistoryKey, Bytes> = TableDefinition::new("history");
/// The messages of the outbox that a server has stored, with the id of that server.
const STORED: TableDefinition<(&str, u64), &[u8; 16]> = TableDefinition::new("stored");
/// Received messages by their place in the order of arrival: the folded name of the sender, generation and number. Those
/// before the place in [`SHOWN`] have been shown.
const UNSHOWN: TableDefinition<u64, (&str, u64, u64)> = TableDefinition::new("unshown");
const SHOWN: TableDefinition<(), u64> = TableDefinition::new("shown");

/// Mail that came too late for its key and has not come again, by folded name of the sender.
const LATE: TableDefinition<&str, Bytes> = TableDefinition::new("late");

const OPTIONS: Options = Options {
    // The engine keeps the records that it needs often, so the cache only serves the pages of one commit.
    cache_bytes: 8 << 20,
    lost: "the outbox, the history and the message numbers",
};

/// The open store.
pub struct Store(Database);

impl Store {
    /// Opens or creates the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Database::open(path, OPTIONS)?)
    }

    /// A store in memory, for tests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Database::with_backend(OPTIONS, redb::backends::InMemoryBackend::new)?)
    }

    /// Creates the tables, because reading a table that does not exist is an error.
    fn prepare(database: Database) -> Result<Self, StoreError> {
        database.write(|write| Tables::open(write).map(drop))?;
        Ok(Self(database))
    }

    fn decode<T: DeserializeOwned>(&self, table: &str, bytes: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(bytes)
            .map_err(|_| self.0.damaged(format!("a record of {table} cannot be decoded")))
    }

    /// Makes all changes in one transaction, which is on the disk when this returns. After an error, for example on a
    /// full disk, it can be called again.
    ///
    /// # Errors
    /// [`StoreError`]; see [`Database::write`].
    pub fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.0.write(|write| {
            let mut tables = Tables::open(write)?;
            writes.iter().try_for_each(|change| tables.apply(change))
        })
    }

    /// All contacts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn contacts(&self) -> Result<Vec<ContactRecord>, StoreError> {
        Ok(self.all(CONTACTS, |_| ())?.into_iter().map(|(_, record)| record).collect())
    }

    /// The conversations that this peer has opened and that have messages in the outbox.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outgoing(&self) -> Result<Vec<(ConversationId, OutgoingRecord)>, StoreError> {
        self.all(OUTGOING, |key| Digest(*key))
    }

    /// A conversation that another peer has opened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, StoreError> {
        self.one(INCOMING, &id.0)
    }

    /// The outbox, by folded name of the recipient and number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(&self) -> Result<Vec<(OutboxKey, OutboxRecord)>, StoreError> {
        self.all(OUTBOX, |(name, number)| (name.to_owned(), number))
    }

    /// The messages of the outbox that a server has stored, by folded name of the recipient and number, and which server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stored(&self) -> Result<Vec<(OutboxKey, ServerId)>, StoreError> {
        self.0.read(|read| {
            let table = read.open_table(STORED)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (key, server) = entry?;
                let (name, number) = key.value();
                found.push(((name.to_owned(), number), *server.value()));
            }
            Ok(found)
        })
    }

    /// One message of the outbox.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox_entry(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, StoreError> {
        self.one(OUTBOX, (to.folded().as_str(), number))
    }

    /// All messages with one peer, or with all, ordered by the time at which they were written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history(&self, with: Option<&PeerName>) -> Result<Vec<HistoryRecord>, StoreError> {
        let mut records: Vec<HistoryRecord> =
            self.all(HISTORY, |_| ())?.into_iter().map(|(_, record)| record).collect();
        if let Some(with) = with {
            records.retain(|r: &HistoryRecord| r.with.folded() == with.folded());
        }
        records.sort_by(|a, b| {
            (a.written_at, &a.with, a.direction, a.number).cmp(&(
                b.written_at,
                &b.with,
                b.direction,
                b.number,
            ))
        });
        Ok(records)
    }

    /// A received message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<HistoryRecord>, StoreError> {
        self.one(HISTORY, (from.folded().as_str(), Direction::Received as u8, generation, number))
    }

    /// The place of the next received message in the order of arrival, and the place of the first that was not shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn arrivals(&self) -> Result<(u64, u64), StoreError> {
        self.0.read(|read| {
            let shown = read.open_table(SHOWN)?.get(())?.map_or(0, |place| place.value());
            let last = read.open_table(UNSHOWN)?.last()?.map(|(place, _)| place.value());
            Ok((last.map_or(shown, |last| shown.max(last + 1)), shown))
        })
    }

    /// The first received message at this place in the order of arrival or behind it, and its place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, StoreError> {
        let found = self.0.read(|read| {
            let (unshown, history) = (read.open_table(UNSHOWN)?, read.open_table(HISTORY)?);
            for entry in unshown.range(place..)? {
                let (place, value) = entry?;
                let (name, generation, number) = value.value();
                if let Some(record) = history.get((name, Direction::Received as u8, generation, number))? {
                    return Ok(Some((place.value(), record.value().to_vec())));
                }
            }
            Ok(None)
        })?;
        found.map(|(place, bytes)| Ok((place, self.decode(HISTORY.name(), &bytes)?))).transpose()
    }

    /// Mail that came too late for its key and has not come again, by folded name of the sender.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn late(&self) -> Result<Vec<(String, LateRecord)>, StoreError> {
        self.all(LATE, str::to_owned)
    }

    fn one<'k, K, T>(
        &self,
        table: TableDefinition<'static, K, Bytes>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<T>, StoreError>
    where
        K: redb::Key + 'static,
        T: DeserializeOwned,
    {
        let found = self.0.read(|read| {
            let value = read.open_table(table)?.get(key)?;
            Ok(value.map(|value| value.value().to_vec()))
        })?;
        found.map(|bytes| self.decode(table.name(), &bytes)).transpose()
    }

    fn all<K, T, R>(
        &self,
        table: TableDefinition<'static, K, Bytes>,
        key: impl Fn(K::SelfType<'_>) -> R,
    ) -> Result<Vec<(R, T)>, StoreError>
    where
        K: redb::Key + 'static,
        T: DeserializeOwned,
    {
        let found = self.0.read(|read| {
            let mut found = Vec::new();
            for entry in read.open_table(table)?.iter()? {
                let (k, value) = entry?;
                found.push((key(k.value()), value.value().to_vec()));
            }
            Ok(found)
        })?;
        found.into_iter().map(|(key, bytes)| Ok((key, self.decode(table.name(), &bytes)?))).collect()
    }
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records contain nothing that postcard refuses")
}

/// The tables of one transaction.
struct Tables<'t> {
    contacts: redb::Table<'t, &'static str, Bytes>,
    outbox: redb::Table<'t, (&'static str, u64), Bytes>,
    outgoing: redb::Table<'t, &'static [u8; 32], Bytes>,
    incoming: redb::Table<'t, &'static [u8; 32], Bytes>,
    history: redb::Table<'t, HistoryKey, Bytes>,
    unshown: redb::Table<'t, u64, (&'static str, u64, u64)>,
    shown: redb::Table<'t, (), u64>,
    stored: redb::Table<'t, (&'static str, u64), &'static [u8; 16]>,
    late: redb::Table<'t, &'static str, Bytes>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            contacts: write.open_table(CONTACTS)?,
            outbox: write.open_table(OUTBOX)?,
            outgoing: write.open_table(OUTGOING)?,
            incoming: write.open_table(INCOMING)?,
            history: write.open_table(HISTORY)?,
            unshown: write.open_table(UNSHOWN)?,
            shown: write.open_table(SHOWN)?,
            stored: write.open_table(STORED)?,
            late: write.open_table(LATE)?,
        })
    }

    fn apply(&mut self, change: &Write) -> Result<(), redb::Error> {
        match change {
            Write::Contact(record) => {
                self.contacts.insert(record.name.folded().as_str(), encode(record).as_slice())?;
            }
            Write::Outbox(to, number, record) => {
                // The record is written again when the message is sealed again; no server has stored that.
                self.stored.remove((to.folded().as_str(), *number))?;
                self.outbox.insert((to.folded().as_str(), *number), encode(record).as_slice())?;
            }
            Write::Stored(to, number, server) => {
                self.stored.insert((to.folded().as_str(), *number), server)?;
            }
            Write::Delivered(to, number) => self.delivered(to, *number)?,
            Write::Cancelled(to, number) => {
                let name = to.folded();
                self.outbox.remove((name.as_str(), *number))?;
                self.history.remove((name.as_str(), Direction::Sent as u8, 0, *number))?;
            }
            Write::Outgoing(id, record) => {
                self.outgoing.insert(&id.0, encode(record).as_slice())?;
            }
            Write::OutgoingDone(id) => {
                self.outgoing.remove(&id.0)?;
            }
            Write::Incoming(id, record) => {
                self.incoming.insert(&id.0, encode(record).as_slice())?;
            }
            Write::IncomingGone(from) => {
                let is_other = |bytes: &[u8]| {
                    postcard::from_bytes::<IncomingRecord>(bytes)
                        .map_or(true, |record| !record.from.as_str().eq_ignore_ascii_case(from.as_str()))
                };
                self.incoming.retain(|_, bytes| is_other(bytes))?;
            }
            Write::History(record) => {
                let name = record.with.folded();
                let key = (name.as_str(), record.direction as u8, record.generation, record.number);
                self.history.insert(key, encode(record).as_slice())?;
            }
            Write::Arrived(place, from, generation, number) => {
                self.unshown.insert(place, (from.folded().as_str(), *generation, *number))?;
            }
            Write::Shown { before, forget } => {
                self.shown.insert((), before)?;
                self.unshown.retain_in::<u64, _>(..forget, |_, _| false)?;
            }
            Write::Late(from, Some(late)) => {
                self.late.insert(from.folded().as_str(), encode(late).as_slice())?;
            }
            Write::Late(from, None) => {
                self.late.remove(from.folded().as_str())?;
            }
        }
        Ok(())
    }

    fn delivered(&mut self, to: &PeerName, number: u64) -> Result<(), redb::Error> {
        let name = to.folded();
        self.outbox.remove((name.as_str(), number))?;
        self.stored.remove((name.as_str(), number))?;
        let key = (name.as_str(), Direction::Sent as u8, 0, number);
        let record = self.history.get(key)?.map(|v| v.value().to_vec());
        if let Some(mut record) = record.and_then(|bytes| postcard::from_bytes::<HistoryRecord>(&bytes).ok())
        {
            record.delivered = true;
            self.history.insert(key, encode(&record).as_slice())?;
        }
        Ok(())
    }
}
