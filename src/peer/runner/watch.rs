//! Reports changes in the peer's directory, so that they are shared at once.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Message;

/// Changes that follow each other within this time are reported together, because the directory is read after each report.
const QUIET: Duration = Duration::from_millis(100);
/// A change is reported at the latest after this time, even if others follow.
const REPORT_AFTER: Duration = Duration::from_millis(500);

/// Sends [`Message::FilesChanged`] after each change of a file directly in `directory`, or in a folder that is added to the
/// watcher, until that is dropped.
pub(super) fn start(directory: &Path, messages: Sender<Message>) -> notify::Result<RecommendedWatcher> {
    // Further changes need no report of their own until this one is taken.
    let (changed, changes) = bounded(1);
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.as_ref().map_or(true, concerns_files) {
            let _ = changed.try_send(());
        }
    };
    let mut watcher = RecommendedWatcher::new(on_event, notify::Config::default())?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    thread::Builder::new().name("watch".into()).spawn(move || report(&changes, &messages))?;
    Ok(watcher)
}

fn report(changes: &Receiver<()>, messages: &Sender<Message>) {
    while changes.recv().is_ok() {
        let latest = Instant::now() + REPORT_AFTER;
        while Instant::now() < latest && changes.recv_timeout(QUIET).is_ok() {}
        if messages.send(Message::FilesChanged).is_err() {
            return;
        }
    }
}

/// Whether shared files may have changed. A file that is being written counts when its writer closes it, because it would be
/// read again and again before.
fn concerns_files(event: &notify::Event) -> bool {
    let is_change = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_)),
        EventKind::Create(kind) => kind == CreateKind::Folder,
        EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
    };
    let is_visible =
        |path: &Path| path.file_name().is_none_or(|name| !name.as_encoded_bytes().starts_with(b"."));
    is_change && (event.paths.is_empty() || event.paths.iter().any(|path| is_visible(path)))
}
