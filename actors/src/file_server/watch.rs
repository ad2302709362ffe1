//! What the system reports about the web root.

use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, never};
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How many reports may wait. When there are more, those that wait make FileServer look at everything anyway.
const REPORTS_MAX: usize = 1024;

/// How often it is tried: directories come and go while they are walked through.
const ATTEMPTS_MAX: usize = 3;

/// What is reported.
#[derive(Debug)]
pub(super) enum Report {
    /// From now on changes are reported. As long as this is kept.
    Watching(Box<RecommendedWatcher>),
    /// They will not be.
    NotWatching,
    /// Something may have changed: this, relative to the root, or anything.
    Change(Option<PathBuf>),
}

/// Has the changes below a directory reported. Returns at once: a thread of its own walks through all its directories
/// first, which takes a while where there are many.
pub(super) fn start(root: &Path) -> Receiver<Report> {
    let (reports, changes) = bounded(REPORTS_MAX);
    let root = root.to_owned();
    let walk = move || {
        let watching = watch(&root, &reports);
        // It fails when nobody waits for reports any longer.
        let _ = reports.send(match watching {
            Ok(watcher) => Report::Watching(Box::new(watcher)),
            Err(error) => {
                tracing::warn!(target: "file_server", %error, "changes of the web site are not reported; looking every second");
                Report::NotWatching
            }
        });
    };
    match thread::Builder::new().name("watch".into()).spawn(walk) {
        Ok(_) => changes,
        Err(error) => {
            tracing::warn!(target: "file_server", %error, "no thread to watch the web site with; looking every second");
            never()
        }
    }
}

fn watch(root: &Path, reports: &Sender<Report>) -> notify::Result<RecommendedWatcher> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match watch_once(root, reports.clone()) {
            Err(error) if attempts < ATTEMPTS_MAX && !matches!(error.kind, ErrorKind::MaxFilesWatch) => {}
            watching => return watching,
        }
    }
}

fn watch_once(root: &Path, reports: Sender<Report>) -> notify::Result<RecommendedWatcher> {
    // Links in it are not followed: where they lead out nothing is served, and where they stay inside it is watched.
    let config = notify::Config::default().with_follow_symlinks(false);
    let root = root.canonicalize()?;
    let below = root.clone();
    let on_event = move |event: notify::Result<notify::Event>| report(event, &below, &reports);
    let mut watcher = RecommendedWatcher::new(on_event, config)?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn report(event: notify::Result<notify::Event>, root: &Path, reports: &Sender<Report>) {
    let paths = match event {
        // Our own reading is reported too.
        Ok(event) if is_read(event.kind) => return,
        Ok(event) => event.paths,
        Err(error) => {
            // A new directory cannot be watched. It fails to be sent at the end, or when there is so much to look at that
            // the next failure is soon enough.
            tracing::warn!(target: "file_server", %error, "not all changes of the web site are reported; looking every second");
            let _ = reports.try_send(Report::NotWatching);
            return;
        }
    };
    let relative = |path: PathBuf| path.strip_prefix(root).ok().map(Path::to_owned);
    if paths.is_empty() {
        // Reports were lost. This one fails to be sent when others are waiting, and at the end.
        let _ = reports.try_send(Report::Change(None));
    }
    for path in paths {
        let _ = reports.try_send(Report::Change(relative(path)));
    }
}

fn is_read(kind: EventKind) -> bool {
    kind.is_access() && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}
