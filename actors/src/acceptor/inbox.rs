//! How connections come to a poller from other threads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::linux;
use crate::session::http::{Connection, Learned, Next};

/// What others send to a poller.
pub(super) enum Arrival {
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
    arrivals: Sender<Arrival>,
    wake: Arc<OwnedFd>,
    /// How many connections rest there.
    pub(super) resting: Arc<AtomicUsize>,
}

impl PollerHandle {
    /// Gives a connection back. Once the pollers have ended it is closed.
    pub(crate) fn take_back(&self, returned: Returned) {
        self.send(Arrival::Returned(Box::new(returned)));
    }

    pub(super) fn send(&self, arrival: Arrival) {
        // What does not arrive is dropped, which closes the connection.
        let _ = self.arrivals.send(arrival);
        self.wake();
    }

    /// Ends the poller's wait.
    pub(super) fn wake(&self) {
        linux::raise(&self.wake);
    }

    pub(super) fn count_resting(&self, resting: usize) {
        self.resting.store(resting, Ordering::Relaxed);
    }
}

/// The poller's own end.
pub(super) struct Inbox {
    pub(super) arrivals: Receiver<Arrival>,
    pub(super) handle: PollerHandle,
    /// Readable when something has arrived.
    pub(super) wake: Arc<OwnedFd>,
}

impl Inbox {
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let (sender, arrivals) = unbounded();
        let wake = Arc::new(linux::event()?);
        let handle = PollerHandle { arrivals: sender, wake: Arc::clone(&wake), resting: Arc::default() };
        Ok(Self { arrivals, handle, wake })
    }
}
