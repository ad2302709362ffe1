//! The thread that writes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::core::{Lines, Step};
use crate::runtime::{Now, Shell};

/// Addresses and what people looked at are not for everybody on the machine.
const MODE: u32 = 0o640;
/// How often it is said that the disk does not take the lines.
const NOTICE: Duration = Duration::from_secs(60);

pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(MODE).open(path)
}

/// The open file.
pub(super) struct Log {
    steps: Vec<Step>,
    file: File,
    path: PathBuf,
    lost: Arc<AtomicU64>,
    last_notice: Option<Instant>,
    /// Whether the last write failed, perhaps in the middle of a line.
    is_torn: bool,
}

impl Log {
    pub(super) fn new(file: File, path: PathBuf, lost: Arc<AtomicU64>) -> Self {
        Self { steps: Vec::new(), file, path, lost, last_notice: None, is_torn: false }
    }

    fn write(&mut self, lines: &[u8]) {
        // What comes next is a line of its own.
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
                tracing::warn!(target: "access_log", %path, %error, "cannot be opened anew; going on with the old file");
            }
        }
    }
}

impl Shell for Log {
    type Core = Lines;

    fn out(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }

    fn settle(&mut self, _core: &mut Lines, _now: Now) -> Option<Instant> {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Write(lines) => self.write(&lines),
                Step::Reopen => self.reopen(),
            }
        }
        None
    }
}
