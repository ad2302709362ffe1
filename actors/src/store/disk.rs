//! The store's tables in redb.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use durable::{Database, Error as StoreError, Options};
use redb::{ReadableTable, TableDefinition};
use wire::PeerName;
use wire::protocol::ServerId;

use super::core::Write;
use crate::commands::store::{Frames, Inventory, Mail, MailboxSize, Ordinal};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const CARDS: TableDefinition<&str, &[u8]> = TableDefinition::new("cards");
/// The folded name of the recipient, and the place in the mailbox.
pub(super) type MailKey = (&'static str, Ordinal);
pub(super) const MAIL: TableDefinition<MailKey, &[u8]> = TableDefinition::new("mail");

const SERVER_ID: &str = "server";

pub(super) const OPTIONS: Options = Options {
    // Mail is written once and read at most once, so a larger cache of pages that were read gains nothing. redb uses up
    // to half of this for the pages of a commit; a larger commit writes pages early.
    cache_bytes: 64 << 20,
    lost: "all names and stored mail, after which anybody can join under any name",
};

/// The open database.
pub struct Disk(Database);

impl Disk {
    /// Opens or creates the database at `path`. A new one gets the identity `new_server_id`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, new_server_id: ServerId) -> Result<Self, StoreError> {
        let database = Database::open(path, OPTIONS)?;
        database.write(|write| {
            write.open_table(CARDS)?;
            write.open_table(MAIL)?;
            let mut meta = write.open_table(META)?;
            if meta.get(SERVER_ID)?.is_none() {
                meta.insert(SERVER_ID, new_server_id.as_slice())?;
            }
            Ok(())
        })?;
        Ok(Self(database))
    }

    /// Makes all changes in one transaction, which is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; see [`Database::write`].
    pub fn write(&self, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.0.write(|write| {
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
    }

    /// Reads envelopes of a mailbox until their size reaches `bytes_max`. The second value is the place to continue at.
    ///
    /// # Errors
    /// [`StoreError`].
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
                let (key, frame) = entry?;
                let ordinal = key.value().1;
                if bytes >= bytes_max {
                    return Ok((mail.finish(), Some(ordinal)));
                }
                bytes += frame.value().len();
                mail.push(ordinal, frame.value());
            }
            Ok((mail.finish(), None))
        })
    }

    /// What the Router needs when the server starts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let (server, cards, mailboxes) = self.0.read(|read| {
            let server = read.open_table(META)?.get(SERVER_ID)?.map(|id| id.value().to_vec());
            Ok((server, read_cards(&read.open_table(CARDS)?)?, read_sizes(&read.open_table(MAIL)?)?))
        })?;
        let name = |text: String| -> Result<PeerName, StoreError> {
            text.parse().map_err(|e| self.0.damaged(format!("the name {text:?}: {e}")))
        };
        let server = server.and_then(|id| id.try_into().ok());
        let server = server.ok_or_else(|| self.0.damaged("the server's identity"))?;
        let cards = cards.into_iter().map(|(owner, card)| Ok((name(owner)?, card)));
        let mailboxes = mailboxes.into_iter().map(|(owner, size)| {
            let Size { envelopes, bytes, end } = size;
            Ok(MailboxSize { name: name(owner)?, envelopes, bytes, end })
        });
        let (cards, mailboxes) =
            (cards.collect::<Result<_, StoreError>>()?, mailboxes.collect::<Result<_, StoreError>>()?);
        Ok(Inventory { server, cards, mailboxes })
    }
}

#[derive(Default)]
struct Size {
    envelopes: u64,
    bytes: u64,
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
    table: &impl ReadableTable<MailKey, &'static [u8]>,
) -> Result<BTreeMap<String, Size>, redb::Error> {
    let mut sizes: BTreeMap<String, Size> = BTreeMap::new();
    for entry in table.iter()? {
        let (key, frame) = entry?;
        let (name, ordinal) = key.value();
        let size = match sizes.get_mut(name) {
            Some(size) => size,
            None => sizes.entry(name.to_owned()).or_default(),
        };
        size.envelopes += 1;
        size.bytes += frame.value().len() as u64;
        size.end = ordinal + 1;
    }
    Ok(sizes)
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
