//! To the access log: lines to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::AccessLogFormat;
use crate::runtime::{Address, Unsent};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Write(Vec<u8>),
    Reopen,
}

#[derive(Debug, Clone)]
pub struct AccessLogHandle {
    pub(crate) address: Address<Command>,
    pub(crate) format: AccessLogFormat,
    /// Batches that were dropped and are not reported yet.
    pub(crate) lost: Arc<AtomicU64>,
}

impl AccessLogHandle {
    /// Hands over complete lines without waiting. Returns them if the mailbox is full.
    pub(crate) fn write(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        self.address.offer(Command::Write(lines)).map_err(|unsent| match unsent {
            Unsent::Full(Command::Write(lines)) => lines,
            // The actor has ended, as it does when the server ends.
            _ => Vec::new(),
        })
    }

    /// Notes that the caller had to drop lines, because the disk is too slow. The actor reports it.
    pub(crate) fn note_loss(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Opens the file by its name again, after it was renamed. Lines written before stay in the renamed file.
    pub fn reopen(&self) {
        if self.address.offer(Command::Reopen).is_err() {
            tracing::warn!(target: "access_log", "the disk is too slow, so the file was not opened again; send SIGHUP once more");
        }
    }
}
