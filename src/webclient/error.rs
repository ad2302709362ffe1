//! Errors of the web client.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Exit status when the output cannot be written or the file is elsewhere.
const REFUSED: u8 = 1;
/// Exit status when there is no complete response.
const NO_RESPONSE: u8 = 2;

/// One line that says what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {advice}")]
pub(super) struct WebClientError {
    what: String,
    advice: String,
    exit_status: u8,
    fault: Fault,
}

/// What the error means for the bytes that were received before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// They are correct, but the rest is missing.
    Missing,
    /// They are not the requested ones.
    Wrong,
    Other,
}

impl WebClientError {
    pub(super) fn no_response(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into(), exit_status: NO_RESPONSE, fault: Fault::Other }
    }

    /// The output cannot be written, or the file is elsewhere.
    pub(super) fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit_status: REFUSED, ..Self::no_response(what, advice) }
    }

    /// The rest of the body is missing.
    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self { fault: Fault::Missing, ..Self::no_response(what, "try again") }
    }

    /// A signal has ended the transfer.
    pub(super) fn interrupted(exit_status: u8) -> Self {
        Self { exit_status, ..Self::missing("interrupted") }
    }

    /// The response has another range than the requested one; `what` names both.
    pub(super) fn wrong_part(server: &str, what: impl Display) -> Self {
        let what = format!("{server} sent another part of the file than was asked for: {what}");
        Self { fault: Fault::Wrong, ..Self::no_response(what, "nothing is saved; try without --range") }
    }

    pub(super) fn save(path: &Path, cause: &io::Error) -> Self {
        let what = format!("cannot write {}: {cause}", path.display());
        Self::refused(what, "choose another place with --output")
    }

    /// The exit status of the command; for a signal 128 plus its number.
    pub(super) fn exit_status(&self) -> u8 {
        self.exit_status
    }

    /// Whether the bytes received before are not the requested ones.
    pub(super) fn is_about_wrong_bytes(&self) -> bool {
        self.fault == Fault::Wrong
    }

    /// Replaces the advice if only the rest is missing.
    pub(super) fn if_missing(self, advice: impl Into<String>) -> Self {
        if self.fault == Fault::Missing { self.advising(advice) } else { self }
    }

    pub(super) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }
}
