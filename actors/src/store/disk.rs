//! The store's tables in redb.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use durable::{Database, Error as StoreError, Options};
use redb::{ReadableTable, Table, TableDefinition};
use wire::PeerName;
use wire::protocol::ServerId;

use super::core::{Forgotten, Swept, Write};
use super::parcel::{PARCELS, Parcel, ParcelValue, sender_of};
use crate::commands::expiry::Notices;
use crate::commands::store::{
    Amount, Frames, Inventory, Mail, MailboxSize, Ordinal, Overdue, Sender, frame_lengths,
};
use crate::runtime::Now;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const CARDS: TableDefinition<&str, &[u8]> = TableDefinition::new("cards");
/// The recipient's folded name, and the place in the mailbox.
pub(super) type MailKey = (&'static str, Ordinal);
/// Runs of frames. The key contains the place of the first one. Many envelopes are one value, because an insert costs
/// far more than the bytes of an envelope.
pub(super) const MAIL: TableDefinition<MailKey, &[u8]> = TableDefinition::new("mail");
/// The maximum size of such a value, unless it is a single, larger envelope. redb gives a large value pages whose size
/// is a power of two; with its key and header, this value fits into 64 KiB.
const RECORD_BYTES_MAX: usize = (64 << 10) - 512;

const SERVER_ID: &str = "server";

/// How many parcels one sweep reads and finds at most. That takes a few milliseconds, in which no mail can be written.
const SWEPT_PARCELS_MAX: usize = 2_000;
const OVERDUE_PARCELS_MAX: usize = 100;

pub(super) const OPTIONS: Options = Options {
    // Mail is written once and read at most once, so a larger cache of pages that were read gains nothing. redb uses up
    // to half of this for the pages of a commit; a larger commit writes pages early.
    cache_bytes: 64 << 20,
    lost: "all names and stored mail, after which anybody can join under any name",
};

pub struct Disk(Database);

impl Disk {
    /// Opens or creates the database at `path`. A new one gets the identity `new_server_id`.
    pub fn open(path: &Path, new_server_id: ServerId) -> Result<Self, StoreError> {
        let database = Database::open(path, OPTIONS)?;
        database.write(|write| {
            write.open_table(CARDS)?;
            let (mail, mut parcels) = (write.open_table(MAIL)?, write.open_table(PARCELS)?);
            if parcels.first()?.is_none() {
                // Either there is no mail, or an older version wrote it, which did not keep its senders.
                for entry in mail.iter()? {
                    let (key, value) = entry?;
                    let frames = frames_of(value.value());
                    let sender = sender_of(&frames, key.value().0);
                    let parcel = Parcel { sender, at: Now::read().unix(), amount: frames.amount() };
                    parcels.insert(key.value(), parcel.to_value())?;
                }
            }
            let mut meta = write.open_table(META)?;
            if meta.get(SERVER_ID)?.is_none() {
                meta.insert(SERVER_ID, new_server_id.as_slice())?;
            }
            Ok(())
        })?;
        Ok(Self(database))
    }

    /// Makes all changes in one transaction, which is on disk when this returns. Returns what each [`Write::Forget`]
    /// has deleted.
    ///
    /// # Errors
    /// [`StoreError`]; see [`Database::write`].
    pub fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Forgotten>, StoreError> {
        self.0.write(|write| {
            let mut cards = write.open_table(CARDS)?;
            let mut mail = write.open_table(MAIL)?;
            let mut parcels = write.open_table(PARCELS)?;
            let mut forgotten = Vec::new();
            for step in writes {
                match step {
                    Write::Card(name, card) => {
                        cards.insert(name.as_str(), *card)?;
                    }
                    Write::NoCard(name) => {
                        cards.remove(name.as_str())?;
                    }
                    Write::Mail(name, first, frames, sender, at) => {
                        for (ordinal, record) in records(*first, frames) {
                            mail.insert((name.as_str(), ordinal), record)?;
                        }
                        let parcel = Parcel { sender: (*sender).clone(), at: *at, amount: frames.amount() };
                        parcels.insert((name.as_str(), *first), parcel.to_value())?;
                    }
                    Write::Forget(name, places) => {
                        forgotten.push(forget(&mut mail, &mut parcels, name, places)?);
                    }
                }
            }
            Ok(forgotten)
        })
    }

    /// Finds parcels that were accepted before a time, starting at a place. See [`Swept`].
    pub fn sweep(&self, from: Option<&(PeerName, Ordinal)>, before: u64) -> Result<Swept, StoreError> {
        self.0.read(|read| {
            let (mail, parcels) = (read.open_table(MAIL)?, read.open_table(PARCELS)?);
            let from = from.map_or(("", 0), |(name, ordinal)| (name.as_str(), *ordinal));
            let mut overdue = Vec::new();
            for (looked_at, entry) in parcels.range(from..)?.enumerate() {
                let (key, value) = entry?;
                let (Ok(name), first) = (key.value().0.parse::<PeerName>(), key.value().1) else { continue };
                if looked_at == SWEPT_PARCELS_MAX || overdue.len() == OVERDUE_PARCELS_MAX {
                    return Ok((overdue, Some((name, first))));
                }
                let parcel = Parcel::from_value(value.value());
                if parcel.at < before {
                    let places = first..first + parcel.amount.envelopes;
                    let mut notices = Notices::new(&name);
                    for entry in mail.range((name.as_str(), places.start)..(name.as_str(), places.end))? {
                        frames_of(entry?.1.value()).iter().for_each(|frame| notices.add(&frame));
                    }
                    let notice = notices.finish();
                    overdue.push(Overdue { name, places, sender: parcel.sender, notice });
                }
            }
            Ok((overdue, None))
        })
    }

    /// Reads envelopes of a mailbox until their size reaches `bytes_max`. The second value is the place to continue at.
    pub fn read(
        &self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Result<(Mail, Option<Ordinal>), StoreError> {
        self.0.read(|read| {
            let table = read.open_table(MAIL)?;
            let (mut mail, mut bytes) = (Gathered::default(), 0);
            for entry in table.range((name.as_str(), places.start)..(name.as_str(), places.end))? {
                let (key, value) = entry?;
                let first = key.value().1;
                if bytes >= bytes_max {
                    return Ok((mail.finish(), Some(first)));
                }
                bytes += value.value().len();
                mail.push(first, value.value());
            }
            Ok((mail.finish(), None))
        })
    }

    /// Turns it into a store of a version without parcels.
    #[cfg(test)]
    pub(super) fn forget_parcels(&self) {
        let forgotten = self.0.write(|write| Ok(write.open_table(PARCELS)?.retain(|_, _| false)?));
        forgotten.expect("it commits");
    }

    /// What the Router needs when the server starts.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let (server, cards, mailboxes) = self.0.read(|read| {
            let server = read.open_table(META)?.get(SERVER_ID)?.map(|id| id.value().to_vec());
            Ok((server, read_cards(&read.open_table(CARDS)?)?, read_sizes(&read.open_table(PARCELS)?)?))
        })?;
        let name = |text: String| -> Result<PeerName, StoreError> {
            text.parse().map_err(|e| self.0.damaged(format!("the name {text:?}: {e}")))
        };
        let server = server.and_then(|id| id.try_into().ok());
        let server = server.ok_or_else(|| self.0.damaged("the server's identity"))?;
        let cards = cards.into_iter().map(|(owner, card)| Ok((name(owner)?, card)));
        let mailboxes = mailboxes.into_iter().map(|(owner, size)| {
            Ok(MailboxSize { name: name(owner)?, amounts: size.amounts.into_iter().collect(), end: size.end })
        });
        let (cards, mailboxes) =
            (cards.collect::<Result<_, StoreError>>()?, mailboxes.collect::<Result<_, StoreError>>()?);
        Ok(Inventory { server, cards, mailboxes })
    }
}

#[derive(Default)]
struct Size {
    amounts: BTreeMap<Sender, Amount>,
    end: Ordinal,
}

pub(super) fn read_cards(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let mut cards = Vec::new();
    for entry in table.iter()? {
        let (name, card) = entry?;
        cards.push((name.value().to_owned(), card.value().to_vec()));
    }
    Ok(cards)
}

fn read_sizes(
    parcels: &impl ReadableTable<MailKey, ParcelValue>,
) -> Result<BTreeMap<String, Size>, redb::Error> {
    let mut sizes: BTreeMap<String, Size> = BTreeMap::new();
    for entry in parcels.iter()? {
        let (key, value) = entry?;
        let (name, first) = key.value();
        let parcel = Parcel::from_value(value.value());
        let size = match sizes.get_mut(name) {
            Some(size) => size,
            None => sizes.entry(name.to_owned()).or_default(),
        };
        size.end = first + parcel.amount.envelopes;
        *size.amounts.entry(parcel.sender).or_default() += parcel.amount;
    }
    Ok(sizes)
}

/// Deletes the envelopes at `places`, which must start at the first place of a parcel or before all parcels.
fn forget(
    mail: &mut Table<MailKey, &'static [u8]>,
    parcels: &mut Table<MailKey, ParcelValue>,
    name: &PeerName,
    places: &Range<Ordinal>,
) -> Result<Forgotten, redb::Error> {
    let name = name.as_str();
    let mut touched = Vec::new();
    for entry in parcels.range((name, places.start)..(name, places.end))? {
        let (key, value) = entry?;
        touched.push((key.value().1, Parcel::from_value(value.value())));
    }
    let mut forgotten = Forgotten::new();
    for (first, mut parcel) in touched {
        let mut gone = parcel.amount;
        let end = places.end.min(first + parcel.amount.envelopes);
        let left = first + parcel.amount.envelopes - end;
        let rest = if left > 0 { rest_of_record(mail, (name, first), end)? } else { Vec::new() };
        mail.retain_in((name, first)..(name, end), |_, _| false)?;
        parcels.remove((name, first))?;
        if left > 0 {
            if !rest.is_empty() {
                mail.insert((name, end), rest.as_slice())?;
            }
            let mut bytes = 0;
            for entry in mail.range((name, end)..(name, end + left))? {
                bytes += entry?.1.value().len() as u64;
            }
            parcel.amount = Amount { envelopes: left, bytes };
            gone = Amount { envelopes: gone.envelopes - left, bytes: gone.bytes.saturating_sub(bytes) };
            parcels.insert((name, end), parcel.to_value())?;
        }
        forgotten.push((parcel.sender, gone));
    }
    Ok(forgotten)
}

/// The part of a record that starts at `end`, if the last record between `from` and `end` reaches beyond it.
fn rest_of_record(
    mail: &Table<MailKey, &'static [u8]>,
    from: (&str, Ordinal),
    end: Ordinal,
) -> Result<Vec<u8>, redb::Error> {
    let Some(last) = mail.range(from..(from.0, end))?.next_back() else { return Ok(Vec::new()) };
    let (key, record) = last?;
    let taken = usize::try_from(end - key.value().1).unwrap_or(usize::MAX);
    let cut: usize = frame_lengths(record.value()).take(taken).map(|length| length as usize).sum();
    Ok(record.value()[cut..].to_vec())
}

fn frames_of(record: &[u8]) -> Frames {
    Frames::of(Bytes::copy_from_slice(record))
}

/// Splits frames into values of the table of mail, each with the place of its first frame.
fn records(first: Ordinal, frames: &Frames) -> Vec<(Ordinal, &[u8])> {
    let (mut records, mut start, mut end, mut ordinal) = (Vec::new(), 0, 0, first);
    for (place, length) in (first..).zip(&frames.lengths) {
        let length = *length as usize;
        if end > start && end + length - start > RECORD_BYTES_MAX {
            records.push((ordinal, &frames.bytes[start..end]));
            (start, ordinal) = (end, place);
        }
        end += length;
    }
    records.push((ordinal, &frames.bytes[start..end]));
    records
}

/// Collects envelopes; those with consecutive places become one group.
#[derive(Default)]
struct Gathered {
    done: Mail,
    first: Ordinal,
    lengths: Vec<u32>,
    bytes: Vec<u8>,
}

impl Gathered {
    fn push(&mut self, first: Ordinal, record: &[u8]) {
        if first != self.first + self.lengths.len() as u64 {
            self.close();
            self.first = first;
        }
        self.lengths.extend(frame_lengths(record));
        self.bytes.extend_from_slice(record);
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
