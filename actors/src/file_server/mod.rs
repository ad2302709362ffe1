//! FileServer: owns the web root and the cache of what is in it.
//!
//! A session asks once for a path and gets an [`Asset`] as a lease: it may answer with it as often as it likes,
//! without asking again, until [`Asset::is_revoked`]. FileServer revokes a lease when the file changes, goes away, or
//! has to make room, and when compressed forms of it are ready. Who has a lease drops it soon after it was revoked, since
//! until then it takes memory. FileServer never waits for a session, and never opens anything outside the web root.
//!
//! There is one FileServer for each site.

mod absence;
mod asset;
mod cache;
mod compressor;
mod core;
mod counts;
mod disk;
mod fields;
mod freshness;
mod keep;
mod listing;
mod shell;
mod watch;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::http::SitePath;
#[cfg(test)]
use wire::http::Status;

pub use self::absence::Absence;
pub use self::asset::{Asset, Body, Representation};
pub use self::counts::CacheCounts;
use crate::config::CacheConfig;
use crate::runtime::{Address, NoAnswer, Reply, Unsent, Vital, reply};
use crate::site::SiteConfig;

/// How many requests may wait. Each is a cold path of a session that waits for the answer; more at once than this
/// means that the disk does not keep up, and new ones are better told so.
const MAILBOX_COMMANDS: usize = 4096;

/// How long a session waits for an answer before it tells its client to come back later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Why the web root cannot be served, in one sentence with its cause.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root is missing, unreadable or no directory.
    #[error("cannot serve {}: {cause}; give the directory of the web site with --root", root.display())]
    Root {
        /// The root that was asked for.
        root: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The kernel cannot keep paths inside the root.
    #[error("cannot serve {}: openat2(2) does not work here ({cause}); Linux 5.6 or newer is needed", root.display())]
    NoOpenat2 {
        /// The root that was asked for.
        root: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// No thread.
    #[error("cannot start a thread for the web site: {0}")]
    Thread(std::io::Error),
}

/// What FileServer has to know at its start.
#[derive(Debug, Clone, Default)]
pub struct FileServerConfig {
    /// The site that is served.
    pub site: Arc<SiteConfig>,
    /// How much of it is kept: files up to 256 KiB, compressed forms, heads of answers. A lease ends when what it is for has to
    /// make room.
    pub cache: CacheConfig,
}

/// The way to ask FileServer. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct FileServerHandle {
    address: Address<Find>,
    counts: Arc<CacheCounts>,
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

/// Opens the web root and starts FileServer. Drop all handles before the [`Vital`], which joins the thread. Large sites
/// take no longer: their changes are reported once somebody has walked through them, and until then they are looked at
/// once a second.
///
/// # Errors
/// [`StartError`]
pub fn start(config: &FileServerConfig) -> Result<(FileServerHandle, Vital), StartError> {
    let (address, mailbox) = crate::runtime::mailbox(MAILBOX_COMMANDS);
    let counts = Arc::new(CacheCounts::default());
    let vital = shell::start(config, mailbox, Arc::clone(&counts))?;
    Ok((FileServerHandle { address, counts }, vital))
}

/// A handle to a mailbox that nobody takes anything from.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (FileServerHandle, crate::runtime::Mailbox<Find>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (FileServerHandle { address, counts: Arc::default() }, mailbox)
}

/// A page as FileServer gives it for a status.
#[cfg(test)]
pub(crate) fn page_of(status: Status, text: &'static str) -> Arc<Asset> {
    let rules = fields::FieldRules::new(Arc::default());
    let body = Body::Memory(bytes::Bytes::from_static(text.as_bytes()));
    Arc::new(core::page(status, &rules.said("50x.html", status), body))
}
