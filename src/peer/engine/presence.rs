//! Pings: whether the server still answers, and whether the peers that messages wait for are connected.
//!
//! TCP alone does not show this: a proxy or a server that hangs keeps a connection open for ever. And a server that has
//! reported a message as stored may have lost it since, for example because its disk was restored from a backup.

use std::ops::Bound;
use std::time::Duration;

use wire::PeerName;
use wire::protocol::{PING_NAMES_MAX, ToServer};

use super::Engine;
use super::contact::{Contact, Lookup};
use super::pace::jittered;

/// The interval of pings. Together with the allowed silence after a ping, it makes this peer notice a dead connection
/// within 30 seconds.
pub(super) const PING_EVERY: Duration = Duration::from_secs(10);
/// The interval of pings while messages wait for peers that are away.
pub(super) const PING_WHILE_AWAY: Duration = Duration::from_secs(2);

impl Contact {
    /// Whether messages wait for it, and it is not known to be connected, or its card is missing or has expired.
    fn is_missed(&self, unix: u64) -> bool {
        !self.unacked.is_empty() && (!self.is_present || !self.has_valid_card(unix))
    }
}

impl Engine {
    /// Sends a ping if it is due, and replaces a connection that does not work any more.
    pub(super) fn keep_alive(&mut self) {
        let now = self.local.now.instant;
        let Some(link) = &self.local.link else { return };
        if let Some(trouble) = link.trouble(now) {
            return self.reconnect(trouble);
        }
        if link.ping_at > now {
            return;
        }
        self.ping();
    }

    /// Sends a ping.
    pub(super) fn ping(&mut self) {
        let names = self.missed();
        let now = self.local.now.instant;
        let pause = if names.is_empty() { PING_EVERY } else { PING_WHILE_AWAY };
        let next = now + jittered(pause, &mut self.local.rng);
        if let Some(link) = &mut self.local.link {
            link.pinged(now, next);
            let id = link.pings;
            self.local.say(&ToServer::Ping { id, names });
        }
    }

    /// The missed peers to name in the next ping, as many as it can hold. Each ping continues where the last one ended.
    fn missed(&mut self) -> Vec<PeerName> {
        let (last, unix) = (self.last_missed.take(), self.local.now.unix);
        let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let before = self.contacts.iter().take_while(|contact| Some(contact.name.folded()) <= last);
        let missed = self.contacts.after(after).chain(before).filter(|contact| contact.is_missed(unix));
        let names: Vec<PeerName> = missed.take(PING_NAMES_MAX).map(|contact| contact.name.clone()).collect();
        self.last_missed = names.last().map(PeerName::folded);
        names
    }

    /// Handles the answer to a ping: the connected ones of the peers that it named.
    pub(super) fn pong(&mut self, present: &[PeerName]) {
        for name in present {
            let Some(contact) = self.contacts.get_mut(name) else { continue };
            // A server lets nobody join without a valid card. So it has not reported that the peer has joined, or has shown
            // another card than the newest.
            let has_card = contact.has_valid_card(self.local.now.unix);
            if contact.lookup == Lookup::Unknown || contact.lookup == Lookup::Known && !has_card {
                contact.lookup = Lookup::NotAsked;
            }
            contact.is_there(self.local.now.instant, &mut self.local.rng);
        }
    }
}
