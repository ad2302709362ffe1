//! File transfers through the server whose two ends are at different servers.
//!
//! Each end connects to its own server. That of the receiving end asks the others which of them has the sending end, and connects
//! there, as a guest of the sending end. So the bytes never pass through NATS.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use wire::protocol::{Token, TransferId};

use super::core::Cluster;
use super::interface::Effect;
use super::packet::Body;
use crate::commands::cluster::{Incarnation, Offered, WaitingEnd};

/// How often a server asks again, because packets get lost, and the sending end may come after the receiving one.
const ASK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// Where other servers can connect to this one, as `HOST:PORT`.
    advertised: Option<String>,
    /// The secrets of the sending ends that wait here.
    offered: HashMap<TransferId, Token>,
    /// The receiving ends that wait here, and when to ask for their sending ends.
    wanted: BTreeMap<TransferId, Instant>,
    /// The operator was told that peers of other servers get no files from here.
    has_warned: bool,
}

impl Cluster {
    /// Says where other servers can connect to this one. Without it, their peers get no file from here that has to go through
    /// the server.
    #[must_use]
    pub fn advertising(mut self, address: Option<String>) -> Self {
        self.transfers.advertised = address;
        self
    }

    pub(super) fn transfer_waits(
        &mut self,
        now: Instant,
        transfer: TransferId,
        end: Option<WaitingEnd>,
        out: &mut Vec<Effect>,
    ) {
        let Transfers { offered, wanted, .. } = &mut self.transfers;
        match end {
            Some(WaitingEnd::Sender { guest }) => {
                wanted.remove(&transfer);
                offered.insert(transfer, guest);
            }
            Some(WaitingEnd::Receiver) => {
                offered.remove(&transfer);
                wanted.entry(transfer).or_insert(now);
                self.tick_transfers(now, out);
            }
            None => {
                offered.remove(&transfer);
                wanted.remove(&transfer);
            }
        }
    }

    /// Asks for the sending ends of the transfers that are due.
    pub(super) fn tick_transfers(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut due = Vec::new();
        for (transfer, at) in &mut self.transfers.wanted {
            if *at <= now {
                *at = now + ASK_EVERY;
                due.push(*transfer);
            }
        }
        for transfer in due {
            self.say(None, Body::Wanted { transfer }, out);
        }
    }

    /// The receiving end of a transfer waits at another server.
    pub(super) fn wanted(&mut self, from: Incarnation, transfer: TransferId, out: &mut Vec<Effect>) {
        let Some(secret) = self.transfers.offered.get(&transfer) else { return };
        let offered = self.transfers.advertised.clone().map(|address| Offered { address, secret: *secret });
        if offered.is_none() && !std::mem::replace(&mut self.transfers.has_warned, true) {
            tracing::warn!(
                target: "cluster", server = from.0,
                "another server needs a file of a peer here, and cannot connect to this server; start it with --advertise HOST:PORT"
            );
        }
        self.say(Some(from), Body::Offered { transfer, offered }, out);
    }

    /// The sending end of a transfer waits at another server.
    pub(super) fn offered(&mut self, transfer: TransferId, offered: Option<Offered>, out: &mut Vec<Effect>) {
        if self.transfers.wanted.remove(&transfer).is_some() {
            out.push(Effect::Elsewhere(transfer, offered));
        }
    }
}
