//! What a peer that has joined sends: envelopes in runs to the Router, everything else one by one.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::PeerName;
use wire::frame::{BODY_BYTES_MAX, LENGTH_BYTES};
use wire::protocol::{Envelope, ErrorCode, ToPeer, ToServer, decode_envelope};

use super::callback::Callback;
use super::greeting::blame;
use super::member::{Ended, MemberSession};
use crate::commands::index::{self, AskerSees};
use crate::commands::router::{Command, Run};
use crate::commands::store::Frames;
use crate::runtime::reply;

/// How long a question to the Router or the Index may take. Both answer from memory.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a publication may take, which is answered when it is on disk.
const PUBLISH_WAIT: Duration = Duration::from_secs(15);

/// Up to this size a part of what was read is copied: a quarter of the largest read, so that what is kept is at most four
/// times what is counted.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// A run as it is found in the buffer.
struct Found {
    to: PeerName,
    kept: bool,
    first: u64,
    place: Range<usize>,
    lengths: Vec<u32>,
}

impl MemberSession<'_> {
    /// Takes all frames that have been read whole.
    pub(super) fn take_frames(&mut self) -> Result<(), Ended> {
        loop {
            let used = self.take_envelopes()?;
            if used > 0 {
                continue;
            }
            let Some(body) = self.link.first_frame(BODY_BYTES_MAX).map_err(blame)? else {
                return Ok(());
            };
            let used = body.len() + LENGTH_BYTES;
            let frame = self.link.split(used);
            let message = ToServer::decode(&frame[LENGTH_BYTES..]).map_err(blame)?;
            self.message(message)?;
        }
    }

    /// Takes the envelopes up to the first frame that is none, and hands them to the Router in one command. The bytes
    /// stay where they were read. Returns how many there were.
    fn take_envelopes(&mut self) -> Result<usize, Ended> {
        let (mut runs, mut at): (Vec<Found>, usize) = (Vec::new(), 0);
        let (received, name) = (self.link.received(), self.card.name.as_str());
        while let Some(body) = wire::frame::split(&received[at..], BODY_BYTES_MAX).map_err(blame)? {
            let Some(envelope) = decode_envelope(body) else {
                break;
            };
            let envelope = envelope.map_err(blame)?;
            let length = body.len() + LENGTH_BYTES;
            extend(&mut runs, name, &envelope, at..at + length, self.sent)?;
            if let (Some(transmissions), Some(run)) = (&mut self.transmissions, runs.last()) {
                transmissions.sent(self.sent, &run.to, &envelope);
            }
            self.sent += 1;
            at += length;
        }
        if runs.is_empty() {
            return Ok(0);
        }
        let count = runs.len();
        let bytes = self.link.split(at);
        let runs = runs
            .into_iter()
            .map(|run| Run {
                to: run.to,
                kept: run.kept,
                first: run.first,
                frames: Frames { lengths: run.lengths, bytes: part(&bytes, run.place) },
            })
            .collect();
        self.services.router.send(Command::Route { from: self.member, runs }).map_err(|_| server_ends())?;
        Ok(count)
    }

    fn message(&mut self, message: ToServer<'_>) -> Result<(), Ended> {
        match message {
            ToServer::Taken { count } => self.taken(count)?,
            ToServer::Lookup { name } => {
                self.ask_router(Command::Lookup { by: self.member, name })?;
            }
            ToServer::Publish { part, last, files } => self.publish(part, last, files),
            ToServer::Search { id, query, limit } => self.search(id, query, limit),
            ToServer::Listening { port } => {
                self.callback = Callback::dial(self.seen_at, port, Instant::now());
                if self.callback.is_none() {
                    self.end_call(None);
                }
            }
            ToServer::CalledBack { echo } => {
                if let Some(address) = self.callback.as_ref().and_then(|call| call.confirm(&echo)) {
                    self.end_call(Some(address));
                }
            }
            ToServer::Who { id } => {
                let (reply, pending) = reply();
                self.ask_router(Command::Who(reply))?;
                match pending.wait(ANSWER_WAIT) {
                    Ok(peers) => self.link.push_message(&ToPeer::Known { id, peers }),
                    Err(_) => self.failed(id, "the server is busy; try again"),
                }
            }
            ToServer::Join { .. } | ToServer::Splice { .. } => {
                return Err((
                    ErrorCode::OutOfPlace,
                    "you have joined already; use another connection".into(),
                ));
            }
            ToServer::Envelope(_) => unreachable!("envelopes are taken before other messages are looked at"),
        }
        Ok(())
    }

    fn ask_router(&self, command: Command) -> Result<(), Ended> {
        self.services.router.send(command).map_err(|_| server_ends())
    }

    fn failed(&mut self, id: u32, detail: &str) {
        self.link.push_message(&ToPeer::Failed { id, detail: detail.into() });
    }

    fn taken(&mut self, count: u64) -> Result<(), Ended> {
        let taken = self.untaken.take(count).map_err(|_| {
            let detail = format!("{count} envelopes cannot have been taken on this connection");
            (ErrorCode::Malformed, detail)
        })?;
        match taken {
            Some(stored) => self.ask_router(Command::Taken {
                by: self.member,
                before: stored.before,
                envelopes: stored.envelopes,
                bytes: stored.bytes,
            }),
            None => Ok(()),
        }
    }

    fn publish(&mut self, part: u32, last: bool, files: Vec<wire::share::PublishedFile>) {
        let peer = self.card.name.clone();
        match self.services.index.publish(peer, part, last, files, PUBLISH_WAIT) {
            Ok(Ok(published)) if last => {
                let files = u32::try_from(published.files).unwrap_or(u32::MAX);
                let pairs = u32::try_from(published.pairs).unwrap_or(u32::MAX);
                self.link.push_message(&ToPeer::Published { files, pairs });
            }
            Ok(Ok(_)) => {}
            Ok(Err(refused)) => self.failed(0, &refused.to_string()),
            Err(_) => self.failed(0, "the server is busy; share again later"),
        }
    }

    fn search(&mut self, id: u32, query: wire::Query, limit: u32) {
        let asker = AskerSees { from: self.seen_at };
        match self.services.index.search(query, limit, asker, ANSWER_WAIT) {
            Ok(index::Found { hits, total }) => self.link.push_message(&ToPeer::Found { id, hits, total }),
            Err(_) => self.failed(id, "the server is busy; try again"),
        }
    }
}

/// A part of what was read. A small one is copied, because it may be kept for long, and a slice keeps all that was read.
fn part(bytes: &Bytes, place: Range<usize>) -> Bytes {
    if place.len() < COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes[place]) } else { bytes.slice(place) }
}

/// Adds an envelope to the last run, or starts another.
fn extend(
    runs: &mut Vec<Found>,
    name: &str,
    envelope: &Envelope<'_>,
    place: Range<usize>,
    first: u64,
) -> Result<(), Ended> {
    if envelope.from != name {
        let detail = format!("you joined as {name} and may not send in another name");
        return Err((ErrorCode::BadEnvelope, detail));
    }
    let kept = envelope.kind.is_kept();
    let length = u32::try_from(place.len()).expect("a frame is at most 1 MiB and its length");
    match runs.last_mut() {
        Some(run) if run.to.as_str() == envelope.to && run.kept == kept => {
            run.place.end = place.end;
            run.lengths.push(length);
        }
        _ => {
            let to = envelope
                .to
                .parse()
                .map_err(|e| (ErrorCode::BadEnvelope, format!("the recipient's name: {e}")))?;
            runs.push(Found { to, kept, first, place, lengths: vec![length] });
        }
    }
    Ok(())
}

fn server_ends() -> Ended {
    (ErrorCode::ShuttingDown, "the server ends".into())
}
