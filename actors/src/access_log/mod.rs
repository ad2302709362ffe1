//! The access log: one line a request, in a file.
//!
//! Threads that answer requests gather their lines and hand them over together; they never wait for the disk. An actor
//! of its own writes them, and opens the file anew when it is told that the file was moved.

mod record;
mod shell;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::record::{Clock, Record};
pub use crate::config::{AccessLogConfig, AccessLogFormat};
use crate::runtime::{Address, Unsent, Vital};

/// How many batches of lines may wait; threads keep some more themselves.
const MAILBOX_COMMANDS: usize = 256;

/// What others may ask of the access log.
#[derive(Debug)]
enum Command {
    /// Write these lines, each with its line end.
    Write(Vec<u8>),
    /// Open the file anew.
    Reopen,
}

/// Why the access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be opened.
    #[error("cannot write the access log {}: {cause}; choose another file with --access-log", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// No thread.
    #[error("cannot start a thread for the access log: {0}")]
    Thread(std::io::Error),
}

/// The way to the access log. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct AccessLogHandle {
    address: Address<Command>,
    format: AccessLogFormat,
    /// Batches that were dropped and have not been reported yet.
    lost: Arc<AtomicU64>,
}

impl AccessLogHandle {
    pub(crate) fn format(&self) -> AccessLogFormat {
        self.format
    }

    /// Hands over whole lines; never waits. If there is no room for them they are handed back.
    pub(crate) fn write(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        self.address.offer(Command::Write(lines)).map_err(|unsent| match unsent {
            Unsent::Full(Command::Write(lines)) => lines,
            // The server ends.
            _ => Vec::new(),
        })
    }

    /// Lines had to be dropped because the disk does not keep up; that is reported.
    pub(crate) fn note_loss(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Opens the file by its name anew, after somebody has moved it. Lines from before are in the old one.
    pub fn reopen(&self) {
        if self.address.offer(Command::Reopen).is_err() {
            tracing::warn!(target: "access_log", "the disk is too slow; not opened anew, try again");
        }
    }
}

/// Opens the file and starts to write. Drop all handles before the [`Vital`], which joins the thread.
///
/// # Errors
/// [`StartError`]
pub fn start(config: &AccessLogConfig) -> Result<(AccessLogHandle, Vital), StartError> {
    let file =
        shell::open(&config.path).map_err(|cause| StartError::Open { path: config.path.clone(), cause })?;
    let (address, mailbox) = crate::runtime::mailbox(MAILBOX_COMMANDS);
    let lost = Arc::<AtomicU64>::default();
    let vital =
        shell::start(file, config.path.clone(), mailbox, Arc::clone(&lost)).map_err(StartError::Thread)?;
    Ok((AccessLogHandle { address, format: config.format, lost }, vital))
}
