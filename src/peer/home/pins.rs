//! Whose identity key is which: `known_peers`, a line `NAME FINGERPRINT SINCE` for each, as ssh keeps its known hosts.

use std::collections::HashMap;
use std::fmt;

use wire::{Fingerprint, PeerName};

use super::{HomeError, PRIVATE_FILE_MODE, read_private};
use crate::peer::folder::Folder;

const KNOWN_PEERS: &str = "known_peers";
/// Largest file: room for 100,000 peers with a name of full length each, and a little.
const KNOWN_PEERS_BYTES_MAX: u64 = 16 << 20;

/// What is known of the key that somebody shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Nobody of that name is known yet.
    New,
    /// It is the key that is known.
    Same,
    /// Another key is known.
    Changed {
        /// The fingerprint that is known.
        pinned: Fingerprint,
    },
}

/// A line of `known_peers` that says nothing one could use. It stays in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("known_peers line {line}: {reason}")]
pub struct PinProblem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

enum Line {
    Pinned {
        name: PeerName,
        fingerprint: Fingerprint,
        since: u64,
    },
    /// A comment, an empty line, or one that is damaged: kept as it is.
    Other(Vec<u8>),
}

/// The identity keys that are known, by name.
pub struct Pins {
    private: Folder,
    lines: Vec<Line>,
    /// Where in `lines` a name stands, by the folded name.
    places: HashMap<PeerName, usize>,
    problems: Vec<PinProblem>,
}

impl Pins {
    pub(super) fn load(private: Folder) -> Result<Self, HomeError> {
        let path = private.path().join(KNOWN_PEERS);
        let text = read_private(&private, KNOWN_PEERS, KNOWN_PEERS_BYTES_MAX)
            .map_err(HomeError::io("read the known peers", path))?
            .unwrap_or_default();
        let mut pins = Self { private, lines: Vec::new(), places: HashMap::new(), problems: Vec::new() };
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        if !text.is_empty() {
            for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
                pins.take_line(index + 1, line);
            }
        }
        Ok(pins)
    }

    fn take_line(&mut self, number: usize, bytes: &[u8]) {
        let read = match parse(bytes) {
            Ok(Some((name, ..))) if self.find(&name).is_some() => {
                Err("a second line for the same name; the first one holds")
            }
            other => other,
        };
        match read {
            Ok(Some((name, fingerprint, since))) => self.append(name, fingerprint, since),
            Ok(None) => self.lines.push(Line::Other(bytes.to_vec())),
            Err(reason) => {
                self.lines.push(Line::Other(bytes.to_vec()));
                self.problems.push(PinProblem { line: number, reason });
            }
        }
    }

    /// The lines that could not be read. Whoever stood there counts as unknown.
    pub fn problems(&self) -> &[PinProblem] {
        &self.problems
    }

    /// Compares the key that somebody shows with the one that is known. Names are the same whatever their case.
    pub fn check(&self, name: &PeerName, fingerprint: &Fingerprint) -> Pin {
        match self.find(name).map(|at| &self.lines[at]) {
            Some(Line::Pinned { fingerprint: pinned, .. }) if pinned == fingerprint => Pin::Same,
            Some(Line::Pinned { fingerprint: pinned, .. }) => Pin::Changed { pinned: *pinned },
            _ => Pin::New,
        }
    }

    /// Everybody who is known, the key's fingerprint, and since when, in seconds since 1970.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerName, &Fingerprint, u64)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pinned { name, fingerprint, since } => Some((name, fingerprint, *since)),
            Line::Other(_) => None,
        })
    }

    /// Pins the key of somebody who is new; `now` is in seconds since 1970. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`HomeError::PinnedOtherwise`] when another key is known, [`HomeError::Io`].
    pub fn pin(&mut self, name: &PeerName, fingerprint: &Fingerprint, now: u64) -> Result<(), HomeError> {
        match self.check(name, fingerprint) {
            Pin::New => self.replace(name, fingerprint, now),
            Pin::Same => Ok(()),
            Pin::Changed { pinned } => Err(HomeError::PinnedOtherwise { name: name.clone(), pinned }),
        }
    }

    /// Pins a key, whatever was known before; `now` is in seconds since 1970. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`HomeError::Io`]; what was known before then still holds.
    pub fn replace(&mut self, name: &PeerName, fingerprint: &Fingerprint, now: u64) -> Result<(), HomeError> {
        let Some(at) = self.find(name) else {
            self.append(name.clone(), *fingerprint, now);
            return self.save().inspect_err(|_| {
                self.lines.pop();
                self.places.remove(&name.folded());
            });
        };
        let line = Line::Pinned { name: name.clone(), fingerprint: *fingerprint, since: now };
        let before = std::mem::replace(&mut self.lines[at], line);
        let saved = self.save();
        if saved.is_err() {
            self.lines[at] = before;
        }
        saved
    }

    fn append(&mut self, name: PeerName, fingerprint: Fingerprint, since: u64) {
        self.places.insert(name.folded(), self.lines.len());
        self.lines.push(Line::Pinned { name, fingerprint, since });
    }

    fn find(&self, name: &PeerName) -> Option<usize> {
        self.places.get(&name.folded()).copied()
    }

    fn save(&self) -> Result<(), HomeError> {
        let mut text = Vec::new();
        for line in &self.lines {
            match line {
                Line::Pinned { name, fingerprint, since } => {
                    text.extend_from_slice(format!("{name} {fingerprint} {since}").as_bytes());
                }
                Line::Other(bytes) => text.extend_from_slice(bytes),
            }
            text.push(b'\n');
        }
        self.private
            .write(KNOWN_PEERS, &text, PRIVATE_FILE_MODE)
            .map_err(HomeError::io("write the known peers", self.private.path().join(KNOWN_PEERS)))
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, fingerprint, _)| (name, fingerprint))).finish()
    }
}

/// Reads a line; `None` for one that says nothing.
fn parse(line: &[u8]) -> Result<Option<(PeerName, Fingerprint, u64)>, &'static str> {
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
    match items.next() {
        None => Ok(Some((name, fingerprint, since))),
        Some(_) => Err("more than a name, a fingerprint and a time"),
    }
}
