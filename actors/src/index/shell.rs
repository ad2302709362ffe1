//! The Index's thread. It owns the keeper.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::core::{Core, Effect, KEEPS_IN_FLIGHT_MAX};
use super::keeper::{self, Keep};
use super::shelf::Shelf;
use crate::commands::index::IndexHandle;
use crate::config::Quota;
use crate::runtime::{Address, Now, Running, Shell, mailbox, start as start_actor};

/// The capacity of the mailbox. A part of a share can be as large as a frame, 1 MiB, so this is at most 256 MiB.
const MAILBOX_COMMANDS: usize = 256;

pub(super) fn start(data_dir: &Path, quota: Quota) -> io::Result<Running<IndexHandle>> {
    let shelf = Shelf::open(data_dir.join("index"))?;
    let core = load(&shelf, quota)?;
    let (address, mut mailbox) = mailbox(MAILBOX_COMMANDS);
    let keeper = keeper::start(shelf, mailbox.answers(Some(KEEPS_IN_FLIGHT_MAX)))?;
    let shell = IndexShell { effects: Vec::new(), keeper };
    start_actor("index", (address.clone(), mailbox), IndexHandle(address), core, shell)
}

fn load(shelf: &Shelf, quota: Quota) -> io::Result<Core> {
    let mut core = Core::new(quota);
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

/// `K` owns the keeper, which ends after the Index.
pub(super) struct IndexShell<K> {
    pub(super) effects: Vec<Effect>,
    pub(super) keeper: K,
}

impl<K: std::ops::Deref<Target = Address<Keep>> + Send + 'static> Shell for IndexShell<K> {
    type Core = Core;

    fn out(&mut self) -> &mut Vec<Effect> {
        &mut self.effects
    }

    fn settle(&mut self, _core: &mut Core, _now: Now) -> Option<Instant> {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::AnswerPublish(reply, answer) => reply.answer(answer),
                Effect::AnswerSearch(reply, found) => reply.answer(found),
                Effect::Keep(keep) => {
                    // The keeper's mailbox has room for every share that may be in flight, so it is never full. It is
                    // closed only if the keeper has panicked. Then the process is ending, and the publisher gets no
                    // answer.
                    let _ = self.keeper.offer(keep);
                }
            }
        }
        None
    }
}
