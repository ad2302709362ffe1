//! What one holder has been asked for while others have nothing to do.

use super::*;

/// For how long others wait for what a holder sends before they are asked for it.
const SLOW_WAIT: Duration = Duration::from_secs(5);

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
            may_be_asked && !has_work(*id)
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
}

impl Engine {
    /// Takes a request back that waits in the queue of its holder, if others could send the files now. Returns whether there was one.
    pub(super) fn recall_queued(&mut self, task: TaskId) -> bool {
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        let Some(transfer) = many.held_up(State::Queued).first().copied() else { return false };
        let Some(id) = many.batches.get(&transfer).map(|batch| batch.holder) else { return false };
        let holder = many.holders[id].name.clone();
        many.take_back(transfer);
        self.withdraw(&holder, transfer, Reason::Left);
        true
    }

    /// Notes whether others wait for what a holder sends.
    pub(super) fn watch_slow(&mut self, task: TaskId) {
        let until = self.local.now.instant + SLOW_WAIT;
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.slow_at =
            if many.held_up(State::Moving).is_empty() { None } else { many.slow_at.or(Some(until)) };
    }

    /// Stops what others have waited for too long. They are asked for it when its end is reported.
    pub(super) fn stop_slow(&mut self, task: TaskId) {
        let now = self.local.now.instant;
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        if many.slow_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for transfer in many.held_up(State::Moving) {
            let Some(many) = self.fetches.many.get_mut(&task) else { return };
            let Some(batch) = many.batches.get_mut(&transfer) else { continue };
            batch.is_stopped = true;
            let holder = batch.holder;
            self.local.effects.push(Effect::StopReceive(transfer));
            self.avoid(task, holder, HolderFault::Slow, "sends far slower than the others");
        }
    }
}
