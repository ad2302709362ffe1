//! The pinned identity keys: the file `known_peers` with a line `NAME FINGERPRINT SINCE [compared]` for each peer,
//! similar to the `known_hosts` of ssh.

use std::collections::HashMap;
use std::fmt;

use wire::{Fingerprint, PeerName};

use super::{HomeError, PRIVATE_FILE_MODE, read_private};
use crate::peer::folder::{FileError, Folder};
use crate::peer::records::PinnedKey;

pub(super) const KNOWN_PEERS: &str = "known_peers";
/// The last word in the line of a key that the user has compared.
const COMPARED: &str = "compared";
/// Largest file: room for more than 100,000 peers with names of full length.
pub(super) const KNOWN_PEERS_BYTES_MAX: u64 = 16 << 20;

/// A key compared with the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    New,
    Same,
    Changed { pinned: Fingerprint },
}

enum Line {
    Pinned {
        name: PeerName,
        key: PinnedKey,
        since: u64,
    },
    /// A comment or an empty line, kept as it is.
    Other(Vec<u8>),
}

/// The pinned identity keys, by name.
pub struct Pins {
    private: Folder,
    lines: Vec<Line>,
    /// Positions in `lines`, by folded name.
    places: HashMap<PeerName, usize>,
}

impl Pins {
    pub(super) fn load(private: Folder) -> Result<Self, HomeError> {
        let path = private.path().join(KNOWN_PEERS);
        let text = read_private(&private, KNOWN_PEERS, KNOWN_PEERS_BYTES_MAX)
            .map_err(FileError::of("read the known peers", &path))?
            .unwrap_or_default();
        let mut pins = Self { private, lines: Vec::new(), places: HashMap::new() };
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        if text.is_empty() {
            return Ok(pins);
        }
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let damaged = |reason| HomeError::PinDamaged { path: path.clone(), line: index + 1, reason };
            match parse(line).map_err(damaged)? {
                Some((name, ..)) if pins.find(&name).is_some() => {
                    return Err(damaged("the name has a line already"));
                }
                Some((name, key, since)) => pins.append(name, key, since),
                None => pins.lines.push(Line::Other(line.to_vec())),
            }
        }
        Ok(pins)
    }

    /// Checks that a key is pinned for every peer whose key has been accepted before. Without a pin, any key of that
    /// peer would be accepted, as at the first contact.
    ///
    /// `accepted` are the keys of the cards in the store. `trusted` is the peer whose key the user is about to trust: its
    /// pin is restored from `accepted`, so that `trust` can tell whether the key has changed. `now` is in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`HomeError::PinsMissing`], [`HomeError::Io`].
    pub fn check_accepted(
        &mut self,
        accepted: impl IntoIterator<Item = (PeerName, Fingerprint)>,
        trusted: Option<&PeerName>,
        now: u64,
    ) -> Result<(), HomeError> {
        let mut missing: Vec<_> =
            accepted.into_iter().filter(|(name, _)| self.find(name).is_none()).collect();
        if let Some(trusted) = trusted
            && let Some(at) = missing.iter().position(|(name, _)| name.folded() == trusted.folded())
        {
            let (name, fingerprint) = missing.swap_remove(at);
            self.pin(&name, &fingerprint, now)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort();
        Err(HomeError::PinsMissing { path: self.private.path().join(KNOWN_PEERS), missing })
    }

    /// Compares a key with the pinned one. The case of the name does not matter.
    pub fn check(&self, name: &PeerName, fingerprint: &Fingerprint) -> Pin {
        match self.find(name).map(|at| &self.lines[at]) {
            Some(Line::Pinned { key, .. }) if key.fingerprint == *fingerprint => Pin::Same,
            Some(Line::Pinned { key, .. }) => Pin::Changed { pinned: key.fingerprint },
            _ => Pin::New,
        }
    }

    /// All pins: the name, the key's fingerprint, and when it was pinned, in seconds since 1970.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerName, &PinnedKey, u64)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pinned { name, key, since } => Some((name, key, *since)),
            Line::Other(_) => None,
        })
    }

    /// Pins the first key of a peer. The pin is on the disk when this returns. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`HomeError::PinnedOtherwise`] when another key is pinned, [`HomeError::Io`].
    pub fn pin(&mut self, name: &PeerName, fingerprint: &Fingerprint, now: u64) -> Result<(), HomeError> {
        match self.check(name, fingerprint) {
            Pin::New => self.replace(name, PinnedKey::new(*fingerprint), now),
            Pin::Same => Ok(()),
            Pin::Changed { pinned } => Err(HomeError::PinnedOtherwise { name: name.clone(), pinned }),
        }
    }

    /// Pins a key, and replaces the one that was pinned. The pin is on the disk when this returns. `now` is in seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`HomeError::Io`]; then the pins are unchanged.
    pub fn replace(&mut self, name: &PeerName, key: PinnedKey, now: u64) -> Result<(), HomeError> {
        let Some(at) = self.find(name) else {
            self.append(name.clone(), key, now);
            return self.save().inspect_err(|_| {
                self.lines.pop();
                self.places.remove(&name.folded());
            });
        };
        let since = match &self.lines[at] {
            Line::Pinned { key: pinned, since, .. } if pinned.fingerprint == key.fingerprint => *since,
            _ => now,
        };
        let before = std::mem::replace(&mut self.lines[at], Line::Pinned { name: name.clone(), key, since });
        let saved = self.save();
        if saved.is_err() {
            self.lines[at] = before;
        }
        saved
    }

    fn append(&mut self, name: PeerName, key: PinnedKey, since: u64) {
        self.places.insert(name.folded(), self.lines.len());
        self.lines.push(Line::Pinned { name, key, since });
    }

    fn find(&self, name: &PeerName) -> Option<usize> {
        self.places.get(&name.folded()).copied()
    }

    fn save(&self) -> Result<(), HomeError> {
        let mut text = Vec::new();
        for line in &self.lines {
            match line {
                Line::Pinned { name, key, since } => {
                    let compared = if key.is_compared { COMPARED } else { "" };
                    let line = format!("{name} {} {since} {compared}", key.fingerprint);
                    text.extend_from_slice(line.trim_end().as_bytes());
                }
                Line::Other(bytes) => text.extend_from_slice(bytes),
            }
            text.push(b'\n');
        }
        let failed = FileError::of("write the known peers", self.private.path().join(KNOWN_PEERS));
        Ok(self.private.write(KNOWN_PEERS, &text, PRIVATE_FILE_MODE).map_err(failed)?)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, key, _)| (name, key))).finish()
    }
}

/// Reads a line; `None` for a comment or an empty line.
fn parse(line: &[u8]) -> Result<Option<(PeerName, PinnedKey, u64)>, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "not text")?.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let mut items = text.split_whitespace();
    let mut next = || items.next().unwrap_or_default();
    let name = next().parse().map_err(|_| "does not start with a name")?;
    let fingerprint =
        next().parse().map_err(|_| "the name is not followed by a fingerprint of 64 hexadecimal digits")?;
    let since =
        next().parse().map_err(|_| "the fingerprint is not followed by the time in seconds since 1970")?;
    let is_compared = match items.next() {
        None => false,
        Some(COMPARED) => true,
        Some(_) => return Err("the time is followed by another word than `compared`"),
    };
    match items.next() {
        None => Ok(Some((name, PinnedKey { fingerprint, is_compared }, since))),
        Some(_) => Err("more than a name, a fingerprint, a time and `compared`"),
    }
}
