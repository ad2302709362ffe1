//! The notices that tell senders which of their stored messages were dropped because they were too old.

use std::ops::Range;

use wire::PeerName;
use wire::frame::{LENGTH_BYTES, frame};
use wire::protocol::{Envelope, Kind, ToPeer, decode_envelope};

use super::store::Frames;

/// The envelope in a frame, if it is one.
pub(crate) fn envelope(frame: &[u8]) -> Option<Envelope<'_>> {
    decode_envelope(frame.get(LENGTH_BYTES..)?)?.ok()
}

/// Collects the numbers of the messages in mail of one sender.
pub(crate) struct Notices<'a> {
    to: &'a PeerName,
    numbers: Vec<Range<u64>>,
}

impl<'a> Notices<'a> {
    pub(crate) fn new(to: &'a PeerName) -> Self {
        Self { to, numbers: Vec::new() }
    }

    pub(crate) fn add(&mut self, frame: &[u8]) {
        let Some(Envelope { kind: Kind::Message, number, .. }) = envelope(frame) else { return };
        match self.numbers.last_mut() {
            Some(last) if last.end == number => last.end = number.saturating_add(1),
            _ => self.numbers.push(number..number.saturating_add(1)),
        }
    }

    /// One frame for each range of consecutive numbers; `None` without messages.
    pub(crate) fn finish(self) -> Option<Frames> {
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        for numbers in self.numbers {
            let (first, last) = (numbers.start, numbers.end - 1);
            let notice = frame(&ToPeer::Expired { to: self.to.clone(), first, last });
            lengths.push(u32::try_from(notice.len()).expect("a notice is short"));
            bytes.extend_from_slice(&notice);
        }
        (!lengths.is_empty()).then(|| Frames { lengths, bytes: bytes.into() })
    }
}
