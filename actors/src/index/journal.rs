//! `<name>.changes`: what has changed in a share since its two files were written, so that a change costs what it changes. It is
//! text in the grammar of `keyword.txt`, whose comments have what that cannot say:
//!
//! ```text
//! # switchboard changes 2
//! # list sha256 HEX              as at the end of the <name>.files that it continues
//! # gone FILE NAME               one line for each name that is gone
//! # file HEX  BYTES  FILE NAME   one line for each file that is new or replaces another
//! # only NAME NAME...            behind the line of a limited file: who may see it
//! KEYWORD, FILE NAME;            its keywords
//! # end sha256 HEX               of the digest of the change before, or of the list, and the lines of this change
//! ```
//!
//! A change counts once its last line is on the disk. A part of a change at the end of the text was not acknowledged; it is
//! overwritten. The whole list that is written later names the changes that it replaces ([`super::format`]), so changes
//! that a crash has left beside it do not fit it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

use wire::keyword;
use wire::share::{Difference, ListedFile, PublishedFile};
use wire::{Digest, FileName, PeerName};

use super::format::{Damage, ONLY, digest_after, read_line, read_only, write_only};
use super::shelf::Shelf;
use crate::commands::index::{Change, Share};

const VERSION_LINE: &str = "# switchboard changes 2";
/// In version 1, no file was limited.
const VERSION_1_LINE: &str = "# switchboard changes 1";
const LIST: &str = "# list sha256 ";
const GONE: &str = "# gone ";
const FILE: &str = "# file ";
const END: &str = "# end sha256 ";

/// The first lines of the changes to a list.
pub(super) fn header(list: Digest) -> String {
    format!("{VERSION_LINE}\n{LIST}{list}\n")
}

/// What is behind the first lines, if these are of this list.
fn after_header(text: &str, list: Digest) -> Option<&str> {
    let after_version =
        [VERSION_LINE, VERSION_1_LINE].iter().find_map(|version| text.strip_prefix(version))?;
    after_version.strip_prefix(&format!("\n{LIST}{list}\n"))
}

/// A change as text, and the digest in its last line.
pub(super) fn render(before: Digest, difference: &Difference) -> (String, Digest) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for name in &difference.removed {
        let _ = writeln!(text, "{GONE}{name}");
    }
    for ListedFile { file: PublishedFile { name, bytes, sha256, keywords }, audience } in &difference.files {
        let _ = writeln!(text, "{FILE}{sha256}  {bytes}  {name}");
        write_only(audience, &mut text);
        text.push_str(&keyword::write(keywords.iter().map(|keyword| (keyword, name))));
    }
    let digest = Digest::of_parts(&[&before.0, text.as_bytes()]);
    let _ = writeln!(text, "{END}{digest}");
    (text, digest)
}

/// What the changes of a share are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// By name: the new file, or none if the name is gone.
    pub(super) files: BTreeMap<FileName, Option<ListedFile>>,
    /// The size of the complete changes with the header, in bytes.
    pub(super) bytes: u64,
    /// The digest in the last line of the last one.
    pub(super) last: Digest,
}

/// Reads the changes to a list. `None` if they are of another list.
pub(super) fn read(text: &str, list: Digest) -> Result<Option<Changes>, Damage> {
    let Some(mut rest) = after_header(text, list) else { return Ok(None) };
    let mut changes = Changes { last: list, ..Changes::default() };
    while let Some(end) = end_of_change(rest) {
        let (change, after) = rest.split_at(end);
        let is_last = end_of_change(after).is_none();
        match read_change(change, changes.last) {
            Some((files, digest)) => {
                changes.files.extend(files);
                changes.last = digest;
            }
            // The machine may have stopped while it was written.
            None if is_last => break,
            None => return Err(Damage::Changes),
        }
        rest = after;
    }
    changes.bytes = (text.len() - rest.len()) as u64;
    Ok(Some(changes))
}

/// Where the first change of a text ends.
fn end_of_change(text: &str) -> Option<usize> {
    let end = if text.starts_with(END) { 0 } else { text.find(&format!("\n{END}"))? + 1 };
    text[end..].find('\n').map(|line| end + line + 1)
}

type Files = BTreeMap<FileName, Option<ListedFile>>;

fn read_change(text: &str, before: Digest) -> Option<(Files, Digest)> {
    let (body, end) = text.split_at(text.rfind(END)?);
    let digest = Digest::of_parts(&[&before.0, body.as_bytes()]);
    if digest_after(END, end.trim_end()) != Some(digest) {
        return None;
    }
    let mut files = Files::new();
    let mut last = None;
    for line in body.lines() {
        if let Some(name) = line.strip_prefix(GONE) {
            files.insert(name.parse().ok()?, None);
        } else if let Some(file) = line.strip_prefix(FILE) {
            let file = read_line(file)?.ok()?;
            last = Some(file.name.clone());
            files.insert(file.name.clone(), Some(file.into()));
        } else if let Some(names) = line.strip_prefix(ONLY) {
            files.get_mut(last.as_ref()?)?.as_mut()?.audience = read_only(names)?;
        }
    }
    let parsed = keyword::parse(body);
    for (keyword, name) in parsed.pairs {
        files.get_mut(&name)?.as_mut()?.file.keywords.push(keyword);
    }
    parsed.problems.is_empty().then_some((files, digest))
}

impl Changes {
    /// Applies them to the list that they belong to.
    pub(super) fn apply_to(self, share: &mut Share) {
        let files = std::mem::take(&mut share.files).into_iter();
        let mut by_name: BTreeMap<FileName, ListedFile> =
            files.map(|listed| (listed.file.name.clone(), listed)).collect();
        for (name, file) in self.files {
            match file {
                Some(file) => drop(by_name.insert(name, file)),
                None => drop(by_name.remove(&name)),
            }
        }
        share.files = by_name.into_values().collect();
    }
}

/// Where the next change of a share goes.
#[derive(Debug)]
struct End {
    last: Digest,
    bytes: u64,
}

/// Appends changes to the files of a shelf. Only the keeper has one, so nobody else writes them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    ends: HashMap<PeerName, End>,
    /// The owners of whom something is missing on the disk.
    incomplete: HashSet<PeerName>,
}

impl Journal {
    /// The share of an owner was written whole, so its changes begin anew, or could not be written.
    pub(super) fn replaced(&mut self, owner: &PeerName, is_written: bool) {
        self.ends.remove(owner);
        if is_written {
            self.incomplete.remove(owner);
        } else {
            self.incomplete.insert(owner.clone());
        }
    }

    /// Appends changes of one owner, in this order. They are on the disk when this returns. After an error the share has to be
    /// written whole before the next change.
    pub(super) fn append(&mut self, shelf: &Shelf, owner: &PeerName, changes: &[Change]) -> io::Result<()> {
        let owner = owner.folded();
        if self.incomplete.contains(&owner) {
            return Err(io::Error::other("an earlier one could not be written; publish the whole list"));
        }
        match self.append_to(shelf, &owner, changes) {
            Ok(end) => drop(self.ends.insert(owner, end)),
            Err(error) => {
                self.incomplete.insert(owner);
                return Err(error);
            }
        }
        Ok(())
    }

    fn append_to(&mut self, shelf: &Shelf, owner: &PeerName, changes: &[Change]) -> io::Result<End> {
        let end = match self.ends.remove(owner) {
            Some(end) => end,
            None => find_end(shelf, owner)?,
        };
        let is_first = end.bytes == 0;
        let mut text = if is_first { header(end.last) } else { String::new() };
        let mut last = end.last;
        for change in changes {
            let (change, digest) = render(last, &change.difference);
            text.push_str(&change);
            last = digest;
        }
        write_at(&mut shelf.changes_file(owner)?, end.bytes, &text)?;
        if is_first {
            shelf.sync()?;
        }
        Ok(End { last, bytes: end.bytes + text.len() as u64 })
    }
}

/// Where the changes on the disk end; at the list if there are none.
fn find_end(shelf: &Shelf, owner: &PeerName) -> io::Result<End> {
    let list = shelf.list_digest(owner)?;
    let changes = shelf.changes(owner, list).map_err(|reason| io::Error::other(reason.to_string()))?;
    Ok(changes.map_or(End { last: list, bytes: 0 }, |Changes { last, bytes, .. }| End { last, bytes }))
}

fn write_at(file: &mut File, place: u64, text: &str) -> io::Result<()> {
    // Removes the part of a change that was not completed.
    file.set_len(place)?;
    file.seek(SeekFrom::Start(place))?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
