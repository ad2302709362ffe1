//! Credentials' thread: its mailbox, its clock, and the file.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::core::Users;
use super::file::parse;
use super::{Joined, Shown, StartError};
use crate::commands::credentials::CredentialsHandle;
use crate::runtime::{Now, Running, Shell, mailbox, start as start_actor};

/// How often the file is looked at, and so how long a removed user still gets in.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that was changed within this time before it was read may be changed again without its stamp telling: the
/// clocks of file systems tick slowly, some every two seconds.
const STAMP_SETTLES: Duration = Duration::from_secs(2);

/// Largest file: some 50,000 users. Larger ones are taken for something else.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many requests may wait. At cost 10 they are verified in about four seconds; more are guesses.
const MAILBOX_COMMANDS: usize = 64;

pub(super) fn start(path: &Path) -> Result<Running<CredentialsHandle>, StartError> {
    let (file, users) = UsersFile::open(path)?;
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let (generation, checked) = (Arc::clone(&file.generation), Arc::default());
    let handle = CredentialsHandle { address: address.clone(), generation, checked };
    let shell = CredentialsShell { file, next_look: Instant::now() + LOOK_EVERY, out: () };
    start_actor("credentials", (address, mailbox), handle, users, shell).map_err(StartError::Thread)
}

struct CredentialsShell {
    file: UsersFile,
    next_look: Instant,
    out: (),
}

impl Shell for CredentialsShell {
    type Core = Users;

    /// A password takes tens of milliseconds; the file is looked at in between.
    const BATCH_COMMANDS_MAX: usize = 1;

    fn out(&mut self) -> &mut () {
        &mut self.out
    }

    fn settle(&mut self, users: &mut Users, now: Now) -> Option<Instant> {
        if now.instant >= self.next_look {
            self.file.look(users);
            self.next_look = now.instant + LOOK_EVERY;
        }
        Some(self.next_look)
    }
}

/// The file that the users are from.
pub(super) struct UsersFile {
    path: PathBuf,
    /// That of the file when it was last read; none if that was too soon after a change, or failed.
    stamp: Option<Stamp>,
    /// What the last reading gave, so that each change is taken, or complained about, once.
    last: Result<[u8; 32], String>,
    pub(super) generation: Arc<AtomicU64>,
}

/// What a look at the file has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What it was the last time.
    Same,
    /// Other users, who count from now on.
    Taken,
    /// Nothing that could count.
    Refused,
}

impl UsersFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Users), StartError> {
        let path = path.to_owned();
        let (stamp, text) = match read(&path) {
            Ok(contents) => contents,
            Err(cause) => return Err(StartError::Read { path, cause }),
        };
        let users = match parse(&text) {
            Ok(users) if users.is_empty() => return Err(StartError::Nobody { path }),
            Ok(users) => Users::new(users),
            Err(lines) => return Err(StartError::Lines { path, lines }),
        };
        let file = Self { path, stamp, last: Ok(digest(&text)), generation: Arc::new(AtomicU64::new(1)) };
        Ok((file, users))
    }

    pub(super) fn look(&mut self, users: &mut Users) -> Look {
        let stamp = fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp.is_some() && stamp == self.stamp {
            return Look::Same;
        }
        let contents = read(&self.path);
        let outcome = match &contents {
            Ok((_, text)) => Ok(digest(text)),
            Err(error) => Err(error.to_string()),
        };
        let is_new = outcome != self.last;
        self.last = outcome;
        self.stamp = contents.as_ref().ok().and_then(|(stamp, _)| *stamp);
        if is_new { self.take(contents.map(|(_, text)| text), users) } else { Look::Same }
    }

    fn take(&mut self, text: io::Result<String>, current: &mut Users) -> Look {
        let path = Shown(&self.path);
        let users = match text.map(|text| parse(&text)) {
            Ok(Ok(users)) => users,
            Ok(Err(lines)) => {
                let lines = Joined(&lines);
                tracing::warn!(target: "credentials", %path, %lines, "the file of users is broken; the users from before stay");
                return Look::Refused;
            }
            Err(error) => {
                tracing::warn!(target: "credentials", %path, %error, "the file of users cannot be read; the users from before stay");
                return Look::Refused;
            }
        };
        if users.is_empty() {
            tracing::warn!(target: "credentials", %path, "nobody is in the file of users any more; nobody can see the site");
        } else {
            tracing::info!(target: "credentials", %path, users = users.len(), "the file of users was read again");
        }
        *current = Users::new(users);
        // After the users: whoever sees the new number is verified against the new users.
        self.generation.fetch_add(1, Ordering::Release);
        Look::Taken
    }
}

/// What tells that a file is another one or was changed. The time of the status change cannot be set back by those who
/// copy a file with its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    len: u64,
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            len: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// Whether any later change will show in it.
    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).map(Duration::from_secs);
        let since = changed.ok().and_then(|changed| now.duration_since(UNIX_EPOCH + changed).ok());
        // The part below a second is left out, so one more.
        since.is_some_and(|since| since > STAMP_SETTLES + Duration::from_secs(1))
    }
}

/// Reads the file, with its stamp if that will tell of any change from now on.
fn read(path: &Path) -> io::Result<(Option<Stamp>, String)> {
    // Before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(path)?;
    let now = SystemTime::now();
    let stamp = Stamp::of(&file.metadata()?);
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok((stamp.is_settled(now).then_some(stamp), text))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_of_later_changes_once_no_clock_gives_the_same_time_again() {
        let stamp = Stamp { modified: (0, 0), changed: (1_000, 999_999_999), len: 0, inode: (0, 0) };
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        // At the last of them it has changed less than three seconds ago, by a clock that may tell whole seconds only.
        for too_soon in [0, 1_001_000, 1_002_999, 1_003_000] {
            assert!(!stamp.is_settled(at(too_soon)), "{too_soon}");
        }
        assert!(stamp.is_settled(at(1_004_000)));
    }
}
