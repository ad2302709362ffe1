//! Files: what this peer shares, what others fetch from it, and what it fetches from others.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use wire::escape::Escaped;
use wire::frame;
use wire::protocol::{Kind, Refusal, ToServer, TransferId};
use wire::query::Query;
use wire::share::{Hit, PublishedFile};
use wire::signal::{self, FileAnswer, FileRequest, Route, Verdict};
use wire::transfer::{FileHeader, TransferKey, TransferSalt};
use wire::{Digest, FileName, PeerName};
use zeroize::Zeroizing;

use super::contact::Lookup;
use super::outbound::About;
use super::{ClientId, Effect, Engine, Fatal};
use crate::peer::command::{EXIT_DONE, EXIT_FAILED, Wanted};
use crate::peer::event::{Answer, Event, FileRoute};
use crate::peer::share::{Share, SharedFile};
use crate::peer::transfer::Received;

/// How long each step of a fetch may take before the bytes flow.
const STEP_WAIT: Duration = Duration::from_secs(15);
/// How long a file waits to be fetched after it was promised.
const OFFER_WAIT: Duration = Duration::from_secs(30);
/// Most files that are promised or sent at once.
const OFFERS_MAX: usize = 32;
/// Most of them for one peer.
const OFFERS_EACH_MAX: usize = 4;
/// How long to wait before sharing again when the server was busy.
const PUBLISH_AGAIN: Duration = Duration::from_secs(10);
/// Most bytes of names and keywords in one part of a publication, well below the longest frame.
const PART_BYTES_MAX: usize = 256 << 10;
/// Most hits looked at for a holder.
const HOLDERS_WANTED: u32 = 1000;

/// A transfer for the runner to carry out on a thread of its own.
pub enum FileJob {
    /// This peer wants the file.
    Receive(ReceiveJob),
    /// This peer has the file.
    Send(SendJob),
}

/// A file to be received.
pub struct ReceiveJob {
    /// Which transfer, and what its key is derived from.
    pub key: TransferKey,
    /// The file's name at its holder.
    pub name: FileName,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: Digest,
    /// Where the holder can be dialled; through the server if it is left out.
    pub address: Option<SocketAddr>,
    /// Where it goes; the downloads folder if it is left out.
    pub output: Option<PathBuf>,
    /// Whether a file that is there may be replaced.
    pub overwrite: bool,
}

/// A file to be sent.
pub struct SendJob {
    /// Which transfer, and what its key is derived from.
    pub key: TransferKey,
    /// Which file.
    pub file: SharedFile,
    /// What goes in front of it.
    pub header: FileHeader,
    /// Who has dialled; through the server if it is left out.
    pub stream: Option<TcpStream>,
}

/// What a transfer reports.
pub enum TransferOutcome {
    /// So much has arrived.
    Progress {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The holder cannot be dialled.
    CannotDial(String),
    /// It has arrived, or not.
    Received(Result<Received, String>),
    /// The same file was where it goes; nothing was fetched.
    WasHere(Received),
    /// It was sent, or not.
    Sent(Result<u64, String>),
    /// It is no longer what was shared, so it was not sent.
    Outdated(String),
}

struct Offer {
    /// To whom.
    to: PeerName,
    request: FileRequest,
    salt: TransferSalt,
    file: SharedFile,
    expires: Instant,
    is_underway: bool,
}

enum Stage {
    /// The server has been asked who has it, or will be.
    Searching,
    /// The server has been asked for the holder's card.
    Card(Hit),
    /// The holder has been asked.
    Asked(Hit, Asked),
    /// Bytes flow.
    Moving(Hit, Asked),
}

struct Asked {
    transfer: TransferId,
    secret: Zeroizing<[u8; 32]>,
    route: Route,
}

struct Fetch {
    client: ClientId,
    task: u64,
    wanted: Wanted,
    from: Option<PeerName>,
    output: Option<PathBuf>,
    overwrite: bool,
    stage: Stage,
    deadline: Option<Instant>,
}

/// What the engine knows of files.
#[derive(Default)]
pub(super) struct Files {
    share: Option<Share>,
    port: Option<u16>,
    published: Option<(u32, u32)>,
    publish_again_at: Option<Instant>,
    offers: HashMap<TransferId, Offer>,
    fetches: Vec<Fetch>,
    next_request: u64,
    /// Whether clients know that there is no server.
    pub(super) has_said_unreachable: bool,
}

impl Files {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.fetches.iter().filter_map(|fetch| fetch.deadline).chain(self.publish_again_at).min()
    }
}

impl Engine {
    /// What this peer shares was read.
    pub(super) fn shared(&mut self, share: Result<Share, String>) {
        match share {
            Ok(share) => {
                for problem in &share.problems {
                    self.tell_sharers(&Event::Result(Answer::Problem { problem: problem.to_string() }));
                }
                self.files.share = Some(share);
                self.list_for_waiting();
                self.publish();
            }
            Err(error) => {
                self.tell_sharers(&Event::error(error));
                self.end_sharing(EXIT_FAILED);
            }
        }
    }

    pub(super) fn listening(&mut self, port: u16) {
        self.files.port = Some(port);
        self.announce_port();
    }

    pub(super) fn called_back(&mut self, echo: [u8; 32]) {
        if self.link.is_some() {
            frame::encode(&ToServer::CalledBack { echo }, &mut self.frames);
        }
    }

    /// Tells a server that was just joined what is shared and where.
    pub(super) fn announce_files(&mut self) {
        self.files.published = None;
        self.files.publish_again_at = None;
        self.announce_port();
        self.publish();
    }

    fn announce_port(&mut self) {
        if let (Some(port), true) = (self.files.port, self.link.is_some()) {
            frame::encode(&ToServer::Listening { port }, &mut self.frames);
        }
    }

    fn publish(&mut self) {
        let (Some(share), true) = (&self.files.share, self.link.is_some()) else {
            return;
        };
        let mut parts: Vec<Vec<PublishedFile>> = vec![Vec::new()];
        let mut bytes = 0;
        for file in share.files.iter().map(SharedFile::published) {
            let size = 64
                + file.name.as_str().len()
                + file.keywords.iter().map(|k| k.as_str().len() + 2).sum::<usize>();
            if bytes + size > PART_BYTES_MAX && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            parts.last_mut().expect("there is always a part").push(file);
        }
        let count = parts.len();
        for (part, files) in (0u32..).zip(parts) {
            let last = part as usize + 1 == count;
            frame::encode(&ToServer::Publish { part, last, files }, &mut self.frames);
        }
    }

    /// The server has not taken the share; it is offered again. False if that is known already.
    pub(super) fn not_published(&mut self) -> bool {
        let at = self.now.instant + PUBLISH_AGAIN;
        self.files.publish_again_at.replace(at).is_none()
    }

    /// A client that comes after the share was published is told so.
    pub(super) fn say_published(&mut self, client: ClientId) {
        if let (Some((files, pairs)), true) = (self.files.published, self.link.is_some()) {
            self.tell(client, Event::Result(Answer::Published { files, pairs }));
        }
    }

    pub(super) fn published(&mut self, files: u32, pairs: u32) {
        self.files.published = Some((files, pairs));
        self.tell_sharers(&Event::Result(Answer::Published { files, pairs }));
        self.end_add_share(EXIT_DONE);
    }

    pub(super) fn sharing(&self) -> Vec<Answer> {
        let files = self.files.share.iter().flat_map(|share| &share.files);
        files
            .map(|file| Answer::Sharing {
                name: file.name.clone(),
                bytes: file.bytes,
                sha256: file.sha256,
                keywords: file.keywords.iter().map(|k| k.as_str().to_owned()).collect(),
            })
            .collect()
    }

    /// Somebody asks for a file.
    pub(super) fn request(&mut self, from: &PeerName, number: u64, content: &[u8]) {
        let Ok(request) = signal::decode::<FileRequest>(content) else {
            return;
        };
        let transfer = request.transfer;
        let verdict = self.judge(from, &request);
        let answer = signal::encode(&FileAnswer { transfer, verdict });
        self.send_signal(from, Kind::Answer, number, &answer, About::Nothing);
        let Verdict::Ready { salt, .. } = verdict else {
            return;
        };
        let file = self.files.share.as_ref().and_then(|share| share.by_name(&request.name));
        let Some(file) = file.cloned() else { return };
        let is_underway = request.route == Route::Server;
        if is_underway {
            self.send_file(&request, salt, file.clone(), None);
        }
        let expires = self.now.instant + OFFER_WAIT;
        self.files
            .offers
            .insert(transfer, Offer { to: from.clone(), request, salt, file, expires, is_underway });
    }

    fn judge(&mut self, from: &PeerName, request: &FileRequest) -> Verdict {
        let now = self.now.instant;
        self.files.offers.retain(|_, offer| offer.is_underway || offer.expires > now);
        let shared = self.files.share.as_ref().and_then(|share| share.by_name(&request.name));
        match shared {
            None => Verdict::NotShared,
            Some(file) if file.sha256 != request.sha256 || request.offset > file.bytes => Verdict::Changed,
            Some(_) if self.files.offers.len() >= OFFERS_MAX => Verdict::Busy,
            Some(_) if self.files.offers.values().filter(|o| o.to == *from).count() >= OFFERS_EACH_MAX => {
                Verdict::Busy
            }
            // The same transfer twice would use a key and a nonce twice.
            Some(_) if self.files.offers.contains_key(&request.transfer) => Verdict::Busy,
            Some(file) => Verdict::Ready { bytes: file.bytes, salt: self.rng.random() },
        }
    }

    /// Somebody has dialled for a file that was promised.
    pub(super) fn fetched(&mut self, transfer: TransferId, stream: TcpStream) {
        let Some(offer) = self.files.offers.get_mut(&transfer) else {
            return;
        };
        if std::mem::replace(&mut offer.is_underway, true) {
            return;
        }
        let (request, salt, file) = (offer.request.clone(), offer.salt, offer.file.clone());
        self.send_file(&request, salt, file, Some(stream));
    }

    fn send_file(
        &mut self,
        request: &FileRequest,
        salt: TransferSalt,
        file: SharedFile,
        stream: Option<TcpStream>,
    ) {
        let header = FileHeader {
            name: file.name.clone(),
            total_bytes: file.bytes,
            offset: request.offset,
            sha256: file.sha256,
        };
        let key = TransferKey { transfer: request.transfer, secret: Zeroizing::new(request.secret), salt };
        let job = SendJob { key, file, header, stream };
        self.effects.push(Effect::Transfer(Box::new(FileJob::Send(job))));
    }

    /// Starts to fetch a file for a client.
    pub(super) fn start_get(
        &mut self,
        client: ClientId,
        task: u64,
        wanted: Wanted,
        from: Option<PeerName>,
        output: Option<PathBuf>,
        overwrite: bool,
    ) {
        let deadline = Some(self.now.instant + STEP_WAIT);
        let stage = Stage::Searching;
        self.files.fetches.push(Fetch { client, task, wanted, from, output, overwrite, stage, deadline });
        self.resume_fetches();
    }

    /// Asks the server again for what it was asked for on an earlier connection.
    pub(super) fn resume_fetches(&mut self) {
        if self.link.is_none() {
            return;
        }
        for fetch in &self.files.fetches {
            if let Stage::Searching = fetch.stage {
                let query = match &fetch.wanted {
                    Wanted::Name(name) => Query::File(name.clone()),
                    Wanted::Digest(digest) => Query::Digest(*digest),
                };
                let id = u32::try_from(fetch.task).unwrap_or(u32::MAX);
                frame::encode(&ToServer::Search { id, query, limit: HOLDERS_WANTED }, &mut self.frames);
            }
        }
    }

    fn fetch_at(&self, id: u32) -> Option<usize> {
        self.files.fetches.iter().position(|f| f.task == u64::from(id) && matches!(f.stage, Stage::Searching))
    }

    pub(super) fn found_for_fetch(&mut self, id: u32, hits: Vec<Hit>) {
        let Some(at) = self.fetch_at(id) else { return };
        match choose(&self.files.fetches[at], hits, &self.me.name) {
            Ok(hit) => {
                let holder = hit.peer.clone();
                let fetch = &mut self.files.fetches[at];
                fetch.stage = Stage::Card(hit);
                fetch.deadline = Some(self.now.instant + STEP_WAIT);
                self.contact(&holder).lookup = Lookup::Asked;
                frame::encode(&ToServer::Lookup { name: holder }, &mut self.frames);
            }
            Err(why) => self.fail_fetch(at, why),
        }
    }

    pub(super) fn fetch_search_failed(&mut self, id: u32, detail: &str) {
        if let Some(at) = self.fetch_at(id) {
            self.fail_fetch(at, detail.to_owned());
        }
    }

    /// The card of a holder has come.
    pub(super) fn card_for_fetches(&mut self, name: &PeerName) {
        for at in 0..self.files.fetches.len() {
            if let Stage::Card(hit) = &self.files.fetches[at].stage
                && hit.peer.folded() == *name
            {
                let hit = hit.clone();
                let route = if hit.address.is_some() { Route::Direct } else { Route::Server };
                self.ask_holder(at, hit, route);
            }
        }
    }

    fn ask_holder(&mut self, at: usize, hit: Hit, route: Route) {
        let mut transfer = TransferId::default();
        let mut secret = Zeroizing::new([0; 32]);
        self.rng.fill_bytes(&mut transfer);
        self.rng.fill_bytes(secret.as_mut_slice());
        let request = FileRequest {
            transfer,
            secret: *secret,
            name: hit.file.name.clone(),
            sha256: hit.file.sha256,
            offset: 0,
            route,
        };
        let number = self.files.next_request;
        self.files.next_request += 1;
        let content = Zeroizing::new(signal::encode(&request));
        let holder = hit.peer.clone();
        let fetch = &mut self.files.fetches[at];
        fetch.stage = Stage::Asked(hit, Asked { transfer, secret, route });
        fetch.deadline = Some(self.now.instant + STEP_WAIT);
        self.send_signal(&holder, Kind::Request, number, &content, About::Transfer(transfer));
    }

    /// The server could not hand a request on.
    pub(super) fn fetch_refused(&mut self, transfer: TransferId, refusal: Refusal) {
        if let Some(at) = self.fetch_of(transfer) {
            self.fail_fetch(at, refusal.to_string());
        }
    }

    fn fetch_of(&self, transfer: TransferId) -> Option<usize> {
        self.files.fetches.iter().position(|fetch| match &fetch.stage {
            Stage::Asked(_, asked) | Stage::Moving(_, asked) => asked.transfer == transfer,
            _ => false,
        })
    }

    /// A holder has answered.
    pub(super) fn answer(&mut self, from: &PeerName, content: &[u8]) {
        let Ok(answer) = signal::decode::<FileAnswer>(content) else {
            return;
        };
        let Some(at) = self.fetch_of(answer.transfer) else {
            return;
        };
        let fetch = &mut self.files.fetches[at];
        let Stage::Asked(hit, _) = &fetch.stage else {
            return;
        };
        if hit.peer.folded() != from.folded() {
            return;
        }
        let (peer, name) = (hit.peer.clone(), hit.file.name.clone());
        match answer.verdict {
            Verdict::Ready { bytes, salt } if bytes == hit.file.bytes => self.receive(at, salt),
            Verdict::Ready { .. } | Verdict::Changed => {
                self.fail_fetch(
                    at,
                    format!("{name} has changed at {peer} since it was published; search again"),
                );
            }
            Verdict::NotShared => {
                self.fail_fetch(at, format!("{peer} no longer shares {name}; search again"));
            }
            Verdict::Busy => self.fail_fetch(at, format!("{peer} sends too many files at once; try again")),
        }
    }

    fn receive(&mut self, at: usize, salt: TransferSalt) {
        let fetch = &mut self.files.fetches[at];
        let Stage::Asked(hit, asked) = std::mem::replace(&mut fetch.stage, Stage::Searching) else {
            return;
        };
        let job = ReceiveJob {
            key: TransferKey { transfer: asked.transfer, secret: asked.secret.clone(), salt },
            name: hit.file.name.clone(),
            bytes: hit.file.bytes,
            sha256: hit.file.sha256,
            address: hit.address.filter(|_| asked.route == Route::Direct),
            output: fetch.output.clone(),
            overwrite: fetch.overwrite,
        };
        // The transfer itself notices when nothing moves.
        fetch.deadline = None;
        fetch.stage = Stage::Moving(hit, asked);
        self.effects.push(Effect::Transfer(Box::new(FileJob::Receive(job))));
    }

    /// A transfer has gone on or ended.
    pub(super) fn transfer(&mut self, transfer: TransferId, outcome: TransferOutcome) -> Result<(), Fatal> {
        let not_sent = match &outcome {
            TransferOutcome::Sent(Ok(_)) => {
                self.files.offers.remove(&transfer);
                return Ok(());
            }
            TransferOutcome::Sent(Err(error)) => Some(error),
            TransferOutcome::Outdated(error) => {
                // What is there now is shared instead.
                self.effects.push(Effect::ReadShare);
                Some(error)
            }
            _ => None,
        };
        if let Some(error) = not_sent {
            if let Some(offer) = self.files.offers.remove(&transfer) {
                let error = format!("{} could not be sent: {error}", Escaped(offer.file.name.as_str()));
                self.tell_sharers(&Event::error(error));
            }
            return Ok(());
        }
        let Some(at) = self.fetch_of(transfer) else {
            return Ok(());
        };
        let Stage::Moving(hit, asked) = &self.files.fetches[at].stage else {
            return Ok(());
        };
        let (client, hit, route) = (self.files.fetches[at].client, hit.clone(), asked.route);
        match outcome {
            TransferOutcome::Progress { done, total } => {
                self.tell(client, Event::FileProgress { name: hit.file.name, done, total });
            }
            TransferOutcome::CannotDial(_) if route == Route::Direct => {
                self.ask_holder(at, hit, Route::Server);
            }
            TransferOutcome::CannotDial(why) | TransferOutcome::Received(Err(why)) => {
                self.fail_fetch(at, why);
            }
            TransferOutcome::Received(Ok(received)) => {
                let route = if route == Route::Direct { FileRoute::Direct } else { FileRoute::Server };
                self.end_fetch(at, received, Some(hit.peer), route);
            }
            TransferOutcome::WasHere(received) => self.end_fetch(at, received, None, FileRoute::Here),
            TransferOutcome::Sent(_) | TransferOutcome::Outdated(_) => {}
        }
        Ok(())
    }

    fn end_fetch(&mut self, at: usize, received: Received, from: Option<PeerName>, route: FileRoute) {
        let fetch = self.files.fetches.remove(at);
        let done = Event::FileDone {
            path: received.path,
            bytes: received.bytes,
            sha256: received.sha256,
            from,
            route,
        };
        self.tell(fetch.client, done);
        self.end_task(fetch.task, EXIT_DONE);
    }

    fn fail_fetch(&mut self, at: usize, why: String) {
        let fetch = self.files.fetches.remove(at);
        self.tell(fetch.client, Event::error(why));
        self.end_task(fetch.task, EXIT_FAILED);
    }

    /// Fails the fetches that need the server to go on.
    pub(super) fn fail_fetches(&mut self, why: &str) {
        while let Some(at) =
            self.files.fetches.iter().position(|f| matches!(f.stage, Stage::Card(_) | Stage::Asked(..)))
        {
            self.fail_fetch(at, format!("{why}; try again"));
        }
    }

    /// Fails the fetches in which a step has taken too long, and forgets files nobody came for.
    pub(super) fn expire_files(&mut self) {
        let now = self.now.instant;
        if self.files.publish_again_at.is_some_and(|at| at <= now) {
            self.files.publish_again_at = None;
            self.publish();
        }
        let late = |fetch: &Fetch| fetch.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(at) = self.files.fetches.iter().position(late) {
            let why = match &self.files.fetches[at].stage {
                Stage::Asked(hit, _) => format!("{} does not answer; try again", hit.peer),
                _ => "the server did not answer in time; try again".to_owned(),
            };
            self.fail_fetch(at, why);
        }
        // A client that has gone does not wait for its file.
        let tasks: Vec<u64> = self.tasks.iter().map(|task| task.id).collect();
        self.files.fetches.retain(|fetch| tasks.contains(&fetch.task));
    }
}

/// Whom to fetch a file from.
fn choose(fetch: &Fetch, hits: Vec<Hit>, me: &PeerName) -> Result<Hit, String> {
    let what = match &fetch.wanted {
        Wanted::Name(name) => name.to_string(),
        Wanted::Digest(digest) => format!("sha256:{digest}"),
    };
    let mut holders: Vec<Hit> = hits
        .into_iter()
        .filter(|hit| hit.peer.folded() != me.folded())
        .filter(|hit| fetch.from.as_ref().is_none_or(|from| from.folded() == hit.peer.folded()))
        .collect();
    if holders.is_empty() {
        let whom = fetch
            .from
            .as_ref()
            .map_or("nobody else shares".to_owned(), |from| format!("{from} does not share"));
        return Err(format!("{whom} {what}; look for it with search"));
    }
    if holders.iter().any(|hit| hit.file.sha256 != holders[0].file.sha256) {
        let whose: Vec<String> =
            holders.iter().map(|h| format!("{} (sha256:{})", h.peer, h.file.sha256)).collect();
        let whose = whose.join(", ");
        return Err(format!("different files are called {what}: {whose}; say --from NAME or get sha256:HEX"));
    }
    holders.sort_by_key(|hit| (!hit.online, hit.address.is_none()));
    let best = holders.swap_remove(0);
    if best.online {
        Ok(best)
    } else {
        Err(format!("{} has {what} but is not here now; try again when they are", best.peer))
    }
}
