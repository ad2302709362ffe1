//! What a person types.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use wire::{Fingerprint, PeerName};

use crate::peer::command::Command;
use crate::peer::prompt;

/// Writes to other peers through a Switchboard server, shares files and fetches them.
///
/// Messages are encrypted for their recipient only; each one's receipt is verified; every step is printed. Without a
/// command there is a prompt; /help lists what it understands.
#[derive(Debug, Parser)]
#[command(
    name = "peer",
    version,
    after_help = "Exit status: 0 done, 1 refused or failed, 2 wrong usage or no connection."
)]
pub struct Arguments {
    /// The peer's directory: its shared files, its keyword.txt, and its keys in the private folder .switchboard
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// The name to join under [default: the last part of DIR]
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<PeerName>,
    /// The server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6789", global = true)]
    pub server: String,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print messages and answers only, not every step
    #[arg(long, global = true)]
    pub quiet: bool,
    /// How much of ciphertexts and wrapped keys to print
    #[arg(long, value_enum, default_value_t = TraceDetail::Short, global = true)]
    pub trace: TraceDetail,
    /// send: exit only when every receipt is verified, after so many seconds at most; prompt: wait so long at the end
    #[arg(long, value_name = "SECONDS", global = true)]
    pub wait: Option<u64>,
    /// Open a new conversation after so many messages; 1 gives every message its own RSA operation
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..), global = true)]
    pub rekey: u64,
    /// A file with the passphrase of the private keys; on the first run they are put under it
    #[arg(long, value_name = "FILE", global = true)]
    pub passphrase_file: Option<PathBuf>,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<clap_complete::Shell>,
    #[command(subcommand)]
    pub(super) command: Option<Sub>,
}

/// How much of ciphertexts is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceDetail {
    /// The first bytes
    Short,
    /// All of them: enough to redo every step
    Full,
    /// No steps at all
    Off,
}

#[derive(Debug, Subcommand)]
pub(super) enum Sub {
    /// Write to somebody; a text of - reads lines from standard input, one message each
    Send {
        /// To whom
        #[arg(value_name = "NAME")]
        to: PeerName,
        /// What
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Print messages as they come
    Listen {
        /// Exit with 0 after so many messages
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// Exit with 1 after so many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Look for files that have all the given keywords; "in quotes" a keyword may have spaces
    Search {
        /// Keywords, file:NAME or sha256:HEX
        #[arg(required = true)]
        query: Vec<String>,
    },
    /// Fetch a file
    Get {
        /// Its name, or sha256:HEX
        file: String,
        /// From whom [default: anybody who has it]
        #[arg(long, value_name = "NAME")]
        from: Option<PeerName>,
        /// Where to [default: the folder downloads in the peer's directory]
        #[arg(long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Replace a file that is there
        #[arg(long)]
        overwrite: bool,
    },
    /// Serve the shared files until Ctrl-C
    Share,
    /// List what this peer shares
    Files,
    /// List who is known to the server
    Who,
    /// Print the own contact card, to give to somebody who has not met this peer on a server
    Card,
    /// Take in somebody's contact card
    Import {
        /// The file with the card
        #[arg(value_name = "CARD_FILE")]
        file: PathBuf,
    },
    /// Accept somebody's identity key, also in place of another
    Trust {
        /// Whose
        name: PeerName,
        /// Which: 64 hexadecimal digits
        fingerprint: Fingerprint,
    },
    /// List messages of the past
    History {
        /// With whom [default: everybody]
        name: Option<PeerName>,
    },
}

impl Sub {
    /// The command for the engine.
    ///
    /// # Errors
    /// What is wrong with what was typed.
    pub(super) fn command(self, wait: Option<u64>) -> Result<Command, String> {
        Ok(match self {
            Self::Send { to, text } => Command::Send { to, texts: vec![text.join(" ")], wait },
            Self::Listen { count, timeout } => Command::Listen { count, timeout },
            Self::Search { query } => Command::Search(query.join(" ").parse().map_err(|e| format!("{e}"))?),
            Self::Get { file, from, output, overwrite } => {
                let output =
                    output.map(std::path::absolute).transpose().map_err(|e| format!("--output: {e}"))?;
                Command::Get { wanted: prompt::wanted(&file)?, from, output, overwrite }
            }
            Self::Share => Command::Share,
            Self::Files => Command::Files,
            Self::Who => Command::Who,
            Self::Card => Command::Card,
            Self::Import { file } => {
                let card = std::fs::read_to_string(&file)
                    .map_err(|e| format!("the card cannot be read from {}: {e}", file.display()))?;
                Command::Import { card }
            }
            Self::Trust { name, fingerprint } => Command::Trust { name, fingerprint },
            Self::History { name } => Command::History { with: name },
        })
    }
}
