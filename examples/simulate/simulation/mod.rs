//! A whole network in one thread and in virtual time: engines of peers, each with a disk, and the server's Router with
//! its sessions and its store. A seed decides everything that happens; the same seed is the same run, byte for byte.
//!
//! For a while things go wrong: processes crash, connections break and stall, disks are full, the server misbehaves. Then
//! all of it is mended, and within [`DELIVERED_WITHIN`] every message must have arrived: once, in order, whole, and known
//! to its sender. `check.rs` has what must hold at every moment.

mod check;
mod disk;
pub(super) mod keys;
mod network;
mod peer;
pub(super) mod schedule;
mod server;
pub(super) mod session;
pub(super) mod store;
mod world;

use std::time::Duration;

use wire::protocol::ServerId;

use world::World;

/// The maximum number of peers of a network.
pub(super) const PEERS_MAX: usize = 3;
const NAMES: [&str; PEERS_MAX] = ["A", "B", "C"];
const SERVER: ServerId = [7; 16];

/// How much virtual time everything may take to be delivered once nothing goes wrong any more.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);
/// So much more once days have passed: then each peer makes a key and joins again with it, and what was sealed for the old key
/// may have to be sealed anew.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);

/// A run that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// A digest of everything that has happened.
    pub(super) digest: u64,
    /// How many messages were delivered.
    pub(super) messages: usize,
    /// How much virtual time they took after all was mended.
    pub(super) took: Duration,
}

/// Runs a network as a seed says. With `trace`, every step is printed.
///
/// # Errors
/// What does not hold, and when.
pub(super) fn run(seed: u64, trace: bool) -> Result<Report, String> {
    World::new(seed, trace).run()
}
