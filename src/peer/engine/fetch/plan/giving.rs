//! Which pieces a holder gets next.

use std::ops::Range;
use std::time::Instant;

use wire::pieces::RUN_PIECES_MAX;

use super::{HolderId, Plan, Run, Stage, Step};

/// While a holder sends, it is asked for the next pieces already.
const RUNS_EACH: usize = 2;

impl Plan {
    /// Gives out pieces to whoever has little to do.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Vec<Step>) {
        // The others first, so that nobody gets a second request while another one has none.
        for runs in 0..RUNS_EACH {
            for holder in 0..self.holders.len() {
                if self.has_room(holder, runs)
                    && let Some(pieces) =
                        self.next_free().or_else(|| self.next_copy(holder).filter(|_| runs == 0))
                {
                    let (run, last) = (self.next_run, now);
                    self.next_run += 1;
                    let missing = pieces.clone().collect();
                    self.runs.insert(run, Run { holder, stage: Stage::Asked, missing, last });
                    out.push(Step::Ask { holder, run, pieces });
                }
            }
        }
    }

    /// Whether a holder that has this number of requests can get another one.
    fn has_room(&self, id: HolderId, runs: usize) -> bool {
        let holder = &self.holders[id];
        let mut theirs = self.runs.values().filter(|run| run.holder == id && run.stage != Stage::Stopped);
        holder.is_usable
            && holder.fault.is_none()
            && holder.busy_until.is_none()
            && theirs.clone().count() == runs
            && theirs.all(|run| run.stage == Stage::Sends && run.missing.len() <= self.run_pieces() / 2)
    }

    /// How many pieces a request is for: fewer when the file ends, so that all holders have done their part at the same time.
    fn run_pieces(&self) -> usize {
        let holders = self.holders.iter().filter(|holder| holder.is_usable && holder.fault.is_none()).count();
        let free = usize::try_from(self.untouched).unwrap_or(usize::MAX).saturating_add(self.returned.len());
        (free / (2 * holders.max(1))).clamp(1, RUN_PIECES_MAX)
    }

    /// Takes the last pieces that are with nobody.
    fn next_free(&mut self) -> Option<Range<u64>> {
        let most = self.run_pieces() as u64;
        if let Some(last) = self.returned.pop_last() {
            let mut first = last;
            while last - first + 1 < most && first > 0 && self.returned.remove(&(first - 1)) {
                first -= 1;
            }
            return Some(first..last + 1);
        }
        while self.untouched > 0 && self.held.contains_key(&(self.untouched - 1)) {
            self.untouched -= 1;
        }
        let end = self.untouched;
        while end - self.untouched < most
            && self.untouched > 0
            && !self.held.contains_key(&(self.untouched - 1))
        {
            self.untouched -= 1;
        }
        (self.untouched < end).then_some(self.untouched..end)
    }

    /// Pieces that another holder was asked for and has not sent. Whoever sends them first, they are here. So nobody waits for the
    /// slowest one at the end.
    fn next_copy(&self, holder: HolderId) -> Option<Range<u64>> {
        let is_out_once = |piece: &u64| self.runs.values().filter(|run| run.brings(*piece)).count() == 1;
        let others = self.runs.values().filter(|run| run.holder != holder);
        let slowest =
            others.max_by_key(|run| run.missing.iter().filter(|piece| is_out_once(piece)).count())?;
        let missing: Vec<u64> = slowest.missing.iter().copied().filter(is_out_once).collect();
        // It sends them in their order, so it comes to the last ones last.
        let (mut first, last) = (*missing.last()?, *missing.last()?);
        let wanted = missing.len().div_ceil(2) as u64;
        while last - first + 1 < wanted && first > 0 && missing.binary_search(&(first - 1)).is_ok() {
            first -= 1;
        }
        Some(first..last + 1)
    }
}
