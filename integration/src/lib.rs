//! What the scenarios in `tests/` need to drive the real Switchboard binaries from outside: processes that end with
//! their scenario, their events, a server to restart, a wire to listen in on, a server that lies, and a client that breaks the rules.
//!
//! Everything waits for an event with a deadline; nothing sleeps and hopes. Everything happens in temporary folders.

mod binaries;
pub mod http;
mod liar;
mod process;
mod proxy;
mod raw;
mod sandbox;
mod server;

use std::time::Duration;

pub use binaries::{binary, repository};
pub use liar::{Liar, Lie};
pub use process::{Finished, Process, numbered, sha256_hex};
pub use proxy::{Passing, Proxy};
pub use raw::{Character, RawConnection};
pub use sandbox::{Peer, Sandbox};
pub use server::Server;

/// How long anything may take before a scenario gives up: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
