//! The root package as a library: the server's command, the peer, the web client, and how they print on a terminal.

mod control_socket;
pub mod peer;
pub mod server;
pub mod terminal;
pub mod webclient;
