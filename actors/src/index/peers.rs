//! The peers that share something or are online.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use slab::Slab;
use wire::PeerName;
use wire::share::ListDigest;

use super::catalog::{FileId, OwnerId};
use crate::commands::network::Network;

#[derive(Debug)]
pub(super) struct Peer {
    /// The name as its owner spells it.
    pub(super) name: PeerName,
    /// In lower case; hits are ordered by it.
    pub(super) folded: PeerName,
    pub(super) online: bool,
    pub(super) address: Option<SocketAddr>,
    pub(super) network: Network,
    pub(super) files: BTreeSet<FileId>,
    /// The number of pairs of a keyword and a file.
    pub(super) pairs: u64,
    /// The size of the files as text on the disk.
    pub(super) text_bytes: u64,
    /// Identifies the list of its files.
    pub(super) list: ListDigest,
    /// The size of the changes since the list was published whole.
    pub(super) changed_bytes: u64,
}

/// All peers. The id of a peer stays the same while the peer is known.
#[derive(Debug, Default)]
pub(super) struct Peers {
    ids: HashMap<PeerName, OwnerId>,
    peers: Slab<Peer>,
}

impl Peers {
    /// Finds a peer by its name in any case, or adds it. A new peer is offline and shares nothing.
    pub(super) fn enter(&mut self, name: &PeerName) -> OwnerId {
        let folded = name.folded();
        *self.ids.entry(folded.clone()).or_insert_with(|| {
            let id = self.peers.insert(Peer {
                name: name.clone(),
                folded,
                online: false,
                address: None,
                network: Network::UNKNOWN,
                files: BTreeSet::new(),
                pairs: 0,
                text_bytes: 0,
                list: ListDigest::default(),
                changed_bytes: 0,
            });
            u32::try_from(id).expect("fewer than 2^32 peers fit into memory")
        })
    }

    /// Finds a peer by its name in any case.
    pub(super) fn find(&self, name: &PeerName) -> Option<OwnerId> {
        self.ids.get(&name.folded()).copied()
    }

    /// Forgets a peer that is offline and shares nothing.
    pub(super) fn forget_if_idle(&mut self, id: OwnerId) {
        let peer = self.get(id);
        if !peer.online && peer.files.is_empty() {
            let peer = self.peers.remove(id as usize);
            self.ids.remove(&peer.folded);
        }
    }

    pub(super) fn get(&self, id: OwnerId) -> &Peer {
        &self.peers[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: OwnerId) -> &mut Peer {
        &mut self.peers[id as usize]
    }

    pub(super) fn try_get(&self, id: OwnerId) -> Option<&Peer> {
        self.peers.get(id as usize)
    }

    /// The first peer from this id on.
    pub(super) fn at_or_after(&self, id: OwnerId) -> Option<OwnerId> {
        let ids = id..u32::try_from(self.peers.capacity()).unwrap_or(OwnerId::MAX);
        ids.into_iter().find(|id| self.peers.contains(*id as usize))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
