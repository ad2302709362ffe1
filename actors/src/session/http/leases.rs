//! The leases that one session keeps.

use std::sync::Arc;

use crate::file_server::Asset;

/// How many assets a connection keeps: a page and what it loads over one of a browser's six connections.
const LEASES_MAX: usize = 8;

/// Longer paths are asked for each time, so that a connection cannot keep much memory with them.
const PATH_BYTES_MAX: usize = 256;

/// Assets by the path of the target as it was sent, so that a warm request decodes nothing.
#[derive(Default)]
pub(super) struct Leases {
    /// The one that was kept longest is first.
    kept: Vec<(Box<str>, Arc<Asset>)>,
}

impl Leases {
    /// The asset for a path, if there is a lease that has not been revoked.
    pub(super) fn get(&mut self, path: &str) -> Option<&Arc<Asset>> {
        let index = self.kept.iter().position(|(kept, _)| **kept == *path)?;
        if self.kept[index].1.is_revoked() {
            self.kept.remove(index);
            return None;
        }
        Some(&self.kept[index].1)
    }

    /// Keeps a lease; drops the one that was kept longest if there are too many.
    pub(super) fn keep(&mut self, path: &str, asset: &Arc<Asset>) {
        if path.len() > PATH_BYTES_MAX || asset.is_revoked() {
            return;
        }
        self.drop_revoked();
        if self.kept.len() == LEASES_MAX {
            self.kept.remove(0);
        }
        self.kept.push((path.into(), Arc::clone(asset)));
    }

    /// Lets go of what will not be sent again, so that its memory or its descriptor is free.
    pub(super) fn drop_revoked(&mut self) {
        self.kept.retain(|(_, asset)| !asset.is_revoked());
    }
}
