//! How connections come to a poller from other threads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use crate::handover::{Arrival, PollerHandle};
use crate::linux;

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
