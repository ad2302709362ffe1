//! To Credentials: is this the password of this user?

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::runtime::{Address, NoAnswer, Reply, Unsent, reply};

/// How long a session waits for an answer before it tells its client to come back later.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The way to ask Credentials. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct CredentialsHandle {
    pub(crate) address: Address<Command>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) checked: Arc<AtomicU64>,
}

impl CredentialsHandle {
    /// Asks whether this is the password of this user, and waits for the answer.
    ///
    /// A user who is not in the file takes as long as one who is. Passwords that bcrypt cannot tell apart from others,
    /// those of more than 72 bytes or with a NUL, are wrong for everybody.
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

/// A handle to a mailbox that nobody takes anything from.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (CredentialsHandle, crate::runtime::Mailbox<Command>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (CredentialsHandle { address, generation: Arc::new(AtomicU64::new(1)), checked: Arc::default() }, mailbox)
}
