//! What a peer can be told to do, from its command line, its prompt or its control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::{Digest, FileName, Fingerprint, PeerName, Query};

use super::event::Event;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Shows all that happens, until the client goes.
    View,
    /// Queues messages and sends them.
    Send {
        /// For whom.
        to: PeerName,
        /// One message each.
        texts: Vec<String>,
        /// Done only when all receipts are verified, at most after so many seconds. Without it: when all are relayed or
        /// stored, or wait for a recipient who has never joined.
        wait: Option<u64>,
    },
    /// Shows messages as they come.
    Listen {
        /// Done after so many.
        count: Option<u64>,
        /// Done, and failed, after so many seconds.
        timeout: Option<u64>,
    },
    /// Looks for files.
    Search(Query),
    /// Fetches a file.
    Get {
        /// Which.
        wanted: Wanted,
        /// From whom; anybody who has it if it is left out.
        from: Option<PeerName>,
        /// Where to; the downloads folder if it is left out.
        output: Option<PathBuf>,
        /// Whether a file that is there may be replaced.
        overwrite: bool,
    },
    /// Serves the shared files until the client goes.
    Share,
    /// Adds a file to `keyword.txt` and shares it.
    AddShare {
        /// Its name in the peer's directory.
        file: String,
        /// What it is found by.
        keywords: Vec<String>,
    },
    /// Lists what this peer shares.
    Files,
    /// Lists who is known to the server.
    Who,
    /// Shows the own contact card.
    Card,
    /// Takes in a contact card.
    Import {
        /// As text.
        card: String,
    },
    /// Accepts an identity key, also in place of another.
    Trust {
        /// Whose.
        name: PeerName,
        /// Which.
        fingerprint: Fingerprint,
    },
    /// Lists messages of the past.
    History {
        /// With whom; everybody if it is left out.
        with: Option<PeerName>,
    },
    /// Done when everything is delivered or stored, at most after so many seconds.
    Drain {
        /// Seconds.
        wait: u64,
    },
}

/// A file to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// By name.
    Name(FileName),
    /// By the SHA-256 digest of its content.
    Digest(Digest),
}

impl Command {
    /// Whether it needs a server.
    pub fn needs_server(&self) -> bool {
        !matches!(
            self,
            Self::Card | Self::Import { .. } | Self::Trust { .. } | Self::History { .. } | Self::Files
        )
    }

    /// Whether it goes on long enough for others to fetch files meanwhile.
    pub fn serves_files(&self) -> bool {
        matches!(self, Self::View | Self::Listen { .. } | Self::Share | Self::Send { wait: Some(_), .. })
    }
}

/// What a client hears of its commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// Something happened.
    Event(Event),
    /// A command is done, with this exit status.
    Done(u8),
}

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Refused or failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong usage, or no connection.
pub const EXIT_NO_CONNECTION: u8 = 2;
