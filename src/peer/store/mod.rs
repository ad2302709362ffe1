//! The peer's store: outbox, conversations, contacts and history, in one redb file in the private directory.
//!
//! All changes of one step of the engine are one transaction, which is on the disk when [`Store::commit`] returns. Only
//! then are messages sent or acknowledged.
//!
//! If the peer has a passphrase, each record is encrypted (`seal.rs`). The keys of the records are not: names of peers,
//! message numbers, and ids of conversations. Neither are the ids of servers and messages in the tables `stored` and
//! `received`.

mod rewrite;
mod seal;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;

pub use durable::Error as StoreError;
pub use tables::Store;
