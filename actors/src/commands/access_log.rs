//! To the access log: lines to be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::AccessLogFormat;
use crate::runtime::{Address, Unsent};

/// What others may ask of the access log.
#[derive(Debug)]
pub(crate) enum Command {
    /// Write these lines, each with its line end.
    Write(Vec<u8>),
    /// Open the file anew.
    Reopen,
}

/// The way to the access log. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct AccessLogHandle {
    pub(crate) address: Address<Command>,
    pub(crate) format: AccessLogFormat,
    /// Batches that were dropped and have not been reported yet.
    pub(crate) lost: Arc<AtomicU64>,
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
