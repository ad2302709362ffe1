//! The store's thread: drains its mailbox, writes all of it in one commit, then reads, then tells the Router.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::disk::Write;
use super::{Disk, StoreError};
use crate::commands::store::{Command, Completion, Inventory, StoreHandle};
use crate::runtime::{Mailbox, Vital, mailbox, spawn_vital};

/// Room for commands that wait while a commit is on its way to the disk. Beyond it senders are told `busy`.
const MAILBOX_COMMANDS: usize = 4096;
/// Most that one fetch reads: a few dozen milliseconds of a slow link, so that a mailbox is handed over in steps.
const FETCH_BYTES: usize = 256 << 10;

/// What [`start`] gives to the Router.
pub struct Started {
    /// Where commands go.
    pub handle: StoreHandle,
    /// Where completions come from.
    pub completions: Receiver<Completion>,
    /// What is on disk.
    pub inventory: Inventory,
    /// The thread; it ends when the last handle is dropped and all commands are carried out.
    pub thread: Vital,
}

/// Opens the store at `path` and starts its thread.
///
/// # Errors
/// [`StoreError`]; or an I/O error when there is no thread to be had.
pub fn start(path: &Path) -> Result<Started, StoreError> {
    let disk = Disk::open(path, rand::random())?;
    let inventory = disk.inventory()?;
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    // Unbounded, so that the store never waits for the Router, which may wait for the store. A command yields at most one
    // completion, and the Router takes in all that are there between any two of its own commands.
    let (completed, completions) = unbounded();
    let shell = Shell { disk, completed };
    let thread = spawn_vital("store", move || shell.run(&mailbox))
        .map_err(|e| StoreError::Database { path: path.into(), source: Box::new(redb::Error::Io(e)) })?;
    Ok(Started { handle: StoreHandle(address), completions, inventory, thread })
}

struct Shell {
    disk: Disk,
    completed: Sender<Completion>,
}

impl Shell {
    fn run(self, mailbox: &Mailbox<Command>) {
        let mut batch = Vec::new();
        while mailbox.drain(&mut batch) {
            let written = self.write(&batch);
            for command in batch.drain(..) {
                self.complete(command, written);
            }
        }
    }

    /// Writes what the batch has to write. Whatever goes wrong is logged, and nobody is told that it is on disk.
    fn write(&self, batch: &[Command]) -> bool {
        let writes: Vec<Write> = batch
            .iter()
            .filter_map(|command| match command {
                Command::PutCard { name, card, .. } => Some(Write::Card(name, card)),
                Command::Put { name, first, frames, .. } => Some(Write::Mail(name, *first, frames)),
                Command::Forget { name, before } => Some(Write::Forget(name, *before)),
                Command::Fetch { .. } => None,
            })
            .collect();
        if writes.is_empty() {
            return true;
        }
        let result = self.disk.commit(&writes);
        if let Err(error) = &result {
            tracing::error!(target: "store", %error, commands = writes.len(), "could not write; the senders are told");
        }
        result.is_ok()
    }

    fn complete(&self, command: Command, written: bool) {
        let completion = match command {
            Command::PutCard { peer, reply, .. } => {
                if written {
                    reply.answer(());
                }
                Completion::Card { peer, written }
            }
            Command::Put { name, frames, origin, .. } => Completion::Put {
                name,
                origin,
                count: frames.count(),
                bytes: frames.bytes.len() as u64,
                stored: written,
            },
            Command::Fetch { name, peer, session, places } => {
                let fetched = self.disk.fetch(&name, places, FETCH_BYTES);
                let found = fetched.inspect_err(|error| {
                    tracing::error!(target: "store", %error, to = %name, "could not read a mailbox");
                });
                Completion::Fetched { peer, session, found: found.ok() }
            }
            Command::Forget { .. } => return,
        };
        // Fails only when the Router is gone, and with it whoever would want to know.
        let _ = self.completed.send(completion);
    }
}
