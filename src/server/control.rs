//! Commands to a running server, over the socket in its data directory.

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use actors::administration::{Administration, AdministrationError};
use actors::commands::admission::Entry;
use serde::{Deserialize, Serialize};
use wire::protocol::KnownPeer;
use wire::{Fingerprint, PeerName};

use crate::control_socket::{bind, connect, read_line, write_line};
use crate::unix_now;

/// How long each side may take to send its line.
const LINE_WAIT: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, for example because the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A command of the administrator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Invite { name: Option<PeerName>, days: u32 },
    Members,
    Release { name: PeerName, drops_mail: bool },
    Remove { name: PeerName },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Invited {
        invitation: String,
        /// In seconds since 1970.
        until: u64,
        listens_at: Option<ListensAt>,
    },
    Members {
        known: Vec<KnownPeer>,
        /// `None` if anybody may join.
        listed: Option<Vec<Listed>>,
    },
    Done,
}

/// The first TCP address of the server, without TLS if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListensAt {
    pub(super) address: SocketAddr,
    pub(super) is_tls: bool,
}

/// A member or an open invitation, without its secret.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Listed {
    Member {
        fingerprint: Fingerprint,
        name: Option<PeerName>,
    },
    Invitation {
        name: Option<PeerName>,
        /// In seconds since 1970.
        until: u64,
    },
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Member { fingerprint, name } => Self::Member { fingerprint, name },
            Entry::Invitation { secret: _, until, name } => Self::Invitation { name, until },
        }
    }
}

/// Carries out commands on a thread of its own, one after the other, until the process ends.
pub(super) fn serve(
    data: &Path,
    administration: Administration,
    listens_at: Option<ListensAt>,
) -> io::Result<()> {
    let listener = bind(data)?;
    let run = move || run(&listener, &administration, listens_at);
    std::thread::Builder::new().name("control".into()).spawn(run)?;
    Ok(())
}

fn run(listener: &UnixListener, administration: &Administration, listens_at: Option<ListensAt>) {
    for stream in listener.incoming() {
        match stream.map(|stream| attend(&stream, administration, listens_at)) {
            // Probably no descriptor is left.
            Err(_) => std::thread::sleep(ACCEPT_PAUSE),
            Ok(Err(error)) => {
                tracing::debug!(target: "control", %error, "a command was not read or answered");
            }
            Ok(Ok(())) => {}
        }
    }
}

fn attend(
    mut stream: &UnixStream,
    administration: &Administration,
    listens_at: Option<ListensAt>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(LINE_WAIT))?;
    stream.set_write_timeout(Some(LINE_WAIT))?;
    let Some(request) = read_line::<Request>(&mut BufReader::new(stream))? else { return Ok(()) };
    let answer = carry_out(request, administration, listens_at).map_err(|error| error.to_string());
    write_line(&mut stream, &answer)
}

fn carry_out(
    request: Request,
    administration: &Administration,
    listens_at: Option<ListensAt>,
) -> Result<Answer, AdministrationError> {
    match request {
        Request::Invite { name, days } => {
            let until = unix_now() + u64::from(days) * DAY_SECONDS;
            let invitation = administration.invite(name, until)?.to_string();
            return Ok(Answer::Invited { invitation, until, listens_at });
        }
        Request::Members => {
            let listed = administration.listed()?;
            let listed = listed.map(|entries| entries.into_iter().map(Listed::from).collect());
            return Ok(Answer::Members { known: administration.known()?, listed });
        }
        Request::Release { name, drops_mail } => administration.release(&name, drops_mail)?,
        Request::Remove { name } => administration.remove(&name)?,
    }
    Ok(Answer::Done)
}

/// Sends a command to the server that uses this data directory. The inner error is from the server.
pub(super) fn ask(data: &Path, request: &Request) -> io::Result<Result<Answer, String>> {
    let mut stream = connect(data)?;
    stream.set_read_timeout(Some(LINE_WAIT))?;
    write_line(&mut stream, request)?;
    read_line(&mut BufReader::new(&stream))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
