//! The socket to which other peers connect for files, and the server to check the address.
//!
//! One thread polls all connections whose kind is not known yet. It never blocks on one of them, and they use at most
//! [`UNDECIDED_MAX`] descriptors.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};
use wire::frame::{CALLBACK_PREFACE, FILE_PREFACE};
use wire::protocol::TransferId;

/// A connection that has not sent its preface and its id within this time is closed.
const DECIDE_WITHIN: Duration = Duration::from_secs(5);
/// The maximum number of connections whose kind is not known yet. More wait in the system's accept queue.
const UNDECIDED_MAX: usize = 32;
/// The pause in accepting when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 64;

const ECHO_BYTES: usize = 32;
const PREFACE_BYTES: usize = 4;

/// A connection whose kind is known.
#[derive(Debug)]
pub enum ListenerEvent {
    /// The server, or somebody who claims to be it, called back. The echo must be sent to the server over the joined
    /// connection.
    CalledBack { echo: [u8; ECHO_BYTES] },
    /// Another peer connected for the file of a transfer. The stream is blocking and has no timeouts.
    Fetch {
        transfer: TransferId,
        /// The stream for the file message.
        stream: TcpStream,
    },
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    /// The writing end of a pipe; closing it ends the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on a free port of one of this machine's addresses. `on_event` runs on the listener's own thread, so it must
    /// not block.
    ///
    /// # Errors
    /// When the system provides no socket or no thread.
    pub fn start(
        address: IpAddr,
        on_event: impl Fn(ListenerEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start_with(address, DECIDE_WITHIN, on_event)
    }

    pub(super) fn start_with(
        address: IpAddr,
        decide_within: Duration,
        on_event: impl Fn(ListenerEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = bind(address)?;
        let address = socket.local_addr()?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut waiting = Waiting {
            socket,
            stopped,
            undecided: Vec::with_capacity(UNDECIDED_MAX),
            decide_within,
            accept_after: None,
        };
        let thread =
            std::thread::Builder::new().name("listener".into()).spawn(move || waiting.run(&on_event))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the callback has been reported by that thread.
            let _ = thread.join();
        }
    }
}

fn bind(address: IpAddr) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A connection whose kind is not known yet.
struct Undecided {
    stream: TcpStream,
    deadline: Instant,
    said: [u8; PREFACE_BYTES + ECHO_BYTES],
    length: usize,
}

/// The result of reading from an undecided connection.
enum Look {
    Later,
    Close,
    CalledBack([u8; ECHO_BYTES]),
    Fetch(TransferId),
}

impl Undecided {
    /// How many bytes the connection must send, as far as is known; `None` if the preface is unknown.
    fn wanted(&self) -> Option<usize> {
        match self.said[..self.length].first_chunk() {
            None => Some(PREFACE_BYTES),
            Some(&CALLBACK_PREFACE) => Some(PREFACE_BYTES + ECHO_BYTES),
            Some(&FILE_PREFACE) => Some(PREFACE_BYTES + size_of::<TransferId>()),
            Some(_) => None,
        }
    }

    /// Reads what is available, but not beyond the preface and the id: the file message follows.
    fn look(&mut self) -> Look {
        loop {
            let Some(wanted) = self.wanted() else {
                return Look::Close;
            };
            if self.length == wanted {
                return self.decide();
            }
            match self.stream.read(&mut self.said[self.length..wanted]) {
                Ok(0) => return Look::Close,
                Ok(bytes) => self.length += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Look::Later,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Look::Close,
            }
        }
    }

    fn decide(&self) -> Look {
        let rest = &self.said[PREFACE_BYTES..self.length];
        match (<[u8; ECHO_BYTES]>::try_from(rest), TransferId::try_from(rest)) {
            (Ok(echo), _) => Look::CalledBack(echo),
            (_, Ok(transfer)) => Look::Fetch(transfer),
            _ => Look::Close,
        }
    }
}

struct Waiting {
    socket: TcpListener,
    stopped: OwnedFd,
    undecided: Vec<Undecided>,
    decide_within: Duration,
    accept_after: Option<Instant>,
}

impl Waiting {
    fn run(&mut self, on_event: &impl Fn(ListenerEvent)) {
        while self.wait() {
            let now = Instant::now();
            self.accept(now);
            for mut connection in std::mem::take(&mut self.undecided) {
                match connection.look() {
                    Look::Later if now < connection.deadline => self.undecided.push(connection),
                    Look::Later | Look::Close => {}
                    Look::CalledBack(echo) => on_event(ListenerEvent::CalledBack { echo }),
                    Look::Fetch(transfer) => {
                        let stream = connection.stream;
                        if stream.set_nonblocking(false).is_ok() {
                            on_event(ListenerEvent::Fetch { transfer, stream });
                        }
                    }
                }
            }
        }
    }

    /// Waits until there is something to do; `false` when the listener must end.
    fn wait(&self) -> bool {
        let mut watched = vec![PollFd::new(&self.stopped, PollFlags::empty())];
        let readable = |connection| PollFd::new(connection, PollFlags::IN);
        watched.extend(self.undecided.iter().map(|waits| readable(&waits.stream)));
        if self.accept_after.is_none() && self.undecided.len() < UNDECIDED_MAX {
            watched.push(PollFd::new(&self.socket, PollFlags::IN));
        }
        let deadlines = self.undecided.iter().map(|waits| waits.deadline);
        let timeout = deadlines.chain(self.accept_after).min().map(until);
        // After an interrupted or failed poll, all sockets are tried without blocking.
        let _ = rustix::event::poll(&mut watched, timeout.as_ref());
        watched[0].revents().is_empty()
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_after.is_some_and(|after| now < after) {
            return;
        }
        self.accept_after = None;
        while self.undecided.len() < UNDECIDED_MAX {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.undecided.push(Undecided {
                            stream,
                            deadline: now + self.decide_within,
                            said: [0; PREFACE_BYTES + ECHO_BYTES],
                            length: 0,
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.accept_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}

/// The time until `deadline`, rounded up so that a wait of this length reaches it.
fn until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}
