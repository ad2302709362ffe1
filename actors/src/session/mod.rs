//! Session: one connection, from its first bytes to its last.

pub mod http;
