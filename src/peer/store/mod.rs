//! What a peer keeps on disk: the outbox, the conversations it takes part in, what it knows of others, and the history.
//!
//! One redb file in the private folder. Everything of one step of the engine is written in one transaction, which is on
//! disk when [`Store::commit`] returns; only then is anything sent or acknowledged.

mod tables;
#[cfg(test)]
mod tests;

pub use durable::Error as StoreError;
pub use tables::Store;
