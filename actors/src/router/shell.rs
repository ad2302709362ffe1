//! The Router's thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::PeerName;

use super::core::Router;
use super::presence::PresenceOutbox;
use crate::commands::index::{IndexHandle, Presence};
use crate::commands::router::{Command, PresencePort, RouterHandle};
use crate::commands::session::SessionPort;
use crate::commands::store::{Inventory, StoreHandle};
use crate::config::PeerLimits;
use crate::runtime::{Address, Answers, Mailbox, Now, Running, Shell, mailbox, start as start_actor};

/// Room for commands: a batch from each of a thousand sessions. Sessions wait, and stop reading, while it is full.
const MAILBOX_COMMANDS: usize = 1024;
/// How long to leave the Index or the store alone when its mailbox was full.
const RETRY: Duration = Duration::from_millis(5);

/// The Router's mailbox, which has to be there before the store: the store tells the Router what it has done.
pub struct RouterMailbox {
    address: Address<Command>,
    mailbox: Mailbox<Command>,
    completed: Answers<Command>,
}

impl Default for RouterMailbox {
    fn default() -> Self {
        let (address, mut mailbox) = mailbox(MAILBOX_COMMANDS);
        // Without a bound, so that the store never waits for the Router, which may wait for the store. There is at most one
        // answer for each command to the store.
        let completed = mailbox.answers(None);
        Self { address, mailbox, completed }
    }
}

impl RouterMailbox {
    /// Where the store says what it has done.
    pub fn completed(&self) -> Answers<Command> {
        self.completed.clone()
    }
}

impl PresencePort for PresenceOutbox {
    fn presence(&mut self, peer: &PeerName, online: bool, address: Option<SocketAddr>) {
        self.tell(Presence { peer: peer.clone(), online, address });
    }

    fn catch_up(&mut self) -> bool {
        self.flush()
    }
}

/// Starts the Router over what is on disk.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    RouterMailbox { address, mailbox, completed: _ }: RouterMailbox,
    limits: PeerLimits,
    inventory: Inventory,
    store: StoreHandle,
    index: IndexHandle,
) -> std::io::Result<Running<RouterHandle>> {
    let server = inventory.server;
    let router = Router::new(limits, inventory, store, PresenceOutbox::new(index));
    let handle = RouterHandle { address: address.clone(), server, counts: Arc::clone(router.counts()) };
    start_actor("router", (address, mailbox), handle, router, RouterShell { out: () })
}

struct RouterShell {
    out: (),
}

impl Shell for RouterShell {
    type Core = Router<SessionPort, StoreHandle, PresenceOutbox>;

    fn out(&mut self) -> &mut () {
        &mut self.out
    }

    fn settle(&mut self, router: &mut Self::Core, now: Now) -> Option<Instant> {
        let retry = (!router.catch_up()).then(|| now.instant + RETRY);
        retry.into_iter().chain(router.sweep(now)).min()
    }

    fn end(&mut self, router: &mut Self::Core) {
        router.end();
    }
}
