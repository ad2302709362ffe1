//! The leases that one thread keeps for all its connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::file_server::Asset;

/// Most assets of one site. Many more than a site has pages; one that has more is asked for anew now and then.
const LEASES_MAX: usize = 64 * 1024;

/// Longer paths are asked for each time, so that nobody can take much memory with them.
const PATH_BYTES_MAX: usize = 256;

/// Assets by the path of the target as it was sent, so that a warm request decodes nothing.
#[derive(Default)]
pub(crate) struct Leases(HashMap<Box<str>, Arc<Asset>>);

impl Leases {
    /// The asset for a path, if there is a lease that has not been revoked.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<Asset>> {
        self.0.get(path).filter(|asset| !asset.is_revoked())
    }

    /// Whether a lease for a path would be kept.
    pub(super) fn keeps(path: &str) -> bool {
        path.len() <= PATH_BYTES_MAX
    }

    /// Keeps a lease. When there are too many all are dropped: those that are still wanted come back at one question each.
    pub(crate) fn keep(&mut self, path: Box<str>, asset: Arc<Asset>) {
        if asset.is_revoked() {
            return;
        }
        if self.0.len() >= LEASES_MAX {
            self.0.clear();
        }
        self.0.insert(path, asset);
    }

    /// Lets go of what will not be sent again, so that its memory or its descriptor is free.
    pub(crate) fn drop_revoked(&mut self) {
        self.0.retain(|_, asset| !asset.is_revoked());
    }
}
