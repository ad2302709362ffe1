//! What peers share. The bucket has each share in parts, because nats-server refuses large values. The Index of each server gets
//! each share as soon as all of its parts are there.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{Digest, PeerName, frame};

use super::interface::Effect;
use super::packet::PART_BYTES_MAX;
use crate::commands::index::{Held, Keep, PublishAnswer, PublishRefused, Published, Share};
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

/// What was seen of a share in the bucket.
#[derive(Debug)]
struct Seen {
    whole: Digest,
    /// Empty once all were there.
    parts: Vec<Option<Bytes>>,
}

/// A share that is being written.
#[derive(Debug)]
struct Writing {
    published: Published,
    held: Held,
    reply: Reply<PublishAnswer>,
}

#[derive(Debug, Default)]
pub(super) struct PublishedShares {
    seen: HashMap<PeerName, Seen>,
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

    /// The write has ended.
    pub(super) fn kept(&mut self, is_kept: bool, is_connected: bool, out: &mut Vec<Effect>) {
        if let Some(writing) = self.writing.take() {
            writing.end(is_kept, out);
        }
        self.write_next(is_connected, out);
    }

    fn write_next(&mut self, is_connected: bool, out: &mut Vec<Effect>) {
        while self.writing.is_none()
            && let Some(Keep { share, published, held, reply }) = self.waiting.pop_front()
        {
            let name = share.owner.folded();
            let bytes = frame::body(&share);
            let whole = Digest::of(&bytes);
            let writing = Writing { published, held, reply };
            // Peers publish at each join, mostly what they have published before.
            let is_there =
                self.seen.get(&name).is_some_and(|seen| seen.whole == whole && seen.parts.is_empty());
            if is_there || !is_connected {
                writing.end(is_there, out);
                continue;
            }
            let chunks = bytes.chunks(PART_BYTES_MAX);
            let count = u32::try_from(chunks.len()).expect("a share has at most a few thousand parts");
            let parts = chunks.map(|bytes| frame::body(&Part { whole, count, bytes }).into()).collect();
            out.push(Effect::PutShare { name, parts });
            self.writing = Some(writing);
        }
    }

    /// The bucket has another part. Returns the share if it is complete with this one.
    pub(super) fn part(&mut self, name: &PeerName, number: u32, value: &Bytes) -> Option<Box<Share>> {
        let Ok(Part { whole, count, bytes }) = frame::decode(value) else {
            tracing::error!(target: "cluster", %name, "a share in the bucket is damaged");
            return None;
        };
        if number >= count || count > PARTS_MAX {
            return None;
        }
        let unseen = || Seen { whole, parts: vec![None; count as usize] };
        let seen = self.seen.entry(name.clone()).or_insert_with(unseen);
        if seen.whole != whole {
            *seen = unseen();
        }
        *seen.parts.get_mut(number as usize)? = Some(value.slice_ref(bytes));
        if seen.parts.iter().any(Option::is_none) {
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
        let lost = || PublishRefused::NotKept("it has no connection to NATS; try again".to_owned());
        self.reply.answer(if is_kept { Ok(self.published) } else { Err(lost()) });
        out.push(Effect::Release(self.held));
    }
}
