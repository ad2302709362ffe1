//! The Index actor: the keywords and files of all peers, answered from memory, and the text files that keep them.
//!
//! Who waits for whom:
//! - A Session sends its commands and waits for the answer. The Index itself waits for nobody, so that is short.
//! - The Router never waits: it tells presence through an outbox, which holds what did not fit into the
//!   mailbox, at most one entry a peer and always the newest, until it is taken. So nothing is lost and nobody waits.
//! - The Index hands a complete share to its keeper, which writes it to disk and answers the publisher itself. There is
//!   one place for each of [`KEEPS_IN_FLIGHT_MAX`] shares; with none left, publishers are told [`Busy`](crate::commands::index::PublishRefused::Busy).
//!   So a search never waits behind an fsync.
//!
//! The keeper belongs to the Index: it ends after it, and writes what it still has.

use std::io;
use std::path::Path;

use crate::commands::index::IndexHandle;
use crate::runtime::Running;

mod catalog;
mod core;
mod format;
mod interner;
mod keeper;
mod peers;
mod shelf;
mod shell;
mod staging;
#[cfg(test)]
mod tests;

pub use core::KEEPS_IN_FLIGHT_MAX;

/// Loads what is kept under `<data_dir>/index/`, with all peers offline, and starts the Index.
///
/// A damaged share is logged, moved aside to `*.damaged` and loses nothing of the others.
///
/// # Errors
/// When the folder cannot be made or listed, or the system gives no thread.
pub fn start(data_dir: &Path) -> io::Result<Running<IndexHandle>> {
    shell::start(data_dir)
}
