//! Logs each envelope that passes through the server. The server has no plaintext to print.

use std::collections::BTreeMap;

use wire::protocol::{Envelope, Kind, Outcome};
use wire::{Digest, PeerName};

#[derive(Debug)]
struct Transmission {
    to: PeerName,
    kind: Kind,
    number: u64,
    bytes: usize,
    sha256: Digest,
}

/// The envelopes of a session whose outcome is unknown.
#[derive(Debug)]
pub(super) struct Transmissions {
    from: PeerName,
    open: BTreeMap<u64, Transmission>,
}

impl Transmissions {
    /// `None` if the log does not include transmissions. Then nothing is hashed or kept.
    pub(super) fn new(from: PeerName) -> Option<Self> {
        tracing::enabled!(target: "route", tracing::Level::INFO)
            .then_some(Self { from, open: BTreeMap::new() })
    }

    pub(super) fn sent(&mut self, place: u64, to: &PeerName, envelope: &Envelope<'_>) {
        self.open.insert(
            place,
            Transmission {
                to: to.clone(),
                kind: envelope.kind,
                number: envelope.number,
                bytes: envelope.sealed.len(),
                sha256: Digest::of(envelope.sealed),
            },
        );
    }

    pub(super) fn routed(&mut self, first: u64, count: u64, outcome: Outcome) {
        let word = match outcome {
            Outcome::Relayed => "relayed",
            Outcome::Stored => "stored",
            Outcome::Refused(_) => "refused",
        };
        let reason = match outcome {
            Outcome::Refused(refusal) => Some(refusal.to_string()),
            _ => None,
        };
        for place in first..first.saturating_add(count) {
            if let Some(sent) = self.open.remove(&place) {
                self.print(&sent, word, reason.as_deref());
            }
        }
    }

    /// Whether every outcome is known.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn print(&self, sent: &Transmission, outcome: &str, reason: Option<&str>) {
        tracing::info!(
            target: "route",
            from = %self.from,
            to = %sent.to,
            kind = sent.kind.as_str(),
            number = sent.number,
            bytes = sent.bytes,
            sha256 = %sent.sha256,
            outcome,
            reason,
        );
    }
}

impl Drop for Transmissions {
    /// Logs the envelopes whose outcome is unknown when the session ends.
    fn drop(&mut self) {
        for sent in std::mem::take(&mut self.open).into_values() {
            self.print(&sent, "unknown", Some("the sender left before it was known"));
        }
    }
}
