//! The latency of a client while slowhttptest attacks our server.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use integration::Process;
use measure::Attack;

use super::site;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::machine;
use crate::servers::Server;

const CONNECTIONS: usize = 500;
const CONNECTIONS_PER_SECOND: usize = 500;
const SECONDS: u64 = 8;
/// Maximum ratio of the client's median during and before the attack.
const LIMIT: f64 = 2.0;
/// How long the latency is measured before and during the attack. The attacker needs a second to open its connections.
const BEFORE: Duration = Duration::from_secs(2);
const DURING: Duration = Duration::from_secs(6);
/// Interval between counts of the connections.
const LOOK: Duration = Duration::from_millis(50);

/// A mode of slowhttptest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Its name for `--only`.
    pub(super) name: &'static str,
    title: &'static str,
    path: &'static str,
    arguments: &'static [&'static str],
}

/// All modes, with options similar to those in the manual.
pub(super) const MODES: [Mode; 4] = [
    Mode {
        name: "slow-headers",
        title: "slow headers",
        path: site::SMALL,
        arguments: &["-H", "-i", "1", "-x", "24"],
    },
    Mode {
        name: "slow-body",
        title: "slow body",
        path: site::SMALL,
        arguments: &["-B", "-i", "1", "-s", "8192", "-x", "10"],
    },
    Mode {
        name: "range-attack",
        title: "range attack",
        path: site::MIDDLE,
        arguments: &["-R", "-t", "GET", "-a", "10", "-b", "3000"],
    },
    Mode {
        name: "slow-read",
        title: "slow read",
        path: site::LARGE,
        arguments: &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
    },
];

/// Measures one mode with a freshly started server.
pub(super) fn measure(mode: &Mode, program: &Path, server: &Server, interrupt: &Interrupt) -> Result<Attack> {
    let mut client = Client::connect(server.address)?;
    // The first responses fill the caches.
    client.latency(site::SMALL, LOOK, interrupt, || Ok(false))?;
    let before =
        client.latency(site::SMALL, BEFORE, interrupt, || Ok(false))?.context("the server answers")?;
    let descriptors = machine::descriptors(server.id())?;
    let mut command = Command::new(program);
    command
        .args(mode.arguments)
        .args(["-c", &CONNECTIONS.to_string(), "-r", &CONNECTIONS_PER_SECOND.to_string()])
        .args(["-l", &SECONDS.to_string(), "-p", "3", "-v", "0"])
        .args(["-u", &format!("http://{}{}", server.address, mode.path)]);
    let attacker = Process::start("slowhttptest", command);
    // Measure from the first connection on. A server that closes the connections at once never has all of them, and the
    // attack ends early.
    let mut connections = 0;
    let mut next_look = Instant::now();
    let is_over = || {
        if Instant::now() >= next_look {
            connections = connections.max(machine::descriptors(server.id())?.saturating_sub(descriptors));
            next_look = Instant::now() + LOOK;
        }
        Ok(attacker.has_ended())
    };
    let during = client.latency(site::SMALL, DURING, interrupt, is_over)?;
    let (name, title) = (mode.name.to_owned(), mode.title.to_owned());
    Ok(Attack { name, title, connections, before, during, limit: LIMIT })
}
