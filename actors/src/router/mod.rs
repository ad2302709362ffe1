//! The Router: who is present, names and cards, routes, who waits for whom.
//!
//! Everything that reaches a peer through this server passes here once, as a run of envelopes whose bytes nobody looks
//! into. `core` decides, without threads, sockets or a clock; `shell` owns the thread.

mod core;
mod ledger;
mod mail;
mod newcomers;
mod presence;
mod shell;
mod splice;
mod table;
#[cfg(test)]
mod tests;

pub use self::core::Router;
pub use shell::{RouterMailbox, start};
