//! A cache of the digests of shared files, so that a start does not read gigabytes again.
//!
//! The file `.switchboard/digests` has a line for each file: digest, length, the two times, inode, name, in the order of the names. `.switchboard/links` has
//! the links at the pieces of the large ones, by the digest of the file. Both only save time, so what cannot be parsed or no longer
//! matches the file is ignored.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use wire::digest::DIGEST_BYTES;
use wire::pieces::{self, Link};
use wire::{Digest, FileName};

use super::{Content, SharedFile, Stamp};
use crate::peer::folder::Folder;
use crate::peer::home::{PRIVATE_FILE_MODE, read_private};

const DIGESTS: &str = "digests";
const LINKS: &str = "links";
/// The maximum size of each of the two, for a million files with names of usual length, and for links of 8 TiB.
const DIGESTS_BYTES_MAX: u64 = 256 << 20;
/// In each line of the digests.
const ITEMS: usize = 8;

/// The cached digests, and the names of the files to cache from now on.
#[derive(Default)]
pub(super) struct Digests {
    /// The lines of the file as they are: parsed, they would take three times as much memory.
    text: String,
    /// Where each line begins, in the order of the names in them.
    lines: Vec<u32>,
    /// The line after the one that was used last. Files are mostly asked for in the order of their names.
    next: usize,
    links: HashMap<Digest, Arc<[Link]>>,
    used: Vec<FileName>,
    is_new: bool,
}

impl Digests {
    pub(super) fn load(private: &Folder) -> Self {
        let read = |name| read_private(private, name, DIGESTS_BYTES_MAX).ok().flatten();
        let text = read(DIGESTS).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).filter_map(|at| u32::try_from(at).ok());
        let mut lines: Vec<u32> = starts.filter(|at| name_at(&text, *at).is_some()).collect();
        if !lines.is_sorted_by_key(|at| name_at(&text, *at)) {
            lines.sort_by_key(|at| name_at(&text, *at));
        }
        let links = parse_links(&read(LINKS).unwrap_or_default());
        Self { text, lines, links, ..Self::default() }
    }

    /// What is cached of a file, if the file has not changed.
    pub(super) fn get(&mut self, name: &FileName, stamp: &Stamp) -> Option<Content> {
        let line = self.line_of(name)?;
        let (known, sha256) = parse(line_at(&self.text, line))?;
        if known != *stamp {
            return None;
        }
        let links = match pieces::count(stamp.bytes) {
            0 | 1 => Arc::default(),
            count => Arc::clone(self.links.get(&sha256).filter(|links| links.len() as u64 == count)?),
        };
        self.used.push(name.clone());
        Some(Content { stamp: known, sha256, links })
    }

    /// Where the line of a file begins.
    fn line_of(&mut self, name: &FileName) -> Option<u32> {
        let name_of = |at: &u32| name_at(&self.text, *at);
        let is_next = self.lines.get(self.next).is_some_and(|at| name_of(at) == Some(name.as_str()));
        let place = match is_next {
            true => self.next,
            false => self.lines.binary_search_by(|at| name_of(at).cmp(&Some(name.as_str()))).ok()?,
        };
        self.next = place + 1;
        Some(self.lines[place])
    }

    /// Caches the content of a file from now on.
    pub(super) fn put(&mut self, name: FileName) {
        self.is_new = true;
        self.used.push(name);
    }

    /// Writes the digests of the files that were used, unless the file has exactly these already.
    pub(super) fn save(self, private: &Folder, files: &BTreeMap<FileName, SharedFile>) -> io::Result<()> {
        if !self.is_new && self.used.len() == self.lines.len() {
            return Ok(());
        }
        let mut text = String::new();
        let mut links = HashMap::new();
        for name in &self.used {
            let Some(file) = files.get(name) else { continue };
            let (sha256, Stamp { bytes, modified, changed, inode }) = (file.listed.file.sha256, file.stamp);
            let ((m, m_ns), (c, c_ns)) = (modified, changed);
            writeln!(text, "{sha256} {bytes} {m} {m_ns} {c} {c_ns} {inode} {name}")
                .expect("a String takes all that is written");
            if !file.links.is_empty() {
                links.insert(sha256, &file.links);
            }
        }
        private.write(LINKS, &links_text(&links), PRIVATE_FILE_MODE)?;
        private.write(DIGESTS, text.as_bytes(), PRIVATE_FILE_MODE)
    }
}

fn line_at(text: &str, at: u32) -> &str {
    text[at as usize..].split('\n').next().unwrap_or_default()
}

/// The name in the line that begins there.
fn name_at(text: &str, at: u32) -> Option<&str> {
    line_at(text, at).splitn(ITEMS, ' ').nth(ITEMS - 1)
}

fn parse(line: &str) -> Option<(Stamp, Digest)> {
    let mut items = line.splitn(ITEMS, ' ');
    let digest = items.next()?.parse().ok()?;
    let bytes = items.next()?.parse().ok()?;
    let modified = (items.next()?.parse().ok()?, items.next()?.parse().ok()?);
    let changed = (items.next()?.parse().ok()?, items.next()?.parse().ok()?);
    let inode = items.next()?.parse().ok()?;
    Some((Stamp { bytes, modified, changed, inode }, digest))
}

/// For each file its digest, the number of its links (8 bytes, the lowest first), and the links.
fn links_text(links: &HashMap<Digest, &Arc<[Link]>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (digest, links) in links {
        bytes.extend_from_slice(&digest.0);
        bytes.extend_from_slice(&(links.len() as u64).to_le_bytes());
        links.iter().for_each(|link| bytes.extend_from_slice(&link.0.0));
    }
    bytes
}

fn parse_links(mut bytes: &[u8]) -> HashMap<Digest, Arc<[Link]>> {
    let mut links = HashMap::new();
    while let Some((digest, rest)) = bytes.split_first_chunk() {
        let Some((count, rest)) = rest.split_first_chunk() else { break };
        let length = usize::try_from(u64::from_le_bytes(*count)).ok();
        let length = length.and_then(|count| count.checked_mul(DIGEST_BYTES));
        let Some((of_file, rest)) = length.and_then(|length| rest.split_at_checked(length)) else { break };
        let (of_file, _) = of_file.as_chunks::<DIGEST_BYTES>();
        links.insert(Digest(*digest), of_file.iter().map(|link| Link(Digest(*link))).collect());
        bytes = rest;
    }
    links
}
