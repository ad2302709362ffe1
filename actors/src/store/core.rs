//! Executes a batch of commands: one commit for all writes, then the reads, then the completions in the order of the
//! commands.

use std::ops::Range;

use wire::PeerName;

use crate::commands::store::{Amount, Command, Completion, Frames, Mail, Ordinal, Overdue, Sender, Written};
use crate::runtime::{Core, Now};

/// The maximum size of one fetch, about 20 ms at 100 Mbit/s, so that a mailbox is delivered in steps.
const FETCH_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub enum Write<'a> {
    /// Writes a card under a folded name.
    Card(&'a PeerName, &'a [u8]),
    /// Deletes the card of a folded name.
    NoCard(&'a PeerName),
    /// Writes envelopes: the recipient, the place of the first one, the frames, the sender, and when they were
    /// accepted.
    Mail(&'a PeerName, Ordinal, &'a Frames, &'a Sender, u64),
    /// Deletes the envelopes at some places.
    Forget(&'a PeerName, Range<Ordinal>),
}

/// The amount that one [`Write::Forget`] deleted for each sender.
pub type Forgotten = Vec<(Sender, Amount)>;

/// The mail that is too old, and where to continue.
pub type Swept = (Vec<Overdue>, Option<(PeerName, Ordinal)>);

/// The disk; a test or simulation uses a model.
pub trait MailDisk {
    /// Makes all changes or none, durably. Returns what each [`Write::Forget`] has deleted, or `None` if the disk
    /// fails.
    fn commit(&mut self, writes: &[Write<'_>]) -> Option<Vec<Forgotten>>;

    /// Reads envelopes of a mailbox until their size reaches `bytes_max`. The second value is the place to continue at,
    /// if there are more. Returns `None` if the disk fails.
    fn fetch(
        &mut self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Option<(Mail, Option<Ordinal>)>;

    /// Looks for mail that was accepted before a time, in a bounded part of all mail. Returns `None` if the disk fails.
    fn sweep(&mut self, from: Option<&(PeerName, Ordinal)>, before: u64) -> Option<Swept>;
}

/// The store without its thread and file.
#[derive(Debug, Default)]
pub struct Store {
    batch: Vec<Command>,
}

impl Core for Store {
    type Command = Command;
    type Out = ();

    fn handle(&mut self, _now: Now, command: Command, (): &mut ()) {
        self.batch.push(command);
    }
}

impl Store {
    /// Executes the commands since the last call. `tell` gets the completions, in the order of the commands.
    pub fn flush(&mut self, disk: &mut impl MailDisk, mut tell: impl FnMut(Completion)) {
        let writes: Vec<Write> = self.batch.iter().filter_map(write_of).collect();
        let forgotten = if writes.is_empty() { Some(Vec::new()) } else { disk.commit(&writes) };
        drop(writes);
        let written = forgotten.is_some();
        let mut forgotten = forgotten.into_iter().flatten();
        for command in self.batch.drain(..) {
            if let Some(completion) = complete(command, written, &mut forgotten, disk) {
                tell(completion);
            }
        }
    }
}

fn write_of(command: &Command) -> Option<Write<'_>> {
    match command {
        Command::PutCard { name, card, .. } => Some(Write::Card(name, card)),
        Command::DropCard { name, .. } => Some(Write::NoCard(name)),
        Command::Put { name, first, frames, sender, at, .. } => {
            Some(Write::Mail(name, *first, frames, sender, *at))
        }
        Command::Forget { name, places } => Some(Write::Forget(name, places.clone())),
        Command::Fetch { .. } | Command::Sweep { .. } => None,
    }
}

/// `forgotten` has an entry for each [`Command::Forget`], in order, unless the disk has failed.
fn complete(
    command: Command,
    written: bool,
    forgotten: &mut impl Iterator<Item = Forgotten>,
    disk: &mut impl MailDisk,
) -> Option<Completion> {
    match command {
        Command::PutCard { peer, reply, .. } => {
            if written {
                reply.answer(());
            }
            Some(Completion::Card { peer, written })
        }
        Command::DropCard { reply, .. } => {
            if written {
                reply.answer(true);
            }
            None
        }
        Command::Put { name, first, frames, sender, origin, .. } => {
            let mail = Written { name, first, frames, sender: *sender, origin };
            Some(Completion::Put { mail: Box::new(mail), stored: written })
        }
        Command::Fetch { name, peer, session, places } => {
            Some(Completion::Fetched { peer, session, found: disk.fetch(&name, places, FETCH_BYTES) })
        }
        Command::Sweep { from, before } => {
            // If the disk fails, the next search finds the mail.
            let (overdue, next) = disk.sweep(from.as_ref(), before).unwrap_or_default();
            Some(Completion::Swept { overdue, next })
        }
        Command::Forget { name, places } => {
            forgotten.next().map(|amounts| Completion::Forgotten { name, places, amounts })
        }
    }
}
