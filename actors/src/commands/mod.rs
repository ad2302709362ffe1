//! What actors say to each other: commands, replies, ids, handles, and ports as traits.
//!
//! This module imports no actor. An actor imports this module and no other actor. Only `server.rs` knows them all.
//! `integration/tests/architecture` checks that.

pub(crate) mod absence;
pub(crate) mod access_log;
pub mod admission;
pub(crate) mod asset;
pub mod certificates;
pub mod cluster;
pub(crate) mod connection;
pub(crate) mod credentials;
pub(crate) mod direct;
pub(crate) mod expiry;
pub(crate) mod feed;
pub(crate) mod file_server;
pub(crate) mod gate;
pub mod index;
pub(crate) mod memory;
pub mod network;
pub mod pace;
pub mod peer_counts;
pub mod router;
pub mod session;
pub(crate) mod shares;
pub mod store;
