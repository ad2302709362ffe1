//! The store: cards and mailboxes on disk. One writer, group commit. It does not know sessions or presence.
//!
//! Only the Router uses it. The Router numbers the envelopes of a mailbox (ordinals) and learns the outcome from [`Completion`](crate::commands::store::Completion)s. The store never waits for the Router.

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
