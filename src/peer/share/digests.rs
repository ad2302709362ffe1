//! A cache of the digests of shared files, so that a start does not read gigabytes again.
//!
//! The file `.switchboard/digests` has a line for each file: digest, length, the two times, inode, name. `.switchboard/links` has
//! the links at the pieces of the large ones, by the digest of the file. Both only save time, so what cannot be parsed or no longer
//! matches the file is ignored.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use wire::digest::DIGEST_BYTES;
use wire::pieces::{self, Link};
use wire::{Digest, FileName};

use super::{Content, Stamp};
use crate::peer::folder::Folder;
use crate::peer::home::{PRIVATE_FILE_MODE, read_private};

const DIGESTS: &str = "digests";
const LINKS: &str = "links";
/// The maximum size of each of the two, for a million files with names of usual length, and for links of 8 TiB.
const DIGESTS_BYTES_MAX: u64 = 256 << 20;

/// The cached digests, and those that were used since they were loaded.
#[derive(Default)]
pub(super) struct Digests {
    known: HashMap<FileName, (Stamp, Digest)>,
    links: HashMap<Digest, Arc<[Link]>>,
    used: HashMap<FileName, Content>,
    is_new: bool,
}

impl Digests {
    pub(super) fn load(private: &Folder) -> Self {
        let read = |name| read_private(private, name, DIGESTS_BYTES_MAX).ok().flatten();
        let text = read(DIGESTS).and_then(|bytes| String::from_utf8(bytes).ok());
        let known = text.iter().flat_map(|text| text.lines()).filter_map(parse).collect();
        let links = parse_links(&read(LINKS).unwrap_or_default());
        Self { known, links, used: HashMap::new(), is_new: false }
    }

    /// What is cached of a file, if the file has not changed.
    pub(super) fn get(&mut self, name: &FileName, stamp: &Stamp) -> Option<Content> {
        let (stamp, sha256) = *self.known.get(name).filter(|(known, _)| known == stamp)?;
        let links = match pieces::count(stamp.bytes) {
            0 | 1 => Arc::default(),
            count => Arc::clone(self.links.get(&sha256).filter(|links| links.len() as u64 == count)?),
        };
        let content = Content { stamp, sha256, links };
        self.used.insert(name.clone(), content.clone());
        Some(content)
    }

    pub(super) fn put(&mut self, name: FileName, content: Content) {
        self.is_new = true;
        self.used.insert(name, content);
    }

    /// Writes the digests that were used, unless the file has exactly these already.
    pub(super) fn save(self, private: &Folder) -> io::Result<()> {
        if !self.is_new && self.used.len() == self.known.len() {
            return Ok(());
        }
        let mut text = String::new();
        let mut links = HashMap::new();
        for (name, content) in &self.used {
            let Stamp { bytes, modified, changed, inode } = content.stamp;
            let ((m, m_ns), (c, c_ns)) = (modified, changed);
            writeln!(text, "{} {bytes} {m} {m_ns} {c} {c_ns} {inode} {name}", content.sha256)
                .expect("a String takes all that is written");
            if !content.links.is_empty() {
                links.insert(content.sha256, &content.links);
            }
        }
        private.write(LINKS, &links_text(&links), PRIVATE_FILE_MODE)?;
        private.write(DIGESTS, text.as_bytes(), PRIVATE_FILE_MODE)
    }
}

fn parse(line: &str) -> Option<(FileName, (Stamp, Digest))> {
    let mut items = line.splitn(8, ' ');
    let digest = items.next()?.parse().ok()?;
    let bytes = items.next()?.parse().ok()?;
    let modified = (items.next()?.parse().ok()?, items.next()?.parse().ok()?);
    let changed = (items.next()?.parse().ok()?, items.next()?.parse().ok()?);
    let inode = items.next()?.parse().ok()?;
    let name = items.next()?.parse().ok()?;
    let stamp = Stamp { bytes, modified, changed, inode };
    Some((name, (stamp, digest)))
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
