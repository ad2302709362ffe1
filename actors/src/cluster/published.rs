//! What peers share. The bucket has each share in parts, because nats-server refuses large values. The Index of each server gets
//! each share as soon as all of its parts are there. What changes later is a value of its own, numbered from 0 after each share.
//! A share that replaces another one first removes the changes of that, so that nobody takes them for its own.
//!
//! Each value replaces one that this server has seen, by compare-and-set. So of two servers that write shares of one peer at the same time,
//! one fails. A peer whose share was not kept publishes it again; that of the server that it has left stays what it was.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{Digest, PeerName, frame};

use super::interface::{Effect, Revision, ShareInput};
use super::packet::PART_BYTES_MAX;
use crate::commands::index::{Change, Held, Keep, Kept, PublishAnswer, PublishRefused, Published, Share};
use crate::runtime::Reply;

/// The largest share has fewer parts. It bounds what a damaged part makes a server reserve.
const PARTS_MAX: u32 = 4096;

/// A part of a share, as it is in the bucket.
#[derive(Serialize, Deserialize)]
struct Part<'a> {
    /// The digest of all parts together.
    whole: Digest,
    count: u32,
    #[serde(with = "serde_bytes")]
    bytes: &'a [u8],
}

/// With more changes, the share has to be written whole again. A server that starts reads all of them.
const CHANGES_MAX: u32 = 1024;

/// A change of a share, as it is in the bucket.
#[derive(Serialize, Deserialize)]
struct Numbered {
    /// The digest of all parts of the share that it changes.
    whole: Digest,
    change: Change,
}

/// The parts of a share, as they are in the bucket.
pub(super) fn parts_of(share: &Share) -> Vec<Bytes> {
    let bytes = frame::body(share);
    parts(Digest::of(&bytes), &bytes)
}

fn parts(whole: Digest, bytes: &[u8]) -> Vec<Bytes> {
    let chunks = bytes.chunks(PART_BYTES_MAX);
    let count = u32::try_from(chunks.len()).expect("a share has at most a few thousand parts");
    chunks.map(|bytes| frame::body(&Part { whole, count, bytes }).into()).collect()
}

/// What was seen of a share in the bucket.
#[derive(Debug)]
struct Seen {
    whole: Digest,
    /// Empty once all were there.
    parts: Vec<Option<Bytes>>,
    /// The number of the next change.
    changes: u32,
    /// That of the last part.
    revision: Revision,
    /// A write has failed, so the bucket may have more. A whole share has to be written next.
    is_unsure: bool,
}

impl Seen {
    /// A share of which everything is known.
    fn of(whole: Digest, revision: Revision) -> Self {
        Self { whole, parts: Vec::new(), changes: 0, revision, is_unsure: false }
    }

    /// Whether changes can be counted on from here.
    fn is_complete(&self) -> bool {
        self.parts.is_empty() && !self.is_unsure
    }
}

/// A share or a change that is being written.
#[derive(Debug)]
struct Writing {
    name: PeerName,
    /// What is in the bucket after it: the share, and how many changes of it.
    whole: Digest,
    changes: u32,
    published: Published,
    held: Held,
    reply: Reply<PublishAnswer>,
}

#[derive(Debug, Default)]
pub(super) struct PublishedShares {
    seen: HashMap<PeerName, Seen>,
    /// The revision of each part that the bucket has, also of parts of earlier shares; 0 if there is none.
    revisions: HashMap<PeerName, Vec<Revision>>,
    /// The shares to write, in the order in which they were published here.
    waiting: VecDeque<Keep>,
    /// One at a time, so that the last publication is the last one in the bucket.
    writing: Option<Writing>,
}

impl PublishedShares {
    /// Writes a share that was published here.
    pub(super) fn keep(&mut self, keep: Keep, is_connected: bool, out: &mut Vec<Effect>) {
        self.waiting.push_back(keep);
        self.write_next(is_connected, out);
    }

    pub(super) fn input(&mut self, input: ShareInput, is_connected: bool, out: &mut Vec<Effect>) {
        match input {
            ShareInput::Part { name, number, value, revision } => {
                out.extend(self.part(&name, number, &value, revision).map(Effect::Share));
            }
            ShareInput::Change { name, number, value } => {
                out.extend(self.change(&name, number, value.as_ref()).map(Effect::ShareChange));
            }
            ShareInput::Kept(kept) => self.kept(kept.as_deref(), is_connected, out),
        }
    }

    /// The write has ended.
    fn kept(&mut self, kept: Option<&[Revision]>, is_connected: bool, out: &mut Vec<Effect>) {
        if let Some(writing) = self.writing.take() {
            match kept {
                Some(revisions) => self.written(&writing, revisions),
                None => self.failed(&writing),
            }
            writing.end(kept.is_some(), out);
        }
        self.write_next(is_connected, out);
    }

    /// The Index has what was published here, so it need not be given what comes back from the bucket.
    fn written(&mut self, writing: &Writing, revisions: &[Revision]) {
        let Writing { name, whole, changes, .. } = writing;
        let is_share = *changes == 0;
        let revision = revisions.last().copied().unwrap_or_default();
        for (number, revision) in revisions.iter().enumerate().filter(|_| is_share) {
            self.note(name, number, *revision);
        }
        let seen = self.seen.get_mut(name);
        // Another server may have written another share since then.
        let is_newer = seen.as_ref().is_some_and(|seen| seen.whole != *whole && seen.revision > revision);
        match seen {
            _ if is_newer => {}
            Some(seen) if !is_share && seen.whole == *whole => seen.changes = seen.changes.max(*changes),
            _ if is_share => drop(self.seen.insert(name.clone(), Seen::of(*whole, revision))),
            _ => {}
        }
    }

    /// The bucket has a part with this revision.
    fn note(&mut self, name: &PeerName, number: usize, revision: Revision) {
        let revisions = self.revisions.entry(name.clone()).or_default();
        if revisions.len() <= number {
            revisions.resize(number + 1, 0);
        }
        revisions[number] = revisions[number].max(revision);
    }

    /// The bucket may have it or not.
    fn failed(&mut self, writing: &Writing) {
        if let Some(seen) = self.seen.get_mut(&writing.name) {
            seen.is_unsure = true;
            seen.changes = seen.changes.max(writing.changes);
        }
    }

    fn write_next(&mut self, is_connected: bool, out: &mut Vec<Effect>) {
        while self.writing.is_none()
            && let Some(Keep { what, published, held, reply }) = self.waiting.pop_front()
        {
            let name = what.owner().folded();
            let writing =
                |whole, changes| Writing { name: name.clone(), whole, changes, published, held, reply };
            match what {
                Kept::Share(share) => {
                    let bytes = frame::body(&share);
                    let writing = writing(Digest::of(&bytes), 0);
                    self.write_share(writing, &bytes, is_connected, out);
                }
                Kept::Change(change) => {
                    let seen = self.seen.get(&name).filter(|seen| seen.is_complete());
                    let (whole, number) =
                        seen.map_or((Digest::default(), CHANGES_MAX), |s| (s.whole, s.changes));
                    let writing = writing(whole, number.saturating_add(1));
                    self.write_change(writing, change, is_connected, out);
                }
            }
        }
    }

    fn write_share(&mut self, writing: Writing, bytes: &[u8], is_connected: bool, out: &mut Vec<Effect>) {
        let whole = writing.whole;
        // Peers publish at each join, mostly what they have published before.
        let is_there = self
            .seen
            .get(&writing.name)
            .is_some_and(|seen| seen.whole == whole && seen.is_complete() && seen.changes == 0);
        if is_there {
            return writing.end(true, out);
        }
        if !is_connected {
            self.not_written(&writing.name);
            return writing.end(false, out);
        }
        let revisions = self.revisions.get(&writing.name).into_iter().flatten().copied();
        let parts = parts(whole, bytes).into_iter().zip(revisions.chain(std::iter::repeat(0))).collect();
        let changes = self.seen.get(&writing.name).map_or(0, |seen| seen.changes);
        out.push(Effect::PutShare { name: writing.name.clone(), parts, changes });
        self.writing = Some(writing);
    }

    fn write_change(&mut self, writing: Writing, change: Change, is_connected: bool, out: &mut Vec<Effect>) {
        let value = frame::body(&Numbered { whole: writing.whole, change });
        if writing.changes > CHANGES_MAX || value.len() > PART_BYTES_MAX || !is_connected {
            self.not_written(&writing.name);
            return writing.end(false, out);
        }
        let (name, number) = (writing.name.clone(), writing.changes - 1);
        out.push(Effect::PutChange { name, number, value: value.into() });
        self.writing = Some(writing);
    }

    /// The Index has something that the bucket has not, so a change does not fit what is in the bucket.
    fn not_written(&mut self, name: &PeerName) {
        if let Some(seen) = self.seen.get_mut(name) {
            seen.is_unsure = true;
        }
    }

    /// The bucket has a change, or has removed it. Returns it if the Index does not have it.
    fn change(&mut self, name: &PeerName, number: u32, value: Option<&Bytes>) -> Option<Box<Change>> {
        let Some(value) = value else {
            // Somebody writes a share, which may be the same as before all changes.
            if self.seen.get(name).is_some_and(|seen| number < seen.changes) {
                self.seen.remove(name);
            }
            return None;
        };
        let Ok(Numbered { whole, change }) = frame::decode(value) else {
            tracing::error!(target: "cluster", %name, "a change of a share in the bucket is damaged");
            return None;
        };
        let seen = self.seen.get_mut(name)?;
        let fits = seen.whole == whole && seen.is_complete() && seen.changes == number;
        if !fits || change.owner.folded() != *name {
            return None;
        }
        seen.changes += 1;
        Some(Box::new(change))
    }

    /// The bucket has another part. Returns the share if it is complete with this one.
    fn part(
        &mut self,
        name: &PeerName,
        number: u32,
        value: &Bytes,
        revision: Revision,
    ) -> Option<Box<Share>> {
        if number >= PARTS_MAX {
            return None;
        }
        self.note(name, number as usize, revision);
        let Ok(Part { whole, count, bytes }) = frame::decode(value) else {
            tracing::error!(target: "cluster", %name, "a share in the bucket is damaged");
            return None;
        };
        if number >= count || count > PARTS_MAX {
            return None;
        }
        let unseen = || Seen { parts: vec![None; count as usize], ..Seen::of(whole, revision) };
        let seen = self.seen.entry(name.clone()).or_insert_with(unseen);
        if seen.whole != whole {
            *seen = unseen();
        }
        seen.revision = seen.revision.max(revision);
        *seen.parts.get_mut(number as usize)? = Some(value.slice_ref(bytes));
        seen.is_unsure = false;
        if seen.parts.iter().any(Option::is_none) {
            return None;
        }
        let is_own = |writing: &Writing| writing.name == *name && writing.whole == whole;
        if self.writing.as_ref().is_some_and(is_own) {
            // The Index has it, and may have changes of it already.
            seen.parts.clear();
            return None;
        }
        let parts: Vec<Bytes> = std::mem::take(&mut seen.parts).into_iter().flatten().collect();
        let bytes = parts.concat();
        match frame::decode::<Share>(&bytes) {
            Ok(share) if share.owner.folded() == *name && Digest::of(&bytes) == whole => {
                Some(Box::new(share))
            }
            Ok(_) | Err(_) => {
                tracing::error!(target: "cluster", %name, "a share in the bucket is damaged");
                self.seen.remove(name);
                None
            }
        }
    }
}

impl Writing {
    fn end(self, is_kept: bool, out: &mut Vec<Effect>) {
        let lost = || {
            PublishRefused::NotKept("publish the whole list when the server is connected to NATS".to_owned())
        };
        self.reply.answer(if is_kept { Ok(self.published) } else { Err(lost()) });
        out.push(Effect::Release(self.held));
    }
}
