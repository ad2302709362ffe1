//! What goes into the engine and what comes out of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use wire::conversation::ConversationId;
use wire::protocol::{ErrorCode, ServerId, TransferId};
use wire::share::PublishedFile;
use wire::signal::Route;
use wire::transfer::{FileHeader, TransferKey};
use wire::{Digest, FileName, Fingerprint, PeerName};

use crate::peer::command::{Command, Update};
use crate::peer::home::{EncryptionPair, KeyTimes, Keys};
use crate::peer::records::{
    ContactRecord, HistoryRecord, IncomingRecord, LateRecord, OutboxKey, OutboxRecord, OutgoingRecord, Write,
};

/// Identifies a client of the engine: the process's own command line, or one connection to its control socket.
pub type ClientId = u64;

/// Identifies a command that is being carried out. Search and who requests carry it to the server and back.
pub type TaskId = u32;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970, for times that other peers see.
    pub unix: u64,
    /// For deadlines.
    pub instant: Instant,
}

/// Settings of a peer.
#[derive(Debug, Clone)]
pub struct Options {
    /// A conversation is replaced by a new one after this many messages.
    pub rekey_messages: u64,
    /// Whether events carry ciphertexts in full length.
    pub full_trace: bool,
    /// How long encryption keys and cards are used.
    pub key_times: KeyTimes,
}

/// Everything that an engine starts with.
pub struct Start {
    /// The peer's own name.
    pub name: PeerName,
    /// Its private keys.
    pub keys: Keys,
    /// The server's address, as clients are told it.
    pub server: String,
    /// Its settings.
    pub options: Options,
    /// What the disk holds.
    pub loaded: Loaded,
    /// Reads the records that `loaded` does not carry.
    pub records: Box<dyn Records>,
    /// The only source of randomness: the same seed and the same inputs give the same outputs, byte for byte.
    pub rng: StdRng,
}

/// The records that the engine keeps in memory, as they are on disk when it starts.
#[derive(Default)]
pub struct Loaded {
    /// All known peers.
    pub contacts: Vec<ContactRecord>,
    /// All messages without a receipt. Their texts and ciphertexts are not kept in memory.
    pub outbox: Vec<(OutboxKey, OutboxRecord)>,
    /// Which of them a server has on its disk, and which server.
    pub stored: Vec<(OutboxKey, ServerId)>,
    /// This peer's conversations under which messages are on their way.
    pub outgoing: Vec<(ConversationId, OutgoingRecord)>,
    /// The place of the next received message in the order of arrival.
    pub next_arrival: u64,
    /// The received messages before this place have been shown.
    pub shown: u64,
    /// The identity key that each name is pinned to.
    pub pins: Vec<(PeerName, Fingerprint)>,
    /// Mail that came too late for its key, by folded name of the sender.
    pub late: Vec<(String, LateRecord)>,
}

/// Reads records of which there are too many to keep in memory.
///
/// It is a port and not an effect with an answering input, because the engine needs the record before it can take the
/// next frame: with an effect it would have to park that frame and everything behind it.
pub trait Records {
    /// A message without a receipt.
    ///
    /// # Errors
    /// [`Unreadable`]
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable>;

    /// A conversation that another peer has opened.
    ///
    /// # Errors
    /// [`Unreadable`]
    fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, Unreadable>;

    /// A message that has been received.
    ///
    /// # Errors
    /// [`Unreadable`]
    fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<HistoryRecord>, Unreadable>;

    /// The first received message at this place in the order of arrival or behind it, and its place.
    ///
    /// # Errors
    /// [`Unreadable`]
    fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable>;
}

/// A record could not be read. The engine cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Something that has happened.
pub enum Input {
    /// A client gives a command.
    Command(ClientId, Command),
    /// A client has disconnected.
    Gone(ClientId),
    /// A client has written the next messages that it was sent: so many.
    Shown(ClientId, u64),
    /// From the connection to the server.
    Net(Net),
    /// Answers [`Effect::ReadShare`], [`Effect::AddShare`] and [`Effect::Serve`].
    Shared(Result<Shared, String>),
    /// This peer accepts connections of other peers on this port.
    Listening(u16),
    /// The server has called back on that port and sent these bytes.
    CalledBack([u8; 32]),
    /// Another peer has dialled this one for a transfer. Unless an [`Effect::Send`] follows, the connection is closed.
    Dialled(TransferId),
    /// Answers [`Effect::Prepare`]: the path of the file if it is there already, with the same content.
    Prepared(TaskId, Result<Option<PathBuf>, String>),
    /// Answers [`Effect::Receive`] and [`Effect::Send`].
    Transfer(TransferId, TransferOutcome),
    /// Answers [`Effect::MakeKey`]. The pair is on disk.
    KeyMade(Result<Box<EncryptionPair>, String>),
}

/// From the connection to the server.
pub enum Net {
    /// The server has let this peer in.
    Joined {
        /// Which server.
        server: ServerId,
        /// Its address.
        address: String,
    },
    /// The bodies of frames, in order.
    Frames(Vec<Bytes>),
    /// The server cannot be reached: why, and after which time the connection is tried again.
    Unreachable(String, Duration),
    /// The server has refused this peer or ended its session.
    Refused(ErrorCode, String),
    /// The connection is lost. It is tried again after this time.
    Lost(Duration),
}

/// The files that this peer shares.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The files.
    pub files: Vec<PublishedFile>,
    /// What `keyword.txt` names and cannot be shared, and why, safe to show.
    pub problems: Vec<String>,
}

/// What has become of a transfer.
pub enum TransferOutcome {
    /// Bytes have arrived.
    Progress {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// No connection for the transfer could be made.
    CannotDial(String),
    /// The file is at this path, complete and verified, or the transfer has failed.
    Received(Result<PathBuf, String>),
    /// The file was sent, or the transfer has failed.
    Sent(Result<(), String>),
    /// The file on disk is no longer the one that was shared, so it was not sent.
    Outdated(String),
}

/// What a step of the engine results in. Carry it out in this order: first write `pins`, then commit `writes`, then
/// send `to_server`, then the effects. If a write fails, nothing that follows may be carried out.
#[derive(Default)]
pub struct Out {
    /// Identity keys to be pinned, replacing what was pinned before.
    pub pins: Vec<(PeerName, Fingerprint)>,
    /// Changes of records, for one transaction.
    pub writes: Vec<Write>,
    /// Frames for the server.
    pub to_server: Vec<u8>,
    /// Everything else.
    pub effects: Vec<Effect>,
}

/// Something for the shell to carry out.
pub enum Effect {
    /// An update for a client.
    Tell(ClientId, Update),
    /// Show a client the history with one peer or with all, then tell it that its command is done.
    ShowHistory(ClientId, Option<PeerName>),
    /// Check that a file can be received, before its holder is asked for it.
    Prepare(TaskId, Download),
    /// Receive a file.
    Receive(Box<ReceiveJob>),
    /// Send a file.
    Send(Box<SendJob>),
    /// Read what this peer shares and open a port for other peers, if that has not been done.
    Serve,
    /// Read again what this peer shares.
    ReadShare,
    /// Add a file to `keyword.txt` under these keywords, then read what this peer shares.
    AddShare(String, Vec<String>),
    /// Connect to the server.
    Connect,
    /// Close the connection to the server and join again, with what [`Engine::join`](super::Engine::join) says then.
    Reconnect,
    /// Close the connection to the server and do not connect again.
    Disconnect,
    /// Make an encryption pair and write it to the disk.
    MakeKey,
    /// Destroy the encryption pair that was made at this time (seconds since 1970).
    DestroyKey(u64),
}

/// The file that a client wants and where it is to be put.
#[derive(Debug, Clone)]
pub struct Download {
    /// The file's name at its holder.
    pub name: FileName,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
    /// The path to put it at; the downloads folder if there is none.
    pub output: Option<PathBuf>,
    /// Whether an existing file may be replaced.
    pub overwrite: bool,
}

/// A file to be received.
pub struct ReceiveJob {
    /// Identifies the transfer; its key is derived from it.
    pub key: TransferKey,
    /// Which file, and where it goes.
    pub download: Download,
    /// The holder's address; through the server if there is none.
    pub address: Option<SocketAddr>,
}

/// A file to be sent.
pub struct SendJob {
    /// Identifies the transfer; its key is derived from it.
    pub key: TransferKey,
    /// Which file, and what goes in front of its content.
    pub header: FileHeader,
    /// [`Route::Direct`]: over the connection that the receiver has dialled.
    pub route: Route,
}
