//! FileServer's state and decisions: what a path names, what is kept, what is revoked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wire::http::{SitePath, Status};

use super::asset::{Asset, Body};
use super::disk::{Disk, DiskError, Entry, Stamp};
use super::{Command, Found};

/// The file that stands for its directory.
const INDEX_FILE: &str = "index.html";

/// The site's own page for what is not there.
const NOT_FOUND_FILE: &str = "404.html";

/// How long what was looked at on the disk may be believed when nobody reports changes, and when somebody asks anew.
const BELIEF_UNWATCHED: Duration = Duration::from_secs(1);

/// The same while the system reports changes. It does not report those made through `mmap` or on another machine.
const BELIEF_WATCHED: Duration = Duration::from_secs(5);

/// Shortest time between two looks at everything, so that a busy writer below the root cannot keep us from answering.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// File systems with coarse clocks give two changes within a tick (at most 10 ms on Linux) the same time. What
/// changed so shortly before it was read is not believed to be the same because its time is.
const CLOCK_TICK_MAX: Duration = Duration::from_millis(50);

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheLimits {
    /// Files up to this size are kept in memory: most pages and scripts are smaller, and above it sendfile is no slower.
    pub(super) memory_file_bytes_max: u64,
    /// All files in memory together; small next to the memory of the smallest machine that one would use.
    pub(super) memory_bytes_max: u64,
    /// Files of both kinds, so that looking at all of them takes a few milliseconds.
    pub(super) entries_max: usize,
    /// Larger files, which cost a descriptor each; a process often has 1,024 and sessions need them more.
    pub(super) open_files_max: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            memory_file_bytes_max: 256 * 1024,
            memory_bytes_max: 64 * 1024 * 1024,
            entries_max: 1024,
            open_files_max: 64,
        }
    }
}

/// The two clocks, as the shell reads them once a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) time: SystemTime,
}

/// One file can be kept as itself and as the page of a 404.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    path: String,
    status: u16,
}

#[derive(Debug)]
struct Kept {
    asset: Arc<Asset>,
    stamp: Stamp,
    /// Whether it had only just changed when it was read: see [`CLOCK_TICK_MAX`].
    is_doubtful: bool,
    looked_at: Instant,
    /// Number of the request that it was last given to.
    last_use: u64,
}

impl Kept {
    fn is_leased(&self) -> bool {
        Arc::strong_count(&self.asset) > 1
    }

    fn memory_bytes(&self) -> u64 {
        match self.asset.body() {
            Body::Memory(content) => content.len() as u64,
            Body::File { .. } => 0,
        }
    }

    fn open_files(&self) -> usize {
        usize::from(matches!(self.asset.body(), Body::File { .. }))
    }
}

/// The state of FileServer.
#[derive(Debug)]
pub(super) struct Core<D> {
    disk: D,
    limits: CacheLimits,
    is_watched: bool,
    kept: HashMap<Key, Kept>,
    memory_bytes: u64,
    open_files: usize,
    requests: u64,
    has_changes: bool,
    looked_at_all: Instant,
}

impl<D: Disk> Core<D> {
    /// `is_watched`: whether [`Core::note_change`] will be called when something changes.
    pub(super) fn new(disk: D, limits: CacheLimits, is_watched: bool, now: Now) -> Self {
        Self {
            disk,
            limits,
            is_watched,
            kept: HashMap::new(),
            memory_bytes: 0,
            open_files: 0,
            requests: 0,
            has_changes: false,
            looked_at_all: now.instant,
        }
    }

    /// Carries out a command.
    pub(super) fn handle(&mut self, now: Now, command: Command) {
        match command {
            Command::Find { path, reply } => reply.answer(self.find(now, &path)),
        }
    }

    /// Something below the root may have changed.
    pub(super) fn note_change(&mut self) {
        self.has_changes = true;
    }

    /// From now on nobody calls [`Core::note_change`].
    pub(super) fn note_reports_ended(&mut self) {
        self.is_watched = false;
        self.has_changes = true;
    }

    /// When [`Core::look_if_due`] has something to do, if ever.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if self.kept.is_empty() {
            return None;
        }
        let belief = match (self.has_changes, self.is_watched) {
            (true, _) => LOOK_INTERVAL_MIN,
            (false, true) => BELIEF_WATCHED,
            (false, false) => BELIEF_UNWATCHED,
        };
        Some(self.looked_at_all + belief)
    }

    /// Compares what is kept with the disk, if it is time to, and revokes what has changed.
    pub(super) fn look_if_due(&mut self, now: Now) {
        if self.next_look().is_none_or(|due| due > now.instant) {
            return;
        }
        self.has_changes = false;
        self.looked_at_all = now.instant;
        let keys: Vec<Key> = self.kept.keys().cloned().collect();
        for key in keys {
            self.look(now, &key);
        }
    }

    fn find(&mut self, now: Now, path: &SitePath) -> Found {
        self.requests += 1;
        let file = match (path.is_directory(), path.as_str()) {
            (false, file) => file.to_owned(),
            (true, "") => INDEX_FILE.to_owned(),
            (true, directory) => format!("{directory}/{INDEX_FILE}"),
        };
        match self.asset(now, file, Status::Ok) {
            Ok(Some(asset)) => Found::Asset(asset),
            Ok(None) if !path.is_directory() => Found::Redirect(path.directory_location()),
            Ok(None) | Err(DiskError::NotFound) => self.not_found(now),
            Err(DiskError::Refused) => Found::Refused,
            Err(DiskError::Failed) => Found::Failed,
        }
    }

    fn not_found(&mut self, now: Now) -> Found {
        let page = self.asset(now, NOT_FOUND_FILE.to_owned(), Status::NotFound);
        Found::NotFound(match page {
            Ok(Some(page)) => page,
            _ => Arc::new(Asset::not_found(None)),
        })
    }

    /// The file at a path, or none if that is a directory.
    fn asset(&mut self, now: Now, path: String, status: Status) -> Result<Option<Arc<Asset>>, DiskError> {
        let key = Key { path, status: status.code() };
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.last_use = self.requests;
            if now.instant.saturating_duration_since(kept.looked_at) < BELIEF_UNWATCHED
                || self.look(now, &key)
            {
                // The look has just found it, or it was not needed.
                return Ok(self.kept.get(&key).map(|kept| Arc::clone(&kept.asset)));
            }
        }
        match self.disk.load(&key.path, self.limits.memory_file_bytes_max)? {
            Entry::Directory => Ok(None),
            Entry::File { stamp, body } => {
                let asset = match status {
                    Status::NotFound => Asset::not_found(Some(body)),
                    _ => Asset::of_file(&key.path, &stamp, body, now.time),
                };
                let asset = Arc::new(asset);
                self.keep(now, key, stamp, &asset);
                Ok(Some(asset))
            }
        }
    }

    /// Looks at one file; returns false, and revokes it, if it is no longer what it was.
    fn look(&mut self, now: Now, key: &Key) -> bool {
        let Some(kept) = self.kept.get_mut(key) else {
            return false;
        };
        let is_same = !kept.is_doubtful && self.disk.stamp(&key.path).as_ref() == Ok(&kept.stamp);
        if is_same {
            kept.looked_at = now.instant;
        } else {
            self.revoke(key);
        }
        is_same
    }

    /// Keeps an asset if there is room or room can be made. What is leased stays, so that memory is bounded by what is
    /// kept; if all of it is leased the new asset is revoked at once and so serves for one answer.
    fn keep(&mut self, now: Now, key: Key, stamp: Stamp, asset: &Arc<Asset>) {
        let age = now.time.duration_since(stamp.changed).unwrap_or_default();
        let kept = Kept {
            asset: Arc::clone(asset),
            stamp,
            is_doubtful: age < CLOCK_TICK_MAX,
            looked_at: now.instant,
            last_use: self.requests,
        };
        while !self.has_room_for(&kept) {
            let unleased = self.kept.iter().filter(|(_, kept)| !kept.is_leased());
            let Some(oldest) = unleased.min_by_key(|(_, kept)| kept.last_use).map(|(k, _)| k.clone()) else {
                asset.revoke();
                return;
            };
            self.revoke(&oldest);
        }
        if self.kept.is_empty() {
            // There was nothing to look at until now, and what was reported before is in what has been read.
            self.has_changes = false;
            self.looked_at_all = now.instant;
        }
        self.memory_bytes += kept.memory_bytes();
        self.open_files += kept.open_files();
        self.kept.insert(key, kept);
    }

    fn has_room_for(&self, kept: &Kept) -> bool {
        self.kept.len() < self.limits.entries_max
            && self.memory_bytes + kept.memory_bytes() <= self.limits.memory_bytes_max
            && self.open_files + kept.open_files() <= self.limits.open_files_max
    }

    fn revoke(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.memory_bytes -= kept.memory_bytes();
            self.open_files -= kept.open_files();
            kept.asset.revoke();
        }
    }
}
