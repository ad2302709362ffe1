//! Fetches the files of one holder whose names a pattern describes: small ones many at a time over one connection, large ones each
//! alone.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::escape::Escaped;
use wire::many::{MANY_BYTES_MAX, MANY_FILES_MAX, ManyRequest, WantedFile};
use wire::pattern::Pattern;
use wire::protocol::{ToServer, TransferId};
use wire::query::Query;
use wire::share::{Hit, PublishedFile};
use wire::signal::{Reason, Route};

use super::Engine;
use super::contact::{Lookup, same_name};
use super::fetch::Fetches;
use super::interface::{ClientId, Download, Effect, Prepared, TaskId};
use crate::peer::command::{Ending, Existing};
use crate::peer::event::{Answer, Event, FileRoute};

/// How long the server may take for each part of the list, and the holder for its card.
const STEP_WAIT: Duration = Duration::from_secs(15);
/// How long the holder may take to answer a request for many files. One that was made before there were such requests does not
/// answer, and is asked for each file alone.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long to wait until a holder whose queue is full is asked again, and for how long without a file to go on asking.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const STUCK_WAIT: Duration = Duration::from_secs(60);
/// How many files the list has in one answer, and how many one command fetches.
const PAGE_FILES: u32 = 1000;
const FILES_MAX: u64 = 100_000;
/// Larger files go alone, because they can be continued after an interruption then. A few smaller ones are in memory at the same
/// time.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// How many requests for many files are underway: while one is being received, the next one is answered. And how many large files.
const BATCHES_UNDERWAY: usize = 2;
const LARGE_UNDERWAY: usize = 2;

mod moving;

enum Stage {
    Listing,
    Preparing,
    Card,
    Moving,
}

/// A request for many files.
struct Batch {
    request: ManyRequest,
    /// Those that were neither received nor have failed.
    open: BTreeMap<usize, PublishedFile>,
    state: State,
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

pub(super) struct Many {
    client: ClientId,
    pattern: Pattern,
    holder: Hit,
    output: Option<PathBuf>,
    existing: Existing,
    stage: Stage,
    listed: Vec<PublishedFile>,
    small: VecDeque<PublishedFile>,
    /// Each with the first byte to request.
    large: VecDeque<(PublishedFile, u64)>,
    batches: BTreeMap<TransferId, Batch>,
    large_underway: usize,
    route: Route,
    /// Whether requests wait in the queue of the holder. A holder that was made before the queue cannot read that, so it begins
    /// when the holder was busy.
    may_wait: bool,
    /// The place in that queue, as the client was told.
    place: Option<u32>,
    counts: Counts,
    deadline: Option<Instant>,
    again_at: Option<Instant>,
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

    fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.large_underway == 0
    }

    /// Whether files are arriving.
    fn is_moving(&self) -> bool {
        self.large_underway > 0 || self.batches.values().any(|batch| batch.state == State::Moving)
    }

    fn is_over(&self) -> bool {
        self.is_idle() && self.small.is_empty() && self.large.is_empty()
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let is_waiting = self.is_idle() && matches!(self.stage, Stage::Moving);
        let stuck = is_waiting.then(|| self.progress_at + STUCK_WAIT);
        let batches = self.batches.values().filter_map(|batch| batch.deadline);
        batches.chain(self.deadline).chain(self.again_at).chain(stuck)
    }

    /// The files of the next request.
    fn next_batch(&mut self) -> Vec<PublishedFile> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        while let Some(file) = self.small.pop_front() {
            bytes += wanted(&file).bytes();
            if !files.is_empty() && bytes > MANY_BYTES_MAX {
                self.small.push_front(file);
                break;
            }
            files.push(file);
            if files.len() == MANY_FILES_MAX {
                break;
            }
        }
        files
    }

    /// Takes the files of a request that has not led to a transfer back.
    fn take_back(&mut self, transfer: TransferId) {
        let Some(batch) = self.batches.remove(&transfer) else { return };
        batch.open.into_values().rev().for_each(|file| self.small.push_front(file));
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

impl Engine {
    pub(super) fn start_get_many(
        &mut self,
        (client, task): (ClientId, TaskId),
        pattern: Pattern,
        from: Option<PeerName>,
        output: Option<PathBuf>,
        existing: Existing,
    ) {
        let Some(from) = from else {
            let why = format!(
                "{}: say from whom to fetch these files, with --from NAME",
                Escaped(pattern.as_str())
            );
            self.local.tell(client, Event::error(why));
            return self.local.end_task(task, Ending::Failed);
        };
        let now = self.local.now.instant;
        let nothing = PublishedFile {
            name: pattern.as_str().parse().expect("a pattern is the name of a file"),
            bytes: 0,
            sha256: wire::Digest([0; 32]),
            keywords: Vec::new(),
        };
        let many = Many {
            client,
            pattern,
            holder: Hit { peer: from, file: nothing, online: false, address: None },
            output,
            existing,
            stage: Stage::Listing,
            listed: Vec::new(),
            small: VecDeque::new(),
            large: VecDeque::new(),
            batches: BTreeMap::new(),
            large_underway: 0,
            route: Route::Server,
            may_wait: false,
            place: None,
            counts: Counts::default(),
            deadline: Some(now + STEP_WAIT),
            again_at: None,
            progress_at: now,
        };
        self.fetches.many.insert(task, many);
        self.list_many(task);
    }

    /// Asks for the next part of the list.
    fn list_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let (pattern, after) = (many.pattern.clone(), many.listed.last().map(|file| file.name.clone()));
        let query = Query::Names { from: many.holder.peer.clone(), pattern, after };
        many.deadline = Some(self.local.now.instant + STEP_WAIT);
        self.local.say(&ToServer::Search { id: task, query, limit: PAGE_FILES });
    }

    /// Goes on after a new connection.
    pub(super) fn resume_many(&mut self) {
        let tasks: Vec<TaskId> = self.fetches.many.keys().copied().collect();
        for task in tasks {
            match self.fetches.many.get(&task).map(|many| &many.stage) {
                Some(Stage::Listing) => self.list_many(task),
                Some(Stage::Card) => self.look_up_for_many(task),
                Some(Stage::Moving) => {
                    self.repeat_queued(task);
                    self.next_of_many(task);
                }
                Some(Stage::Preparing) | None => {}
            }
        }
    }

    /// Takes a part of the list. Returns whether the search was for one.
    pub(super) fn found_for_many(&mut self, task: TaskId, hits: &mut Vec<Hit>, total: u64) -> bool {
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        if !matches!(many.stage, Stage::Listing) {
            return true;
        }
        if total > FILES_MAX {
            let why = format!(
                "{total} files are called like that; one command fetches at most {FILES_MAX}, so narrow the pattern"
            );
            self.fail_many(task, &why);
            return true;
        }
        let before = many.listed.len() as u64;
        for Hit { peer, file, online, address } in hits.drain(..) {
            let fits = many.listed.last().is_none_or(|last| last.name < file.name);
            // A server could send anything.
            if !fits || !same_name(&peer, &many.holder.peer) {
                continue;
            }
            (many.holder.peer, many.holder.online, many.holder.address) = (peer, online, address);
            many.listed.push(PublishedFile { keywords: Vec::new(), ..file });
        }
        let listed = many.listed.len() as u64;
        if before < listed && listed < total {
            self.list_many(task);
            return true;
        }
        let (holder, pattern) = (&many.holder.peer, Escaped(many.pattern.as_str()));
        let why = if same_name(holder, &self.local.name) {
            format!("{pattern}: these files are this peer's own")
        } else if many.listed.is_empty() {
            format!("{holder} shares no file that is called like {pattern} with you; look for it with search")
        } else if !many.holder.online {
            format!("{holder} is not here now; try again when they are")
        } else {
            many.stage = Stage::Preparing;
            many.deadline = None;
            many.route = if many.holder.address.is_some() { Route::Direct } else { Route::Server };
            many.counts.files = many.listed.len() as u64;
            many.counts.bytes = many.listed.iter().map(|file| file.bytes).sum();
            let downloads = many.listed.iter().map(|file| many.download(file)).collect();
            self.local.effects.push(Effect::PrepareMany(task, downloads));
            return true;
        };
        self.fail_many(task, &why);
        true
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
        let client = many.client;
        let mut events = Vec::new();
        for (file, prepared) in std::mem::take(&mut many.listed).into_iter().zip(prepared) {
            match prepared {
                Ok(Prepared::Here(path)) => {
                    many.counts.here += 1;
                    many.counts.files_done += 1;
                    many.counts.bytes_done += file.bytes;
                    let (bytes, sha256, route) = (file.bytes, file.sha256, FileRoute::Here);
                    events.push(Event::FileDone { path, bytes, sha256, from: None, peers: 0, route });
                }
                Ok(Prepared::From(0)) if file.bytes <= SMALL_BYTES_MAX => many.small.push_back(file),
                Ok(Prepared::From(offset)) => many.large.push_back((file, offset)),
                // One of many files comes from one holder.
                Ok(Prepared::Pieces) => many.large.push_back((file, 0)),
                Err(why) => {
                    many.counts.failed += 1;
                    events.push(Event::error(why));
                }
            }
        }
        many.progress_at = self.local.now.instant;
        let is_over = many.is_over();
        events.into_iter().for_each(|event| self.local.tell(client, event));
        if is_over { self.end_many(task) } else { self.look_up_for_many(task) }
    }

    fn look_up_for_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.stage = Stage::Card;
        many.deadline = Some(self.local.now.instant + STEP_WAIT);
        let holder = many.holder.peer.clone();
        let contact = self.contacts.of(&holder);
        contact.keep();
        contact.lookup = Lookup::Asked;
        self.local.say(&ToServer::Lookup { name: holder });
    }

    /// Continues with the card of a peer.
    pub(super) fn card_for_many(&mut self, name: &PeerName) {
        let waits = |many: &Many| matches!(many.stage, Stage::Card) && same_name(&many.holder.peer, name);
        let tasks: Vec<TaskId> =
            self.fetches.many.iter().filter(|(_, many)| waits(many)).map(|(task, _)| *task).collect();
        for task in tasks {
            if let Some(many) = self.fetches.many.get_mut(&task) {
                (many.stage, many.deadline) = (Stage::Moving, None);
            }
            self.next_of_many(task);
        }
    }

    fn end_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.remove(&task) else { return };
        let Counts { files, files_done, here, failed, bytes_done, .. } = many.counts;
        let from = many.holder.peer.clone();
        let answer = Answer::Fetched { from, files, files_done, here, failed, bytes: bytes_done };
        self.local.tell(many.client, Event::Result(answer));
        self.local.end_task(task, if failed == 0 { Ending::Done } else { Ending::Failed });
    }

    /// Gives up what is not underway, with one error. Returns whether the task is such a fetch.
    pub(super) fn fail_many(&mut self, task: TaskId, why: &str) -> bool {
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        let is_moving = matches!(many.stage, Stage::Moving);
        let left = (many.small.len() + many.large.len()) as u64;
        many.small.clear();
        many.large.clear();
        many.counts.failed += left;
        let why = if is_moving { format!("{left} file(s) were not fetched: {why}") } else { why.to_owned() };
        if left > 0 || !is_moving {
            self.local.tell(many.client, Event::error(why));
        }
        if !is_moving {
            self.fetches.many.remove(&task);
            self.local.end_task(task, Ending::Failed);
        } else if many.is_idle() {
            self.end_many(task);
        }
        true
    }

    /// Cancels the fetches that `of` selects.
    pub(super) fn stop_many(&mut self, of: impl Fn(TaskId, ClientId) -> bool, why: &str) {
        let stopped: Vec<(TaskId, Many)> =
            self.fetches.many.extract_if(.., |task, many| of(*task, many.client)).collect();
        for (task, many) in stopped {
            for (transfer, batch) in &many.batches {
                if batch.state == State::Moving {
                    self.local.effects.push(Effect::StopReceive(*transfer));
                } else if batch.may_wait() {
                    self.withdraw(&many.holder.peer, *transfer, Reason::Left);
                }
            }
            let pattern = Escaped(many.pattern.as_str());
            self.local.tell(many.client, Event::error(format!("{pattern}: {why}")));
            self.local.end_task(task, Ending::Failed);
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
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let tasks: Vec<TaskId> = self.fetches.many.keys().copied().collect();
        for task in tasks {
            self.end_late_batches(task);
            let Some(many) = self.fetches.many.get_mut(&task) else { continue };
            let is_again = many.again_at.take_if(|at| *at <= now).is_some();
            let is_stuck = many.is_idle()
                && matches!(many.stage, Stage::Moving)
                && now.duration_since(many.progress_at) >= STUCK_WAIT;
            if is_past(many.deadline) || is_stuck {
                let why = match &self.trouble {
                    Some(trouble) => format!("{trouble}; try again"),
                    None if is_stuck => format!("{} is busy; try again later", many.holder.peer),
                    None => "the server did not answer in time; try again".to_owned(),
                };
                self.fail_many(task, &why);
            } else if is_again || matches!(many.stage, Stage::Moving) {
                self.next_of_many(task);
            }
        }
    }
}
