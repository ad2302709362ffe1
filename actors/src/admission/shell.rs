//! Admission's thread, and the file with the list.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StartError;
use super::core::{Admission, Out};
use super::file::{Line, parse};
use crate::commands::admission::{AdmissionHandle, Members, NotAdmitted};
use crate::runtime::{Now, Running, Shell, mailbox, start as start_actor};

/// How often the file is read, to see whether somebody has edited it.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum size of the file, enough for about 100,000 members.
const FILE_BYTES_MAX: u64 = 16 << 20;
pub(super) const MAILBOX_COMMANDS: usize = 64;

const FIRST_TEXT: &str = "\
# Who may join this server. A line is FINGERPRINT, or FINGERPRINT NAME for somebody who may join under that name only.
# `server invite` adds a line for each open invitation; remove the line to take the invitation back.
";

/// Reads the list, or creates an empty one, and starts Admission. `expel` ends the sessions of all others than the given
/// members; it is called when somebody may have been removed.
pub(crate) fn start(
    path: &Path,
    expel: impl FnMut(Members) + Send + 'static,
) -> Result<Running<AdmissionHandle>, StartError> {
    let (text, lines) = read_list(path)?;
    let path = path.to_owned();
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let handle = AdmissionHandle(address.clone());
    let next_look = Instant::now() + READ_INTERVAL;
    let shell =
        AdmissionShell { path, last: Ok(text.clone()), in_use: text, next_look, is_edited: false, expel };
    start_actor("admission", (address, mailbox), handle, Admission::new(lines), shell)
        .map_err(StartError::Thread)
}

/// Reads the list, or creates an empty one.
pub(super) fn read_list(path: &Path) -> Result<(String, Vec<Line>), StartError> {
    let path = path.to_owned();
    let read = match durable::read_text(&path, FILE_BYTES_MAX) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            durable::replace_private(&path, FIRST_TEXT.as_bytes()).map(|()| FIRST_TEXT.to_owned())
        }
        read => read,
    };
    let text = match read {
        Ok(text) => text,
        Err(source) => return Err(StartError::File { path, source }),
    };
    match parse(&text) {
        Ok(lines) => Ok((text, lines)),
        Err(reason) => Err(StartError::Lines { path, reason }),
    }
}

struct AdmissionShell<E> {
    path: PathBuf,
    /// What the last read returned, so that each change is applied or reported once.
    last: Result<String, String>,
    /// The text of the list in use. It differs from `last` while the file cannot be used.
    in_use: String,
    next_look: Instant,
    /// Whether the list in use was edited by hand, and those who are not in it any more have not been expelled yet.
    is_edited: bool,
    expel: E,
}

impl<E: FnMut(Members) + Send + 'static> Shell for AdmissionShell<E> {
    type Core = Admission;

    /// A change must be on the disk before the next command sees it.
    const BATCH_COMMANDS_MAX: usize = 1;

    fn settle(&mut self, admission: &mut Admission, out: &mut Out, now: Now) -> Option<Instant> {
        let Out { replies, expels, .. } = std::mem::take(out);
        if !replies.is_empty() {
            let answer = self.write(admission).map_err(NotAdmitted::NotWritten);
            if expels && answer.is_ok() {
                (self.expel)(admission.members());
            }
            replies.into_iter().for_each(|reply| reply.answer(answer.clone()));
        }
        if now.instant >= self.next_look {
            self.look(admission);
            self.next_look = now.instant + READ_INTERVAL;
        }
        Some(self.next_look)
    }
}

impl<E: FnMut(Members)> AdmissionShell<E> {
    /// Writes the list. If that fails, or somebody else has changed the file, the list is again what it was, or what is in
    /// the file if that is valid.
    fn write(&mut self, admission: &mut Admission) -> Result<(), String> {
        let text = admission.text();
        let has_changed = self.look(admission);
        let written = match &self.last {
            _ if has_changed => Err("somebody has just edited it".to_owned()),
            Ok(last) if *last == self.in_use => {
                durable::replace_private(&self.path, text.as_bytes()).map_err(|e| e.to_string())
            }
            Ok(last) => Err(parse(last).err().unwrap_or_default()),
            Err(error) => Err(error.clone()),
        };
        if written.is_ok() {
            (self.last, self.in_use) = (Ok(text.clone()), text);
        } else {
            *admission = Admission::new(parse(&self.in_use).expect("it was parsed before"));
        }
        written
    }

    /// Reads the file. Returns whether it has changed.
    fn look(&mut self, admission: &mut Admission) -> bool {
        let text = durable::read_text(&self.path, FILE_BYTES_MAX).map_err(|error| error.to_string());
        if text == self.last {
            // Many editors empty a file before they write it. If it was read in between, everybody would be expelled. So the
            // edited list must have been read twice.
            if std::mem::take(&mut self.is_edited) {
                (self.expel)(admission.members());
            }
            return false;
        }
        let path = self.path.display();
        match text.clone().and_then(|text| Ok((parse(&text)?, text))) {
            Ok((lines, text)) => {
                tracing::info!(target: "admission", %path, "the list of members was read again");
                *admission = Admission::new(lines);
                self.in_use = text;
                self.is_edited = true;
            }
            Err(reason) => tracing::warn!(
                target: "admission", %path, reason, "the list of members cannot be used; the previous one stays"
            ),
        }
        self.last = text;
        true
    }
}
