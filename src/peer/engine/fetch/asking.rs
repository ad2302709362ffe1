//! The requests of a fetch to its holder.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use wire::PeerName;
use wire::protocol::{Kind, TransferId};
use wire::share::Hit;
use wire::signal::{self, FileRequest, Reason, Wish, Withdrawal};
use zeroize::Zeroizing;

use super::super::Engine;
use super::super::interface::{Effect, TaskId};
use super::super::link::About;
use super::{STEP_WAIT, Stage};
use crate::peer::event::Event;

/// How long to wait in the queue of a holder that says nothing. It tells the place every 10 seconds.
pub(in crate::peer::engine) const QUEUE_WAIT: Duration = Duration::from_secs(30);

/// Direct if the server knows where the holder can be dialled.
pub(super) fn wish_of(hit: &Hit) -> Wish {
    if hit.address.is_some() { Wish::Direct } else { Wish::Server }
}

pub(super) fn file_request(hit: &Hit, offset: u64, wish: Wish, rng: &mut StdRng) -> FileRequest {
    let (name, sha256) = (hit.file.name.clone(), hit.file.sha256);
    let mut request = FileRequest { transfer: rng.random(), secret: [0; 32], name, sha256, offset, wish };
    // Filled in place, so that no copy is left in memory.
    rng.fill_bytes(&mut request.secret);
    request
}

impl Engine {
    /// Requests the file from its holder. Without a given `wish`, the transfer is direct if the server knows where the
    /// holder can be dialled.
    pub(super) fn ask_holder(&mut self, task: TaskId, wish: Option<Wish>) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else {
            return;
        };
        let (Stage::Card(hit) | Stage::Asked(hit, _) | Stage::Moving(hit, _)) = &fetch.stage else {
            return;
        };
        let hit = hit.clone();
        let wish = wish.unwrap_or_else(|| wish_of(&hit));
        let request = file_request(&hit, fetch.offset, wish, &mut self.local.rng);
        (fetch.stage, fetch.place) = (Stage::Asked(hit, request), None);
        fetch.deadline = Some(self.local.now.instant + STEP_WAIT);
        self.send_request(task);
    }

    pub(super) fn send_request(&mut self, task: TaskId) {
        let fetch = self.fetches.fetches.get(&task).map(|fetch| &fetch.stage);
        let Some(Stage::Asked(hit, request) | Stage::Queued(hit, request)) = fetch else {
            return;
        };
        let content = Zeroizing::new(signal::encode(request));
        let (holder, about) = (hit.peer.clone(), About::Transfer(request.transfer));
        self.signal_holder(&holder, &content, about);
    }

    /// Takes a request back.
    pub(in crate::peer::engine) fn withdraw(
        &mut self,
        holder: &PeerName,
        transfer: TransferId,
        reason: Reason,
    ) {
        self.signal_holder(holder, &signal::encode(&Withdrawal { transfer, reason }), About::Nothing);
    }

    pub(in crate::peer::engine) fn signal_holder(&mut self, holder: &PeerName, content: &[u8], about: About) {
        let number = self.fetches.next_request;
        self.fetches.next_request += 1;
        let contact = self.contacts.of(holder);
        self.local.send_signal(contact, Kind::Request, number, content, about);
    }

    /// Handles the place of a request in the queue of its holder.
    pub(super) fn queued(&mut self, task: TaskId, place: u32) {
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else {
            return;
        };
        fetch.deadline = Some(self.local.now.instant + QUEUE_WAIT);
        let (hit, asked) = match std::mem::replace(&mut fetch.stage, Stage::Searching) {
            Stage::Asked(hit, asked) | Stage::Queued(hit, asked) => (hit, asked),
            other => return fetch.stage = other,
        };
        if fetch.place.replace(place) != Some(place) {
            let (name, from) = (hit.file.name.clone(), hit.peer.clone());
            self.local.tell(fetch.client, Event::FileQueued { name, from, place });
        }
        let (parent, holder) = (fetch.parent, hit.peer.clone());
        fetch.stage = Stage::Queued(hit, asked);
        if let Some(parent) = parent {
            self.part_waits(parent, &holder);
        }
    }

    /// Stops the transfer of a fetch, or takes its request back.
    pub(super) fn stop(&mut self, stage: &Stage) {
        match stage {
            Stage::Moving(_, asked) => self.local.effects.push(Effect::StopReceive(asked.transfer)),
            // If the holder becomes ready now, it does not keep a slot for it.
            Stage::Queued(hit, asked) | Stage::Asked(hit, asked) => {
                self.withdraw(&hit.peer, asked.transfer, Reason::Left);
            }
            _ => {}
        }
    }

    /// Notes that a request will not be served, so it need not be taken back.
    pub(super) fn is_refused(&mut self, task: TaskId) {
        if let Some(fetch) = self.fetches.fetches.get_mut(&task)
            && let Stage::Asked(hit, _) | Stage::Queued(hit, _) = &fetch.stage
        {
            fetch.stage = Stage::Card(hit.clone());
        }
    }
}
