//! NATS: its client protocol, as <https://docs.nats.io/reference/reference-protocols/nats-protocol> specifies it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::{CONTENT_BYTES, Plan, Work};
use crate::load::{Connection, Load, Wire};
use crate::servers::Server;

const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A setting of the server.
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// What is configured of JetStream, if it is on.
    pub(super) stream: Option<&'static str>,
}

/// The settings to compare with. Without `sync_interval: always`, JetStream acknowledges before the message is on disk.
pub(super) fn settings(work: Work) -> Vec<Setting> {
    match work {
        Work::Relay => vec![Setting { name: "core NATS", stream: None }],
        Work::Store => vec![
            Setting { name: "JetStream, no fsync", stream: Some("") },
            Setting { name: "JetStream, sync_interval: always", stream: Some("sync_interval: always") },
        ],
    }
}

/// Connects the clients of a plan: those that send to `near`, the others to `far`, which may be the same server. A stream has
/// `replicas` copies.
pub(super) fn load(near: &Server, far: &Server, plan: &Plan, replicas: usize) -> Result<Load> {
    let (mut senders, mut answerers) = (Vec::new(), Vec::new());
    if plan.work == Work::Store {
        make_stream(near, replicas)?;
    }
    for number in 0..plan.senders {
        match plan.work {
            Work::Relay => {
                senders.push(client(near, &format!("answer.{number}"), &format!("ask.{number}"), "")?);
                answerers.push(client(far, &format!("ask.{number}"), &format!("answer.{number}"), "")?);
            }
            Work::Store => {
                let inbox = format!("inbox.{number}");
                senders.push(client(near, &inbox, &format!("away.{number}"), &inbox)?);
            }
        }
    }
    Ok(Load { senders, answerers, window: plan.window })
}

struct Nats {
    message: Vec<u8>,
}

/// A connection that listens on one subject and sends to another. Acknowledgements go to `reply_to`, if it is not empty.
fn client(server: &Server, listens: &str, sends: &str, reply_to: &str) -> Result<Connection> {
    let stream = connect(server, &format!("SUB {listens} 1\r\n"))?;
    let mut message = format!("PUB {sends} {reply_to} {CONTENT_BYTES}\r\n").replace("  ", " ").into_bytes();
    message.extend_from_slice(&[7; CONTENT_BYTES]);
    message.extend_from_slice(b"\r\n");
    Ok(Connection::new(stream, Box::new(Nats { message })))
}

/// Connects, and waits until the server has carried out `commands`.
fn connect(server: &Server, commands: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server.address).context("cannot connect to nats-server")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{commands}PING\r\n");
    stream.write_all(hello.as_bytes())?;
    let mut said = String::new();
    while !said.ends_with("PONG\r\n") {
        let mut byte = [0];
        ensure!(stream.read(&mut byte)? == 1, "nats-server has closed the connection: {said}");
        said.push(byte[0].into());
    }
    ensure!(!said.contains("-ERR"), "nats-server says {said}");
    Ok(stream)
}

/// Makes a stream that keeps in a file what is sent to `away.*`.
fn make_stream(server: &Server, replicas: usize) -> Result<()> {
    let mut stream = connect(server, "SUB made 1\r\n")?;
    let wanted = format!(
        r#"{{"name":"AWAY","subjects":["away.*"],"storage":"file","retention":"limits","max_bytes":-1,"num_replicas":{replicas}}}"#
    );
    write!(stream, "PUB $JS.API.STREAM.CREATE.AWAY made {}\r\n{wanted}\r\n", wanted.len())?;
    let mut said = Vec::new();
    while !said.ends_with(b"}\r\n") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        ensure!(count > 0, "nats-server has closed the connection");
        said.extend_from_slice(&bytes[..count]);
    }
    let said = String::from_utf8_lossy(&said);
    ensure!(!said.contains("\"error\""), "nats-server does not make a stream: {said}");
    Ok(())
}

impl Wire for Nats {
    fn message(&mut self) -> &[u8] {
        &self.message
    }

    fn read(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<(usize, usize)> {
        let (mut at, mut messages) = (0, 0);
        while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[at..at + end];
            let next = at + end + 1;
            if line.starts_with(b"MSG ") {
                let digits = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                let length: usize = std::str::from_utf8(digits)?.parse().context("MSG has a length")?;
                let Some(content) = bytes.get(next..next + length + 2) else { break };
                ensure!(
                    length == CONTENT_BYTES || !content.windows(7).any(|part| part == b"\"error\""),
                    "not stored: {}",
                    String::from_utf8_lossy(content)
                );
                (at, messages) = (next + length + 2, messages + 1);
            } else if line.starts_with(b"PING") {
                reply.extend_from_slice(b"PONG\r\n");
                at = next;
            } else if line.starts_with(b"-ERR") {
                bail!("nats-server says {}", String::from_utf8_lossy(line));
            } else {
                at = next;
            }
        }
        Ok((at, messages))
    }
}
