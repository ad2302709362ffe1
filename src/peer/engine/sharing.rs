//! The files that this peer shares: lists them, and sends them to peers that request one.

use data_encoding::HEXLOWER;
use rand::RngExt as _;
use wire::PeerName;
use wire::escape::Escaped;
use wire::many::ManyRequest;
use wire::protocol::{Kind, Refusal, ToServer, TransferId};
use wire::share::{ListedFile, PublishedFile};
use wire::signal::{self, FileAnswer, FileRequest, Reason, Route, Verdict, Withdrawal};
use wire::transfer::{CHUNK_BYTES, FileHeader, TransferKey, TransferSalt};
use zeroize::Zeroizing;

use super::Engine;
use super::commands::ANSWER_WAIT;
use super::contact::same_name;
use super::interface::{Effect, SendJob, Shared};
use super::link::About;
use super::publishing::Publishing;
use super::send_many::ManyOffers;
use super::slots::{OFFER_WAIT, Offer, Slots, Told, Waiting};
use super::tasks::{Task, TaskKind};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event, FileRequestEvent};
use crate::peer::records::Direction;

pub(super) struct Sharing {
    pub(super) publishing: Publishing,
    /// What `keyword.txt` names and cannot be shared, as sharers were told.
    problems: Vec<String>,
    port: Option<u16>,
    pub(super) many: ManyOffers,
    pub(super) slots: Slots,
}

impl Sharing {
    pub(super) fn new(upload_slots: u32) -> Self {
        let slots = Slots::new(upload_slots);
        let publishing = Publishing::default();
        Self { publishing, problems: Vec::new(), port: None, many: ManyOffers::default(), slots }
    }

    /// The file that a peer requests, or why it is not sent.
    pub(super) fn requested(
        &self,
        from: &PeerName,
        request: &FileRequest,
    ) -> Result<&PublishedFile, Verdict> {
        let listed = self.publishing.files.get(&request.name);
        let listed = listed.filter(|listed| listed.audience.admits(from)).ok_or(Verdict::NotShared)?;
        let file = &listed.file;
        let is_same = file.sha256 == request.sha256 && request.offset <= file.bytes;
        if is_same { Ok(file) } else { Err(Verdict::Changed) }
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
        for ListedFile { file, audience } in self.sharing.publishing.files.values() {
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
        let Ok(request) = signal::decode::<FileRequest>(content) else {
            if let Ok(request) = signal::decode::<ManyRequest>(content) {
                self.request_for_many(from, number, request);
            }
            return;
        };
        let now = self.local.now.instant;
        // A peer that could not dial requests the file again through the server, and does not use the first offer.
        self.sharing.slots.free_unused(now, |offer| {
            let route = request.wish.route();
            route == Route::Server && same_name(&offer.to, from) && offer.request.sha256 == request.sha256
        });
        let transfer = request.transfer;
        if let Err(verdict) = self.sharing.requested(from, &request) {
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
        if !(request.wish.may_wait() && slots.enqueue(from, number, request)) {
            self.answer_request(from, number, transfer, Verdict::Busy);
        }
    }

    /// Handles a receiver that does not want a file any more.
    fn withdrawn(&mut self, from: &PeerName, withdrawal: &Withdrawal) {
        let Withdrawal { transfer, reason } = *withdrawal;
        self.sharing.slots.withdraw(from, transfer);
        let Some(name) = self.sharing.slots.sent_to(from, transfer).filter(|_| reason == Reason::DiskFull)
        else {
            return;
        };
        let reason = format!(
            "{name} has not arrived, because the disk of {from} is full; what has arrived is kept there, and {from} can fetch the \
             rest when there is room"
        );
        let reason = Escaped(&reason).to_string();
        self.local.tell_sharers(&Event::Refused { with: from.clone(), number: None, reason });
    }

    fn answer_request(&mut self, to: &PeerName, number: u64, transfer: TransferId, verdict: Verdict) {
        let answer = signal::encode(&FileAnswer { transfer, verdict });
        if let Some(contact) = self.contacts.get_mut(to) {
            self.local.send_signal(contact, Kind::Answer, number, &answer, About::Offer(transfer));
        }
    }

    /// Offers a file to the peer that has requested it, in a slot that is free.
    fn offer(&mut self, to: &PeerName, number: u64, request: FileRequest) {
        let transfer = request.transfer;
        let bytes = match self.sharing.requested(to, &request) {
            Ok(file) => file.bytes,
            Err(verdict) => return self.answer_request(to, number, transfer, verdict),
        };
        let salt = self.local.rng.random();
        self.answer_request(to, number, transfer, Verdict::Ready { bytes, salt });
        let event = describe_request(Direction::Received, to, &request, bytes, salt);
        self.local.tell_sharers(&event);
        let expires = self.local.now.instant + OFFER_WAIT;
        let through_server = request.wish.route() == Route::Server;
        self.sharing.slots.serve(Offer { to: to.clone(), request, salt, expires, is_underway: false });
        if through_server {
            self.send_file(transfer);
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
        }
    }

    /// Handles a peer that has dialled for an offered file.
    pub(super) fn dialled(&mut self, transfer: TransferId) {
        self.send_file(transfer);
        self.send_many(transfer);
    }

    fn send_file(&mut self, transfer: TransferId) {
        let Some(offer) = self.sharing.slots.offer_mut(transfer) else {
            return;
        };
        if std::mem::replace(&mut offer.is_underway, true) {
            return;
        }
        let request = &offer.request;
        let key = TransferKey { transfer, secret: Zeroizing::new(request.secret), salt: offer.salt };
        let (offset, sha256, route) = (request.offset, request.sha256, request.wish.route());
        // Who may fetch it, or the file itself, may have changed since it was offered.
        let listed = self.sharing.publishing.files.get(&request.name);
        let is_still_for =
            |listed: &&ListedFile| listed.file.sha256 == sha256 && listed.audience.admits(&offer.to);
        let Some(ListedFile { file, .. }) = listed.filter(is_still_for) else {
            self.sharing.slots.free(transfer);
            return;
        };
        let header = FileHeader { name: file.name.clone(), total_bytes: file.bytes, offset, sha256 };
        self.local.effects.push(Effect::Send(Box::new(SendJob { key, header, route })));
    }

    pub(super) fn sent(&mut self, transfer: TransferId, sent: Result<u64, String>) {
        let Some(Offer { to, request, .. }) = self.sharing.slots.free(transfer) else { return };
        match sent {
            Ok(bytes) => {
                let (name, sha256, route) =
                    (request.name.clone(), request.sha256, request.wish.route().into());
                self.local.tell_sharers(&Event::FileSent { to, name, bytes, sha256, route });
            }
            Err(error) => {
                let name = Escaped(request.name.as_str()).to_string();
                self.local.tell_sharers(&Event::error(format!("{name} could not be sent to {to}: {error}")));
            }
        }
    }
}

/// A request that its holder, who has drawn the salt, has granted. The file has `total_bytes` bytes.
pub(super) fn describe_request(
    direction: Direction,
    with: &PeerName,
    request: &FileRequest,
    total_bytes: u64,
    salt: TransferSalt,
) -> Event {
    let left = total_bytes.saturating_sub(request.offset);
    Event::FileRequest(Box::new(FileRequestEvent {
        with: with.clone(),
        direction,
        name: request.name.clone(),
        sha256: request.sha256,
        offset: request.offset,
        route: request.wish.route().into(),
        transfer: HEXLOWER.encode(&request.transfer),
        salt: HEXLOWER.encode(&salt),
        // Of an empty file, one empty chunk is sent.
        chunks: left.div_ceil(CHUNK_BYTES as u64).max(1),
    }))
}
