//! To FileServer: which asset does a path name?

use std::sync::Arc;
use std::time::Duration;

use wire::http::SitePath;

use super::absence::Absence;
use super::asset::Asset;
use crate::metrics::CacheCounts;
use crate::runtime::{Address, NoAnswer, Reply};

/// How long a session waits for an answer. After that it answers its client with 503.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many large files one FileServer keeps open at most, each with a descriptor.
pub(crate) const OPEN_FILES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Find {
    /// The path of a request; `None` for a path that is never served.
    pub(crate) path: Option<SitePath>,
    pub(crate) reply: Reply<Found>,
}

/// What a path names.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// A file. The asset is a lease.
    Asset(Arc<Asset>),
    /// A directory that is shown as a list, in the form that `Accept` asks for. Not a lease.
    Listing {
        /// As a page.
        html: Arc<Asset>,
        /// As `application/json`.
        json: Arc<Asset>,
    },
    /// A directory whose path lacks the slash at the end; the reference for a `Location`.
    Redirect(String),
    /// Nothing. Both fields together are a lease.
    Nothing {
        /// The page to show instead: one with status 404, or that of a single-page application.
        page: Arc<Asset>,
        /// The lease ends when this does not hold any more.
        absence: Absence,
    },
    /// Something that must not be served: not a regular file, a link that leads out of the root, or unreadable.
    Refused,
    /// The system is out of descriptors or memory; with the site's own page for a 503.
    Busy(Option<Arc<Asset>>),
    /// The disk failed; with the site's own page for a 500.
    Failed(Option<Arc<Asset>>),
}

/// The address of FileServer, and its counters.
#[derive(Debug, Clone)]
pub(crate) struct FileServerHandle {
    pub(crate) address: Address<Find>,
    pub(crate) counts: Arc<CacheCounts>,
}

impl FileServerHandle {
    /// Asks what a path names, and waits for the answer. `None` gives the page for a missing file.
    ///
    /// # Errors
    /// [`NoAnswer`], at once when the mailbox is full.
    pub(crate) fn find(&self, path: Option<SitePath>) -> Result<Found, NoAnswer> {
        self.address.ask(ANSWER_TIMEOUT, |reply| Find { path, reply })
    }
}

/// A handle without an actor.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (FileServerHandle, crate::runtime::Mailbox<Find>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (FileServerHandle { address, counts: Arc::default() }, mailbox)
}
