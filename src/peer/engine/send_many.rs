//! Sends many files over one connection to a peer that requests them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rand::RngExt as _;
use wire::PeerName;
use wire::many::{ManyRequest, NotSent};
use wire::protocol::{Kind, TransferId};
use wire::share::ListedFile;
use wire::signal::{self, FileAnswer, Route, Verdict};
use wire::transfer::{FileHeader, TransferKey, TransferSalt};
use zeroize::Zeroizing;

use super::Engine;
use super::interface::{Effect, SendManyJob};
use super::link::About;
use crate::peer::event::{Event, FilesRequestEvent};
use crate::peer::records::Direction;

/// How long offered files wait for the receiver to dial.
const OFFER_WAIT: Duration = Duration::from_secs(30);
/// The maximum number of requests for many files that are offered or being sent; and of those for one peer.
const OFFERS_MAX: usize = 16;
const OFFERS_EACH_MAX: usize = 2;

/// Files that are offered to a peer.
struct Offer {
    to: PeerName,
    request: ManyRequest,
    salt: TransferSalt,
    expires: Instant,
    is_underway: bool,
}

#[derive(Default)]
pub(super) struct ManyOffers(BTreeMap<TransferId, Offer>);

impl ManyOffers {
    /// Whether there is room for another request of a peer.
    fn has_room(&mut self, from: &PeerName, request: &ManyRequest, now: Instant) -> bool {
        // A peer that could not dial requests the files again through the server, and does not use the first offer.
        let is_replaced = |offer: &Offer| {
            request.route == Route::Server
                && offer.request.route == Route::Direct
                && offer.to == *from
                && offer.request.files == request.files
        };
        self.0.retain(|_, offer| offer.is_underway || (offer.expires > now && !is_replaced(offer)));
        let of_peer = self.0.values().filter(|offer| offer.to == *from).count();
        // A repeated transfer would use a key and a nonce twice.
        self.0.len() < OFFERS_MAX && of_peer < OFFERS_EACH_MAX && !self.0.contains_key(&request.transfer)
    }
}

impl Engine {
    pub(super) fn request_for_many(&mut self, from: &PeerName, number: u64, request: ManyRequest) {
        let transfer = request.transfer;
        let (verdict, salt) = self.judge_many(from, &request);
        let answer = signal::encode(&FileAnswer { transfer, verdict });
        if let Some(contact) = self.contacts.get_mut(from) {
            self.local.send_signal(contact, Kind::Answer, number, &answer, About::Nothing);
        }
        let Some(salt) = salt else { return };
        let (files, route) = (request.files.len() as u64, request.route);
        self.local.tell_sharers(&describe_many(Direction::Received, from, files, route, (transfer, salt)));
        let expires = self.local.now.instant + OFFER_WAIT;
        let offer = Offer { to: from.clone(), request, salt, expires, is_underway: false };
        self.sharing.many.0.insert(transfer, offer);
        if route == Route::Server {
            self.send_many(transfer);
        }
    }

    fn judge_many(&mut self, from: &PeerName, request: &ManyRequest) -> (Verdict, Option<TransferSalt>) {
        let headers = self.headers(from, request);
        if headers.iter().all(Result::is_err) {
            return (Verdict::NotShared, None);
        }
        if !self.sharing.many.has_room(from, request, self.local.now.instant) {
            return (Verdict::Busy, None);
        }
        let salt = self.local.rng.random();
        let bytes = headers.iter().flatten().map(|header| header.total_bytes).sum();
        (Verdict::Ready { bytes, salt }, Some(salt))
    }

    /// What to send for each requested file, if it is shared with the peer that requests it.
    fn headers(&self, to: &PeerName, request: &ManyRequest) -> Vec<Result<FileHeader, NotSent>> {
        let files = &self.sharing.publishing.files;
        let header = |wanted: &wire::many::WantedFile| {
            let listed = files.get(&wanted.name).filter(|listed| listed.audience.admits(to));
            let ListedFile { file, .. } = listed.ok_or(NotSent::NotShared)?;
            if file.sha256 != wanted.sha256 {
                return Err(NotSent::Changed);
            }
            let (name, sha256) = (file.name.clone(), file.sha256);
            Ok(FileHeader { name, total_bytes: file.bytes, offset: 0, sha256 })
        };
        request.files.iter().map(header).collect()
    }

    /// Sends files that were offered, if the transfer is one of many.
    pub(super) fn send_many(&mut self, transfer: TransferId) {
        let Some(offer) = self.sharing.many.0.get_mut(&transfer) else { return };
        if std::mem::replace(&mut offer.is_underway, true) {
            return;
        }
        let key = TransferKey { transfer, secret: Zeroizing::new(offer.request.secret), salt: offer.salt };
        let Some(Offer { to, request, .. }) = self.sharing.many.0.get(&transfer) else { return };
        let (files, route) = (self.headers(to, request), request.route);
        self.local.effects.push(Effect::SendMany(Box::new(SendManyJob { key, files, route })));
    }

    /// Handles the end of a transfer: the numbers of the files that were sent, and how many bytes in all.
    pub(super) fn sent_many(&mut self, transfer: TransferId, sent: &[usize], result: Result<u64, String>) {
        let Some(Offer { to, request, .. }) = self.sharing.many.0.remove(&transfer) else { return };
        match result {
            Ok(_) => {
                for wanted in sent.iter().filter_map(|number| request.files.get(*number)) {
                    let listed = self.sharing.publishing.files.get(&wanted.name);
                    let bytes = listed.map_or(0, |listed| listed.file.bytes);
                    let (name, sha256, route) = (wanted.name.clone(), wanted.sha256, request.route.into());
                    self.local.tell_sharers(&Event::FileSent { to: to.clone(), name, bytes, sha256, route });
                }
            }
            Err(error) => {
                let files = request.files.len();
                self.local.tell_sharers(&Event::error(format!(
                    "{files} file(s) could not be sent to {to}: {error}"
                )));
            }
        }
    }
}

/// A request for many files that its holder, who has drawn the salt, has granted.
pub(super) fn describe_many(
    direction: Direction,
    with: &PeerName,
    files: u64,
    route: Route,
    (transfer, salt): (TransferId, TransferSalt),
) -> Event {
    Event::FilesRequest(Box::new(FilesRequestEvent {
        with: with.clone(),
        direction,
        files,
        route: route.into(),
        transfer: HEXLOWER.encode(&transfer),
        salt: HEXLOWER.encode(&salt),
    }))
}
