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
pub struct VerifiedKey([u8; 32]);

impl VerifiedKey {
    /// The key of a field's value.
    pub fn of(value: &[u8]) -> Self {
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
pub struct Verified {
    generation: u64,
    entries: HashMap<VerifiedKey, Entry>,
}

impl Verified {
    /// Whose value this is, if that is known. `generation` is that of the handle now; another one than before makes
    /// the table forget everything.
    pub fn get(&mut self, generation: u64, key: VerifiedKey, now: Instant) -> Option<&str> {
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
    pub fn insert(&mut self, generation: u64, key: VerifiedKey, user: &str, now: Instant) {
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
