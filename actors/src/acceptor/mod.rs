//! The Acceptor: the listening socket, the limit of sessions, and the threads they run on.
//!
//! A session thread that is done waits for the next connection, so that a connection costs no new thread. The Acceptor
//! knows each open connection by a weak reference only: enough to end it when the server ends.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::linux;
use crate::router::Command;
use crate::runtime::Vital;
use crate::runtime::spawn_vital;
use crate::session::{self, Services, SessionId};

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;
/// How long a session thread waits for its next connection before it ends.
const IDLE_THREAD: Duration = Duration::from_secs(30);
/// Enough for the deepest session, with its 4 KiB first read; untouched pages cost nothing.
const STACK_BYTES: usize = 256 << 10;
/// How long to let connections be after the system had no descriptor or memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long sessions have to end when the server ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How long those that did not have after their connections are closed.
const CUT_OFF: Duration = Duration::from_secs(2);
/// After this long without a word TCP asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Room for connections between the Acceptor and a session thread: none, so that a full channel means no idle thread.
const HANDOFF: usize = 0;

/// A connection with its name.
type Job = (SessionId, Arc<TcpStream>);

/// A running Acceptor. Dropping it stops accepting, ends the sessions, and waits for them up to a deadline.
#[derive(Debug)]
pub struct Acceptor {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<OwnedFd>,
    _thread: Vital,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        linux::raise(&self.stop);
    }
}

/// Binds a listening socket.
///
/// # Errors
/// Those of the system, for example when the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Starts to accept on a socket made by [`listen`].
///
/// # Errors
/// When the system gives no thread or descriptor.
pub fn start(listener: TcpListener, sessions_max: usize, services: Services) -> io::Result<Acceptor> {
    let address = listener.local_addr()?;
    let stop = Arc::new(linux::event()?);
    let (jobs, next_job) = bounded(HANDOFF);
    let (alive, all_ended) = bounded(0);
    let pool = Pool { next_job, services, open: Arc::new(AtomicUsize::new(0)), _alive: alive };
    let state = State {
        listener,
        stop: Arc::clone(&stop),
        sessions_max,
        pool,
        jobs,
        next_id: 1,
        connections: HashMap::new(),
    };
    let thread = spawn_vital("acceptor", move || state.run(&all_ended))?;
    Ok(Acceptor { address, stop, _thread: thread })
}

/// What every session thread has.
#[derive(Clone)]
struct Pool {
    next_job: Receiver<Job>,
    services: Services,
    /// Sessions that are not at their end.
    open: Arc<AtomicUsize>,
    /// Dropped when the thread ends; nothing is ever sent.
    _alive: Sender<()>,
}

struct State {
    listener: TcpListener,
    stop: Arc<OwnedFd>,
    sessions_max: usize,
    pool: Pool,
    jobs: Sender<Job>,
    next_id: SessionId,
    connections: HashMap<SessionId, Weak<TcpStream>>,
}

impl State {
    fn run(mut self, all_ended: &Receiver<()>) {
        while self.wait() {
            loop {
                match self.listener.accept() {
                    Ok((stream, _)) => self.admit(stream),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(target: "acceptor", %error, "cannot accept; trying again");
                        std::thread::sleep(ACCEPT_PAUSE);
                        break;
                    }
                }
            }
        }
        self.end(all_ended);
    }

    /// Waits for a connection. False when the server ends.
    fn wait(&self) -> bool {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(borrow(&self.stop), PollFlags::IN),
        ];
        // An error here leaves nothing ready, and the next round tries again.
        let _ = rustix::event::poll(&mut fds, None);
        fds[1].revents().is_empty()
    }

    fn admit(&mut self, stream: TcpStream) {
        if self.pool.open.load(Ordering::Relaxed) >= self.sessions_max {
            tracing::warn!(target: "acceptor", sessions_max = self.sessions_max, "too many sessions; one is turned away");
            return;
        }
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        // Without it a peer that vanished is noticed later.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let stream = Arc::new(stream);
        self.note(&stream);
        let job = (self.next_id, stream);
        self.next_id += 1;
        self.pool.open.fetch_add(1, Ordering::Relaxed);
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.spawn(job),
        }
    }

    /// Remembers a connection, and forgets those that are closed whenever they have become the greater part.
    fn note(&mut self, stream: &Arc<TcpStream>) {
        if self.connections.len() > 2 * self.pool.open.load(Ordering::Relaxed) + 64 {
            self.connections.retain(|_, stream| stream.strong_count() > 0);
        }
        self.connections.insert(self.next_id, Arc::downgrade(stream));
    }

    fn spawn(&self, job: Job) {
        let pool = self.pool.clone();
        let spawned = std::thread::Builder::new()
            .name("session".into())
            .stack_size(STACK_BYTES)
            .spawn(move || pool.work(job));
        if let Err(error) = spawned {
            self.pool.open.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(target: "acceptor", %error, "no thread for a session; it is turned away");
        }
    }

    /// Ends the sessions: each sees the end of its connection, and `stopping` says why.
    fn end(self, all_ended: &Receiver<()>) {
        drop(self.listener);
        self.pool.services.stopping.store(true, Ordering::SeqCst);
        shut_down(&self.connections, Shutdown::Read);
        drop(self.jobs);
        let Pool { services, open, next_job, _alive: alive } = self.pool;
        drop((next_job, alive));
        let has_ended = |wait| all_ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        if has_ended(DRAIN) {
            return;
        }
        let sessions = open.load(Ordering::Relaxed);
        tracing::warn!(target: "acceptor", sessions, "some sessions did not end in time; they are cut off");
        shut_down(&self.connections, Shutdown::Both);
        if !has_ended(CUT_OFF) {
            // They would keep the Router, and with it the store, from ending.
            let _ = services.router.send(Command::Stop);
        }
    }
}

fn shut_down(connections: &HashMap<SessionId, Weak<TcpStream>>, how: Shutdown) {
    for stream in connections.values().filter_map(Weak::upgrade) {
        // Fails only when the connection has ended by itself.
        let _ = stream.shutdown(how);
    }
}

fn borrow(event: &OwnedFd) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::AsFd;
    event.as_fd()
}

impl Pool {
    fn work(self, first: Job) {
        let mut next = Some(first);
        while let Some((id, stream)) = next {
            self.serve(id, &stream);
            drop(stream);
            next = self.next_job.recv_timeout(IDLE_THREAD).ok();
        }
    }

    fn serve(&self, id: SessionId, stream: &Arc<TcpStream>) {
        let ended = isolated(|| session::run(id, stream, &self.services));
        self.open.fetch_sub(1, Ordering::Relaxed);
        if !ended {
            tracing::error!(target: "session", id, "a session panicked; the others go on");
        }
    }
}

/// Runs a session. One that panics ends alone: false.
fn isolated(session: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(session)).is_ok()
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
