//! Moving one file from the peer that has it to the peer that wants it.
//!
//! PROTOCOL.md, sections "Files" and "Being reachable". The receiver dials ([`dial_direct`], or both ends
//! [`dial_server`]); the holder's [`Listener`] hands over who has dialled it; [`send_file`] and [`receive_file`] are the
//! two ends of the file message. All of them block, each with a deadline or an idle limit; the engine gives a transfer
//! a thread of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::Digest;
use wire::escape::Escaped;
use wire::frame::BadFrame;
use wire::protocol::ErrorCode;

mod destination;
mod dial;
mod listener;
mod receive;
mod send;

pub use destination::{Destination, Received};
pub use dial::{dial_direct, dial_server};
pub use listener::{Listener, ListenerEvent};
pub use receive::{Expected, receive_file};
pub use send::send_file;

/// How long either end waits for the other to take or to give the next byte.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// Chunks on their way between the two threads of an end: enough that neither waits for a hiccup of the other, and no
/// more than half a megabyte.
const CHUNKS_UNDERWAY: usize = 4;

/// Why a file did not move.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Nothing could be reached at the address.
    #[error("cannot connect to {}: {source}", Escaped(to))]
    Connect {
        /// Where.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Connection(io::Error),
    /// The other end went silent.
    #[error("the other end sent or took nothing for too long")]
    TimedOut,
    /// The connection ended before the file did.
    #[error("the connection ended {missing} bytes before the end of the file")]
    CutOff {
        /// Bytes of the file that are missing.
        missing: u64,
    },
    /// What arrived was not sealed for this transfer, or was changed on its way.
    #[error("what arrived does not verify")]
    NotAuthentic,
    /// The holder sends another file than the one that was asked for.
    #[error("the holder sent another file than the one asked for")]
    OtherFile,
    /// The bytes that arrived are not the file.
    #[error("the file's SHA-256 is {got}, not {expected} as it was published; nothing was kept")]
    WrongDigest {
        /// As it was published.
        expected: Digest,
        /// Of what arrived.
        got: Digest,
    },
    /// The file on disk became shorter while it was sent.
    #[error("the file changed while it was sent")]
    FileChanged,
    /// The caller wants no more of it.
    #[error("cancelled")]
    Cancelled,
    /// The server said no.
    #[error("the server refused the transfer ({code:?}): {}", Escaped(detail))]
    Server {
        /// Why.
        code: ErrorCode,
        /// The same for people, as it came: escape it before showing it, as `Display` does.
        detail: String,
    },
    /// The server does not speak the protocol.
    #[error("the server sent something else than the protocol has here: {0}")]
    Protocol(#[from] BadFrame),
    /// A path that names no file.
    #[error("{}: not a path that a file can have", shown(.0))]
    BadPath(PathBuf),
    /// Something is there already.
    #[error("{}: already exists with other content; remove it, or allow to overwrite it", shown(.0))]
    Exists(PathBuf),
    /// The disk said no.
    #[error("{}: cannot {doing}: {source}", shown(path))]
    Disk {
        /// What was tried, as a verb and its object.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A path as it may be shown: the file's name in it is another peer's choice.
fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

impl TransferError {
    /// For what went wrong on a connection.
    fn connection(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Connection(error),
        }
    }

    fn disk(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { doing, path, source }
    }
}

#[cfg(test)]
mod tests;
