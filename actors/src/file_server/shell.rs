//! FileServer's thread: its mailbox, its clock, and what the system reports about the web root.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded, never};
use notify::{RecursiveMode, Watcher as _};

use super::core::{CacheLimits, Core, Now};
use super::disk::{Disk, RootDirectory};
use super::{Command, StartError};
use crate::runtime::{Mailbox, Vital, spawn_vital};

/// Most commands that are carried out before the clock is read again.
const BATCH_COMMANDS_MAX: usize = 256;

/// How long the thread sleeps when there is nothing to look after.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) fn start(root: &Path, mailbox: Mailbox<Command>) -> Result<Vital, StartError> {
    let disk = RootDirectory::open(root)?;
    let watch = Watch::start(root);
    spawn_vital("file_server", move || run(&mailbox, disk, &watch)).map_err(StartError::Thread)
}

fn now() -> Now {
    Now { instant: Instant::now(), time: SystemTime::now() }
}

fn run(mailbox: &Mailbox<Command>, disk: impl Disk, watch: &Watch) {
    let mut core = Core::new(disk, CacheLimits::default(), watch.watcher.is_some(), now());
    let mut changes = watch.changes.clone();
    let mut batch = Vec::new();
    loop {
        let wait = core.next_look().map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
        crossbeam_channel::select! {
            recv(mailbox.receiver()) -> command => match command {
                Ok(command) => {
                    batch.push(command);
                    batch.extend(mailbox.receiver().try_iter().take(BATCH_COMMANDS_MAX));
                }
                Err(_) => return,
            },
            recv(changes) -> change => match change {
                Ok(()) => core.note_change(),
                Err(_) => {
                    tracing::warn!(target: "file_server", "reports of changes have ended; looking every second");
                    changes = never();
                    core.note_reports_ended();
                }
            },
            default(wait) => {}
        }
        let now = now();
        core.look_if_due(now);
        for command in batch.drain(..) {
            core.handle(now, command);
        }
    }
}

/// Reports of changes below the root. That something changed is all that is passed on; what, the disk says best:
/// reports name files by other paths than links do, come late, and get lost when there are many.
struct Watch {
    changes: Receiver<()>,
    /// None if the system does not report changes. Dropping it ends the reports.
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    fn start(root: &Path) -> Self {
        // One waiting report is as good as many. The channel is not the mailbox, which must close while we watch.
        let (reports, changes) = bounded(1);
        let on_event = move |event: notify::Result<notify::Event>| {
            // Our own reading is reported too.
            let is_read =
                event.is_ok_and(|event| event.kind.is_access() && !is_close_after_write(event.kind));
            if !is_read {
                // It fails when a report is waiting, and at the end.
                let _ = reports.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Self { changes, watcher: Some(watcher) },
            Err(error) => {
                tracing::warn!(target: "file_server", %error, "changes of the web site are not reported; looking every second");
                Self { changes: never(), watcher: None }
            }
        }
    }
}

fn is_close_after_write(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}
