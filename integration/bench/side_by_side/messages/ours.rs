//! Switchboard: peers that have joined and send opaque envelopes (PROTOCOL.md, section 9).

use std::net::TcpStream;

use anyhow::{Result, ensure};
use integration::{Character, RawConnection};
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::protocol::{Envelope, Kind, Outcome, ToPeer, ToServer, decode_envelope};

use super::{CONTENT_BYTES, Plan, Work};
use crate::load::{Connection, Load, Wire};
use crate::servers::Server;

/// One address sends more here than the defaults allow.
pub(super) const OPTIONS: [&str; 12] = [
    "--mail-rate",
    "8G",
    "--mail-bytes",
    "64G",
    "--mail-bytes-per-address",
    "64G",
    "--mail-bytes-per-sender",
    "64G",
    "--mail-bytes-per-recipient",
    "64G",
    "--new-names-per-hour",
    "100000",
];

/// Joins the peers of a plan: those that send at `near`, the others at `far`, which may be the same server.
pub(super) fn load(near: &Server, far: &Server, plan: &Plan) -> Result<Load> {
    let asking = join(near, plan.senders, "ask")?;
    let connection = |stream, to: &str, from: &str, counts_stored| {
        let envelope = Envelope { from, to, kind: Kind::Message, number: 1, sealed: &[7; CONTENT_BYTES] };
        let message = frame::frame(&ToServer::Envelope(envelope));
        Connection::new(stream, Box::new(Ours { message, counts_stored, taken: 0 }))
    };
    let is_store = plan.work == Work::Store;
    let role = if is_store { "away" } else { "answer" };
    let far_ends = join(far, plan.senders, role)?;
    let ends = |connections: Vec<TcpStream>, near: &str, far: &str, counts_stored| {
        let each = connections.into_iter().enumerate();
        each.map(|(number, stream)| {
            connection(stream, &format!("{far}-{number}"), &format!("{near}-{number}"), counts_stored)
        })
        .collect::<Vec<_>>()
    };
    // Who is away has joined once, and leaves.
    let answerers = if is_store { Vec::new() } else { ends(far_ends, role, "ask", false) };
    let senders = ends(asking, "ask", role, is_store);
    Ok(Load { senders, answerers, window: plan.window })
}

/// Joins peers with names that begin with `prefix`.
pub(super) fn join(server: &Server, count: usize, prefix: &str) -> Result<Vec<TcpStream>> {
    join_as(&Character::new(&format!("{prefix}-0")), server, count, prefix)
}

/// Joins peers with the keys of `first`.
pub(super) fn join_as(
    first: &Character,
    server: &Server,
    count: usize,
    prefix: &str,
) -> Result<Vec<TcpStream>> {
    let streams = (0..count).map(|number| {
        let character = first.renamed(&format!("{prefix}-{number}"));
        Ok(RawConnection::join(server.address, &character).into_stream())
    });
    streams.collect()
}

struct Ours {
    message: Vec<u8>,
    /// Whether acknowledgements that a message is stored are counted, and not messages.
    counts_stored: bool,
    /// The number of envelopes so far.
    taken: u64,
}

impl Wire for Ours {
    fn message(&mut self) -> &[u8] {
        &self.message
    }

    fn read(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<(usize, usize)> {
        let (mut at, mut messages, mut stored) = (0, 0, 0);
        while let Some(body) = frame::split(&bytes[at..], BODY_BYTES_MAX)? {
            at += LENGTH_BYTES + body.len();
            if decode_envelope(body).is_some() {
                messages += 1;
                continue;
            }
            match ToPeer::decode(body)? {
                ToPeer::Routed { count, outcome: Outcome::Stored, .. } => stored += count,
                ToPeer::Routed { outcome: Outcome::Refused(refusal), .. } => {
                    anyhow::bail!("a message was refused: {refusal}")
                }
                ToPeer::Error { detail, .. } => anyhow::bail!("the server says {detail}"),
                _ => {}
            }
        }
        if messages > 0 {
            self.taken += messages as u64;
            reply.extend_from_slice(&frame::frame(&ToServer::Taken { count: self.taken }));
        }
        ensure!(
            self.counts_stored || stored == 0,
            "a message was stored although its recipient is connected"
        );
        Ok((at, if self.counts_stored { usize::try_from(stored)? } else { messages }))
    }
}
