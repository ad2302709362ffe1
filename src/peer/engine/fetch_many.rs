//! Fetches the files whose names a pattern describes: small ones many at a time over one connection, large ones each alone. Unless the
//! user names a holder, they come from all who have them, at the same time.

mod holders;
mod listing;
mod moving;
mod parts;
mod queue;
mod slow;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wire::escape::Escaped;
use wire::many::{ManyRequest, WantedFile};
use wire::pattern::Pattern;
use wire::protocol::{ToServer, TransferId};
use wire::share::PublishedFile;
use wire::signal::Reason;
use wire::{FileName, PeerName};

use super::Engine;
use super::contact::Lookup;
use super::fetch::Fetches;
use super::interface::{ClientId, Download, Effect, Prepared, TaskId};
use crate::peer::command::{Ending, Existing};
use crate::peer::event::{Answer, Event, FileRoute, HolderFault, HolderPart};
use holders::{Holder, HolderId, Holders, Standing};
use parts::Part;
use queue::Queue;

/// How long the server may take for each part of the lists, and for the cards of the holders.
const STEP_WAIT: Duration = Duration::from_secs(15);
/// How long a holder may take to answer a request for many files. One that was made before there were such requests does not
/// answer, and is asked for each file alone.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// For how long a holder in whose queue a request had to wait is not taken for one that has nothing to do. Otherwise a request would go
/// back and forth between two busy holders, and never keep a place.
const BUSY_MEMORY: Duration = Duration::from_secs(60);
/// How long to wait until a holder whose queue is full is asked again, and for how long without a file to go on asking.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const STUCK_WAIT: Duration = Duration::from_secs(60);
/// Larger files go alone, because they can be continued after an interruption then. A few smaller ones are in memory at the same
/// time.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// How many of its transfers in a row may fail before a holder is not asked any more.
const FAILURES_MAX: u32 = 2;

/// A file to fetch.
struct Item {
    file: PublishedFile,
    /// Those who have it and have not failed to send it.
    holders: Holders,
}

enum Stage {
    /// The server is asked who has such files.
    Finding,
    /// It is asked for those of one holder after the other.
    Listing(HolderId),
    Preparing,
    Moving,
}

/// A request for many files.
struct Batch {
    holder: HolderId,
    request: ManyRequest,
    /// Those that were neither received nor have failed.
    open: BTreeMap<usize, Item>,
    /// How often its holder had failed when it was requested, see [`Holder::failed`].
    failed_before: u32,
    state: State,
    /// Whether its transfer was cancelled, so that its end says nothing about the holder.
    is_stopped: bool,
    /// What all of it costs, and since when it arrives.
    cost: u64,
    moving_since: Option<Instant>,
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    /// It waits in the queue of the holder.
    Queued,
    Moving,
}

impl Batch {
    /// Whether it waits in the queue of the holder, or would have to.
    fn may_wait(&self) -> bool {
        self.state != State::Moving && self.request.wish.may_wait()
    }
}

/// A file, as the lists have it.
struct Listed {
    file: PublishedFile,
    holders: Holders,
    /// Those who have another file of this name.
    others: Holders,
}

pub(super) struct Many {
    client: ClientId,
    pattern: Pattern,
    /// The only holder, if the user has named one.
    from: Option<PeerName>,
    holders: Vec<Holder>,
    output: Option<PathBuf>,
    existing: Existing,
    stage: Stage,
    listed: BTreeMap<FileName, Listed>,
    /// The files whose places on the disk are looked at.
    items: Vec<Item>,
    queue: Queue,
    batches: BTreeMap<TransferId, Batch>,
    /// The files that are fetched alone.
    parts: BTreeMap<TaskId, Part>,
    counts: Counts,
    /// Whether what fails is not asked for again.
    gives_up: bool,
    deadline: Option<Instant>,
    /// When something that arrives counts as slow, because others have nothing to do.
    slow_at: Option<Instant>,
    /// When the last file has arrived or failed.
    progress_at: Instant,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    files: u64,
    bytes: u64,
    files_done: u64,
    bytes_done: u64,
    here: u64,
    failed: u64,
    /// How often somebody was left out, see [`listing`]. So it is not known whether all files are here.
    left_out: u64,
}

impl Many {
    fn download(&self, file: &PublishedFile) -> Download {
        Download {
            name: file.name.clone(),
            here: file.name.clone(),
            bytes: file.bytes,
            sha256: file.sha256,
            output: self.output.clone(),
            existing: self.existing,
        }
    }

    /// The pattern in the place of a file, for events.
    fn name(&self) -> FileName {
        self.pattern.as_str().parse().expect("a pattern is the name of a file")
    }

    fn usable(&self) -> Holders {
        Holders::of((0..self.holders.len()).filter(|holder| self.holders[*holder].is_usable()))
    }

    /// Who of some holders is asked: those in good standing, or, if there are none, the others that can be asked.
    fn chosen(&self, of: Holders) -> Holders {
        let usable = self.usable();
        let is_good = |holder: &HolderId| self.holders[*holder].standing == Standing::Good;
        let good = Holders::of(of.among(usable).ids().filter(is_good));
        if good.is_empty() { of.among(usable) } else { good }
    }

    fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.parts.is_empty()
    }

    /// Whether files are arriving.
    fn is_moving(&self) -> bool {
        !self.parts.is_empty() || self.batches.values().any(|batch| batch.state == State::Moving)
    }

    fn is_over(&self) -> bool {
        self.is_idle() && self.queue.is_empty()
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let is_waiting = self.is_idle() && matches!(self.stage, Stage::Moving);
        let stuck = is_waiting.then(|| self.progress_at + STUCK_WAIT);
        let batches = self.batches.values().filter_map(|batch| batch.deadline);
        let again = self.holders.iter().flat_map(|holder| [holder.again_at, holder.busy_until]).flatten();
        batches.chain(again).chain(self.deadline).chain(self.slow_at).chain(stuck)
    }

    /// Puts files back that were not sent. Returns those that nobody can send, with the reason.
    fn put_back(&mut self, items: impl DoubleEndedIterator<Item = Item>, why: &str) -> Vec<(Item, String)> {
        let usable = self.usable();
        let mut lost = Vec::new();
        for item in items.rev() {
            if self.gives_up || item.holders.among(usable).is_empty() {
                lost.push((item, why.to_owned()));
            } else {
                self.queue.put_back(item);
            }
        }
        lost
    }

    /// Takes the files of a request back that has not led to a transfer, and for which nobody is to blame.
    fn take_back(&mut self, transfer: TransferId) {
        let Some(batch) = self.batches.remove(&transfer) else { return };
        batch.open.into_values().rev().for_each(|item| self.queue.put_back(item));
    }

    /// Who does not send anything although files wait.
    fn who_is_busy(&self) -> String {
        match &self.holders[..] {
            [holder] => format!("{} is busy", holder.name),
            _ => "those who have the rest are busy".to_owned(),
        }
    }

    /// How much each has sent.
    fn given(&self) -> Vec<HolderPart> {
        let mut given: Vec<HolderPart> =
            self.holders.iter().map(Holder::part).filter(|part| part.bytes > 0).collect();
        given.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        given
    }
}

impl Fetches {
    /// The fetch that a transfer of many files belongs to.
    fn many_of(&mut self, transfer: TransferId) -> Option<(TaskId, &mut Many)> {
        let mut all = self.many.iter_mut();
        all.find(|(_, many)| many.batches.contains_key(&transfer)).map(|(task, many)| (*task, many))
    }
}

fn wanted(file: &PublishedFile) -> WantedFile {
    WantedFile { name: file.name.clone(), sha256: file.sha256 }
}

fn named(name: &FileName, why: &str) -> String {
    format!("{}: {why}", Escaped(name.as_str()))
}

impl Engine {
    /// Goes on after a new connection.
    pub(super) fn resume_many(&mut self) {
        let tasks: Vec<TaskId> = self.fetches.many.keys().copied().collect();
        for task in tasks {
            match self.fetches.many.get(&task).map(|many| &many.stage) {
                Some(Stage::Finding | Stage::Listing(_)) => self.list_many(task),
                Some(Stage::Moving) => {
                    self.look_up_for_many(task);
                    self.repeat_queued(task);
                    self.next_of_many(task);
                }
                Some(Stage::Preparing) | None => {}
            }
        }
    }

    /// Continues when the disk was checked.
    pub(super) fn prepared_many(
        &mut self,
        task: TaskId,
        prepared: Result<Vec<Result<Prepared, String>>, String>,
    ) {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(why) => {
                self.fail_many(task, &why);
                return;
            }
        };
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.stage = Stage::Moving;
        let (client, usable) = (many.client, many.usable());
        let (mut events, mut absent) = (Vec::new(), Vec::new());
        for (item, prepared) in std::mem::take(&mut many.items).into_iter().zip(prepared) {
            match prepared {
                Ok(Prepared::Here(path)) => {
                    let (bytes, sha256, route) = (item.file.bytes, item.file.sha256, FileRoute::Here);
                    many.counts.here += 1;
                    many.counts.files_done += 1;
                    many.counts.bytes_done += bytes;
                    events.push(Event::FileDone { path, bytes, sha256, from: None, peers: 0, route });
                }
                Ok(_) if item.holders.among(usable).is_empty() => {
                    let mut away = item.holders.ids().map(|holder| many.holders[holder].name.to_string());
                    let who = away.next().unwrap_or_default();
                    absent.push((item, format!("{who} is not here now; try again when they are")));
                }
                Ok(prepared) => many.queue.add(item, &prepared),
                Err(why) => {
                    many.counts.failed += 1;
                    events.push(Event::error(why));
                }
            }
        }
        self.progress_of_many(task);
        events.into_iter().for_each(|event| self.local.tell(client, event));
        self.lose(task, absent);
        self.look_up_for_many(task);
        self.next_of_many(task);
    }

    /// Asks for the cards that are missing.
    fn look_up_for_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        if many.queue.is_empty() {
            return;
        }
        for holder in many.holders.iter().filter(|holder| holder.is_usable() && !holder.has_card) {
            many.deadline = Some(self.local.now.instant + STEP_WAIT);
            let contact = self.contacts.of(&holder.name);
            contact.keep();
            contact.lookup = Lookup::Asked;
            self.local.say(&ToServer::Lookup { name: holder.name.clone() });
        }
    }

    /// Continues with the card of a peer.
    pub(super) fn card_for_many(&mut self, name: &PeerName) {
        let tasks: Vec<TaskId> = self.fetches.many.keys().copied().collect();
        for task in tasks {
            let Some(many) = self.fetches.many.get_mut(&task) else { continue };
            let mut holders = many.holders.iter_mut();
            if let Some(holder) = holders.find(|holder| super::contact::same_name(&holder.name, name)) {
                holder.has_card = true;
            }
            if many.holders.iter().all(|holder| holder.has_card || !holder.is_usable()) {
                many.deadline.take_if(|_| matches!(many.stage, Stage::Moving));
            }
            self.next_of_many(task);
        }
    }

    fn end_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.remove(&task) else { return };
        let Counts { files, files_done, here, failed, bytes_done: bytes, left_out, .. } = many.counts;
        let (holders, name) = (many.given(), many.name());
        let peers = holders.len();
        let from = many.from.clone().or_else(|| holders.first().map(|most| most.from.clone()));
        if peers > 1 {
            self.local.tell(many.client, Event::FileHolders { name, holders });
        }
        let answer = Answer::Fetched { from, peers, files, files_done, here, failed, bytes };
        self.local.tell(many.client, Event::Result(answer));
        self.local.end_task(task, if failed + left_out == 0 { Ending::Done } else { Ending::Failed });
    }

    /// Gives up files, with one error for all that fail for the same reason.
    fn lose(&mut self, task: TaskId, lost: Vec<(Item, String)>) {
        let Some(many) = self.fetches.many.get_mut(&task).filter(|_| !lost.is_empty()) else { return };
        many.counts.failed += lost.len() as u64;
        let mut reasons = BTreeMap::<String, Vec<FileName>>::new();
        for (item, why) in lost {
            reasons.entry(why).or_default().push(item.file.name);
        }
        for (why, names) in reasons {
            let error = match &names[..] {
                [name] => named(name, &why),
                names => format!("{} file(s) were not fetched: {why}", names.len()),
            };
            self.local.tell(many.client, Event::error(error));
        }
        self.progress_of_many(task);
    }

    /// Does not ask a holder any more. What it has begun to send goes on.
    fn drop_from_many(&mut self, task: TaskId, id: HolderId, why: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let holder = &mut many.holders[id];
        if std::mem::replace(&mut holder.standing, Standing::Dropped) == Standing::Dropped {
            return;
        }
        if !many.usable().is_empty() {
            let from = many.holders[id].name.clone();
            let reason =
                format!("{from} is not asked for {} any more: {why}", Escaped(many.pattern.as_str()));
            let (name, fault, client) = (many.name(), HolderFault::Gone, many.client);
            self.local.tell(client, Event::FileHolderDropped { name, from, fault, piece: None, reason });
        }
        self.withdraw_batches(task, Some(id));
        let why = format!("{why}; the same command fetches the rest");
        let mut lost = self.withdraw_parts(task, Some(id), &why);
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let waiting = many.queue.take_without(many.usable());
        lost.extend(waiting.into_iter().map(|item| (item, why.clone())));
        self.lose(task, lost);
    }

    /// Gives up what is not underway, with one error. Returns whether the task is such a fetch.
    pub(super) fn fail_many(&mut self, task: TaskId, why: &str) -> bool {
        // Before it gives up, so that they come into the queue and are counted with the others.
        let lost = self.withdraw_parts(task, None, why);
        self.lose(task, lost);
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        let is_moving = matches!(many.stage, Stage::Moving);
        many.gives_up = true;
        self.withdraw_batches(task, None);
        let Some(many) = self.fetches.many.get_mut(&task) else { return true };
        let left = many.queue.clear();
        many.counts.failed += left;
        let why = if is_moving { format!("{left} file(s) were not fetched: {why}") } else { why.to_owned() };
        if left > 0 || !is_moving {
            self.local.tell(many.client, Event::error(why));
        }
        if !is_moving {
            self.fetches.many.remove(&task);
            let ending = self.unanswered();
            self.local.end_task(task, ending);
        } else if many.is_idle() {
            self.end_many(task);
        }
        true
    }

    /// Cancels the fetches that `of` selects. Those whose commands have ended say nothing more.
    pub(super) fn stop_many(&mut self, of: impl Fn(TaskId, ClientId) -> bool) {
        let stopped: Vec<(TaskId, Many)> =
            self.fetches.many.extract_if(.., |task, many| of(*task, many.client)).collect();
        for (task, many) in stopped {
            for (transfer, batch) in &many.batches {
                if batch.state == State::Moving {
                    self.local.effects.push(Effect::StopReceive(*transfer));
                } else {
                    self.withdraw(&many.holders[batch.holder].name, *transfer, Reason::Left);
                }
            }
            if self.local.tasks.iter().any(|running| running.id == task) {
                let why = named(&many.name(), "cancelled; what has arrived is kept");
                self.local.tell(many.client, Event::error(why));
                self.local.end_task(task, Ending::Failed);
            }
        }
    }

    /// What was asked over a lost connection is asked again over the next one.
    pub(super) fn many_lost_connection(&mut self) {
        for many in self.fetches.many.values_mut() {
            let asked = many.batches.iter().filter(|(_, batch)| batch.state == State::Asked);
            let asked: Vec<TransferId> = asked.map(|(transfer, _)| *transfer).collect();
            asked.into_iter().for_each(|transfer| many.take_back(transfer));
        }
    }

    pub(super) fn end_late_many(&mut self) {
        let now = self.local.now.instant;
        let tasks: Vec<TaskId> = self.fetches.many.keys().copied().collect();
        for task in tasks {
            self.end_late_batches(task);
            let Some(many) = self.fetches.many.get_mut(&task) else { continue };
            for holder in &mut many.holders {
                holder.again_at.take_if(|at| *at <= now);
                holder.busy_until.take_if(|at| *at <= now);
            }
            let is_moving = matches!(many.stage, Stage::Moving);
            let is_stuck = is_moving && many.is_idle() && now.duration_since(many.progress_at) >= STUCK_WAIT;
            let is_late = many.deadline.take_if(|at| *at <= now).is_some();
            let busy = is_stuck.then(|| format!("{}; try again", many.who_is_busy()));
            if is_stuck || (is_late && !is_moving) {
                let busy = busy.filter(|_| self.trouble.is_none());
                let why =
                    busy.unwrap_or_else(|| self.no_answer(if is_stuck { STUCK_WAIT } else { STEP_WAIT }));
                self.fail_many(task, &why);
            } else if is_moving {
                if is_late {
                    let why = self.trouble.clone();
                    let why = why.unwrap_or_else(|| "the server did not answer in time".to_owned());
                    self.drop_without_card(task, &why);
                }
                self.stop_slow(task);
                self.next_of_many(task);
            }
        }
    }

    fn drop_without_card(&mut self, task: TaskId, why: &str) {
        let Some(many) = self.fetches.many.get(&task) else { return };
        let without = many.usable().ids().filter(|holder| !many.holders[*holder].has_card);
        let without: Vec<HolderId> = without.collect();
        without.into_iter().for_each(|holder| self.drop_from_many(task, holder, why));
    }
}
