//! Makes assets of files: the plain content, the compressed files beside it, and what the compressor has made.

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
use super::fields::fields_of;
use super::freshness::{CLOCK_TICK_MAX, Look};
use crate::commands::asset::{Asset, AssetFields, Body, Representation};
use crate::runtime::Now;

/// The number of files that the compressor has at a time: one in progress and the next one.
pub(super) const COMPRESSIONS_AT_ONCE: usize = 2;

/// Length of the queue of the compressor. A file that finds no room tries again when it is requested again.
const COMPRESSIONS_WAITING_MAX: usize = 4096;

/// Compressed forms that take more than this fraction of the cache are dropped.
const COMPRESSED_SHARE: u64 = 4;

/// When to try again after a 503, in seconds.
const RETRY_AFTER: &str = "1";

impl<D: Disk> Core<D> {
    /// The file at a path; `None` if it is a directory.
    pub(super) fn file(&mut self, now: Now, path: &Path) -> Result<Option<Arc<Asset>>, DiskError> {
        self.asset(now, path, Status::Ok)
    }

    /// The file at a path, as the page for a status; `None` if it is a directory.
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
        match self.disk.load(path, self.cache.limits.memory_file_bytes_max)? {
            Entry::Directory => Ok(None),
            Entry::File { stamp, body } => {
                self.cache.counts.misses.add(1);
                Ok(Some(self.keep(now, key, stamp, body)))
            }
        }
    }

    /// Whether an entry may be served: it is fresh, or a comparison with the disk finds no change.
    fn is_good(&mut self, now: Now, slot: Slot) -> bool {
        let Some((_, kept)) = self.cache.get(slot) else {
            return false;
        };
        if !kept.is_current() {
            return false;
        }
        // If the disk cannot be read, the cached file is better than an error.
        self.freshness.is_fresh(now, kept.compared) || self.look(now, slot) != Look::Changed
    }

    /// Builds the asset of a file that was read, and caches it.
    fn keep(&mut self, now: Now, key: Key, stamp: Stamp, body: Body) -> Arc<Asset> {
        let compressed = self.take_compressed(&key, &stamp);
        let mut fields = fields_of(&self.site, &key.path, key.status);
        let is_itself = key.status == Status::Ok;
        let may_be_compressed = self.site.compression && is_itself && is_compressible(&fields.content_type);
        let neighbours = (is_itself && may_have_neighbours(&key.path, &fields.content_type))
            .then(|| neighbours_of(&self.disk, &key.path));
        let is_negotiated = may_be_compressed || neighbours.as_ref().is_some_and(|found| !found.is_empty());
        if key.status == Status::ServiceUnavailable {
            fields.replace("Retry-After", RETRY_AFTER);
        }
        if is_negotiated {
            fields.varies_by("Accept-Encoding");
        }
        let changes = neighbours.iter().flatten().map(|(_, beside)| beside.changed);
        let last_change = changes.fold(stamp.changed, SystemTime::max);
        let is_doubtful = now.time.duration_since(last_change).unwrap_or_default() < CLOCK_TICK_MAX;

        let validators = is_itself.then(|| validators_of(&stamp, now));
        let mut coded = self.read_neighbours(now, &key.path, &stamp, neighbours.iter().flatten(), &fields);
        let is_compressed =
            may_be_compressed && coded.is_empty() && !is_doubtful && compressor::is_worth_trying(stamp.bytes);
        let compression = match compressed {
            _ if !is_compressed => Compression::Unwanted,
            None => Compression::Wanted,
            Some(compressed) => Compression::Done(compressed),
        };
        if let (Compression::Done(compressed), Some(validators)) = (&compression, &validators) {
            coded = in_codings(compressed, &fields, validators);
        }
        let plain = Representation::build(key.status, &fields, None, validators, body);
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
            compared: self.freshness.compared(now),
            compression,
        };
        if let Some(slot) = self.cache.insert(key, kept) {
            self.want_compression(slot);
        }
        asset
    }

    /// Takes the compressed forms of this content from an entry that was revoked for another reason.
    fn take_compressed(&mut self, key: &Key, stamp: &Stamp) -> Option<Vec<(Coding, Bytes)>> {
        let kept = self.cache.find(key).and_then(|slot| self.cache.remove(slot))?;
        match kept.compression {
            Compression::Done(compressed) if kept.stamp == *stamp => Some(compressed),
            _ => None,
        }
    }

    /// Reads the compressed files beside a file, except those that are older or larger than it.
    fn read_neighbours<'n>(
        &self,
        now: Now,
        path: &Path,
        original: &Stamp,
        neighbours: impl Iterator<Item = &'n (Coding, Stamp)>,
        fields: &AssetFields<'_>,
    ) -> Vec<(Coding, Representation)> {
        let is_useful =
            |beside: &Stamp| beside.modified >= original.modified && beside.bytes <= original.bytes;
        let read = |(coding, expected): &(Coding, Stamp)| {
            let path = with_suffix(path, coding.extension());
            match self.disk.load(&path, self.cache.limits.memory_file_bytes_max) {
                Ok(Entry::File { stamp, body }) if stamp == *expected => {
                    let Validators { tag, modified } = validators_of(&stamp, now);
                    let validators = Validators { tag: tag.for_coding(*coding), modified };
                    let built =
                        Representation::build(Status::Ok, fields, Some(*coding), Some(validators), body);
                    Some((*coding, built))
                }
                // It has just changed.
                _ => None,
            }
        };
        neighbours.filter(|(_, beside)| is_useful(beside)).filter_map(read).collect()
    }

    fn want_compression(&mut self, slot: Slot) {
        if let Some((key, kept)) = self.cache.get(slot)
            && kept.compression == Compression::Wanted
            && self.waiting.len() < COMPRESSIONS_WAITING_MAX
        {
            self.waiting.push_back(key.clone());
            if let Some(kept) = self.cache.get_mut(slot) {
                kept.compression = Compression::Waiting;
            }
            self.compress_next();
        }
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

    /// Takes a result of the compressor. The previous lease is revoked, so the next request gets all codings.
    pub(super) fn note_compressed(&mut self, done: &Compressed) {
        self.compressing = self.compressing.saturating_sub(1);
        self.add_compressed(done);
        self.compress_next();
    }

    fn add_compressed(&mut self, done: &Compressed) {
        let bytes_max = self.cache.limits.memory_bytes_max / COMPRESSED_SHARE;
        let Some(slot) = self.cache.find(&done.key) else { return };
        let Some(kept) = self.cache.get_mut(slot) else { return };
        let is_awaited = matches!(kept.compression, Compression::Waiting | Compression::UnderWay);
        if kept.stamp != done.stamp || !is_awaited {
            return;
        }
        let bytes: usize = done.coded.iter().map(|(_, content)| content.len()).sum();
        let is_kept = bytes as u64 <= bytes_max;
        kept.compression =
            if is_kept { Compression::Done(done.coded.clone()) } else { Compression::Unwanted };
        let is_used = is_kept && !done.coded.is_empty() && kept.is_current();
        let plain = kept.asset.plain.clone();
        self.cache.counts.compressed.add(1);
        let Some(validators) = plain.validators.as_ref().filter(|_| is_used) else { return };
        let mut fields = fields_of(&self.site, &done.key.path, Status::Ok);
        fields.varies_by("Accept-Encoding");
        let coded = in_codings(&done.coded, &fields, validators);
        self.cache.exchange(slot, Arc::new(Asset::new(Status::Ok, true, plain, coded)));
    }
}

/// `Last-Modified` must not be in the future (RFC 9110, section 8.8.2.1).
pub(super) fn validators_of(stamp: &Stamp, now: Now) -> Validators {
    let tag = EntityTag::of_file(stamp.bytes, stamp.modified, stamp.changed, stamp.inode);
    Validators { tag, modified: stamp.modified.min(now.time).max(SystemTime::UNIX_EPOCH) }
}

/// The representations of what the compressor made. `validators` are those of the plain content.
fn in_codings(
    compressed: &[(Coding, Bytes)],
    fields: &AssetFields<'_>,
    validators: &Validators,
) -> Vec<(Coding, Representation)> {
    let build = |(coding, content): &(Coding, Bytes)| {
        let mut checksum = Crc::new();
        checksum.update(content);
        let tag = validators.tag.for_coded(*coding, checksum.sum());
        let validators = Validators { tag, modified: validators.modified };
        let body = Body::Memory(content.clone());
        (*coding, Representation::build(Status::Ok, fields, Some(*coding), Some(validators), body))
    };
    compressed.iter().map(build).collect()
}

/// Whether compressed files can lie beside this one. Not if it is compressed itself.
fn may_have_neighbours(path: &Path, content_type: &str) -> bool {
    let is_media = ["image/", "audio/", "video/"].iter().any(|kind| content_type.starts_with(kind));
    !Coding::ALL.iter().any(|coding| without_suffix(path, coding.extension()).is_some())
        && (!is_media || is_compressible(content_type))
}

/// The compressed files beside a file, whether or not they can be used.
pub(super) fn neighbours_of(disk: &impl Disk, path: &Path) -> Vec<(Coding, Stamp)> {
    let stamp =
        |coding: Coding| disk.stamp(&with_suffix(path, coding.extension())).ok().map(|stamp| (coding, stamp));
    Coding::ALL.into_iter().filter_map(stamp).collect()
}

/// `a.css.br` for `a.css` and `.br`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// `a.css` for `a.css.br` and `.br`; `None` for a path without this suffix.
pub(super) fn without_suffix<'p>(path: &'p Path, suffix: &str) -> Option<&'p Path> {
    let rest = path.as_os_str().as_bytes().strip_suffix(suffix.as_bytes())?;
    Some(Path::new(OsStr::from_bytes(rest)))
}
