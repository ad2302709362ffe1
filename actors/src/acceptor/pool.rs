//! The threads of sessions. A thread whose session has ended waits a while for the next one, which saves starting a thread.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::handover::{Job, NewWorker};
use crate::linux::CpuSet;

/// How long a session thread waits for its next session before it ends.
const IDLE_THREAD: Duration = Duration::from_secs(30);
/// The stack of a session thread. It is enough for the deepest call; pages that are not used take no memory.
const STACK_BYTES: usize = 256 << 10;
/// The capacity of the channel between pollers and session threads. With none, a full channel means that no thread is idle.
const HANDOFF: usize = 0;

/// Where jobs are handed over. When all clones are dropped the threads end after their current session.
#[derive(Clone)]
pub(super) struct Pool {
    jobs: Sender<Job>,
    thread: Arc<Thread>,
    stack_bytes: usize,
}

/// What all session threads need.
struct Thread {
    next_job: Receiver<Job>,
    new_worker: NewWorker,
    /// The processors of the whole process: a thread inherits only the one of the poller that starts it.
    cpus: Option<CpuSet>,
    /// Dropped when all threads have ended. Nothing is ever sent.
    _alive: Sender<()>,
}

/// Disconnected when all session threads have ended.
pub(super) type AllEnded = Receiver<()>;

impl Pool {
    pub(super) fn new(new_worker: NewWorker, cpus: Option<CpuSet>) -> (Self, AllEnded) {
        let (jobs, next_job) = bounded(HANDOFF);
        let (alive, all_ended) = bounded(0);
        let thread = Arc::new(Thread { next_job, new_worker, cpus, _alive: alive });
        (Self { jobs, thread, stack_bytes: STACK_BYTES }, all_ended)
    }

    /// Gives a job to an idle thread, or else to a new one. Without a thread the job is dropped, which closes its connection.
    pub(super) fn start(&self, job: Job) {
        let job = match self.jobs.try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        };
        let thread = Arc::clone(&self.thread);
        let builder = std::thread::Builder::new().name("session".into()).stack_size(self.stack_bytes);
        if let Err(error) = builder.spawn(move || thread.work(job)) {
            tracing::warn!(target: "acceptor", %error, "no thread for a session; its connection is closed");
        }
    }
}

impl Thread {
    fn work(&self, first: Job) {
        if let Some(cpus) = &self.cpus {
            cpus.apply();
        }
        let mut work = (self.new_worker)();
        let mut next = Some(first);
        while let Some(job) = next {
            work(job);
            next = self.next_job.recv_timeout(IDLE_THREAD).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::commands::connection::{Door, Visitor};
    use crate::commands::gate::Gate;
    use crate::handover::PollerHandle;
    use crate::http::Connection;
    use crate::transport::Transport;

    const SOON: Duration = Duration::from_secs(20);

    fn job(listener: &TcpListener, gate: &Arc<Gate>) -> (TcpStream, Job) {
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        client.set_read_timeout(Some(SOON)).expect("it is a socket");
        let (stream, address) = listener.accept().expect("a client has connected");
        let visitor = Visitor { address: Some(address), door: Door::Public };
        let place = gate.enter(visitor.ip()).expect("there is room");
        let connection = Connection::new(1, Transport::plain(stream), visitor, place, Instant::now());
        let (poller, _) = PollerHandle::new().expect("there is a descriptor");
        (client, Job::Connection(Box::new(connection), poller))
    }

    #[test]
    fn without_a_thread_the_connection_is_closed_and_the_next_one_is_served() {
        let (done, is_done) = bounded(1);
        let worker: NewWorker = Arc::new(move || {
            let done = done.clone();
            Box::new(move |_| done.send(()).expect("the test waits"))
        });
        let (mut pool, all_ended) = Pool::new(worker, None);
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let gate = Arc::new(Gate::unshared(1));
        // No machine has so much address space: the system answers EAGAIN, as it does at its limit of threads.
        pool.stack_bytes = 1 << 60;
        let (mut client, first) = job(&listener, &gate);
        pool.start(first);
        assert_eq!(client.read(&mut [0]).expect("it is closed in good order"), 0);
        assert_eq!((gate.open(), is_done.try_recv().is_err()), (0, true));
        pool.stack_bytes = STACK_BYTES;
        let (_client, second) = job(&listener, &gate);
        pool.start(second);
        is_done.recv_timeout(SOON).expect("there is a thread");
        drop(pool);
        assert_eq!(all_ended.recv_timeout(SOON), Err(crossbeam_channel::RecvTimeoutError::Disconnected));
    }
}
