//! A server of the cluster: the real Router and the real core of the cluster, and a model of the store.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use actors::cluster::{Cluster, OnDisk};
use actors::commands::cluster::{ClusterHandle, ClusterMailbox, Incarnation, WaitingEnd, cluster_mailbox};
use actors::commands::router::PresencePort;
use actors::commands::session::SessionId;
use actors::commands::store::{Command as StoreCommand, StorePort};
use actors::config::PeerLimits;
use actors::router::Router;
use wire::PeerName;
use wire::protocol::{ServerId, TransferId};

use super::transfers;
use crate::simulation::store::ServerDisk;

/// A store that has room for all commands.
#[derive(Clone, Default)]
pub(super) struct Store(pub(super) Rc<RefCell<VecDeque<StoreCommand>>>);

impl StorePort for Store {
    fn offer(&mut self, command: StoreCommand) -> Result<(), StoreCommand> {
        self.send(command);
        Ok(())
    }

    fn send(&mut self, command: StoreCommand) {
        self.0.borrow_mut().push_back(command);
    }
}

/// Tells the cluster who is connected, as the Router's own port does.
pub(super) struct Presences(ClusterHandle);

impl PresencePort for Presences {
    fn presence(&mut self, peer: &PeerName, session: SessionId, online: bool, address: Option<SocketAddr>) {
        self.0.presence(peer, session, online, address);
    }

    fn taken_elsewhere(&mut self, session: SessionId, before: u64) {
        self.0.taken(session, before);
    }

    fn transfer_waits(&mut self, transfer: TransferId, end: Option<WaitingEnd>) {
        self.0.transfer_waits(transfer, end);
    }

    fn catch_up(&mut self) -> bool {
        true
    }
}

pub(super) struct Server {
    pub(super) router: Router<Store, Presences>,
    pub(super) disk: ServerDisk,
    pub(super) store: Store,
    pub(super) is_committing: bool,
    pub(super) cluster: Cluster,
    pub(super) handle: ClusterHandle,
    pub(super) mailbox: ClusterMailbox,
    /// How many changes of the bucket it was told of.
    pub(super) seen: usize,
    pub(super) is_cut_off: bool,
    /// It was lost for good.
    pub(super) is_lost: bool,
}

impl Server {
    pub(super) fn new(at: usize, limits: &PeerLimits) -> Self {
        let (disk, store) = (ServerDisk::default(), Store::default());
        let (handle, mailbox) = cluster_mailbox();
        let presences = Presences(handle.clone());
        let router = Router::new(limits.clone(), disk.inventory(), store.clone(), presences);
        let on_disk = OnDisk { store: self::store(at), ..OnDisk::default() };
        let cluster = Cluster::new(incarnation(at), limits, on_disk);
        let cluster = cluster.advertising(Some(transfers::address(at)));
        let (seen, is_committing, is_cut_off, is_lost) = (0, false, false, false);
        Self { router, disk, store, is_committing, cluster, handle, mailbox, seen, is_cut_off, is_lost }
    }
}

pub(super) fn incarnation(at: usize) -> Incarnation {
    Incarnation(at as u64)
}

/// The identity of its store.
pub(super) fn store(at: usize) -> ServerId {
    let at = u8::try_from(at).expect("there are few servers");
    [at; 16]
}
