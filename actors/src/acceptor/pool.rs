//! The threads that sessions run on.
//!
//! A thread that is done waits a while for the next session, so that a session usually costs no new thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::config::Limits;
use crate::linux::CpuSet;
use crate::metrics::WebCounts;
use crate::session::http::Admin;
use crate::session::{self, Job, Services};

/// How long a session thread waits for its next session before it ends.
const IDLE_THREAD: Duration = Duration::from_secs(30);
/// Enough for the deepest session; untouched pages cost nothing.
const STACK_BYTES: usize = 256 << 10;
/// Room for sessions between a poller and a session thread: none, so that a full channel means no idle thread.
const HANDOFF: usize = 0;

/// Where sessions are handed over. Dropping all of them ends the threads once their sessions have ended.
#[derive(Clone)]
pub(super) struct Pool {
    jobs: Sender<Job>,
    worker: Worker,
}

/// What every session thread has.
#[derive(Clone)]
struct Worker {
    next_job: Receiver<Job>,
    services: Services,
    limits: Limits,
    admin: Arc<Admin>,
    counts: Arc<WebCounts>,
    /// Where session threads may run: anywhere, although pollers do not.
    cpus: Option<CpuSet>,
    /// Dropped when the thread ends; nothing is ever sent.
    alive: Sender<()>,
}

/// Tells when all session threads have ended: then it is disconnected.
pub(super) type AllEnded = Receiver<()>;

impl Pool {
    pub(super) fn new(
        services: Services,
        limits: Limits,
        admin: Arc<Admin>,
        counts: Arc<WebCounts>,
        cpus: Option<CpuSet>,
    ) -> (Self, AllEnded) {
        let (jobs, next_job) = bounded(HANDOFF);
        let (alive, all_ended) = bounded(0);
        (Self { jobs, worker: Worker { next_job, services, limits, admin, counts, cpus, alive } }, all_ended)
    }

    /// Starts a session on a thread that is idle, or else on a new one.
    pub(super) fn start(&self, job: Job) {
        let job = match self.jobs.try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        };
        let worker = self.worker.clone();
        let spawned = std::thread::Builder::new()
            .name("session".into())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.work(job));
        if let Err(error) = spawned {
            tracing::warn!(target: "acceptor", %error, "no thread for a session; it is turned away");
        }
    }
}

impl Worker {
    fn work(self, first: Job) {
        if let Some(cpus) = &self.cpus {
            cpus.apply();
        }
        let Self { next_job, services, limits, admin, counts, cpus: _, alive: _alive } = self;
        let mut responder = services.responder(&admin, Arc::clone(&counts), true);
        drop(admin);
        let mut next = Some(first);
        while let Some(job) = next {
            counts.sessions.fetch_add(1, Ordering::Relaxed);
            if !isolated(|| session::run(job, &services, &limits, &mut responder)) {
                tracing::error!(target: "session", "a session panicked; the others go on");
                responder.reset();
            }
            counts.sessions.fetch_sub(1, Ordering::Relaxed);
            next = next_job.recv_timeout(IDLE_THREAD).ok();
        }
        responder.flush_log();
    }
}

/// Runs what belongs to one connection. If it panics it ends alone: false.
pub(super) fn isolated(serve: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(serve)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_panics_ends_alone() {
        assert!(isolated(|| {}));
        assert!(!isolated(|| panic!("this panic is part of a test")));
    }
}
