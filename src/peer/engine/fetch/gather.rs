//! Fetches a file from several holders at once. [`super::plan`] decides who is asked for what; this part asks them, and tells the
//! user what becomes of it.

mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wire::escape::Escaped;
use wire::pieces::{PIECE_BYTES, Piece, count};
use wire::protocol::{Refusal, ToServer, TransferId};
use wire::share::{Hit, PublishedFile};
use wire::signal::{FileAnswer, FileRequest, Reason, Route, Verdict};
use wire::{FileName, PeerName};

use super::super::Engine;
use super::super::contact::{Lookup, same_name};
use super::super::interface::{ClientId, Effect, TaskId, TransferOutcome};
use super::asking::QUEUE_WAIT;
use super::plan::{Fault, HolderId, Input, Plan, RunId, Step};
use super::{Cause, DISK_FULL, Fetch, STEP_WAIT, Stage, kept_rest};
use crate::peer::command::Ending;
use crate::peer::event::{Event, FileRoute, HolderFault, HolderPart};

/// A file with fewer pieces comes from one holder, because the requests would take longer than the file.
const PIECES_LEAST: u64 = 8;
/// The maximum number of holders. Each has a connection and a buffer of a piece for each of its requests.
const HOLDERS_MAX: usize = 8;
/// How long a holder may take to answer. One that was made before there were requests for pieces does not answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

struct Holder {
    hit: Hit,
    route: Route,
    /// Whether the server has said that it has its card, which every request needs.
    has_card: bool,
    /// Whether it has answered a request for pieces.
    has_answered: bool,
    /// Why it is not asked any more, if that is known.
    why: Option<String>,
    is_dropped: bool,
}

/// A request for pieces.
struct Asked {
    holder: HolderId,
    request: FileRequest,
    is_moving: bool,
    /// Whether its transfer was cancelled, so that its end says nothing about the holder.
    is_stopped: bool,
    /// The place in the holder's queue, as the client was told.
    place: Option<u32>,
    deadline: Option<Instant>,
}

pub(super) struct Gather {
    fetch: Fetch,
    holders: Vec<Holder>,
    /// `None` until the part is open.
    plan: Option<Plan>,
    asked: BTreeMap<RunId, Asked>,
    is_finishing: bool,
    /// When to give up if nothing is underway.
    idle_until: Option<Instant>,
    told_at: Option<Instant>,
}

impl Gather {
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let plan = self.plan.iter().filter(|_| !self.is_finishing).filter_map(Plan::deadline);
        self.asked.values().filter_map(|asked| asked.deadline).chain(plan).chain(self.idle_until)
    }

    fn best(&self) -> &Hit {
        &self.holders[0].hit
    }

    /// The name that the file gets here.
    fn name(&self) -> FileName {
        self.fetch.name(self.best()).clone()
    }

    fn run_of(&self, transfer: TransferId) -> Option<RunId> {
        self.asked.iter().find(|(_, asked)| asked.request.transfer == transfer).map(|(run, _)| *run)
    }
}

/// Whether a file of several holders is large enough from this byte on to be fetched from all of them.
pub(super) fn is_worth_gathering(best: &Hit, others: &[Hit], from: u64) -> bool {
    let has_other = others.iter().any(|other| !same_name(&other.peer, &best.peer));
    has_other && count(best.file.bytes.saturating_sub(from)) >= PIECES_LEAST
}

pub(in crate::peer::engine) fn is_large_enough(file: &PublishedFile) -> bool {
    count(file.bytes) >= PIECES_LEAST
}

impl Engine {
    /// Goes on with a fetch whose disk was checked, with all holders that are here.
    pub(super) fn start_gather(&mut self, task: TaskId) {
        let Some(mut fetch) = self.fetches.fetches.remove(&task) else { return };
        let Stage::Preparing(best) = &fetch.stage else { return };
        let mut hits = vec![best.clone()];
        for hit in std::mem::take(&mut fetch.others) {
            if hits.len() < HOLDERS_MAX && !hits.iter().any(|other| same_name(&other.peer, &hit.peer)) {
                hits.push(hit);
            }
        }
        self.local.effects.push(Effect::OpenPieces(task, fetch.download(&hits[0])));
        for hit in &hits {
            let contact = self.contacts.of(&hit.peer);
            contact.keep();
            contact.lookup = Lookup::Asked;
            self.local.say(&ToServer::Lookup { name: hit.peer.clone() });
        }
        let holders = hits.into_iter().map(|hit| Holder {
            route: if hit.address.is_some() { Route::Direct } else { Route::Server },
            hit,
            has_card: false,
            has_answered: false,
            why: None,
            is_dropped: false,
        });
        let gather = Gather {
            fetch,
            holders: holders.collect(),
            plan: None,
            asked: BTreeMap::new(),
            is_finishing: false,
            idle_until: None,
            told_at: None,
        };
        self.fetches.gathers.insert(task, gather);
    }

    pub(in crate::peer::engine) fn pieces_opened(
        &mut self,
        task: TaskId,
        opened: Result<Vec<Piece>, String>,
    ) {
        let Some(gather) = self.fetches.gathers.get_mut(&task) else {
            return self.local.effects.push(Effect::ClosePieces(task));
        };
        let file = &gather.best().file;
        match opened {
            Err(why) => self.fail_gather(task, &why),
            Ok(here) => {
                gather.plan = Some(Plan::new(file.bytes, file.sha256, gather.holders.len(), &here));
                let known = gather.holders.iter().enumerate().filter(|(_, holder)| holder.has_card);
                let known: Vec<HolderId> = known.map(|(id, _)| id).collect();
                // Before the plan is looked at, because without them there would be nobody to go on with.
                known.into_iter().for_each(|holder| self.plan(task, Input::Usable(holder)));
                self.plan(task, Input::Time);
            }
        }
    }

    pub(super) fn card_for_gathers(&mut self, name: &PeerName) {
        for task in self.gather_tasks(|_| true) {
            let Some(gather) = self.fetches.gathers.get_mut(&task) else { continue };
            let mut holders = gather.holders.iter_mut().enumerate();
            if let Some((id, holder)) = holders.find(|(_, holder)| same_name(&holder.hit.peer, name))
                && !std::mem::replace(&mut holder.has_card, true)
            {
                self.plan(task, Input::Usable(id));
            }
        }
    }

    fn gather_tasks(&self, of: impl Fn(&Gather) -> bool) -> Vec<TaskId> {
        self.fetches.gathers.iter().filter(|(_, gather)| of(gather)).map(|(task, _)| *task).collect()
    }

    /// Tells the plan what has happened, and does what it wants.
    fn plan(&mut self, task: TaskId, input: Input) {
        let (now, may_ask) = (self.local.now.instant, self.local.link.is_some());
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
            let Some(plan) = &mut gather.plan else { return };
            let mut steps = Vec::new();
            plan.handle(now, input, may_ask, &mut steps);
            for step in steps {
                match step {
                    Step::Ask { holder, run, pieces } => self.ask_for_pieces(task, holder, run, &pieces),
                    Step::Stop(run) => inputs.extend(self.stop_run(task, run)),
                    Step::Release(pieces) => self.local.effects.push(Effect::ReleasePieces(task, pieces)),
                    Step::Drop(holder, fault) => self.tell_dropped(task, holder, fault),
                    Step::Done => self.finish_gather(task),
                }
            }
        }
        self.look_at(task);
    }

    /// Shows the progress, and gives up if nobody is left.
    fn look_at(&mut self, task: TaskId) {
        let now = self.local.now.instant;
        let Some(gather) = self.fetches.gathers.get_mut(&task).filter(|gather| !gather.is_finishing) else {
            return;
        };
        let Some(plan) = &gather.plan else { return };
        let waits = gather.holders.iter().any(|holder| !holder.has_card && !holder.is_dropped);
        let is_over = !plan.can_go_on() && !waits;
        if !gather.asked.is_empty() {
            gather.idle_until = None;
        } else if gather.idle_until.is_none() {
            gather.idle_until = Some(now + STEP_WAIT);
        }
        if gather.told_at.is_none_or(|at| now.duration_since(at) >= PROGRESS_EVERY) {
            gather.told_at = Some(now);
            let file = &gather.holders[0].hit.file;
            let (name, done, total) = (gather.name(), plan.done_bytes(), file.bytes);
            self.local.tell(gather.fetch.client, Event::FileProgress { name, done, total });
        }
        if is_over {
            self.give_gather_up(task);
        }
    }

    fn finish_gather(&mut self, task: TaskId) {
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
        gather.is_finishing = true;
        gather.idle_until = None;
        let download = gather.fetch.download(gather.best());
        self.local.effects.push(Effect::FinishPieces(task, download));
    }

    pub(in crate::peer::engine) fn pieces_finished(
        &mut self,
        task: TaskId,
        finished: Result<PathBuf, String>,
    ) {
        let path = match finished {
            Ok(path) => path,
            Err(why) => return self.fail_gather(task, &why),
        };
        let Some(gather) = self.fetches.gathers.remove(&task) else { return };
        let Some(plan) = &gather.plan else { return };
        let (client, file) = (gather.fetch.client, &gather.best().file);
        let part = |(id, holder): (HolderId, &Holder)| HolderPart {
            from: holder.hit.peer.clone(),
            bytes: plan.given_by(id),
            route: holder.route.into(),
        };
        let mut holders: Vec<HolderPart> = gather.holders.iter().enumerate().map(part).collect();
        holders.retain(|holder| holder.bytes > 0);
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        let most = holders.first();
        let (from, route) =
            most.map_or((None, FileRoute::Here), |most| (Some(most.from.clone()), most.route));
        let (name, bytes, sha256, peers) = (gather.name(), file.bytes, file.sha256, holders.len());
        self.local.tell(client, Event::FileProgress { name: name.clone(), done: bytes, total: bytes });
        let done = Event::FileDone { path, bytes, sha256, from, peers, route };
        match gather.fetch.parent {
            Some(parent) => {
                self.local.tell(client, done);
                self.part_arrived(parent, task, &holders);
            }
            None => {
                self.local.tell(client, Event::FileHolders { name, holders });
                self.local.tell(client, done);
                self.local.end_task(task, Ending::Done);
            }
        }
    }

    /// Tells the user why a holder is not asked any more.
    fn tell_dropped(&mut self, task: TaskId, id: HolderId, fault: Fault) {
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
        let name = gather.name();
        let holder = &mut gather.holders[id];
        holder.is_dropped = true;
        let from = holder.hit.peer.clone();
        let shown = Escaped(name.as_str());
        let (fault, piece, reason) = match fault {
            Fault::Lied(piece) => {
                let reason = format!(
                    "{from} has sent a piece {piece} of {shown} that is not of this content; what {from} has sent is taken from \
                     others instead"
                );
                (HolderFault::Lied, Some(piece), reason)
            }
            Fault::Slow => {
                let reason =
                    format!("{from} sends {shown} far slower than the others; the rest is taken from them");
                (HolderFault::Slow, None, reason)
            }
            Fault::Fails | Fault::Left => {
                let why = holder.why.take().unwrap_or_else(|| "it is no longer here".into());
                (HolderFault::Gone, None, format!("{from} is not asked for {shown} any more: {why}"))
            }
        };
        let (client, parent) = (gather.fetch.client, gather.fetch.parent);
        if let Some(parent) = parent {
            self.part_without(parent, &from, fault);
        }
        self.local.tell(client, Event::FileHolderDropped { name, from, fault, piece, reason });
    }

    /// Nobody is left. A holder that was made before files came in pieces can send the whole file.
    fn give_gather_up(&mut self, task: TaskId) {
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
        let is_old = |holder: &&Holder| holder.is_dropped && holder.has_card && !holder.has_answered;
        let old = gather.holders.iter().find(is_old).map(|holder| holder.hit.clone());
        let name = gather.name();
        match old {
            Some(hit) if self.local.link.is_some() => {
                let Some(gather) = self.fetches.gathers.remove(&task) else { return };
                self.local.effects.push(Effect::ClosePieces(task));
                // Perhaps it can continue what one holder has begun.
                self.local.effects.push(Effect::Prepare(task, gather.fetch.download(&hit)));
                let stage = Stage::Preparing(hit);
                let fetch = Fetch { stage, is_whole: true, deadline: None, ..gather.fetch };
                self.fetches.fetches.insert(task, fetch);
            }
            _ => {
                let why = match &self.trouble {
                    Some(trouble) => format!("{trouble}; try again"),
                    None => "no holder is left that sends it; try again later".to_owned(),
                };
                // One of many is named by these.
                let is_part = gather.fetch.parent.is_some();
                let why = if is_part { why } else { format!("{}: {why}", Escaped(name.as_str())) };
                // During an outage of the server, nobody can be asked, so nobody is to blame.
                let cause = if self.local.link.is_none() { Cause::Server } else { Cause::File };
                self.fail_gather_because(task, &why, cause);
            }
        }
    }

    fn fail_gather(&mut self, task: TaskId, why: &str) {
        self.fail_gather_because(task, why, Cause::File);
    }

    fn fail_gather_because(&mut self, task: TaskId, why: &str, cause: Cause) {
        let Some(gather) = self.end_gather(task) else { return };
        let kept = gather.plan.as_ref().map_or(0, Plan::done_bytes);
        let rest = kept_rest(kept, gather.best().file.bytes);
        match gather.fetch.parent {
            Some(parent) => self.part_failed((parent, task), None, (why, &rest), cause),
            None => {
                self.local.tell(gather.fetch.client, Event::error(format!("{why}{rest}")));
                self.local.end_task(task, Ending::Failed);
            }
        }
    }

    /// Ends everything that is underway. What has arrived is kept.
    fn end_gather(&mut self, task: TaskId) -> Option<Gather> {
        let runs: Vec<RunId> = self.fetches.gathers.get(&task)?.asked.keys().copied().collect();
        for run in runs {
            self.stop_run(task, run);
        }
        let gather = self.fetches.gathers.remove(&task)?;
        self.local.effects.push(Effect::ClosePieces(task));
        Some(gather)
    }

    /// Cancels the fetches that `of` selects.
    pub(super) fn stop_gathers(&mut self, of: impl Fn(TaskId, ClientId) -> bool) {
        let gathers = self.fetches.gathers.iter();
        let is_wanted = |task: TaskId, fetch: &Fetch| of(fetch.parent.unwrap_or(task), fetch.client);
        let stopped = gathers.filter(|(task, gather)| is_wanted(**task, &gather.fetch));
        let tasks: Vec<TaskId> = stopped.map(|(task, _)| *task).collect();
        for task in tasks {
            let name = self.fetches.gathers.get(&task).map(|gather| gather.fetch.what()).unwrap_or_default();
            self.fail_gather(task, &format!("{name}: cancelled"));
        }
    }

    /// Drops holders that do not answer in time, and gives up when nothing is underway for long.
    pub(super) fn end_late_gathers(&mut self) {
        let now = self.local.now.instant;
        for task in self.gather_tasks(|gather| gather.deadlines().any(|at| at <= now)) {
            let Some(gather) = self.fetches.gathers.get_mut(&task) else { continue };
            let mut late = Vec::new();
            for asked in gather.asked.values().filter(|asked| asked.deadline.is_some_and(|at| at <= now)) {
                gather.holders[asked.holder].why = Some("it does not answer".into());
                late.push(asked.holder);
            }
            let is_idle = gather.idle_until.is_some_and(|at| at <= now);
            late.into_iter().for_each(|holder| self.plan(task, Input::Left(holder)));
            self.plan(task, Input::Time);
            if is_idle {
                self.give_gather_up(task);
            }
        }
    }
}
