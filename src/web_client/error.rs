//! What can go wrong between a person and a web server.

use std::io;
use std::path::PathBuf;

use wire::http::{BadBody, BadResponse};

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
    #[error("lost the connection to {server}: {cause}; try again")]
    Lost {
        /// Host and port.
        server: String,
        /// What the system said.
        cause: io::Error,
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
        |location| format!("and has the file at {location}; ask there"),
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
    #[error("the file from {server} is not whole: {cause}; try again")]
    BadBody {
        /// Host and port.
        server: String,
        /// What is wrong.
        cause: BadBody,
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
    /// answer that could not be had.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Save { .. } | Self::Print(_) | Self::Elsewhere { .. } => 1,
            _ => 2,
        }
    }
}
