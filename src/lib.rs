//! The client side of Switchboard as a library: the peer, the web client, and what both show on a terminal; and how the
//! server is configured.

pub mod hash_password;
pub mod peer;
pub mod server_config;
pub mod terminal;
pub mod web_client;
