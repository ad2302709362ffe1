//! Sessions: the actors for connections, each on its own thread.

mod buffers;
mod callback;
mod core;
mod ended;
mod flow;
mod interface;
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
use crate::commands::index::IndexHandle;
use crate::commands::memory::Memory;
use crate::commands::router::RouterHandle;
use crate::config::{Limits, PeerLimits};
use crate::handover::{Job, NewWorker, PeerJob};
use crate::http::{self, Admin, Driver, Responder};
use crate::metrics::WebCounts;
use crate::runtime::isolated;

pub use self::buffers::{Incoming, Outgoing};
pub use self::core::Session;
pub use self::interface::{Answer, Claim, Effect, Input, Question};
pub use self::watch::Terms;

/// What the session of a peer uses.
#[derive(Debug, Clone)]
pub struct Services {
    /// The Router.
    pub router: RouterHandle,
    /// The Index.
    pub index: IndexHandle,
    /// Decides who may join; anybody may if there is none.
    pub admission: Option<AdmissionHandle>,
    /// The server's key, which each session proves to its peer.
    pub key: Arc<ServerKey>,
    /// The memory budget of all sessions of peers.
    pub(crate) memory: Arc<Memory>,
    /// The limits for peers.
    pub limits: Arc<PeerLimits>,
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
    Arc::new(move || {
        let (services, counts) = (services.clone(), Arc::clone(&counts));
        let responder = Responder::new(&http, Arc::clone(&admin), Arc::clone(&counts));
        let mut driver = Driver::new(responder, limits.clone());
        Box::new(move |job| {
            counts.sessions.add(1);
            if !isolated(|| run(job, &services, &mut driver)) {
                tracing::error!(target: "session", "a session panicked; the others go on");
                driver.responder.reset();
            }
            driver.responder.writer.flush_log();
            counts.sessions.subtract(1);
        })
    })
}

/// Does one job. Errors are logged here.
fn run(job: Job, services: &Services, driver: &mut Driver) {
    match job {
        Job::Peer(job) => run_peer(job, services),
        Job::Answer(mut connection, poller) => {
            driver.responder.writer.set_time(SystemTime::now());
            if driver.wait(&mut connection) {
                poller.send(*connection, driver.responder.take_learned());
            }
        }
        Job::Connection(connection) => match driver.serve(*connection).map(PeerJob::new) {
            None => {}
            Some(Ok(job)) => run_peer(job, services),
            Some(Err(reason)) => tracing::warn!(target: "session", reason, "a peer is turned away"),
        },
    }
}

fn run_peer(job: PeerJob, services: &Services) {
    let _span = tracing::info_span!(target: "session", "session", id = job.id, address = %job.address);
    let _entered = _span.enter();
    if let Err(error) = shell::serve(job, services) {
        tracing::debug!(target: "session", %error, "ended");
    }
}
