//! The threads that sessions run on.
//!
//! A thread that is done waits a while for the next session, so that a session usually costs no new thread.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::handover::{Job, NewWorker};
use crate::linux::CpuSet;

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
    thread: Thread,
}

/// What every session thread has.
#[derive(Clone)]
struct Thread {
    next_job: Receiver<Job>,
    new_worker: NewWorker,
    /// Where session threads may run: anywhere, although pollers do not.
    cpus: Option<CpuSet>,
    /// Dropped when the thread ends; nothing is ever sent.
    alive: Sender<()>,
}

/// Tells when all session threads have ended: then it is disconnected.
pub(super) type AllEnded = Receiver<()>;

impl Pool {
    pub(super) fn new(new_worker: NewWorker, cpus: Option<CpuSet>) -> (Self, AllEnded) {
        let (jobs, next_job) = bounded(HANDOFF);
        let (alive, all_ended) = bounded(0);
        (Self { jobs, thread: Thread { next_job, new_worker, cpus, alive } }, all_ended)
    }

    /// Starts a session on a thread that is idle, or else on a new one.
    pub(super) fn start(&self, job: Job) {
        let job = match self.jobs.try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        };
        let thread = self.thread.clone();
        let spawned = std::thread::Builder::new()
            .name("session".into())
            .stack_size(STACK_BYTES)
            .spawn(move || thread.work(job));
        if let Err(error) = spawned {
            tracing::warn!(target: "acceptor", %error, "no thread for a session; it is turned away");
        }
    }
}

impl Thread {
    fn work(self, first: Job) {
        if let Some(cpus) = &self.cpus {
            cpus.apply();
        }
        let Self { next_job, new_worker, cpus: _, alive: _alive } = self;
        let mut work = new_worker();
        // It keeps the Router alive, which must be able to end while a thread is idle.
        drop(new_worker);
        let mut next = Some(first);
        while let Some(job) = next {
            work(job);
            next = next_job.recv_timeout(IDLE_THREAD).ok();
        }
    }
}
