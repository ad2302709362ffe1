//! The tables of the store in redb.

use std::borrow::Borrow;

use durable::{Database, Error as StoreError, Options};
use redb::{ReadableTable, TableDefinition, TableHandle as _};
use serde::de::DeserializeOwned;
use wire::conversation::{ConversationId, MessageId};
use wire::keys::Secret;
use wire::protocol::ServerId;
use wire::{Digest, PeerName};

use super::seal::Seal;
use super::transaction::Tables;
use crate::peer::folder::Folder;
use crate::peer::home::Numbers;
use crate::peer::records::{
    ContactRecord, Direction, HistoryRecord, IncomingRecord, LateRecord, OutboxKey, OutboxRecord,
    OutgoingRecord, Write,
};

pub(super) const STORE: &str = "store.redb";

pub(super) type Bytes = &'static [u8];
pub(super) type HistoryKey = (&'static str, u8, u64, u64);

pub(super) const CONTACTS: TableDefinition<&str, Bytes> = TableDefinition::new("contacts");
pub(super) const OUTBOX: TableDefinition<(&str, u64), Bytes> = TableDefinition::new("outbox");
pub(super) const OUTGOING: TableDefinition<&[u8; 32], Bytes> = TableDefinition::new("outgoing");
pub(super) const INCOMING: TableDefinition<&[u8; 32], Bytes> = TableDefinition::new("incoming");
/// The key is: the other peer, the direction, the generation of their identity key (numbers start again with a new
/// key), the number.
pub(super) const HISTORY: TableDefinition<HistoryKey, Bytes> = TableDefinition::new("history");
/// The messages of the outbox that a server has stored, with the id of that server.
pub(super) const STORED: TableDefinition<(&str, u64), &[u8; 16]> = TableDefinition::new("stored");
/// Received messages by their place in the order of arrival: the folded name of the sender, the generation and the
/// number. Those before the place in [`SHOWN`] were shown.
pub(super) const UNSHOWN: TableDefinition<u64, (&str, u64, u64)> = TableDefinition::new("unshown");
pub(super) const SHOWN: TableDefinition<(), u64> = TableDefinition::new("shown");

/// Mail that came after its key was destroyed and that has not come again, by folded name of the sender.
pub(super) const LATE: TableDefinition<&str, Bytes> = TableDefinition::new("late");
/// The ids of received messages whose texts are not kept, by folded name of the sender, generation and number. They are
/// needed to recognise a message that comes again.
pub(super) const RECEIVED: TableDefinition<(&str, u64, u64), &[u8; 16]> = TableDefinition::new("received");
/// If the records are encrypted, an empty record. It can only be decrypted with the right key.
pub(super) const SEALED: TableDefinition<(), Bytes> = TableDefinition::new("sealed");

pub(super) const OPTIONS: Options = Options {
    // The engine keeps the records that it needs often, so the cache only serves the pages of one commit.
    cache_bytes: 8 << 20,
    lost: "the outbox, the history and the message numbers",
};

pub struct Store {
    pub(super) database: Database,
    pub(super) seal: Seal,
    pub(super) keeps_history: bool,
}

impl Store {
    /// Opens or creates the store in a peer's private folder. Its records are encrypted under `key`, if there is one. A
    /// store that was not encrypted so far is rewritten.
    ///
    /// Without `keeps_history`, messages are removed once they are shown or delivered, also those of earlier runs. The
    /// number and the id of a received message are kept.
    pub(in crate::peer) fn open(
        private: &Folder,
        key: Option<&Secret>,
        keeps_history: bool,
    ) -> Result<Self, StoreError> {
        let mut store = Self::open_as_it_is(private, key)?;
        store.keeps_history = keeps_history;
        let is_to_be_sealed = key.is_some() && store.seal.is_none();
        if is_to_be_sealed || !keeps_history {
            store.rewrite(private, Seal::new(key))?;
            store = Self::open_as_it_is(private, key)?;
            store.keeps_history = keeps_history;
        }
        Ok(store)
    }

    /// Closes the store. Without history, the texts of removed messages are overwritten on the disk.
    ///
    /// # Errors
    /// [`StoreError`]; then they are overwritten at the next start without history.
    pub(in crate::peer) fn close(mut self, private: &Folder) -> Result<(), StoreError> {
        if self.keeps_history {
            return Ok(());
        }
        let seal = std::mem::take(&mut self.seal);
        self.rewrite(private, seal)
    }

    fn open_as_it_is(private: &Folder, key: Option<&Secret>) -> Result<Self, StoreError> {
        let database = Database::open(&private.path().join(STORE), OPTIONS)?;
        let mut store = Self::prepare(database)?;
        let check = store.database.read(|read| {
            let check = read.open_table(SEALED)?.get(())?;
            Ok(check.map(|check| check.value().to_vec()))
        })?;
        let Some(check) = check else { return Ok(store) };
        store.seal = Seal::new(key);
        match (key, store.seal.open(SEALED.name(), &[], &check)) {
            (Some(_), Some(_)) => Ok(store),
            (Some(_), None) => {
                Err(store.database.damaged("it was sealed under another key than that in store.key"))
            }
            (None, _) => Err(store.database.damaged("it is sealed, and store.key with its key is missing")),
        }
    }

    /// A store in memory, for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Database::with_backend(OPTIONS, redb::backends::InMemoryBackend::new)?)
    }

    /// Creates the tables, because reading a table that does not exist is an error.
    fn prepare(database: Database) -> Result<Self, StoreError> {
        let seal = Seal::default();
        database.write(|write| {
            write.open_table(SEALED)?;
            Tables::open(write, &seal, true).map(drop)
        })?;
        Ok(Self { database, seal, keeps_history: true })
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
        self.database.write(|write| {
            let mut tables = Tables::open(write, &self.seal, self.keeps_history)?;
            writes.iter().try_for_each(|change| tables.apply(change))
        })
    }

    pub fn contacts(&self) -> Result<Vec<ContactRecord>, StoreError> {
        self.all(CONTACTS, |_, record| record)
    }

    /// The conversations that this peer has opened and that have messages in the outbox.
    pub fn outgoing(&self) -> Result<Vec<(ConversationId, OutgoingRecord)>, StoreError> {
        self.all(OUTGOING, |key, record| (Digest(*key), record))
    }

    /// All conversations that other peers have opened, without their openings.
    pub fn accepted(&self) -> Result<Vec<(ConversationId, IncomingRecord)>, StoreError> {
        self.all(INCOMING, |key, record| (Digest(*key), IncomingRecord { opening: Vec::new(), ..record }))
    }

    /// A conversation that another peer has opened.
    pub fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, StoreError> {
        self.one(INCOMING, &id.0)
    }

    /// The outbox, by folded name of the recipient and number.
    pub fn outbox(&self) -> Result<Vec<(OutboxKey, OutboxRecord)>, StoreError> {
        self.all(OUTBOX, |(name, number), record| ((name.to_owned(), number), record))
    }

    /// The messages of the outbox that a server has stored, by folded name of the recipient and number, and which server.
    pub fn stored(&self) -> Result<Vec<(OutboxKey, ServerId)>, StoreError> {
        self.database.read(|read| {
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

    pub fn outbox_entry(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, StoreError> {
        self.one(OUTBOX, (to.folded().as_str(), number))
    }

    /// All messages with one peer, or with all, ordered by the time at which they were written.
    pub fn history(&self, with: Option<&PeerName>) -> Result<Vec<HistoryRecord>, StoreError> {
        let mut records: Vec<HistoryRecord> = self.all(HISTORY, |_, record| record)?;
        records.retain(|r| with.is_none_or(|with| r.with.folded() == with.folded()));
        self.database.read(|read| {
            let outbox = read.open_table(OUTBOX)?;
            for record in records.iter_mut().filter(|record| record.direction == Direction::Sent) {
                record.delivered = outbox.get((record.with.folded().as_str(), record.number))?.is_none();
            }
            Ok(())
        })?;
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

    /// The id of a received message.
    pub fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<MessageId>, StoreError> {
        let name = from.folded();
        let key = (name.as_str(), Direction::Received as u8, generation, number);
        if let Some(record) = self.one::<_, HistoryRecord>(HISTORY, key)? {
            return Ok(Some(record.id));
        }
        self.database.read(|read| {
            let id = read.open_table(RECEIVED)?.get((name.as_str(), generation, number))?;
            Ok(id.map(|id| *id.value()))
        })
    }

    /// The place of the next received message in the order of arrival, and the place of the first that was not shown.
    pub fn arrivals(&self) -> Result<(u64, u64), StoreError> {
        self.database.read(|read| {
            let shown = read.open_table(SHOWN)?.get(())?.map_or(0, |place| place.value());
            let last = read.open_table(UNSHOWN)?.last()?.map(|(place, _)| place.value());
            Ok((last.map_or(shown, |last| shown.max(last + 1)), shown))
        })
    }

    /// The first received message that arrived at this place or later, and its place.
    pub fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, StoreError> {
        self.database.read(|read| {
            let (unshown, history) = (read.open_table(UNSHOWN)?, read.open_table(HISTORY)?);
            for entry in unshown.range(place..)? {
                let (place, value) = entry?;
                let (name, generation, number) = value.value();
                let key = (name, Direction::Received as u8, generation, number);
                if let Some(record) = history.get(key)? {
                    return Ok(Some((place.value(), decode(&self.seal, HISTORY, &key, record.value())?)));
                }
            }
            Ok(None)
        })
    }

    /// Mail that came after its key was destroyed and that has not come again, by folded name of the sender.
    pub fn late(&self) -> Result<Vec<(String, LateRecord)>, StoreError> {
        self.all(LATE, |name, record| (name.to_owned(), record))
    }

    /// The numbers and ids that another machine needs to continue as this peer.
    pub fn numbers(&self) -> Result<Numbers, StoreError> {
        let history: Vec<HistoryRecord> = self.all(HISTORY, |_, record| record)?;
        let history = history.into_iter().filter(|record| record.direction == Direction::Received);
        let mut received: Vec<_> =
            history.map(|record| (record.with, record.generation, record.number, record.id)).collect();
        self.database.read(|read| {
            for entry in read.open_table(RECEIVED)?.iter()? {
                let (key, id) = entry?;
                let (name, generation, number) = key.value();
                let name = name.parse().map_err(|_| redb::Error::Corrupted("a name in received".into()))?;
                received.push((name, generation, number, *id.value()));
            }
            Ok(())
        })?;
        Ok(Numbers { contacts: self.contacts()?, received })
    }

    /// Writes the numbers and ids of another machine.
    pub fn write_numbers(&self, numbers: &Numbers) -> Result<(), StoreError> {
        self.database.write(|write| {
            let mut tables = Tables::open(write, &self.seal, self.keeps_history)?;
            for contact in &numbers.contacts {
                tables.apply(&Write::Contact(contact.clone()))?;
            }
            for (name, generation, number, id) in &numbers.received {
                tables.received.insert((name.folded().as_str(), *generation, *number), id)?;
            }
            Ok(())
        })
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
        self.database.read(|read| {
            let value = read.open_table(table)?.get(key.borrow())?;
            value.map(|value| decode(&self.seal, table, key.borrow(), value.value())).transpose()
        })
    }

    fn all<K, T, R>(
        &self,
        table: TableDefinition<'static, K, Bytes>,
        entry: impl Fn(K::SelfType<'_>, T) -> R,
    ) -> Result<Vec<R>, StoreError>
    where
        K: redb::Key + 'static,
        T: DeserializeOwned,
    {
        self.database.read(|read| {
            let mut found = Vec::new();
            for item in read.open_table(table)?.iter()? {
                let (key, value) = item?;
                let record = decode(&self.seal, table, &key.value(), value.value())?;
                found.push(entry(key.value(), record));
            }
            Ok(found)
        })
    }
}

/// Decrypts and decodes the record at `key` of a table.
pub(super) fn decode<K: redb::Key, T: DeserializeOwned>(
    seal: &Seal,
    table: TableDefinition<'_, K, Bytes>,
    key: &K::SelfType<'_>,
    bytes: &[u8],
) -> Result<T, redb::Error> {
    let record = seal.open(table.name(), K::as_bytes(key).as_ref(), bytes);
    let record = record
        .ok_or_else(|| redb::Error::Corrupted(format!("a record of {} cannot be decrypted", table.name())))?;
    // The page has the right checksum, so it is as it was written.
    postcard::from_bytes(&record).map_err(|_| redb::Error::UpgradeRequired(0))
}
