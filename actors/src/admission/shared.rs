//! The list that the servers of a cluster share.

use std::collections::{BTreeMap, VecDeque};

use wire::invitation::SECRET_BYTES;
use wire::{Digest, Fingerprint};

use super::file::Line;
use crate::commands::admission::{Edit, Entry};

/// How many used invitations are remembered.
const USED_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// There is a list. Without one anybody may join.
    pub(super) is_closed: bool,
    /// Each entry and its revision, by its id.
    entries: BTreeMap<u64, (u64, Entry)>,
    /// The last invitations that were used, and by whom. If the connection of such a peer broke before it was welcomed, it comes again,
    /// perhaps to another server, which has to prove that it knows the invitation.
    used: VecDeque<(Fingerprint, [u8; SECRET_BYTES])>,
}

impl Shared {
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|(_, entry)| entry)
    }

    /// The secrets of the invitations that this key has used lately.
    pub(super) fn used_by(&self, key: &Fingerprint) -> impl Iterator<Item = &[u8; SECRET_BYTES]> {
        self.used.iter().filter(move |(by, _)| by == key).map(|(_, secret)| secret)
    }

    /// Notes an entry, or that it was removed. Returns whether somebody may have been in the list before and is not any more.
    pub(super) fn learn(&mut self, id: u64, revision: u64, entry: Option<Entry>) -> bool {
        match (self.entries.get(&id), entry) {
            (Some((known, _)), Some(_)) if *known >= revision => false,
            (before, Some(entry)) => {
                let is_less = before
                    .is_some_and(|(_, before)| matches!(before, Entry::Member { .. }) && *before != entry);
                let secret = before.and_then(|(_, before)| before.secret());
                if let (Some(secret), Entry::Member { fingerprint, .. }) = (secret, &entry) {
                    self.used.truncate(USED_MAX - 1);
                    self.used.push_front((*fingerprint, *secret));
                }
                self.entries.insert(id, (revision, entry));
                is_less
            }
            (_, None) => self.entries.remove(&id).is_some(),
        }
    }

    /// What has to be written, so that the list has these entries. `now` is in seconds since 1970.
    ///
    /// An invitation that was used, or a key that has a successor, is replaced by one write, so that no crash loses one of both.
    pub(super) fn edits(&self, entries: &[&Entry], now: u64) -> Vec<Edit> {
        let gone = self.entries.iter().filter(|(_, (_, entry))| !entries.contains(&entry));
        let mut gone: Vec<(u64, u64, bool)> =
            gone.map(|(id, (revision, entry))| (*id, *revision, is_expired(entry, now))).collect();
        let new = entries.iter().filter(|entry| !self.entries().any(|known| known == **entry));
        let mut edits: Vec<Edit> = Vec::new();
        for entry in new {
            let replaced = gone.iter().position(|(_, _, is_expired)| !is_expired).map(|at| gone.remove(at));
            let (id, over) = match replaced {
                Some((id, revision, _)) => (id, Some(revision)),
                None => (id_of(entry), None),
            };
            edits.push(Edit { id, over, entry: Some((*entry).clone()) });
        }
        edits.extend(gone.into_iter().map(|(id, revision, _)| Edit {
            id,
            over: Some(revision),
            entry: None,
        }));
        edits
    }
}

fn is_expired(entry: &Entry, now: u64) -> bool {
    matches!(entry, Entry::Invitation { until, .. } if *until <= now)
}

/// The id of a new entry. The same entry has the same id at all servers, so that two that begin with one list do not double it.
fn id_of(entry: &Entry) -> u64 {
    Digest::of(Line::Entry(entry.clone()).to_string().as_bytes()).number()
}
