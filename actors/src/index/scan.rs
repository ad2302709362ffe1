//! Searches by a pattern, for which the names of many files are compared. Each looks at some of them, and then it is the turn of others,
//! because nobody may wait as long as a million names take.

use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::time::Instant;

use wire::pattern::{Matcher, Pattern};
use wire::{FileName, PeerName, Query};

use super::catalog::{FileId, OwnerId};
use super::core::Core;
use crate::commands::index::{AskerSees, FindRefused, Found, HITS_MAX, SearchAnswer};
use crate::runtime::Reply;

/// How many files are looked at between two batches of commands.
const STEPS_AT_ONCE: usize = 50_000;

/// About how many files could be looked at in the time that it takes to compare the whole name of one.
const MATCH_STEPS: usize = 8;

/// For long names: of how many bytes each counts as much as one file that is looked at.
const MATCH_STEP_BYTES: usize = 4;

/// The maximum number of files that are looked at for the holders of a pattern: others who ask for some wait meanwhile.
const HOLDERS_STEPS_MAX: usize = 4_000_000;

/// The maximum number of searches that go on, as many as commands in the mailbox. Each takes about 20 KiB.
const SCANS_MAX: usize = 256;

/// What is wanted.
pub(super) enum Goal {
    /// One file of each peer that has some, and how many files may still be looked at for that.
    Holders { found: Vec<(OwnerId, FileId)>, steps_left: usize },
    /// The files of one peer.
    Names {
        from: PeerName,
        after: Option<FileName>,
        /// The first ones after that name, as many as are wanted, the last of them on top.
        first: BinaryHeap<(FileName, FileId)>,
        /// How many there are in all.
        total: u64,
    },
}

pub(super) struct Scan {
    pattern: Pattern,
    matcher: Matcher,
    limit: usize,
    asker: AskerSees,
    reply: Reply<SearchAnswer>,
    goal: Goal,
    /// The files of peers before this one were looked at, and those of this one before this file. Both may have gone meanwhile.
    at: (OwnerId, FileId),
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("pattern", &self.pattern).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Goal {
    /// That of a search by a pattern, with the pattern. Any other search is given back.
    pub(super) fn of(query: Query) -> Result<(Pattern, Self), Query> {
        match query {
            Query::Holders { pattern } => {
                Ok((pattern, Self::Holders { found: Vec::new(), steps_left: HOLDERS_STEPS_MAX }))
            }
            Query::Names { from, pattern, after } => {
                Ok((pattern, Self::Names { from, after, first: BinaryHeap::new(), total: 0 }))
            }
            query => Err(query),
        }
    }
}

impl Scan {
    pub(super) fn new(
        (pattern, goal): (Pattern, Goal),
        limit: u32,
        asker: AskerSees,
        reply: Reply<SearchAnswer>,
    ) -> Self {
        let (matcher, limit) = (Matcher::new(&pattern), limit.min(HITS_MAX) as usize);
        Self { pattern, matcher, limit, asker, reply, goal, at: (0, 0) }
    }

    /// With so many files to be looked at for holders.
    #[cfg(test)]
    pub(super) fn of_steps(mut self, steps: usize) -> Self {
        if let Goal::Holders { steps_left, .. } = &mut self.goal {
            *steps_left = steps;
        }
        self
    }
}

/// The searches that go on, and how many files may be looked at before the next commands.
#[derive(Debug)]
pub(super) struct Scans {
    waiting: VecDeque<Scan>,
    steps_left: usize,
    steps_at_once: usize,
}

impl Default for Scans {
    fn default() -> Self {
        Self::of_steps(STEPS_AT_ONCE)
    }
}

impl Scans {
    pub(super) fn of_steps(steps_at_once: usize) -> Self {
        Self { waiting: VecDeque::new(), steps_left: steps_at_once, steps_at_once }
    }
}

impl Core {
    /// Begins a search. Without room for another one, its asker gets no answer.
    pub(super) fn start_scan(&mut self, scan: Scan) {
        if self.scans.waiting.len() < SCANS_MAX {
            self.scans.waiting.push_back(scan);
            self.scan();
        }
    }

    /// Lets the searches go on, after a batch of commands. Returns whether some have not come to their end.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        self.scans.waiting.retain(|scan| !scan.reply.has_expired(now));
        self.scans.steps_left = self.scans.steps_at_once;
        self.scan();
        !self.scans.waiting.is_empty()
    }

    /// Looks at as many files as there are steps, for one search after the other.
    fn scan(&mut self) {
        while self.scans.steps_left > 0
            && let Some(mut scan) = self.scans.waiting.pop_front()
        {
            let mut steps = self.scans.steps_left;
            match self.advance(&mut scan, &mut steps) {
                Some(answer) => scan.reply.answer(answer),
                None => self.scans.waiting.push_back(scan),
            }
            self.scans.steps_left = steps;
        }
    }

    /// Goes on with a search until it has its answer or there are no steps left.
    fn advance(&self, scan: &mut Scan, steps: &mut usize) -> Option<SearchAnswer> {
        let owner = match &scan.goal {
            Goal::Holders { .. } => self.peers.at_or_after(scan.at.0),
            Goal::Names { from, .. } => self.peers.find(from),
        };
        let Some(mut owner) = owner else { return Some(Ok(self.ended(scan))) };
        loop {
            if !self.look_at(owner, scan, steps)? {
                return Some(Err(FindRefused::ManyNames));
            }
            scan.at = (owner + 1, FileId::MIN);
            let next = match &scan.goal {
                Goal::Holders { .. } => self.peers.at_or_after(scan.at.0),
                Goal::Names { .. } => None,
            };
            let Some(next) = next else { return Some(Ok(self.ended(scan))) };
            owner = next;
        }
    }

    /// Looks at the files of a peer. Returns whether that may go on with the next one; `None` if there are no steps left.
    fn look_at(&self, owner: OwnerId, scan: &mut Scan, steps: &mut usize) -> Option<bool> {
        let Scan { pattern, matcher, limit, asker, goal, at, .. } = scan;
        let (viewer, (start, end)) = (self.viewer(asker), pattern.ends());
        // That of another peer counts nothing.
        let first = if matches!(goal, Goal::Names { .. }) || at.0 == owner { at.1 } else { FileId::MIN };
        for id in self.peers.get(owner).files.range(first..) {
            if *steps == 0 {
                *at = (owner, *id);
                return None;
            }
            let name = self.catalog.name(*id);
            let may_match = name.starts_with(start) && name.ends_with(end);
            let cost = if may_match { MATCH_STEPS.max(name.len() / MATCH_STEP_BYTES) } else { 1 };
            *steps = steps.saturating_sub(cost);
            if let Goal::Holders { steps_left, .. } = goal {
                match steps_left.checked_sub(cost) {
                    Some(left) => *steps_left = left,
                    None => return Some(false),
                }
            }
            if !(may_match && matcher.matches(name) && viewer.sees(*id)) {
                continue;
            }
            match goal {
                Goal::Holders { found, .. } => {
                    found.push((owner, *id));
                    break;
                }
                Goal::Names { after, first, total, .. } => {
                    *total += 1;
                    let is_after = after.as_ref().is_none_or(|after| name > after.as_str());
                    let is_first =
                        first.len() < *limit || first.peek().is_some_and(|(last, _)| name < last.as_str());
                    if is_after && is_first {
                        first.push((self.catalog.file_name(*id), *id));
                        if first.len() > *limit {
                            first.pop();
                        }
                    }
                }
            }
        }
        Some(true)
    }

    /// What a search has found, without what has changed while others had their turns.
    fn ended(&self, scan: &mut Scan) -> Found {
        let Scan { matcher, limit, asker, goal, .. } = scan;
        let viewer = self.viewer(asker);
        let is_there = |owner: OwnerId, id: FileId| {
            let is_theirs = self.peers.try_get(owner).is_some_and(|peer| peer.files.contains(&id));
            is_theirs && matcher.matches(self.catalog.name(id)) && viewer.sees(id)
        };
        match goal {
            Goal::Holders { found, .. } => {
                found.retain(|(owner, id)| is_there(*owner, *id));
                let ids: Vec<FileId> = found.iter().map(|(_, id)| *id).collect();
                let total = ids.len() as u64;
                self.hits(ids, total, *limit, asker)
            }
            Goal::Names { from, first, total, .. } => {
                let Some(owner) = self.peers.find(from) else { return Found::default() };
                // Ids of what has gone may be those of others.
                let is_same = |(name, id): &(FileName, FileId)| {
                    is_there(owner, *id) && self.catalog.name(*id) == name.as_str()
                };
                let first = std::mem::take(first).into_iter().filter(is_same);
                self.hits(first.map(|(_, id)| id).collect(), *total, *limit, asker)
            }
        }
    }
}
