//! Credentials: who may see a web site, and with which password (RFC 7617, the Basic scheme).
//!
//! The users of a site are in a file as `htpasswd -B` writes it. One thread reads it, reads it again whenever it has
//! changed, and verifies passwords one after the other: bcrypt takes tens of milliseconds by design, and whoever
//! guesses passwords must not get more than one processor for it. Whoever asks keeps what is good in a [`Verified`] and tells
//! the thread that goes on with the connection, until [`CredentialsHandle::generation`] says that the file has changed.

mod core;
mod file;
mod hash;
mod shell;
mod verified;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wire::escape::Escaped;
use zeroize::Zeroizing;

pub use self::file::{BadLine, User, parse};
pub use self::hash::{HashError, PASSWORD_BYTES_MAX, hash_line};
pub use self::verified::{Verified, VerifiedKey};
use crate::runtime::{Address, NoAnswer, Reply, Unsent, Vital, reply};

/// How many requests may wait. At cost 10 they are verified in about four seconds; more are guesses.
const MAILBOX_COMMANDS: usize = 64;

/// How long a session waits for an answer before it tells its client to come back later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What others may ask of Credentials.
pub(crate) enum Command {
    /// Whether this is the password of this user.
    Verify {
        /// The name as the client said it.
        user: String,
        /// The password as the client said it.
        password: Zeroizing<String>,
        /// When it was asked; nobody waits longer than [`ANSWER_TIMEOUT`].
        asked: Instant,
        /// Where the answer goes.
        reply: Reply<bool>,
    },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither passwords nor what people take for their name.
        f.write_str("Verify(..)")
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many passwords are waiting to be verified.
    #[error("too many passwords are waiting to be verified")]
    Busy,
    /// The server is about to end.
    #[error("the verification of passwords has ended")]
    Ended,
}

/// Why the users of a site cannot be had, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is missing, unreadable or no file.
    #[error(
        "cannot read the users in {}: {cause}; make lines for it with server --hash-password NAME",
        Shown(path)
    )]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Lines that are no users.
    #[error(
        "the users in {} cannot be used: {}; make these lines with server --hash-password NAME",
        Shown(path),
        Joined(lines)
    )]
    Lines {
        /// The file that was asked for.
        path: PathBuf,
        /// All that is wrong in it.
        lines: Vec<BadLine>,
    },
    /// A site that nobody may see is a mistake.
    #[error(
        "nobody is in {}, so nobody could see the site; make a line with server --hash-password NAME",
        Shown(path)
    )]
    Nobody {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// No thread.
    #[error("cannot start a thread for the users of a site: {0}")]
    Thread(std::io::Error),
}

/// The way to ask Credentials. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct CredentialsHandle {
    address: Address<Command>,
    generation: Arc<AtomicU64>,
    checked: Arc<AtomicU64>,
}

impl CredentialsHandle {
    /// Asks whether this is the password of this user, and waits for the answer.
    ///
    /// A user who is not in the file takes as long as one who is. Passwords that bcrypt cannot tell apart from others,
    /// those of more than [`PASSWORD_BYTES_MAX`] bytes or with a NUL, are wrong for everybody.
    ///
    /// # Errors
    /// [`Unavailable`], at once when the mailbox is full.
    pub fn verify(&self, user: &str, password: Zeroizing<String>) -> Result<bool, Unavailable> {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let (reply, pending) = reply();
        let command = Command::Verify { user: user.to_owned(), password, asked: Instant::now(), reply };
        self.address.offer(command).map_err(|e| match e {
            Unsent::Full(_) => Unavailable::Busy,
            Unsent::Closed(_) => Unavailable::Ended,
        })?;
        pending.wait(ANSWER_TIMEOUT).map_err(|e| match e {
            NoAnswer::TimedOut => Unavailable::Busy,
            NoAnswer::Dropped => Unavailable::Ended,
        })
    }

    /// How many passwords have been asked about.
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Which contents of the file count; it grows whenever others are taken. What [`CredentialsHandle::verify`] said is
    /// to be kept under the generation read before it was asked: the file may change while it works.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Reads the users in a file and starts Credentials. Drop all handles before the [`Vital`], which joins the thread.
///
/// # Errors
/// [`StartError`]
pub fn start(path: &Path) -> Result<(CredentialsHandle, Vital), StartError> {
    let (address, mailbox) = crate::runtime::mailbox(MAILBOX_COMMANDS);
    let (generation, vital) = shell::start(path, mailbox)?;
    Ok((CredentialsHandle { address, generation, checked: Arc::default() }, vital))
}

/// Displays a path on one line.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0.to_string_lossy()).fmt(f)
    }
}

/// Displays bad lines on one line.
struct Joined<'a>(&'a [BadLine]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

/// A handle to a mailbox that nobody takes anything from.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (CredentialsHandle, crate::runtime::Mailbox<Command>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (CredentialsHandle { address, generation: Arc::new(AtomicU64::new(1)), checked: Arc::default() }, mailbox)
}
