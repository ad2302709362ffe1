//! What pollers and session threads hand to each other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::commands::gate::Place;
use crate::commands::session::SessionId;
use crate::http::{Connection, Learned};
use crate::linux;
use crate::tls::TlsConfig;
use crate::transport::Transport;

/// The work of a session thread.
pub(crate) enum Job {
    /// Serve a peer until its connection ends.
    Peer(Box<PeerJob>),
    /// Give a response that has to wait for something, and return the connection to this poller.
    Answer(Box<Connection>, PollerHandle),
    /// Serve an HTTP connection until it ends, or return it to this poller if it is a peer's.
    Connection(Box<Connection>, PollerHandle),
}

/// A connection that has begun with the preface of a peer.
pub(crate) struct PeerJob {
    pub(crate) id: SessionId,
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    /// The bytes that were read, including the preface.
    pub(crate) read: Vec<u8>,
    /// Freed at the end of the session.
    pub(crate) place: Place,
}

impl PeerJob {
    /// # Errors
    /// Why the peer cannot be served: it has no address at which others could reach it, or there is no descriptor for the
    /// mailbox of its session.
    pub(crate) fn new(connection: Connection) -> Result<Self, &'static str> {
        let Connection { id, visitor, transport, held: read, mut place, .. } = connection;
        let address = visitor.address.ok_or("it came through a Unix socket, and a peer needs TCP")?;
        if !place.take_second() {
            return Err("too few file descriptors are left for it");
        }
        Ok(Self { id, transport, address, read, place })
    }
}

/// What comes to a poller.
pub(crate) enum Arrival {
    /// A connection, either from a session or from another poller.
    Connection { connection: Box<Connection>, learned: Vec<Learned> },
    /// The certificates for the next connections with TLS.
    Certificates(TlsConfig),
}

#[derive(Debug, Clone)]
pub(crate) struct PollerHandle {
    /// Unbounded, so that nobody waits for a poller. It never has more connections than are open.
    arrivals: Sender<Arrival>,
    /// An eventfd that is readable when something has arrived.
    pub(crate) event: Arc<OwnedFd>,
    /// How many connections rest there.
    resting: Arc<AtomicUsize>,
}

impl PollerHandle {
    pub(crate) fn new() -> io::Result<(Self, Receiver<Arrival>)> {
        let (arrivals, receiver) = unbounded();
        let event = Arc::new(linux::event()?);
        Ok((Self { arrivals, event, resting: Arc::default() }, receiver))
    }

    /// Sends a connection there. If the poller has ended the connection is closed.
    pub(crate) fn send(&self, connection: Connection, learned: Vec<Learned>) {
        // A failed send drops the connection, which closes it.
        let _ = self.arrivals.send(Arrival::Connection { connection: Box::new(connection), learned });
        self.wake();
    }

    /// Gives it other certificates for the connections that it accepts from now on.
    pub(crate) fn use_certificates(&self, tls: TlsConfig) {
        // Fails only when the poller has ended.
        let _ = self.arrivals.send(Arrival::Certificates(tls));
        self.wake();
    }

    /// Ends the poller's wait.
    pub(crate) fn wake(&self) {
        linux::raise(&self.event);
    }

    pub(crate) fn set_resting(&self, resting: usize) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    pub(crate) fn resting(&self) -> usize {
        self.resting.load(Ordering::Relaxed)
    }
}

/// Makes the function that does the jobs of one session thread. Called on that thread.
pub(crate) type NewWorker = Arc<dyn Fn() -> Box<dyn FnMut(Job)> + Send + Sync>;
