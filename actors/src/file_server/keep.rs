//! From a file on the disk to an asset in the cache, in all codings in which it lies there or is worth compressing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Crc;
use wire::http::{Coding, EntityTag, Status, Validators, is_compressible};

use super::cache::{Compression, Kept, Key, Slot};
use super::compressor::{self, Compressed, Job};
use super::core::{Core, Effect};
use super::disk::{Disk, DiskError, Entry, Stamp};
use super::freshness::{CLOCK_TICK_MAX, Look};
use crate::commands::asset::Said;
use crate::commands::asset::{Asset, Body, Representation};
use crate::runtime::Now;

/// How many contents are with the compressor: one under way and one to go on with.
pub(super) const COMPRESSIONS_AT_ONCE: usize = 2;

/// How many wait for their turn; others ask again when they are asked for again.
const COMPRESSIONS_WAITING_MAX: usize = 4096;

/// Forms that take more than this part of the cache are thrown away: others need the room more.
const COMPRESSED_SHARE: u64 = 4;

/// When to come back after a 503, in seconds.
const RETRY_AFTER: &str = "1";

impl<D: Disk> Core<D> {
    /// A file that stands for itself, or none if that is a directory.
    pub(super) fn file(&mut self, now: Now, path: &Path) -> Result<Option<Arc<Asset>>, DiskError> {
        self.asset(now, path, Status::Ok)
    }

    /// The file at a path, for a status, or none if that is a directory.
    pub(super) fn asset(
        &mut self,
        now: Now,
        path: &Path,
        status: Status,
    ) -> Result<Option<Arc<Asset>>, DiskError> {
        let key = Key::new(path, status);
        if let Some(slot) = self.cache.find(&key)
            && self.is_good(now, slot)
            && let Some((_, kept)) = self.cache.get(slot)
        {
            kept.asset.touch();
            let asset = Arc::clone(&kept.asset);
            self.cache.counts.hits.add(1);
            self.want_compression(slot);
            return Ok(Some(asset));
        }
        match self.disk.load(path, self.cache.limits().memory_file_bytes_max)? {
            Entry::Directory => Ok(None),
            Entry::File { stamp, body } => {
                self.cache.counts.misses.add(1);
                Ok(Some(self.keep(now, key, stamp, body)))
            }
        }
    }

    /// Whether what is kept may be given out: it was looked at just now, or is looked at now.
    fn is_good(&mut self, now: Now, slot: Slot) -> bool {
        let Some((_, kept)) = self.cache.get(slot) else {
            return false;
        };
        if !kept.is_current() {
            return false;
        }
        // When the disk cannot be asked, what was true a moment ago is better than nothing.
        self.freshness.believes(now, kept.believed) || self.look(now, slot) != Look::Changed
    }

    /// Builds the asset of a file that was read, and keeps it.
    fn keep(&mut self, now: Now, key: Key, stamp: Stamp, body: Body) -> Arc<Asset> {
        let compressed = self.take_compressed(&key, &stamp);
        let mut said = self.rules.said(&key.path, key.status);
        let is_compressed_by_us =
            self.site.compression && key.status == Status::Ok && is_compressible(&said.content_type);
        let neighbours = (key.status == Status::Ok && may_have_neighbours(&key.path, &said.content_type))
            .then(|| neighbours_of(&self.disk, &key.path));
        let has_neighbours = neighbours.as_ref().is_some_and(|found| !found.is_empty());
        let is_negotiated = is_compressed_by_us || has_neighbours;
        if key.status == Status::ServiceUnavailable {
            said.replace("Retry-After", RETRY_AFTER);
        }
        if is_negotiated {
            said.varies_by("Accept-Encoding");
        }
        let last_change = neighbours
            .iter()
            .flatten()
            .map(|(_, beside)| beside.changed)
            .fold(stamp.changed, SystemTime::max);
        let is_doubtful = now.time.duration_since(last_change).unwrap_or_default() < CLOCK_TICK_MAX;

        let validators = (key.status == Status::Ok).then(|| validators_of(&stamp, now));
        let mut coded = Vec::new();
        for (coding, beside) in neighbours.iter().flatten() {
            if beside.modified >= stamp.modified
                && beside.bytes <= stamp.bytes
                && let Some(read) = self.read_neighbour(now, &key.path, *coding, beside, &said)
            {
                coded.push((*coding, read));
            }
        }
        let compression = if !is_compressed_by_us
            || !coded.is_empty()
            || is_doubtful
            || !compressor::is_worth_trying(stamp.bytes)
        {
            Compression::Unwanted
        } else {
            compressed.map_or(Compression::Wanted, Compression::Done)
        };
        if let (Compression::Done(compressed), Some(validators)) = (&compression, &validators) {
            coded = compressed
                .iter()
                .map(|(coding, content)| (*coding, coded_representation(&said, *coding, validators, content)))
                .collect();
        }
        let plain = Representation::build(key.status, &said, None, validators, body);
        let asset = Arc::new(Asset::new(key.status, is_negotiated, plain, coded));

        if self.cache.is_empty() {
            self.freshness.begin(now);
        }
        let kept = Kept {
            asset: Arc::clone(&asset),
            stamp,
            neighbours,
            stands_for_clean: false,
            is_doubtful,
            believed: self.freshness.belief(now),
            compression,
        };
        if let Some(slot) = self.cache.insert(key, kept) {
            self.want_compression(slot);
        }
        asset
    }

    /// What was compressed of this very content before its asset was revoked for another reason.
    fn take_compressed(&mut self, key: &Key, stamp: &Stamp) -> Option<Vec<(Coding, Bytes)>> {
        let kept = self.cache.find(key).and_then(|slot| self.cache.remove(slot))?;
        match kept.compression {
            Compression::Done(compressed) if kept.stamp == *stamp => Some(compressed),
            _ => None,
        }
    }

    /// Reads a compressed file that lies beside another, unless it has just become another one.
    fn read_neighbour(
        &self,
        now: Now,
        path: &Path,
        coding: Coding,
        expected: &Stamp,
        said: &Said<'_>,
    ) -> Option<Representation> {
        let path = with_suffix(path, coding.extension());
        match self.disk.load(&path, self.cache.limits().memory_file_bytes_max) {
            Ok(Entry::File { stamp, body }) if stamp == *expected => {
                let Validators { tag, modified } = validators_of(&stamp, now);
                let validators = Validators { tag: tag.for_coding(coding), modified };
                Some(Representation::build(Status::Ok, said, Some(coding), Some(validators), body))
            }
            _ => None,
        }
    }

    fn want_compression(&mut self, slot: Slot) {
        if self.waiting.len() >= COMPRESSIONS_WAITING_MAX {
            return;
        }
        let Some((key, kept)) = self.cache.get(slot) else {
            return;
        };
        if kept.compression != Compression::Wanted {
            return;
        }
        self.waiting.push_back(key.clone());
        if let Some(kept) = self.cache.get_mut(slot) {
            kept.compression = Compression::Waiting;
        }
        self.compress_next();
    }

    fn compress_next(&mut self) {
        while self.compressing < COMPRESSIONS_AT_ONCE
            && let Some(key) = self.waiting.pop_front()
        {
            let Some(slot) = self.cache.find(&key) else {
                continue;
            };
            if let Some(kept) = self.cache.get_mut(slot)
                && kept.is_current()
                && kept.compression == Compression::Waiting
            {
                kept.compression = Compression::UnderWay;
                let job = Job { key, stamp: kept.stamp.clone(), body: kept.asset.plain.body.clone() };
                self.effects.push(Effect::Compress(job));
                self.compressing += 1;
            }
        }
    }

    /// The compressor is done with a content. Whoever asks next gets it in all codings.
    pub(super) fn note_compressed(&mut self, done: &Compressed) {
        self.compressing = self.compressing.saturating_sub(1);
        self.add_compressed(done);
        self.compress_next();
    }

    fn add_compressed(&mut self, done: &Compressed) {
        let bytes_max = self.cache.limits().memory_bytes_max / COMPRESSED_SHARE;
        let Some(slot) = self.cache.find(&done.key) else {
            return;
        };
        let Some(kept) = self.cache.get_mut(slot) else {
            return;
        };
        let is_awaited = matches!(kept.compression, Compression::Waiting | Compression::UnderWay);
        if kept.stamp != done.stamp || !is_awaited {
            return;
        }
        self.cache.counts.compressed.add(1);
        let Some(kept) = self.cache.get_mut(slot) else {
            return;
        };
        let bytes: usize = done.coded.iter().map(|(_, content)| content.len()).sum();
        if bytes as u64 > bytes_max {
            kept.compression = Compression::Unwanted;
            return;
        }
        kept.compression = Compression::Done(done.coded.clone());
        if done.coded.is_empty() || !kept.is_current() {
            return;
        }
        let mut said = self.rules.said(&done.key.path, Status::Ok);
        said.varies_by("Accept-Encoding");
        let plain = kept.asset.plain.clone();
        let Some(validators) = &plain.validators else {
            return;
        };
        let coded = done
            .coded
            .iter()
            .map(|(coding, content)| (*coding, coded_representation(&said, *coding, validators, content)))
            .collect();
        self.cache.exchange(slot, Arc::new(Asset::new(Status::Ok, true, plain, coded)));
    }
}

/// `Last-Modified` must not be in the future (RFC 9110, section 8.8.2.1).
pub(super) fn validators_of(stamp: &Stamp, now: Now) -> Validators {
    let tag = EntityTag::of_file(stamp.bytes, stamp.modified, stamp.changed, stamp.inode);
    Validators { tag, modified: stamp.modified.min(now.time).max(SystemTime::UNIX_EPOCH) }
}

/// What we compressed ourselves; `validators` are those of the content as it is.
fn coded_representation(
    said: &Said<'_>,
    coding: Coding,
    validators: &Validators,
    content: &Bytes,
) -> Representation {
    let mut checksum = Crc::new();
    checksum.update(content);
    let tag = validators.tag.for_coded(coding, checksum.sum());
    let validators = Validators { tag, modified: validators.modified };
    Representation::build(Status::Ok, said, Some(coding), Some(validators), Body::Memory(content.clone()))
}

/// Whether a compressed file may lie beside this one: not beside one that is compressed itself.
fn may_have_neighbours(path: &Path, content_type: &str) -> bool {
    let is_media = ["image/", "audio/", "video/"].iter().any(|kind| content_type.starts_with(kind));
    !Coding::ALL.iter().any(|coding| without_suffix(path, coding.extension()).is_some())
        && (!is_media || is_compressible(content_type))
}

/// The compressed files beside a file, of use or not.
pub(super) fn neighbours_of(disk: &impl Disk, path: &Path) -> Vec<(Coding, Stamp)> {
    let stamp =
        |coding: Coding| disk.stamp(&with_suffix(path, coding.extension())).ok().map(|stamp| (coding, stamp));
    Coding::ALL.into_iter().filter_map(stamp).collect()
}

/// The path `a.css.br` for `a.css` and `.br`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The path `a.css` for `a.css.br` and `.br`; none for a path without this suffix.
pub(super) fn without_suffix<'p>(path: &'p Path, suffix: &str) -> Option<&'p Path> {
    let rest = path.as_os_str().as_bytes().strip_suffix(suffix.as_bytes())?;
    Some(Path::new(OsStr::from_bytes(rest)))
}
