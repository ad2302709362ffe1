//! Sessions: the actors for connections, each on its own thread.

mod buffers;
mod callback;
mod core;
mod ended;
mod flow;
mod interface;
mod routes;
mod runs;
mod shell;
mod splice;
#[cfg(test)]
mod tests;
mod transmissions;
mod untaken;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use wire::server_key::ServerKey;

use crate::commands::admission::AdmissionHandle;
use crate::commands::cluster::ClusterHandle;
use crate::commands::feed::FeedHandle;
use crate::commands::index::IndexHandle;
use crate::commands::memory::Memory;
use crate::commands::router::RouterHandle;
use crate::config::{Limits, PeerLimits};
use crate::handover::{Job, NewWorker, PeerJob, PollerHandle};
use crate::http::{self, Admin, Connection, Driver, Responder};
use crate::metrics::WebCounts;
use crate::runtime::isolated;

pub use self::buffers::{Incoming, Outgoing};
pub use self::core::Session;
pub use self::interface::{Answer, Effect, Encoded, Input, Question, SearchFor};
pub use self::watch::Terms;

#[derive(Debug, Clone)]
pub struct Services {
    pub router: RouterHandle,
    pub index: IndexHandle,
    /// Decides who may join; anybody may if there is none.
    pub admission: Option<AdmissionHandle>,
    /// The other servers, if there are any.
    pub(crate) cluster: Option<ClusterHandle>,
    /// The server's key, which each session proves to its peer.
    pub key: Arc<ServerKey>,
    /// The memory budget of all sessions of peers.
    pub(crate) memory: Arc<Memory>,
    pub limits: Arc<PeerLimits>,
    /// Where peers and their envelopes are shown, if anywhere.
    pub(crate) feed: Option<FeedHandle>,
    /// Set when the server shuts down. A session then ends when it has answered what it has received.
    pub stopping: Arc<AtomicBool>,
}

/// Makes the function that creates the worker of a session thread. Each worker has its own responder, which counts in
/// `counts`.
pub(crate) fn workers(
    services: Services,
    http: http::Services,
    limits: Limits,
    admin: Arc<Admin>,
    counts: Arc<WebCounts>,
) -> NewWorker {
    let shared = Arc::new(Shared { services, http, admin, limits, counts });
    Arc::new(move || {
        let mut worker = Worker { shared: Arc::clone(&shared), driver: None };
        Box::new(move |job| {
            worker.shared.counts.sessions.add(1);
            let is_whole = isolated(|| worker.run(job));
            if !is_whole {
                tracing::error!(target: "session", "a session panicked; the others go on");
            }
            if let Some(driver) = &mut worker.driver {
                if !is_whole {
                    driver.responder.reset();
                }
                driver.responder.writer.flush_log();
            }
            worker.shared.counts.sessions.subtract(1);
        })
    })
}

/// What all session threads use.
struct Shared {
    services: Services,
    http: http::Services,
    admin: Arc<Admin>,
    limits: Limits,
    counts: Arc<WebCounts>,
}

/// What a session thread has; little, because there is one for each connected peer.
struct Worker {
    shared: Arc<Shared>,
    /// For HTTP connections. It is created for the first of them, because most session threads serve one peer, and need
    /// no memory for its buffers.
    driver: Option<Box<Driver>>,
}

impl Worker {
    /// Does one job. Errors are logged here.
    fn run(&mut self, job: Job) {
        match job {
            Job::Peer(job) => run_peer(*job, &self.shared.services),
            Job::Answer(connection, poller) => self.answer(connection, &poller),
            Job::Connection(connection, poller) => self.serve(connection, &poller),
        }
    }

    // Not inlined, so that the frames of sessions of peers, which wait for long, have no room for HTTP connections.
    #[inline(never)]
    fn answer(&mut self, mut connection: Box<Connection>, poller: &PollerHandle) {
        let driver = self.driver();
        driver.responder.writer.set_time(SystemTime::now());
        if driver.wait(&mut connection) {
            poller.send(*connection, driver.responder.take_learned());
        }
    }

    #[inline(never)]
    fn serve(&mut self, connection: Box<Connection>, poller: &PollerHandle) {
        if let Some(of_peer) = self.driver().serve(*connection) {
            poller.send(of_peer, Vec::new());
        }
    }

    fn driver(&mut self) -> &mut Driver {
        let Shared { http, admin, limits, counts, .. } = &*self.shared;
        self.driver.get_or_insert_with(|| {
            let responder = Responder::new(http, Arc::clone(admin), Arc::clone(counts));
            Box::new(Driver::new(responder, limits.clone()))
        })
    }
}

fn run_peer(job: PeerJob, services: &Services) {
    let _span = tracing::info_span!(target: "session", "session", id = job.id, address = %job.address);
    let _entered = _span.enter();
    if let Err(error) = shell::serve(job, services) {
        tracing::debug!(target: "session", %error, "ended");
    }
}
