//! FileServer's threads: its mailbox, its clock, its helpers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, never};

use super::cache::Limits;
use super::compressor::{self, Compressed, Job};
use super::core::{Core, Effect, Now};
use super::disk::{Disk, RootDirectory};
use super::watch::{self, Report};
use super::{FileServerConfig, StartError};
use crate::commands::cache_counts::CacheCounts;
use crate::commands::file_server::Find;
use crate::runtime::{Address, Mailbox, Vital, spawn_vital};

/// Most commands that are carried out before the clock is read again.
const BATCH_COMMANDS_MAX: usize = 256;

/// How long the thread sleeps when there is nothing to look after.
const IDLE: Duration = Duration::from_secs(3600);

/// Files up to this size are kept in memory.
const MEMORY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// How many descriptors are kept.
const OPEN_FILES_MAX: usize = 64;

pub(super) fn start(
    config: &FileServerConfig,
    mailbox: Mailbox<Find>,
    counts: Arc<CacheCounts>,
) -> Result<Vital, StartError> {
    let root = config.site.root.clone();
    let disk = RootDirectory::open(&root)?;
    let limits = Limits {
        memory_file_bytes_max: MEMORY_FILE_BYTES_MAX,
        memory_bytes_max: config.cache.bytes,
        entries_max: config.cache.entries,
        open_files_max: OPEN_FILES_MAX,
    };
    let site = Arc::clone(&config.site);
    let (compressor, compressed) = compressor::start().map_err(StartError::Thread)?;
    let run = move || {
        let core = Core::new(disk, site, limits, counts, now());
        let reports = watch::start(&root);
        Shell { core, mailbox, root, reports, watcher: None, compressor, compressed }.run();
    };
    spawn_vital("file_server", run).map_err(StartError::Thread)
}

fn now() -> Now {
    Now { instant: Instant::now(), time: SystemTime::now() }
}

struct Shell<D> {
    core: Core<D>,
    mailbox: Mailbox<Find>,
    root: PathBuf,
    /// Not the mailbox, which must close while we watch.
    reports: Receiver<Report>,
    /// Dropping it ends the reports.
    watcher: Option<Box<notify::RecommendedWatcher>>,
    compressor: Address<Job>,
    compressed: Receiver<Compressed>,
}

impl<D: Disk> Shell<D> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let due = self.core.next_look();
            let wait = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            crossbeam_channel::select! {
                recv(self.mailbox.receiver()) -> command => match command {
                    Ok(command) => {
                        batch.push(command);
                        batch.extend(self.mailbox.receiver().try_iter().take(BATCH_COMMANDS_MAX));
                    }
                    Err(_) => return,
                },
                recv(self.reports) -> report => match report {
                    Ok(report) => self.take_reports(report),
                    Err(_) => self.end_reports(),
                },
                recv(self.compressed) -> done => match done {
                    Ok(done) => self.core.note_compressed(&done),
                    Err(_) => {
                        tracing::error!(target: "file_server", "the compressor has ended; files are sent as they are");
                        self.compressed = never();
                    }
                },
                default(wait) => {}
            }
            let now = now();
            self.core.look_if_due(now);
            for command in batch.drain(..) {
                self.core.handle(now, command);
            }
            self.carry_out();
        }
    }

    fn take_reports(&mut self, first: Report) {
        // Those that come meanwhile begin the next round.
        let waiting = self.reports.len();
        let rest: Vec<Report> = self.reports.try_iter().take(waiting).collect();
        for report in std::iter::once(first).chain(rest) {
            match report {
                Report::Change(path) => self.core.note_change(path),
                Report::Watching(watcher) => {
                    self.watcher = Some(watcher);
                    self.core.note_watched(true);
                }
                Report::NotWatching => self.core.note_watched(false),
            }
        }
    }

    fn end_reports(&mut self) {
        if self.watcher.take().is_some() {
            tracing::warn!(target: "file_server", "reports of changes have ended; looking every second");
        }
        self.reports = never();
        self.core.note_watched(false);
    }

    fn carry_out(&mut self) {
        for effect in self.core.take_effects() {
            match effect {
                Effect::Watch => {
                    self.watcher = None;
                    self.reports = watch::start(&self.root);
                }
                // There is room for all that are under way, unless the compressor has ended.
                Effect::Compress(job) => drop(self.compressor.offer(job)),
            }
        }
    }
}
