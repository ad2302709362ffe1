//! How the Router tells the Index who is there without ever waiting for it.

use std::collections::BTreeMap;

use wire::PeerName;

use crate::commands::index::{IndexHandle, Presence};
use crate::runtime::Unsent;

/// Tells presence, and holds what the full mailbox of the Index did not take: the newest for each peer, so never more
/// than one entry a peer. Whoever owns it calls [`PresenceOutbox::flush`] again until that says that all is told.
#[derive(Debug)]
pub(crate) struct PresenceOutbox {
    index: IndexHandle,
    waiting: BTreeMap<PeerName, Presence>,
}

impl PresenceOutbox {
    /// An outbox with nothing in it.
    pub(crate) fn new(index: IndexHandle) -> Self {
        let waiting = BTreeMap::new();
        Self { index, waiting }
    }

    /// Tells or keeps. What was still waiting for the same peer is forgotten: only the newest counts.
    pub(crate) fn tell(&mut self, presence: Presence) {
        self.waiting.insert(presence.peer.folded(), presence);
        self.flush();
    }

    /// Tells as much of what waits as there is room for. Returns whether all is told.
    pub(crate) fn flush(&mut self) -> bool {
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
        let mut outbox = PresenceOutbox::new(IndexHandle(address));
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
