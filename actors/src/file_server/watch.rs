//! Reports changes below the web root.

use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::core::Input;
use crate::runtime::Answers;

/// The maximum number of attempts: a directory can be removed while it is being added to the watch, which fails then.
const ATTEMPTS_MAX: usize = 3;

#[derive(Debug)]
pub(super) enum Report {
    /// From now on changes are reported.
    Watching,
    /// Changes are not reported, or not all of them.
    NotWatching,
    /// This path, relative to the root, may have changed; with `None`, any path.
    Change(Option<PathBuf>),
}

/// Where one watch reports to. A watch is replaced with the root, and the reports of the previous one may still be in the
/// mailbox then.
#[derive(Clone)]
struct Reports {
    number: u64,
    answers: Answers<Input>,
}

impl Reports {
    /// Reports if there is room. Otherwise the reports in the mailbox cause all entries to be compared anyway.
    fn offer(&self, report: Report) {
        let _ = self.answers.offer(Input::Reported(self.number, report));
    }
}

/// Dropping it ends the watch.
pub(super) struct Watch {
    _keeps_open: Sender<()>,
}

/// Watches a directory. Returns at once: a thread walks through all directories, which can take long, and then keeps the
/// watch until the [`Watch`] is dropped.
pub(super) fn start(root: &Path, number: u64, answers: Answers<Input>) -> Option<Watch> {
    let (keeps_open, dropped) = bounded(0);
    let root = root.to_owned();
    let reports = Reports { number, answers };
    let walk = {
        let reports = reports.clone();
        move || match watch(&root, &reports) {
            Ok(_watcher) => {
                // Waits while there is no room. Fails when FileServer has ended.
                if reports.answers.send(Input::Reported(number, Report::Watching)).is_ok() {
                    // Nothing is ever sent. This returns when the other end is dropped.
                    let _ = dropped.recv();
                }
            }
            Err(error) => {
                tracing::warn!(target: "file_server", %error, "changes of the web site are not reported; checking its files every second");
                let _ = reports.answers.send(Input::Reported(number, Report::NotWatching));
            }
        }
    };
    match thread::Builder::new().name("watch".into()).spawn(walk) {
        Ok(_) => Some(Watch { _keeps_open: keeps_open }),
        Err(error) => {
            tracing::warn!(target: "file_server", %error, "no thread to watch the web site; checking its files every second");
            reports.offer(Report::NotWatching);
            None
        }
    }
}

fn watch(root: &Path, reports: &Reports) -> notify::Result<RecommendedWatcher> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match watch_once(root, reports.clone()) {
            Err(error) if attempts < ATTEMPTS_MAX && !matches!(error.kind, ErrorKind::MaxFilesWatch) => {}
            watching => return watching,
        }
    }
}

fn watch_once(root: &Path, reports: Reports) -> notify::Result<RecommendedWatcher> {
    // Links are not followed: a link out of the root is not served, and the target of a link inside it is watched itself.
    let config = notify::Config::default().with_follow_symlinks(false);
    let root = root.canonicalize()?;
    let below = root.clone();
    let on_event = move |event: notify::Result<notify::Event>| report(event, &below, &reports);
    let mut watcher = RecommendedWatcher::new(on_event, config)?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn report(event: notify::Result<notify::Event>, root: &Path, reports: &Reports) {
    let paths = match event {
        // Reading by FileServer is reported too.
        Ok(event) if is_read(event.kind) => return,
        Ok(event) => event.paths,
        Err(error) => {
            // A new directory could not be added. If this report is lost, there are others in the mailbox.
            tracing::warn!(target: "file_server", %error, "not all changes of the web site are reported; checking its files every second");
            reports.offer(Report::NotWatching);
            return;
        }
    };
    let relative = |path: PathBuf| path.strip_prefix(root).ok().map(Path::to_owned);
    if paths.is_empty() {
        // Reports were lost.
        reports.offer(Report::Change(None));
    }
    for path in paths {
        reports.offer(Report::Change(relative(path)));
    }
}

fn is_read(kind: EventKind) -> bool {
    kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}
