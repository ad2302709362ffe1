//! The changes of one transaction.

use redb::{ReadableTable, TableHandle as _, WriteTransaction};
use serde::Serialize;
use wire::PeerName;

use super::seal::Seal;
use super::tables::{
    Bytes, CONTACTS, HISTORY, HistoryKey, INCOMING, LATE, OUTBOX, OUTGOING, RECEIVED, SHOWN, STORED, UNSHOWN,
    decode,
};
use crate::peer::records::{Direction, HistoryRecord, Write};

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records contain nothing that postcard refuses")
}

/// Encodes and encrypts a record, and writes it at `key` of a table.
fn put<K: redb::Key, T: Serialize>(
    seal: &Seal,
    table: &mut redb::Table<'_, K, Bytes>,
    key: K::SelfType<'_>,
    record: &T,
) -> Result<(), redb::Error> {
    let sealed = seal.seal(table.name(), K::as_bytes(&key).as_ref(), encode(record));
    table.insert(key, sealed.as_slice())?;
    Ok(())
}

/// The tables of one transaction.
pub(super) struct Tables<'t> {
    seal: &'t Seal,
    keeps_history: bool,
    contacts: redb::Table<'t, &'static str, Bytes>,
    outbox: redb::Table<'t, (&'static str, u64), Bytes>,
    outgoing: redb::Table<'t, &'static [u8; 32], Bytes>,
    incoming: redb::Table<'t, &'static [u8; 32], Bytes>,
    history: redb::Table<'t, HistoryKey, Bytes>,
    unshown: redb::Table<'t, u64, (&'static str, u64, u64)>,
    shown: redb::Table<'t, (), u64>,
    stored: redb::Table<'t, (&'static str, u64), &'static [u8; 16]>,
    late: redb::Table<'t, &'static str, Bytes>,
    pub(super) received: redb::Table<'t, (&'static str, u64, u64), &'static [u8; 16]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(
        write: &'t WriteTransaction,
        seal: &'t Seal,
        keeps_history: bool,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            seal,
            keeps_history,
            contacts: write.open_table(CONTACTS)?,
            outbox: write.open_table(OUTBOX)?,
            outgoing: write.open_table(OUTGOING)?,
            incoming: write.open_table(INCOMING)?,
            history: write.open_table(HISTORY)?,
            unshown: write.open_table(UNSHOWN)?,
            shown: write.open_table(SHOWN)?,
            stored: write.open_table(STORED)?,
            late: write.open_table(LATE)?,
            received: write.open_table(RECEIVED)?,
        })
    }

    pub(super) fn apply(&mut self, change: &Write) -> Result<(), redb::Error> {
        let seal = self.seal;
        match change {
            Write::Contact(record) => {
                put(seal, &mut self.contacts, record.name.folded().as_str(), record)?;
            }
            Write::Outbox(to, number, record) => {
                // The record is written again when the message is sealed again. No server has that ciphertext.
                self.stored.remove((to.folded().as_str(), *number))?;
                put(seal, &mut self.outbox, (to.folded().as_str(), *number), record)?;
            }
            Write::Stored(to, number, server) => {
                self.stored.insert((to.folded().as_str(), *number), server)?;
            }
            Write::Delivered(to, number) => self.remove_from_outbox(to.folded().as_str(), *number)?,
            Write::Cancelled(to, number) => {
                let name = to.folded();
                self.remove_from_outbox(name.as_str(), *number)?;
                self.history.remove((name.as_str(), Direction::Sent as u8, 0, *number))?;
            }
            Write::Outgoing(id, record) => {
                put(seal, &mut self.outgoing, &id.0, record)?;
            }
            Write::OutgoingDone(id) => {
                self.outgoing.remove(&id.0)?;
            }
            Write::Incoming(id, record) => {
                put(seal, &mut self.incoming, &id.0, record)?;
            }
            Write::IncomingGone(id) => {
                self.incoming.remove(&id.0)?;
            }
            Write::History(record) if record.direction == Direction::Sent && !self.keeps_history => {}
            Write::History(record) => {
                let name = record.with.folded();
                let key = (name.as_str(), record.direction as u8, record.generation, record.number);
                put(seal, &mut self.history, key, record)?;
            }
            Write::Arrived(place, from, generation, number) => {
                self.unshown.insert(place, (from.folded().as_str(), *generation, *number))?;
            }
            Write::Shown { before, forget } => {
                self.shown.insert((), before)?;
                if !self.keeps_history {
                    self.forget_texts(*forget)?;
                }
                self.unshown.retain_in::<u64, _>(..forget, |_, _| false)?;
            }
            Write::Late(from, Some(late)) => {
                put(seal, &mut self.late, from.folded().as_str(), late)?;
            }
            Write::Late(from, None) => {
                self.late.remove(from.folded().as_str())?;
            }
            Write::Forgotten(name) => self.forget_peer(name)?,
        }
        Ok(())
    }

    /// Removes the messages before this place in the order of arrival from the history, and keeps their ids.
    fn forget_texts(&mut self, before: u64) -> Result<(), redb::Error> {
        for entry in self.unshown.range(..before)? {
            let (_, message) = entry?;
            let (name, generation, number) = message.value();
            let key = (name, Direction::Received as u8, generation, number);
            if let Some(record) = self.history.remove(key)? {
                let record: HistoryRecord = decode(self.seal, HISTORY, &key, record.value())?;
                self.received.insert((name, generation, number), &record.id)?;
            }
        }
        Ok(())
    }

    /// Removes a message that is delivered or cancelled.
    fn remove_from_outbox(&mut self, to: &str, number: u64) -> Result<(), redb::Error> {
        self.outbox.remove((to, number))?;
        self.stored.remove((to, number))?;
        Ok(())
    }

    /// Removes the messages with a peer from the history, and keeps the ids of the received ones.
    fn forget_peer(&mut self, name: &PeerName) -> Result<(), redb::Error> {
        let name = name.folded();
        let of = |direction: Direction| {
            let (name, direction) = (name.as_str(), direction as u8);
            (name, direction, 0, 0)..=(name, direction, u64::MAX, u64::MAX)
        };
        for entry in self.history.range(of(Direction::Received))? {
            let (key, value) = entry?;
            let record: HistoryRecord = decode(self.seal, HISTORY, &key.value(), value.value())?;
            self.received.insert((name.as_str(), record.generation, record.number), &record.id)?;
        }
        for direction in [Direction::Sent, Direction::Received] {
            self.history.retain_in::<(&str, u8, u64, u64), _>(of(direction), |_, _| false)?;
        }
        self.unshown.retain(|_, (from, _, _)| from != name.as_str())?;
        Ok(())
    }
}
