//! The Router's thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::protocol::TransferId;

use super::core::Router;
use super::presence::PresenceOutbox;
use crate::commands::cluster::{ClusterHandle, WaitingEnd};
use crate::commands::index::{IndexHandle, Presence};
use crate::commands::router::{Command, PresencePort, RouterHandle};
use crate::commands::session::SessionId;
use crate::commands::store::{Inventory, StoreHandle};
use crate::config::PeerLimits;
use crate::runtime::{Address, Answers, Mailbox, Now, Running, Shell, mailbox, start as start_actor};

/// A batch of commands from each of a thousand sessions. While the mailbox is full, sessions wait and stop reading
/// their sockets.
const MAILBOX_COMMANDS: usize = 1024;
/// The pause before a retry when the mailbox of the Index or the store was full.
const RETRY: Duration = Duration::from_millis(5);

/// The Router's mailbox. It is made before the store, because the store sends its completions to it.
pub struct RouterMailbox {
    address: Address<Command>,
    mailbox: Mailbox<Command>,
    completed: Answers<Command>,
}

impl Default for RouterMailbox {
    fn default() -> Self {
        let (address, mut mailbox) = mailbox(MAILBOX_COMMANDS);
        // This lane is unbounded, because the Router may wait for the store, so the store must never wait for the
        // Router. It holds at most one completion for each command to the store.
        let completed = mailbox.answers(None);
        Self { address, mailbox, completed }
    }
}

impl RouterMailbox {
    /// Where the store sends its completions.
    pub fn completed(&self) -> Answers<Command> {
        self.completed.clone()
    }
}

impl PresencePort for PresenceOutbox {
    fn presence(&mut self, peer: &PeerName, session: SessionId, online: bool, address: Option<SocketAddr>) {
        if let Some(cluster) = &self.cluster {
            cluster.presence(peer, session, online, address);
        }
        self.tell(Presence { peer: peer.clone(), online, address });
    }

    fn taken_elsewhere(&mut self, session: SessionId, before: u64) {
        if let Some(cluster) = &self.cluster {
            cluster.taken(session, before);
        }
    }

    fn transfer_waits(&mut self, transfer: TransferId, end: Option<WaitingEnd>) {
        if let Some(cluster) = &self.cluster {
            cluster.transfer_waits(transfer, end);
        }
    }

    fn catch_up(&mut self) -> bool {
        self.flush()
    }
}

/// Starts the Router with what is on disk.
///
/// If the thread cannot be started.
pub fn start(
    RouterMailbox { address, mailbox, completed: _ }: RouterMailbox,
    limits: PeerLimits,
    inventory: Inventory,
    store: StoreHandle,
    index: IndexHandle,
    cluster: Option<ClusterHandle>,
) -> std::io::Result<Running<RouterHandle>> {
    let server = inventory.server;
    let router = Router::new(limits, inventory, store, PresenceOutbox::new(index, cluster));
    let handle = RouterHandle { address: address.clone(), server, counts: Arc::clone(router.counts()) };
    start_actor("router", (address, mailbox), handle, router, RouterShell)
}

struct RouterShell;

impl Shell for RouterShell {
    type Core = Router<StoreHandle, PresenceOutbox>;

    fn settle(&mut self, router: &mut Self::Core, (): &mut (), now: Now) -> Option<Instant> {
        let retry = (!router.catch_up()).then(|| now.instant + RETRY);
        retry.into_iter().chain(router.sweep(now)).min()
    }

    fn end(&mut self, router: &mut Self::Core) {
        router.end();
    }
}
