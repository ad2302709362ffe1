//! Freshness: how long a cache entry may be served without a comparison with the disk, and which entries are compared when.
//!
//! Reports of changes are only hints. They come late, get lost when there are many, name files by other paths than links
//! do, and are not made for writes through `mmap` or from another machine. So each report starts a round in which all
//! leased entries are compared with the disk, the reported ones first and the others in slices. Without reports
//! everything is compared all the time, but more slowly. Entries without a lease are compared when they are requested.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::http::{Coding, Status};

use super::cache::{Compared, Key, Slot};
use super::core::{CLEAN_EXTENSION, Core, Effect, FAILED_FILE, NOT_FOUND_FILE, index_of};
use super::disk::{Disk, DiskError};
use super::keep::{neighbours_of, with_suffix, without_suffix};
use crate::runtime::Now;

/// How long an entry is fresh while changes are not reported. An entry without a lease is always fresh for this time.
pub(super) const FRESH_UNWATCHED: Duration = Duration::from_secs(1);

/// How long a leased entry is fresh while changes are reported and there are many entries.
const FRESH_WATCHED: Duration = Duration::from_secs(5);

/// With at most this number of slots, everything is compared every second even while changes are reported, because writes
/// through a memory map or another hard link are never reported. For so few entries that is little work.
const QUICK_SLOTS_MAX: usize = 1024;

/// Shortest time between two slices of a round, and between two rounds. Otherwise a program that writes all the time
/// below the root could take all of this thread.
const SLICE_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// The maximum number of entries that are compared in one slice: about a millisecond of work, so at most a twentieth of
/// a processor.
const SLICE_LOOKS_MAX: usize = 256;

/// The maximum number of slots that one slice passes. Those without a lease cost next to nothing.
const SLICE_SLOTS_MAX: usize = 16 * 1024;

/// The maximum number of reported paths that are kept for the next round. The others are reached in its slices.
const HINTS_MAX: usize = 1024;

/// File systems with coarse clocks give two changes within a tick (at most 10 ms on Linux) the same time. So an equal
/// time means nothing for a file that changed this shortly before it was read.
pub(super) const CLOCK_TICK_MAX: Duration = Duration::from_millis(50);

/// The result of a comparison with the disk. After `Changed` the entry is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    Changed,
    /// The system is out of descriptors or memory.
    Unknown,
}

/// What was reported, and the progress of the comparisons.
#[derive(Debug)]
pub(super) struct Freshness {
    is_watched: bool,
    round: u64,
    round_at: Instant,
    has_changes: bool,
    hints: Vec<PathBuf>,
    /// How many slots the round still has to pass.
    left: usize,
    cursor: usize,
    slice_at: Instant,
    root_at: Instant,
}

impl Freshness {
    /// Nothing is reported yet.
    pub(super) fn new(now: Now) -> Self {
        Self {
            is_watched: false,
            round: 0,
            round_at: now.instant,
            has_changes: false,
            hints: Vec::new(),
            left: 0,
            cursor: 0,
            slice_at: now.instant,
            root_at: now.instant,
        }
    }

    /// Forgets earlier reports when the first entry is about to be cached, because it is read after them.
    pub(super) fn begin(&mut self, now: Now) {
        self.round += 1;
        self.has_changes = false;
        self.hints.clear();
        self.left = 0;
        self.slice_at = now.instant;
    }

    /// The mark of something that was compared just now.
    pub(super) fn compared(&self, now: Now) -> Compared {
        Compared { since: now.instant, round: self.round }
    }

    /// Whether something may be served without another comparison.
    pub(super) fn is_fresh(&self, now: Now, compared: Compared) -> bool {
        compared.round == self.round
            && now.instant.saturating_duration_since(compared.since) < FRESH_UNWATCHED
    }

    /// How long a leased entry is fresh if no change is reported.
    fn fresh_max(&self, slots: usize) -> Duration {
        if self.is_watched && slots > QUICK_SLOTS_MAX { FRESH_WATCHED } else { FRESH_UNWATCHED }
    }

    /// The time between two slices while there is no round, such that all `slots` are passed within `fresh_max`.
    fn idle_interval(&self, slots: usize) -> Duration {
        let slices = u32::try_from(slots.div_ceil(SLICE_LOOKS_MAX)).unwrap_or(u32::MAX);
        (self.fresh_max(slots) / slices.max(1)).max(SLICE_INTERVAL_MIN)
    }

    /// How many slots such a slice passes.
    fn idle_slice(&self, slots: usize) -> usize {
        let slices = self.fresh_max(slots).as_millis() / self.idle_interval(slots).as_millis().max(1);
        slots.div_ceil(usize::try_from(slices).unwrap_or(1).max(1))
    }
}

impl<D: Disk> Core<D> {
    /// Something below the root may have changed; `path` is relative to the root, if it is known.
    pub(super) fn note_change(&mut self, path: Option<PathBuf>) {
        self.freshness.has_changes = true;
        if let Some(path) = path
            && self.freshness.hints.len() < HINTS_MAX
        {
            self.freshness.hints.push(path);
        }
    }

    /// From now on changes are reported, or are not reported any more.
    pub(super) fn note_watched(&mut self, is_watched: bool) {
        self.freshness.is_watched = is_watched;
        // Changes between the two states were not reported.
        self.freshness.has_changes = true;
    }

    /// When [`Core::look_if_due`] has something to do.
    pub(super) fn next_look(&self) -> Option<Instant> {
        // Cached 404s with the built-in page also depend on the root: if it is replaced, they must be revoked.
        if self.cache.is_empty() && Arc::strong_count(&self.not_found) == 1 {
            return None;
        }
        let freshness = &self.freshness;
        let slice = match freshness.left {
            0 => freshness.slice_at + freshness.idle_interval(self.cache.slot_count()),
            _ => freshness.slice_at + SLICE_INTERVAL_MIN,
        };
        let round = freshness.has_changes.then(|| freshness.round_at + SLICE_INTERVAL_MIN);
        // No report says that the root was replaced.
        let root = freshness.root_at + FRESH_UNWATCHED;
        Some([Some(root), round].into_iter().flatten().fold(slice, Instant::min))
    }

    /// Compares leased entries with the disk as far as that is due, and revokes those that have changed.
    pub(super) fn look_if_due(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.next_look().is_some_and(|due| due <= now.instant) {
            self.look_now(now);
        }
        out.append(&mut self.effects);
    }

    fn look_now(&mut self, now: Now) {
        let has_begun = self.begin_round_if_due(now);
        self.look_at_root(now);
        let slots = self.cache.slot_count();
        let is_idle = self.freshness.left == 0;
        let interval = if is_idle { self.freshness.idle_interval(slots) } else { SLICE_INTERVAL_MIN };
        if has_begun || now.instant >= self.freshness.slice_at + interval {
            let slots_max = if is_idle { self.freshness.idle_slice(slots) } else { SLICE_SLOTS_MAX };
            self.look_at_slice(now, slots_max, if is_idle { usize::MAX } else { SLICE_LOOKS_MAX });
        }
    }

    fn begin_round_if_due(&mut self, now: Now) -> bool {
        let freshness = &mut self.freshness;
        if !freshness.has_changes || now.instant < freshness.round_at + SLICE_INTERVAL_MIN {
            return false;
        }
        freshness.has_changes = false;
        freshness.round += 1;
        freshness.round_at = now.instant;
        freshness.left = self.cache.slot_count();
        for path in std::mem::take(&mut self.freshness.hints) {
            self.look_at_hint(now, &path);
        }
        true
    }

    fn look_at_slice(&mut self, now: Now, slots_max: usize, looks_max: usize) {
        let slots = self.cache.slot_count();
        let (mut passed, mut looks) = (0, 0);
        while passed < slots.min(slots_max) && looks < looks_max {
            if self.freshness.cursor >= slots {
                self.freshness.cursor = 0;
            }
            let slot = self.freshness.cursor;
            if self.cache.get(slot).is_some_and(|(_, kept)| kept.is_leased() && kept.is_current()) {
                self.look(now, slot);
                looks += 1;
            }
            self.freshness.cursor += 1;
            passed += 1;
        }
        self.freshness.left = self.freshness.left.saturating_sub(passed);
        self.freshness.slice_at = now.instant;
    }

    /// Compares all entries that may depend on a reported file.
    fn look_at_hint(&mut self, now: Now, path: &Path) {
        let mut look = |path: &Path, status| {
            if let Some(slot) = self.cache.find(&Key::new(path, status)) {
                self.look(now, slot);
            }
        };
        look(path, Status::Ok);
        for coding in Coding::ALL {
            if let Some(original) = without_suffix(path, coding.extension()) {
                look(original, Status::Ok);
            }
        }
        look(&with_suffix(path, CLEAN_EXTENSION), Status::Ok);
        if path == Path::new(NOT_FOUND_FILE) {
            look(path, Status::NotFound);
        } else if path == Path::new(FAILED_FILE) {
            look(path, Status::InternalServerError);
            look(path, Status::ServiceUnavailable);
        }
    }

    /// Compares an entry with the disk, and revokes its leases if they differ.
    pub(super) fn look(&mut self, now: Now, slot: Slot) -> Look {
        let Some((key, kept)) = self.cache.get(slot) else {
            return Look::Changed;
        };
        if !kept.is_current() {
            return Look::Changed;
        }
        if kept.is_doubtful {
            self.cache.remove(slot);
            return Look::Changed;
        }
        let path = &key.path;
        match self.disk.stamp(path) {
            Ok(stamp) if stamp == kept.stamp => {}
            Err(DiskError::Busy) => return Look::Unknown,
            Ok(_) | Err(_) => {
                self.cache.remove(slot);
                return Look::Changed;
            }
        }
        let has_same_neighbours =
            kept.neighbours.as_ref().is_none_or(|found| *found == neighbours_of(&self.disk, path));
        // A file that must not be served takes precedence over the clean URL, too.
        let is_absent = |disk: &D, path: &Path| matches!(disk.stamp(path), Err(DiskError::NotFound));
        let is_in_the_way = |disk: &D| {
            without_suffix(path, CLEAN_EXTENSION)
                .is_some_and(|clean| !is_absent(disk, clean) || disk.stamp(&index_of(clean)).is_ok())
        };
        if !has_same_neighbours || kept.stands_for_clean && is_in_the_way(&self.disk) {
            // The file itself is the same, so its compressed forms stay valid.
            self.cache.revoke(slot);
            return Look::Changed;
        }
        let compared = self.freshness.compared(now);
        if let Some(kept) = self.cache.get_mut(slot) {
            kept.compared = compared;
        }
        Look::Same
    }

    /// Checks from time to time whether the web root was replaced by another directory.
    pub(super) fn look_at_root(&mut self, now: Now) {
        let since = now.instant.saturating_duration_since(self.freshness.root_at);
        let has_round_begun = self.freshness.round_at > self.freshness.root_at;
        if since < FRESH_UNWATCHED && !has_round_begun {
            return;
        }
        self.freshness.root_at = now.instant;
        if self.disk.reopen_if_replaced() {
            self.forget_all();
            // The watch is still on the old directory.
            self.freshness.is_watched = false;
            self.freshness.round += 1;
            self.watch += 1;
            self.effects.push(Effect::Watch(self.watch));
        }
    }
}
