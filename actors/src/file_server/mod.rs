//! FileServer: owns the web root and the cache of what is in it.
//!
//! A session asks once for a path and gets an [`Asset`] as a lease: it may answer with it as often as it likes,
//! without asking again, until [`Asset::is_revoked`]. FileServer revokes a lease when the file changes, goes away, or
//! has to make room. It never waits for a session, and never opens anything outside the web root.

mod asset;
mod core;
mod disk;
mod shell;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wire::http::SitePath;

pub use self::asset::{Asset, Body};
use crate::runtime::{Address, NoAnswer, Reply, Unsent, Vital, reply};

/// How many requests may wait. Each is a cold path of a session that waits for the answer; more at once than this
/// means that the disk does not keep up, and new ones are better told so.
const MAILBOX_COMMANDS: usize = 4096;

/// How long a session waits for an answer before it tells its client to come back later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What others may ask of FileServer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Find what a path names.
    Find {
        /// The path of a request.
        path: SitePath,
        /// Where the answer goes.
        reply: Reply<Found>,
    },
}

/// What a path names.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file; the answer may be kept as a lease.
    Asset(Arc<Asset>),
    /// A directory whose path lacks the slash at the end: where to go instead, as a reference for a `Location`.
    Redirect(String),
    /// Nothing; this is the page that says so.
    NotFound(Arc<Asset>),
    /// Something that is not for the web: no regular file, a link that leads out, or unreadable for the server.
    Refused,
    /// The disk failed.
    Failed,
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
#[derive(Debug, Clone)]
pub struct FileServerConfig {
    /// The directory that is served.
    pub root: PathBuf,
}

/// The way to ask FileServer. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct FileServerHandle(Address<Command>);

impl FileServerHandle {
    /// Asks what a path names, and waits for the answer.
    ///
    /// # Errors
    /// [`Unavailable`], at once when the mailbox is full.
    pub fn find(&self, path: SitePath) -> Result<Found, Unavailable> {
        let (reply, pending) = reply();
        self.0.offer(Command::Find { path, reply }).map_err(|e| match e {
            Unsent::Full(_) => Unavailable::Busy,
            Unsent::Closed(_) => Unavailable::Ended,
        })?;
        pending.wait(ANSWER_TIMEOUT).map_err(|e| match e {
            NoAnswer::TimedOut => Unavailable::Busy,
            NoAnswer::Dropped => Unavailable::Ended,
        })
    }
}

/// Opens the web root and starts FileServer. Drop all handles before the [`Vital`], which joins the thread.
///
/// # Errors
/// [`StartError`]
pub fn start(config: &FileServerConfig) -> Result<(FileServerHandle, Vital), StartError> {
    let (address, mailbox) = crate::runtime::mailbox(MAILBOX_COMMANDS);
    let vital = shell::start(&config.root, mailbox)?;
    Ok((FileServerHandle(address), vital))
}

/// A handle to a mailbox that nobody takes anything from.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (FileServerHandle, crate::runtime::Mailbox<Command>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (FileServerHandle(address), mailbox)
}
