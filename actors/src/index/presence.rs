//! How the Router tells the Index who is there without ever waiting for it.

use std::collections::BTreeMap;

use wire::PeerName;

use super::{IndexHandle, Presence};
use crate::runtime::Unsent;

/// Tells presence, and holds what the full mailbox of the Index did not take: the newest for each peer, so never more
/// than one entry a peer. Whoever owns it calls [`PresenceOutbox::flush`] again while [`PresenceOutbox::is_behind`].
#[derive(Debug)]
pub struct PresenceOutbox {
    index: IndexHandle,
    waiting: BTreeMap<PeerName, Presence>,
}

impl PresenceOutbox {
    /// An outbox with nothing in it.
    pub fn new(index: IndexHandle) -> Self {
        let waiting = BTreeMap::new();
        Self { index, waiting }
    }

    /// Tells or keeps. What was still waiting for the same peer is forgotten: only the newest counts.
    pub fn tell(&mut self, presence: Presence) {
        self.waiting.insert(presence.peer.folded(), presence);
        self.flush();
    }

    /// Tells as much of what waits as there is room for. Returns whether all is told.
    pub fn flush(&mut self) -> bool {
        while let Some((key, presence)) = self.waiting.pop_first() {
            match self.index.presence(presence) {
                // When the Index has ended, so does the server, and nobody will ask.
                Ok(()) | Err(Unsent::Closed(_)) => {}
                Err(Unsent::Full(presence)) => {
                    self.waiting.insert(key, presence);
                    return false;
                }
            }
        }
        true
    }

    /// Whether something is still to be told.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}
