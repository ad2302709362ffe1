//! What one holder has been asked for while others have nothing to do.

use super::*;

/// How long a holder may take at least before others who have nothing to do are asked instead, and how many times as long as they would
/// have taken.
const SLOW_LEAST: Duration = Duration::from_secs(5);
const SLOW_TIMES: u32 = 4;

impl Many {
    /// Those who have nothing to do.
    fn idle(&self) -> Holders {
        let has_work = |id: HolderId| {
            self.batches.values().any(|batch| batch.holder == id)
                || self.parts.values().any(|part| part.from.has(id))
        };
        let is_idle = |id: &HolderId| {
            let holder = &self.holders[*id];
            let may_be_asked = holder.is_ready() && holder.knows_many && holder.standing == Standing::Good;
            may_be_asked && holder.busy_until.is_none() && !has_work(*id)
        };
        Holders::of((0..self.holders.len()).filter(is_idle))
    }

    /// The requests for files that somebody has who has nothing to do.
    fn held_up(&self, state: State) -> Vec<TransferId> {
        let idle = self.idle();
        if idle.is_empty() || self.gives_up {
            return Vec::new();
        }
        let others_have =
            |batch: &Batch| batch.open.values().any(|item| !item.holders.among(idle).is_empty());
        let is_held_up = |batch: &Batch| batch.state == state && !batch.is_stopped && others_have(batch);
        self.batches.iter().filter(|(_, batch)| is_held_up(batch)).map(|(transfer, _)| *transfer).collect()
    }

    /// The files that somebody has who has nothing to do, and that one holder sends alone. Each comes with that holder.
    fn parts_held_up(&self) -> Vec<(TaskId, HolderId)> {
        let idle = self.idle();
        if idle.is_empty() || self.gives_up {
            return Vec::new();
        }
        let is_held_up = |part: &Part| {
            part.from.count() == 1 && !part.is_stopped && !part.item.holders.among(idle).is_empty()
        };
        let held_up = self.parts.iter().filter(|(_, part)| is_held_up(part));
        held_up.filter_map(|(id, part)| Some((*id, part.from.ids().next()?))).collect()
    }

    /// When something of this cost that arrives since then counts as slow, compared with the fastest of those who have nothing to do.
    /// `None` if none of them has sent anything.
    fn slow_at(&self, since: Instant, cost: u64) -> Option<Instant> {
        let of_one = |id: HolderId| {
            let Holder { cost: sent, spent, .. } = &self.holders[id];
            let nanoseconds = u128::from(cost) * spent.as_nanos() / u128::from((*sent).max(1));
            (*sent > 0).then(|| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
        };
        let fastest = self.idle().ids().filter_map(of_one).min()?;
        since.checked_add(fastest.saturating_mul(SLOW_TIMES).max(SLOW_LEAST))
    }
}

/// About what it costs to send a file: its bytes, and those that could be sent in the time that each file takes besides.
pub(super) fn cost(file: &PublishedFile) -> u64 {
    file.bytes.saturating_add(4 << 10)
}

/// Something that arrives while somebody else could send it.
struct HeldUp {
    transfer: TransferId,
    part: Option<TaskId>,
    holder: HolderId,
    slow_at: Instant,
}

impl Engine {
    /// Takes a request back that waits in the queue of its holder, if others could send the files now. Returns whether there was one.
    pub(super) fn recall_queued(&mut self, task: TaskId) -> bool {
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        let Some(transfer) = many.held_up(State::Queued).first().copied() else {
            return self.recall_queued_part(task);
        };
        let Some(id) = many.batches.get(&transfer).map(|batch| batch.holder) else { return false };
        // Otherwise the next request would go to it again, and wait again.
        many.holders[id].again_at = Some(self.local.now.instant + BUSY_WAIT);
        let holder = many.holders[id].name.clone();
        many.take_back(transfer);
        self.withdraw(&holder, transfer, Reason::Left);
        true
    }

    /// The same for a file that is fetched alone.
    fn recall_queued_part(&mut self, task: TaskId) -> bool {
        let again_at = self.local.now.instant + BUSY_WAIT;
        let Some(many) = self.fetches.many.get(&task) else { return false };
        let held_up = many.parts_held_up().into_iter().find(|(part, _)| self.fetches.is_queued(*part));
        let Some((part, id)) = held_up else { return false };
        if !self.cancel_unsent(part) {
            return false;
        }
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        many.holders[id].again_at = Some(again_at);
        if let Some(Part { item, .. }) = many.parts.remove(&part) {
            many.queue.put_back(item);
        }
        true
    }

    /// What arrives while somebody else could send it.
    fn held_up(&self, task: TaskId) -> Vec<HeldUp> {
        let Some(many) = self.fetches.many.get(&task) else { return Vec::new() };
        let batches = many.held_up(State::Moving).into_iter().filter_map(|transfer| {
            let Batch { holder, cost, moving_since, .. } = many.batches.get(&transfer)?;
            let slow_at = many.slow_at((*moving_since)?, *cost)?;
            Some(HeldUp { transfer, part: None, holder: *holder, slow_at })
        });
        let parts = many.parts_held_up().into_iter().filter_map(|(part, holder)| {
            let (transfer, since) = self.fetches.moving(part)?;
            let slow_at = many.slow_at(since, cost(&many.parts.get(&part)?.item.file))?;
            Some(HeldUp { transfer, part: Some(part), holder, slow_at })
        });
        batches.chain(parts).collect()
    }

    /// Notes when others have waited for too long for what a holder sends.
    pub(super) fn watch_slow(&mut self, task: TaskId) {
        let slow_at = self.held_up(task).iter().map(|held_up| held_up.slow_at).min();
        if let Some(many) = self.fetches.many.get_mut(&task) {
            many.slow_at = slow_at;
        }
    }

    /// Stops what others have waited for too long. They are asked for it when its end is reported.
    pub(super) fn stop_slow(&mut self, task: TaskId) {
        let now = self.local.now.instant;
        let held_up = self.held_up(task).into_iter();
        for HeldUp { transfer, part, holder, .. } in held_up.filter(|held_up| held_up.slow_at <= now) {
            let Some(many) = self.fetches.many.get_mut(&task) else { return };
            if let Some(part) = part.and_then(|part| many.parts.get_mut(&part)) {
                part.is_stopped = true;
            }
            if let Some(batch) = many.batches.get_mut(&transfer) {
                batch.is_stopped = true;
            }
            self.local.effects.push(Effect::StopReceive(transfer));
            self.avoid(task, holder, HolderFault::Slow, "sends far slower than the others");
        }
    }
}
