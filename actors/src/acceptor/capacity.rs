//! The number of connections that the limit of file descriptors allows.

use rustix::process::{Resource, getrlimit};

use super::ADMIN_CONNECTIONS_MAX;
use crate::commands::file_server::OPEN_FILES_MAX;
use crate::config::Limits;

/// Descriptors for the store, logs, listening sockets, pollers, watched directories, and files that are open briefly.
const ACTORS_DESCRIPTORS: usize = 96;

/// The maximum number of connections that are kept open after a refusal, so that the client can read the response.
const LEAVING_CONNECTIONS_MAX: usize = 256;

/// Limits that apply in addition to the configured ones. Without them silent connections could take every descriptor, and then
/// no connection could be accepted and no file opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) connections: usize,
    /// The maximum number of connections from one address.
    pub(super) per_address: usize,
    /// The maximum number of descriptors of connections: one for each, and two for each peer.
    pub(super) descriptors: usize,
    /// The maximum number of connections that are kept open after a refusal.
    pub(super) leaving: usize,
}

impl Capacity {
    /// The capacity of this process, by its `RLIMIT_NOFILE`. If it is less than configured, logs a warning that says what
    /// to do.
    pub(super) fn of_this_process(limits: &Limits, sites: usize) -> Self {
        let limit = getrlimit(Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(usize::MAX);
        let capacity = Self::new(limits, limit, sites);
        if capacity.connections < limits.connections {
            tracing::warn!(
                target: "acceptor",
                sessions_max = limits.connections,
                connections_max = capacity.connections,
                connections_per_address = capacity.per_address,
                descriptors = limit,
                "this process may open too few files for --sessions-max, so it accepts fewer connections; raise the hard \
                 limit to {} (ulimit -Hn, or LimitNOFILE= of systemd), or lower --sessions-max",
                limits.connections + reserved(usize::MAX, sites)
            );
        }
        capacity
    }

    fn new(limits: &Limits, limit: usize, sites: usize) -> Self {
        // At least half of the descriptors are for connections.
        let descriptors = limit - reserved(limit, sites).min(limit / 2);
        let connections = limits.connections.min(descriptors);
        let is_shared = limits.connections_per_address < limits.connections;
        let per_address = match is_shared && connections < limits.connections {
            // One address must not have all of the fewer connections.
            true => limits.connections_per_address.min(Limits::share_of_one_address(connections)),
            false => limits.connections_per_address,
        };
        Self { connections, per_address, descriptors, leaving: leaving(limit) }
    }
}

fn leaving(limit: usize) -> usize {
    (limit / 16).min(LEAVING_CONNECTIONS_MAX)
}

fn reserved(limit: usize, sites: usize) -> usize {
    ACTORS_DESCRIPTORS + ADMIN_CONNECTIONS_MAX + leaving(limit) + sites * OPEN_FILES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_mean_few_connections() {
        let limits = Limits::default();
        let all = Capacity::new(&limits, 20_000, 1);
        assert_eq!((all.connections, all.per_address, all.leaving), (16_384, 12_288, 256));
        let few = Capacity::new(&limits, 1024, 1);
        assert_eq!((few.connections, few.per_address, few.leaving), (736, 552, 64));
        assert_eq!(few.descriptors, few.connections);
        let fewest = Capacity::new(&limits, 64, 9);
        assert_eq!((fewest.connections, fewest.per_address, fewest.leaving), (32, 24, 4));
    }

    #[test]
    fn what_was_configured_holds_where_it_can() {
        let limits = Limits { connections: 100, connections_per_address: 90, ..Limits::default() };
        assert_eq!(Capacity::new(&limits, 1024, 1).per_address, 90);
        // Behind a proxy all connections come from one address.
        let limits = Limits { connections: 2000, connections_per_address: 2000, ..Limits::default() };
        let capacity = Capacity::new(&limits, 1024, 1);
        assert!(capacity.per_address >= capacity.connections);
    }
}
