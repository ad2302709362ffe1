//! Shares that are still arriving, part by part, and the limits of their size and memory.

use std::collections::{HashMap, HashSet};

use wire::share::{FILE_KEYWORDS_MAX, ListedFile, PublishedFile};
use wire::{Audience, Digest, PeerName};

use super::format::ONLY;
use crate::commands::index::{
    Held, PublishRefused, Published, SHARE_FILES_MAX, SHARE_PAIRS_MAX, SHARE_TEXT_BYTES_MAX, Share,
};
use crate::commands::network::Network;

/// The maximum memory of shares that are incomplete or wait for the disk: four of the largest, or thousands of typical
/// ones. Without a limit, peers that start large shares and never complete them could fill the server's memory. They
/// cannot block other publishers either: when a part does not fit, the largest incomplete share is dropped.
const HELD_BYTES_MAX: u64 = 4 * SHARE_TEXT_BYTES_MAX;

/// The memory of a keyword without its text: a pointer, a length, and the rounding of the allocation.
const PAIR_HELD_BYTES: u64 = 48;

/// The parts of one share so far.
#[derive(Debug, Default)]
struct Parts {
    next: u32,
    files: Vec<ListedFile>,
    published: Published,
    text_bytes: u64,
    held_bytes: u64,
}

/// All unfinished shares, and the memory of these and of the shares that wait for the disk.
#[derive(Debug)]
pub(super) struct Staging {
    unfinished: HashMap<PeerName, Parts>,
    held_bytes: u64,
    held_bytes_max: u64,
}

impl Default for Staging {
    fn default() -> Self {
        Self::with_room(HELD_BYTES_MAX)
    }
}

impl Staging {
    pub(super) fn with_room(held_bytes_max: u64) -> Self {
        let unfinished = HashMap::new();
        Self { unfinished, held_bytes: 0, held_bytes_max }
    }

    /// Adds one part. If there is no room, drops unfinished shares of other peers, who learn with their next part that they
    /// must start again. If a part is refused, the parts before it are dropped too.
    pub(super) fn add(
        &mut self,
        peer: &PeerName,
        part: u32,
        files: Vec<ListedFile>,
    ) -> Result<Published, PublishRefused> {
        let mut parts = self.unfinished.remove(&peer.folded()).unwrap_or_default();
        if part == 0 {
            self.held_bytes -= parts.held_bytes;
            parts = Parts::default();
        }
        self.held_bytes -= parts.held_bytes;
        if part != parts.next {
            return Err(PublishRefused::OutOfOrder { expected: parts.next, got: part });
        }
        parts.add(files)?;
        self.make_room(parts.held_bytes)?;
        self.held_bytes += parts.held_bytes;
        let published = parts.published;
        self.unfinished.insert(peer.folded(), parts);
        Ok(published)
    }

    /// Drops the largest unfinished shares until `bytes` fit. Drops none if that is not enough, because shares that wait
    /// for the disk cannot be dropped.
    fn make_room(&mut self, bytes: u64) -> Result<(), PublishRefused> {
        let forgettable: u64 = self.unfinished.values().map(|parts| parts.held_bytes).sum();
        if self.held_bytes - forgettable + bytes > self.held_bytes_max {
            return Err(PublishRefused::Busy);
        }
        while self.held_bytes + bytes > self.held_bytes_max {
            let largest = self.unfinished.iter().max_by_key(|(_, parts)| parts.held_bytes);
            let Some(owner) = largest.map(|(owner, _)| owner.clone()) else {
                return Err(PublishRefused::Busy);
            };
            self.forget(&owner);
        }
        Ok(())
    }

    /// Removes a complete share. Its memory stays counted until it is released.
    pub(super) fn finish(
        &mut self,
        peer: &PeerName,
        network: Network,
    ) -> Result<(Share, Published, Held), PublishRefused> {
        let parts = self.unfinished.remove(&peer.folded()).unwrap_or_default();
        let held = Held(parts.held_bytes);
        let mut files = parts.files;
        files.sort_unstable_by(|a, b| a.file.name.cmp(&b.file.name));
        if let Some(twice) = files.windows(2).find(|pair| pair[0].file.name == pair[1].file.name) {
            self.release(held);
            return Err(PublishRefused::Repeated(twice[0].file.name.clone()));
        }
        let share = Share { owner: peer.clone(), network, files };
        Ok((share, parts.published, held))
    }

    /// Counts the memory of files that wait for the disk.
    pub(super) fn hold(&mut self, files: &[ListedFile]) -> Result<Held, PublishRefused> {
        let bytes = files.iter().map(held_bytes).sum();
        self.make_room(bytes)?;
        self.held_bytes += bytes;
        Ok(Held(bytes))
    }

    pub(super) fn forget(&mut self, peer: &PeerName) {
        if let Some(parts) = self.unfinished.remove(&peer.folded()) {
            self.held_bytes -= parts.held_bytes;
        }
    }

    /// Subtracts memory that is free again.
    pub(super) fn release(&mut self, Held(bytes): Held) {
        self.held_bytes -= bytes;
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

impl Parts {
    fn add(&mut self, files: Vec<ListedFile>) -> Result<(), PublishRefused> {
        self.next += 1;
        for mut file in files {
            check_keywords(&mut file.file)?;
            let pairs = file.file.keywords.len() as u64;
            let text_bytes = text_bytes(&file);
            self.published.files += 1;
            self.published.pairs += pairs;
            self.text_bytes += text_bytes;
            self.held_bytes += held_bytes(&file);
            check_size(self.published, self.text_bytes)?;
            self.files.push(file);
        }
        Ok(())
    }
}

/// Checks what one peer may share, whatever the quotas are.
pub(super) fn check_size(published: Published, text_bytes: u64) -> Result<(), PublishRefused> {
    if published.files > SHARE_FILES_MAX {
        Err(PublishRefused::TooManyFiles)
    } else if published.pairs > SHARE_PAIRS_MAX {
        Err(PublishRefused::TooManyPairs)
    } else if text_bytes > SHARE_TEXT_BYTES_MAX {
        Err(PublishRefused::TooMuchText)
    } else {
        Ok(())
    }
}

/// Keeps the first spelling of each keyword.
pub(super) fn check_keywords(file: &mut PublishedFile) -> Result<(), PublishRefused> {
    if file.keywords.len() > FILE_KEYWORDS_MAX {
        return Err(PublishRefused::TooManyKeywords(file.name.clone()));
    }
    let mut seen = HashSet::with_capacity(file.keywords.len());
    file.keywords.retain(|keyword| seen.insert(keyword.folded().into_owned()));
    Ok(())
}

fn held_bytes(ListedFile { file, audience }: &ListedFile) -> u64 {
    let keywords: usize = file.keywords.iter().map(|keyword| keyword.as_str().len()).sum();
    let own = size_of::<ListedFile>() + file.name.as_str().len() + keywords;
    let names = names_bytes(audience) + audience.names().map_or(0, <[_]>::len) as u64 * PAIR_HELD_BYTES;
    own as u64 + file.keywords.len() as u64 * PAIR_HELD_BYTES + names
}

/// The maximum size of a file on disk: its lines in the list of files, and a line for each keyword.
pub(super) fn text_bytes(ListedFile { file, audience }: &ListedFile) -> u64 {
    const LIST_LINE: usize = 2 * size_of::<Digest>() + "  18446744073709551615  \n".len();
    const PAIR_LINE: usize = ", ;\n".len();
    let name = file.name.as_str().len();
    let pairs: usize = file.keywords.iter().map(|keyword| keyword.as_str().len() + name + PAIR_LINE).sum();
    (LIST_LINE + name + pairs) as u64 + names_bytes(audience)
}

/// The size of the line that says who may see a file.
fn names_bytes(audience: &Audience) -> u64 {
    const LINE: usize = ONLY.len() + "\n".len();
    let Some(names) = audience.names() else { return 0 };
    (LINE + names.iter().map(|name| " ".len() + name.as_str().len()).sum::<usize>()) as u64
}
