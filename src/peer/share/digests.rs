//! A cache of the digests of shared files, so that a start does not read gigabytes again.
//!
//! The file `.switchboard/digests` has a line for each file: digest, length, the two times, inode, name. It only saves
//! time, so lines that cannot be parsed or that no longer match the file are ignored.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;

use wire::{Digest, FileName};

use super::Stamp;
use crate::peer::folder::Folder;
use crate::peer::home::{PRIVATE_FILE_MODE, read_private};

const DIGESTS: &str = "digests";
/// The maximum size of the cache, for a million files with names of usual length.
const DIGESTS_BYTES_MAX: u64 = 256 << 20;

/// The cached digests, and those that were used since they were loaded.
#[derive(Default)]
pub(super) struct Digests {
    known: HashMap<FileName, (Stamp, Digest)>,
    used: HashMap<FileName, (Stamp, Digest)>,
    is_new: bool,
}

impl Digests {
    pub(super) fn load(private: &Folder) -> Self {
        let bytes = read_private(private, DIGESTS, DIGESTS_BYTES_MAX).ok().flatten();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let known = text.iter().flat_map(|text| text.lines()).filter_map(parse).collect();
        Self { known, used: HashMap::new(), is_new: false }
    }

    /// The cached digest of a file, if the file has not changed.
    pub(super) fn get(&mut self, name: &FileName, stamp: &Stamp) -> Option<Digest> {
        let (_, digest) = *self.known.get(name).filter(|(known, _)| known == stamp)?;
        self.used.insert(name.clone(), (*stamp, digest));
        Some(digest)
    }

    pub(super) fn put(&mut self, name: FileName, stamp: Stamp, digest: Digest) {
        self.is_new = true;
        self.used.insert(name, (stamp, digest));
    }

    /// Writes the digests that were used, unless the file has exactly these already.
    pub(super) fn save(self, private: &Folder) -> io::Result<()> {
        if !self.is_new && self.used.len() == self.known.len() {
            return Ok(());
        }
        let mut text = String::new();
        for (name, (stamp, digest)) in &self.used {
            let Stamp { bytes, modified, changed, inode } = stamp;
            let ((m, m_ns), (c, c_ns)) = (modified, changed);
            writeln!(text, "{digest} {bytes} {m} {m_ns} {c} {c_ns} {inode} {name}")
                .expect("a String takes all that is written");
        }
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
