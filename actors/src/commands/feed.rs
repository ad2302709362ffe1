//! To the feed: who comes and goes and which envelopes pass through the server, for people who watch it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use wire::{Digest, PeerName};

use crate::config::FlowAccess;
use crate::runtime::Address;

/// The maximum number of viewers. Each has a thread.
const VIEWERS_MAX: usize = 16;
/// How many texts can wait for a viewer: a few seconds, in which its client may be slow.
const VIEWER_TEXTS: usize = 64;

/// An envelope, and what has become of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Passed {
    pub(crate) from: PeerName,
    pub(crate) to: PeerName,
    pub(crate) kind: &'static str,
    pub(crate) number: u64,
    /// Of the ciphertext.
    pub(crate) bytes: usize,
    /// Of the ciphertext.
    pub(crate) sha256: Digest,
    pub(crate) outcome: &'static str,
}

#[derive(Debug)]
pub(crate) enum Command {
    Joined(PeerName),
    /// The session of a peer that had joined has ended.
    Left(PeerName),
    Passed(Box<Passed>),
    Watch(Viewer),
}

/// The sending end of what a viewer sees.
#[derive(Debug)]
pub(crate) struct Viewer {
    texts: Sender<Arc<str>>,
    /// Expires with the [`View`].
    view: Weak<()>,
}

impl Viewer {
    /// Sends a text without waiting. False if the viewer has gone or is too slow.
    pub(crate) fn offer(&self, text: Arc<str>) -> bool {
        self.texts.try_send(text).is_ok()
    }

    pub(crate) fn has_gone(&self) -> bool {
        self.view.strong_count() == 0
    }
}

/// The receiving end. Dropping it ends the view.
#[derive(Debug)]
pub(crate) struct View {
    /// Events in the format of `text/event-stream`. The channel is closed when the viewer was too slow.
    pub(crate) texts: Receiver<Arc<str>>,
    alive: Arc<()>,
    viewers: Arc<AtomicUsize>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
pub struct FeedHandle {
    address: Address<Command>,
    viewers: Arc<AtomicUsize>,
    /// Envelopes that the mailbox had no room for, and that no viewer was told of yet.
    lost: Arc<AtomicU64>,
    pub(crate) shown_to: FlowAccess,
}

impl FeedHandle {
    pub(crate) fn new(address: Address<Command>, lost: Arc<AtomicU64>, shown_to: FlowAccess) -> Self {
        Self { address, viewers: Arc::default(), lost, shown_to }
    }

    /// Whether anybody watches. If not, nobody has to be told of envelopes.
    pub(crate) fn is_watched(&self) -> bool {
        self.viewers.load(Ordering::Relaxed) > 0
    }

    /// Tells of an envelope without waiting.
    pub(crate) fn passed(&self, passed: Passed) {
        if self.address.offer(Command::Passed(Box::new(passed))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells that a peer has joined. May wait for the feed, which waits for nobody.
    pub(crate) fn joined(&self, name: PeerName) {
        // Fails only when the server shuts down, here and below.
        let _ = self.address.send(Command::Joined(name));
    }

    /// The same for the end of its session.
    pub(crate) fn left(&self, name: PeerName) {
        let _ = self.address.send(Command::Left(name));
    }

    /// Begins to watch. `None` if too many do.
    pub(crate) fn watch(&self) -> Option<View> {
        let (sender, texts) = bounded(VIEWER_TEXTS);
        let is_room = |viewers: usize| (viewers < VIEWERS_MAX).then_some(viewers + 1);
        self.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_room).ok()?;
        let view = View { texts, alive: Arc::default(), viewers: Arc::clone(&self.viewers) };
        let viewer = Viewer { texts: sender, view: Arc::downgrade(&view.alive) };
        self.address.send(Command::Watch(viewer)).ok()?;
        Some(view)
    }
}
