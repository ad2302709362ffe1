//! The Acceptor: listening sockets, limits of connections, resting connections, and the threads of sessions.
//!
//! It has one poller for each processor (`poller.rs`). The pollers share the listening sockets and the atomic counts of the
//! gate. A connection belongs to one poller or to one session at a time, and is sent from the one to the other.

mod capacity;
mod listener;
mod poller;
mod pool;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::TryRecvError;

pub(crate) use self::listener::Listener;

use self::capacity::Capacity;
use self::poller::{Poller, Shared};
use self::pool::{AllEnded, Pool};
use crate::commands::connection::Door;
use crate::commands::gate::Gate;
use crate::config::Limits;
use crate::handover::{NewWorker, PollerHandle};
use crate::http::{self, Admin, Responder};
use crate::linux::CpuSet;
use crate::metrics::WebCounts;
use crate::runtime::spawn_vital;
use crate::tls::TlsConfig;

/// The maximum number of pollers. With more processors the network is the limit.
const POLLERS_MAX: usize = 64;
/// The maximum number of connections to the admin address. They do not count towards `--sessions-max`.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// A running Acceptor. Dropping it stops accepting and ends the sessions, and waits for them up to a deadline.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// Its TCP addresses without TLS.
    pub addresses: Vec<SocketAddr>,
    /// Its TCP addresses with TLS.
    pub tls_addresses: Vec<SocketAddr>,
    /// The address for health check and metrics.
    pub admin: Option<SocketAddr>,
    stopping: Arc<AtomicBool>,
    pollers: Vec<PollerHandle>,
    threads: Vec<JoinHandle<()>>,
    all_ended: AllEnded,
}

impl Acceptor {
    /// The pollers, which take other certificates while they run.
    pub(crate) fn pollers(&self) -> &[PollerHandle] {
        &self.pollers
    }

    /// Ends it as dropping it does, and returns whether all sessions have ended.
    #[must_use]
    pub(crate) fn stop(self) -> bool {
        let all_ended = self.all_ended.clone();
        // Waits for the pollers, which wait for the sessions.
        drop(self);
        all_ended.try_recv() != Err(TryRecvError::Empty)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for poller in &self.pollers {
            poller.wake();
        }
        for thread in self.threads.drain(..) {
            // A panic in there has ended the process.
            let _ = thread.join();
        }
    }
}

/// Starts the pollers. `new_worker` gets the admin pages and the counters of sessions.
pub(crate) fn start(
    listeners: Vec<Listener>,
    limits: Limits,
    http_threads: bool,
    tls: &TlsConfig,
    services: &http::Services,
    new_worker: impl FnOnce(Arc<Admin>, Arc<WebCounts>) -> NewWorker,
) -> io::Result<Acceptor> {
    let addresses_of =
        |door| listeners.iter().filter(move |l| l.door() == door).filter_map(Listener::address);
    let addresses = addresses_of(Door::Public).collect();
    let tls_addresses = addresses_of(Door::Tls).collect();
    let admin_address = addresses_of(Door::Admin).next();
    let stopping = Arc::clone(&services.stopping);
    let cpus = CpuSet::of_this_thread();
    let mut inboxes = Vec::new();
    for cpu in poller_cpus(cpus.as_ref()) {
        inboxes.push((cpu, PollerHandle::new()?, Arc::<WebCounts>::default()));
    }
    let capacity = Capacity::of_this_process(&limits, services.sites.all().len());
    let gate = Arc::new(Gate::new(capacity.connections, capacity.per_address, capacity.descriptors));
    let admin_gate = Arc::new(Gate::unshared(ADMIN_CONNECTIONS_MAX));
    let leaving_gate = Arc::new(Gate::unshared(capacity.leaving));
    let of_sessions = Arc::<WebCounts>::default();
    let web = inboxes.iter().map(|(_, _, counts)| counts).chain([&of_sessions]).cloned().collect();
    let peers = Arc::clone(&services.peers);
    let admin = Arc::new(Admin { sites: Arc::clone(&services.sites), gate: Arc::clone(&gate), web, peers });
    let pollers = inboxes.iter().map(|(_, (handle, _), _)| handle.clone()).collect();
    let by_cpu: HashMap<usize, PollerHandle> =
        inboxes.iter().filter_map(|(cpu, (handle, _), _)| Some(((*cpu)?, handle.clone()))).collect();
    let (pool, all_ended) = Pool::new(new_worker(Arc::clone(&admin), of_sessions), cpus);
    let shared = Arc::new(Shared {
        listeners,
        gate,
        admin_gate,
        leaving_gate,
        limits,
        http_threads,
        next_id: AtomicU64::new(1),
        by_cpu,
        all_ended: all_ended.clone(),
    });
    // If a poller fails to start, dropping this ends the others.
    let mut acceptor = Acceptor {
        addresses,
        tls_addresses,
        admin: admin_address,
        stopping,
        pollers,
        threads: Vec::new(),
        all_ended,
    };
    for (cpu, inbox, counts) in inboxes {
        let responder = Responder::new(services, Arc::clone(&admin), counts);
        let poller = Poller::new(Arc::clone(&shared), cpu, inbox, tls.clone(), pool.clone(), responder)?;
        acceptor.threads.push(spawn_vital("poller", move || poller.run())?);
    }
    Ok(acceptor)
}

/// The processor of each poller. If they are unknown there is one poller that runs on any.
fn poller_cpus(cpus: Option<&CpuSet>) -> Vec<Option<usize>> {
    let numbers: Vec<_> = cpus.into_iter().flat_map(CpuSet::numbers).take(POLLERS_MAX).map(Some).collect();
    if numbers.is_empty() { vec![None] } else { numbers }
}
