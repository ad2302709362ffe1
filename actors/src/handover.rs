//! What pollers and session threads hand to each other: connections, with what is to be done for them.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;

use crate::commands::gate::Place;
use crate::commands::session::SessionId;
use crate::http::{Connection, Learned, Next, Unsent};
use crate::linux;

/// What a session is for.
pub(crate) enum Job {
    /// To serve a peer until its connection ends.
    Peer(PeerJob),
    /// To give an answer that has to wait for something.
    Answer(Box<AnswerJob>),
}

/// A connection that has begun with the preface of a peer.
pub(crate) struct PeerJob {
    pub(crate) id: SessionId,
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) address: SocketAddr,
    /// What has been read, with the preface.
    pub(crate) read: Vec<u8>,
    /// Given back at the end.
    pub(crate) place: Place,
}

impl PeerJob {
    /// None if the peer has no address that others could reach it at.
    pub(crate) fn new(connection: Connection) -> Option<Self> {
        let address = connection.visitor.address?;
        let Connection { id, stream, held: read, place, .. } = connection;
        Some(Self { id, stream, address, read, place })
    }
}

/// An HTTP connection whose poller must not wait.
pub(crate) struct AnswerJob {
    pub(crate) connection: Connection,
    /// What comes first.
    pub(crate) unsent: Unsent,
    /// What the poller knows of the request.
    pub(crate) known: Vec<Learned>,
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

/// A connection after a session has answered.
pub(crate) struct Returned {
    pub(crate) connection: Connection,
    /// What it is to do now: read, linger or close.
    pub(crate) next: Next,
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
