//! The work that takes long and so has its own threads: making keys, reading the share, and moving files.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use wire::many::{Entry, NotSent};
use wire::pieces::{self, PIECE_BYTES, Piece};
use wire::protocol::{Side, TransferId};
use wire::transfer::FileHeader;

use super::files::{Read, ReadShare, Stop};
use crate::peer::command::ShareChange;
use crate::peer::engine::{
    Download, NotReceived, Prepared, ReceiveJob, ReceiveManyJob, ReceivePiecesJob, SendJob, SendManyJob,
    TransferOutcome, kept_rest,
};
use crate::peer::home::{EncryptionPair, Home};
use crate::peer::share::{self, Share, ShareError, SharedFile};
use crate::peer::transfer::{
    self, Arrived, Destination, Expected, ExpectedFile, Membership, PieceStore, RateLimit, Reports, Run,
    TransferError,
};
use crate::stream::Stream;

const DIAL_WAIT: Duration = Duration::from_secs(5);

/// Reads what may have changed in the share.
pub(super) fn read_share(
    home: &Home,
    before: &Share,
    read: Read,
    looks_into: &mut share::LooksInto<'_>,
    progress: &mut share::Progress<'_>,
) -> Result<ReadShare, ShareError> {
    match read {
        Read::All => {}
        Read::Few(paths) => {
            if let Some(refreshed) = before.refresh(home, &paths, progress) {
                return Ok(ReadShare::Few(refreshed));
            }
        }
        Read::AfterChange(ShareChange::Add { file, keywords, audience }) => {
            share::add_entries(home, &file, &keywords, audience.as_ref())?;
        }
        Read::AfterChange(ShareChange::Remove { file, keywords }) => {
            share::remove_entries(home, &file, &keywords)?;
        }
    }
    // Compared here, because it takes as long as the share is large.
    Ok(ReadShare::since(before, Share::read(home, before, looks_into, progress)?))
}

/// Makes an encryption key pair and writes it to disk.
pub(super) fn make_key(home: &Home, passphrase: Option<&str>) -> Result<Box<EncryptionPair>, String> {
    let made = home.make_encryption_pair(
        passphrase,
        wire::keys::KEY_BITS,
        super::shell::now().unix,
        &mut rand::rng(),
    );
    made.map(Box::new).map_err(|e| e.to_string())
}

fn destination(home: &Home, download: &Download) -> Result<Destination, TransferError> {
    match &download.output {
        Some(path) => Destination::output(path, &download.here, download.existing),
        None => Destination::downloads(home, &download.here, download.existing),
    }
}

/// The destination of one of many files, whose output is a directory.
fn destination_of_many(home: &Home, download: &Download) -> Result<Destination, TransferError> {
    match &download.output {
        Some(path) if !path.is_dir() => Err(TransferError::NoDirectory(path.clone())),
        _ => destination(home, download),
    }
}

/// Checks that a file can be received, and what of it is here already.
pub(super) fn prepare(home: &Home, download: &Download) -> Result<Prepared, String> {
    prepare_in(destination(home, download), download)
}

/// Checks the same of many files. Fails as a whole if their folder does not exist, which is one mistake and not one for each file.
pub(super) fn prepare_many(
    home: &Home,
    downloads: &[Download],
) -> Result<Vec<Result<Prepared, String>>, String> {
    let prepared = |download| match destination_of_many(home, download) {
        Err(error @ TransferError::NoDirectory(_)) => Err(error.to_string()),
        destination => Ok(prepare_in(destination, download)),
    };
    downloads.iter().map(prepared).collect()
}

fn prepare_in(
    destination: Result<Destination, TransferError>,
    download: &Download,
) -> Result<Prepared, String> {
    let checked = destination.and_then(|to| {
        if let Some(received) = to.check(download.bytes, &download.sha256)? {
            return Ok(Prepared::Here(received.path));
        }
        // More bytes than the file has would be those of a damaged record.
        let kept = Some(to.kept(&download.sha256)).filter(|kept| *kept <= download.bytes);
        match kept.unwrap_or(0) {
            0 if to.has_pieces(&download.sha256) => Ok(Prepared::Pieces),
            kept => Ok(Prepared::From(kept)),
        }
    });
    checked.map_err(|e| e.to_string())
}

/// Connects to the holder of files at its address, or through the server without one. `stop` can end the transfer from then on.
fn dial(
    server: &Membership,
    address: Option<SocketAddr>,
    transfer: &TransferId,
    stop: &Stop,
) -> Result<Stream, TransferOutcome> {
    let stream = match address {
        Some(address) => transfer::dial_direct(address, transfer, DIAL_WAIT),
        None => {
            transfer::dial_server(server, transfer, Side::Receiver, DIAL_WAIT, &|socket| stop.covers(socket))
        }
    };
    let stream = stream.map_err(|e| TransferOutcome::CannotDial(e.to_string()))?;
    if stop.covers(stream.socket()) {
        Ok(stream)
    } else {
        Err(TransferOutcome::Received(Err("cancelled".into())))
    }
}

/// What a failed transfer reports. `has_begun`: whether something has arrived; `kept`: how many bytes of a file of `total`.
fn failure(error: &TransferError, has_begun: bool, kept: u64, total: u64) -> TransferOutcome {
    let why = error.to_string();
    match error {
        // Nothing has arrived over the connection, so the other route may still work.
        error if error.is_of_connection() && !has_begun => TransferOutcome::CannotDial(why),
        error if error.is_of_connection() => TransferOutcome::CutOff(why, kept),
        TransferError::NotAuthentic | TransferError::OtherFile | TransferError::WrongDigest { .. } => {
            TransferOutcome::Wrong(why, kept)
        }
        error if error.is_disk_full() => {
            TransferOutcome::DiskFull(format!("the disk is full: {why}{}", kept_rest(kept, total)))
        }
        _ => TransferOutcome::Received(Err(format!("{why}{}", kept_rest(kept, total)))),
    }
}

pub(super) fn receive(
    home: &Home,
    server: &Membership,
    job: &ReceiveJob,
    stop: &Stop,
    progress: &mut dyn FnMut(u64, u64),
) -> TransferOutcome {
    let download = &job.download;
    let destination = match destination(home, download) {
        Ok(destination) => destination,
        Err(e) => return TransferOutcome::Received(Err(e.to_string())),
    };
    let stream = match dial(server, job.address, &job.key.transfer, stop) {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let expected = Expected {
        key: job.key.clone(),
        name: download.name.clone(),
        bytes: download.bytes,
        sha256: download.sha256,
        offset: job.offset,
    };
    let mut has_begun = false;
    let received = transfer::receive_file(stream, &expected, &destination, &mut |done, total| {
        has_begun = true;
        progress(done, total);
        !stop.is_set()
    });
    match received {
        Ok(received) => TransferOutcome::Received(Ok(received.path)),
        Err(e) => failure(&e, has_begun, destination.kept(&download.sha256), download.bytes),
    }
}

/// Opens what is here of a file that comes from several holders.
pub(super) fn open_pieces(home: &Home, download: &Download) -> Result<(PieceStore, Vec<Piece>), String> {
    let opened =
        destination(home, download).and_then(|to| PieceStore::open(&to, download.bytes, &download.sha256));
    opened.map_err(|e| e.to_string())
}

/// Gives a file that has come from several holders its name.
pub(super) fn finish_pieces(home: &Home, download: &Download, store: &PieceStore) -> Result<PathBuf, String> {
    let finished = destination(home, download).and_then(|to| store.finish(&to));
    finished.map(|received| received.path).map_err(|e| e.to_string())
}

/// Receives pieces of a file. `report` is called for each.
pub(super) fn receive_pieces(
    server: &Membership,
    job: &ReceivePiecesJob,
    stop: &Stop,
    store: &PieceStore,
    limit: Option<&RateLimit>,
    report: &mut dyn FnMut(TransferOutcome),
) -> TransferOutcome {
    let ReceivePiecesJob { key, download, pieces, address, .. } = job;
    let stream = match dial(server, *address, &key.transfer, stop) {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let expected = Expected {
        key: key.clone(),
        name: download.name.clone(),
        bytes: download.bytes,
        sha256: download.sha256,
        offset: pieces.start * PIECE_BYTES,
    };
    let mut has_begun = false;
    let received = transfer::receive_run(stream, &expected, pieces.clone(), store, limit, &mut |arrived| {
        has_begun = true;
        let Arrived { piece, next, is_new } = arrived;
        report(TransferOutcome::Piece { piece, next, is_new });
        !stop.is_set()
    });
    received.map_or_else(|e| failure(&e, has_begun, 0, 0), |()| TransferOutcome::ReceivedPieces)
}

/// The connection that the receiver has dialled, or one through the server without that. `stop` can end the transfer from then on.
fn connection_of_receiver(
    server: &Membership,
    caller: Option<TcpStream>,
    transfer: &TransferId,
    stop: &Stop,
) -> Result<Stream, TransferError> {
    let is_wanted = |socket: &TcpStream| stop.covers(socket);
    match caller {
        Some(caller) if is_wanted(&caller) => Ok(caller.into()),
        Some(_) => Err(TransferError::Cancelled),
        None => transfer::dial_server(server, transfer, Side::Sender, DIAL_WAIT, &is_wanted),
    }
}

/// Sends a file over the connection that its receiver has dialled, or through the server.
pub(super) fn send(
    home: &Home,
    server: &Membership,
    job: &SendJob,
    file: &SharedFile,
    (caller, stop): (Option<TcpStream>, &Stop),
    limit: Option<&RateLimit>,
) -> TransferOutcome {
    let shared = match share::open_shared(home, file) {
        Ok(shared) => shared,
        Err(e) => return TransferOutcome::Outdated(e.to_string()),
    };
    let run = match job.end {
        None => None,
        Some(end) => {
            let wanted = job.header.offset / PIECE_BYTES..pieces::count(end);
            let Some(links) = file.links(&wanted) else {
                return TransferOutcome::Outdated("it has no such pieces any more".into());
            };
            Some(Run { links, end })
        }
    };
    let stream = connection_of_receiver(server, caller, &job.key.transfer, stop);
    let sent = stream
        .and_then(|stream| transfer::send_file(stream, shared, &job.header, run.as_ref(), &job.key, limit));
    TransferOutcome::Sent(sent.map_err(|e| e.to_string()))
}

/// What has become of some of many files, by their numbers in the request.
type Results = Vec<(usize, Result<PathBuf, NotReceived>)>;

fn not_received(error: &TransferError) -> NotReceived {
    let why = error.to_string();
    match error {
        TransferError::NotSent(_) => NotReceived::NotSent(why),
        TransferError::WrongDigest { .. } => NotReceived::Lie(why),
        _ => NotReceived::Here(why),
    }
}

/// Receives many files. `report` is called with some of them.
pub(super) fn receive_many(
    home: &Home,
    server: &Membership,
    job: &ReceiveManyJob,
    stop: &Stop,
    limit: Option<&RateLimit>,
    report: &mut (dyn FnMut(Results) + Send),
) -> TransferOutcome {
    let expected = |download: &Download| {
        let (name, bytes, sha256) = (download.name.clone(), download.bytes, download.sha256);
        Ok(ExpectedFile { name, bytes, sha256, destination: destination_of_many(home, download)? })
    };
    let files: Vec<ExpectedFile> = match job.downloads.iter().map(expected).collect() {
        Ok(files) => files,
        Err(e) => return TransferOutcome::Received(Err(TransferError::to_string(&e))),
    };
    let stream = match dial(server, job.address, &job.key.transfer, stop) {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let mut has_begun = false;
    let received = transfer::receive_many(stream, &job.key, &files, limit, &mut |reports: Reports| {
        has_begun |= !reports.is_empty();
        let results = reports.into_iter().map(|(number, result)| {
            (number, result.map(|received| received.path).map_err(|e| not_received(&e)))
        });
        report(results.collect());
        !stop.is_set()
    });
    received.map_or_else(|e| failure(&e, has_begun, 0, 0), |()| TransferOutcome::ReceivedMany)
}

/// Sends many files over the connection that their receiver has dialled, or through the server.
pub(super) fn send_many(
    home: &Home,
    server: &Membership,
    job: &SendManyJob,
    share: &Share,
    (caller, stop): (Option<TcpStream>, &Stop),
    limit: Option<&RateLimit>,
) -> TransferOutcome {
    let mut sent = Vec::new();
    let open = |header: &FileHeader| {
        let shared = share.by_name(&header.name).filter(|shared| shared.listed.file.sha256 == header.sha256);
        let shared = shared.ok_or(NotSent::Changed)?;
        share::open_shared(home, shared).map_err(|e| match e {
            ShareError::Vanished(_) | ShareError::Changed(_) => NotSent::Changed,
            _ => NotSent::Unreadable,
        })
    };
    let entries = job.files.iter().enumerate().map(|(number, file)| {
        let opened = file.as_ref().map_err(|why| *why).and_then(|header| Ok((header, open(header)?)));
        match opened {
            Ok((header, file)) => {
                sent.push(number);
                (Entry::File(header.clone()), Some(file))
            }
            Err(why) => (Entry::NotSent(why), None),
        }
    });
    let stream = connection_of_receiver(server, caller, &job.key.transfer, stop);
    let result = stream.and_then(|stream| transfer::send_many(stream, entries, &job.key, limit));
    TransferOutcome::SentMany(sent, result.map_err(|e| e.to_string()))
}

#[cfg(test)]
mod tests;
