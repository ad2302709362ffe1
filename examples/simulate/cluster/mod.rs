//! Servers of a cluster in one thread and in virtual time: the real Router and the real core of the cluster of each, over models of
//! NATS and of the store. A seed decides everything that happens.
//!
//! Some servers are lost for good. What was only relayed may be lost with them, but nothing that was reported as stored.
//!
//! For a while NATS loses, delays and doubles packets and answers, servers are cut off, and peers move to other servers. Then all
//! of it is mended, and every envelope that a server has accepted must arrive. A peer that has stayed at its server, and got no mail in
//! the place of a server that was silent, must have got the envelopes of each sender in order.

mod mail;
mod nats;
mod peer;
mod server;
mod sessions;
mod transfers;
mod world;

use std::time::Duration;

use world::World;

/// From this seed on, peers get files from each other too.
pub(super) const FIRST_WITH_TRANSFERS: u64 = 1000;
/// From this seed on, mailboxes have room for few envelopes.
pub(super) const FIRST_WITH_SMALL_MAILBOXES: u64 = 2000;
const SERVERS: usize = 3;
/// How much virtual time everything may take to arrive once nothing goes wrong any more.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);

/// Runs servers as a seed says, and returns how many envelopes have arrived, and how long the last one took after all was mended.
/// With `trace`, every step is printed.
///
/// # Errors
/// What does not hold, and when.
pub(super) fn run(seed: u64, trace: bool) -> Result<(usize, Duration), String> {
    World::new(seed, trace).run()
}
