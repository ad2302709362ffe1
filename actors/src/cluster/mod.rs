//! The cluster: many servers as one place. It claims names, knows who is connected to which server, and carries envelopes
//! between servers.
//!
//! What servers share is kept by NATS: names with their cards and presences in a key-value bucket, in which each change has a
//! revision, so that all servers see all changes in one order. Envelopes, and signs of life, go from server to server over core
//! NATS (`link`).
//!
//! For the Router, a peer at another server is a presence like any other, whose port leads here instead of to a session.

mod bucket;
mod core;
mod interface;
mod link;
mod packet;
mod published;
mod servers;
mod shell;
#[cfg(test)]
mod tests;

pub use self::core::Cluster;
pub use self::interface::{Effect, Here, Input, Revision};
pub use self::shell::{StartError, check, start};
