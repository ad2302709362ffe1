//! The keeper: an actor that writes shares to the disk, so that searches do not wait for the disk.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use wire::PeerName;

use super::core::KEEPS_IN_FLIGHT_MAX;
use super::journal::Journal;
use super::shelf::Shelf;
use crate::commands::index::{
    Change, Command, Held, Keep, Kept, PublishAnswer, PublishRefused, Published, Share,
};
use crate::runtime::{Address, Answers, Core, Now, Reply, Running, Shell, mailbox, start as start_actor};

/// The publishers that wait for the same share.
type Waiting = Vec<(Published, Reply<PublishAnswer>)>;

/// What to write of an owner.
#[derive(Debug, Default)]
struct Pending {
    share: Option<Share>,
    /// What has changed since then.
    changes: Vec<Change>,
    waiting: Waiting,
}

/// The shares to write: the newest of each owner, and what has changed since. The publisher of an older one gets the answer for
/// the newest, which replaces it.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pending: BTreeMap<PeerName, Pending>,
    held: Vec<Held>,
}

impl Core for Newest {
    type Command = Keep;
    type Out = ();

    fn handle(&mut self, _now: Now, Keep { what, published, held, reply }: Keep, (): &mut ()) {
        self.held.push(held);
        let pending = self.pending.entry(what.owner().folded()).or_default();
        pending.waiting.push((published, reply));
        match what {
            Kept::Share(share) => {
                pending.share = Some(share);
                pending.changes.clear();
            }
            Kept::Change(change) => pending.changes.push(change),
        }
    }
}

/// Starts the keeper of `shelf`. It reports to `kept` when a share no longer uses memory.
pub(super) fn start(shelf: Shelf, kept: Answers<Command>) -> io::Result<Running<Address<Keep>>> {
    let (address, mailbox) = mailbox(KEEPS_IN_FLIGHT_MAX);
    start_actor(
        "index-keeper",
        (address.clone(), mailbox),
        address,
        Newest::default(),
        KeeperShell { shelf, journal: Journal::default(), kept },
    )
}

pub(super) struct KeeperShell {
    pub(super) shelf: Shelf,
    pub(super) journal: Journal,
    pub(super) kept: Answers<Command>,
}

impl Shell for KeeperShell {
    type Core = Newest;

    fn settle(&mut self, newest: &mut Newest, (): &mut (), _now: Now) -> Option<Instant> {
        let mut pending = std::mem::take(&mut newest.pending);
        let shares: Vec<Share> = pending.values_mut().filter_map(|pending| pending.share.take()).collect();
        let mut results: BTreeMap<PeerName, io::Result<()>> =
            shares.iter().map(|share| share.owner.folded()).zip(self.shelf.keep(&shares)).collect();
        for (owner, result) in &results {
            self.journal.replaced(owner, result.is_ok());
        }
        for (owner, Pending { changes, waiting, .. }) in pending {
            let kept = results.remove(&owner).unwrap_or(Ok(()));
            let result = kept.and_then(|()| match &changes[..] {
                [] => Ok(()),
                changes => self.journal.append(&self.shelf, &owner, changes),
            });
            if let Err(error) = &result {
                tracing::error!(target: "index", peer = %owner, %error, "a share could not be written");
            }
            for (published, reply) in waiting {
                let failed = |error: &io::Error| PublishRefused::NotKept(error.to_string());
                reply.answer(result.as_ref().map(|()| published).map_err(failed));
            }
        }
        for held in newest.held.drain(..) {
            // There is room for every share that can be in flight. It fails only when the Index has ended.
            let _ = self.kept.offer(Command::Kept(held));
        }
        None
    }
}
