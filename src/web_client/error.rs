//! What can go wrong between a person and a web server.

use std::io;
use std::path::PathBuf;

use wire::http::{BadBody, BadResponse};

/// Why there is no answer, or nothing could be done with it. Each says what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WebClientError {
    /// The host has no address.
    #[error("cannot find the address of {host}: {source}; check the name of the host")]
    Resolve {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody answers at any address of the host.
    #[error("cannot connect to {server}: {source}; check that the server is running there")]
    Connect {
        /// Host and port.
        server: String,
        /// What happened at the last address.
        source: io::Error,
    },
    /// The connection broke or timed out.
    #[error("lost the connection to {server}: {source}; try again")]
    Lost {
        /// Host and port.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended before there was an answer.
    #[error("{server} closed the connection without an answer; check that it is a web server")]
    NoAnswer {
        /// Host and port.
        server: String,
    },
    /// The answer is not HTTP that can be understood.
    #[error("cannot understand {server}: {source}; check that it is a web server")]
    BadResponse {
        /// Host and port.
        server: String,
        /// What is wrong.
        source: BadResponse,
    },
    /// The body is damaged or not whole.
    #[error("the file from {server} is not whole: {source}; try again")]
    BadBody {
        /// Host and port.
        server: String,
        /// What is wrong.
        source: BadBody,
    },
    /// The output cannot be written.
    #[error("cannot write {}: {source}; choose another place with --output", path.display())]
    Save {
        /// Where it should have gone.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Print(#[source] io::Error),
}

impl WebClientError {
    /// The exit status of a command that fails so: 1 for what is wrong here, 2 for an answer that could not be had.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Save { .. } | Self::Print(_) => 1,
            _ => 2,
        }
    }
}
