//! Credentials' thread, its clock, and the users file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::core::Users;
use super::file::parse;
use super::{Joined, Shown, StartError};
use crate::commands::credentials::CredentialsHandle;
use crate::runtime::{Now, Running, Shell, mailbox, start as start_actor};

/// How often the file is read, and so how long a removed user still has access. It is read whether or not its times have
/// changed, because the clocks of some file systems tick every two seconds only.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file, for some 50,000 users. A larger one is probably not a users file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many requests can wait. Checking that many takes about four seconds at cost 10; more are probably guesses.
const MAILBOX_COMMANDS: usize = 64;

/// Reads the users in a file and starts Credentials.
pub fn start(path: &Path) -> Result<Running<CredentialsHandle>, StartError> {
    let (file, users) = UsersFile::open(path)?;
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let (generation, checked) = (Arc::clone(&file.generation), Arc::default());
    let handle = CredentialsHandle { address: address.clone(), generation, checked };
    let shell = CredentialsShell { file, next_look: Instant::now() + READ_INTERVAL };
    start_actor("credentials", (address, mailbox), handle, users, shell).map_err(StartError::Thread)
}

struct CredentialsShell {
    file: UsersFile,
    next_look: Instant,
}

impl Shell for CredentialsShell {
    type Core = Users;

    /// Checking a password takes tens of milliseconds, so the file is read in between.
    const BATCH_COMMANDS_MAX: usize = 1;

    fn settle(&mut self, users: &mut Users, (): &mut (), now: Now) -> Option<Instant> {
        if now.instant >= self.next_look {
            self.file.look(users);
            self.next_look = now.instant + READ_INTERVAL;
        }
        Some(self.next_look)
    }
}

pub(super) struct UsersFile {
    path: PathBuf,
    /// What the last read returned, so that each change is applied or reported once.
    last: Result<String, String>,
    pub(super) generation: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    Taken,
    /// The file has changed and cannot be used.
    Refused,
}

impl UsersFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Users), StartError> {
        let path = path.to_owned();
        let text = match durable::read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(cause) => return Err(StartError::Read { path, cause }),
        };
        let users = match parse(&text) {
            Ok(users) if users.is_empty() => return Err(StartError::Nobody { path }),
            Ok(users) => Users::new(users),
            Err(lines) => return Err(StartError::Lines { path, lines }),
        };
        Ok((Self { path, last: Ok(text), generation: Arc::new(AtomicU64::new(1)) }, users))
    }

    pub(super) fn look(&mut self, users: &mut Users) -> Look {
        let text = durable::read_text(&self.path, FILE_BYTES_MAX).map_err(|error| error.to_string());
        if text == self.last {
            return Look::Same;
        }
        self.last = text;
        self.take(users)
    }

    fn take(&self, current: &mut Users) -> Look {
        let path = Shown(&self.path);
        let users = match self.last.as_deref().map(parse) {
            Ok(Ok(users)) => users,
            Ok(Err(lines)) => {
                let lines = Joined(&lines);
                tracing::warn!(target: "credentials", %path, %lines, "the users file is invalid; the previous users stay");
                return Look::Refused;
            }
            Err(error) => {
                tracing::warn!(target: "credentials", %path, %error, "the users file cannot be read; the previous users stay");
                return Look::Refused;
            }
        };
        if users.is_empty() {
            tracing::warn!(target: "credentials", %path, "the users file has no users any more; nobody can see the site");
        } else {
            tracing::info!(target: "credentials", %path, users = users.len(), "the users file was read again");
        }
        *current = Users::new(users);
        // After the users, so that whoever sees the new number is checked against the new users.
        self.generation.fetch_add(1, Ordering::Release);
        Look::Taken
    }
}
