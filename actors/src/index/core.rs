//! The Index's state and decisions, without thread, disk or clock: commands in, effects out.

use std::cmp::Ordering;

use wire::share::Hit;
use wire::{PeerName, Query};

use super::catalog::{Catalog, FileId};
use super::keeper::Keep;
use super::peers::Peers;
use super::staging::{Share, Staging};
use crate::commands::index::{
    AskerSees, Command, Found, HITS_BYTES_MAX, HITS_MAX, INDEX_FILES_MAX, INDEX_PAIRS_MAX, Presence,
    PublishAnswer, PublishRefused, Published,
};
use crate::runtime::{self, Now, Reply};

/// Most shares that wait for the disk: as many peers can publish at once without being told `busy`. Their memory has a
/// limit of its own.
pub const KEEPS_IN_FLIGHT_MAX: usize = 1024;

/// The size of a hit without its texts: digest, length, address, and the lengths of the texts.
const HIT_BYTES: usize = 96;

/// An action for the shell.
#[derive(Debug)]
pub(super) enum Effect {
    /// Answer a publisher.
    AnswerPublish(Reply<PublishAnswer>, PublishAnswer),
    /// Answer a search.
    AnswerSearch(Reply<Found>, Found),
    /// Hand a share to the keeper, whose mailbox has room for it.
    Keep(Keep),
}

/// The state of the Index.
#[derive(Debug, Default)]
pub(super) struct Core {
    catalog: Catalog,
    peers: Peers,
    staging: Staging,
    keeps_in_flight: usize,
    total: Published,
}

impl runtime::Core for Core {
    type Command = Command;
    type Out = Vec<Effect>;

    fn handle(&mut self, _now: Now, command: Command, out: &mut Vec<Effect>) {
        match command {
            Command::Search { query, limit, asker, reply } => {
                let found = self.search(&query, limit, asker);
                out.push(Effect::AnswerSearch(reply, found));
            }
            Command::Presence(presence) => self.presence(&presence),
            Command::Kept(held) => {
                self.keeps_in_flight -= 1;
                self.staging.release(held);
            }
            Command::Publish { peer, part, last, files, reply } => {
                match (self.staging.add(&peer, part, files), last) {
                    (Ok(_), true) => self.publish(&peer, reply, out),
                    (answer, _) => out.push(Effect::AnswerPublish(reply, answer)),
                }
            }
        }
    }
}

impl Core {
    /// Adds a share that was loaded from the disk.
    ///
    /// # Errors
    /// [`PublishRefused::IndexFull`].
    pub(super) fn restore(&mut self, share: &Share) -> Result<(), PublishRefused> {
        let pairs = share.files.iter().map(|file| file.keywords.len() as u64).sum();
        let published = Published { files: share.files.len() as u64, pairs };
        self.replace(share, published)
    }

    fn publish(&mut self, peer: &PeerName, reply: Reply<PublishAnswer>, out: &mut Vec<Effect>) {
        let taken = self.staging.finish(peer).and_then(|(share, published, held)| {
            let replaced = if self.keeps_in_flight < KEEPS_IN_FLIGHT_MAX {
                self.replace(&share, published)
            } else {
                Err(PublishRefused::Busy)
            };
            match replaced {
                Ok(()) => Ok((share, published, held)),
                Err(refused) => {
                    self.staging.release(held);
                    Err(refused)
                }
            }
        });
        out.push(match taken {
            Ok((share, published, held)) => {
                self.keeps_in_flight += 1;
                Effect::Keep(Keep { share, published, held, reply })
            }
            Err(refused) => Effect::AnswerPublish(reply, Err(refused)),
        });
    }

    /// Replaces the share of an owner.
    fn replace(&mut self, share: &Share, published: Published) -> Result<(), PublishRefused> {
        let owner = self.peers.enter(&share.owner);
        let peer = self.peers.get_mut(owner);
        let files = self.total.files - peer.files.len() as u64 + published.files;
        let pairs = self.total.pairs - peer.pairs + published.pairs;
        if files > INDEX_FILES_MAX || pairs > INDEX_PAIRS_MAX {
            self.peers.forget_if_idle(owner);
            return Err(PublishRefused::IndexFull);
        }
        self.total = Published { files, pairs };
        self.catalog.remove(&peer.files);
        peer.files = self.catalog.insert(owner, &share.files);
        peer.pairs = published.pairs;
        peer.name = share.owner.clone();
        self.peers.forget_if_idle(owner);
        Ok(())
    }

    fn presence(&mut self, presence: &Presence) {
        let id = self.peers.enter(&presence.peer);
        let peer = self.peers.get_mut(id);
        peer.online = presence.online;
        peer.address = presence.address.filter(|_| presence.online);
        if !presence.online {
            // The missing parts would have come on the connection that has ended.
            self.staging.forget(&presence.peer);
            self.peers.forget_if_idle(id);
        }
    }

    fn search(&self, query: &Query, limit: u32, asker: AskerSees) -> Found {
        let matching = self.catalog.matching(query);
        let total = matching.len() as u64;
        let limit = limit.min(HITS_MAX) as usize;
        let mut hits = Vec::new();
        let mut bytes = 0;
        for id in self.first(limit, matching.into_owned()) {
            let hit = self.hit(id, asker);
            bytes += hit_bytes(&hit);
            if bytes > HITS_BYTES_MAX && !hits.is_empty() {
                break;
            }
            hits.push(hit);
        }
        Found { hits, total }
    }

    /// The first `limit` of some files in the order of hits.
    fn first(&self, limit: usize, mut ids: Vec<FileId>) -> Vec<FileId> {
        if ids.len() > limit {
            ids.select_nth_unstable_by(limit, |a, b| self.order(*a, *b));
            ids.truncate(limit);
        }
        ids.sort_unstable_by(|a, b| self.order(*a, *b));
        ids
    }

    /// Online before offline, then by name of the file, then by name of the peer. The two names together are unique.
    fn order(&self, a: FileId, b: FileId) -> Ordering {
        let peer_a = self.peers.get(self.catalog.owner(a));
        let peer_b = self.peers.get(self.catalog.owner(b));
        peer_b
            .online
            .cmp(&peer_a.online)
            .then_with(|| self.catalog.name(a).cmp(self.catalog.name(b)))
            .then_with(|| peer_a.folded.cmp(&peer_b.folded))
    }

    fn hit(&self, id: FileId, asker: AskerSees) -> Hit {
        let peer = self.peers.get(self.catalog.owner(id));
        Hit {
            peer: peer.name.clone(),
            file: self.catalog.file(id),
            online: peer.online,
            address: peer.address.filter(|address| asker.may_be_told(address)),
        }
    }

    /// Sets the total of all peers.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, total: Published) {
        self.total = total;
    }

    /// Whether nothing is left of all shares and peers.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.catalog.is_empty()
            && self.peers.len() == 0
            && self.staging.held_bytes() == 0
            && self.total == Published::default()
    }
}

fn hit_bytes(hit: &Hit) -> usize {
    let keywords: usize = hit.file.keywords.iter().map(|k| k.as_str().len() + 2).sum();
    HIT_BYTES + hit.peer.as_str().len() + hit.file.name.as_str().len() + keywords
}
