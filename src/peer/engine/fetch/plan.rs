//! Which holder is asked for which pieces of a file, and what is believed of what they send.
//!
//! Pieces are given out from the end of the file to its start, because they are proved in this direction (see [`wire::pieces`]):
//! a piece is right if it leads to the link of the proved one behind it. So a piece that does not was not sent by an honest holder,
//! whatever all others have sent. A piece is also wrong if it does not lead to the link that its own holder names for the next one.

mod giving;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use wire::Digest;
use wire::pieces::{Chain, Link, PIECE_BYTES, Piece, bytes_of, count};

/// How long a holder may take for a piece at least before it counts as slow, and how many times the usual time of the others.
const SLOW_LEAST: Duration = Duration::from_secs(5);
const SLOW_TIMES: u32 = 8;
/// How many pieces another holder must have sent before its time says something.
const USUAL_PIECES: u32 = 4;
/// How often a transfer of a holder may fail without a piece between.
const FAILURES_MAX: u32 = 2;
/// When a holder without room for a request is asked again.
const BUSY_WAIT: Duration = Duration::from_secs(2);

pub(super) type RunId = u64;

/// A holder, by its number.
pub(super) type HolderId = usize;

/// What has happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input {
    /// A holder can be asked.
    Usable(HolderId),
    /// A request waits in the queue of its holder.
    Queued(RunId),
    /// The holder sends the pieces of a request.
    Sends(RunId),
    /// The holder has no room for the request.
    Busy(RunId),
    /// A piece has arrived.
    Arrived {
        run: RunId,
        piece: Piece,
        /// The link of the next piece, if the request is for that one too.
        next: Option<Link>,
        /// Whether it was written, and not there already.
        is_new: bool,
    },
    /// The transfer of a request has ended. Whether all was sent.
    Ended(RunId, bool),
    /// A request has come to nothing, and nobody is to blame.
    Lost(RunId),
    /// A holder cannot be used any more.
    Left(HolderId),
    /// Nothing but time has passed.
    Time,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Ask {
        holder: HolderId,
        run: RunId,
        pieces: Range<u64>,
    },
    /// The request is not wanted any more.
    Stop(RunId),
    /// What is on the disk of these pieces is wrong or doubtful. Others are written over it.
    Release(Vec<u64>),
    /// The holder is not asked any more.
    Drop(HolderId, Fault),
    /// All pieces are proved.
    Done,
}

/// Why a holder is not asked any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has sent this piece, which is not one of the content.
    Lied(u64),
    Slow,
    /// Its transfers end early.
    Fails,
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Queued,
    Sends,
    /// Whatever still arrives is welcome, but not waited for.
    Stopped,
}

#[derive(Debug)]
struct Run {
    holder: HolderId,
    stage: Stage,
    /// Those that have not arrived, from whomever.
    missing: BTreeSet<u64>,
    /// When the last piece has arrived, or the first one could begin.
    last: Instant,
}

impl Run {
    /// Whether this piece will arrive if its holder does its part.
    fn brings(&self, piece: u64) -> bool {
        matches!(self.stage, Stage::Asked | Stage::Sends) && self.missing.contains(&piece)
    }
}

#[derive(Debug, Clone, Default)]
struct Holder {
    is_usable: bool,
    fault: Option<Fault>,
    failures: u32,
    busy_until: Option<Instant>,
    /// How many pieces it has sent, and how long they took.
    pieces: u32,
    spent: Duration,
}

impl Holder {
    fn usual(&self) -> Option<Duration> {
        (self.pieces >= USUAL_PIECES).then(|| self.spent / self.pieces)
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    total: u64,
    /// Pieces from this one on are proved.
    proved: u64,
    /// The link at the first proved piece, or the digest of the file.
    link: Link,
    /// Those that are on the disk and not proved, and who has sent them; `None` if an earlier process has received them.
    held: BTreeMap<u64, (Piece, Option<HolderId>)>,
    /// Pieces below this one have never been given out.
    untouched: u64,
    /// Others that are to be given out.
    returned: BTreeSet<u64>,
    holders: Vec<Holder>,
    runs: BTreeMap<RunId, Run>,
    next_run: RunId,
    /// How many proved bytes each holder has sent.
    given: Vec<u64>,
    is_done: bool,
}

impl Plan {
    /// A file of this length and digest, and its pieces that are here already.
    pub(super) fn new(total: u64, sha256: Digest, holders: usize, here: &[Piece]) -> Self {
        let pieces = count(total);
        let here = here.iter().filter(|piece| piece.number < pieces);
        Self {
            total,
            proved: pieces,
            link: Link(sha256),
            held: here.map(|piece| (piece.number, (*piece, None))).collect(),
            untouched: pieces,
            returned: BTreeSet::new(),
            holders: vec![Holder::default(); holders],
            runs: BTreeMap::new(),
            next_run: 0,
            given: vec![0; holders],
            is_done: false,
        }
    }

    /// How many bytes are here, proved or not.
    pub(super) fn done_bytes(&self) -> u64 {
        let held = self.held.keys().map(|piece| self.bytes(*piece)).sum::<u64>();
        self.total - bytes_of(&(0..self.proved), self.total).end + held
    }

    /// How many proved bytes a holder has sent.
    pub(super) fn given_by(&self, holder: HolderId) -> u64 {
        self.given[holder]
    }

    /// Whether something is underway, or a holder could be asked.
    pub(super) fn can_go_on(&self) -> bool {
        !self.runs.is_empty() || self.holders.iter().any(|holder| holder.is_usable && holder.fault.is_none())
    }

    /// When [`Plan::handle`] must be called next, even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let slow = self.runs.values().filter_map(|run| self.slow_at(run));
        let busy = self.holders.iter().filter_map(|holder| holder.busy_until);
        slow.chain(busy).min()
    }

    /// Takes what has happened. With `may_ask`, gives out pieces.
    pub(super) fn handle(&mut self, now: Instant, input: Input, may_ask: bool, out: &mut Vec<Step>) {
        if self.is_done {
            return;
        }
        self.take(now, input, out);
        self.prove(out);
        if self.proved == 0 {
            self.is_done = true;
            let left = self.runs.iter().filter(|(_, run)| run.stage != Stage::Stopped);
            out.extend(left.map(|(run, _)| Step::Stop(*run)));
            return out.push(Step::Done);
        }
        self.drop_slow(now, out);
        for holder in &mut self.holders {
            holder.busy_until.take_if(|until| *until <= now);
        }
        if may_ask {
            self.ask(now, out);
        }
    }

    fn take(&mut self, now: Instant, input: Input, out: &mut Vec<Step>) {
        match input {
            Input::Usable(holder) => self.holders[holder].is_usable = true,
            Input::Queued(run) => self.wait(run),
            Input::Sends(run) => self.sends(now, run, out),
            Input::Busy(run) => {
                if let Some(run) = self.end(run) {
                    self.holders[run.holder].busy_until = Some(now + BUSY_WAIT);
                }
            }
            Input::Arrived { run, piece, next, is_new } => self.arrived(now, run, piece, next, is_new, out),
            Input::Ended(run, is_whole) => {
                let Some(run) = self.end(run) else { return };
                let holder = &mut self.holders[run.holder];
                if !is_whole && run.stage != Stage::Stopped {
                    holder.failures += 1;
                    if holder.failures >= FAILURES_MAX {
                        self.dismiss(run.holder, Fault::Fails, out);
                    }
                }
            }
            Input::Lost(run) => drop(self.end(run)),
            Input::Left(holder) => self.dismiss(holder, Fault::Left, out),
            Input::Time => {}
        }
    }

    /// The pieces of a request that waits are for others.
    fn wait(&mut self, run: RunId) {
        let Some(run) = self.runs.get_mut(&run).filter(|run| run.stage == Stage::Asked) else { return };
        run.stage = Stage::Queued;
        let missing = run.missing.clone();
        missing.into_iter().for_each(|piece| self.give_back(piece));
    }

    fn sends(&mut self, now: Instant, id: RunId, out: &mut Vec<Step>) {
        let (held, proved) = (&self.held, self.proved);
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.stage != Stage::Stopped) else { return };
        run.missing.retain(|piece| *piece < proved && !held.contains_key(piece));
        if run.missing.is_empty() {
            run.stage = Stage::Stopped;
            return out.push(Step::Stop(id));
        }
        (run.stage, run.last) = (Stage::Sends, now);
        for piece in &run.missing {
            self.returned.remove(piece);
        }
    }

    fn arrived(
        &mut self,
        now: Instant,
        id: RunId,
        piece: Piece,
        next: Option<Link>,
        is_new: bool,
        out: &mut Vec<Step>,
    ) {
        let Some(run) = self.runs.get_mut(&id) else {
            // Too late. It could be that of a liar.
            if is_new {
                self.release(vec![piece.number], out);
            }
            return;
        };
        let holder = run.holder;
        run.missing.remove(&piece.number);
        let took = now.duration_since(run.last);
        run.last = now;
        let is_liar = matches!(self.holders[holder].fault, Some(Fault::Lied(_)));
        let is_wrong = next.is_some_and(|next| next != piece.to)
            || (piece.number == 0 && piece.from != Chain::new().link());
        if is_new && (is_liar || is_wrong) {
            self.release(vec![piece.number], out);
        }
        if is_wrong {
            return self.dismiss(holder, Fault::Lied(piece.number), out);
        }
        let of = &mut self.holders[holder];
        (of.pieces, of.spent, of.failures) = (of.pieces + 1, of.spent + took, 0);
        if !is_new || is_liar {
            return;
        }
        self.held.insert(piece.number, (piece, Some(holder)));
        self.returned.remove(&piece.number);
        // Whoever was asked for it too has less to do.
        for (other, run) in &mut self.runs {
            let was_missing = run.missing.remove(&piece.number);
            if was_missing && run.missing.is_empty() && run.stage != Stage::Stopped {
                run.stage = Stage::Stopped;
                out.push(Step::Stop(*other));
            }
        }
    }

    /// Proves what leads to the proved pieces, and finds out what does not.
    fn prove(&mut self, out: &mut Vec<Step>) {
        while let Some(number) = self.proved.checked_sub(1)
            && let Some((piece, by)) = self.held.get(&number).copied()
        {
            if piece.to == self.link {
                self.held.remove(&number);
                (self.proved, self.link) = (number, piece.from);
                if let Some(by) = by {
                    self.given[by] += self.bytes(number);
                }
            } else if let Some(by) = by {
                self.dismiss(by, Fault::Lied(number), out);
            } else {
                self.discard(None, out);
            }
        }
        self.untouched = self.untouched.min(self.proved);
    }

    /// Does not ask a holder any more. What a liar has sent and is not proved is received again.
    fn dismiss(&mut self, id: HolderId, fault: Fault, out: &mut Vec<Step>) {
        let holder = &mut self.holders[id];
        // A lie is told even if the holder was dropped already.
        let is_lie = matches!(fault, Fault::Lied(_));
        if matches!(holder.fault, Some(Fault::Lied(_))) || (holder.fault.is_some() && !is_lie) {
            return;
        }
        holder.fault = Some(fault);
        out.push(Step::Drop(id, fault));
        let runs: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.holder == id).map(|(id, _)| *id).collect();
        for id in runs {
            self.stop(id, out);
        }
        if is_lie {
            self.discard(Some(id), out);
        }
        self.forgive();
    }

    /// A slow holder is better than none.
    fn forgive(&mut self) {
        let is_left = |holder: &Holder| holder.is_usable && holder.fault.is_none();
        if !self.holders.iter().any(is_left) {
            let slow = self.holders.iter_mut().filter(|holder| holder.fault == Some(Fault::Slow));
            slow.for_each(|holder| holder.fault = None);
        }
    }

    /// Receives the pieces again that a holder, or an earlier process, has left here.
    fn discard(&mut self, by: Option<HolderId>, out: &mut Vec<Step>) {
        let theirs = self.held.extract_if(.., |_, (_, of)| *of == by).map(|(number, _)| number).collect();
        self.release(theirs, out);
    }

    fn release(&mut self, pieces: Vec<u64>, out: &mut Vec<Step>) {
        for piece in &pieces {
            self.give_back(*piece);
        }
        if !pieces.is_empty() {
            out.push(Step::Release(pieces));
        }
    }

    fn stop(&mut self, id: RunId, out: &mut Vec<Step>) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.stage != Stage::Stopped) else { return };
        run.stage = Stage::Stopped;
        let missing = run.missing.clone();
        out.push(Step::Stop(id));
        missing.into_iter().for_each(|piece| self.give_back(piece));
    }

    fn end(&mut self, id: RunId) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        run.missing.iter().for_each(|piece| self.give_back(*piece));
        Some(run)
    }

    /// Gives a piece out again, unless it is here or comes from somebody else.
    fn give_back(&mut self, piece: u64) {
        let is_here = piece >= self.proved || self.held.contains_key(&piece);
        if piece >= self.untouched && !is_here && !self.runs.values().any(|run| run.brings(piece)) {
            self.returned.insert(piece);
        }
    }

    /// When a holder counts as slow if no piece arrives until then: only in comparison with others.
    fn slow_at(&self, run: &Run) -> Option<Instant> {
        if run.stage != Stage::Sends {
            return None;
        }
        let others = self.holders.iter().enumerate();
        let others = others.filter(|(id, holder)| *id != run.holder && holder.fault.is_none());
        let mut usual: Vec<Duration> = others.filter_map(|(_, holder)| holder.usual()).collect();
        usual.sort_unstable();
        let usual = usual.get(usual.len() / 2)?;
        Some(run.last + (*usual * SLOW_TIMES).max(SLOW_LEAST))
    }

    fn drop_slow(&mut self, now: Instant, out: &mut Vec<Step>) {
        // One after the other, because the last one that is left is compared with nobody.
        while let Some(slow) =
            self.runs.values().find(|run| self.slow_at(run).is_some_and(|at| at <= now)).map(|run| run.holder)
        {
            self.dismiss(slow, Fault::Slow, out);
        }
    }

    fn bytes(&self, piece: u64) -> u64 {
        debug_assert!(piece < count(self.total));
        (self.total - piece * PIECE_BYTES).min(PIECE_BYTES)
    }
}

#[cfg(test)]
mod tests;
