//! The access log's thread and file.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::core::Lines;
use crate::commands::access_log::Command;
use crate::runtime::{Now, Shell};

/// Other users of the machine must not see who has requested what.
const MODE: u32 = 0o640;
/// The minimum interval between two reports of lost lines.
const NOTICE: Duration = Duration::from_secs(60);

pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(MODE).open(path)
}

pub(super) struct Log {
    file: File,
    path: PathBuf,
    lost: Arc<AtomicU64>,
    last_notice: Option<Instant>,
    /// Whether the last write failed, possibly in the middle of a line.
    is_torn: bool,
}

impl Log {
    pub(super) fn new(file: File, path: PathBuf, lost: Arc<AtomicU64>) -> Self {
        Self { file, path, lost, last_notice: None, is_torn: false }
    }

    fn write(&mut self, lines: &[u8]) {
        // Ends an incomplete line.
        let line_end: &[u8] = if self.is_torn && !lines.is_empty() { b"\n" } else { b"" };
        let failed = self.file.write_all(line_end).and_then(|()| self.file.write_all(lines)).err();
        self.is_torn = failed.is_some() || (self.is_torn && lines.is_empty());
        let lost = self.lost.load(Ordering::Relaxed);
        if (failed.is_some() || lost > 0) && self.last_notice.is_none_or(|last| last.elapsed() >= NOTICE) {
            self.last_notice = Some(Instant::now());
            self.lost.fetch_sub(lost, Ordering::Relaxed);
            let path = self.path.display();
            match failed {
                Some(error) => tracing::warn!(target: "access_log", %path, %error, "lines are lost"),
                None => tracing::warn!(target: "access_log", %path, "the disk is too slow; lines are lost"),
            }
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
            }
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(target: "access_log", %path, %error, "the access log cannot be opened again; writing to the old file");
            }
        }
    }
}

impl Shell for Log {
    type Core = Lines;

    fn settle(&mut self, _core: &mut Lines, steps: &mut Vec<Command>, _now: Now) -> Option<Instant> {
        for step in steps.drain(..) {
            match step {
                Command::Write(lines) => self.write(&lines),
                Command::Reopen => self.reopen(),
            }
        }
        None
    }
}
