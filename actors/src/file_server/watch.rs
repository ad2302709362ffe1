//! What the system reports about the web root.

use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::core::Input;
use crate::runtime::Answers;

/// How often it is tried: directories come and go while they are walked through.
const ATTEMPTS_MAX: usize = 3;

/// What is reported.
#[derive(Debug)]
pub(super) enum Report {
    /// From now on changes are reported.
    Watching,
    /// They are not, or not all of them.
    NotWatching,
    /// Something may have changed: this, relative to the root, or anything.
    Change(Option<PathBuf>),
}

/// Where one watch reports to. There is a new one whenever the root has been replaced, and reports of the old one may still
/// be on their way then.
#[derive(Clone)]
struct Reports {
    number: u64,
    answers: Answers<Input>,
}

impl Reports {
    /// Reports if there is room: when there is none, those that wait make FileServer look at everything anyway.
    fn offer(&self, report: Report) {
        let _ = self.answers.offer(Input::Reported(self.number, report));
    }
}

/// Dropping it ends the watch.
pub(super) struct Watch {
    _keeps_open: Sender<()>,
}

/// Has the changes below a directory reported. Returns at once: a thread of its own walks through all its directories
/// first, which takes a while where there are many, and then keeps the watch until the [`Watch`] is dropped.
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
                    // Nothing is ever sent: it ends when the other end is dropped.
                    let _ = dropped.recv();
                }
            }
            Err(error) => {
                tracing::warn!(target: "file_server", %error, "changes of the web site are not reported; looking every second");
                let _ = reports.answers.send(Input::Reported(number, Report::NotWatching));
            }
        }
    };
    match thread::Builder::new().name("watch".into()).spawn(walk) {
        Ok(_) => Some(Watch { _keeps_open: keeps_open }),
        Err(error) => {
            tracing::warn!(target: "file_server", %error, "no thread to watch the web site with; looking every second");
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
    // Links in it are not followed: where they lead out nothing is served, and where they stay inside it is watched.
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
        // Our own reading is reported too.
        Ok(event) if is_read(event.kind) => return,
        Ok(event) => event.paths,
        Err(error) => {
            // A new directory cannot be watched. It fails to be sent at the end, or when there is so much to look at that
            // the next failure is soon enough.
            tracing::warn!(target: "file_server", %error, "not all changes of the web site are reported; looking every second");
            reports.offer(Report::NotWatching);
            return;
        }
    };
    let relative = |path: PathBuf| path.strip_prefix(root).ok().map(Path::to_owned);
    if paths.is_empty() {
        // Reports were lost. This one fails to be sent when others are waiting, and at the end.
        reports.offer(Report::Change(None));
    }
    for path in paths {
        reports.offer(Report::Change(relative(path)));
    }
}

fn is_read(kind: EventKind) -> bool {
    kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}
