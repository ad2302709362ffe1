//! Connections: bytes that arrive in order and late, and ends that are noticed late or not at all for a while.

use std::collections::BTreeMap;
use std::time::Duration;

/// Identifies a connection.
pub(super) type LinkId = u64;

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Peer,
    Server,
}

/// A connection of a peer to the server.
pub(super) struct Link {
    pub(super) peer: usize,
    /// Whether each end has the connection open.
    pub(super) is_open: [bool; 2],
    /// Nothing arrives any more.
    pub(super) is_cut: bool,
    pub(super) latency: Duration,
    /// When the last bytes arrive at each end: what follows does not overtake them.
    last_arrival: [Duration; 2],
    /// Bytes that were sent to the peer and that its engine has not taken.
    pub(super) unread: usize,
}

/// All connections that are open at one end at least.
#[derive(Default)]
pub(super) struct Network {
    next: LinkId,
    pub(super) links: BTreeMap<LinkId, Link>,
}

impl Link {
    /// Whether something that was sent arrives only after a second or more.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        self.last_arrival.iter().any(|arrival| *arrival > now + Duration::from_secs(1))
    }
}

impl Network {
    pub(super) fn connect(&mut self, peer: usize, latency: Duration) -> LinkId {
        let id = self.next;
        self.next += 1;
        let link = Link {
            peer,
            is_open: [true, true],
            is_cut: false,
            latency,
            last_arrival: [Duration::ZERO; 2],
            unread: 0,
        };
        self.links.insert(id, link);
        id
    }

    /// When bytes that are sent now arrive at an end.
    pub(super) fn arrival(&mut self, id: LinkId, at: End, now: Duration) -> Option<Duration> {
        let link = self.links.get_mut(&id)?;
        let last = &mut link.last_arrival[at as usize];
        *last = (now + link.latency).max(*last);
        Some(*last)
    }

    /// Whether bytes still arrive at an end.
    pub(super) fn reaches(&self, id: LinkId, at: End) -> bool {
        self.links.get(&id).is_some_and(|link| !link.is_cut && link.is_open[at as usize])
    }

    /// One end closes the connection, or notices that it is closed. False if it was closed there already.
    pub(super) fn close(&mut self, id: LinkId, at: End) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        let was_open = std::mem::replace(&mut link.is_open[at as usize], false);
        if link.is_open == [false, false] {
            self.links.remove(&id);
        }
        was_open
    }
}
