//! The keeper: an actor that writes shares to the disk, so that searches do not wait for the disk.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use wire::PeerName;

use super::core::KEEPS_IN_FLIGHT_MAX;
use super::shelf::Shelf;
use crate::commands::index::{Command, Held, Keep, PublishAnswer, PublishRefused, Published, Share};
use crate::runtime::{Address, Answers, Core, Now, Reply, Running, Shell, mailbox, start as start_actor};

/// The publishers that wait for the same share.
type Waiting = Vec<(Published, Reply<PublishAnswer>)>;

/// The shares to write: the newest of each owner. The publisher of an older one gets the answer for the newest, which
/// replaces it.
#[derive(Debug, Default)]
pub(super) struct Newest {
    shares: BTreeMap<PeerName, (Share, Waiting)>,
    held: Vec<Held>,
}

impl Core for Newest {
    type Command = Keep;
    type Out = ();

    fn handle(&mut self, _now: Now, Keep { share, published, held, reply }: Keep, (): &mut ()) {
        self.held.push(held);
        let owner = share.owner.folded();
        let mut waiting = self.shares.remove(&owner).map(|(_, waiting)| waiting).unwrap_or_default();
        waiting.push((published, reply));
        self.shares.insert(owner, (share, waiting));
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
        KeeperShell { shelf, kept },
    )
}

pub(super) struct KeeperShell {
    pub(super) shelf: Shelf,
    pub(super) kept: Answers<Command>,
}

impl Shell for KeeperShell {
    type Core = Newest;

    fn settle(&mut self, newest: &mut Newest, (): &mut (), _now: Now) -> Option<Instant> {
        let (shares, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut newest.shares).into_values().unzip();
        for ((result, share), waiting) in self.shelf.keep(&shares).into_iter().zip(&shares).zip(waiting) {
            if let Err(error) = &result {
                tracing::error!(target: "index", peer = %share.owner, %error, "a share could not be written");
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
