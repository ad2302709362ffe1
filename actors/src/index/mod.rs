//! The Index actor: the keywords and files of all peers. It answers searches from memory, and keeps each share in two
//! text files.
//!
//! Blocking:
//! - A session sends a command and waits for the answer. The Index never blocks, so the wait is short. Searches by a pattern can take
//!   longer, but others do not wait for them.
//! - The Index writes the answers to most searches to the connections of the peers itself, as far as that needs no waiting. The
//!   session of the peer writes the rest.
//! - The Router never waits: it reports presence through an outbox, which keeps the newest report of each peer while the
//!   mailbox is full.
//! - The Index hands a complete share to its keeper, which writes it to the disk and answers the publisher. At most
//!   [`KEEPS_IN_FLIGHT_MAX`] shares wait; beyond that publishers are told [`Busy`](crate::commands::index::PublishRefused::Busy).
//!   So searches never wait for an fsync.
//!
//! The keeper belongs to the Index: it ends after it, and writes what it still has.

use std::io;
use std::path::Path;

use crate::commands::cluster::ClusterHandle;
use crate::commands::index::{IndexHandle, Share};
use crate::config::Quota;
use crate::runtime::Running;

mod access;
mod catalog;
mod change;
mod core;
mod finder;
mod format;
mod interner;
mod journal;
mod keeper;
mod peers;
mod posting;
mod ranking;
mod scan;
mod shelf;
mod shell;
mod staging;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use core::KEEPS_IN_FLIGHT_MAX;

/// Loads all shares from `<data_dir>/index/`, with all peers offline, and starts the Index. With a `cluster`, that keeps and
/// sends the shares instead.
///
/// A damaged share is logged and renamed to `*.damaged`. The others are not affected.
///
/// # Errors
/// When the directory cannot be made or listed, or the system provides no thread.
pub fn start(
    data_dir: &Path,
    quota: Quota,
    cluster: Option<ClusterHandle>,
) -> io::Result<Running<IndexHandle>> {
    shell::start(data_dir, quota, cluster)
}

/// The shares in `<data_dir>/index/`, one after the other, without starting the Index. A damaged one is handled as there.
///
/// # Errors
/// When the directory cannot be made or listed.
pub(crate) fn shares(data_dir: &Path) -> io::Result<impl Iterator<Item = Share> + use<>> {
    shelf::Shelf::open(data_dir.join("index"))?.shares()
}
