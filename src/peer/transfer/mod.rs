//! The transfer of one file from its holder to another peer (PROTOCOL.md, sections "Files" and "Being reachable").
//!
//! The receiver connects to the holder ([`dial_direct`]), whose [`Listener`] accepts the connection, or both connect to
//! the server ([`dial_server`]). [`send_file`] and [`receive_file`] are the two ends of the file message. All of these
//! block, with a deadline or an idle timeout, so each transfer has a thread of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::peer::folder::FileError;
use wire::Digest;
use wire::escape::Escaped;
use wire::frame::BadFrame;
use wire::many::NotSent;
use wire::protocol::ErrorCode;

mod destination;
mod dial;
mod listener;
mod many;
mod part;
mod pieces;
mod rate;
mod receive;
mod send;

pub use destination::{Destination, Received};
pub use dial::{Membership, dial_direct, dial_server};
pub use listener::{Listener, ListenerEvent};
pub use many::{ExpectedFile, Reports, receive_many, send_many};
pub use pieces::PieceStore;
pub use rate::{RATE_MIN, RateLimit};
pub use receive::{Arrived, Expected, receive_file, receive_run};
pub use send::{Run, send_file};

/// The idle timeout: how long either end waits for the other to send or receive a byte.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// The capacity in chunks between two threads of an end. It is enough to absorb short delays of either, and half a megabyte.
const CHUNKS_UNDERWAY: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("cannot connect to {}: {source}", Escaped(to))]
    Connect { to: String, source: io::Error },
    #[error("the connection broke: {0}")]
    Connection(io::Error),
    /// The other end exceeded the idle timeout or the deadline.
    #[error("the other end sent or received nothing for too long")]
    TimedOut,
    /// The receiver has closed the connection before all was sent: its user has cancelled the transfer, it gets the file from somebody
    /// else, or it has ended.
    #[error("the receiver has stopped the transfer")]
    Stopped,
    #[error("the connection ended {missing} bytes before the end of the file")]
    CutOff { missing: u64 },
    /// A record does not verify: it was not sealed for this transfer, or it was changed.
    #[error("the received data does not verify")]
    NotAuthentic,
    #[error("the holder sent another file than the requested one")]
    OtherFile,
    /// The content that arrived has another digest than the published one.
    #[error("the file's SHA-256 is {got}, not {expected} as it was published; nothing is kept of it")]
    WrongDigest { expected: Digest, got: Digest },
    /// Pieces of the file are missing, or do not fit each other.
    #[error("the pieces that are here are not the whole file; try again")]
    Incomplete,
    #[error("the file changed while it was sent")]
    FileChanged,
    #[error("{}", why_not_sent(*.0))]
    NotSent(NotSent),
    #[error("the server refused the transfer ({code:?}): {}", Escaped(detail))]
    Server {
        code: ErrorCode,
        /// The reason as text, as received. Escape it before showing it, as `Display` does.
        detail: String,
    },
    #[error("the server violated the protocol: {0}")]
    Protocol(#[from] BadFrame),
    #[error("{}: not a path that a file can have", shown(.0))]
    BadPath(PathBuf),
    #[error("{}: not a directory; make it first, or name another one", shown(.0))]
    NoDirectory(PathBuf),
    #[error("{}: already exists with other content; repeat the command with --overwrite at its end to replace it, or with --keep-both", shown(.0))]
    Exists(PathBuf),
    #[error(transparent)]
    Disk(#[from] FileError),
    #[error("cancelled")]
    Cancelled,
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Waits for a thread, and panics if it has panicked.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn why_not_sent(why: NotSent) -> &'static str {
    match why {
        NotSent::NotShared => "its holder does not share it with you, or not any more; search again",
        NotSent::Changed => "it has changed at its holder since it was published; search again",
        NotSent::Unreadable => "its holder cannot read it",
    }
}

/// A path for an error text. It is escaped because another peer chose the file's name.
fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

impl TransferError {
    /// Whether there is no room for the file.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk(error) if durable::is_disk_full(&error.source))
    }

    /// Whether the connection has failed, rather than the file or the disk.
    pub fn is_of_connection(&self) -> bool {
        matches!(self, Self::CutOff { .. } | Self::Connection(_) | Self::TimedOut)
    }

    /// Converts an I/O error of a connection on which a file is sent.
    fn sending(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Stopped,
            _ => Self::connection(error),
        }
    }

    /// Converts an I/O error of a connection.
    fn connection(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Connection(error),
        }
    }
}

#[cfg(test)]
mod tests;
