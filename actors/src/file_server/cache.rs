//! The cache: what is kept, and what is evicted when there is no room.
//!
//! Eviction uses the clock algorithm (second chance): a hand goes round the entries and evicts the first one that was not used
//! since it last passed. So an insertion costs the same however many entries there are.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;
use wire::http::{Coding, Status};

use super::disk::Stamp;
use crate::commands::asset::Asset;
use crate::metrics::CacheCounts;

/// The maximum number of used entries that the hand passes. If all of them were used, the next one is evicted.
const PASSED_MAX: usize = 128;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Files up to this size are kept in memory. Most pages and scripts are smaller, and for larger files sendfile is as fast.
    pub(super) memory_file_bytes_max: u64,
    /// The maximum number of bytes in memory, including the cost of each entry.
    pub(super) memory_bytes_max: u64,
    pub(super) entries_max: usize,
    /// The maximum number of larger files. Each needs a descriptor, of which a process often has 1,024.
    pub(super) open_files_max: usize,
}

/// A file can be cached as itself and as an error page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: Arc<Path>,
    pub(super) status: Status,
}

impl Key {
    pub(super) fn new(path: impl AsRef<Path>, status: Status) -> Self {
        Self { path: path.as_ref().into(), status }
    }
}

/// The index of an entry. Stable as long as the entry is kept.
pub(super) type Slot = usize;

/// When something was last compared with the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    pub(super) since: Instant,
    /// The number of the last round of comparisons until then.
    pub(super) round: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compression {
    Unwanted,
    /// The queue of the compressor was full.
    Wanted,
    Waiting,
    /// The compressor has it.
    UnderWay,
    /// Compressed in these codings; in none if that was of no use.
    Done(Vec<(Coding, Bytes)>),
}

/// An entry. If its asset is revoked, the entry is kept only for its compressed forms, until the file is requested again.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) asset: Arc<Asset>,
    pub(super) stamp: Stamp,
    /// The compressed files beside it. `None` if it cannot have any.
    pub(super) neighbours: Option<Vec<(Coding, Stamp)>>,
    /// Whether it was served for its path without `.html`. Then it is invalid as soon as that path exists.
    pub(super) stands_for_clean: bool,
    /// Whether it had changed shortly before it was read. Then an equal stamp does not mean equal content.
    pub(super) is_doubtful: bool,
    pub(super) compared: Compared,
    pub(super) compression: Compression,
}

impl Kept {
    pub(super) fn is_current(&self) -> bool {
        !self.asset.is_revoked()
    }

    /// Whether a session may hold a lease. New leases are given by this thread only.
    pub(super) fn is_leased(&self) -> bool {
        Arc::strong_count(&self.asset) > 1
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) limits: Limits,
    pub(super) counts: Arc<CacheCounts>,
    entries: Slab<(Key, Kept)>,
    by_key: HashMap<Key, Slot>,
    /// Entries with descriptors. They are few, and the hand would have to pass all others to find one.
    with_files: VecDeque<Slot>,
    hand: Slot,
    /// No slot was ever higher than this.
    slots: usize,
    memory_bytes: u64,
    open_files: usize,
    /// How often the hand has moved.
    #[cfg(test)]
    pub(super) hand_moves: usize,
}

impl Cache {
    pub(super) fn new(limits: Limits, counts: Arc<CacheCounts>) -> Self {
        Self {
            limits,
            counts,
            entries: Slab::new(),
            by_key: HashMap::new(),
            with_files: VecDeque::new(),
            hand: 0,
            slots: 0,
            memory_bytes: 0,
            open_files: 0,
            #[cfg(test)]
            hand_moves: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of slots, with or without an entry.
    pub(super) fn slot_count(&self) -> usize {
        self.slots
    }

    pub(super) fn find(&self, key: &Key) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<(&Key, &Kept)> {
        self.entries.get(slot).map(|(key, kept)| (key, kept))
    }

    /// To replace the asset use [`Cache::exchange`], which keeps the account.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Kept> {
        self.entries.get_mut(slot).map(|(_, kept)| kept)
    }

    /// Inserts an entry in place of the one with the same key. Makes room by eviction, which revokes leases. An entry that
    /// is larger than the whole cache is revoked at once, so it serves one request.
    pub(super) fn insert(&mut self, key: Key, kept: Kept) -> Option<Slot> {
        if let Some(old) = self.find(&key) {
            self.remove(old);
        }
        let (memory_bytes, open_files) = (kept.asset.memory_bytes(), kept.asset.open_files());
        let limits = self.limits;
        if memory_bytes > limits.memory_bytes_max
            || open_files > limits.open_files_max
            || limits.entries_max == 0
        {
            kept.asset.revoke();
            return None;
        }
        while self.entries.len() >= limits.entries_max
            || self.memory_bytes + memory_bytes > limits.memory_bytes_max
        {
            self.evict_one();
        }
        while self.open_files + open_files > limits.open_files_max {
            self.evict_one_with_files();
        }
        self.memory_bytes += memory_bytes;
        self.open_files += open_files;
        let slot = self.entries.insert((key.clone(), kept));
        self.slots = self.slots.max(slot + 1);
        self.by_key.insert(key, slot);
        if open_files > 0 {
            self.with_files.push_back(slot);
        }
        self.note_size();
        Some(slot)
    }

    /// Gives an entry another asset for the same content, and revokes the previous one.
    pub(super) fn exchange(&mut self, slot: Slot, asset: Arc<Asset>) {
        if let Some((key, kept)) = self.take(slot) {
            self.revoke_asset(&kept.asset);
            self.insert(key, Kept { asset, ..kept });
        }
    }

    /// Revokes the leases of an entry, but keeps the entry.
    pub(super) fn revoke(&mut self, slot: Slot) {
        if let Some((_, kept)) = self.get(slot) {
            self.revoke_asset(&kept.asset);
        }
    }

    /// Revokes the leases of an entry, and removes it.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Kept> {
        let (_, kept) = self.take(slot)?;
        self.revoke_asset(&kept.asset);
        Some(kept)
    }

    pub(super) fn clear(&mut self) {
        for slot in 0..self.slots {
            self.remove(slot);
        }
    }

    fn revoke_asset(&self, asset: &Asset) {
        if !asset.is_revoked() {
            asset.revoke();
            self.counts.revocations.add(1);
        }
    }

    fn take(&mut self, slot: Slot) -> Option<(Key, Kept)> {
        let (key, kept) = self.entries.try_remove(slot)?;
        self.by_key.remove(&key);
        self.memory_bytes -= kept.asset.memory_bytes();
        self.open_files -= kept.asset.open_files();
        if kept.asset.open_files() > 0 {
            self.with_files.retain(|other| *other != slot);
        }
        self.note_size();
        Some((key, kept))
    }

    fn note_size(&self) {
        self.counts.entries.set(self.entries.len() as u64);
        self.counts.bytes.set(self.memory_bytes);
    }

    fn evict(&mut self, slot: Slot) {
        if let Some((_, kept)) = self.take(slot) {
            kept.asset.revoke();
            self.counts.evictions.add(1);
        }
    }

    /// There must be an entry.
    fn evict_one(&mut self) {
        let mut passed = 0;
        loop {
            #[cfg(test)]
            {
                self.hand_moves += 1;
            }
            let slot = self.hand;
            self.hand = if slot + 1 < self.slots { slot + 1 } else { 0 };
            if let Some((_, kept)) = self.entries.get(slot) {
                // A revoked entry is of little use, even if it was used.
                let has_chance = kept.asset.take_used() && kept.is_current();
                if !has_chance || passed == PASSED_MAX {
                    return self.evict(slot);
                }
                passed += 1;
            }
        }
    }

    /// There must be an entry with descriptors.
    fn evict_one_with_files(&mut self) {
        let is_used = |slot: &Slot| self.entries.get(*slot).is_some_and(|(_, kept)| kept.asset.take_used());
        let chosen = self.with_files.iter().position(|slot| !is_used(slot)).unwrap_or_default();
        // Those before it were used, and get another chance after the others.
        self.with_files.rotate_left(chosen);
        if let Some(slot) = self.with_files.front().copied() {
            self.evict(slot);
        }
    }
}
