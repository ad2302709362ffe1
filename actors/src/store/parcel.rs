//! The metadata of stored mail. A parcel is mail of one sender that was stored in one step.
//!
//! A record for each parcel instead of each envelope keeps the start of the server and the search for old mail short,
//! because both read only the parcels.

use std::ops::Range;

use redb::TableDefinition;
use wire::PeerName;
use wire::frame::{LENGTH_BYTES, frame};
use wire::protocol::{Envelope, Kind, ToPeer, decode_envelope};

use super::disk::MailKey;
use crate::commands::network::Network;
use crate::commands::store::{Amount, Frames, Sender};

/// The sender's name and network, when the mail was accepted (seconds since 1970), the number of envelopes, and their
/// bytes.
pub(super) type ParcelValue = (&'static str, u128, u64, u64, u64);
/// The parcels by recipient and place of the first envelope.
pub(super) const PARCELS: TableDefinition<MailKey, ParcelValue> = TableDefinition::new("parcels");

/// Mail of one sender at consecutive places of a mailbox.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) sender: Sender,
    /// When it was accepted, in seconds since 1970.
    pub(super) at: u64,
    pub(super) amount: Amount,
}

impl Parcel {
    pub(super) fn to_value(&self) -> (&str, u128, u64, u64, u64) {
        let Amount { envelopes, bytes } = self.amount;
        (self.sender.name.as_str(), self.sender.network.to_bits(), self.at, envelopes, bytes)
    }

    pub(super) fn from_value((name, network, at, envelopes, bytes): (&str, u128, u64, u64, u64)) -> Self {
        let name = name.parse().unwrap_or_else(|_| nobody());
        let sender = Sender { name, network: Network::from_bits(network) };
        Self { sender, at, amount: Amount { envelopes, bytes } }
    }
}

/// A name for senders whose name cannot be read. Their mail counts for this name only.
fn nobody() -> PeerName {
    "-".parse().expect("a hyphen is a name")
}

/// The sender of stored frames, for mail without a parcel. A frame that is not an envelope is a notice of the server to its
/// recipient.
pub(super) fn sender_of(frames: &Frames, recipient: &str) -> Sender {
    let first = frames.iter().next().unwrap_or_default();
    let name = envelope(&first).map_or(recipient, |envelope| envelope.from).parse();
    Sender { name: name.map_or_else(|_| nobody(), |name: PeerName| name.folded()), network: Network::UNKNOWN }
}

fn envelope(frame: &[u8]) -> Option<Envelope<'_>> {
    decode_envelope(frame.get(LENGTH_BYTES..)?)?.ok()
}

/// Collects the numbers of the messages in a parcel, for the notice to their sender.
pub(super) struct Notices<'a> {
    to: &'a PeerName,
    numbers: Vec<Range<u64>>,
}

impl<'a> Notices<'a> {
    pub(super) fn new(to: &'a PeerName) -> Self {
        Self { to, numbers: Vec::new() }
    }

    pub(super) fn add(&mut self, frame: &[u8]) {
        let Some(Envelope { kind: Kind::Message, number, .. }) = envelope(frame) else { return };
        match self.numbers.last_mut() {
            Some(last) if last.end == number => last.end = number.saturating_add(1),
            _ => self.numbers.push(number..number.saturating_add(1)),
        }
    }

    /// One frame for each range of consecutive numbers; `None` without messages.
    pub(super) fn finish(self) -> Option<Frames> {
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
