//! The Router: names and their owners, cards, who is connected, routing, and who waits for whom.
//!
//! All envelopes pass through the Router once. It does not read their contents. `core` decides, without threads,
//! sockets or a clock; `shell` has the thread.

mod core;
mod ledger;
mod mail;
mod presence;
mod remote;
mod shell;
mod splice;
mod table;
#[cfg(test)]
mod tests;

pub use self::core::Router;
pub use shell::{RouterMailbox, start};
