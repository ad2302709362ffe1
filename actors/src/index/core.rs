//! The Index's state and decisions, without thread, disk or clock: commands in, effects out.

use std::collections::HashMap;

use wire::share::ListDigest;
use wire::{PeerName, Query, Search};

use super::access::Viewer;
use super::catalog::{Catalog, FileId};
use super::finder::{Finder, TooBroad};
use super::peers::Peers;
use super::ranking::{Ranking, hit_bytes};
use super::scan::{Goal, Scan, Scans};
use super::staging::{Staging, text_bytes};
use crate::commands::index::{
    AskerSees, Command, FindAnswer, FindRefused, Found, HITS_BYTES_MAX, HITS_MAX, Keep, Kept, Matches, Page,
    Presence, PublishAnswer, PublishRefused, Published, Share,
};
use crate::commands::network::Network;
use crate::config::{PeerLimits, Quota};
use crate::runtime::{self, Now, Reply};

/// The maximum number of shares that wait to be kept: this many peers can publish at once before one is refused as
/// `busy`. The memory of these shares has its own limit.
pub const KEEPS_IN_FLIGHT_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Core {
    quota: Quota,
    pub(super) catalog: Catalog,
    pub(super) peers: Peers,
    pub(super) staging: Staging,
    pub(super) keeps_in_flight: usize,
    total: Published,
    by_network: HashMap<Network, Published>,
    pub(super) scans: Scans,
}

impl Default for Core {
    fn default() -> Self {
        Self::new(PeerLimits::default().index_pairs)
    }
}

impl runtime::Core for Core {
    type Command = Command;
    /// Shares to keep. The keeper's mailbox has room for them.
    type Out = Vec<Keep>;

    fn handle(&mut self, _now: Now, command: Command, out: &mut Vec<Keep>) {
        match command {
            Command::Search { query, limit, asker, reply } => match Goal::of(query) {
                Ok(goal) => self.start_scan(Scan::new(goal, limit, asker, reply)),
                Err(query) => reply.answer(Ok(self.search(&query, limit, &asker))),
            },
            Command::Find { search, page, asker, reply } => reply.answer(self.find(&search, page, &asker)),
            Command::Presence(presence) => self.presence(&presence),
            Command::Kept(held) => {
                self.keeps_in_flight -= 1;
                self.staging.release(held);
            }
            Command::Learn(share) => {
                let owner = share.owner.clone();
                if let Err(reason) = self.learn(*share) {
                    tracing::error!(target: "index", peer = %owner, %reason, "a share of another server is not indexed");
                }
            }
            Command::LearnChange(change) => self.learn_change(*change),
            Command::Change { peer, network, difference, reply } => {
                self.change(peer, network, difference, reply, out);
            }
            Command::Publish { peer, network, part, last, files, reply } => {
                match (self.staging.add(&peer, part, files), last) {
                    (Ok(_), true) => self.publish(&peer, network, reply, out),
                    (answer, _) => reply.answer(answer),
                }
            }
        }
    }
}

impl Core {
    /// Creates an empty Index. `quota` limits the number of pairs, and also the number of files.
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            catalog: Catalog::default(),
            peers: Peers::default(),
            staging: Staging::default(),
            keeps_in_flight: 0,
            total: Published::default(),
            by_network: HashMap::new(),
            scans: Scans::default(),
        }
    }

    /// Adds a share that was loaded from the disk, where the changes since it was published whole take `changed_bytes`.
    pub(super) fn restore(&mut self, share: &Share, changed_bytes: u64) -> Result<(), PublishRefused> {
        let pairs = share.files.iter().map(|listed| listed.file.keywords.len() as u64).sum();
        let published = Published { files: share.files.len() as u64, pairs };
        self.replace(share, published)?;
        if let Some(owner) = self.peers.find(&share.owner) {
            self.peers.get_mut(owner).changed_bytes = changed_bytes;
        }
        Ok(())
    }

    /// Indexes a share that another server has accepted. What it says is checked again, because it came over the network.
    fn learn(&mut self, share: Share) -> Result<(), PublishRefused> {
        let mut staging = Staging::default();
        staging.add(&share.owner, 0, share.files)?;
        let (share, published, held) = staging.finish(&share.owner, share.network)?;
        staging.release(held);
        self.replace(&share, published)
    }

    fn publish(
        &mut self,
        peer: &PeerName,
        network: Network,
        reply: Reply<PublishAnswer>,
        out: &mut Vec<Keep>,
    ) {
        let taken = self.staging.finish(peer, network).and_then(|(share, published, held)| {
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
        match taken {
            Ok((share, published, held)) => {
                self.keeps_in_flight += 1;
                out.push(Keep { what: Kept::Share(share), published, held, reply });
            }
            Err(refused) => reply.answer(Err(refused)),
        }
    }

    fn replace(&mut self, share: &Share, published: Published) -> Result<(), PublishRefused> {
        let owner = self.peers.enter(&share.owner);
        let peer = self.peers.get(owner);
        let before = Published { files: peer.files.len() as u64, pairs: peer.pairs };
        let network_before = peer.network;
        self.discount(network_before, before);
        if let Err(refused) = self.admit(share.network, published) {
            self.count(network_before, before);
            self.peers.forget_if_idle(owner);
            return Err(refused);
        }
        self.count(share.network, published);
        let peer = self.peers.get_mut(owner);
        let gone: Vec<FileId> = std::mem::take(&mut peer.files).into_iter().collect();
        self.catalog.remove(&gone);
        peer.files = self.catalog.insert(owner, &share.files).into_iter().collect();
        (peer.pairs, peer.network) = (published.pairs, share.network);
        peer.text_bytes = share.files.iter().map(text_bytes).sum();
        peer.list = ListDigest::of(&share.files);
        peer.changed_bytes = 0;
        peer.name = share.owner.clone();
        self.peers.forget_if_idle(owner);
        Ok(())
    }

    /// Checks the limits. The peer's own one comes first, because the peer can do most about it.
    pub(super) fn admit(&self, network: Network, published: Published) -> Result<(), PublishRefused> {
        let of_network = self.by_network.get(&network).copied().unwrap_or_default();
        let fits = |before: Published, most: u64| {
            before.files + published.files <= most && before.pairs + published.pairs <= most
        };
        if !fits(Published::default(), self.quota.per_sender) {
            return Err(PublishRefused::PeerFull);
        }
        if !fits(of_network, self.quota.per_address) {
            return Err(PublishRefused::AddressFull);
        }
        if fits(self.total, self.quota.in_all) { Ok(()) } else { Err(PublishRefused::IndexFull) }
    }

    pub(super) fn count(&mut self, network: Network, published: Published) {
        if published == Published::default() {
            return;
        }
        let of_network = self.by_network.entry(network).or_default();
        for sum in [of_network, &mut self.total] {
            sum.files += published.files;
            sum.pairs += published.pairs;
        }
    }

    pub(super) fn discount(&mut self, network: Network, published: Published) {
        self.total.files -= published.files;
        self.total.pairs -= published.pairs;
        if let Some(of_network) = self.by_network.get_mut(&network) {
            of_network.files -= published.files;
            of_network.pairs -= published.pairs;
            if *of_network == Published::default() {
                self.by_network.remove(&network);
            }
        }
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

    /// Answers a search that is not by a pattern, see [`super::scan`].
    fn search(&self, query: &Query, limit: u32, asker: &AskerSees) -> Found {
        let viewer = self.viewer(asker);
        let mut matching = match query {
            Query::Keywords(keywords) => self.catalog.with_all(keywords.as_slice()),
            Query::File(name) => self.catalog.of_name(name),
            Query::Digest(digest) => self.catalog.of_content(*digest),
            Query::Holders { .. } | Query::Names { .. } => Vec::new(),
        };
        matching.retain(|id| viewer.sees(*id));
        let total = matching.len() as u64;
        self.hits(matching, total, limit.min(HITS_MAX) as usize, asker)
    }

    /// The answer with the first `limit` of some files, of `total`.
    pub(super) fn hits(&self, ids: Vec<FileId>, total: u64, limit: usize, asker: &AskerSees) -> Found {
        let ranking = self.ranking(asker);
        let mut hits = Vec::new();
        let mut bytes = 0;
        let first = ranking.first(limit, ids);
        ranking.fetch_ahead(&first);
        for id in first {
            let hit = ranking.hit(id);
            bytes += hit_bytes(&hit);
            if bytes > HITS_BYTES_MAX && !hits.is_empty() {
                break;
            }
            hits.push(hit);
        }
        Found { hits, total }
    }

    fn ranking<'a>(&'a self, asker: &'a AskerSees) -> Ranking<'a> {
        Ranking { catalog: &self.catalog, peers: &self.peers, asker }
    }

    pub(super) fn viewer<'a>(&'a self, asker: &'a AskerSees) -> Viewer<'a> {
        Viewer { catalog: &self.catalog, peers: &self.peers, asker: asker.name.as_ref() }
    }

    fn find(&self, search: &Search, page: Page, asker: &AskerSees) -> FindAnswer {
        let viewer = self.viewer(asker);
        let finder = Finder::new(viewer);
        let found = finder.find(search.root()).map_err(|TooBroad| FindRefused::TooBroad)?;
        let (matches, total) = self.ranking(asker).page(&found, page);
        let instead = if found.is_empty() { self.instead(&finder, viewer, search) } else { None };
        Ok(Matches { matches, total, instead })
    }

    /// The search with each word that no file has replaced by the nearest one that some have, of those that the asker may see.
    /// `None` unless that search finds something.
    fn instead(&self, finder: &Finder<'_>, viewer: Viewer<'_>, search: &Search) -> Option<Search> {
        let instead = search.with_texts(|text| {
            let is_known = finder.has(text).ok()?;
            let count = |id, posting: &_| viewer.count(id, posting);
            if is_known { None } else { self.catalog.vocabulary().nearest(text, count).map(str::to_owned) }
        })?;
        let found = finder.find(instead.root()).ok()?;
        (!found.is_empty()).then_some(instead)
    }

    /// Whether no share and no peer is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.staging.held_bytes() == 0 && self.holds_nothing()
    }

    /// The same, without the shares that wait for the disk.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.catalog.is_empty()
            && self.peers.len() == 0
            && self.total == Published::default()
            && self.by_network.is_empty()
    }
}
