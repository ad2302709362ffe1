//! The requests for many files, and what their transfers report.

use rand::{Rng as _, RngExt as _};
use wire::many::NoName;
use wire::protocol::Refusal;
use wire::signal::{self, FileAnswer, Route, Verdict, Wish};
use wire::transfer::{TransferKey, TransferSalt};
use zeroize::Zeroizing;

use super::*;
use crate::peer::engine::contact::same_name;
use crate::peer::engine::fetch::asking::QUEUE_WAIT;
use crate::peer::engine::interface::{NotReceived, ReceiveManyJob, TransferOutcome};
use crate::peer::engine::link::About;
use crate::peer::engine::requested::describe_files;
use crate::peer::records::Direction;

/// How many requests to one holder are underway: while one is being received, the next one is answered. And how many in all, besides
/// those that wait in queues: busy holders must not keep idle ones from being asked.
const BATCHES_EACH: usize = 2;
const BATCHES_MAX: usize = 8;

impl Many {
    /// Takes the files of the next request, and says whom to ask. Nobody gets a second one while another holder has none.
    fn next_batch(&mut self) -> Option<(HolderId, Vec<Item>)> {
        let has_others = self.usable().count() > 1;
        let underway_in_all = self.batches.values().filter(|batch| batch.state != State::Queued).count();
        for underway in 0..BATCHES_EACH {
            for id in 0..self.holders.len() {
                if underway_in_all < BATCHES_MAX && self.takes_batch(id, underway) {
                    let mut queue = std::mem::take(&mut self.queue);
                    let items = queue.take_small(id, has_others, |holders| self.chosen(holders));
                    self.queue = queue;
                    if !items.is_empty() {
                        return Some((id, items));
                    }
                }
            }
        }
        None
    }

    /// Whether a holder that has so many requests can get another one.
    fn takes_batch(&self, id: HolderId, underway: usize) -> bool {
        let holder = &self.holders[id];
        let mut theirs = self.batches.values().filter(|batch| batch.holder == id);
        // One place in the queue is enough, and shown.
        holder.is_ready()
            && holder.knows_many
            && theirs.clone().count() == underway
            && !theirs.any(Batch::may_wait)
    }
}

impl Engine {
    /// Requests as much as may be underway.
    pub(super) fn next_of_many(&mut self, task: TaskId) {
        while let Some(many) = self.fetches.many.get_mut(&task)
            && matches!(many.stage, Stage::Moving)
            && self.local.link.is_some()
        {
            if let Some((holder, items)) = many.next_batch() {
                self.request_batch(task, holder, items);
            } else if let Some((item, holders)) = many.next_part() {
                self.start_part(task, item, holders);
            } else if !self.recall_queued(task) {
                break;
            }
        }
        self.watch_slow(task);
        let many = self.fetches.many.get(&task);
        if many.is_some_and(|many| matches!(many.stage, Stage::Moving) && many.is_over()) {
            self.end_many(task);
        }
    }

    fn request_batch(&mut self, task: TaskId, id: HolderId, items: Vec<Item>) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let holder = &many.holders[id];
        let mut request = ManyRequest {
            transfer: self.local.rng.random(),
            secret: [0; 32],
            mark: NoName,
            wish: if holder.may_wait { Wish::Queue(holder.route) } else { holder.route.into() },
            files: items.iter().map(|item| wanted(&item.file)).collect(),
        };
        // Filled in place, so that no copy is left in memory.
        self.local.rng.fill_bytes(&mut request.secret);
        let transfer = request.transfer;
        let deadline = Some(self.local.now.instant + ANSWER_WAIT);
        let cost = items.iter().map(|item| slow::cost(&item.file)).sum();
        let open = items.into_iter().enumerate().collect();
        let failed_before = holder.failed;
        many.batches.insert(
            transfer,
            Batch {
                holder: id,
                request,
                open,
                failed_before,
                state: State::Asked,
                is_stopped: false,
                cost,
                moving_since: None,
                deadline,
            },
        );
        self.send_batch(task, transfer);
    }

    fn send_batch(&mut self, task: TaskId, transfer: TransferId) {
        let Some(many) = self.fetches.many.get(&task) else { return };
        let Some(batch) = many.batches.get(&transfer) else { return };
        let content = Zeroizing::new(signal::encode(&batch.request));
        let holder = many.holders[batch.holder].name.clone();
        self.signal_holder(&holder, &content, About::Transfer(transfer));
    }

    /// Sends the requests again that wait, on a new connection: the holder may have given their places away meanwhile.
    pub(super) fn repeat_queued(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get(&task) else { return };
        let queued = many.batches.iter().filter(|(_, batch)| batch.state == State::Queued);
        let queued: Vec<TransferId> = queued.map(|(transfer, _)| *transfer).collect();
        queued.into_iter().for_each(|transfer| self.send_batch(task, transfer));
    }

    /// Ends the requests that were not answered in time.
    pub(super) fn end_late_batches(&mut self, task: TaskId) {
        let now = self.local.now.instant;
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let is_late = |batch: &Batch| batch.deadline.is_some_and(|at| at <= now);
        let late = many.batches.iter().filter(|(_, batch)| is_late(batch));
        let late: Vec<(TransferId, HolderId, State)> =
            late.map(|(transfer, batch)| (*transfer, batch.holder, batch.state)).collect();
        for (transfer, holder, state) in late {
            let Some(many) = self.fetches.many.get_mut(&task) else { return };
            if state == State::Queued {
                let name = &many.holders[holder].name;
                let why = self.trouble.clone().unwrap_or_else(|| format!("{name} does not answer any more"));
                self.drop_from_many(task, holder, &why);
            } else {
                // It does not know such requests, and is asked for each file alone.
                many.holders[holder].knows_many = false;
                let name = many.holders[holder].name.clone();
                many.take_back(transfer);
                // Perhaps it is only late.
                self.withdraw(&name, transfer, Reason::Left);
            }
        }
    }

    /// Takes the requests back that have not led to a transfer: those to one holder, or all.
    pub(super) fn withdraw_batches(&mut self, task: TaskId, of: Option<HolderId>) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let is_waiting =
            |batch: &Batch| batch.state != State::Moving && of.is_none_or(|holder| holder == batch.holder);
        let waiting = many.batches.iter().filter(|(_, batch)| is_waiting(batch));
        let waiting: Vec<(TransferId, PeerName)> =
            waiting.map(|(transfer, batch)| (*transfer, many.holders[batch.holder].name.clone())).collect();
        waiting.iter().for_each(|(transfer, _)| many.take_back(*transfer));
        waiting.into_iter().for_each(|(transfer, holder)| self.withdraw(&holder, transfer, Reason::Left));
    }

    /// Handles the answer of a holder to a request for many files.
    pub(in crate::peer::engine) fn answer_for_many(&mut self, from: &PeerName, answer: &FileAnswer) {
        let FileAnswer { transfer, verdict } = *answer;
        let now = self.local.now.instant;
        let Some((task, many)) = self.fetches.many_of(transfer) else {
            // An earlier process of this peer has waited for it.
            if matches!(verdict, Verdict::Queued { .. }) {
                self.withdraw(from, transfer, Reason::Left);
            }
            return;
        };
        let is_moving = many.is_moving();
        let name = many.name();
        let Some(batch) = many.batches.get_mut(&transfer) else { return };
        let holder = &mut many.holders[batch.holder];
        if !same_name(&holder.name, from) || batch.state == State::Moving {
            return;
        }
        match verdict {
            Verdict::Ready { salt, .. } => self.receive_batch(task, transfer, salt),
            Verdict::NotShared | Verdict::Changed => {
                let why = format!("{from} does not share this with you, or not any more; search again");
                self.batch_refused(task, transfer, &why);
            }
            Verdict::Queued { place } => {
                holder.busy_until = Some(now + BUSY_MEMORY);
                (batch.state, batch.deadline) = (State::Queued, Some(now + QUEUE_WAIT));
                // While files arrive, the transfers for which one waits are perhaps one's own.
                if !is_moving && holder.place.replace(place) != Some(place) {
                    let from = holder.name.clone();
                    self.local.tell(many.client, Event::FileQueued { name, from, place });
                }
            }
            Verdict::Busy => {
                // Its queue is full if the request may wait already.
                holder.again_at = batch.request.wish.may_wait().then(|| now + BUSY_WAIT);
                holder.may_wait = true;
                many.take_back(transfer);
            }
        }
        self.next_of_many(task);
    }

    fn receive_batch(&mut self, task: TaskId, transfer: TransferId, salt: TransferSalt) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(batch) = many.batches.get_mut(&transfer) else { return };
        (batch.state, batch.deadline) = (State::Moving, None);
        batch.moving_since = Some(self.local.now.instant);
        many.holders[batch.holder].busy_until = None;
        let (client, holder) = (many.client, &many.holders[batch.holder]);
        let event = describe_files(Direction::Sent, &holder.name, &batch.request, salt);
        let key = TransferKey { transfer, secret: Zeroizing::new(batch.request.secret), salt };
        let address = holder.address.filter(|_| batch.request.wish.route() == Route::Direct);
        let files: Vec<PublishedFile> = batch.open.values().map(|item| item.file.clone()).collect();
        let downloads = files.iter().map(|file| many.download(file)).collect();
        self.local.tell(client, event);
        let job = ReceiveManyJob { key, downloads, address };
        self.local.effects.push(Effect::ReceiveMany(Box::new(job)));
    }

    /// Handles a request for many files that the server has refused.
    pub(in crate::peer::engine) fn many_refused(&mut self, transfer: TransferId, refusal: Refusal) {
        let now = self.local.now.instant;
        let Some((task, many)) = self.fetches.many_of(transfer) else { return };
        let Some(holder) = many.batches.get(&transfer).map(|batch| batch.holder) else { return };
        many.take_back(transfer);
        match refusal {
            Refusal::Absent => self.drop_from_many(task, holder, &refusal.to_string()),
            _ => many.holders[holder].again_at = Some(now + BUSY_WAIT),
        }
        self.next_of_many(task);
    }

    /// Handles what a transfer of many files reports.
    pub(in crate::peer::engine) fn moved_many(&mut self, transfer: TransferId, outcome: TransferOutcome) {
        let now = self.local.now.instant;
        let Some((task, many)) = self.fetches.many_of(transfer) else { return };
        let Some(batch) = many.batches.get(&transfer) else { return };
        let (id, is_stopped, route) = (batch.holder, batch.is_stopped, batch.request.wish.route());
        let holder = &mut many.holders[id];
        match outcome {
            TransferOutcome::ReceivedSome(reports) => self.some_received(task, transfer, reports),
            _ if is_stopped => {
                let open =
                    many.batches.remove(&transfer).into_iter().flat_map(|batch| batch.open.into_values());
                let open: Vec<Item> = open.collect();
                let lost = many.put_back(open.into_iter(), "it was cancelled");
                self.lose(task, lost);
            }
            TransferOutcome::CannotDial(_) if route == Route::Direct && !many.gives_up => {
                holder.route = Route::Server;
                many.take_back(transfer);
            }
            TransferOutcome::CannotDial(why)
            | TransferOutcome::CutOff(why, _)
            | TransferOutcome::Wrong(why, _)
            | TransferOutcome::Received(Err(why)) => self.batch_failed(task, transfer, &why),
            TransferOutcome::DiskFull(why) => {
                let holder = holder.name.clone();
                many.take_back(transfer);
                self.withdraw(&holder, transfer, Reason::DiskFull);
                let rest = "what has arrived is kept, and the same command fetches the rest";
                self.fail_many(task, &format!("{why}; {rest}"));
            }
            TransferOutcome::ReceivedMany => {
                let since = many.batches.get(&transfer).and_then(|batch| batch.moving_since);
                holder.spent += since.map_or(Duration::ZERO, |since| now.duration_since(since));
                // Whatever was not reported, if anything.
                self.batch_refused(task, transfer, "it has not arrived");
            }
            _ => {}
        }
        self.next_of_many(task);
    }

    fn some_received(
        &mut self,
        task: TaskId,
        transfer: TransferId,
        reports: Vec<(usize, Result<PathBuf, NotReceived>)>,
    ) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(batch) = many.batches.get_mut(&transfer) else { return };
        let (id, route) = (batch.holder, FileRoute::from(batch.request.wish.route()));
        let (mut lost, mut unsent, mut lie) = (Vec::new(), Vec::new(), None);
        for (number, result) in reports {
            let Some(item) = batch.open.remove(&number) else { continue };
            match result {
                Ok(path) => {
                    let PublishedFile { bytes, sha256, .. } = item.file;
                    many.counts.files_done += 1;
                    many.counts.bytes_done += bytes;
                    let holder = &mut many.holders[id];
                    (holder.failures, holder.given) = (0, holder.given + bytes);
                    holder.cost += slow::cost(&item.file);
                    let from = Some(holder.name.clone());
                    self.local
                        .tell(many.client, Event::FileDone { path, bytes, sha256, from, peers: 1, route });
                }
                Err(NotReceived::Here(why)) => lost.push((item, why)),
                Err(NotReceived::NotSent(why)) => unsent.push((item, why)),
                Err(NotReceived::Lie(why)) => {
                    lie.get_or_insert_with(|| item.file.name.clone());
                    unsent.push((item, why));
                }
            }
        }
        for (mut item, why) in unsent {
            item.holders = item.holders.without(id);
            lost.extend(many.put_back(std::iter::once(item), &why));
        }
        if let Some(name) = lie {
            let what = format!("has sent something else than {}", Escaped(name.as_str()));
            self.avoid(task, id, HolderFault::Lied, &what);
        }
        self.progress_of_many(task);
        self.lose(task, lost);
    }

    /// What others have too is not requested of a holder any more, because of what it does.
    pub(super) fn avoid(&mut self, task: TaskId, id: HolderId, fault: HolderFault, what: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let has_others = !many.usable().without(id).is_empty();
        let name = many.name();
        let holder = &mut many.holders[id];
        if holder.standing == Standing::Good && has_others {
            holder.standing = Standing::Avoided;
            let from = holder.name.clone();
            let reason = format!("{from} {what}; what others have too is taken from them");
            self.local.tell(many.client, Event::FileHolderDropped { name, from, fault, piece: None, reason });
        }
    }

    /// The holder does not send what is open of a request.
    fn batch_refused(&mut self, task: TaskId, transfer: TransferId, why: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(Batch { holder, open, .. }) = many.batches.remove(&transfer) else { return };
        let without = |item: Item| Item { holders: item.holders.without(holder), ..item };
        let lost = many.put_back(open.into_values().map(without), why);
        self.lose(task, lost);
    }

    /// A transfer has ended early. What is missing is requested again, of the same holder once more.
    fn batch_failed(&mut self, task: TaskId, transfer: TransferId, why: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(Batch { holder, open, failed_before, .. }) = many.batches.remove(&transfer) else { return };
        let rest = format!("{why}; the same command fetches the rest");
        let lost = many.put_back(open.into_values(), &rest);
        self.lose(task, lost);
        if self.fetches.many.get(&task).is_some_and(|many| many.holders[holder].failed == failed_before) {
            self.holder_failed(task, holder, why);
        }
    }

    /// A transfer of a holder has failed.
    pub(super) fn holder_failed(&mut self, task: TaskId, id: HolderId, why: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let holder = &mut many.holders[id];
        (holder.failed, holder.failures) = (holder.failed + 1, holder.failures + 1);
        if holder.failures >= FAILURES_MAX {
            self.drop_from_many(task, id, why);
        }
    }

    pub(super) fn progress_of_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.progress_at = self.local.now.instant;
        let Counts { files, bytes, files_done, bytes_done, failed, .. } = many.counts;
        self.local.tell(many.client, Event::FilesProgress { files_done, files, failed, bytes_done, bytes });
    }
}
