//! What a batch of commands means for the disk: all that is to be written in one commit, then what is to be read, then the
//! answers, in the order of the commands.

use std::ops::Range;

use wire::PeerName;

use crate::commands::store::{Amount, Command, Completion, Frames, Mail, Ordinal, Overdue, Sender};
use crate::runtime::{Core, Now};

/// Most bytes that one fetch reads: a few dozen milliseconds of a slow link, so that a mailbox is handed over in steps.
const FETCH_BYTES: usize = 256 << 10;

/// What one commit does.
#[derive(Debug)]
pub enum Write<'a> {
    /// Keeps a card under a folded name.
    Card(&'a PeerName, &'a [u8]),
    /// Keeps envelopes of a sender, accepted at a time, from a place on.
    Mail(&'a PeerName, Ordinal, &'a Frames, &'a Sender, u64),
    /// Drops what is at some places.
    Forget(&'a PeerName, Range<Ordinal>),
}

/// How much of whose mail was dropped by one [`Write::Forget`].
pub type Forgotten = Vec<(Sender, Amount)>;

/// What is too old, and where to look on.
pub type Swept = (Vec<Overdue>, Option<(PeerName, Ordinal)>);

/// The disk. A test or a simulation puts a model there.
pub trait MailDisk {
    /// Does all of it or nothing. When it is on the disk, says what each [`Write::Forget`] has dropped; none if the disk fails.
    fn commit(&mut self, writes: &[Write<'_>]) -> Option<Vec<Forgotten>>;

    /// Reads places of a mailbox until `bytes_max` are passed. The second value says from where on to read next, and is none
    /// when that was all. None if the disk fails.
    fn fetch(
        &mut self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Option<(Mail, Option<Ordinal>)>;

    /// Looks for mail that was accepted before a time, in a bounded part of all mail. None if the disk fails.
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
    /// Carries out all that has come since the last call. `tell` gets what the Router is told, in the order of the commands.
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
        Command::Put { name, frames, sender, origin, .. } => {
            Some(Completion::Put { name, origin, sender: *sender, amount: frames.amount(), stored: written })
        }
        Command::Fetch { name, peer, session, places } => {
            Some(Completion::Fetched { peer, session, found: disk.fetch(&name, places, FETCH_BYTES) })
        }
        Command::Sweep { from, before } => {
            // What could not be read is looked at in the next round.
            let (overdue, next) = disk.sweep(from.as_ref(), before).unwrap_or_default();
            Some(Completion::Swept { overdue, next })
        }
        Command::Forget { name, .. } => {
            forgotten.next().map(|amounts| Completion::Forgotten { name, amounts })
        }
    }
}
