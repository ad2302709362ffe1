//! The metadata of stored mail. A parcel is mail of one sender that was stored in one step.
//!
//! A record for each parcel instead of each envelope keeps the start of the server and the search for old mail short,
//! because both read only the parcels.

use redb::TableDefinition;
use wire::PeerName;

use super::disk::MailKey;
use crate::commands::expiry::envelope;
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
