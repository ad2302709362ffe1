//! Entries of `keyword.txt` that name the files of a folder: `lectures/*` those directly in it, and `lectures/**` also those in
//! its sub-folders. `*` and `**` are those of the peer's directory.
//!
//! Files are shared by such an entry only. Without one, a file that is put into the directory stays private until it is named.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;

use rustix::fs::FileType;
use wire::escape::Escaped;
use wire::keyword::{PAIRS_MAX, PROBLEMS_NAMED_MAX};
use wire::share::FILE_KEYWORDS_MAX;
use wire::{Audience, FileName};

use super::refresh::FolderEntry;
use super::{KEYWORD_FILE, LooksInto, Share, Terms};
use crate::peer::folder::Folder;
use crate::peer::home::{DOWNLOADS, Home};

/// In the place of a keyword: none. The file is then found by the words of its name.
pub(super) const NO_KEYWORD: &str = "*";

/// In the place of a keyword: the file, or the files of the folder, are not shared, whatever other entries say.
pub(super) const NOT_SHARED: &str = "-";

/// Which files of a folder an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Those directly in it.
    Folder,
    /// Also those in its sub-folders.
    Tree,
}

/// The folder of which an entry names the files; its path is `None` for the peer's directory.
pub(super) fn of_entry(name: &FileName) -> Option<(Option<&str>, Depth)> {
    match name.split() {
        (folder, "*") => Some((folder, Depth::Folder)),
        (folder, "**") => Some((folder, Depth::Tree)),
        _ => None,
    }
}

/// The folders that were looked into or that a file was named in, with their inodes. A path is relative to the peer's directory.
pub type Folders = BTreeMap<String, u64>;

/// The files to share, and how. Those of one folder share its terms.
#[derive(Default)]
pub(super) struct Wanted {
    files: BTreeMap<FileName, Arc<Terms>>,
}

impl Wanted {
    fn add(&mut self, name: FileName, terms: &Arc<Terms>) {
        match self.files.entry(name) {
            Entry::Vacant(place) => drop(place.insert(Arc::clone(terms))),
            Entry::Occupied(mut there) => Arc::make_mut(there.get_mut()).merge(terms),
        }
    }

    /// In the order of the names.
    pub(super) fn into_files(self) -> impl Iterator<Item = (FileName, Arc<Terms>)> {
        self.files.into_iter()
    }
}

impl Terms {
    /// Adds those of another entry: the keywords that are not there yet, and its limit.
    pub(super) fn merge(&mut self, other: &Self) {
        for keyword in &other.keywords {
            if self.keywords.iter().all(|there| there.folded() != keyword.folded()) {
                self.keywords.push(keyword.clone());
            }
        }
        self.audience = std::mem::take(&mut self.audience).narrowed(&other.audience);
        self.is_named |= other.is_named;
    }

    /// Whether anybody is in all limits. Otherwise the file is not shared.
    pub(super) fn admit_somebody(&self) -> bool {
        self.audience != Audience::nobody()
    }
}

impl Share {
    /// The files that entries name, directly or by their folder. Folders that cannot be read are reported.
    pub(super) fn expand(
        &mut self,
        home: &Home,
        entries: Vec<(FileName, Terms)>,
        looks_into: &mut LooksInto<'_>,
    ) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, mut terms) in entries {
            if terms.keywords.iter().any(|keyword| keyword.as_str() == NOT_SHARED) {
                self.hidden.add(name);
                continue;
            }
            terms.keywords.retain(|keyword| keyword.as_str() != NO_KEYWORD);
            terms.is_named = of_entry(&name).is_none();
            let terms = Arc::new(terms);
            match of_entry(&name) {
                Some((folder, depth)) => {
                    for file in self.files_in(home, folder, depth, looks_into) {
                        wanted.add(file, &terms);
                    }
                    let folder = folder.unwrap_or_default().to_owned();
                    self.entries.push(FolderEntry { folder, depth, terms });
                }
                None if name.base() == KEYWORD_FILE => {
                    self.report(name.as_str(), "it lists the shared files and is not shared itself".into());
                }
                None => wanted.add(name, &terms),
            }
        }
        wanted.files.retain(|name, _| !self.hidden.covers(name));
        self.close_unclear(&mut wanted);
        for (name, _) in wanted.files.extract_if(.., |_, terms| !terms.admit_somebody()) {
            let reason = "nobody is in all of its limits, so it is not shared";
            self.report_in_folder(name.as_str(), reason.into());
            // Also when it is looked at alone later.
            self.hidden.add(name);
        }
        for (file, terms) in &mut wanted.files {
            let count = terms.keywords.len();
            if count > FILE_KEYWORDS_MAX {
                Arc::make_mut(terms).keywords.truncate(FILE_KEYWORDS_MAX);
                let reason = format!("{count} keywords, only the first {FILE_KEYWORDS_MAX} are published");
                self.report(file.as_str(), reason);
            }
        }
        self.note_folders(home, &wanted, looks_into);
        wanted
    }

    /// Leaves out the files that an entry with a mistake can be about.
    fn close_unclear(&mut self, wanted: &mut Wanted) {
        let unclear = std::mem::take(&mut self.hidden.unclear);
        wanted.files.retain(|name, _| {
            let Some(entry) = unclear.about(name) else { return true };
            let reason = if entry.is_empty() {
                "too many entries that may limit files have mistakes, so nothing is shared until they are corrected".into()
            } else {
                format!(
                    "not shared, because an entry that may limit it has a mistake; correct it, or put a file name with @ into double \
                     quotes: {}",
                    Escaped(&entry)
                )
            };
            self.report_in_folder(name.as_str(), reason);
            false
        });
        self.hidden.unclear = unclear;
    }

    /// The files of a folder, ordered by name. Links, hidden files and received files are left out.
    fn files_in(
        &mut self,
        home: &Home,
        folder: Option<&str>,
        depth: Depth,
        looks_into: &mut LooksInto<'_>,
    ) -> Vec<FileName> {
        let mut files = Vec::new();
        let mut folders = vec![folder.unwrap_or_default().to_owned()];
        while let Some(path) = folders.pop() {
            let opened = open(home, &path).and_then(|opened| {
                let inode = opened.inode()?;
                looks_into(&path, inode);
                Ok((inode, opened.entries()?, opened))
            });
            let (inode, entries, opened) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    self.report_in_folder(&path, error.to_string());
                    continue;
                }
            };
            self.folders.insert(path.clone(), inode);
            for (name, kind) in entries {
                let Some(name) = self.checked(&path, name.to_str()) else { continue };
                match kind_of(&opened, name.base(), kind) {
                    FileType::RegularFile if name.base() != KEYWORD_FILE => files.push(name),
                    FileType::Directory if depth == Depth::Tree && name.as_str() != DOWNLOADS => {
                        folders.push(name.to_string());
                    }
                    _ => {}
                }
            }
            if files.len() > PAIRS_MAX {
                files.truncate(PAIRS_MAX);
                self.report_in_folder(&path, format!("more than {PAIRS_MAX} files; the rest is left out"));
                break;
            }
        }
        files.sort_unstable();
        files
    }

    /// The name of a file or folder in the folder `path`, unless it is hidden. A name that cannot be published is reported.
    fn checked(&mut self, path: &str, name: Option<&str>) -> Option<FileName> {
        let Some(name) = name else {
            self.report_in_folder(path, "a name in it is not UTF-8".into());
            return None;
        };
        if name.starts_with('.') {
            return None;
        }
        let name = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        match name.parse() {
            Ok(name) => Some(name),
            Err(bad) => {
                self.report_in_folder(&name, bad.to_string());
                None
            }
        }
    }

    /// Not more of these than can be read: a folder can have a million such files.
    fn report_in_folder(&mut self, path: &str, reason: String) {
        if self.problems.len() < PROBLEMS_NAMED_MAX {
            self.report(if path.is_empty() { "*" } else { path }, reason);
        }
    }

    /// Notes the folders in the names of files, so that changes in them are noticed.
    fn note_folders(&mut self, home: &Home, wanted: &Wanted, looks_into: &mut LooksInto<'_>) {
        for name in wanted.files.keys() {
            for path in name.folder_paths() {
                if self.folders.contains_key(path) {
                    break;
                }
                if let Ok(inode) = open(home, path).and_then(|folder| folder.inode()) {
                    looks_into(path, inode);
                    self.folders.insert(path.to_owned(), inode);
                }
            }
        }
    }
}

fn open(home: &Home, path: &str) -> io::Result<Folder> {
    home.folder().descend(path.split('/').filter(|name| !name.is_empty()))
}

/// What a name stands for; asks the file system if the list of the folder does not say it.
fn kind_of(folder: &Folder, name: &str, listed: FileType) -> FileType {
    match listed {
        FileType::Unknown if folder.child(name).is_ok() => FileType::Directory,
        FileType::Unknown if folder.open_file(name).is_ok() => FileType::RegularFile,
        known => known,
    }
}

/// Whether there is a folder of this path.
pub(super) fn check(home: &Home, folder: Option<&str>) -> io::Result<()> {
    open(home, folder.unwrap_or_default()).map(|_| ())
}
