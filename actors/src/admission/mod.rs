//! Admission: decides who may join a server that admits only members.
//!
//! Members and open invitations are in one file, so that one write both uses an invitation up and makes its holder a
//! member. The administrator may edit the file while the server runs.
//!
//! The servers of a cluster share the list. It is in the cluster's bucket, with a key for each entry, and the file is only read when
//! the cluster has no list yet.

mod cluster;
mod core;
mod file;
mod shared;
mod shell;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(crate) use self::cluster::start_in_cluster;
pub(crate) use self::shell::start;

/// Why the list of members cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the list of members {}: {source}; choose another with --members", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the list of members {} is invalid: {reason}", path.display())]
    Lines {
        path: PathBuf,
        /// What is wrong, with the numbers of the lines.
        reason: String,
    },
    #[error("cannot start a thread for the list of members: {0}")]
    Thread(std::io::Error),
}
