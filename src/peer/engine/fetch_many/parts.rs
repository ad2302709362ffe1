//! The files that are fetched alone: large ones, and all of a holder that does not know requests for many.

use std::collections::BTreeSet;

use wire::Digest;

use super::*;
use crate::peer::engine::fetch::{Cause, is_large_enough};

/// How many files are fetched alone at the same time, unless that many holders have others to send.
const PARTS_LEAST: usize = 2;
const PARTS_MAX: usize = 8;

/// A file that is fetched alone.
pub(super) struct Part {
    pub(super) item: Item,
    /// Those who are asked for it.
    pub(super) from: Holders,
    /// Whether its transfer was cancelled because others can send it faster.
    pub(super) is_stopped: bool,
    /// When somebody was asked.
    started: Instant,
}

impl Many {
    /// Takes the next file to be fetched alone, and says from whom. Several holders send a file together if it is large enough.
    pub(super) fn next_part(&mut self) -> Option<(Item, Holders)> {
        let usable = self.usable().count();
        if self.parts.len() >= usable.clamp(PARTS_LEAST, PARTS_MAX) {
            return None;
        }
        let each = if usable == 1 { PARTS_LEAST } else { 1 };
        let of = |id| self.parts.values().filter(|part| part.from == Holders::of([id])).count();
        let is_free = |id: &HolderId| self.holders[*id].is_ready() && of(*id) < each;
        let gathers = self.parts.values().filter(|part| part.from.count() > 1).count();
        // A content has one place on the disk while it arrives, so other files of the same content come after it.
        let underway: BTreeSet<Digest> = self.parts.values().map(|part| part.item.file.sha256).collect();
        let may_be = |item: &Item| !underway.contains(&item.file.sha256);
        let mut found = None;
        for item in self.queue.first_large(may_be) {
            let chosen = self.chosen(item.holders);
            let from = if chosen.count() > 1 && is_large_enough(&item.file) {
                chosen
                    .ids()
                    .any(|id| self.holders[id].is_ready())
                    .then_some(chosen)
                    .filter(|_| gathers < PARTS_LEAST)
            } else {
                chosen.ids().filter(is_free).min_by_key(|id| of(*id)).map(|id| Holders::of([id]))
            };
            if let Some(from) = from {
                found = Some((item.holders, from));
                break;
            }
        }
        if let Some((holders, from)) = found {
            return self.queue.take_large(holders, may_be).map(|item| (item, from));
        }
        let mut alone = (0..self.holders.len()).filter(|id| !self.holders[*id].knows_many && is_free(id));
        let id = alone.next()?;
        self.queue.take_one_small(id, may_be).map(|item| (item, Holders::of([id])))
    }
}

impl Engine {
    pub(super) fn start_part(&mut self, task: TaskId, item: Item, from: Holders) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let hits = from.ids().map(|id| many.holders[id].hit(&item.file)).collect();
        let how = (many.client, many.output.clone(), many.existing);
        let id = self.local.next_task;
        self.local.next_task += 1;
        many.parts.insert(id, Part { item, from, is_stopped: false, started: self.local.now.instant });
        self.start_part_of_many((task, id), hits, how);
    }

    /// A file that is fetched alone waits in the queue of its holder. Whoever has nothing to do may send it.
    pub(in crate::peer::engine) fn part_waits(&mut self, task: TaskId, holder: &PeerName) {
        let until = self.local.now.instant + BUSY_MEMORY;
        self.note_busy(task, holder, Some(until));
        self.next_of_many(task);
    }

    /// A file that is fetched alone arrives.
    pub(in crate::peer::engine) fn part_moves(&mut self, task: TaskId, holder: &PeerName) {
        self.note_busy(task, holder, None);
    }

    fn note_busy(&mut self, task: TaskId, holder: &PeerName, until: Option<Instant>) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        if let Some(holder) = many.holders.iter_mut().find(|of| of.name == *holder) {
            holder.busy_until = until;
        }
    }

    /// A file that was fetched alone is here. Each of these has sent so much of it.
    pub(in crate::peer::engine) fn part_arrived(&mut self, task: TaskId, id: TaskId, given: &[HolderPart]) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(Part { item, from, started, .. }) = many.parts.remove(&id) else { return };
        many.counts.files_done += 1;
        many.counts.bytes_done += item.file.bytes;
        for part in given {
            if let Some(holder) = many.holders.iter_mut().find(|holder| holder.name == part.from) {
                (holder.failures, holder.given) = (0, holder.given + part.bytes);
            }
        }
        if let Some(alone) = from.ids().next().filter(|_| from.count() == 1) {
            let holder = &mut many.holders[alone];
            holder.cost += slow::cost(&item.file);
            holder.spent += self.local.now.instant.duration_since(started);
        }
        self.progress_of_many(task);
        self.next_of_many(task);
    }

    /// A file that was fetched alone has not arrived: the reason, and what the user could do about it. The holder that was asked last
    /// is given, if it was one.
    pub(in crate::peer::engine) fn part_failed(
        &mut self,
        (task, id): (TaskId, TaskId),
        asked: Option<&PeerName>,
        (why, advice): (&str, &str),
        cause: Cause,
    ) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(Part { mut item, from, is_stopped, .. }) = many.parts.remove(&id) else { return };
        // The end of a transfer that was stopped from here is no failure of its holder, whatever it looks like.
        let cause = if is_stopped { Cause::File } else { cause };
        if matches!(cause, Cause::File | Cause::Content | Cause::Lied) {
            // Of several holders, each was asked for all of it.
            from.ids().for_each(|holder| item.holders = item.holders.without(holder));
        }
        let asked = asked.and_then(|asked| many.holders.iter().position(|holder| holder.name == *asked));
        let lost = many.put_back(std::iter::once(item), &format!("{why}{advice}"));
        self.lose(task, lost);
        match (cause, asked) {
            (Cause::Holder | Cause::Refused, Some(holder)) => self.holder_failed(task, holder, why),
            (Cause::Absent, Some(holder)) => self.drop_from_many(task, holder, why),
            _ => {}
        }
        self.next_of_many(task);
    }

    /// Takes the requests for single files back of which nothing arrives: those to one holder, or all. Returns the files that nobody
    /// else can send, with the reason.
    pub(super) fn withdraw_parts(
        &mut self,
        task: TaskId,
        of: Option<HolderId>,
        why: &str,
    ) -> Vec<(Item, String)> {
        let mut lost = Vec::new();
        let Some(many) = self.fetches.many.get_mut(&task) else { return lost };
        let is_wanted = |part: &Part| of.is_none_or(|id| part.from == Holders::of([id]));
        let wanted = many.parts.iter().filter(|(_, part)| is_wanted(part));
        for part in wanted.map(|(part, _)| *part).collect::<Vec<TaskId>>() {
            if self.cancel_unsent(part)
                && let Some(many) = self.fetches.many.get_mut(&task)
                && let Some(Part { item, .. }) = many.parts.remove(&part)
            {
                lost.extend(many.put_back(std::iter::once(item), why));
            }
        }
        lost
    }

    /// A holder is not asked for the pieces of a file any more.
    pub(in crate::peer::engine) fn part_without(
        &mut self,
        task: TaskId,
        from: &PeerName,
        fault: HolderFault,
    ) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        if let Some(holder) = many.holders.iter_mut().find(|holder| holder.name == *from)
            && holder.standing == Standing::Good
            && fault != HolderFault::Gone
        {
            holder.standing = Standing::Avoided;
        }
    }
}
