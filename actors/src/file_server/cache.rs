//! What is kept, and what goes when there is no room.
//!
//! Entries lie in slots, in a ring. A hand goes round it and takes the first entry that was not used since it last
//! passed (the second chance, or clock, algorithm): each insertion costs about the same, however many entries there are.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wire::http::{Coding, Status};

use super::disk::Stamp;
use crate::commands::asset::Asset;
use crate::metrics::CacheCounts;

/// How many used entries the hand passes in search of an unused one. Where all are used there is nothing to choose.
const PASSED_MAX: usize = 128;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Files up to this size are kept in memory: most pages and scripts are smaller, and above it sendfile is no slower.
    pub(super) memory_file_bytes_max: u64,
    /// All that is in memory together, with what each entry costs by itself.
    pub(super) memory_bytes_max: u64,
    pub(super) entries_max: usize,
    /// Larger files, which cost a descriptor each; a process often has 1,024 and sessions need them more.
    pub(super) open_files_max: usize,
}

/// One file can be kept as itself and as the page of an error.
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

/// Where an entry is, as long as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// What is believed of the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belief {
    pub(super) since: Instant,
    /// How often something had been reported until then.
    pub(super) round: u64,
}

/// How far the compression of an entry has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compression {
    /// There will be none.
    Unwanted,
    /// It could not be asked for yet.
    Wanted,
    /// It waits for its turn.
    Waiting,
    /// The compressor has it.
    UnderWay,
    /// In these codings; in none if it was of no use.
    Done(Vec<(Coding, Bytes)>),
}

/// An entry. When its asset is revoked it is kept only for what was compressed, until the file is asked for again.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) asset: Arc<Asset>,
    pub(super) stamp: Stamp,
    /// The compressed files beside it; none if nobody looks for any.
    pub(super) neighbours: Option<Vec<(Coding, Stamp)>>,
    /// Whether it was given for its path without `.html`, so that nothing may come to be there.
    pub(super) stands_for_clean: bool,
    /// Whether it had only just changed when it was read, so that its times do not tell one content from the next.
    pub(super) is_doubtful: bool,
    pub(super) believed: Belief,
    pub(super) compression: Compression,
}

impl Kept {
    pub(super) fn is_current(&self) -> bool {
        !self.asset.is_revoked()
    }

    /// Whether somebody may answer with it without asking. Nobody can begin to while we look.
    pub(super) fn is_leased(&self) -> bool {
        Arc::strong_count(&self.asset) > 1
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    kept: Kept,
}

/// The entries.
#[derive(Debug)]
pub(super) struct Cache {
    limits: Limits,
    pub(super) counts: Arc<CacheCounts>,
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_key: HashMap<Key, usize>,
    /// Those with descriptors, of which there are few: the hand would pass all others to find one.
    with_files: VecDeque<usize>,
    hand: usize,
    memory_bytes: u64,
    open_files: usize,
}

impl Cache {
    pub(super) fn new(limits: Limits, counts: Arc<CacheCounts>) -> Self {
        Self {
            limits,
            counts,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            with_files: VecDeque::new(),
            hand: 0,
            memory_bytes: 0,
            open_files: 0,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many slots there are, with or without an entry.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The slot behind a number, if there is an entry in it.
    pub(super) fn slot(&self, index: usize) -> Option<Slot> {
        self.slots.get(index)?.as_ref().map(|_| Slot(index))
    }

    pub(super) fn find(&self, key: &Key) -> Option<Slot> {
        self.by_key.get(key).map(|index| Slot(*index))
    }

    pub(super) fn get(&self, slot: Slot) -> Option<(&Key, &Kept)> {
        self.slots.get(slot.0)?.as_ref().map(|entry| (&entry.key, &entry.kept))
    }

    /// Whoever exchanges the asset must use [`Cache::exchange`].
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Kept> {
        self.slots.get_mut(slot.0)?.as_mut().map(|entry| &mut entry.kept)
    }

    /// Keeps an entry in the place of what was kept under its key. Makes room; what has to go is revoked, leased or
    /// not. What is larger than all the room there may be is revoked at once, and so serves for one answer.
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
        while self.len() >= limits.entries_max || self.memory_bytes + memory_bytes > limits.memory_bytes_max {
            self.evict_one();
        }
        while self.open_files + open_files > limits.open_files_max {
            self.evict_one_with_files();
        }
        self.memory_bytes += memory_bytes;
        self.open_files += open_files;
        let entry = Some(Entry { key: key.clone(), kept });
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = entry;
                index
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        self.by_key.insert(key, index);
        if open_files > 0 {
            self.with_files.push_back(index);
        }
        self.note_size();
        Some(Slot(index))
    }

    /// Gives an entry another asset for the same content, and revokes the one it had.
    pub(super) fn exchange(&mut self, slot: Slot, asset: Arc<Asset>) {
        let Some(entry) = self.slots.get_mut(slot.0).and_then(Option::take) else {
            return;
        };
        let Entry { key, mut kept } = entry;
        self.forget(slot, &key, &kept);
        self.revoke_asset(&kept.asset);
        kept.asset = asset;
        self.insert(key, kept);
    }

    /// Ends the leases of an entry but keeps the entry.
    pub(super) fn revoke(&mut self, slot: Slot) {
        if let Some((_, kept)) = self.get(slot) {
            self.revoke_asset(&kept.asset);
        }
    }

    /// Ends the leases of an entry and forgets it.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Kept> {
        let Entry { key, kept } = self.slots.get_mut(slot.0)?.take()?;
        self.forget(slot, &key, &kept);
        self.revoke_asset(&kept.asset);
        Some(kept)
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            self.remove(Slot(index));
        }
    }

    fn revoke_asset(&self, asset: &Asset) {
        if !asset.is_revoked() {
            asset.revoke();
            self.counts.revocations.add(1);
        }
    }

    /// Takes the account of an entry that has been taken out of its slot.
    fn forget(&mut self, slot: Slot, key: &Key, kept: &Kept) {
        self.by_key.remove(key);
        self.free.push(slot.0);
        self.memory_bytes -= kept.asset.memory_bytes();
        self.open_files -= kept.asset.open_files();
        if kept.asset.open_files() > 0 {
            self.with_files.retain(|index| *index != slot.0);
        }
        self.note_size();
    }

    fn note_size(&self) {
        self.counts.entries.set(self.len() as u64);
        self.counts.bytes.set(self.memory_bytes);
    }

    fn evict(&mut self, index: usize) {
        if let Some(entry) = self.slots.get_mut(index).and_then(Option::take) {
            self.forget(Slot(index), &entry.key, &entry.kept);
            entry.kept.asset.revoke();
            self.counts.evictions.add(1);
        }
    }

    /// There must be an entry.
    fn evict_one(&mut self) {
        let mut passed = 0;
        loop {
            let index = self.hand;
            self.hand = if index + 1 < self.slots.len() { index + 1 } else { 0 };
            if let Some(Some(entry)) = self.slots.get(index) {
                // What is revoked is of little use, however much it was used.
                let has_chance = entry.kept.asset.take_used() && entry.kept.is_current();
                if !has_chance || passed == PASSED_MAX {
                    return self.evict(index);
                }
                passed += 1;
            }
        }
    }

    /// There must be an entry with descriptors.
    fn evict_one_with_files(&mut self) {
        let used = |index: &usize| {
            let entry = self.slots.get(*index).and_then(Option::as_ref);
            entry.is_some_and(|entry| entry.kept.asset.take_used())
        };
        let chosen = self.with_files.iter().position(|index| !used(index)).unwrap_or_default();
        // Those that were passed have used up their chance and go behind the others.
        self.with_files.rotate_left(chosen);
        if let Some(index) = self.with_files.front().copied() {
            self.evict(index);
        }
    }
}
