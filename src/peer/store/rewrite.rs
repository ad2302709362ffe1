//! Writing the whole store anew: redb does not overwrite what it frees, so only a new file is free of what has to go.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};
use wire::keys::Secret;

use super::StoreError;
use super::seal::Seal;
use super::tables::{
    Bytes, CONTACTS, HISTORY, INCOMING, LATE, OPTIONS, OUTBOX, OUTGOING, SEALED, SHOWN, STORE, STORED, Store,
    UNSHOWN,
};
use crate::peer::folder::Folder;

impl Store {
    /// Copies the records into a new file, sealed under `key`, which then takes the place of the old one; that is overwritten
    /// with zeros. After a crash there is either file, and the next start destroys the other one.
    ///
    /// # Errors
    /// [`StoreError`]; then the old file is still there.
    pub(super) fn rewrite(self, private: &Folder, key: Option<&Secret>) -> Result<(), StoreError> {
        let path = private.path().join(STORE);
        let failed =
            |error| StoreError::Database { path: path.clone(), source: Box::new(redb::Error::Io(error)) };
        let unfinished = Folder::unfinished(STORE);
        private.remove(&unfinished).map_err(failed)?;
        let new = durable::Database::create(&private.path().join(unfinished), OPTIONS)?;
        let seals = Seals { old: &self.seal, new: Seal::new(key) };
        let mut copied = Ok(());
        self.database.read(|read| {
            copied = new.write(|write| seals.copy(read, write));
            Ok(())
        })?;
        copied?;
        drop((new, self));
        private.replace(STORE).map_err(failed)
    }
}

/// How the records were sealed, and how they will be.
struct Seals<'s> {
    old: &'s Seal,
    new: Seal,
}

impl Seals<'_> {
    fn copy(&self, read: &ReadTransaction, write: &WriteTransaction) -> Result<(), redb::Error> {
        self.copy_sealed(CONTACTS, read, write)?;
        self.copy_sealed(OUTBOX, read, write)?;
        self.copy_sealed(OUTGOING, read, write)?;
        self.copy_sealed(INCOMING, read, write)?;
        self.copy_sealed(HISTORY, read, write)?;
        self.copy_sealed(LATE, read, write)?;
        copy_plain(UNSHOWN, read, write)?;
        copy_plain(SHOWN, read, write)?;
        copy_plain(STORED, read, write)?;
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
            let key = key.value();
            let sealed = {
                let place = K::as_bytes(&key);
                let record = self.old.open(table.name(), place.as_ref(), record.value());
                let unreadable =
                    || redb::Error::Corrupted(format!("a record of {} cannot be opened", table.name()));
                self.new.seal(table.name(), place.as_ref(), record.ok_or_else(unreadable)?)
            };
            new.insert(key, sealed.as_slice())?;
        }
        Ok(())
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
