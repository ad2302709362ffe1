//! What a batch of commands means for the disk: all that is to be written in one commit, then what is to be read, then the
//! answers, in the order of the commands.

use std::ops::Range;

use wire::PeerName;

use crate::commands::store::{Command, Completion, Frames, Mail, Ordinal};
use crate::runtime::{Core, Now};

/// Most bytes that one fetch reads: a few dozen milliseconds of a slow link, so that a mailbox is handed over in steps.
const FETCH_BYTES: usize = 256 << 10;

/// What one commit does.
#[derive(Debug)]
pub enum Write<'a> {
    /// Keeps a card under a folded name.
    Card(&'a PeerName, &'a [u8]),
    /// Keeps envelopes from a place on.
    Mail(&'a PeerName, Ordinal, &'a Frames),
    /// Drops what is before a place.
    Forget(&'a PeerName, Ordinal),
}

/// The disk. A test or a simulation puts a model there.
pub trait MailDisk {
    /// Does all of it or nothing. True when it is on the disk.
    fn commit(&mut self, writes: &[Write<'_>]) -> bool;

    /// Reads places of a mailbox until `bytes_max` are passed. The second value says from where on to read next, and is none
    /// when that was all. None if the disk fails.
    fn fetch(
        &mut self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Option<(Mail, Option<Ordinal>)>;
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
        let written = writes.is_empty() || disk.commit(&writes);
        drop(writes);
        for command in self.batch.drain(..) {
            if let Some(completion) = complete(command, written, disk) {
                tell(completion);
            }
        }
    }
}

fn write_of(command: &Command) -> Option<Write<'_>> {
    match command {
        Command::PutCard { name, card, .. } => Some(Write::Card(name, card)),
        Command::Put { name, first, frames, .. } => Some(Write::Mail(name, *first, frames)),
        Command::Forget { name, before } => Some(Write::Forget(name, *before)),
        Command::Fetch { .. } => None,
    }
}

fn complete(command: Command, written: bool, disk: &mut impl MailDisk) -> Option<Completion> {
    match command {
        Command::PutCard { peer, reply, .. } => {
            if written {
                reply.answer(());
            }
            Some(Completion::Card { peer, written })
        }
        Command::Put { name, frames, origin, .. } => {
            let (count, bytes) = (frames.count(), frames.bytes.len() as u64);
            Some(Completion::Put { name, origin, count, bytes, stored: written })
        }
        Command::Fetch { name, peer, session, places } => {
            Some(Completion::Fetched { peer, session, found: disk.fetch(&name, places, FETCH_BYTES) })
        }
        Command::Forget { .. } => None,
    }
}
