//! The client side of Switchboard as a library: the peer, the web client, and what both show on a terminal.

pub mod peer;
pub mod terminal;
pub mod web_client;
