//! The leases that one thread keeps for all its connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commands::absence::Absence;
use crate::commands::asset::Asset;

/// Most assets of one site. Many more than a site has pages; one that has more is asked for anew now and then.
const ASSETS_MAX: usize = 64 * 1024;

/// Most paths that name nothing. Fewer, and apart from the others: anybody can ask for any number of them.
const ABSENCES_MAX: usize = 4 * 1024;

/// Longer paths are asked for each time, so that nobody can take much memory with them.
const PATH_BYTES_MAX: usize = 256;

/// What is leased for paths as they were sent, so that a warm request decodes nothing.
#[derive(Default)]
pub(crate) struct Leases {
    assets: HashMap<Box<str>, Arc<Asset>>,
    /// What is shown where there is nothing.
    instead: HashMap<Box<str>, (Arc<Asset>, Absence)>,
}

/// What FileServer has given for a path.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) path: Box<str>,
    pub(super) asset: Arc<Asset>,
    /// What it depends on that there is nothing, if it is shown instead of something else.
    pub(super) absence: Option<Absence>,
}

impl Leases {
    /// The asset for a path, if there is a lease that still holds.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<Asset>> {
        let asset = self.assets.get(path).filter(|asset| !asset.is_revoked());
        asset.or_else(|| {
            let (page, absence) = self.instead.get(path)?;
            (!page.is_revoked() && absence.holds()).then_some(page)
        })
    }

    /// Whether a lease for a path would be kept.
    pub(super) fn keeps(path: &str) -> bool {
        path.len() <= PATH_BYTES_MAX
    }

    /// Keeps a lease. When there are too many all are dropped: those that are still wanted come back at one question each.
    pub(crate) fn keep(&mut self, Lease { path, asset, absence }: Lease) {
        if asset.is_revoked() {
            return;
        }
        match absence {
            Some(absence) => insert(&mut self.instead, ABSENCES_MAX, path, (asset, absence)),
            None => insert(&mut self.assets, ASSETS_MAX, path, asset),
        }
    }

    /// Lets go of what will not be sent again, so that its memory or its descriptor is free.
    pub(crate) fn drop_revoked(&mut self) {
        self.assets.retain(|_, asset| !asset.is_revoked());
        self.instead.retain(|_, (page, _)| !page.is_revoked());
    }
}

fn insert<T>(leases: &mut HashMap<Box<str>, T>, leases_max: usize, path: Box<str>, lease: T) {
    if leases.len() >= leases_max {
        leases.clear();
    }
    leases.insert(path, lease);
}
