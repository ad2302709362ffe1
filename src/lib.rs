//! The root package as a library: the server's command, the peer, the web client, and how they print on a terminal.

mod control_socket;
pub mod peer;
pub mod server;
mod server_pins;
mod stream;
pub mod terminal;
mod tls;
pub mod webclient;

/// The time now, in seconds since 1970.
fn unix_now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
