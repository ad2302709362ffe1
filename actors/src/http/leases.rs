//! The leases that one thread keeps for all its connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commands::absence::Absence;
use crate::commands::asset::Asset;

/// The maximum number of assets of one site. If a site has more, FileServer is asked again for some of them.
const ASSETS_MAX: usize = 64 * 1024;

/// The maximum number of cached 404s. They have a smaller limit of their own, because clients can invent any number of
/// paths.
const ABSENCES_MAX: usize = 4 * 1024;

/// Longer paths are not cached, so that clients cannot take much memory with them.
const PATH_BYTES_MAX: usize = 256;

/// The leases of one site by the path of the request, not decoded: a request that hits decodes nothing.
#[derive(Default)]
pub(super) struct Leases {
    assets: HashMap<Box<str>, Arc<Asset>>,
    /// Cached 404s: the page, and the condition under which it is valid.
    absences: HashMap<Box<str>, (Arc<Asset>, Absence)>,
}

/// An answer of FileServer that can be used again.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) path: Box<str>,
    pub(super) asset: Arc<Asset>,
    /// For the page of a missing file: the condition under which it may be used again.
    pub(super) absence: Option<Absence>,
}

impl Leases {
    /// The asset for a path, if there is a valid lease.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<Asset>> {
        let asset = self.assets.get(path).filter(|asset| !asset.is_revoked());
        asset.or_else(|| {
            let (page, absence) = self.absences.get(path)?;
            (!page.is_revoked() && absence.holds()).then_some(page)
        })
    }

    /// Whether leases for this path are kept.
    pub(super) fn keeps(path: &str) -> bool {
        path.len() <= PATH_BYTES_MAX
    }

    /// Keeps a lease. If there are too many, all are dropped first: each one that is still used costs one request to FileServer.
    pub(super) fn keep(&mut self, Lease { path, asset, absence }: Lease) {
        if asset.is_revoked() {
            return;
        }
        match absence {
            Some(absence) => insert(&mut self.absences, ABSENCES_MAX, path, (asset, absence)),
            None => insert(&mut self.assets, ASSETS_MAX, path, asset),
        }
    }

    /// Drops revoked leases, which still hold memory or a descriptor.
    pub(super) fn drop_revoked(&mut self) {
        self.assets.retain(|_, asset| !asset.is_revoked());
        self.absences.retain(|_, (page, _)| !page.is_revoked());
    }
}

fn insert<T>(leases: &mut HashMap<Box<str>, T>, leases_max: usize, path: Box<str>, lease: T) {
    if leases.len() >= leases_max {
        leases.clear();
    }
    leases.insert(path, lease);
}
