//! The files that this peer shares: lists them, and sends them to peers that request one.

use rand::RngExt as _;
use wire::many::NotSent;
use wire::pieces;
use wire::protocol::{Kind, Refusal, ToServer, TransferId};
use wire::share::{ListedFile, PublishedFile};
use wire::signal::{self, FileAnswer, Reason, Route, Verdict, Withdrawal};
use wire::transfer::FileHeader;
use wire::{Digest, FileName, PeerName};

use super::Engine;
use super::commands::ANSWER_WAIT;
use super::contact::same_name;
use super::interface::{Effect, SendJob, SendManyJob, Shared};
use super::link::About;
use super::publishing::Publishing;
use super::requested::Requested;
use super::slots::{OFFER_WAIT, Offer, Slots, Told, Waiting};
use super::tasks::{Task, TaskKind};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};
use crate::peer::records::Direction;

pub(super) struct Sharing {
    pub(super) publishing: Publishing,
    /// What `keyword.txt` names and cannot be shared, as sharers were told.
    problems: Vec<String>,
    port: Option<u16>,
    pub(super) slots: Slots,
}

impl Sharing {
    pub(super) fn new(upload_slots: u32) -> Self {
        let slots = Slots::new(upload_slots);
        Self { publishing: Publishing::default(), problems: Vec::new(), port: None, slots }
    }

    /// What to send to a peer for its request, file by file.
    fn headers(&self, to: &PeerName, request: &Requested) -> Vec<Result<FileHeader, NotSent>> {
        let header = |name: &FileName, sha256: Digest, offset: u64| {
            let listed = self.publishing.files.get(name).filter(|listed| listed.audience.admits(to));
            let PublishedFile { name, bytes, sha256: present, .. } = &listed.ok_or(NotSent::NotShared)?.file;
            if *present != sha256 || offset > *bytes {
                return Err(NotSent::Changed);
            }
            Ok(FileHeader { name: name.clone(), total_bytes: *bytes, offset, sha256 })
        };
        match request {
            Requested::File(request) => {
                let header = header(&request.name, request.sha256, request.offset);
                let has_pieces = |header: &FileHeader| {
                    request.wish.end().is_none() || pieces::requested(request, header.total_bytes).is_some()
                };
                vec![
                    header.and_then(
                        |header| if has_pieces(&header) { Ok(header) } else { Err(NotSent::Changed) },
                    ),
                ]
            }
            Requested::Files(request) => {
                request.files.iter().map(|wanted| header(&wanted.name, wanted.sha256, 0)).collect()
            }
        }
    }

    /// How many bytes the requested files have that a peer can get, or why it gets none.
    pub(super) fn granted(&self, to: &PeerName, request: &Requested) -> Result<u64, Verdict> {
        let headers = self.headers(to, request);
        if headers.iter().any(Result::is_ok) {
            return Ok(headers.iter().flatten().map(|header| header.total_bytes).sum());
        }
        let is_any_shared = headers.iter().any(|header| matches!(header, Err(NotSent::Changed)));
        Err(if is_any_shared { Verdict::Changed } else { Verdict::NotShared })
    }
}

impl Engine {
    /// Handles the share when it was read.
    pub(super) fn shared(&mut self, shared: Result<Shared, String>) {
        let waits = |task: &mut Task| matches!(task.kind, TaskKind::ChangeShare | TaskKind::Files);
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => {
                self.local.tell_sharers(&Event::error(error));
                return self.local.end_tasks(Ending::Failed, waits);
            }
        };
        for problem in &shared.problems {
            let event = Event::Result(Answer::Problem { problem: problem.clone() });
            if self.sharing.problems.contains(problem) {
                self.local
                    .tell_all(&event, |task| matches!(task.kind, TaskKind::ChangeShare | TaskKind::Files));
            } else {
                self.local.tell_sharers(&event);
            }
        }
        self.sharing.problems = shared.problems;
        let is_changed = self.sharing.publishing.take(shared.removed, shared.files);
        self.list_files();
        let until = self.local.now.instant + ANSWER_WAIT;
        for task in &mut self.local.tasks {
            if matches!(task.kind, TaskKind::ChangeShare) {
                task.deadline = Some(until);
            }
        }
        self.publish_changes(is_changed);
    }

    /// Answers the clients that want a list of the shared files.
    fn list_files(&mut self) {
        let lists = |task: &Task| matches!(task.kind, TaskKind::Files);
        if !self.local.tasks.iter().any(lists) {
            return;
        }
        for listed in self.sharing.publishing.files.values() {
            let ListedFile { file, audience } = &**listed;
            let only = audience.names().map(<[_]>::to_vec);
            self.local.tell_all(&Event::Result(Answer::Sharing { file: file.clone(), only }), lists);
        }
        if self.sharing.publishing.files.is_empty() {
            self.local.tell_all(&Event::Result(Answer::NothingShared), lists);
        }
        self.local.end_tasks(Ending::Done, |task| lists(task));
    }

    pub(super) fn listening(&mut self, port: u16) {
        self.sharing.port = Some(port);
        self.local.say(&ToServer::Listening { port });
    }

    /// Publishes the share and the listening port on a new connection.
    pub(super) fn announce_files(&mut self) {
        if let Some(port) = self.sharing.port {
            self.local.say(&ToServer::Listening { port });
        }
        self.sharing.slots.tell_again();
        self.publish_anew();
    }

    pub(super) fn request(&mut self, from: &PeerName, number: u64, content: &[u8]) {
        if let Ok(withdrawal) = signal::decode::<Withdrawal>(content) {
            return self.withdrawn(from, &withdrawal);
        }
        let Some(request) = Requested::decode(content) else { return };
        let now = self.local.now.instant;
        // A peer that could not dial requests the same again through the server, and does not use the first offer.
        self.sharing.slots.free_unused(now, |offer| {
            request.wish().route() == Route::Server
                && same_name(&offer.to, from)
                && offer.request.is_for_the_same(&request)
        });
        let transfer = request.transfer();
        if let Err(verdict) = self.sharing.granted(from, &request) {
            return self.answer_request(from, number, transfer, verdict);
        }
        let slots = &mut self.sharing.slots;
        // A repeated transfer would use a key and a nonce twice.
        if slots.serves(&transfer) {
            return self.answer_request(from, number, transfer, Verdict::Busy);
        }
        if slots.has_room_for(from) {
            return self.offer(from, number, request);
        }
        // A request in the queue is answered with its place.
        if !(request.wish().may_wait() && slots.enqueue(from, number, request)) {
            self.answer_request(from, number, transfer, Verdict::Busy);
        }
    }

    /// Handles a receiver that does not want any more what it has requested.
    pub(super) fn withdrawn(&mut self, from: &PeerName, withdrawal: &Withdrawal) {
        let Withdrawal { transfer, reason } = *withdrawal;
        self.sharing.slots.withdraw(from, transfer);
        if reason == Reason::Left {
            self.stop_sending(from, transfer);
        }
        if reason == Reason::DiskFull
            && let Some(what) = self.sharing.slots.sent_to(from, transfer)
        {
            let reason = format!(
                "{what}, because the disk of {from} is full; what has arrived is kept there, and {from} can fetch the rest when \
                 there is room"
            );
            self.local.tell_sharers(&Event::Refused { with: from.clone(), number: None, reason });
        }
    }

    fn answer_request(&mut self, to: &PeerName, number: u64, transfer: TransferId, verdict: Verdict) {
        let answer = signal::encode(&FileAnswer { transfer, verdict });
        if let Some(contact) = self.contacts.get_mut(to) {
            self.local.send_signal(contact, Kind::Answer, number, &answer, About::Offer(transfer));
        }
    }

    /// Offers a peer what it has requested, in a slot that is free.
    fn offer(&mut self, to: &PeerName, number: u64, request: Requested) {
        let transfer = request.transfer();
        let bytes = match self.sharing.granted(to, &request) {
            Ok(bytes) => bytes,
            Err(verdict) => return self.answer_request(to, number, transfer, verdict),
        };
        let salt = self.local.rng.random();
        self.answer_request(to, number, transfer, Verdict::Ready { bytes, salt });
        self.local.tell_sharers(&request.describe(Direction::Received, to, bytes, salt));
        let expires = self.local.now.instant + OFFER_WAIT;
        let through_server = request.wish().route() == Route::Server;
        self.sharing.slots.serve(Offer { to: to.clone(), request, salt, expires, is_underway: false });
        if through_server {
            self.send(transfer);
        }
    }

    /// Serves the queue as far as slots are free, and tells the others their places.
    pub(super) fn serve_queue(&mut self) {
        if self.local.link.is_none() {
            return;
        }
        let now = self.local.now.instant;
        self.sharing.slots.free_unused(now, |_| false);
        while let Some(Waiting { from, number, request, .. }) = self.sharing.slots.next() {
            self.offer(&from, number, request);
        }
        for Told { to, number, transfer, place } in self.sharing.slots.places(now) {
            self.answer_request(&to, number, transfer, Verdict::Queued { place });
        }
    }

    /// Handles an answer that the server has refused.
    pub(super) fn answer_refused(&mut self, to: &PeerName, transfer: TransferId, refusal: Refusal) {
        // With other refusals, the receiver gets the next answer.
        if refusal == Refusal::Absent {
            self.sharing.slots.withdraw(to, transfer);
            self.stop_sending(to, transfer);
        }
    }

    /// Ends a transfer that its receiver does not want any more. Through the server, this peer would wait there for seconds otherwise,
    /// and keep the slot.
    fn stop_sending(&mut self, to: &PeerName, transfer: TransferId) {
        if self.sharing.slots.stop(to, transfer) {
            self.local.effects.push(Effect::StopSend(transfer));
        }
    }

    /// Sends what was offered, because the server connects both peers, or the receiver has dialled.
    pub(super) fn send(&mut self, transfer: TransferId) {
        let Some(offer) = self.sharing.slots.offer_mut(transfer) else {
            return;
        };
        if std::mem::replace(&mut offer.is_underway, true) {
            return;
        }
        let (key, route) = (offer.request.key(offer.salt), offer.request.wish().route());
        let Some(Offer { to, request, .. }) = self.sharing.slots.offer(transfer) else { return };
        // Who may fetch a file, or the file itself, may have changed since it was offered.
        let mut files = self.sharing.headers(to, request);
        let effect = match request {
            Requested::Files(_) => Effect::SendMany(Box::new(SendManyJob { key, files, route })),
            Requested::File(request) => {
                let end = request.wish.end();
                let Some(Ok(header)) = files.pop() else {
                    self.sharing.slots.free(transfer);
                    return;
                };
                Effect::Send(Box::new(SendJob { key, header, end, route }))
            }
        };
        self.local.effects.push(effect);
    }

    /// Handles the end of a transfer: the numbers of those of many files that were sent, and how many bytes in all.
    pub(super) fn sent(&mut self, transfer: TransferId, numbers: &[usize], sent: Result<u64, String>) {
        let Some(Offer { to, request, .. }) = self.sharing.slots.free(transfer) else { return };
        let bytes = match sent {
            Ok(bytes) => bytes,
            // The receiver has got these pieces from somebody else, or gets them again.
            Err(_) if matches!(&request, Requested::File(request) if request.wish.end().is_some()) => return,
            Err(error) => {
                let what = request.what();
                let error = Event::error(format!("{what} could not be sent to {to}: {error}"));
                return self.local.tell_sharers(&error);
            }
        };
        let route = request.wish().route().into();
        let files: Vec<(FileName, Digest, u64)> = match &request {
            Requested::File(request) => vec![(request.name.clone(), request.sha256, bytes)],
            Requested::Files(request) => {
                let files = numbers.iter().filter_map(|number| request.files.get(*number));
                let listed = |name: &FileName| self.sharing.publishing.files.get(name);
                let bytes = |name: &FileName| listed(name).map_or(0, |listed| listed.file.bytes);
                files.map(|file| (file.name.clone(), file.sha256, bytes(&file.name))).collect()
            }
        };
        for (name, sha256, bytes) in files {
            self.local.tell_sharers(&Event::FileSent { to: to.clone(), name, bytes, sha256, route });
        }
    }
}
