//! The requests for many files, and what their transfers report.

use std::path::PathBuf;

use rand::{Rng as _, RngExt as _};
use wire::escape::Escaped;
use wire::many::{ManyRequest, NoName};
use wire::protocol::{Refusal, TransferId};
use wire::share::{Hit, PublishedFile};
use wire::signal::{self, FileAnswer, Reason, Route, Verdict, Wish};
use wire::transfer::{TransferKey, TransferSalt};
use wire::{FileName, PeerName};
use zeroize::Zeroizing;

use super::super::Engine;
use super::super::contact::same_name;
use super::super::fetch::asking::QUEUE_WAIT;
use super::super::interface::{Effect, ReceiveManyJob, TaskId, TransferOutcome};
use super::super::link::About;
use super::super::requested::describe_files;
use super::{ANSWER_WAIT, BATCHES_UNDERWAY, BUSY_WAIT, Batch, Counts, LARGE_UNDERWAY, Stage, State, wanted};
use crate::peer::event::{Event, FileRoute};
use crate::peer::records::Direction;

impl Engine {
    /// Requests as much as may be underway.
    pub(super) fn next_of_many(&mut self, task: TaskId) {
        while let Some(many) = self.fetches.many.get_mut(&task)
            && self.local.link.is_some()
            && many.again_at.is_none()
        {
            // One place in the queue is enough, and shown.
            let waits = many.batches.values().any(Batch::may_wait);
            if many.batches.len() < BATCHES_UNDERWAY && !many.small.is_empty() && !waits {
                self.request_batch(task);
            } else if many.large_underway < LARGE_UNDERWAY
                && let Some((file, offset)) = many.large.pop_front()
            {
                many.large_underway += 1;
                let hit = Hit { file, ..many.holder.clone() };
                let (client, output, existing) = (many.client, many.output.clone(), many.existing);
                let route = many.route;
                self.start_part_of_many(task, hit, (client, output, existing), offset, route);
            } else {
                break;
            }
        }
        if self
            .fetches
            .many
            .get(&task)
            .is_some_and(|many| matches!(many.stage, Stage::Moving) && many.is_over())
        {
            self.end_many(task);
        }
    }

    fn request_batch(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let files = many.next_batch();
        let mut request = ManyRequest {
            transfer: self.local.rng.random(),
            secret: [0; 32],
            mark: NoName,
            wish: if many.may_wait { Wish::Queue(many.route) } else { many.route.into() },
            files: files.iter().map(wanted).collect(),
        };
        // Filled in place, so that no copy is left in memory.
        self.local.rng.fill_bytes(&mut request.secret);
        let transfer = request.transfer;
        let deadline = Some(self.local.now.instant + ANSWER_WAIT);
        let open = files.into_iter().enumerate().collect();
        many.batches.insert(transfer, Batch { request, open, state: State::Asked, deadline });
        self.send_batch(task, transfer);
    }

    fn send_batch(&mut self, task: TaskId, transfer: TransferId) {
        let Some(many) = self.fetches.many.get(&task) else { return };
        let Some(batch) = many.batches.get(&transfer) else { return };
        let content = Zeroizing::new(signal::encode(&batch.request));
        let holder = many.holder.peer.clone();
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
        let late: Vec<(TransferId, State)> = late.map(|(transfer, batch)| (*transfer, batch.state)).collect();
        for (transfer, state) in late {
            if state == State::Queued {
                return self.holder_is_silent(task);
            }
            // It does not know such requests, and is asked for each file alone.
            many.take_back(transfer);
            many.large.extend(std::mem::take(&mut many.small).into_iter().map(|file| (file, 0)));
        }
    }

    /// Gives up after a holder that has said nothing for too long about the place in its queue.
    fn holder_is_silent(&mut self, task: TaskId) {
        self.withdraw_batches(task);
        let Some(many) = self.fetches.many.get(&task) else { return };
        let why = match &self.trouble {
            Some(trouble) => format!("{trouble}; try again"),
            None => format!("{} does not answer any more; try again", many.holder.peer),
        };
        self.fail_many(task, &why);
    }

    /// Takes the requests back that have not led to a transfer.
    fn withdraw_batches(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let waiting = many.batches.iter().filter(|(_, batch)| batch.state != State::Moving);
        let waiting: Vec<TransferId> = waiting.map(|(transfer, _)| *transfer).collect();
        waiting.iter().for_each(|transfer| many.take_back(*transfer));
        let holder = many.holder.peer.clone();
        waiting.into_iter().for_each(|transfer| self.withdraw(&holder, transfer, Reason::Left));
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
        if !same_name(&many.holder.peer, from) {
            return;
        }
        let is_open = |batch: &&mut Batch| batch.state != State::Moving;
        let Some(batch) = many.batches.get_mut(&transfer).filter(is_open) else { return };
        match verdict {
            Verdict::Ready { salt, .. } => self.receive_batch(task, transfer, salt),
            Verdict::NotShared | Verdict::Changed => {
                let why = format!(
                    "{} does not share these files with you, or not any more; search again",
                    many.holder.peer
                );
                self.fail_batch(task, transfer, &why);
            }
            Verdict::Queued { place } => {
                (batch.state, batch.deadline) = (State::Queued, Some(now + QUEUE_WAIT));
                // While files arrive, the transfers for which one waits are perhaps one's own.
                if !many.is_moving() && many.place.replace(place) != Some(place) {
                    let (name, from) = (many.holder.file.name.clone(), many.holder.peer.clone());
                    self.local.tell(many.client, Event::FileQueued { name, from, place });
                }
            }
            Verdict::Busy => {
                // Its queue is full if the request may wait already.
                many.again_at = batch.request.wish.may_wait().then(|| now + BUSY_WAIT);
                many.may_wait = true;
                many.take_back(transfer);
            }
        }
        self.next_of_many(task);
    }

    fn receive_batch(&mut self, task: TaskId, transfer: TransferId, salt: TransferSalt) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(batch) = many.batches.get_mut(&transfer) else { return };
        (batch.state, batch.deadline) = (State::Moving, None);
        let (client, holder) = (many.client, &many.holder);
        let event = describe_files(Direction::Sent, &holder.peer, &batch.request, salt);
        let key = TransferKey { transfer, secret: Zeroizing::new(batch.request.secret), salt };
        let address = holder.address.filter(|_| batch.request.wish.route() == Route::Direct);
        let files: Vec<PublishedFile> = batch.open.values().cloned().collect();
        let downloads = files.iter().map(|file| many.download(file)).collect();
        self.local.tell(client, event);
        let job = ReceiveManyJob { key, downloads, address };
        self.local.effects.push(Effect::ReceiveMany(Box::new(job)));
    }

    /// Handles a request for many files that the server has refused.
    pub(in crate::peer::engine) fn many_refused(&mut self, transfer: TransferId, refusal: Refusal) {
        let now = self.local.now.instant;
        let Some((task, many)) = self.fetches.many_of(transfer) else { return };
        match refusal {
            Refusal::Absent => self.fail_batch(task, transfer, &refusal.to_string()),
            _ => {
                many.take_back(transfer);
                many.again_at = Some(now + BUSY_WAIT);
            }
        }
        self.next_of_many(task);
    }

    /// Handles what a transfer of many files reports.
    pub(in crate::peer::engine) fn moved_many(&mut self, transfer: TransferId, outcome: TransferOutcome) {
        let Some((task, many)) = self.fetches.many_of(transfer) else { return };
        match outcome {
            TransferOutcome::ReceivedSome(reports) => self.some_received(task, transfer, reports),
            TransferOutcome::CannotDial(_) if many.route == Route::Direct => {
                many.take_back(transfer);
                many.route = Route::Server;
            }
            TransferOutcome::CannotDial(why) | TransferOutcome::Received(Err(why)) => {
                self.fail_batch(task, transfer, &why);
            }
            TransferOutcome::DiskFull(why) => {
                let holder = many.holder.peer.clone();
                many.take_back(transfer);
                self.withdraw(&holder, transfer, Reason::DiskFull);
                self.withdraw_batches(task);
                self.fail_many(task, &why);
            }
            // Whatever was not reported, if anything.
            TransferOutcome::ReceivedMany => self.fail_batch(task, transfer, "it has not arrived"),
            _ => {}
        }
        self.next_of_many(task);
    }

    fn some_received(
        &mut self,
        task: TaskId,
        transfer: TransferId,
        reports: Vec<(usize, Result<PathBuf, String>)>,
    ) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(batch) = many.batches.get_mut(&transfer) else { return };
        let route = FileRoute::from(batch.request.wish.route());
        for (number, result) in reports {
            let Some(file) = batch.open.remove(&number) else { continue };
            let event = match result {
                Ok(path) => {
                    many.counts.files_done += 1;
                    many.counts.bytes_done += file.bytes;
                    let from = Some(many.holder.peer.clone());
                    Event::FileDone { path, bytes: file.bytes, sha256: file.sha256, from, peers: 1, route }
                }
                Err(why) => {
                    many.counts.failed += 1;
                    Event::error(named(&file.name, &why))
                }
            };
            self.local.tell(many.client, event);
        }
        self.progress_of_many(task);
    }

    /// Fails all files of a request that were not reported.
    fn fail_batch(&mut self, task: TaskId, transfer: TransferId, why: &str) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let Some(batch) = many.batches.remove(&transfer) else { return };
        for file in batch.open.into_values() {
            many.counts.failed += 1;
            self.local.tell(many.client, Event::error(named(&file.name, why)));
        }
        self.progress_of_many(task);
    }

    fn progress_of_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.progress_at = self.local.now.instant;
        let Counts { files, bytes, files_done, bytes_done, failed, .. } = many.counts;
        self.local.tell(many.client, Event::FilesProgress { files_done, files, failed, bytes_done, bytes });
    }

    /// A large file has arrived, or has failed.
    pub(in crate::peer::engine) fn part_of_many_ended(&mut self, task: TaskId, received: Option<u64>) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.large_underway -= 1;
        match received {
            Some(bytes) => {
                many.counts.files_done += 1;
                many.counts.bytes_done += bytes;
            }
            None => many.counts.failed += 1,
        }
        self.progress_of_many(task);
        self.next_of_many(task);
    }
}

fn named(name: &FileName, why: &str) -> String {
    format!("{}: {why}", Escaped(name.as_str()))
}
