//! The cache of checked passwords of one thread, so that bcrypt runs once for each client and not for each request.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// The maximum number of entries. With more clients, some passwords are checked again earlier.
const ENTRIES_MAX: usize = 1024;

const ENTRY_LIFETIME: Duration = Duration::from_secs(600);

/// Known to this process only, so that nobody can prepare values or recognise keys.
static SALT: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// The salted SHA-256 of the value of an `Authorization` field. Valid in all threads of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VerifiedKey([u8; 32]);

impl VerifiedKey {
    pub(crate) fn of(value: &[u8]) -> Self {
        Self(Sha256::new().chain_update(*SALT).chain_update(value).finalize().into())
    }
}

impl fmt::Debug for VerifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedKey(..)")
    }
}

/// A password that was found to be right.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) key: VerifiedKey,
    /// Of the users file, read before the check.
    pub(super) generation: u64,
    pub(super) user: Box<str>,
}

#[derive(Debug)]
struct Entry {
    user: Box<str>,
    expires: Instant,
}

/// The `Authorization` values that are valid for one generation of the users file of a site.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    generation: u64,
    entries: HashMap<VerifiedKey, Entry>,
}

impl Verified {
    /// The user of a value, if it is cached. `generation` is that of the users file now; a newer one than before clears
    /// the cache.
    pub(super) fn get(&mut self, generation: u64, key: VerifiedKey, now: Instant) -> Option<&str> {
        if !self.is_current(generation) {
            return None;
        }
        if self.entries.get(&key)?.expires <= now {
            self.entries.remove(&key);
        }
        self.entries.get(&key).map(|entry| &*entry.user)
    }

    /// Caches a password that was checked at `now`, unless the users file has changed since.
    pub(super) fn insert(&mut self, Proof { key, generation, user }: Proof, now: Instant) {
        if !self.is_current(generation) {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
        self.entries.insert(key, Entry { user, expires: now + ENTRY_LIFETIME });
    }

    /// Clears the cache if this generation is newer. Returns whether it is not older.
    fn is_current(&mut self, generation: u64) -> bool {
        if generation > self.generation {
            self.generation = generation;
            self.entries.clear();
        }
        generation == self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the first generation of the file.
    fn proof(key: VerifiedKey, user: &str) -> Proof {
        Proof { key, generation: 1, user: user.into() }
    }

    #[test]
    fn what_was_verified_is_known_until_the_file_changes() {
        let now = Instant::now();
        let mut verified = Verified::default();
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), None);
        verified.insert(proof(VerifiedKey::of(b"Basic YTph"), "a"), now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), Some("a"));
        assert_eq!(verified.get(1, VerifiedKey::of(b"basic YTph"), now), None);
        assert_eq!(verified.get(2, VerifiedKey::of(b"Basic YTph"), now), None, "the file has changed");
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), None, "and that is not undone");
        verified.insert(proof(VerifiedKey::of(b"Basic YTph"), "a"), now);
        assert_eq!(
            verified.get(1, VerifiedKey::of(b"Basic YTph"), now),
            None,
            "it was verified against the old file"
        );
        assert_eq!(
            verified.get(2, VerifiedKey::of(b"Basic YTph"), now),
            None,
            "it was verified against the old file"
        );
    }

    #[test]
    fn what_another_thread_verified_is_known() {
        let now = Instant::now();
        let key = std::thread::spawn(|| VerifiedKey::of(b"Basic YTph")).join().expect("it does not panic");
        let mut verified = Verified::default();
        verified.insert(proof(key, "a"), now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), Some("a"));
    }

    #[test]
    fn what_was_verified_expires_and_is_bounded() {
        let now = Instant::now();
        let ten_minutes = Duration::from_secs(600);
        let mut verified = Verified::default();
        verified.insert(proof(VerifiedKey::of(b"first"), "a"), now);
        assert_eq!(
            verified.get(1, VerifiedKey::of(b"first"), now + ten_minutes - Duration::from_nanos(1)),
            Some("a")
        );
        assert_eq!(verified.get(1, VerifiedKey::of(b"first"), now + ten_minutes), None);
        for n in 0..1024_u32 {
            verified.insert(proof(VerifiedKey::of(&n.to_be_bytes()), "b"), now);
        }
        assert_eq!(verified.get(1, VerifiedKey::of(&0_u32.to_be_bytes()), now), Some("b"));
        verified.insert(proof(VerifiedKey::of(b"one more"), "c"), now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"one more"), now), Some("c"));
        assert_eq!(verified.get(1, VerifiedKey::of(&0_u32.to_be_bytes()), now), None, "it was full");
    }
}
