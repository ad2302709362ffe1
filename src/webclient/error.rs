//! What can go wrong between a person and a web server.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Exit status when something here is wrong, or the file is elsewhere.
const REFUSED: u8 = 1;
/// Exit status when there is no whole response.
const NO_RESPONSE: u8 = 2;

/// Why there is no response, or why nothing could be done with it, in one line: what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {advice}")]
pub struct WebClientError {
    what: String,
    advice: String,
    exit_status: u8,
    fault: Fault,
}

/// What an error says of the bytes that have come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// They are the start of what was asked for; the rest is missing.
    Missing,
    /// They are not what was asked for.
    Wrong,
    /// Nothing.
    Other,
}

impl WebClientError {
    /// There is no response that can be understood.
    pub(super) fn no_response(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into(), exit_status: NO_RESPONSE, fault: Fault::Other }
    }

    /// The file is not where it was asked for, or cannot be printed or saved.
    pub(super) fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit_status: REFUSED, ..Self::no_response(what, advice) }
    }

    /// The rest of a body does not come.
    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self { fault: Fault::Missing, ..Self::no_response(what, "try again") }
    }

    /// A signal has ended the wait for the rest of a body.
    pub(super) fn interrupted(exit_status: u8) -> Self {
        Self { exit_status, ..Self::missing("interrupted") }
    }

    /// A part of the file that was not asked for. `what` says what was asked for and what came.
    pub(super) fn wrong_part(server: &str, what: impl Display) -> Self {
        let what = format!("{server} sent another part of the file than was asked for: {what}");
        Self { fault: Fault::Wrong, ..Self::no_response(what, "nothing is saved; try without --range") }
    }

    /// `path` cannot be written.
    pub(super) fn save(path: &Path, cause: &io::Error) -> Self {
        let what = format!("cannot write {}: {cause}", path.display());
        Self::refused(what, "choose another place with --output")
    }

    /// The exit status of a command that fails so: 1 for what is wrong here or was asked for at the wrong place, 2 for a
    /// response that could not be had, 128 and its number for a signal.
    pub fn exit_status(&self) -> u8 {
        self.exit_status
    }

    /// Whether the bytes that have come before are not what was asked for.
    pub(super) fn is_about_wrong_bytes(&self) -> bool {
        self.fault == Fault::Wrong
    }

    /// The same error with other advice if only the rest is missing.
    pub(super) fn if_missing(self, advice: impl Into<String>) -> Self {
        if self.fault == Fault::Missing { self.advising(advice) } else { self }
    }

    /// The same error with other advice.
    pub(super) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }
}
