//! The peers that the Index knows: those that share something, and those that are online.

use std::collections::HashMap;
use std::net::SocketAddr;

use wire::PeerName;

use super::catalog::{FileId, OwnerId};

/// What the Index knows of a peer beside its files.
#[derive(Debug)]
pub(super) struct Peer {
    /// As its owner writes it.
    pub(super) name: PeerName,
    /// In lower case, by which hits are ordered.
    pub(super) folded: PeerName,
    pub(super) online: bool,
    pub(super) address: Option<SocketAddr>,
    pub(super) files: Vec<FileId>,
    /// Pairs of a keyword and a file among them.
    pub(super) pairs: u64,
}

/// All peers, each under a number that stays the same while it is known.
#[derive(Debug, Default)]
pub(super) struct Peers {
    ids: HashMap<PeerName, OwnerId>,
    slots: Vec<Option<Peer>>,
    free: Vec<OwnerId>,
}

impl Peers {
    /// Finds a peer by its name, whatever the case.
    pub(super) fn find(&self, name: &PeerName) -> Option<OwnerId> {
        self.ids.get(&name.folded()).copied()
    }

    /// Finds or enters a peer; a new one is offline and shares nothing.
    pub(super) fn enter(&mut self, name: &PeerName) -> OwnerId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let folded = name.folded();
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 peers fit into memory")
        });
        self.slots[id as usize] = Some(Peer {
            name: name.clone(),
            folded: folded.clone(),
            online: false,
            address: None,
            files: Vec::new(),
            pairs: 0,
        });
        self.ids.insert(folded, id);
        id
    }

    /// Forgets a peer that is offline and shares nothing.
    pub(super) fn forget_if_idle(&mut self, id: OwnerId) {
        let peer = self.get(id);
        if peer.online || !peer.files.is_empty() {
            return;
        }
        if let Some(peer) = self.slots[id as usize].take() {
            self.ids.remove(&peer.folded);
            self.free.push(id);
        }
    }

    /// A peer that is known.
    pub(super) fn get(&self, id: OwnerId) -> &Peer {
        self.slots[id as usize].as_ref().expect(KNOWN)
    }

    /// A peer that is known, to be changed.
    pub(super) fn get_mut(&mut self, id: OwnerId) -> &mut Peer {
        self.slots[id as usize].as_mut().expect(KNOWN)
    }

    /// How many peers are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

const KNOWN: &str = "a peer keeps its number while it has files or is online";
