//! The inputs and outputs of the engine.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use wire::conversation::{ConversationId, MessageId};
use wire::invitation::Invitation;
use wire::many::NotSent;
use wire::pieces::{Link, Piece};
use wire::protocol::{ErrorCode, Greeting, ServerId, TransferId};
use wire::share::ListedFile;
use wire::signal::Route;
use wire::transfer::{FileHeader, TransferKey};
use wire::{Digest, FileName, Fingerprint, PeerName};

use crate::peer::command::{Command, Existing, ShareChange, Update};
use crate::peer::home::{EncryptionPair, KeyTimes, Keys};
use crate::peer::records::{
    ContactRecord, HistoryRecord, IncomingRecord, LateRecord, OutboxKey, OutboxRecord, OutgoingRecord,
    PinnedKey, Write,
};

/// Identifies a client of the engine: the process's own command line, or one connection to its control socket.
pub type ClientId = u64;

/// Identifies a running command. Requests for a search or the list of peers carry it to the server and back.
pub type TaskId = u32;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970, for times that other peers see.
    pub unix: u64,
    /// For deadlines.
    pub instant: Instant,
}

/// Limits for the work and the storage that other peers can cause.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many conversations one peer may open per minute.
    pub openings_per_minute: u32,
    /// How many conversations all peers that this one has never written to may open together per minute.
    pub stranger_openings_per_minute: u32,
    /// The maximum number of peers that this one has never written to whose messages are accepted; also the maximum
    /// number of passing contacts, which have only opened conversations, in memory.
    pub strangers_max: u32,
    /// How many files are sent to others at the same time. Further requests wait.
    pub upload_slots: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            openings_per_minute: 3_000,
            stranger_openings_per_minute: 1_200,
            strangers_max: 1_000,
            upload_slots: 8,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    /// A conversation is replaced by a new one after this many messages.
    pub rekey_messages: u64,
    /// Whether events carry ciphertexts in full length.
    pub full_trace: bool,
    /// How long encryption keys and cards are used.
    pub key_times: KeyTimes,
    /// Admits this peer to a server that admits only members.
    pub invitation: Option<Invitation>,
    pub limits: Limits,
}

pub struct Start {
    pub name: PeerName,
    pub keys: Keys,
    /// The server's address, as it is shown to the user.
    pub server: String,
    pub options: Options,
    pub loaded: Loaded,
    /// Reads the records that `loaded` does not carry.
    pub records: Box<dyn Records>,
    /// The only source of randomness: the same seed and the same inputs give the same outputs, byte for byte.
    pub rng: StdRng,
}

/// The records that the engine keeps in memory, as they are on disk when it starts.
#[derive(Default)]
pub struct Loaded {
    pub contacts: Vec<ContactRecord>,
    /// All messages without a receipt. The engine does not keep their texts and ciphertexts in memory.
    pub outbox: Vec<(OutboxKey, OutboxRecord)>,
    /// The messages that a server has on its disk, and which server.
    pub stored: Vec<(OutboxKey, ServerId)>,
    /// This peer's conversations that have messages without a receipt.
    pub outgoing: Vec<(ConversationId, OutgoingRecord)>,
    /// The conversations that other peers have opened. Their openings are not kept in memory.
    pub accepted: Vec<(ConversationId, IncomingRecord)>,
    /// The place of the next received message in the order of arrival.
    pub next_arrival: u64,
    /// The received messages before this place have been shown.
    pub shown: u64,
    /// The identity key that each name is pinned to.
    pub pins: Vec<(PeerName, PinnedKey)>,
    /// Mail that came too late for its key, by folded name of the sender.
    pub late: Vec<(String, LateRecord)>,
}

/// Reads records that are too many to keep in memory.
///
/// It is a port and not an effect with an input as its answer, because the engine needs the record before it can handle
/// the next frame. With an effect it would have to keep that frame and everything after it.
pub trait Records {
    /// A message without a receipt.
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable>;

    /// A conversation that another peer has opened.
    fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, Unreadable>;

    /// The id of a message that has been received.
    fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<MessageId>, Unreadable>;

    /// The first received message at or after this place in the order of arrival, and its place.
    fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable>;
}

/// A record could not be read. The engine cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

pub enum Input {
    Command(ClientId, Command),
    Gone(ClientId),
    /// A client has shown this many more of the messages that it was sent.
    Shown(ClientId, u64),
    Net(Net),
    /// Answers [`Effect::ReadShare`], [`Effect::ChangeShare`] and [`Effect::Serve`].
    Shared(Result<Shared, String>),
    /// A shared file is being read for its digest.
    Hashing {
        name: FileName,
        /// How many of its bytes were read.
        done: u64,
        total: u64,
    },
    /// This peer accepts connections from other peers on this port.
    Listening(u16),
    /// The server has called back on that port and sent this challenge.
    CalledBack([u8; 32]),
    /// Another peer has dialled this one for a transfer. Unless an [`Effect::Send`] follows, the connection is closed.
    Dialled(TransferId),
    /// Answers [`Effect::Prepare`].
    Prepared(TaskId, Result<Prepared, String>),
    /// Answers [`Effect::PrepareMany`], file by file, or says why none of them can be received.
    PreparedMany(TaskId, Result<Vec<Result<Prepared, String>>, String>),
    /// Answers [`Effect::OpenPieces`]: the pieces that are here.
    PiecesOpened(TaskId, Result<Vec<Piece>, String>),
    /// Answers [`Effect::FinishPieces`]: the path of the file.
    PiecesFinished(TaskId, Result<PathBuf, String>),
    /// Answers [`Effect::Receive`], [`Effect::Send`] and the same for pieces and for many files.
    Transfer(TransferId, TransferOutcome),
    /// Answers [`Effect::MakeKey`]. The pair is on disk.
    KeyMade(Result<Box<EncryptionPair>, String>),
}

/// From the connection to the server.
pub enum Net {
    Joined {
        /// The greeting of the server, which has proved its key.
        greeting: Greeting,
        address: String,
        /// The server's certificate if this was its first use.
        pinned_certificate: Option<Fingerprint>,
    },
    /// The bodies of frames, in order.
    Frames(Vec<Bytes>),
    /// The server cannot be reached: the reason, and the time until the next attempt.
    Unreachable(String, Duration),
    /// The server has refused this peer or ended its session.
    Refused(ErrorCode, String),
    /// The connection is lost. The next attempt is after this time.
    Lost(Duration),
}

/// What has changed in the share since it was read before.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The names that are gone.
    pub removed: Vec<FileName>,
    /// The files that are new or have changed.
    pub files: Vec<Arc<ListedFile>>,
    /// What `keyword.txt` names and cannot be shared, and why. The text is safe to show.
    pub problems: Vec<String>,
}

/// Why one of many files was not received.
#[derive(Debug)]
pub enum NotReceived {
    /// The holder has not sent it.
    NotSent(String),
    /// The holder has sent another content.
    Lie(String),
    /// It cannot be kept here.
    Here(String),
}

/// The progress or result of a transfer.
pub enum TransferOutcome {
    Progress {
        /// How many bytes so far.
        done: u64,
        /// How many bytes in all.
        total: u64,
    },
    /// No connection for the transfer could be made.
    CannotDial(String),
    /// The file is at this path, complete and verified, or the transfer has failed.
    Received(Result<PathBuf, String>),
    /// The transfer ended early: why, and how many bytes of a file that is fetched alone are kept. The same holder can send the rest if
    /// it is asked again.
    CutOff(String, u64),
    /// What has come is not what was requested, or does not fit the bytes before it: why, and how many bytes are kept.
    Wrong(String, u64),
    /// There is no room for the file.
    DiskFull(String),
    /// A piece of a file has arrived, right or not.
    Piece {
        piece: Piece,
        /// The link of the next piece, if the transfer is of that one too.
        next: Option<Link>,
        /// Whether it was written, and not there already.
        is_new: bool,
    },
    /// All pieces of a transfer have arrived.
    ReceivedPieces,
    /// Of some of many files, by their numbers in the request: their paths, or why they could not be received.
    ReceivedSome(Vec<(usize, Result<PathBuf, NotReceived>)>),
    /// All of many files were reported.
    ReceivedMany,
    /// The numbers of those of many files that were sent, and how many bytes of them, or why the transfer has failed.
    SentMany(Vec<usize>, Result<u64, String>),
    /// How many bytes of the file were sent, or why the transfer has failed.
    Sent(Result<u64, String>),
    /// The file on disk is no longer the one that was shared, so it was not sent.
    Outdated(String),
}

/// The results of a step of the engine. Execute them in this order: write `pins`, commit `writes`, send `to_server`,
/// and then the effects. If one of these fails, do not execute the rest.
#[derive(Default)]
pub struct Out {
    /// Identity keys to pin, replacing those that were pinned before.
    pub pins: Vec<(PeerName, PinnedKey)>,
    /// Changes of records, for one transaction.
    pub writes: Vec<Write>,
    /// Frames for the server.
    pub to_server: Vec<u8>,
    pub effects: Vec<Effect>,
}

/// An action for the shell.
pub enum Effect {
    /// An update for a client.
    Tell(ClientId, Update),
    /// Show a client the history with one peer or with all, and then report that its command is done.
    ShowHistory(ClientId, Option<PeerName>),
    /// Pin the key of a server, and tell the client that its command is done.
    TrustServer(ClientId, String, Fingerprint),
    /// Check that a file can be received, before the request to its holder.
    Prepare(TaskId, Download),
    Receive(Box<ReceiveJob>),
    /// Check that files can be received, before the requests to their holder.
    PrepareMany(TaskId, Vec<Download>),
    ReceiveMany(Box<ReceiveManyJob>),
    /// Open what is here of a file that several holders send. Until it is finished or closed, transfers can put pieces into it.
    OpenPieces(TaskId, Download),
    ReceivePieces(Box<ReceivePiecesJob>),
    /// Let these pieces be written again.
    ReleasePieces(TaskId, Vec<u64>),
    /// Check that all pieces are there, and give the file its name.
    FinishPieces(TaskId, Download),
    /// Keep the pieces for a later transfer.
    ClosePieces(TaskId),
    SendMany(Box<SendManyJob>),
    /// Cancel the receiving of a file.
    StopReceive(TransferId),
    Send(Box<SendJob>),
    /// Cancel the sending of a file, or of many.
    StopSend(TransferId),
    /// Read the share and open a port for other peers, unless that was done already.
    Serve,
    ReadShare,
    /// Change `keyword.txt`, and read the share again.
    ChangeShare(ShareChange),
    Connect,
    /// Close the connection to the server and join again with the message that [`Engine::join`](super::Engine::join)
    /// returns then.
    Reconnect,
    /// Close the connection to the server and do not connect again.
    Disconnect,
    /// Make an encryption key pair and write it to disk.
    MakeKey,
    /// Destroy the encryption pair that was made at this time (seconds since 1970).
    DestroyKey(u64),
}

/// The file that a client wants, and where to put it.
#[derive(Debug, Clone)]
pub struct Download {
    /// The file's name at its holder.
    pub name: FileName,
    /// The name that it gets here.
    pub here: FileName,
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
    /// The path for the file; `None` for the downloads folder.
    pub output: Option<PathBuf>,
    pub existing: Existing,
}

/// What is here of a file that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// All of it, at this path.
    Here(PathBuf),
    /// This many bytes, which an interrupted transfer has left. The next byte is the first to request.
    From(u64),
    /// Some of its pieces, which an interrupted transfer from several holders has left.
    Pieces,
}

pub struct ReceiveJob {
    /// Identifies the transfer; its key is derived from it.
    pub key: TransferKey,
    pub download: Download,
    /// The first byte to receive.
    pub offset: u64,
    /// The holder's address; `None` to receive through the server.
    pub address: Option<SocketAddr>,
}

/// Like [`ReceiveJob`], for some pieces of a file.
pub struct ReceivePiecesJob {
    /// The task of [`Effect::OpenPieces`].
    pub task: TaskId,
    pub key: TransferKey,
    pub download: Download,
    pub pieces: Range<u64>,
    /// The holder's address; `None` to receive through the server.
    pub address: Option<SocketAddr>,
}

/// Like [`ReceiveJob`], for many files from their first bytes on.
pub struct ReceiveManyJob {
    pub key: TransferKey,
    /// In the order of the request.
    pub downloads: Vec<Download>,
    /// The holder's address; `None` to receive through the server.
    pub address: Option<SocketAddr>,
}

/// Like [`SendJob`], for many files.
pub struct SendManyJob {
    pub key: TransferKey,
    /// What to send for each requested file.
    pub files: Vec<Result<FileHeader, NotSent>>,
    pub route: Route,
}

pub struct SendJob {
    /// Identifies the transfer; its key is derived from it.
    pub key: TransferKey,
    /// The file, and the header of the file message.
    pub header: FileHeader,
    /// If the receiver wants pieces of the file: the end of the last one.
    pub end: Option<u64>,
    /// The connection to use: [`Route::Direct`] is the one that the receiver has dialled.
    pub route: Route,
}
