//! The threads of the Index and its keeper.

use std::io;
use std::path::Path;

use super::IndexThreads;
use super::core::{Core, Effect, KEEPS_IN_FLIGHT_MAX};
use super::keeper::{self, Keep};
use super::shelf::Shelf;
use super::staging::Held;
use crate::commands::index::{Command, IndexHandle};
use crate::runtime::{Address, Mailbox, mailbox, spawn_vital};

/// Commands that may wait. A part of a share can be as long as a frame, 1 MiB, so this is also 256 MiB at the worst.
const MAILBOX_COMMANDS: usize = 256;

pub(super) fn start(data_dir: &Path) -> io::Result<(IndexHandle, IndexThreads)> {
    let shelf = Shelf::open(data_dir.join("index"))?;
    let core = load(&shelf)?;
    let (to_keeper, keeps) = mailbox(KEEPS_IN_FLIGHT_MAX);
    let (to_index, kept) = mailbox(KEEPS_IN_FLIGHT_MAX);
    let keeper = spawn_vital("index-keeper", move || keeper::run(&keeps, &shelf, &to_index))?;
    let (address, commands) = mailbox(MAILBOX_COMMANDS);
    let index = spawn_vital("index", move || run(core, &commands, &to_keeper, &kept))?;
    let threads = IndexThreads { _index: index, _keeper: keeper };
    Ok((IndexHandle(address), threads))
}

fn load(shelf: &Shelf) -> io::Result<Core> {
    let mut core = Core::default();
    let (mut shares, mut files) = (0, 0);
    shelf.load(|share| match core.restore(&share) {
        Ok(()) => {
            shares += 1;
            files += share.files.len();
        }
        Err(reason) => {
            tracing::error!(target: "index", peer = %share.owner, %reason, "a share was not loaded");
        }
    })?;
    tracing::debug!(target: "index", shares, files, "shares are loaded");
    Ok(core)
}

/// Takes commands until the mailbox closes.
pub(super) fn run(mut core: Core, mailbox: &Mailbox<Command>, keeper: &Address<Keep>, kept: &Mailbox<Held>) {
    let mut batch = Vec::new();
    let mut effects = Vec::new();
    while mailbox.drain(&mut batch) {
        for command in batch.drain(..) {
            for held in kept.receiver().try_iter() {
                core.kept(held);
            }
            core.handle(command, &mut effects);
            for effect in effects.drain(..) {
                carry_out(effect, keeper);
            }
        }
    }
}

fn carry_out(effect: Effect, keeper: &Address<Keep>) {
    match effect {
        Effect::AnswerPublish(reply, answer) => reply.answer(answer),
        Effect::AnswerSearch(reply, found) => reply.answer(found),
        Effect::Keep(keep) => {
            // The mailbox has a place for each share that the core lets be in flight, so it is never full. If it is
            // closed the keeper has panicked and the process is ending; the publisher then learns that nobody answers.
            let _ = keeper.offer(keep);
        }
    }
}
