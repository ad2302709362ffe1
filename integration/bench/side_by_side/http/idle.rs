//! The memory of a connection that is idle after a response.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use measure::Idle;
use rustls::ClientConfig;

use super::site;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::machine;
use crate::servers::Server;

/// The number of connections, if the limit of descriptors allows it.
const CONNECTIONS: usize = 10_000;
const CONNECTIONS_QUICK: usize = 1000;
/// Descriptors that both ends need beside the connections.
const OTHER_DESCRIPTORS: usize = 256;
/// Limit for a connection of our server.
pub(super) const LIMIT_KIB: f64 = 24.0;
/// Time for work that a server does after its last response.
const REST: Duration = Duration::from_secs(1);

/// The number of connections that is possible; prints a note if it is less than wanted.
pub(super) fn connections(descriptors: usize, is_quick: bool) -> usize {
    let wanted = if is_quick { CONNECTIONS_QUICK } else { CONNECTIONS };
    let possible = descriptors.saturating_sub(OTHER_DESCRIPTORS);
    if possible < wanted {
        eprintln!("  the system allows {descriptors} descriptors, so only {possible} connections");
    }
    wanted.min(possible)
}

/// Opens `connections`, with TLS if there is a configuration for it, to a freshly started server, and sends one request on each.
pub(super) fn measure(
    server: &Server,
    name: &str,
    tls: Option<&Arc<ClientConfig>>,
    limit_kib: Option<f64>,
    connections: usize,
    interrupt: &Interrupt,
) -> Result<Idle> {
    // The first request fills the caches.
    let connect = || match tls {
        None => Client::connect(server.address),
        Some(config) => Client::connect_tls(server.tls, config),
    };
    connect()?.get(site::SMALL)?;
    std::thread::sleep(REST);
    let before_kib = resident_kib(server)?;
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        interrupt.check()?;
        let client = connect().and_then(|mut client| {
            client.get(site::SMALL)?;
            Ok(client)
        });
        match client {
            Ok(client) => open.push(client),
            // A limit of the system on threads or ports. The open connections can still be measured.
            Err(e) if number > 0 => {
                eprintln!("  {name}: only {number} connections: {e:#}");
                break;
            }
            Err(e) => bail!(e),
        }
    }
    std::thread::sleep(REST);
    let ids = server.processes()?;
    Ok(Idle {
        server: name.to_owned(),
        connections: open.len(),
        before_kib,
        after_kib: resident_kib(server)?,
        threads: ids.iter().map(|&id| machine::threads(id)).sum::<Result<u64>>()?,
        limit_kib,
    })
}

fn resident_kib(server: &Server) -> Result<u64> {
    server.processes()?.iter().map(|&id| machine::resident_kib(id)).sum()
}
