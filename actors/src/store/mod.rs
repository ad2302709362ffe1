//! The store: cards and mailboxes on disk, with one writer and group commit. It knows neither sessions nor who is
//! connected.
//!
//! Only the Router uses it. The Router gives each envelope its place in the mailbox and learns the outcome from a
//! [`Completion`](crate::commands::store::Completion). The store never waits for the Router.

mod core;
mod disk;
mod parcel;
mod recovery;
mod shell;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::commands::store::Inventory;

pub use self::core::{Forgotten, MailDisk, Store, Swept, Write};
pub use disk::Disk;
pub use durable::Error as StoreError;
pub use shell::start;

/// Opens the store at `path` without starting it, and returns what is on disk. A damaged one is recovered as at a start.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn open(path: &Path) -> Result<(Disk, Inventory), StoreError> {
    recovery::open(path, rand::random())
}
