//! To FileServer: what does a path name?

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::http::SitePath;

use super::absence::Absence;
use super::asset::Asset;
use super::cache_counts::CacheCounts;
use crate::runtime::{Address, NoAnswer, Reply, Unsent, reply};

/// How long a session waits for an answer before it tells its client to come back later.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most large files that one FileServer keeps open to be sent again, each with a descriptor.
pub(crate) const OPEN_FILES_MAX: usize = 64;

/// The command that FileServer takes: find what a path names.
#[derive(Debug)]
pub(crate) struct Find {
    /// The path of a request; none for one that names nothing, whatever is there.
    pub(crate) path: Option<SitePath>,
    /// When it was asked.
    pub(crate) asked: Instant,
    /// Where the answer goes.
    pub(crate) reply: Reply<Found>,
}

/// What a path names.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file; the answer may be kept as a lease.
    Asset(Arc<Asset>),
    /// A directory to be shown as a list, in the form that `Accept` asks for. For one answer only.
    Listing {
        /// As a page.
        html: Arc<Asset>,
        /// As `application/json`.
        json: Arc<Asset>,
    },
    /// A directory whose path lacks the slash at the end: where to go instead, as a reference for a `Location`.
    Redirect(String),
    /// Nothing; both may be kept together as a lease.
    Nothing {
        /// What is shown instead: a page with status 404, or that of a single-page application.
        page: Arc<Asset>,
        /// What it depends on that there is nothing.
        absence: Absence,
    },
    /// Something that is not for the web: no regular file, a link that leads out, or unreadable for the server.
    Refused,
    /// The system has no descriptors or memory left at this moment; with the site's own page for a 503, if there is one.
    Busy(Option<Arc<Asset>>),
    /// The disk failed; with the site's own page for a 500, if there is one.
    Failed(Option<Arc<Asset>>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many requests are waiting, or the disk takes too long.
    #[error("the file server has too much to do")]
    Busy,
    /// The server is about to end.
    #[error("the file server has ended")]
    Ended,
}

/// The way to ask FileServer. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct FileServerHandle {
    pub(crate) address: Address<Find>,
    pub(crate) counts: Arc<CacheCounts>,
}

impl FileServerHandle {
    /// Asks what a path names, and waits for the answer. Without a path it is that of what names nothing, whatever is there.
    ///
    /// # Errors
    /// [`Unavailable`], at once when the mailbox is full.
    pub fn find(&self, path: Option<SitePath>) -> Result<Found, Unavailable> {
        let (reply, pending) = reply();
        self.address.offer(Find { path, asked: Instant::now(), reply }).map_err(|e| match e {
            Unsent::Full(_) => Unavailable::Busy,
            Unsent::Closed(_) => Unavailable::Ended,
        })?;
        pending.wait(ANSWER_TIMEOUT).map_err(|e| match e {
            NoAnswer::TimedOut => Unavailable::Busy,
            NoAnswer::Dropped => Unavailable::Ended,
        })
    }

    /// What the cache has done so far.
    pub fn counts(&self) -> &Arc<CacheCounts> {
        &self.counts
    }
}

/// A handle to a mailbox that nobody takes anything from.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (FileServerHandle, crate::runtime::Mailbox<Find>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (FileServerHandle { address, counts: Arc::default() }, mailbox)
}
