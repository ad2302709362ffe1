//! The condition of a cached 404.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::linux::is_known_absent;

/// Paths below a web root that must not exist.
///
/// No event reports that one of them was created. So the condition is checked before each use, with one system call for each
/// path that never waits for a disk.
#[derive(Debug, Clone)]
pub(crate) struct Absence {
    root: Arc<OwnedFd>,
    paths: Vec<PathBuf>,
}

impl Absence {
    pub(crate) fn new(root: Arc<OwnedFd>, paths: Vec<PathBuf>) -> Self {
        Self { root, paths }
    }

    /// Whether it is certain that none of them exists.
    pub(crate) fn holds(&self) -> bool {
        self.paths.iter().all(|path| is_known_absent(&self.root, path))
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }
}
