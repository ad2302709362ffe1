//! The files that this peer shares, which `keyword.txt` in its directory names, with their digests.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wire::escape::Escaped;
use wire::file_name::BadFileName;
use wire::keyword::{self, BadKeyword, KEYWORD_TEXT_BYTES_MAX, Keyword, Parsed, Problem};
use wire::pieces::{Link, Linker, Links};
use wire::share::{ListedFile, PublishedFile};
use wire::{Audience, Digest, FileName};

use crate::peer::folder::{FileError, read_whole};
use crate::peer::home::Home;

mod change;
mod digests;
mod folders;
mod refresh;

pub use change::{add_entries, remove_entries};
use digests::Digests;
pub use folders::Folders;
pub use refresh::Refreshed;
use refresh::{FolderEntry, Hidden};

/// The file that lists the shared files and their keywords.
pub const KEYWORD_FILE: &str = "keyword.txt";

/// Is told how far the reading of a file is: its name, how many bytes were read, and its size.
pub type Progress<'a> = dyn FnMut(&FileName, u64, u64) + 'a;

/// Is told of each folder before it is looked into: its path below the peer's directory, and its inode.
pub type LooksInto<'a> = dyn FnMut(&str, u64) + 'a;

/// A digest is cached only if the file was unchanged for this long before it was read. A file that changes twice within
/// one tick of the file system's clock keeps its times, so the second change could not be detected.
const AT_REST: Duration = Duration::from_secs(2);

/// Why a file cannot be shared or the shared files cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error(transparent)]
    Io(#[from] FileError),
    #[error(
        "{}: {source}; give its path below the peer's directory, such as lectures/tides.pdf",
        Escaped(name)
    )]
    FileName { name: String, source: BadFileName },
    #[error("{}: {source}", Escaped(keyword))]
    Keyword { keyword: String, source: BadKeyword },
    #[error("{}: to limit a file to peers, say --with and their names, without @; a keyword that begins with @ can only be written \
             into {KEYWORD_FILE}", Escaped(.0.as_str()))]
    LooksLikeName(Keyword),
    #[error("{KEYWORD_FILE} lists the shared files and is not shared itself; name another file")]
    Itself,
    #[error("{}: give at least one keyword to find it by, or * to find it by the words of its name", Escaped(.0.as_str()))]
    NoKeyword(FileName),
    #[error("{}: {KEYWORD_FILE} limits it to names that cannot be read, or to nobody; say --with and the names, or correct the entry \
             there", Escaped(.0.as_str()))]
    BadLimit(FileName),
    #[error("{}: {KEYWORD_FILE} has no such entry for this file; /files lists what is shared, which can also be by an entry for \
             its folder", Escaped(.0.as_str()))]
    NoEntry(FileName),
    #[error("{}: the entry `-, {entry};` in {KEYWORD_FILE} hides it, whatever other entries say; first remove that entry, with \
             /unshare \"{entry}\" -, which shares again all that it hides and other entries share", Escaped(.name.as_str()),
             entry = Escaped(.entry.as_str()))]
    Hidden { name: FileName, entry: FileName },
    #[error("{name} is a folder; say {name}/* for its files, or {name}/** also for those in its sub-folders", name = Escaped(.0.as_str()))]
    Folder(FileName),
    #[error("{}: no such file or folder; put it there first", Escaped(&.0.to_string_lossy()))]
    Missing(PathBuf),
    #[error("{}: no longer there", Escaped(.0.as_str()))]
    Vanished(FileName),
    #[error("{}: changed since it was shared", Escaped(.0.as_str()))]
    Changed(FileName),
}

/// The metadata of a file that change with its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub bytes: u64,
    /// The modification time, in seconds and nanoseconds since 1970. Programs can set it.
    pub modified: (i64, i64),
    /// The time of the last change of content or metadata, in seconds and nanoseconds since 1970. Programs cannot set
    /// it.
    pub changed: (i64, i64),
    pub inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Whether the content is probably the same. A change of the mode or a hard link makes no difference.
    fn has_content_of(&self, other: &Self) -> bool {
        (self.bytes, self.modified, self.inode) == (other.bytes, other.modified, other.inode)
    }

    fn was_at_rest(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        Duration::new(seconds, nanoseconds) + AT_REST <= now
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// What others see of it. Its name is its path below the peer's directory. The list that is published has the same.
    pub listed: Arc<ListedFile>,
    /// Whether an entry names it, and not only its folder.
    is_named: bool,
    /// Its metadata when it was read.
    pub stamp: Stamp,
    /// The links at its pieces, if it has several.
    links: Arc<[Link]>,
}

/// What was read of a file.
#[derive(Debug, Clone)]
struct Content {
    stamp: Stamp,
    sha256: Digest,
    links: Arc<[Link]>,
}

/// How entries of `keyword.txt` share a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Terms {
    keywords: Vec<Keyword>,
    /// Who may find and fetch it.
    audience: Audience,
    /// Whether an entry names it, and not only its folder.
    is_named: bool,
}

impl SharedFile {
    fn new(name: FileName, terms: &Terms, Content { stamp, sha256, links }: Content) -> Self {
        let file = PublishedFile { name, bytes: stamp.bytes, sha256, keywords: terms.keywords.clone() };
        let listed = ListedFile { file, audience: terms.audience.clone() };
        Self { listed: Arc::new(listed), is_named: terms.is_named, stamp, links }
    }

    /// Takes the memory of an earlier state of the file, as far as it is the same.
    fn sharing_with(self, before: Option<&Self>) -> Self {
        match before.filter(|before| before.listed == self.listed) {
            Some(before) => Self { listed: Arc::clone(&before.listed), ..self },
            None => self,
        }
    }

    fn terms(&self) -> Terms {
        let ListedFile { file, audience } = &*self.listed;
        Terms { keywords: file.keywords.clone(), audience: audience.clone(), is_named: self.is_named }
    }

    /// The links at these of its pieces; `None` if it does not have them.
    pub fn links(&self, pieces: &Range<u64>) -> Option<Links> {
        let at = |piece| usize::try_from(piece).ok();
        Some(Links(self.links.get(at(pieces.start)?..at(pieces.end)?)?.to_vec()))
    }
}

/// An entry of `keyword.txt` that cannot be shared. The other entries are not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareProblem {
    /// The line of `keyword.txt` with the problem, from 1, if it has a line.
    pub line: Option<usize>,
    /// The character of the line at which the problem is, from 1, if that is known.
    pub column: Option<usize>,
    /// The entry or the name of the file, as written. Escape it before showing it, as `Display` does.
    pub entry: String,
    pub reason: String,
}

impl std::fmt::Display for ShareProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(KEYWORD_FILE)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        if !self.entry.is_empty() {
            write!(f, ": {}", Escaped(&self.entry))?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl From<Problem> for ShareProblem {
    fn from(problem: Problem) -> Self {
        Self {
            line: Some(problem.line),
            column: Some(problem.column),
            entry: problem.entry,
            reason: problem.reason.to_string(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    pub files: BTreeMap<FileName, SharedFile>,
    pub problems: Vec<ShareProblem>,
    /// The files that entries name and that cannot be shared now.
    absent: BTreeMap<FileName, Arc<Terms>>,
    /// The entries that name the files of folders, in their order.
    entries: Vec<FolderEntry>,
    hidden: Hidden,
    /// The folders whose changes change the share, without the peer's directory itself.
    pub folders: Folders,
}

impl Share {
    /// Reads `keyword.txt`, and each file that it names whose digest is not cached. Without a `keyword.txt` nothing is shared.
    /// Takes as long as reading the files does.
    ///
    /// [`ShareError::Io`] if `keyword.txt` exists and cannot be read.
    /// `progress` is called for each file that is read: its name, how many bytes were read, and its size. What is as `before` shares
    /// its memory.
    pub fn read(
        home: &Home,
        before: &Self,
        looks_into: &mut LooksInto<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ShareError> {
        Self::read_at(home, before, SystemTime::now(), looks_into, progress)
    }

    fn read_at(
        home: &Home,
        before: &Self,
        now: SystemTime,
        looks_into: &mut LooksInto<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ShareError> {
        let Some(text) = read_keyword_file(home)? else {
            return Ok(Self::default());
        };
        let mut share = Self::default();
        let entries = share.entries_of(&text);
        let wanted = share.expand(home, entries, looks_into);
        let mut digests = Digests::load(home.private());
        for (name, terms) in wanted.into_files() {
            match read_file(home, &mut digests, &name, now, progress) {
                Ok(content) => {
                    let file = SharedFile::new(name, &terms, content);
                    let old = before.files.get(&file.listed.file.name);
                    share.insert(file.sharing_with(old));
                }
                Err(error) => {
                    share.report(name.as_str(), error.to_string());
                    if terms.is_named {
                        share.absent.insert(name, terms);
                    }
                }
            }
        }
        if let Err(error) = digests.save(home.private(), &share.files) {
            let reason =
                format!("digests cannot be remembered, the next start reads all files again: {error}");
            share.report("", reason);
        }
        Ok(share)
    }

    /// Adds a file. Returns the one of the same name that was there.
    fn insert(&mut self, file: SharedFile) -> Option<SharedFile> {
        self.files.insert(file.listed.file.name.clone(), file)
    }

    pub fn by_name(&self, name: &FileName) -> Option<&SharedFile> {
        self.files.get(name)
    }

    /// What has changed since an earlier state: the names that are gone, and the files that others see as new or changed.
    pub fn since(&self, before: &Self) -> (Vec<FileName>, Vec<&SharedFile>) {
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        let mut old = before.files.iter().peekable();
        for (name, file) in &self.files {
            while let Some((gone, _)) = old.next_if(|(old, _)| *old < name) {
                removed.push(gone.clone());
            }
            match old.next_if(|(old, _)| *old == name) {
                Some((_, old)) if old.listed == file.listed => {}
                _ => changed.push(file),
            }
        }
        removed.extend(old.map(|(gone, _)| gone.clone()));
        (removed, changed)
    }

    /// The names that a text has, of files or folders, each with its keywords and who may see it. Entries that cannot be parsed
    /// are reported.
    fn entries_of(&mut self, text: &[u8]) -> Vec<(FileName, Terms)> {
        let (text, is_text) = match std::str::from_utf8(text) {
            Ok(text) => (text.into(), true),
            Err(error) => {
                let line = 1 + text[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
                self.problems.push(ShareProblem {
                    line: Some(line),
                    column: None,
                    entry: String::new(),
                    reason: "not UTF-8; entries that are not are left out, save the file as UTF-8".into(),
                });
                (String::from_utf8_lossy(text), false)
            }
        };
        let Parsed { pairs, limits, problems, problems_unnamed, unclear } = keyword::parse(&text);
        self.hidden.unclear = Arc::new(unclear);
        self.problems.extend(problems.into_iter().map(ShareProblem::from));
        if problems_unnamed > 0 {
            self.report("", format!("{problems_unnamed} more entries are broken"));
        }
        let is_whole = |item: &str| is_text || !item.contains(char::REPLACEMENT_CHARACTER);
        let pairs =
            pairs.into_iter().filter(|(keyword, file)| is_whole(keyword.as_str()) && is_whole(file.as_str()));
        let mut files: Vec<(FileName, Terms)> = Vec::new();
        let mut places = HashMap::new();
        for (keyword, file) in pairs {
            let place = *places.entry(file.clone()).or_insert(files.len());
            if place == files.len() {
                files.push((file, Terms::default()));
            }
            files[place].1.keywords.push(keyword);
        }
        for (file, audience) in limits {
            match places.get(&file) {
                Some(place) => {
                    let terms = &mut files[*place].1;
                    terms.audience = std::mem::take(&mut terms.audience).narrowed(&audience);
                }
                // The limit could not be read, and that was reported.
                None => self.hidden.add(file),
            }
        }
        files
    }

    fn report(&mut self, entry: &str, reason: String) {
        let entry = entry.to_owned();
        self.problems.push(ShareProblem { line: None, column: None, entry, reason });
    }
}

fn read_keyword_file(home: &Home) -> Result<Option<Vec<u8>>, ShareError> {
    let doing = FileError::of("read what is shared", home.path().join(KEYWORD_FILE));
    match home.folder().open_file(KEYWORD_FILE) {
        Ok(file) => Ok(Some(read_whole(file, KEYWORD_TEXT_BYTES_MAX as u64).map_err(doing)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(doing(error).into()),
    }
}

/// Takes the digest of one file from the cache, or reads the file.
fn read_file(
    home: &Home,
    digests: &mut Digests,
    name: &FileName,
    now: SystemTime,
    progress: &mut Progress<'_>,
) -> io::Result<Content> {
    // Without opening it: a million opened files are as many events for the watcher, which then would want all of them read again.
    if let Ok(metadata) = home.folder().metadata_of_shared(name)
        && let Some(known) = digests.get(name, &Stamp::of(&metadata))
    {
        return Ok(known);
    }
    let file = home.folder().open_shared(name)?;
    let stamp = Stamp::of(&file.metadata()?);
    let (sha256, links) = digest_of_all(&file, &mut |done| progress(name, done, stamp.bytes))?;
    if Stamp::of(&file.metadata()?) != stamp {
        return Err(io::Error::other("it was changed while it was read; share it when it is at rest"));
    }
    let content = Content { stamp, sha256, links: links.into() };
    if stamp.was_at_rest(now) {
        digests.put(name.clone());
    }
    Ok(content)
}

/// Opens a shared file for sending, if it has not changed since it was published.
///
/// # Errors
/// [`ShareError::Vanished`] when the name is no longer that of a regular file, [`ShareError::Changed`],
/// [`ShareError::Io`].
pub fn open_shared(home: &Home, shared: &SharedFile) -> Result<File, ShareError> {
    let name = &shared.listed.file.name;
    let doing = || FileError::of("open the shared file", home.path().join(name.as_str()));
    let file = match home.folder().open_shared(name) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Err(ShareError::Vanished(name.clone()));
        }
        Err(error) => return Err(doing()(error).into()),
    };
    let stamp = Stamp::of(&file.metadata().map_err(doing())?);
    if stamp.has_content_of(&shared.stamp) { Ok(file) } else { Err(ShareError::Changed(name.clone())) }
}

/// The digest of a file from its current position to its end.
pub(crate) fn digest_of(file: &File) -> io::Result<Digest> {
    digest_of_all(file, &mut |_| {}).map(|(digest, _)| digest)
}

/// Like [`digest_of`], with the links at its pieces. Calls `progress` with the number of bytes that were read so far.
fn digest_of_all(mut file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<(Digest, Vec<Link>)> {
    let mut linker = Linker::new();
    let mut done = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(linker.finish()),
            Ok(bytes) => {
                linker.update(&buffer[..bytes]);
                done += bytes as u64;
                progress(done);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
