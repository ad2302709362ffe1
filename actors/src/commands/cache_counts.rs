//! What the cache has done, for whoever wants to show it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, except for those that say how much is kept now. FileServer writes them, others only read.
#[derive(Debug, Default)]
pub struct CacheCounts {
    hits: AtomicU64,
    misses: AtomicU64,
    revocations: AtomicU64,
    evictions: AtomicU64,
    compressed: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl CacheCounts {
    /// Requests to FileServer that were answered from the cache. What sessions answer from leases is not among them.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Files that were read.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Leases that ended because something had changed, or because compressed forms were ready.
    pub fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Relaxed)
    }

    /// Leases that ended to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Contents that were compressed.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Ordering::Relaxed)
    }

    /// How many files are kept now.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// How many bytes are kept in memory now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_revocation(&self) {
        self.revocations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_eviction(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_compressed(&self) {
        self.compressed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_kept(&self, entries: u64, bytes: u64) {
        self.entries.store(entries, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
