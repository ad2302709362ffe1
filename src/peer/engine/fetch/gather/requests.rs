//! The requests for pieces, their answers, and what their transfers report.

use std::ops::Range;

use rand::{Rng as _, RngExt as _};
use wire::pieces::bytes_of;
use wire::signal::{self, Wish};
use wire::transfer::TransferKey;
use zeroize::Zeroizing;

use super::*;
use crate::peer::engine::interface::ReceivePiecesJob;
use crate::peer::engine::link::About;
use crate::peer::engine::requested::describe_file;
use crate::peer::records::Direction;

impl Engine {
    pub(super) fn ask_for_pieces(&mut self, task: TaskId, id: HolderId, run: RunId, pieces: &Range<u64>) {
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
        let holder = &gather.holders[id];
        let file = &holder.hit.file;
        let bytes = bytes_of(pieces, file.bytes);
        let mut request = FileRequest {
            transfer: self.local.rng.random(),
            secret: [0; 32],
            name: file.name.clone(),
            sha256: file.sha256,
            offset: bytes.start,
            wish: Wish::Pieces(holder.route, bytes.end),
        };
        // Filled in place, so that no copy is left in memory.
        self.local.rng.fill_bytes(&mut request.secret);
        let deadline = Some(self.local.now.instant + ANSWER_WAIT);
        let asked = Asked { holder: id, request, is_moving: false, is_stopped: false, place: None, deadline };
        gather.asked.insert(run, asked);
        self.send_request_for_pieces(task, run);
    }

    fn send_request_for_pieces(&mut self, task: TaskId, run: RunId) {
        let Some(gather) = self.fetches.gathers.get(&task) else { return };
        let Some(asked) = gather.asked.get(&run) else { return };
        let content = Zeroizing::new(signal::encode(&asked.request));
        let holder = gather.holders[asked.holder].hit.peer.clone();
        let about = About::Transfer(asked.request.transfer);
        self.signal_holder(&holder, &content, about);
    }

    /// Stops a transfer, whose end is reported, or takes a request back, which the plan is told at once.
    pub(super) fn stop_run(&mut self, task: TaskId, run: RunId) -> Option<Input> {
        let gather = self.fetches.gathers.get_mut(&task)?;
        let asked = gather.asked.get_mut(&run)?;
        let transfer = asked.request.transfer;
        if asked.is_moving {
            asked.is_stopped = true;
            self.local.effects.push(Effect::StopReceive(transfer));
            return None;
        }
        let holder = gather.holders[asked.holder].hit.peer.clone();
        gather.asked.remove(&run);
        self.withdraw(&holder, transfer, Reason::Left);
        Some(Input::Lost(run))
    }

    /// The fetch and the request that a transfer belongs to.
    fn gather_of(&self, transfer: TransferId) -> Option<(TaskId, RunId)> {
        let mut gathers = self.fetches.gathers.iter();
        gathers.find_map(|(task, gather)| Some((*task, gather.run_of(transfer)?)))
    }

    /// Handles the answer of a holder. Returns whether it is to a request for pieces.
    pub(in crate::peer::engine::fetch) fn answer_for_gather(
        &mut self,
        from: &PeerName,
        answer: &FileAnswer,
    ) -> bool {
        let Some((task, run)) = self.gather_of(answer.transfer) else { return false };
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return false };
        let Some(asked) = gather.asked.get_mut(&run).filter(|asked| !asked.is_moving) else { return true };
        let id = asked.holder;
        let holder = &mut gather.holders[id];
        if !same_name(&holder.hit.peer, from) {
            return true;
        }
        holder.has_answered = true;
        let input = match answer.verdict {
            Verdict::Ready { bytes, salt } if bytes == holder.hit.file.bytes => {
                return self.take_pieces(task, run, salt);
            }
            Verdict::Ready { .. } | Verdict::Changed => {
                holder.why = Some("it has changed there since it was published".into());
                gather.asked.remove(&run);
                Input::Left(id)
            }
            Verdict::NotShared => {
                holder.why = Some("it is not shared with you, or not any more".into());
                gather.asked.remove(&run);
                Input::Left(id)
            }
            Verdict::Busy => {
                gather.asked.remove(&run);
                Input::Busy(run)
            }
            Verdict::Queued { place } => {
                asked.deadline = Some(self.local.now.instant + QUEUE_WAIT);
                let is_new = asked.place.replace(place) != Some(place);
                let (name, from) = (holder.hit.file.name.clone(), holder.hit.peer.clone());
                // While others send, it does not matter.
                if is_new && !gather.asked.values().any(|asked| asked.is_moving) {
                    let client = gather.fetch.client;
                    self.local.tell(client, Event::FileQueued { name, from, place });
                }
                Input::Queued(run)
            }
        };
        let is_gone = matches!(input, Input::Left(_));
        self.plan(task, input);
        if is_gone {
            self.plan(task, Input::Lost(run));
        }
        true
    }

    /// The holder is ready. Returns true.
    fn take_pieces(&mut self, task: TaskId, run: RunId, salt: wire::transfer::TransferSalt) -> bool {
        // The plan may not want it any more, and has it taken back then.
        self.plan(task, Input::Sends(run));
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return true };
        let Some(asked) = gather.asked.get_mut(&run) else { return true };
        (asked.is_moving, asked.deadline) = (true, None);
        let request = &asked.request;
        let hit = &gather.holders[asked.holder].hit;
        let end = request.wish.end().unwrap_or(request.offset);
        let job = ReceivePiecesJob {
            task,
            key: TransferKey { transfer: request.transfer, secret: Zeroizing::new(request.secret), salt },
            download: gather.fetch.download(hit),
            pieces: request.offset / PIECE_BYTES..count(end),
            address: hit.address.filter(|_| request.wish.route() == Route::Direct),
        };
        let event = describe_file(Direction::Sent, &hit.peer, request, hit.file.bytes, salt);
        self.local.tell(gather.fetch.client, event);
        self.local.effects.push(Effect::ReceivePieces(Box::new(job)));
        true
    }

    /// Handles a request that the server has refused.
    pub(in crate::peer::engine::fetch) fn gather_refused(&mut self, transfer: TransferId, refusal: Refusal) {
        let Some((task, run)) = self.gather_of(transfer) else { return };
        let Some(gather) = self.fetches.gathers.get_mut(&task) else { return };
        let Some(asked) = gather.asked.remove(&run) else { return };
        gather.holders[asked.holder].why = Some(refusal.to_string());
        // It has not refused to answer.
        gather.holders[asked.holder].has_answered = true;
        self.plan(task, Input::Left(asked.holder));
        self.plan(task, Input::Lost(run));
    }

    /// Handles what a transfer reports. Returns it if it is not of pieces.
    pub(in crate::peer::engine::fetch) fn moved_gather(
        &mut self,
        transfer: TransferId,
        outcome: TransferOutcome,
    ) -> Option<TransferOutcome> {
        let Some((task, run)) = self.gather_of(transfer) else { return Some(outcome) };
        let gather = self.fetches.gathers.get_mut(&task)?;
        let asked = gather.asked.get(&run)?;
        let (id, route, is_stopped) = (asked.holder, asked.request.wish.route(), asked.is_stopped);
        let holder = &mut gather.holders[id];
        let input = match outcome {
            TransferOutcome::Piece { piece, next, is_new } => Input::Arrived { run, piece, next, is_new },
            TransferOutcome::ReceivedPieces => Input::Ended(run, true),
            TransferOutcome::CannotDial(_)
            | TransferOutcome::CutOff(..)
            | TransferOutcome::Wrong(..)
            | TransferOutcome::Received(_)
                if is_stopped =>
            {
                Input::Lost(run)
            }
            TransferOutcome::CannotDial(_) if route == Route::Direct => {
                holder.route = Route::Server;
                Input::Lost(run)
            }
            TransferOutcome::CannotDial(why)
            | TransferOutcome::CutOff(why, _)
            | TransferOutcome::Wrong(why, _)
            | TransferOutcome::Received(Err(why)) => {
                holder.why = Some(why);
                Input::Ended(run, false)
            }
            TransferOutcome::DiskFull(why) => {
                let holder = holder.hit.peer.clone();
                gather.asked.remove(&run);
                let parent = gather.fetch.parent;
                self.withdraw(&holder, transfer, Reason::DiskFull);
                if let Some(parent) = parent {
                    self.fail_many(parent, DISK_FULL);
                }
                self.fail_gather(task, &why);
                return None;
            }
            _ => return None,
        };
        if !matches!(input, Input::Arrived { .. }) {
            gather.asked.remove(&run);
        }
        self.plan(task, input);
        None
    }

    /// Asks again on a new connection. A request that waits keeps its place.
    pub(in crate::peer::engine::fetch) fn resume_gathers(&mut self) {
        for task in self.gather_tasks(|_| true) {
            let Some(gather) = self.fetches.gathers.get(&task) else { continue };
            let waiting: Vec<RunId> =
                gather.asked.iter().filter(|(_, asked)| !asked.is_moving).map(|(run, _)| *run).collect();
            for run in waiting {
                self.send_request_for_pieces(task, run);
            }
            self.plan(task, Input::Time);
        }
    }

    /// What was asked over a lost connection is asked again over the next one, of whoever is free then.
    pub(in crate::peer::engine::fetch) fn gathers_lost_connection(&mut self) {
        for task in self.gather_tasks(|_| true) {
            let Some(gather) = self.fetches.gathers.get_mut(&task) else { continue };
            let is_lost = |asked: &Asked| !asked.is_moving && asked.place.is_none();
            let lost: Vec<RunId> =
                gather.asked.extract_if(.., |_, asked| is_lost(asked)).map(|(run, _)| run).collect();
            lost.into_iter().for_each(|run| self.plan(task, Input::Lost(run)));
        }
    }
}
