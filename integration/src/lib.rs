//! The harness of the scenarios in `tests/`, which run the real Switchboard binaries: processes that are killed with
//! their scenario, their events, a server that can be restarted, a recording proxy, a tunnel that adds or removes TLS, a
//! server that lies, and a raw protocol client.
//!
//! All waits are for an event and have a deadline. All files are in temporary directories.

mod binaries;
pub mod browser;
pub mod classroom;
pub mod http;
pub mod keys;
mod liar;
mod link;
mod nats;
mod process;
mod proxy;
mod raw;
mod sandbox;
mod server;
pub mod tunnel;
pub mod webdriver;
mod websocket;

use std::time::Duration;

pub use binaries::{binary, cargo, repository};
pub use liar::{Liar, Lie};
pub use link::Link;
pub use nats::{Nats, StoppedNats};
pub use process::{Finished, Process, numbered, sha256_hex};
pub use proxy::{Passing, Proxy};
pub use raw::{Character, RawConnection};
pub use sandbox::{Peer, Sandbox};
pub use server::Server;

/// Deadline of every wait; far longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
