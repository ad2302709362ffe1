//! The requests for many files, and what their transfers report.

use std::path::PathBuf;

use rand::{Rng as _, RngExt as _};
use wire::escape::Escaped;
use wire::many::{ManyRequest, NoName};
use wire::protocol::{Kind, Refusal, TransferId};
use wire::share::{Hit, PublishedFile};
use wire::signal::{self, FileAnswer, Route, Verdict};
use wire::transfer::TransferKey;
use wire::{FileName, PeerName};
use zeroize::Zeroizing;

use super::super::Engine;
use super::super::contact::same_name;
use super::super::interface::{Effect, ReceiveManyJob, TaskId, TransferOutcome};
use super::super::link::About;
use super::super::send_many::describe_many;
use super::{ANSWER_WAIT, BATCHES_UNDERWAY, BUSY_WAIT, Batch, Counts, LARGE_UNDERWAY, Stage, wanted};
use crate::peer::event::{Event, FileRoute};
use crate::peer::records::Direction;

impl Engine {
    /// Requests as much as may be underway.
    pub(super) fn next_of_many(&mut self, task: TaskId) {
        while let Some(many) = self.fetches.many.get_mut(&task)
            && self.local.link.is_some()
            && many.again_at.is_none()
        {
            if many.batches.len() < BATCHES_UNDERWAY && !many.small.is_empty() {
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
            route: many.route,
            files: files.iter().map(wanted).collect(),
        };
        // Filled in place, so that no copy is left in memory.
        self.local.rng.fill_bytes(&mut request.secret);
        let number = self.fetches.next_request;
        self.fetches.next_request += 1;
        let content = Zeroizing::new(signal::encode(&request));
        let transfer = request.transfer;
        let deadline = Some(self.local.now.instant + ANSWER_WAIT);
        let open = files.into_iter().enumerate().collect();
        many.batches.insert(transfer, Batch { request, open, is_moving: false, deadline });
        let contact = self.contacts.of(&many.holder.peer);
        self.local.send_signal(contact, Kind::Request, number, &content, About::Transfer(transfer));
    }

    /// Handles the answer of a holder to a request for many files.
    pub(in crate::peer::engine) fn answer_for_many(&mut self, from: &PeerName, answer: &FileAnswer) {
        let FileAnswer { transfer, verdict } = *answer;
        let now = self.local.now.instant;
        let Some((task, many)) = self.fetches.many_of(transfer) else { return };
        if !same_name(&many.holder.peer, from) {
            return;
        }
        let Some(batch) = many.batches.get_mut(&transfer).filter(|batch| !batch.is_moving) else { return };
        match verdict {
            Verdict::Ready { salt, .. } => {
                (batch.is_moving, batch.deadline) = (true, None);
                let request = &batch.request;
                let (files, route) = (request.files.len() as u64, request.route);
                let key = TransferKey { transfer, secret: Zeroizing::new(request.secret), salt };
                let downloads: Vec<PublishedFile> = batch.open.values().cloned().collect();
                let downloads = downloads.iter().map(|file| many.download(file)).collect();
                let address = many.holder.address.filter(|_| route == Route::Direct);
                let event = describe_many(Direction::Sent, &many.holder.peer, files, route, (transfer, salt));
                self.local.tell(many.client, event);
                let job = ReceiveManyJob { key, downloads, address };
                self.local.effects.push(Effect::ReceiveMany(Box::new(job)));
            }
            Verdict::NotShared | Verdict::Changed => {
                let why = format!(
                    "{} does not share these files with you, or not any more; search again",
                    many.holder.peer
                );
                self.fail_batch(task, transfer, &why);
            }
            // Perhaps others fetch from it too.
            Verdict::Busy | Verdict::Queued { .. } => {
                many.take_back(transfer);
                many.again_at = Some(now + BUSY_WAIT);
            }
        }
        self.next_of_many(task);
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
        let route = FileRoute::from(batch.request.route);
        for (number, result) in reports {
            let Some(file) = batch.open.remove(&number) else { continue };
            let event = match result {
                Ok(path) => {
                    many.counts.files_done += 1;
                    many.counts.bytes_done += file.bytes;
                    let from = Some(many.holder.peer.clone());
                    Event::FileDone { path, bytes: file.bytes, sha256: file.sha256, from, route }
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
