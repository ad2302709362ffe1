//! The store: cards and mailboxes on disk. One writer, group commit; it knows nothing of sessions or presence.
//!
//! Its only customer is the Router, which numbers what is put into a mailbox (ordinals) and learns what has become of
//! it from [`Completion`](crate::commands::store::Completion)s. The store never waits for the Router.

mod core;
mod disk;
mod recovery;
mod shell;
#[cfg(test)]
mod tests;

pub use self::core::{MailDisk, Store, Write};
pub use disk::Disk;
pub use durable::Error as StoreError;
pub use shell::start;
