//! Looks at a few files again, so that a change costs what has changed, and not a look at all files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use wire::FileName;
use wire::keyword::Unclear;
use wire::share::{FILE_KEYWORDS_MAX, ListedFile};

use super::digests::Digests;
use super::folders::{Depth, of_entry};
use super::{KEYWORD_FILE, Progress, Share, SharedFile, Terms, read_file};
use crate::peer::home::{DOWNLOADS, Home};

/// An entry of `keyword.txt` that names the files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FolderEntry {
    /// Its path; empty for the peer's directory.
    pub(super) folder: String,
    pub(super) depth: Depth,
    pub(super) terms: Arc<Terms>,
}

impl FolderEntry {
    /// The entry with this name, if that is of the files of a folder.
    pub(super) fn of(name: &FileName) -> Option<Self> {
        let (folder, depth) = of_entry(name)?;
        let folder = folder.unwrap_or_default().to_owned();
        Some(Self { folder, depth, terms: Arc::default() })
    }

    pub(super) fn covers(&self, name: &FileName) -> bool {
        let (folder, base) = name.split();
        let folder = folder.unwrap_or_default();
        let is_in = match self.depth {
            Depth::Folder => folder == self.folder,
            Depth::Tree => self.is_in_or_below(folder),
        };
        let is_received = self.folder.is_empty() && name.folders().next() == Some(DOWNLOADS);
        is_in && !is_received && base != KEYWORD_FILE
    }

    /// Whether it names all files that the other one names.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match self.depth {
            Depth::Folder => self.folder == other.folder && other.depth == Depth::Folder,
            Depth::Tree => self.is_in_or_below(&other.folder),
        }
    }

    /// Whether a folder is the one of the entry, or below it.
    fn is_in_or_below(&self, folder: &str) -> bool {
        let rest = folder.strip_prefix(&self.folder);
        self.folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What is not shared, whatever other entries say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Files, or folders with all that is in them.
    files: BTreeSet<FileName>,
    folders: Vec<FolderEntry>,
    /// Entries that may limit files.
    pub(super) unclear: Arc<Unclear>,
}

impl Hidden {
    pub(super) fn add(&mut self, name: FileName) {
        match FolderEntry::of(&name) {
            Some(folder) => self.folders.push(folder),
            None => drop(self.files.insert(name)),
        }
    }

    pub(super) fn covers(&self, name: &FileName) -> bool {
        self.files.contains(name)
            || self.has_folder_of(name)
            || self.folders.iter().any(|folder| folder.covers(name))
    }

    fn has_folder_of(&self, name: &FileName) -> bool {
        let has = |path: &str| path.parse().is_ok_and(|path: FileName| self.files.contains(&path));
        !self.files.is_empty() && name.folder_paths().any(has)
    }
}

/// What some files are now.
#[derive(Debug, Default)]
pub struct Refreshed {
    removed: Vec<FileName>,
    files: Vec<SharedFile>,
    /// The names that were looked at, and why they cannot be shared, if that has to be said.
    looked_at: Vec<(FileName, Option<String>)>,
}

impl Share {
    /// Looks at files of the peer's directory that may have changed. `None` if that is not enough, because `keyword.txt` or a
    /// folder has changed too. Takes as long as reading these files does.
    pub fn refresh(
        &self,
        home: &Home,
        paths: &BTreeSet<PathBuf>,
        progress: &mut Progress<'_>,
    ) -> Option<Refreshed> {
        let mut refreshed = Refreshed::default();
        for path in paths {
            let name = self.plain_file(home, path)?;
            if let Some(terms) = self.wanted(&name) {
                refreshed.look_at(home, self, name, &terms, progress);
            }
        }
        Some(refreshed)
    }

    /// The name of a file at a path; `None` if it is something else.
    fn plain_file(&self, home: &Home, path: &Path) -> Option<FileName> {
        let name: FileName = path.strip_prefix(home.path()).ok()?.to_str()?.parse().ok()?;
        let is_special = name.as_str() == KEYWORD_FILE || self.folders.contains_key(name.as_str());
        let is_folder = || home.folder().descend(name.as_str().split('/')).is_ok();
        (!is_special && !is_folder()).then_some(name)
    }

    /// How a name is to be shared; `None` if it is not.
    fn wanted(&self, name: &FileName) -> Option<Terms> {
        if let Some(file) = self.files.get(name) {
            return Some(file.terms());
        }
        if let Some(terms) = self.absent.get(name) {
            return Some(Terms::clone(terms));
        }
        if self.hidden.covers(name) || self.hidden.unclear.about(name).is_some() {
            return None;
        }
        let mut covering = self.entries.iter().filter(|entry| entry.covers(name)).peekable();
        covering.peek()?;
        let mut terms = Terms::default();
        covering.for_each(|entry| terms.merge(&entry.terms));
        terms.keywords.truncate(FILE_KEYWORDS_MAX);
        terms.admit_somebody().then_some(terms)
    }

    /// Takes what was found. Returns what others see of it: the names that are gone, and the files that are new or have changed.
    pub fn apply(&mut self, refreshed: Refreshed) -> (Vec<FileName>, Vec<Arc<ListedFile>>) {
        for (name, reason) in refreshed.looked_at {
            self.problems.retain(|problem| problem.line.is_some() || problem.entry != name.as_str());
            if let Some(reason) = reason {
                self.report(name.as_str(), reason);
            }
        }
        let mut changed = Vec::new();
        for file in refreshed.files {
            self.absent.remove(&file.listed.file.name);
            let new = Arc::clone(&file.listed);
            if self.insert(file).is_none_or(|old| old.listed != new) {
                changed.push(new);
            }
        }
        for name in &refreshed.removed {
            if let Some(file) = self.files.remove(name).filter(|file| file.is_named) {
                self.absent.insert(name.clone(), Arc::new(file.terms()));
            }
        }
        (refreshed.removed, changed)
    }
}

impl Refreshed {
    fn look_at(
        &mut self,
        home: &Home,
        share: &Share,
        name: FileName,
        terms: &Terms,
        progress: &mut Progress<'_>,
    ) {
        // Its times may be those of the content before, so no digest that is remembered counts.
        let mut none = Digests::default();
        let is_named = terms.is_named;
        let reason = match read_file(home, &mut none, &name, SystemTime::now(), progress) {
            Ok(content) => {
                self.files.push(SharedFile::new(name.clone(), terms, content));
                None
            }
            Err(error) => {
                if share.files.contains_key(&name) {
                    self.removed.push(name.clone());
                }
                // A folder has other files and links too, which nobody has named.
                let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput);
                (is_named || !is_gone).then(|| error.to_string())
            }
        };
        self.looked_at.push((name, reason));
    }
}
