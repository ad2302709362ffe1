//! The command line of `peer`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use wire::invitation::Invitation;
use wire::search::parse_bytes;
use wire::{Fingerprint, PeerName};

use crate::peer::command::{Command, Until};
use crate::peer::engine::Limits;
use crate::peer::prompt;
use crate::peer::searching;
use crate::peer::server_address::ServerAddress;
use crate::peer::transfer::RATE_MIN;

/// Sends messages to other peers through a Switchboard server, and shares and fetches files.
///
/// Messages are encrypted from end to end, and the recipient's receipt for each is verified. Every step is printed. Without
/// a command there is a prompt; /help lists its commands.
#[derive(Debug, Parser)]
#[command(
    name = "peer",
    version,
    after_help = "Exit status: 0 done, 1 refused or failed, 2 wrong usage or no connection."
)]
pub struct Arguments {
    /// The peer's directory, with its shared files, keyword.txt, and the private folder .switchboard
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// The peer's name [default: the last component of DIR]
    // A separate id, because clap gives a global argument the value of an argument with the same id of a command.
    #[arg(id = "own_name", long = "name", value_name = "NAME", global = true)]
    pub name: Option<PeerName>,
    /// The server to connect to; the port is 6789 unless given, and tls: in front means TLS. Of several servers with commas in
    /// between, one is used at a time: when it ends, the next [default: that of the invitation with which this peer has joined, else
    /// 127.0.0.1:6789]
    #[arg(long, value_name = "[tls:]HOST[:PORT]", value_delimiter = ',', global = true)]
    pub server: Vec<ServerAddress>,
    /// A PEM file with the certificates of authorities, or of servers themselves, that are accepted with TLS. Without it, the
    /// authorities that this machine trusts are accepted. A certificate that none of them has issued is pinned at first use
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Print events as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only messages and answers, not every step
    #[arg(long, global = true)]
    pub quiet: bool,
    /// How much of each ciphertext and wrapped key to print
    #[arg(long, value_enum, default_value_t = TraceDetail::Short, global = true)]
    pub trace: TraceDetail,
    /// For send: exit with 0 once every receipt is verified, and with 1 after this time. For the prompt: how long to wait at
    /// the end until everything is delivered or stored
    #[arg(long, value_name = "SECONDS", global = true)]
    pub wait: Option<u64>,
    /// Open a new conversation after this many messages; with 1, every message has its own RSA operation
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..), global = true)]
    pub rekey: u64,
    /// Age at which the encryption key is replaced by a new one
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration, global = true)]
    pub renew_keys: Duration,
    /// How long other peers may encrypt to a key, at most 8d
    #[arg(long, value_name = "TIME", default_value = "8d", value_parser = humantime::parse_duration, global = true)]
    pub card_valid: Duration,
    /// Age at which an encryption key is destroyed; mail that was encrypted to it and arrives later must be sent again
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = humantime::parse_duration, global = true)]
    pub keep_keys: Duration,
    /// How many conversations one peer may open per minute
    #[arg(long, value_name = "N", default_value_t = Limits::default().openings_per_minute, value_parser = clap::value_parser!(u32).range(1..), global = true, help_heading = "Limits for other peers")]
    pub openings_per_minute: u32,
    /// How many conversations all peers that you have never written to may open together per minute
    #[arg(long, value_name = "N", default_value_t = Limits::default().stranger_openings_per_minute, value_parser = clap::value_parser!(u32).range(1..), global = true, help_heading = "Limits for other peers")]
    pub stranger_openings_per_minute: u32,
    /// The maximum number of peers that you have never written to whose messages are accepted
    #[arg(long, value_name = "N", default_value_t = Limits::default().strangers_max, value_parser = clap::value_parser!(u32).range(1..), global = true, help_heading = "Limits for other peers")]
    pub strangers: u32,
    /// How many bytes a second all files that others fetch from here may take together, at least 64K, such as 500K or 2M
    #[arg(long, value_name = "BYTES", value_parser = rate, global = true, help_heading = "Limits for files")]
    pub up_limit: Option<NonZeroU64>,
    /// The same of all files that are fetched
    #[arg(long, value_name = "BYTES", value_parser = rate, global = true, help_heading = "Limits for files")]
    pub down_limit: Option<NonZeroU64>,
    /// How many files others can fetch from here at the same time; the next ones wait in a queue. One peer gets at most half
    /// of the slots
    #[arg(long, value_name = "N", default_value_t = Limits::default().upload_slots, value_parser = slots, global = true, help_heading = "Limits for files")]
    pub upload_slots: u32,
    /// A file with the passphrase for the private keys and the store (messages, history). The first run with it
    /// encrypts both. From then on the passphrase is needed; on a terminal, the program asks for it
    #[arg(long, value_name = "FILE", global = true)]
    pub passphrase_file: Option<PathBuf>,
    /// Do not keep messages once they are shown or delivered, and remove those of earlier runs. Kept are messages that
    /// wait to be delivered or shown, and the numbers and ids of all messages, which the protocol needs. The disk is
    /// cleaned when the program ends, or after a crash at the next start with this option
    #[arg(long, global = true)]
    pub no_history: bool,
    /// A file with an invitation to a server that admits only members; with -, the program asks for it, or reads it
    /// from standard input. If the invitation is a link, its server takes the place of --server, and is remembered
    #[arg(long, value_name = "FILE", global = true)]
    pub invitation: Option<PathBuf>,
    /// Print a completion script for this shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<clap_complete::Shell>,
    /// The content of that file.
    #[arg(skip)]
    pub(super) invited: Option<Invitation>,
    /// Whether `server` is the one of that invitation.
    #[arg(skip)]
    pub(super) is_server_of_invitation: bool,
    #[command(subcommand)]
    pub(super) command: Option<Sub>,
}

impl Arguments {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            openings_per_minute: self.openings_per_minute,
            stranger_openings_per_minute: self.stranger_openings_per_minute,
            strangers_max: self.strangers,
            upload_slots: self.upload_slots,
        }
    }
}

/// Reads a number of transfers at the same time.
fn slots(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|slots| *slots > 0).ok_or_else(|| {
        "the number of files that others can fetch at the same time is at least 1; to let nobody fetch anything, share nothing".to_owned()
    })
}

/// Reads a number of bytes a second.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = parse_bytes(text).map_err(|_| "expected bytes a second, such as 500K or 2M".to_owned())?;
    let rate = NonZeroU64::new(bytes).filter(|rate| rate.get() >= RATE_MIN);
    rate.ok_or_else(|| format!("the lowest limit is {}K", RATE_MIN >> 10))
}

/// How much of ciphertexts is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceDetail {
    /// The first bytes
    Short,
    /// All bytes: enough to repeat every step by hand
    Full,
    /// No steps, as with --quiet
    Off,
}

#[derive(Debug, Subcommand)]
pub(super) enum Sub {
    /// Send a message; with - as the text, each line of standard input is a message
    Send {
        /// The recipient
        #[arg(value_name = "NAME")]
        to: PeerName,
        /// The text
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Print messages as they come
    Listen {
        /// Exit with 0 after this many messages
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// Exit with 1 after this time
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Search for files that have all the given words: 'sea one|other -without "a phrase" begin* ext:pdf size>1M from:NAME'
    Search {
        /// Put it in quotes, because the shell has a meaning for | and others. Also file:NAME, sha256:HEX and (parentheses)
        #[arg(required = true)]
        query: Vec<String>,
        /// Leave out the first matches, which were shown before
        #[arg(long, value_name = "N", default_value_t = 0)]
        skip: u32,
        /// Show at most this many matches
        #[arg(long, value_name = "N", default_value_t = searching::MATCHES_SHOWN)]
        limit: u32,
    },
    /// Fetch a file, or many: 'lectures/*'
    Get {
        /// Its name, or sha256:HEX; * in a name stands for any characters but /, and ** for any. Put it in quotes, because the
        /// shell has a meaning for *
        file: String,
        /// The peer to fetch it from [default: all peers that have it and are here]
        #[arg(long, value_name = "NAME")]
        from: Option<PeerName>,
        /// Where to put it [default: the folder downloads in the peer's directory]
        #[arg(long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Replace an existing file
        #[arg(long, conflicts_with = "keep_both")]
        overwrite: bool,
        /// If another file has its name, add a number to the new one's
        #[arg(long)]
        keep_both: bool,
    },
    /// Serve the shared files until Ctrl-C
    Share,
    /// List the files that this peer shares
    Files,
    /// List the peers that the server knows
    Who,
    /// Print this peer's contact card, for peers that have not met it on a server
    Card,
    /// Import the contact card of another peer, or this peer's own identity from another machine (see export)
    Import {
        /// The file with the card or the identity; its content tells which
        #[arg(value_name = "CARD_FILE")]
        file: PathBuf,
        /// For an identity: a file with the passphrase of the export. Without it, the program asks on the terminal
        #[arg(long, value_name = "FILE")]
        file_passphrase: Option<PathBuf>,
    },
    /// Write this peer's identity to a file, encrypted under a passphrase, to import it on another machine
    ///
    /// The file contains the private keys, the pinned keys of peers and servers, which peers are blocked, and the
    /// numbers of messages. Queued messages, messages that were not shown yet, the history and the shared files stay
    /// behind. After the import, use the identity in one place only: when both connect, the newest connection takes
    /// over.
    Export {
        /// The file to write; it must not exist
        file: PathBuf,
        /// A file with the passphrase for it. Without it, the program asks on the terminal
        #[arg(long, value_name = "FILE")]
        file_passphrase: Option<PathBuf>,
    },
    /// Accept a key of a peer or of a server, and replace the one that was accepted before
    Trust {
        /// The peer, or the server as HOST:PORT
        #[arg(value_name = "NAME|HOST:PORT")]
        who: String,
        /// The fingerprint of the key: 64 hexadecimal digits
        fingerprint: Fingerprint,
    },
    /// Show the identity keys of this peer and another one as words and as a QR code. Compare them with what the other
    /// peer shows. On a terminal, asks whether they are equal, and remembers it
    Verify {
        /// The other peer
        name: PeerName,
        /// Do not ask, but remember that they are equal
        #[arg(long)]
        yes: bool,
    },
    /// Replace this peer's identity key by a new one. The old key signs the new one and is destroyed. The server and
    /// contacts accept the new key when they see it, without asking. Use this when somebody may have copied the old
    /// key. A lost key cannot sign; then the administrator of the server must release the name
    Successor,
    /// Set, change or remove the passphrase of this peer. The private keys and the store are encrypted anew, and the
    /// old files are overwritten. The present passphrase is that of --passphrase-file
    Passphrase {
        /// A file with the new passphrase. Without it, the program asks on the terminal
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        new_passphrase_file: Option<PathBuf>,
        /// Encrypt nothing any more
        #[arg(long)]
        remove: bool,
    },
    /// Ignore everything that a peer sends; its new messages stay queued on its own disk
    Block {
        /// The peer
        name: PeerName,
    },
    /// Accept again what a blocked peer sends
    Unblock {
        /// The peer
        name: PeerName,
    },
    /// Delete the messages, conversations and contact card of a peer; its pinned key, the ids of its messages and whether it is
    /// blocked are kept
    Forget {
        /// The peer
        name: PeerName,
    },
    /// List the messages that have no receipt yet
    Outbox,
    /// Remove a message that was not sent yet
    Cancel {
        /// Its number
        number: u64,
        /// Its recipient, if messages of that number wait for several
        name: Option<PeerName>,
    },
    /// List the limits for other peers, and how many conversations the running process has put off because of each
    Limits,
    /// List the messages of the past
    History {
        /// The other peer [default: all peers]
        name: Option<PeerName>,
    },
}

/// Sends messages, and waits for their receipts if it is to wait so many seconds.
pub(super) fn send(to: PeerName, texts: Vec<String>, wait: Option<u64>) -> Command {
    let until = wait.map_or(Until::Sent, |seconds| Until::Delivered { seconds });
    Command::Send { to, texts, until }
}

impl Sub {
    /// The command for the peer, or what is wrong with the arguments.
    pub(super) fn command(self, wait: Option<u64>) -> Result<Command, String> {
        Ok(match self {
            Self::Send { to, text } => send(to, vec![text.join(" ")], wait),
            Self::Listen { count, timeout } => Command::Listen { count, timeout },
            Self::Search { query, skip, limit } => {
                Command::Search { search: searching::read(&query.join(" "))?, skip, limit }
            }
            Self::Get { file, from, output, overwrite, keep_both } => {
                let output =
                    output.map(std::path::absolute).transpose().map_err(|e| format!("--output: {e}"))?;
                let existing = prompt::existing(overwrite, keep_both);
                Command::Get { wanted: prompt::wanted(&file)?, from, output, existing }
            }
            Self::Share => Command::Share,
            Self::Files => Command::Files,
            Self::Who => Command::Who,
            Self::Card => Command::Card,
            Self::Outbox => Command::Outbox,
            Self::Limits => Command::Limits,
            Self::Cancel { number, name } => Command::Cancel { number, to: name },
            Self::Import { file, .. } => {
                let card = std::fs::read_to_string(&file)
                    .map_err(|e| format!("the card cannot be read from {}: {e}", file.display()))?;
                Command::Import { card }
            }
            Self::Trust { who, fingerprint } => prompt::trust_command(&who, fingerprint)?,
            Self::Verify { name, .. } => Command::Verify { name },
            Self::Successor | Self::Export { .. } | Self::Passphrase { .. } => {
                return Err("this command needs the directory for itself".into());
            }
            Self::Block { name } => Command::Block { name, is_blocked: true },
            Self::Unblock { name } => Command::Block { name, is_blocked: false },
            Self::Forget { name } => Command::Forget { name },
            Self::History { name } => Command::History { with: name },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_command_is_not_that_of_this_peer() {
        let key = "0".repeat(64);
        for command in [
            &["block", "B"][..],
            &["unblock", "B"],
            &["verify", "B"],
            &["trust", "B", &key],
            &["history", "B"],
            &["cancel", "1", "B"],
        ] {
            let parsed =
                Arguments::try_parse_from([&["peer", "--dir", "A"], command].concat()).expect("it is right");
            assert_eq!(parsed.name, None, "{command:?}");
            let named = [&["peer", "--dir", "A"], command, &["--name", "C"]].concat();
            let parsed = Arguments::try_parse_from(named).expect("it is right");
            assert_eq!(parsed.name.as_ref().map(PeerName::as_str), Some("C"), "{command:?}");
            assert!(format!("{:?}", parsed.command).contains("\"B\""), "{parsed:?}");
        }
    }

    #[test]
    fn a_number_of_upload_slots_that_cannot_be_says_what_can() {
        for text in ["0", "-1", "many", "5000000000"] {
            let slots = format!("--upload-slots={text}");
            let error =
                Arguments::try_parse_from(["peer", "--dir", "A", &slots, "share"]).expect_err("it cannot be");
            let error = error.to_string();
            assert!(error.contains("--upload-slots") && error.contains("at least 1"), "{error}");
        }
        let parsed = Arguments::try_parse_from(["peer", "--dir", "A", "--upload-slots=1", "share"]);
        assert_eq!(parsed.map(|parsed| parsed.limits().upload_slots).ok(), Some(1));
    }
}
