//! Groups the envelopes of a peer into runs for the Router. The bytes of large runs stay where they were read.

use std::ops::Range;

use bytes::Bytes;
use wire::PeerName;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::protocol::{Envelope, ErrorCode, Kind, decode_envelope};

use super::buffers::Incoming;
use super::ended::{Ended, blame};
use super::transmissions::Transmissions;
use crate::commands::router::Run;
use crate::commands::store::Frames;

/// Smaller runs are copied out of the read buffer. A slice would keep the whole buffer alive, so with this size, a
/// quarter of the largest buffer, the memory in use is at most four times what is counted.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// A run in the read buffer.
struct Found {
    to: PeerName,
    kept: bool,
    first: u64,
    openings: u32,
    place: Range<usize>,
    lengths: Vec<u32>,
}

/// Takes the envelopes at the start of the buffer, up to the first other frame. `name` is the sender that they must
/// name, and `sent` counts them.
pub(super) fn take(
    incoming: &mut Incoming,
    name: &PeerName,
    sent: &mut u64,
    mut transmissions: Option<&mut Transmissions>,
) -> Result<Vec<Run>, Ended> {
    let (mut found, mut at): (Vec<Found>, usize) = (Vec::new(), 0);
    let received = incoming.received();
    while let Some(body) = frame::split(&received[at..], BODY_BYTES_MAX).map_err(blame)? {
        let Some(envelope) = decode_envelope(body) else { break };
        let envelope = envelope.map_err(blame)?;
        let length = body.len() + LENGTH_BYTES;
        extend(&mut found, name.as_str(), &envelope, at..at + length, *sent)?;
        if let (Some(transmissions), Some(run)) = (&mut transmissions, found.last()) {
            transmissions.sent(*sent, &run.to, &envelope);
        }
        *sent += 1;
        at += length;
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = incoming.split(at);
    let run = |found: Found| Run {
        to: found.to,
        kept: found.kept,
        first: found.first,
        openings: found.openings,
        wants_route: false,
        frames: Frames { lengths: found.lengths, bytes: part(&bytes, found.place) },
    };
    Ok(found.into_iter().map(run).collect())
}

/// A part of the read buffer; a small one is copied, because it may be stored for long. See [`COPIED_BYTES_MAX`].
fn part(bytes: &Bytes, place: Range<usize>) -> Bytes {
    if place.len() < COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes[place]) } else { bytes.slice(place) }
}

/// Adds an envelope to the last run, or starts a new one.
fn extend(
    runs: &mut Vec<Found>,
    name: &str,
    envelope: &Envelope<'_>,
    place: Range<usize>,
    first: u64,
) -> Result<(), Ended> {
    if envelope.from != name {
        let detail = format!("you joined as {name}, so you cannot send as somebody else");
        return Err((ErrorCode::BadEnvelope, detail));
    }
    let kept = envelope.kind.is_kept();
    let openings = u32::from(envelope.kind == Kind::Opening);
    let length = u32::try_from(place.len()).expect("a frame is at most 1 MiB and its length");
    match runs.last_mut() {
        Some(run) if run.to.as_str() == envelope.to && run.kept == kept => {
            run.place.end = place.end;
            run.lengths.push(length);
            run.openings += openings;
        }
        _ => {
            let to = envelope
                .to
                .parse()
                .map_err(|e| (ErrorCode::BadEnvelope, format!("the recipient's name: {e}")))?;
            runs.push(Found { to, kept, first, openings, place, lengths: vec![length] });
        }
    }
    Ok(())
}
