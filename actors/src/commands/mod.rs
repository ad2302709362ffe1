//! What actors say to each other: commands, replies, ids, handles, and ports as traits.
//!
//! This room imports no actor, and an actor imports no other actor, only this room; `server.rs` alone knows them all.
//! `integration/tests/architecture.rs` holds that.

pub mod absence;
pub mod access_log;
pub mod asset;
pub mod connection;
pub mod credentials;
pub mod file_server;
pub mod gate;
pub mod index;
pub mod router;
pub mod session;
pub mod store;
