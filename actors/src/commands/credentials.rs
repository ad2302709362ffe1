//! To Credentials: is this the password of this user?

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::metrics::Count;
use crate::runtime::{Address, NoAnswer, Reply};

/// How long a session waits for an answer. After that it answers its client with 503.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The command that Credentials takes: check a password.
pub(crate) struct Verify {
    pub(crate) user: String,
    pub(crate) password: Zeroizing<String>,
    pub(crate) reply: Reply<bool>,
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the user too: people type passwords into the wrong field.
        f.write_str("Verify(..)")
    }
}

/// The address of Credentials, and what it publishes.
#[derive(Debug, Clone)]
pub struct CredentialsHandle {
    pub(crate) address: Address<Verify>,
    pub(crate) generation: Arc<AtomicU64>,
    /// How many passwords were checked since the start.
    pub(crate) checked: Arc<Count>,
}

impl CredentialsHandle {
    /// Asks whether this is the password of this user, and waits for the answer.
    ///
    /// Unknown users take as long as known ones. A password of more than 72 bytes or with a NUL is always wrong, because
    /// bcrypt would accept another one in its place.
    ///
    /// # Errors
    /// [`NoAnswer`], at once when the mailbox is full.
    pub fn verify(&self, user: &str, password: Zeroizing<String>) -> Result<bool, NoAnswer> {
        self.checked.add(1);
        self.address.ask(ANSWER_TIMEOUT, |reply| Verify { user: user.to_owned(), password, reply })
    }

    /// The version of the users file in use. To cache an answer of [`CredentialsHandle::verify`], read the generation before
    /// asking, because the file may change in between.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// A handle without an actor.
#[cfg(test)]
pub(crate) fn detached(capacity: usize) -> (CredentialsHandle, crate::runtime::Mailbox<Verify>) {
    let (address, mailbox) = crate::runtime::mailbox(capacity);
    (CredentialsHandle { address, generation: Arc::new(AtomicU64::new(1)), checked: Arc::default() }, mailbox)
}
