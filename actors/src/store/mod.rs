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

pub use self::core::{Forgotten, MailDisk, Store, Swept, Write};
pub use disk::Disk;
pub use durable::Error as StoreError;
pub use shell::start;
