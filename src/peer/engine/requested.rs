//! What one peer requests from another: a file, or many files over one connection.

use data_encoding::HEXLOWER;
use wire::PeerName;
use wire::escape::Escaped;
use wire::many::ManyRequest;
use wire::protocol::TransferId;
use wire::signal::{self, FileRequest, Wish};
use wire::transfer::{CHUNK_BYTES, TransferKey, TransferSalt};
use zeroize::Zeroizing;

use crate::peer::event::{Event, FileRequestEvent, FilesRequestEvent};
use crate::peer::records::Direction;

pub(super) enum Requested {
    File(FileRequest),
    Files(ManyRequest),
}

impl Requested {
    /// Reads the content of a request. `None` if it is neither.
    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        let file = signal::decode(content).map(Self::File);
        file.or_else(|_| signal::decode(content).map(Self::Files)).ok()
    }

    pub(super) fn transfer(&self) -> TransferId {
        match self {
            Self::File(request) => request.transfer,
            Self::Files(request) => request.transfer,
        }
    }

    pub(super) fn wish(&self) -> Wish {
        match self {
            Self::File(request) => request.wish,
            Self::Files(request) => request.wish,
        }
    }

    /// The key of the transfer, with the salt of the holder.
    pub(super) fn key(&self, salt: TransferSalt) -> TransferKey {
        let secret = match self {
            Self::File(request) => request.secret,
            Self::Files(request) => request.secret,
        };
        TransferKey { transfer: self.transfer(), secret: Zeroizing::new(secret), salt }
    }

    /// Whether both ask for the same content.
    pub(super) fn is_for_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one.sha256 == other.sha256,
            (Self::Files(one), Self::Files(other)) => one.files == other.files,
            _ => false,
        }
    }

    /// What is requested, as text that is safe to show.
    pub(super) fn what(&self) -> String {
        match self {
            Self::File(request) => Escaped(request.name.as_str()).to_string(),
            Self::Files(request) => format!("{} file(s)", request.files.len()),
        }
    }

    /// That it has not arrived, as text that is safe to show.
    pub(super) fn has_not_arrived(&self) -> String {
        match self {
            Self::File(_) => format!("{} has not arrived", self.what()),
            Self::Files(_) => format!("not all of {} have arrived", self.what()),
        }
    }

    /// The event for a request that was granted. The holder has drawn the salt, and has `total_bytes` of what is requested.
    pub(super) fn describe(
        &self,
        direction: Direction,
        with: &PeerName,
        total_bytes: u64,
        salt: TransferSalt,
    ) -> Event {
        match self {
            Self::File(request) => describe_file(direction, with, request, total_bytes, salt),
            Self::Files(request) => describe_files(direction, with, request, salt),
        }
    }
}

/// A request for a file of `total_bytes` bytes that its holder, who has drawn the salt, has granted.
pub(super) fn describe_file(
    direction: Direction,
    with: &PeerName,
    request: &FileRequest,
    total_bytes: u64,
    salt: TransferSalt,
) -> Event {
    let left = request.wish.end().unwrap_or(total_bytes).saturating_sub(request.offset);
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

/// The same for many files.
pub(super) fn describe_files(
    direction: Direction,
    with: &PeerName,
    request: &ManyRequest,
    salt: TransferSalt,
) -> Event {
    Event::FilesRequest(Box::new(FilesRequestEvent {
        with: with.clone(),
        direction,
        files: request.files.len() as u64,
        route: request.wish.route().into(),
        transfer: HEXLOWER.encode(&request.transfer),
        salt: HEXLOWER.encode(&salt),
    }))
}
