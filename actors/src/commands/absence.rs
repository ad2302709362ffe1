//! What is not there, as something that can be relied on for as long as it is so.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::linux::is_known_absent;

/// That some paths below a web root name nothing.
///
/// Nobody reports it when that ends, so whoever relies on it asks before each use, which costs a call for each path and
/// never waits for a disk.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    root: Arc<OwnedFd>,
    paths: Vec<PathBuf>,
}

impl Absence {
    pub(crate) fn new(root: Arc<OwnedFd>, paths: Vec<PathBuf>) -> Self {
        Self { root, paths }
    }

    /// Whether it is certain that they still name nothing.
    pub(crate) fn holds(&self) -> bool {
        self.paths.iter().all(|path| is_known_absent(&self.root, path))
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }
}
