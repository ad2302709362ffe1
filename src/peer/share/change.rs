//! `/share FILE KEYWORD...` and `/unshare FILE [KEYWORD...]`: change entries of `keyword.txt` and leave the rest of the text as it
//! is.

use std::collections::HashSet;
use std::io;

use wire::keyword::{self, KEYWORD_TEXT_BYTES_MAX, Keyword};
use wire::{Audience, FileName};

use super::folders::{self, NO_KEYWORD, NOT_SHARED};
use super::refresh::FolderEntry;
use super::{KEYWORD_FILE, ShareError, read_keyword_file};
use crate::peer::folder::FileError;
use crate::peer::home::Home;

/// The mode of a new file, before the umask: the list of shared files is not secret.
const KEYWORD_FILE_MODE: u32 = 0o666;

/// Adds a file of the peer's directory, or the files of a folder, to `keyword.txt` under each keyword. The files of a folder need
/// none. With an `audience`, all entries of the file are written again, limited to it; without one, the new entries have the limit
/// of those that are there. The change is on the disk when this returns. Returns how many pairs were written; pairs that exist
/// already are not written again.
///
/// # Errors
/// [`ShareError::FileName`], [`ShareError::Itself`], [`ShareError::Keyword`], [`ShareError::LooksLikeName`],
/// [`ShareError::NoKeyword`], [`ShareError::Missing`], [`ShareError::Folder`], [`ShareError::Hidden`], [`ShareError::BadLimit`],
/// [`ShareError::Io`]; then `keyword.txt` is unchanged.
pub fn add_entries(
    home: &Home,
    file: &str,
    keywords: &[impl AsRef<str>],
    audience: Option<&Audience>,
) -> Result<usize, ShareError> {
    let name = checked_file(home, file)?;
    let mut keywords = checked_keywords(keywords)?;
    if let Some(keyword) = keywords.iter().find(|keyword| keyword.as_str().starts_with('@')) {
        return Err(ShareError::LooksLikeName(keyword.clone()));
    }
    let mut text = read_keyword_file(home)?.unwrap_or_default();
    if let Ok(whole) = str::from_utf8(&text) {
        let is_hiding = |keyword: &Keyword, file: &FileName| *file == name && keyword.as_str() == NOT_SHARED;
        text = keyword::without(whole, is_hiding).0.into_bytes();
    }
    if let Some(entry) = hiding(&keyword::parse(&String::from_utf8_lossy(&text)).pairs, &name) {
        return Err(ShareError::Hidden { entry: entry.clone(), name });
    }
    let there = Named::in_text(&text, &name);
    let only_limits = audience.is_some() && !there.keywords.is_empty();
    if keywords.is_empty() && !only_limits && folders::of_entry(&name).is_some() {
        keywords = checked_keywords(&[NO_KEYWORD])?;
    }
    if keywords.is_empty() && !only_limits {
        return Err(ShareError::NoKeyword(name));
    }
    let audience = audience.unwrap_or(&there.audience);
    if *audience == Audience::nobody() {
        return Err(ShareError::BadLimit(name));
    }
    let mut new = there.missing(keywords);
    if *audience != there.audience {
        let whole = utf8(home, text)?;
        text = keyword::without(&whole, |_, file| *file == name).0.into_bytes();
        new = [there.keywords, new].concat();
    }
    if new.is_empty() {
        return Ok(0);
    }
    append(&mut text, &name, &new, audience);
    write(home, &text)?;
    Ok(new.len())
}

/// Removes entries of a file from `keyword.txt`: those with these keywords, or all if there are none. If the entry of a folder
/// shares the file then, adds one that does not. A limit of the file stays. The change is on the disk when this returns. Returns
/// how many entries were removed or added.
///
/// # Errors
/// [`ShareError::FileName`], [`ShareError::Keyword`], [`ShareError::NoEntry`], [`ShareError::BadLimit`], [`ShareError::Io`]; then
/// `keyword.txt` is unchanged.
pub fn remove_entries(home: &Home, file: &str, keywords: &[impl AsRef<str>]) -> Result<usize, ShareError> {
    let name = file_name(file)?;
    let keywords = checked_keywords(keywords)?;
    let text = utf8(home, read_keyword_file(home)?.unwrap_or_default())?;
    let is_named = |keyword: &Keyword| keywords.iter().any(|named| named.folded() == keyword.folded());
    let is_removed =
        |keyword: &Keyword, file: &FileName| *file == name && (keywords.is_empty() || is_named(keyword));
    let (left, mut changed) = keyword::without(&text, is_removed);
    let (before, after) = (Named::in_text(text.as_bytes(), &name), Named::in_text(left.as_bytes(), &name));
    let mut left = left.into_bytes();
    if !after.keywords.is_empty() && after.audience != before.audience {
        // The entry that is gone has limited the file.
        if before.audience == Audience::nobody() {
            return Err(ShareError::BadLimit(name));
        }
        left = keyword::without(&utf8(home, left)?, |_, file| *file == name).0.into_bytes();
        append(&mut left, &name, &after.keywords, &before.audience);
    }
    if keywords.is_empty() && is_there(home, &name) && is_in_shared_folder(&left, &name) {
        append(&mut left, &name, &checked_keywords(&[NOT_SHARED])?, &Audience::Everyone);
        changed += 1;
    }
    if changed == 0 {
        return Err(ShareError::NoEntry(name));
    }
    write(home, &left)?;
    Ok(changed)
}

/// What entries with exactly one name say.
struct Named {
    keywords: Vec<Keyword>,
    audience: Audience,
}

impl Named {
    fn in_text(text: &[u8], name: &FileName) -> Self {
        let parsed = keyword::parse(&String::from_utf8_lossy(text));
        let pairs = parsed.pairs.into_iter().filter(|(_, file)| file == name);
        let limits = parsed.limits.iter().filter(|(file, _)| file == name);
        let unclear = parsed.unclear.about(name).map(|_| Audience::nobody());
        Self {
            keywords: pairs.map(|(keyword, _)| keyword).collect(),
            audience: limits.fold(unclear.unwrap_or_default(), |all, (_, limit)| all.narrowed(limit)),
        }
    }

    /// Those keywords that are not there.
    fn missing(&self, keywords: Vec<Keyword>) -> Vec<Keyword> {
        let there: HashSet<String> =
            self.keywords.iter().map(|keyword| keyword.folded().into_owned()).collect();
        keywords.into_iter().filter(|keyword| !there.contains(&*keyword.folded())).collect()
    }
}

fn append(text: &mut Vec<u8>, name: &FileName, keywords: &[Keyword], audience: &Audience) {
    close_last_entry(text);
    let pairs = keywords.iter().map(|keyword| (keyword, name));
    text.extend_from_slice(keyword::write_limited(pairs, audience).as_bytes());
}

/// The text, if it is UTF-8. Writing it again would replace the bytes that are not.
fn utf8(home: &Home, text: Vec<u8>) -> Result<String, ShareError> {
    String::from_utf8(text).map_err(|_| {
        let reason =
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8; change the entry with an editor");
        FileError::of("change what is shared", home.path().join(KEYWORD_FILE))(reason).into()
    })
}

/// Whether a name is that of something in the peer's directory: a file, a folder, or the files of a folder.
fn is_there(home: &Home, name: &FileName) -> bool {
    let folder = folders::of_entry(name).map_or(Some(name.as_str()), |(folder, _)| folder);
    folders::check(home, folder).is_ok() || home.folder().open_shared(name).is_ok()
}

/// Whether the entry of a folder shares a file, or some of the files of a folder, that no entry hides.
fn is_in_shared_folder(text: &[u8], name: &FileName) -> bool {
    let pairs = keyword::parse(&String::from_utf8_lossy(text)).pairs;
    let mut sharing = pairs.iter().filter(|(keyword, _)| keyword.as_str() != NOT_SHARED);
    sharing.any(|(_, entry)| FolderEntry::of(entry).is_some_and(|entry| entry.covers(name)))
        && hiding(&pairs, name).is_none()
}

/// The name in an entry that hides a file, or all files of a folder, with the folder that they are in.
fn hiding<'p>(pairs: &'p [(Keyword, FileName)], name: &FileName) -> Option<&'p FileName> {
    let of = FolderEntry::of(name);
    let hides = |entry: &FileName| match FolderEntry::of(entry) {
        Some(entry) => of.as_ref().map_or_else(|| entry.covers(name), |of| entry.includes(of)),
        None => name.folder_paths().any(|path| path == entry.as_str()),
    };
    let mut hidden =
        pairs.iter().filter(|(keyword, _)| keyword.as_str() == NOT_SHARED).map(|(_, entry)| entry);
    hidden.find(|entry| hides(entry))
}

fn write(home: &Home, text: &[u8]) -> Result<(), ShareError> {
    let doing = FileError::of("write what is shared", home.path().join(KEYWORD_FILE));
    if text.len() > KEYWORD_TEXT_BYTES_MAX {
        let full = io::Error::new(io::ErrorKind::FileTooLarge, "it is full; remove entries first");
        return Err(doing(full).into());
    }
    home.folder().rewrite(KEYWORD_FILE, text, KEYWORD_FILE_MODE).map_err(doing)?;
    Ok(())
}

fn file_name(file: &str) -> Result<FileName, ShareError> {
    file.trim().parse().map_err(|source| ShareError::FileName { name: file.to_owned(), source })
}

fn checked_file(home: &Home, file: &str) -> Result<FileName, ShareError> {
    let name = file_name(file)?;
    if name.base() == KEYWORD_FILE {
        return Err(ShareError::Itself);
    }
    let path = home.path().join(name.as_str());
    let found = match folders::of_entry(&name) {
        Some((folder, _)) => folders::check(home, folder),
        None => home.folder().open_shared(&name).map(|_| ()),
    };
    match found {
        Ok(()) => Ok(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ShareError::Missing(path)),
        Err(_) if folders::check(home, Some(name.as_str())).is_ok() => Err(ShareError::Folder(name)),
        Err(error) => Err(FileError::of("share it", path)(error).into()),
    }
}

/// Each keyword once.
fn checked_keywords(keywords: &[impl AsRef<str>]) -> Result<Vec<Keyword>, ShareError> {
    let mut seen = HashSet::new();
    let mut checked = Vec::with_capacity(keywords.len());
    for keyword in keywords {
        let keyword = keyword.as_ref();
        let keyword: Keyword =
            keyword.parse().map_err(|source| ShareError::Keyword { keyword: keyword.to_owned(), source })?;
        if seen.insert(keyword.folded().into_owned()) {
            checked.push(keyword);
        }
    }
    Ok(checked)
}

/// Completes the last entry: people may leave out its `;` and the line break.
fn close_last_entry(text: &mut Vec<u8>) {
    let last_line = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_comment = last_line.trim_ascii_start().starts_with(b"#");
    match text.trim_ascii_end().last() {
        None | Some(b';') => {}
        Some(_) if is_comment => {}
        Some(_) => {
            text.truncate(text.trim_ascii_end().len());
            text.push(b';');
        }
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
}
