//! The files that this peer shares: lists them, and sends them to peers that request one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rand::RngExt as _;
use wire::PeerName;
use wire::escape::Escaped;
use wire::many::ManyRequest;
use wire::protocol::{Kind, ToServer, TransferId};
use wire::share::{ListedFile, PublishedFile};
use wire::signal::{self, FileAnswer, FileRequest, Route, Verdict};
use wire::transfer::{CHUNK_BYTES, FileHeader, TransferKey, TransferSalt};
use zeroize::Zeroizing;

use super::Engine;
use super::commands::ANSWER_WAIT;
use super::interface::{Effect, SendJob, Shared};
use super::link::About;
use super::publishing::Publishing;
use super::send_many::ManyOffers;
use super::tasks::{Task, TaskKind};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event, FileRequestEvent};
use crate::peer::records::Direction;

/// How long an offered file waits for the receiver to dial.
const OFFER_WAIT: Duration = Duration::from_secs(30);
/// The maximum number of files that are offered or being sent.
const OFFERS_MAX: usize = 32;
/// The maximum number of those for one peer.
const OFFERS_EACH_MAX: usize = 4;

/// A file that is offered to a peer.
struct Offer {
    to: PeerName,
    request: FileRequest,
    salt: TransferSalt,
    expires: Instant,
    is_underway: bool,
}

#[derive(Default)]
pub(super) struct Sharing {
    pub(super) publishing: Publishing,
    /// What `keyword.txt` names and cannot be shared, as sharers were told.
    problems: Vec<String>,
    port: Option<u16>,
    offers: BTreeMap<TransferId, Offer>,
    pub(super) many: ManyOffers,
}

impl Sharing {
    /// The file that a peer requests, if it is shared with that peer.
    fn file(&self, from: &PeerName, request: &FileRequest) -> Option<&PublishedFile> {
        let listed = self.publishing.files.get(&request.name);
        listed.filter(|listed| listed.audience.admits(from)).map(|listed| &listed.file)
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
        self.publish_anew();
    }

    pub(super) fn request(&mut self, from: &PeerName, number: u64, content: &[u8]) {
        let Ok(request) = signal::decode::<FileRequest>(content) else {
            if let Ok(request) = signal::decode::<ManyRequest>(content) {
                self.request_for_many(from, number, request);
            }
            return;
        };
        let transfer = request.transfer;
        let verdict = self.judge(from, &request);
        let answer = signal::encode(&FileAnswer { transfer, verdict });
        if let Some(contact) = self.contacts.get_mut(from) {
            self.local.send_signal(contact, Kind::Answer, number, &answer, About::Nothing);
        }
        let Verdict::Ready { salt, .. } = verdict else {
            return;
        };
        if let Some(file) = self.sharing.file(from, &request) {
            let event = describe_request(Direction::Received, from, &request, file.bytes, salt);
            self.local.tell_sharers(&event);
        }
        let expires = self.local.now.instant + OFFER_WAIT;
        let through_server = request.route == Route::Server;
        let offer = Offer { to: from.clone(), request, salt, expires, is_underway: false };
        self.sharing.offers.insert(transfer, offer);
        if through_server {
            self.send_file(transfer);
        }
    }

    pub(super) fn judge(&mut self, from: &PeerName, request: &FileRequest) -> Verdict {
        let now = self.local.now.instant;
        // A peer that could not dial requests the file again through the server, and does not use the first offer.
        let is_replaced = |offer: &Offer| {
            request.route == Route::Server && offer.to == *from && offer.request.sha256 == request.sha256
        };
        let sharing = &mut self.sharing;
        sharing.offers.retain(|_, o| o.is_underway || (o.expires > now && !is_replaced(o)));
        let offered = sharing.offers.values().filter(|offer| offer.to == *from).count();
        match sharing.file(from, request) {
            None => Verdict::NotShared,
            Some(file) if file.sha256 != request.sha256 || request.offset > file.bytes => Verdict::Changed,
            Some(_) if sharing.offers.len() >= OFFERS_MAX || offered >= OFFERS_EACH_MAX => Verdict::Busy,
            // A repeated transfer would use a key and a nonce twice.
            Some(_) if sharing.offers.contains_key(&request.transfer) => Verdict::Busy,
            Some(file) => Verdict::Ready { bytes: file.bytes, salt: self.local.rng.random() },
        }
    }

    /// Handles a peer that has dialled for an offered file.
    pub(super) fn dialled(&mut self, transfer: TransferId) {
        self.send_file(transfer);
        self.send_many(transfer);
    }

    fn send_file(&mut self, transfer: TransferId) {
        let Some(offer) = self.sharing.offers.get_mut(&transfer) else {
            return;
        };
        if std::mem::replace(&mut offer.is_underway, true) {
            return;
        }
        let request = &offer.request;
        let key = TransferKey { transfer, secret: Zeroizing::new(request.secret), salt: offer.salt };
        let (offset, sha256, route) = (request.offset, request.sha256, request.route);
        // Who may fetch it, or the file itself, may have changed since it was offered.
        let listed = self.sharing.publishing.files.get(&request.name);
        let is_still_for =
            |listed: &&ListedFile| listed.file.sha256 == sha256 && listed.audience.admits(&offer.to);
        let Some(ListedFile { file, .. }) = listed.filter(is_still_for) else {
            self.sharing.offers.remove(&transfer);
            return;
        };
        let header = FileHeader { name: file.name.clone(), total_bytes: file.bytes, offset, sha256 };
        self.local.effects.push(Effect::Send(Box::new(SendJob { key, header, route })));
    }

    pub(super) fn sent(&mut self, transfer: TransferId, sent: Result<u64, String>) {
        let offer = self.sharing.offers.remove(&transfer);
        let Some(Offer { to, request, .. }) = offer else { return };
        match sent {
            Ok(bytes) => {
                let (name, sha256, route) = (request.name.clone(), request.sha256, request.route.into());
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
        route: request.route.into(),
        transfer: HEXLOWER.encode(&request.transfer),
        salt: HEXLOWER.encode(&salt),
        // Of an empty file, one empty chunk is sent.
        chunks: left.div_ceil(CHUNK_BYTES as u64).max(1),
    }))
}
