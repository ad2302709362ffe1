//! Copies the whole store to a new file. redb does not overwrite the space that it frees, so this is the only way to
//! remove all traces of old records.

use std::collections::HashSet;

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};

use wire::keys::Secret;

use super::StoreError;
use super::seal::Seal;
use super::tables::{
    Bytes, CONTACTS, HISTORY, INCOMING, LATE, OPTIONS, OUTBOX, OUTGOING, RECEIVED, SEALED, SHOWN, STORE,
    STORED, Store, UNSHOWN, decode,
};
use crate::peer::folder::Folder;
use crate::peer::records::{Direction, HistoryRecord};

impl Store {
    /// Copies the records to a new file, encrypted with `seal`. The new file replaces the old one, which is then
    /// overwritten with zeros. Without [`Store::keeps_history`], messages that were shown or delivered are left out.
    ///
    /// After a crash, the old or the new file is in place and complete. The next start destroys the other one.
    ///
    /// # Errors
    /// [`StoreError`]; then the old file is still there.
    pub(super) fn rewrite(self, private: &Folder, seal: Seal) -> Result<(), StoreError> {
        self.copy(private, seal)?;
        private.replace(STORE).map_err(failed(private))
    }

    /// Copies all records to the temporary file of the store, encrypted under `key`, if there is one.
    pub(in crate::peer) fn stage(self, private: &Folder, key: Option<&Secret>) -> Result<(), StoreError> {
        self.copy(private, Seal::new(key))
    }

    fn copy(self, private: &Folder, seal: Seal) -> Result<(), StoreError> {
        let unfinished = Folder::unfinished(STORE);
        private.remove(&unfinished).map_err(failed(private))?;
        let new = durable::Database::create(&private.path().join(unfinished), OPTIONS)?;
        let seals = Seals { old: &self.seal, new: seal };
        let keeps_history = self.keeps_history;
        let mut copied = Ok(());
        self.database.read(|read| {
            copied = new.write(|write| seals.copy(read, write, keeps_history));
            Ok(())
        })?;
        copied
    }
}

fn failed(private: &Folder) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = private.path().join(STORE);
    |error| StoreError::Database { path, source: Box::new(redb::Error::Io(error)) }
}

/// How the old records are encrypted, and the new ones.
struct Seals<'s> {
    old: &'s Seal,
    new: Seal,
}

impl Seals<'_> {
    fn copy(
        &self,
        read: &ReadTransaction,
        write: &WriteTransaction,
        keeps_history: bool,
    ) -> Result<(), redb::Error> {
        self.copy_sealed(CONTACTS, read, write)?;
        self.copy_sealed(OUTBOX, read, write)?;
        self.copy_sealed(OUTGOING, read, write)?;
        self.copy_sealed(INCOMING, read, write)?;
        self.copy_sealed(LATE, read, write)?;
        copy_plain(UNSHOWN, read, write)?;
        copy_plain(SHOWN, read, write)?;
        copy_plain(STORED, read, write)?;
        copy_plain(RECEIVED, read, write)?;
        if keeps_history {
            self.copy_sealed(HISTORY, read, write)?;
        } else {
            self.copy_unshown(read, write)?;
        }
        if !self.new.is_none() {
            let check = self.new.seal(SEALED.name(), &[], Vec::new());
            write.open_table(SEALED)?.insert((), check.as_slice())?;
        }
        Ok(())
    }

    fn copy_sealed<K: redb::Key>(
        &self,
        table: TableDefinition<'static, K, Bytes>,
        read: &ReadTransaction,
        write: &WriteTransaction,
    ) -> Result<(), redb::Error> {
        let mut new = write.open_table(table)?;
        for entry in read.open_table(table)?.iter()? {
            let (key, record) = entry?;
            let sealed = self.anew(table, &key.value(), record.value())?;
            new.insert(key.value(), sealed.as_slice())?;
        }
        Ok(())
    }

    /// Copies the received messages that were not shown yet. Keeps the ids of the other received ones.
    fn copy_unshown(&self, read: &ReadTransaction, write: &WriteTransaction) -> Result<(), redb::Error> {
        let mut unshown = HashSet::new();
        for entry in read.open_table(UNSHOWN)?.iter()? {
            let (_, message) = entry?;
            let (name, generation, number) = message.value();
            unshown.insert((name.to_owned(), generation, number));
        }
        let (mut history, mut received) = (write.open_table(HISTORY)?, write.open_table(RECEIVED)?);
        for entry in read.open_table(HISTORY)?.iter()? {
            let (key, record) = entry?;
            let (name, direction, generation, number) = key.value();
            if direction != Direction::Received as u8 {
                continue;
            }
            if unshown.contains(&(name.to_owned(), generation, number)) {
                let sealed = self.anew(HISTORY, &key.value(), record.value())?;
                history.insert(key.value(), sealed.as_slice())?;
            } else {
                let record: HistoryRecord = decode(self.old, HISTORY, &key.value(), record.value())?;
                received.insert((name, generation, number), &record.id)?;
            }
        }
        Ok(())
    }

    fn anew<K: redb::Key>(
        &self,
        table: TableDefinition<'static, K, Bytes>,
        key: &K::SelfType<'_>,
        record: &[u8],
    ) -> Result<Vec<u8>, redb::Error> {
        let place = K::as_bytes(key);
        let record = self.old.open(table.name(), place.as_ref(), record);
        let unreadable = || redb::Error::Corrupted(format!("a record of {} cannot be opened", table.name()));
        Ok(self.new.seal(table.name(), place.as_ref(), record.ok_or_else(unreadable)?))
    }
}

fn copy_plain<K: redb::Key, V: redb::Value>(
    table: TableDefinition<'static, K, V>,
    read: &ReadTransaction,
    write: &WriteTransaction,
) -> Result<(), redb::Error> {
    let mut new = write.open_table(table)?;
    for entry in read.open_table(table)?.iter()? {
        let (key, value) = entry?;
        new.insert(key.value(), value.value())?;
    }
    Ok(())
}
