//! What can go wrong between a person and a web server.

use std::fmt;
use std::io;
use std::path::PathBuf;

use wire::http::{BadBody, BadResponse};

use super::interrupt;

/// What a person can do about an answer that is not whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Advice {
    /// All of it has to come again.
    #[default]
    TryAgain,
    /// So many bytes of it are in a partial file, and the rest can follow.
    Resume {
        /// The length of the partial file.
        kept_bytes: u64,
        /// The partial file.
        path: PathBuf,
    },
    /// It should be possible to go on, but the server does not say which version of the file it has sent.
    NoVersion,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryAgain => write!(f, "try again"),
            Self::Resume { kept_bytes, path } => write!(
                f,
                "{kept_bytes} bytes are kept in {}; run the same command again with --resume to get the rest",
                path.display()
            ),
            Self::NoVersion => write!(
                f,
                "nothing is saved, because the server does not say which version of the file it has; try again"
            ),
        }
    }
}

/// Why there is no answer, or nothing could be done with it. Each says what happened, to what, and what to do. The cause
/// is in the middle of that sentence, and so not given again by [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
pub enum WebClientError {
    /// The host has no address.
    #[error("cannot find the address of {host}: {cause}; check the name of the host")]
    Resolve {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// Nobody answers at any address of the host.
    #[error("cannot connect to {server}: {cause}; check that the server is running there")]
    Connect {
        /// Host and port.
        server: String,
        /// What happened at the last address.
        cause: io::Error,
    },
    /// The connection broke or timed out.
    #[error("lost the connection to {server}: {cause}; {advice}")]
    Lost {
        /// Host and port.
        server: String,
        /// What the system said.
        cause: io::Error,
        /// What to do.
        advice: Advice,
    },
    /// A signal has ended the wait for the rest of a file.
    #[error("interrupted; {advice}")]
    Interrupted {
        /// SIGINT or SIGTERM.
        signal: i32,
        /// What to do.
        advice: Advice,
    },
    /// The connection ended before there was an answer.
    #[error("{server} closed the connection without an answer; check that it is a web server")]
    NoAnswer {
        /// Host and port.
        server: String,
    },
    /// The server announces an answer again and again, or changes to a protocol that nobody has asked for.
    #[error("{server} answered {status} and never with a file; check that it is a web server")]
    NoFinalAnswer {
        /// Host and port.
        server: String,
        /// The last status, below 200.
        status: u16,
    },
    /// What should be saved is not there but elsewhere, or the answer is about a copy that we do not have.
    #[error("{server} answered {status} {}; nothing is saved", location.as_ref().map_or_else(
        || "and has no file for us".to_owned(),
        |location| format!("and has the file at {location}; ask there, or let --follow do it"),
    ))]
    Elsewhere {
        /// Host and port.
        server: String,
        /// 300 to 399.
        status: u16,
        /// Where the server says that it is.
        location: Option<String>,
    },
    /// The answer is not HTTP that can be understood.
    #[error("cannot understand {server}: {cause}; check that it is a web server")]
    BadResponse {
        /// Host and port.
        server: String,
        /// What is wrong.
        cause: BadResponse,
    },
    /// The body is damaged or not whole.
    #[error("the file from {server} is not whole: {cause}; {advice}")]
    BadBody {
        /// Host and port.
        server: String,
        /// What is wrong.
        cause: BadBody,
        /// What to do.
        advice: Advice,
    },
    /// A redirection cannot be followed.
    #[error("{server} answered {status} and has the file at {location}; {why}")]
    BadRedirect {
        /// Host and port.
        server: String,
        /// 301 to 308.
        status: u16,
        /// Where the server says that it is.
        location: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// Each server knows another place.
    #[error(
        "{server} answered {status} and has the file at {location}, after {redirects} redirections already; check the name, \
         or allow more with --follow=N"
    )]
    TooManyRedirects {
        /// Host and port of the last one.
        server: String,
        /// 301 to 308.
        status: u16,
        /// Where the server says that it is.
        location: String,
        /// How many were followed.
        redirects: usize,
    },
    /// A part that nobody has asked for, or another one.
    #[error("{server} answered with another part of the file than was asked for ({what}); {}", part.as_ref().map_or_else(
        || "nothing is saved; check that it is a web server".to_owned(),
        |part| format!("nothing is added to {}; remove that to start again", part.display()),
    ))]
    BadPart {
        /// Host and port.
        server: String,
        /// What does not fit.
        what: &'static str,
        /// What it should have gone on from.
        part: Option<PathBuf>,
    },
    /// The output cannot be written.
    #[error("cannot write {}: {cause}; choose another place with --output", path.display())]
    Save {
        /// Where it should have gone.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Print(io::Error),
}

impl WebClientError {
    /// The exit status of a command that fails so: 1 for what is wrong here or asked for at the wrong place, 2 for an
    /// answer that could not be had, and what shells have for a signal.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Save { .. }
            | Self::Print(_)
            | Self::Elsewhere { .. }
            | Self::BadRedirect { .. }
            | Self::TooManyRedirects { .. } => 1,
            Self::Interrupted { signal, .. } => u8::try_from(interrupt::exit_status(*signal)).unwrap_or(2),
            _ => 2,
        }
    }

    /// The same error with other advice, if it is one that something can be kept in spite of.
    pub(super) fn advising(mut self, better: Advice) -> Self {
        if let Self::Lost { advice, .. } | Self::Interrupted { advice, .. } | Self::BadBody { advice, .. } =
            &mut self
        {
            *advice = better;
        }
        self
    }
}
