//! Shows each envelope that passes through the server, in the log and to those who watch the feed. The server has no plaintext
//! to show.

use std::collections::BTreeMap;

use wire::protocol::{Envelope, Kind, Outcome};
use wire::{Digest, PeerName};

use crate::commands::feed::{FeedHandle, Passed};

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
    is_logged: bool,
    feed: Option<FeedHandle>,
    open: BTreeMap<u64, Transmission>,
}

impl Transmissions {
    /// `None` if neither the log nor a feed shows transmissions.
    pub(super) fn new(from: PeerName, feed: Option<FeedHandle>) -> Option<Self> {
        let is_logged = tracing::enabled!(target: "route", tracing::Level::INFO);
        (is_logged || feed.is_some()).then_some(Self { from, is_logged, feed, open: BTreeMap::new() })
    }

    /// Notes an envelope, unless it is shown nowhere. Then nothing is hashed or kept.
    pub(super) fn sent(&mut self, place: u64, to: &PeerName, envelope: &Envelope<'_>) {
        if !self.is_logged && !self.feed.as_ref().is_some_and(FeedHandle::is_watched) {
            return;
        }
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
        if self.open.is_empty() {
            return;
        }
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
                self.show(sent, word, reason.as_deref());
            }
        }
    }

    /// Whether every outcome is known.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn show(&self, sent: Transmission, outcome: &'static str, reason: Option<&str>) {
        let Transmission { to, kind, number, bytes, sha256 } = sent;
        let kind = kind.as_str();
        if self.is_logged {
            let from = &self.from;
            tracing::info!(target: "route", %from, %to, kind, number, bytes, %sha256, outcome, reason);
        }
        if let Some(feed) = self.feed.as_ref().filter(|feed| feed.is_watched()) {
            feed.passed(Passed { from: self.from.clone(), to, kind, number, bytes, sha256, outcome });
        }
    }
}

impl Drop for Transmissions {
    /// Shows the envelopes whose outcome is unknown when the session ends.
    fn drop(&mut self) {
        for sent in std::mem::take(&mut self.open).into_values() {
            self.show(sent, "unknown", Some("the sender left before it was known"));
        }
    }
}
