//! Fetches files from other peers.

mod another;
pub(super) mod asking;
mod choosing;
mod ending;
mod gather;
mod plan;
mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wire::protocol::{Refusal, ToServer, TransferId};
use wire::share::{Hit, PublishedFile};
use wire::signal::{self, FileAnswer, FileRequest, Reason, Route, Verdict, Wish};
use wire::transfer::{TransferKey, TransferSalt};
use wire::{FileName, PeerName};
use zeroize::Zeroizing;

use super::Engine;
use super::contact::{Lookup, same_name};
use super::fetch_many::Many;
use super::interface::{ClientId, Download, Effect, Prepared, ReceiveJob, TaskId, TransferOutcome};
use super::requested::describe_file;
use crate::peer::command::{Existing, Wanted};
use crate::peer::event::{Event, FileRoute};
use crate::peer::records::Direction;
use another::Turns;
pub(super) use ending::Cause;
pub use ending::kept_rest;
pub(super) use gather::is_large_enough;
use gather::{Gather, is_worth_gathering};
use probe::Probing;

/// How long each step before the transfer of the file may take.
const STEP_WAIT: Duration = Duration::from_secs(15);

/// Why the rest of many files is not fetched.
const DISK_FULL: &str = "the disk is full; the same command fetches the rest";

enum Stage {
    /// The server is asked who has the file.
    Searching,
    /// These have it under the name that is wanted, or do not send it. The server is asked who else has it.
    Holders(Vec<Hit>),
    /// This peer's disk is checked, before the holder is asked.
    Preparing(Hit),
    /// The server is asked for the holder's card.
    Card(Hit),
    /// The holder is asked for the file.
    Asked(Hit, FileRequest),
    /// The request waits in the holder's queue.
    Queued(Hit, FileRequest),
    /// The file is being received.
    Moving(Hit, FileRequest),
}

impl Stage {
    /// The holder that was chosen, and what it has.
    fn hit(&self) -> Option<&Hit> {
        match self {
            Self::Searching | Self::Holders(_) => None,
            Self::Preparing(hit) | Self::Card(hit) => Some(hit),
            Self::Asked(hit, _) | Self::Queued(hit, _) | Self::Moving(hit, _) => Some(hit),
        }
    }

    /// The file, once it was found.
    fn file(&self) -> Option<&PublishedFile> {
        match self {
            Self::Holders(named) => named.first().map(|hit| &hit.file),
            _ => self.hit().map(|hit| &hit.file),
        }
    }
}

struct Fetch {
    client: ClientId,
    wanted: Wanted,
    from: Option<PeerName>,
    output: Option<PathBuf>,
    existing: Existing,
    /// The first byte to request; those before it are here.
    offset: u64,
    /// The place in the holder's queue, as the client was told.
    place: Option<u32>,
    stage: Stage,
    deadline: Option<Instant>,
    /// Since when the file arrives.
    moving_since: Option<Instant>,
    /// The fetch of many files that it is a part of.
    parent: Option<TaskId>,
    /// Other holders of the file that are here.
    others: Vec<Hit>,
    /// Which of them is asked while the request waits.
    probing: Probing,
    /// Those who were asked and do not send it.
    turns: Turns,
    /// Whether it comes from one holder whatever is here, because that one knows no pieces.
    is_whole: bool,
    /// The name that it gets here, if that is not the one at whoever sends it.
    name: Option<FileName>,
}

impl Fetch {
    /// One that is not a part of another, has no deadline, and begins with the first byte.
    fn new(
        (client, output, existing): (ClientId, Option<PathBuf>, Existing),
        wanted: Wanted,
        from: Option<PeerName>,
        stage: Stage,
    ) -> Self {
        Self {
            client,
            wanted,
            from,
            output,
            existing,
            offset: 0,
            place: None,
            stage,
            deadline: None,
            moving_since: None,
            parent: None,
            others: Vec::new(),
            probing: Probing::default(),
            turns: Turns::default(),
            is_whole: false,
            name: None,
        }
    }

    /// The file, as the user has asked for it.
    fn what(&self) -> String {
        match &self.wanted {
            Wanted::Name(name) => name.to_string(),
            Wanted::Digest(digest) => format!("sha256:{digest}"),
            Wanted::Pattern(pattern) => pattern.to_string(),
        }
    }

    /// The name that the file gets here.
    fn name<'a>(&'a self, hit: &'a Hit) -> &'a FileName {
        self.name.as_ref().unwrap_or(&hit.file.name)
    }

    fn download(&self, hit: &Hit) -> Download {
        Download {
            name: hit.file.name.clone(),
            here: self.name(hit).clone(),
            bytes: hit.file.bytes,
            sha256: hit.file.sha256,
            output: self.output.clone(),
            existing: self.existing,
        }
    }
}

#[derive(Default)]
pub(super) struct Fetches {
    fetches: BTreeMap<TaskId, Fetch>,
    pub(super) many: BTreeMap<TaskId, Many>,
    gathers: BTreeMap<TaskId, Gather>,
    pub(super) next_request: u64,
}

impl Fetches {
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let many = self.many.values().flat_map(Many::deadlines);
        let gathers = self.gathers.values().flat_map(Gather::deadlines);
        let fetches = self.fetches.values().flat_map(|fetch| [fetch.deadline, fetch.probing.deadline()]);
        fetches.flatten().chain(many).chain(gathers)
    }

    /// The fetch that a transfer belongs to.
    fn of(&self, transfer: TransferId) -> Option<TaskId> {
        let mut fetches = self.fetches.iter();
        let found = fetches.find(|(_, fetch)| match &fetch.stage {
            Stage::Asked(_, asked) | Stage::Queued(_, asked) | Stage::Moving(_, asked) => {
                asked.transfer == transfer
            }
            _ => false,
        });
        found.map(|(task, _)| *task)
    }

    /// The transfer of a fetch whose file arrives, and since when.
    pub(super) fn moving(&self, task: TaskId) -> Option<(TransferId, Instant)> {
        let fetch = self.fetches.get(&task)?;
        match &fetch.stage {
            Stage::Moving(_, asked) => Some((asked.transfer, fetch.moving_since?)),
            _ => None,
        }
    }

    /// Whether a fetch waits in the queue of its holder.
    pub(super) fn is_queued(&self, task: TaskId) -> bool {
        self.fetches.get(&task).is_some_and(|fetch| matches!(fetch.stage, Stage::Queued(..)))
    }

    fn tasks(&self, of: impl Fn(&Fetch) -> bool) -> Vec<TaskId> {
        self.fetches.iter().filter(|(_, fetch)| of(fetch)).map(|(task, _)| *task).collect()
    }
}

impl Engine {
    pub(super) fn start_get(
        &mut self,
        client: ClientId,
        task: TaskId,
        wanted: Wanted,
        from: Option<PeerName>,
        output: Option<PathBuf>,
        existing: Existing,
    ) {
        if let Wanted::Pattern(pattern) = wanted {
            return self.start_get_many((client, task), pattern, from, output, existing);
        }
        let deadline = Some(self.local.now.instant + STEP_WAIT);
        let fetch = Fetch::new((client, output, existing), wanted, from, Stage::Searching);
        self.fetches.fetches.insert(task, Fetch { deadline, ..fetch });
        self.search_for(task);
    }

    /// Fetches one of many files from holders whose cards are known.
    pub(super) fn start_part_of_many(
        &mut self,
        (parent, task): (TaskId, TaskId),
        mut hits: Vec<Hit>,
        how: (ClientId, Option<PathBuf>, Existing),
    ) {
        let hit = hits.remove(0);
        let wanted = Wanted::Name(hit.file.name.clone());
        let fetch = Fetch::new(how, wanted, None, Stage::Preparing(hit.clone()));
        self.local.effects.push(Effect::Prepare(task, fetch.download(&hit)));
        self.fetches.fetches.insert(task, Fetch { parent: Some(parent), others: hits, ..fetch });
    }

    /// Sends the searches again on a new connection, and the requests that wait: their holders may have given their places
    /// away meanwhile.
    pub(super) fn resume_fetches(&mut self) {
        self.resume_many();
        self.resume_gathers();
        for task in self.fetches.tasks(|fetch| matches!(fetch.stage, Stage::Searching | Stage::Holders(_))) {
            self.search_for(task);
        }
        for task in self.fetches.tasks(|fetch| matches!(fetch.stage, Stage::Queued(..))) {
            self.send_request(task);
        }
    }

    /// Continues when the disk was checked. If that failed, the holder is not asked.
    pub(super) fn prepared(&mut self, task: TaskId, prepared: Result<Prepared, String>) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else {
            return;
        };
        let Stage::Preparing(hit) = &fetch.stage else { return };
        let hit = hit.clone();
        match prepared {
            Err(why) => self.fail_fetch(task, &why),
            Ok(Prepared::Here(path)) => self.end_fetch(task, path, &hit, FileRoute::Here),
            Ok(Prepared::From(_) | Prepared::Pieces) if self.local.link.is_none() => {
                let why = "the connection to the server broke";
                self.fail_finally(task, why, Cause::Server);
            }
            Ok(Prepared::Pieces) if !fetch.is_whole => self.start_gather(task),
            Ok(Prepared::From(offset)) if is_worth_gathering(&hit, &fetch.others, offset) => {
                self.start_gather(task);
            }
            Ok(prepared) => {
                fetch.starts_at(if let Prepared::From(offset) = prepared { offset } else { 0 });
                let holder = hit.peer.clone();
                fetch.stage = Stage::Card(hit);
                if fetch.parent.is_some() {
                    return self.ask_holder(task, None);
                }
                fetch.deadline = Some(self.local.now.instant + STEP_WAIT);
                let contact = self.contacts.of(&holder);
                contact.keep();
                contact.lookup = Lookup::Asked;
                self.local.say(&ToServer::Lookup { name: holder });
            }
        }
    }

    /// Continues the fetches that wait for the card of a peer.
    pub(super) fn card_for_fetches(&mut self, name: &PeerName) {
        let waits = |fetch: &Fetch| matches!(&fetch.stage, Stage::Card(hit) if same_name(&hit.peer, name));
        for task in self.fetches.tasks(waits) {
            self.ask_holder(task, None);
        }
        self.card_for_probes(name);
        self.card_for_many(name);
        self.card_for_gathers(name);
    }

    /// Handles a request that the server has refused.
    pub(super) fn fetch_refused(&mut self, transfer: TransferId, refusal: Refusal) {
        if self.probe_refused(transfer, refusal) {
            return;
        }
        let Some(task) = self.fetches.of(transfer) else {
            self.gather_refused(transfer, refusal);
            return self.many_refused(transfer, refusal);
        };
        // A holder that is away tells the place when it is back.
        if !self.fetches.is_queued(task) {
            let cause = if refusal == Refusal::Absent { Cause::Absent } else { Cause::Refused };
            let holder = self.fetches.fetches.get(&task).and_then(|fetch| fetch.stage.hit());
            let why = match holder.filter(|_| cause == Cause::Absent) {
                Some(hit) => format!("{} is not connected any more", hit.peer),
                None => refusal.to_string(),
            };
            self.is_refused(task);
            self.fail_fetch_because(task, &why, cause);
        }
    }

    /// Handles the answer of a holder.
    pub(super) fn answer(&mut self, from: &PeerName, content: &[u8]) {
        let Ok(answer) = signal::decode::<FileAnswer>(content) else {
            return;
        };
        let Some(task) = self.fetches.of(answer.transfer) else {
            if !self.answer_for_probe(from, &answer) && !self.answer_for_gather(from, &answer) {
                self.answer_for_many(from, &answer);
            }
            return;
        };
        let stage = self.fetches.fetches.get(&task).map(|fetch| &fetch.stage);
        let Some(Stage::Asked(hit, asked) | Stage::Queued(hit, asked)) = stage else {
            return;
        };
        if !same_name(&hit.peer, from) {
            return;
        }
        let (peer, name, wish) = (&hit.peer, &hit.file.name, asked.wish);
        let mut cause = Cause::Content;
        let why = match answer.verdict {
            Verdict::Ready { bytes, salt } if bytes == hit.file.bytes => return self.receive(task, salt),
            Verdict::Ready { .. } | Verdict::Changed => {
                format!("{name} has changed at {peer} since it was published")
            }
            Verdict::NotShared => {
                format!("{peer} does not share {name} with you, or not any more")
            }
            Verdict::Queued { place } => {
                self.queued(task, place);
                return self.probe(task);
            }
            Verdict::Busy if !wish.may_wait() => {
                self.ask_holder(task, Some(Wish::Queue(wish.route())));
                return self.probe(task);
            }
            Verdict::Busy => {
                cause = Cause::Holder;
                format!("{peer} sends too many files, and its queue is full")
            }
        };
        self.is_refused(task);
        self.fail_fetch_because(task, &why, cause);
    }

    fn receive(&mut self, task: TaskId, salt: TransferSalt) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else {
            return;
        };
        let (Stage::Asked(hit, asked) | Stage::Queued(hit, asked)) =
            std::mem::replace(&mut fetch.stage, Stage::Searching)
        else {
            return;
        };
        let probe = fetch.probing.stop();
        let job = ReceiveJob {
            key: TransferKey { transfer: asked.transfer, secret: Zeroizing::new(asked.secret), salt },
            download: fetch.download(&hit),
            offset: asked.offset,
            address: hit.address.filter(|_| asked.wish.route() == Route::Direct),
        };
        let event = describe_file(Direction::Sent, &hit.peer, &asked, hit.file.bytes, salt);
        self.local.tell(fetch.client, event);
        // The transfer has its own timeout.
        (fetch.deadline, fetch.moving_since) = (None, Some(self.local.now.instant));
        let (parent, holder) = (fetch.parent, hit.peer.clone());
        fetch.stage = Stage::Moving(hit, asked);
        self.local.effects.push(Effect::Receive(Box::new(job)));
        self.withdraw_probe(probe);
        if let Some(parent) = parent {
            self.part_moves(parent, &holder);
        }
    }

    /// Handles the progress or result of a transfer: of this peer's own files, or of a fetch.
    pub(super) fn transfer(&mut self, transfer: TransferId, outcome: TransferOutcome) {
        match outcome {
            TransferOutcome::Sent(sent) => self.sent(transfer, &[], sent),
            TransferOutcome::Outdated(error) => {
                // Share the file that is there now.
                self.local.effects.push(Effect::ReadShare);
                self.sent(transfer, &[], Err(error));
            }
            TransferOutcome::SentMany(numbers, sent) => self.sent(transfer, &numbers, sent),
            outcome => self.moved(transfer, outcome),
        }
    }

    fn moved(&mut self, transfer: TransferId, outcome: TransferOutcome) {
        let Some(task) = self.fetches.of(transfer) else {
            if let Some(outcome) = self.moved_gather(transfer, outcome) {
                self.moved_many(transfer, outcome);
            }
            return;
        };
        let fetch = self.fetches.fetches.get(&task);
        let Some(fetch) = fetch else { return };
        let Fetch { client, parent, stage: Stage::Moving(hit, asked), .. } = fetch else { return };
        let (route, parent, peer) = (asked.wish.route(), *parent, hit.peer.clone());
        match outcome {
            TransferOutcome::Progress { done, total } => {
                let name = fetch.name(hit).clone();
                self.local.tell(*client, Event::FileProgress { name, done, total });
            }
            TransferOutcome::CannotDial(_) if route == Route::Direct => {
                self.ask_holder(task, Some(Wish::Server));
            }
            TransferOutcome::CannotDial(why) => {
                self.fail_fetch_because(task, &format!("{peer} cannot be reached: {why}"), Cause::Holder);
            }
            TransferOutcome::CutOff(why, kept) => {
                self.note_kept(task, kept);
                let why = format!("{peer} has stopped sending: {why}");
                self.fail_fetch_because(task, &why, Cause::Holder);
            }
            // It is not known whose bytes are wrong.
            TransferOutcome::Wrong(_, 0) if asked.offset > 0 && parent.is_none() => {
                self.note_kept(task, 0);
                self.ask_holder(task, None);
            }
            TransferOutcome::Wrong(why, kept) => {
                let cause = if asked.offset > 0 && kept == 0 { Cause::Holder } else { Cause::Lied };
                self.note_kept(task, kept);
                let why = format!("{peer} has sent something else: {why}");
                self.fail_fetch_because(task, &why, cause);
            }
            TransferOutcome::Received(Err(why)) => self.fail_fetch(task, &why),
            TransferOutcome::DiskFull(why) => {
                let transfer = asked.transfer;
                self.withdraw(&peer, transfer, Reason::DiskFull);
                if let Some(parent) = parent {
                    self.fail_many(parent, DISK_FULL);
                }
                self.fail_fetch(task, &why);
            }
            TransferOutcome::Received(Ok(path)) => {
                let hit = hit.clone();
                self.end_fetch(task, path, &hit, route.into());
            }
            // Those of senders, and of many files.
            _ => {}
        }
    }
}
