//! Reports changes in the peer's directory, so that they are shared at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Message;
use crate::peer::share::Folders;

/// Changes that follow each other within this time are reported together.
const QUIET: Duration = Duration::from_millis(100);
/// A change is reported at the latest after this time, even if others follow.
const REPORT_AFTER: Duration = Duration::from_millis(500);
/// With more changes at once, everything is looked at, which takes less memory than their paths.
const CHANGES_MAX: usize = 4096;

/// Watches the peer's directory and the folders of the share.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    directory: PathBuf,
    folders: Folders,
    unnoticed: Option<notify::Error>,
}

impl Watch {
    /// Sends [`Message::FilesChanged`] after each change of a file directly in `directory`, or in a folder that is added, until
    /// this is dropped.
    pub(super) fn start(directory: &Path, messages: Sender<Message>) -> notify::Result<Self> {
        let (watcher, directory) = (start(directory, messages)?, directory.to_owned());
        Ok(Self { watcher, directory, folders: Folders::new(), unnoticed: None })
    }

    /// Watches a folder, if it is not watched already. Whoever calls this before it reads the folder misses no change.
    pub(super) fn add(&mut self, folder: &str, inode: u64) {
        if folder.is_empty() || self.folders.insert(folder.to_owned(), inode) == Some(inode) {
            return;
        }
        if let Err(error) = self.watcher.watch(&self.directory.join(folder), RecursiveMode::NonRecursive) {
            self.unnoticed = Some(error);
        }
    }

    /// Ends the watch of all other folders. Returns why some are not watched, if that was not returned before.
    pub(super) fn keep_only(&mut self, folders: &Folders) -> Option<notify::Error> {
        for (gone, _) in self.folders.extract_if(.., |folder, _| !folders.contains_key(folder)) {
            // The watch may have ended with the folder.
            let _ = self.watcher.unwatch(&self.directory.join(gone));
        }
        self.unnoticed.take()
    }
}

fn start(directory: &Path, messages: Sender<Message>) -> notify::Result<RecommendedWatcher> {
    let (changed, changes) = bounded(CHANGES_MAX);
    let is_any_lost = Arc::<AtomicBool>::default();
    let lost = Arc::clone(&is_any_lost);
    let on_event = move |event: notify::Result<notify::Event>| {
        for change in changes_in(event) {
            if changed.try_send(change).is_err() {
                lost.store(true, Ordering::SeqCst);
            }
        }
    };
    let mut watcher = RecommendedWatcher::new(on_event, notify::Config::default())?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    thread::Builder::new().name("watch".into()).spawn(move || report(&changes, &is_any_lost, &messages))?;
    Ok(watcher)
}

fn report(changes: &Receiver<Option<PathBuf>>, is_any_lost: &AtomicBool, messages: &Sender<Message>) {
    while let Ok(first) = changes.recv() {
        let latest = Instant::now() + REPORT_AFTER;
        let mut all: Vec<Option<PathBuf>> = vec![first];
        while Instant::now() < latest
            && let Ok(next) = changes.recv_timeout(QUIET)
        {
            all.push(next);
        }
        // None of them if the path of one is not known.
        let paths: Option<BTreeSet<PathBuf>> = all.into_iter().collect();
        let paths = paths.filter(|_| !is_any_lost.swap(false, Ordering::SeqCst));
        if messages.send(Message::FilesChanged(paths)).is_err() {
            return;
        }
    }
}

/// The paths at which shared files may have changed; none for everything.
fn changes_in(event: notify::Result<notify::Event>) -> Vec<Option<PathBuf>> {
    let Ok(event) = event else { return vec![None] };
    if !is_change(event.kind) {
        return Vec::new();
    }
    if event.paths.is_empty() {
        return vec![None];
    }
    event.paths.into_iter().filter(|path| is_visible(path)).map(Some).collect()
}

/// Whether shared files may have changed. A file that is being written counts when its writer closes it, because it would be
/// read again and again before.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_)),
        EventKind::Create(kind) => kind == CreateKind::Folder,
        EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
    }
}

fn is_visible(path: &Path) -> bool {
    path.file_name().is_none_or(|name| !name.as_encoded_bytes().starts_with(b"."))
}
