//! `server invite`, `server members`, `server release` and `server remove`: commands to a running server.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::json;
use wire::PeerName;
use wire::escape::Escaped;
use wire::protocol::KnownPeer;

use super::control::{Answer, Listed, ListensAt, Request, ask};
use crate::terminal;

/// Exit status when no server uses the data directory.
const EXIT_NO_SERVER: u8 = 2;

/// Commands to a running server.
#[derive(Debug, Subcommand)]
pub enum Administer {
    /// Make and print an invitation, with which one peer can join a server that admits only members. It is not shown
    /// again
    Invite {
        /// Admit the peer under this name only
        #[arg(long, value_name = "NAME")]
        name: Option<PeerName>,
        /// How long the invitation is valid
        #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        /// The address of the server in the link [default: where it listens]
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the names that have joined, the members and the open invitations
    Members {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Free a name whose owner has lost the key: anybody who may join can take it then
    Release {
        /// The name
        name: PeerName,
        /// Also drop the mail that is stored for the name
        #[arg(long)]
        mail: bool,
    },
    /// Remove a peer from the members, take back open invitations for its name, and end its session
    Remove {
        /// The peer
        name: PeerName,
    },
}

impl Administer {
    /// Sends the command to the server that uses this data directory, and prints the answer.
    pub(super) fn run(self, data: &Path) -> ExitCode {
        let answer = match ask(data, &self.request()) {
            Ok(answer) => answer,
            Err(error) => {
                let data = data.display();
                eprintln!(
                    "server: cannot reach a server with the data directory {data}: {error}; name the directory with --data"
                );
                return ExitCode::from(EXIT_NO_SERVER);
            }
        };
        let printed = answer
            .and_then(|answer| self.show(answer))
            .and_then(|text| terminal::print_line(text.trim_end()).map_err(|e| format!("cannot print: {e}")));
        match printed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("server: {}", Escaped(&error));
                ExitCode::FAILURE
            }
        }
    }

    fn request(&self) -> Request {
        match self {
            Self::Invite { name, days, .. } => Request::Invite { name: name.clone(), days: *days },
            Self::Members { .. } => Request::Members,
            Self::Release { name, mail } => Request::Release { name: name.clone(), drops_mail: *mail },
            Self::Remove { name } => Request::Remove { name: name.clone() },
        }
    }

    fn show(&self, answer: Answer) -> Result<String, String> {
        Ok(match (self, answer) {
            (Self::Invite { name, address, json, .. }, Answer::Invited { invitation, until, listens_at }) => {
                let address = address.clone().unwrap_or_else(|| reachable(listens_at));
                let link = format!("switchboard://{address}/{invitation}");
                if *json {
                    json!({"invitation": invitation, "link": link, "name": name, "until": until}).to_string()
                } else {
                    show_invitation(name.as_ref(), &invitation, &link, until)
                }
            }
            (Self::Members { json: true }, Answer::Members { known, listed }) => {
                json!({"known": known, "listed": listed}).to_string()
            }
            (Self::Members { json: false }, Answer::Members { known, listed }) => {
                show_members(&known, listed.as_deref())
            }
            (Self::Release { name, .. }, Answer::Done) => format!("{name} is free"),
            (Self::Remove { name }, Answer::Done) => format!("{name} is removed"),
            _ => return Err("the running server gives another answer; it is of another version".to_owned()),
        })
    }
}

/// The address for peers. If the server listens on the unspecified address (0.0.0.0 or ::), the host name of this machine takes
/// its place.
fn reachable(listens_at: Option<ListensAt>) -> String {
    let Some(ListensAt { address, is_tls }) = listens_at else { return "HOST:PORT".to_owned() };
    let tls = if is_tls { "tls:" } else { "" };
    if !address.ip().is_unspecified() {
        return format!("{tls}{address}");
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{tls}{host}:{}", address.port())
}

fn date(unix: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix))
}

fn show_invitation(name: Option<&PeerName>, invitation: &str, link: &str, until: u64) -> String {
    let whom = name.map_or("one peer".to_owned(), |name| format!("one peer, as {name}"));
    let dir = name.map_or("DIR", |name| name.as_str());
    let code = terminal::qr_code(link).unwrap_or_default();
    format!(
        "This invitation admits {whom}, once, until {}. It is not shown again.\n\n    {invitation}\n\nAs a link:\n\n    \
         {link}\n\n{code}\nThe invited person runs this command and pastes the link:\n\n    peer --dir {dir} --invitation -\n",
        date(until)
    )
}

fn show_members(known: &[KnownPeer], listed: Option<&[Listed]>) -> String {
    let mut text = String::new();
    let members = listed.unwrap_or_default();
    for peer in known {
        let state = if peer.online { "online" } else { "away" };
        let is_listed = members.iter().any(|entry| match entry {
            Listed::Member { fingerprint, name } => {
                *fingerprint == peer.fingerprint
                    && name.as_ref().is_none_or(|name| name.folded() == peer.name.folded())
            }
            Listed::Invitation { .. } => false,
        });
        let note = if listed.is_some() && !is_listed { "  not a member" } else { "" };
        let _ = writeln!(text, "{:<32} {state:<6} {}{note}", peer.name.as_str(), peer.fingerprint);
    }
    for entry in members {
        let _ = match entry {
            Listed::Member { fingerprint, .. }
                if known.iter().any(|peer| peer.fingerprint == *fingerprint) =>
            {
                Ok(())
            }
            Listed::Member { fingerprint, name } => {
                let name = name.as_ref().map_or("(any name)", PeerName::as_str);
                writeln!(text, "{name:<32} never  {fingerprint}")
            }
            Listed::Invitation { name, until } => {
                let name = name.as_ref().map_or("(any name)", PeerName::as_str);
                writeln!(text, "{name:<32} invited until {}", date(*until))
            }
        };
    }
    if listed.is_none() {
        text.push_str("anybody may join this server; --members FILE admits members only\n");
    }
    text
}
