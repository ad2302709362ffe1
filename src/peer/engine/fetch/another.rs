//! When the holder of a file that is fetched alone does not send it, another one is asked for what is missing.
//!
//! These are the others that the search has found. When none of them is left, the server is asked for all who have the content, because
//! some may call it differently, or have come since.

use wire::PeerName;
use wire::escape::Escaped;
use wire::share::Hit;

use super::super::Engine;
use super::super::contact::same_name;
use super::super::interface::{Effect, TaskId};
use super::choosing::sort;
use super::{Cause, Fetch, STEP_WAIT, Stage};
use crate::peer::event::{Event, HolderFault, HolderPart};

/// How many holders are tried, so that a server that invents them does not keep a fetch busy for ever.
const TRIED_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Turns {
    /// Those who do not send it.
    failed: Vec<PeerName>,
    /// Why the last of them does not, until the user was told.
    untold: Option<(String, Cause)>,
    /// How much of what is here each has sent.
    pub(super) given: Vec<HolderPart>,
}

impl Turns {
    fn has_failed(&self, peer: &PeerName) -> bool {
        self.failed.iter().any(|failed| same_name(failed, peer))
    }

    /// Whether the server is asked who else has the file.
    pub(super) fn is_searching(&self) -> bool {
        self.untold.is_some()
    }
}

impl Fetch {
    /// Notes the first byte to request.
    pub(super) fn starts_at(&mut self, offset: u64) {
        self.offset = offset;
        if offset == 0 {
            // It was wrong.
            self.turns.given.clear();
        }
    }
}

impl Engine {
    /// Notes how many bytes of a file are here when its transfer has ended.
    pub(super) fn note_kept(&mut self, task: TaskId, kept: u64) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        if let Stage::Moving(hit, asked) = &fetch.stage
            && kept > asked.offset
        {
            let (from, bytes, route) = (hit.peer.clone(), kept - asked.offset, asked.wish.route().into());
            fetch.turns.given.push(HolderPart { from, bytes, route });
        }
        fetch.starts_at(kept);
    }

    /// Turns to another holder after a failure that says nothing about the others. Returns whether there may be one.
    pub(super) fn turn_to_another(&mut self, task: TaskId, why: &str, cause: Cause) -> bool {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return false };
        let is_of_holder = matches!(cause, Cause::Content | Cause::Lied | Cause::Holder | Cause::Absent);
        // Nobody can be asked without the server, and the fetch of many files chooses for its parts.
        let (is_part, may_ask) = (fetch.parent.is_some(), self.local.link.is_some());
        if !is_of_holder || is_part || !may_ask || fetch.turns.failed.len() + 1 >= TRIED_MAX {
            return false;
        }
        let Some(hit) = fetch.stage.hit().cloned() else { return false };
        if cause != Cause::Content {
            fetch.others.retain(|other| !same_name(&other.peer, &hit.peer));
        }
        if fetch.others.is_empty() && fetch.from.is_some() {
            return false;
        }
        // The file keeps its name, whatever the others call it.
        fetch.name.get_or_insert_with(|| hit.file.name.clone());
        fetch.turns.failed.push(hit.peer.clone());
        fetch.turns.untold = Some((why.to_owned(), cause));
        fetch.deadline = Some(self.local.now.instant + STEP_WAIT);
        let before = std::mem::replace(&mut fetch.stage, Stage::Holders(vec![hit]));
        let probe = std::mem::take(&mut fetch.probing).stop();
        let others = std::mem::take(&mut fetch.others);
        self.stop(&before);
        self.withdraw_probe(probe);
        if others.is_empty() {
            self.search_for(task);
        } else {
            self.turn_to(task, others);
        }
        true
    }

    /// Handles the answer to the search for others.
    pub(super) fn found_another(&mut self, task: TaskId, mut hits: Vec<Hit>) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        let Stage::Holders(named) = &fetch.stage else { return };
        let (file, me, turns) = (&named[0].file, &self.local.name, &fetch.turns);
        // A server could send anything.
        hits.retain(|hit| {
            let is_same = hit.file.sha256 == file.sha256 && hit.file.bytes == file.bytes;
            hit.online && is_same && !same_name(&hit.peer, me) && !turns.has_failed(&hit.peer)
        });
        sort(&mut hits);
        if hits.is_empty() {
            self.fail_without_others(task, true);
        } else {
            self.turn_to(task, hits);
        }
    }

    /// Asks the first of these holders, and keeps the others in mind.
    fn turn_to(&mut self, task: TaskId, mut hits: Vec<Hit>) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        let next = hits.remove(0);
        let name = fetch.name(&next).clone();
        if let (Some((why, cause)), Some(from)) = (fetch.turns.untold.take(), fetch.turns.failed.last()) {
            let fault = if cause == Cause::Lied { HolderFault::Lied } else { HolderFault::Gone };
            let reason = format!("{why}; {} is asked for {} instead", next.peer, Escaped(name.as_str()));
            let from = from.clone();
            self.local
                .tell(fetch.client, Event::FileHolderDropped { name, from, fault, piece: None, reason });
        }
        // What has come of it is looked for, and is not asked for again. There is no deadline, because that can take long.
        self.local.effects.push(Effect::Prepare(task, fetch.download(&next)));
        (fetch.deadline, fetch.place, fetch.moving_since) = (None, None, None);
        fetch.others = hits;
        fetch.stage = Stage::Preparing(next);
    }

    /// Fails because of the last holder. `is_known`: whether the server has said that there is no other one.
    pub(super) fn fail_without_others(&mut self, task: TaskId, is_known: bool) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        let Some((mut why, cause)) = fetch.turns.untold.take() else { return };
        if is_known {
            let what = fetch.what();
            why = format!("{why}; nobody else who is here has {}", Escaped(&what));
        }
        self.fail_finally(task, &why, cause);
    }
}
