//! The root package as a library: the server's command, the peer, the web client, and how they print on a terminal.

pub mod peer;
pub mod server;
pub mod terminal;
pub mod webclient;
