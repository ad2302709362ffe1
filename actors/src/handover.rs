//! What pollers and session threads hand to each other: connections, with what is to be done for them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;

use crate::commands::gate::Place;
use crate::commands::session::SessionId;
use crate::http::{Connection, Learned};
use crate::linux;
use crate::transport::Transport;

/// What a session is for.
pub(crate) enum Job {
    /// To serve a peer until its connection ends.
    Peer(PeerJob),
    /// To give an answer that has to wait for something.
    Answer(Box<AnswerJob>),
    /// To serve a connection until it ends, whatever it waits for: HTTP, or a peer.
    Connection(Box<Connection>),
}

/// A connection that has begun with the preface of a peer.
pub(crate) struct PeerJob {
    pub(crate) id: SessionId,
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    /// What has been read, with the preface.
    pub(crate) read: Vec<u8>,
    /// Given back at the end.
    pub(crate) place: Place,
}

impl PeerJob {
    /// # Errors
    /// Why the peer cannot be served: it has no address that others could reach it at, or there is no descriptor for the
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

/// An HTTP connection whose poller must not wait.
pub(crate) struct AnswerJob {
    pub(crate) connection: Connection,
    /// Where the connection rests afterwards.
    pub(crate) home: PollerHandle,
}

/// What others send to a poller.
pub(crate) enum Arrival {
    /// A session is done with a connection.
    Returned(Box<Returned>),
    /// A connection whose packets arrive at this poller's processor.
    Moved(Box<Connection>),
}

/// A connection after a session has waited for what it needed.
pub(crate) struct Returned {
    pub(crate) connection: Connection,
    pub(crate) learned: Vec<Learned>,
}

/// Where a poller is reached.
#[derive(Debug, Clone)]
pub(crate) struct PollerHandle {
    /// Without a bound, so that nobody waits for a poller; there are never more than there are connections.
    pub(crate) arrivals: Sender<Arrival>,
    pub(crate) wake: Arc<OwnedFd>,
    /// How many connections rest there.
    pub(crate) resting: Arc<AtomicUsize>,
}

impl PollerHandle {
    /// Gives a connection back. Once the pollers have ended it is closed.
    pub(crate) fn take_back(&self, returned: Returned) {
        self.send(Arrival::Returned(Box::new(returned)));
    }

    pub(crate) fn send(&self, arrival: Arrival) {
        // What does not arrive is dropped, which closes the connection.
        let _ = self.arrivals.send(arrival);
        self.wake();
    }

    /// Ends the poller's wait.
    pub(crate) fn wake(&self) {
        linux::raise(&self.wake);
    }

    pub(crate) fn count_resting(&self, resting: usize) {
        self.resting.store(resting, Ordering::Relaxed);
    }
}

/// Makes what one session thread does its jobs with. Called on that thread.
pub(crate) type NewWorker = Arc<dyn Fn() -> Box<dyn FnMut(Job)> + Send + Sync>;
