//! Those who have files that a pattern describes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::share::{Hit, PublishedFile};
use wire::signal::Route;
use wire::{FileName, PeerName};

use crate::peer::event::HolderPart;

/// The maximum number of peers that one command looks at: each has a bit in [`Holders`].
pub(super) const HOLDERS_MAX: usize = 64;

/// A holder, by its number.
pub(super) type HolderId = usize;

/// Some of the holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holders(u64);

impl Holders {
    pub(super) fn of(holders: impl IntoIterator<Item = HolderId>) -> Self {
        Self(holders.into_iter().fold(0, |set, holder| set | 1 << holder))
    }

    pub(super) fn has(self, holder: HolderId) -> bool {
        self.0 & (1 << holder) != 0
    }

    pub(super) fn with(self, holder: HolderId) -> Self {
        Self(self.0 | 1 << holder)
    }

    pub(super) fn without(self, holder: HolderId) -> Self {
        Self(self.0 & !(1 << holder))
    }

    pub(super) fn among(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn ids(self) -> impl Iterator<Item = HolderId> {
        (0..HOLDERS_MAX).filter(move |holder| self.has(*holder))
    }
}

/// Whether a holder is asked for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It has sent something wrong, or is slow, so it is asked only for what nobody else has.
    Avoided,
    Dropped,
}

pub(super) struct Holder {
    pub(super) name: PeerName,
    pub(super) is_here: bool,
    pub(super) address: Option<SocketAddr>,
    pub(super) route: Route,
    /// The last name of its list that has come, and how many there were.
    pub(super) last: Option<FileName>,
    pub(super) listed: u64,
    /// How many there are, as the server has said.
    pub(super) total: Option<u64>,
    /// Whether all of its list has come that is wanted.
    pub(super) has_list: bool,
    /// Whether the server has said that it has its card, which every request needs.
    pub(super) has_card: bool,
    /// Whether it answers requests for many files. One that was made before there were such requests does not.
    pub(super) knows_many: bool,
    /// Whether requests wait in its queue. A holder that was made before the queue cannot read that, so it begins when the holder
    /// was busy.
    pub(super) may_wait: bool,
    /// The place in that queue, as the client was told.
    pub(super) place: Option<u32>,
    pub(super) again_at: Option<Instant>,
    /// Until when it is not taken for one that has nothing to do, because it was busy.
    pub(super) busy_until: Option<Instant>,
    pub(super) standing: Standing,
    /// How many of its transfers in a row have failed.
    pub(super) failures: u32,
    /// How many of its failures have counted at all. One broken connection ends all transfers that it carries, so the end of
    /// a transfer counts only if it was requested after the last failure.
    pub(super) failed: u32,
    /// The bytes of the files that it has sent.
    pub(super) given: u64,
    /// What that has cost, and how long it took, see [`super::slow`].
    pub(super) cost: u64,
    pub(super) spent: Duration,
}

impl Holder {
    pub(super) fn new(name: PeerName) -> Self {
        Self {
            name,
            is_here: false,
            address: None,
            route: Route::Server,
            last: None,
            listed: 0,
            total: None,
            has_list: false,
            has_card: false,
            knows_many: true,
            may_wait: false,
            place: None,
            again_at: None,
            busy_until: None,
            standing: Standing::Good,
            failures: 0,
            failed: 0,
            given: 0,
            cost: 0,
            spent: Duration::ZERO,
        }
    }

    /// Whether it can be asked, perhaps later.
    pub(super) fn is_usable(&self) -> bool {
        self.is_here && self.standing != Standing::Dropped
    }

    /// Whether it can be asked now.
    pub(super) fn is_ready(&self) -> bool {
        self.is_usable() && self.has_card && self.again_at.is_none()
    }

    /// One of its files, as if it was found alone.
    pub(super) fn hit(&self, file: &PublishedFile) -> Hit {
        let address = self.address.filter(|_| self.route == Route::Direct);
        Hit { peer: self.name.clone(), file: file.clone(), online: true, address }
    }

    pub(super) fn part(&self) -> HolderPart {
        HolderPart { from: self.name.clone(), bytes: self.given, route: self.route.into() }
    }
}
