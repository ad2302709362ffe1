//! How the Router reports to the Index who is connected, without ever waiting for it.

use std::collections::BTreeMap;

use wire::PeerName;

use crate::commands::cluster::ClusterHandle;
use crate::commands::index::{IndexHandle, Presence};
use crate::runtime::Unsent;

/// Reports presence. While the mailbox of the Index is full, it keeps the newest report for each peer, so at most one
/// entry a peer. The owner must call [`PresenceOutbox::flush`] until it returns true.
#[derive(Debug)]
pub(crate) struct PresenceOutbox {
    index: IndexHandle,
    /// Is told of sessions too, if the server is one of many.
    pub(super) cluster: Option<ClusterHandle>,
    waiting: BTreeMap<PeerName, Presence>,
}

impl PresenceOutbox {
    pub(crate) fn new(index: IndexHandle, cluster: Option<ClusterHandle>) -> Self {
        Self { index, cluster, waiting: BTreeMap::new() }
    }

    /// Sends a report, or keeps it if there is no room. It replaces a report that is kept for the same peer.
    pub(crate) fn tell(&mut self, presence: Presence) {
        self.waiting.insert(presence.peer.folded(), presence);
        self.flush();
    }

    /// Sends as many of the kept reports as there is room for. Returns whether all are sent.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some((key, presence)) = self.waiting.pop_first() {
            match self.index.presence(presence) {
                // The Index ends only when the server does, and then nobody needs the report.
                Ok(()) | Err(Unsent::Closed(_)) => {}
                Err(Unsent::Full(presence)) => {
                    self.waiting.insert(key, presence);
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::index::Command;
    use crate::runtime::mailbox;

    fn told_of(name: &str, online: bool) -> Presence {
        Presence { peer: name.parse().expect("a good name"), online, address: None }
    }

    #[test]
    fn presence_waits_for_room_and_only_the_newest_counts() {
        let (address, commands) = mailbox::<_, Command>(1);
        let mut outbox =
            PresenceOutbox::new(IndexHandle { address, loading: std::sync::Arc::default() }, None);
        outbox.tell(told_of("first", true));
        assert!(outbox.flush());
        outbox.tell(told_of("A", true));
        outbox.tell(told_of("a", false));
        outbox.tell(told_of("b", true));
        assert!(!outbox.flush());
        let mut told = Vec::new();
        while told.len() < 3 {
            told.extend(commands.try_next());
            outbox.flush();
        }
        let told: Vec<_> = told
            .into_iter()
            .map(|command| match command {
                Command::Presence(presence) => presence,
                other => panic!("an outbox tells presence, not {other:?}"),
            })
            .collect();
        assert_eq!(told, [told_of("first", true), told_of("a", false), told_of("b", true)]);
        assert!(outbox.flush());
        drop(commands);
        outbox.tell(told_of("b", false));
        assert!(outbox.flush(), "nobody is left to be told");
    }
}
