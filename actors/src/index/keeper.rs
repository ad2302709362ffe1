//! The keeper: an actor that writes shares to disk, so that no search waits for it.

use std::collections::BTreeMap;

use wire::PeerName;

use super::shelf::Shelf;
use super::staging::{Held, Share};
use crate::commands::index::{PublishAnswer, PublishRefused, Published};
use crate::runtime::{Address, Mailbox, Reply};

/// A share to be written. The keeper answers the publisher.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) share: Share,
    pub(super) published: Published,
    pub(super) held: Held,
    pub(super) reply: Reply<PublishAnswer>,
}

/// Everybody who waits for the same share to be on disk.
type Waiting = Vec<(Published, Reply<PublishAnswer>)>;

/// Writes what comes until the mailbox closes. For each share, `kept` is told when it holds no memory any more.
pub(super) fn run(mailbox: &Mailbox<Keep>, shelf: &Shelf, kept: &Address<Held>) {
    let mut batch = Vec::new();
    while mailbox.drain(&mut batch) {
        for held in keep_all(shelf, &mut batch) {
            // There is room for every share that can be in flight. When the Index has ended, nobody counts any more.
            let _ = kept.offer(held);
        }
    }
}

/// Writes the newest share of each owner. Whoever published an older one is answered with it, since it is replaced.
fn keep_all(shelf: &Shelf, batch: &mut Vec<Keep>) -> Vec<Held> {
    let mut held = Vec::with_capacity(batch.len());
    let mut newest: BTreeMap<PeerName, (Share, Waiting)> = BTreeMap::new();
    for keep in batch.drain(..) {
        held.push(keep.held);
        let owner = keep.share.owner.folded();
        let mut waiting = newest.remove(&owner).map(|(_, waiting)| waiting).unwrap_or_default();
        waiting.push((keep.published, keep.reply));
        newest.insert(owner, (keep.share, waiting));
    }
    let (shares, waiting): (Vec<_>, Vec<_>) = newest.into_values().unzip();
    for ((result, share), waiting) in shelf.keep(&shares).into_iter().zip(&shares).zip(waiting) {
        if let Err(error) = &result {
            tracing::error!(target: "index", peer = %share.owner, %error, "a share could not be written");
        }
        for (published, reply) in waiting {
            let failed = |error: &std::io::Error| PublishRefused::NotKept(error.to_string());
            reply.answer(result.as_ref().map(|()| published).map_err(failed));
        }
    }
    held
}
