//! What a thread knows to be good, so that bcrypt runs once for each client and not for each request.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Most header values that are known at once. More clients than this are verified anew now and then.
const ENTRIES_MAX: usize = 1024;

/// How long a header value is known.
const ENTRY_LIFETIME: Duration = Duration::from_secs(600);

/// Known to this process alone, so that nobody can prepare values or recognise keys.
static SALT: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// Stands for the value of an `Authorization` field: its SHA-256 with a salt of this process. It can be handed to the
/// table of another thread; in another process it means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VerifiedKey([u8; 32]);

impl VerifiedKey {
    /// The key of a field's value.
    pub(crate) fn of(value: &[u8]) -> Self {
        Self(Sha256::new().chain_update(*SALT).chain_update(value).finalize().into())
    }
}

impl fmt::Debug for VerifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedKey(..)")
    }
}

#[derive(Debug)]
struct Entry {
    user: Box<str>,
    expires: Instant,
}

/// The values of `Authorization` fields that were good for one file of users, and whose they are. Each site has its own.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    generation: u64,
    entries: HashMap<VerifiedKey, Entry>,
}

impl Verified {
    /// Whose value this is, if that is known. `generation` is that of the handle now; another one than before makes
    /// the table forget everything.
    pub(crate) fn get(&mut self, generation: u64, key: VerifiedKey, now: Instant) -> Option<&str> {
        if !self.is_current(generation) {
            return None;
        }
        if self.entries.get(&key)?.expires <= now {
            self.entries.remove(&key);
        }
        self.entries.get(&key).map(|entry| &*entry.user)
    }

    /// Keeps a value that was verified at `now`, by this thread or another one. `generation` is that of the handle before it
    /// was asked; if the table has seen a later one by now the value is not kept.
    pub(crate) fn insert(&mut self, generation: u64, key: VerifiedKey, user: &str, now: Instant) {
        if !self.is_current(generation) {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
        self.entries.insert(key, Entry { user: user.into(), expires: now + ENTRY_LIFETIME });
    }

    /// Forgets everything when this generation is a later one; returns whether it is not an earlier one.
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

    #[test]
    fn what_was_verified_is_known_until_the_file_changes() {
        let now = Instant::now();
        let mut verified = Verified::default();
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), None);
        verified.insert(1, VerifiedKey::of(b"Basic YTph"), "a", now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), Some("a"));
        assert_eq!(verified.get(1, VerifiedKey::of(b"basic YTph"), now), None);
        assert_eq!(verified.get(2, VerifiedKey::of(b"Basic YTph"), now), None, "the file has changed");
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), None, "and that is not undone");
        verified.insert(1, VerifiedKey::of(b"Basic YTph"), "a", now);
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
        verified.insert(1, key, "a", now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"Basic YTph"), now), Some("a"));
    }

    #[test]
    fn what_was_verified_expires_and_is_bounded() {
        let now = Instant::now();
        let ten_minutes = Duration::from_secs(600);
        let mut verified = Verified::default();
        verified.insert(1, VerifiedKey::of(b"first"), "a", now);
        assert_eq!(
            verified.get(1, VerifiedKey::of(b"first"), now + ten_minutes - Duration::from_nanos(1)),
            Some("a")
        );
        assert_eq!(verified.get(1, VerifiedKey::of(b"first"), now + ten_minutes), None);
        for n in 0..1024_u32 {
            verified.insert(1, VerifiedKey::of(&n.to_be_bytes()), "b", now);
        }
        assert_eq!(verified.get(1, VerifiedKey::of(&0_u32.to_be_bytes()), now), Some("b"));
        verified.insert(1, VerifiedKey::of(b"one more"), "c", now);
        assert_eq!(verified.get(1, VerifiedKey::of(b"one more"), now), Some("c"));
        assert_eq!(verified.get(1, VerifiedKey::of(&0_u32.to_be_bytes()), now), None, "it was full");
    }
}
