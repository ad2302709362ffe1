//! The access log: a file with one line for each request.
//!
//! Threads that answer requests hand their lines over in batches, so that they never wait for the disk. This actor writes the
//! lines, and opens the file again after it was renamed.

mod core;
mod shell;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::commands::access_log::AccessLogHandle;
use crate::config::AccessLogConfig;
use crate::runtime::{Running, mailbox, start as start_actor};
use core::Lines;
use shell::Log;

/// How many batches can wait. While the mailbox is full, the threads keep their lines.
const MAILBOX_COMMANDS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot write the access log {}: {cause}; choose another file with --access-log", path.display())]
    Open { path: PathBuf, cause: std::io::Error },
    #[error("cannot start a thread for the access log: {0}")]
    Thread(std::io::Error),
}

pub(crate) fn start(config: &AccessLogConfig) -> Result<Running<AccessLogHandle>, StartError> {
    let path = config.path.clone();
    let file = shell::open(&path).map_err(|cause| StartError::Open { path: path.clone(), cause })?;
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let lost = Arc::<AtomicU64>::default();
    let handle = AccessLogHandle { address: address.clone(), format: config.format, lost: Arc::clone(&lost) };
    let log = Log::new(file, path, lost);
    start_actor("access_log", (address, mailbox), handle, Lines, log).map_err(StartError::Thread)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::AccessLogFormat;

    #[test]
    fn a_log_that_was_moved_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let config = AccessLogConfig { path: path.clone(), format: AccessLogFormat::Combined };
        let log = super::start(&config).expect("the folder can be written to");
        log.write(b"one\n".to_vec()).expect("there is room");
        log.reopen();
        log.write(b"two\n".to_vec()).expect("there is room");
        // Opening the same file again appends to it.
        let since = Instant::now();
        while std::fs::read(&path).expect("it is there") != b"one\ntwo\n" {
            assert!(since.elapsed() < Duration::from_secs(20), "nothing was written");
            std::thread::yield_now();
        }
        std::fs::rename(&path, &moved).expect("it can be moved");
        log.write(b"three\n".to_vec()).expect("there is room");
        log.reopen();
        log.write(b"four\n".to_vec()).expect("there is room");
        drop(log);
        assert_eq!(std::fs::read(&moved).expect("it is there"), b"one\ntwo\nthree\n");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"four\n");
    }
}
