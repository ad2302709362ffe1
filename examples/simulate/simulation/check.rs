//! What must hold, at every moment and at the end.

use switchboard::peer::engine::Out;
use switchboard::peer::event::MessageEvent;
use switchboard::peer::records::{Direction, OutboxRecord, Write};
use wire::PeerName;

use super::peer::Peer;
use super::world::World;

impl World {
    fn peer_of(&self, name: &PeerName) -> &Peer {
        let mut peers = self.peers.iter();
        peers.find(|peer| peer.name.folded() == name.folded()).expect("only these peers write to each other")
    }

    /// What a sender takes for delivered is on the recipient's disk. A place in a conversation, and with it a nonce, is used for
    /// one ciphertext only.
    pub(super) fn check_written(&mut self, at: usize, out: &Out) {
        for write in &out.writes {
            if let Write::Outbox(_, _, OutboxRecord { sealed: Some(sealed), .. }) = write {
                let place = (sealed.conversation, sealed.place);
                let bytes = self.sealed.entry(place).or_insert_with(|| sealed.bytes.clone());
                if *bytes != sealed.bytes {
                    self.fail(|| format!("at {at} the place {place:?} was used twice"));
                }
            }
            let Write::Delivered(to, number) = write else { continue };
            let me = &self.peers[at];
            let sent = text(me, to, Direction::Sent, *number);
            let received = text(self.peer_of(to), &me.name, Direction::Received, *number);
            if sent.is_none() || sent != received {
                self.fail(|| format!("#{number} from {at} to {to} counts as delivered and has not arrived"));
            }
        }
    }

    /// What is shown is what was sent, is on disk, and comes in order: once to each viewer, and again only if it does not count
    /// as shown on disk.
    pub(super) fn check_shown(&mut self, at: usize, message: &MessageEvent) {
        let me = &self.peers[at];
        let from = message.from.folded();
        let sent = text(self.peer_of(&from), &me.name, Direction::Sent, message.number);
        let is_kept = text(me, &from, Direction::Received, message.number) == Some(message.text.clone());
        let earlier = me.shown.iter().filter(|(who, ..)| *who == from);
        let last = earlier.map(|(_, number, _)| *number).max().unwrap_or(0);
        let is_unshown = me.disk.content().unshown().contains(&(from.clone(), message.number));
        let last_here = me.last_in_view.get(&from).copied().unwrap_or(0);
        let number = message.number;
        if sent.as_ref() != Some(&message.text) {
            self.fail(|| format!("#{number} from {from} at {at} is not what was sent"));
        } else if !is_kept {
            self.fail(|| format!("#{number} from {from} at {at} is shown and not on disk"));
        } else if number <= last_here || number > last + 1 {
            self.fail(|| format!("#{number} from {from} at {at} is shown after #{last_here} and #{last}"));
        } else if number <= last && !is_unshown {
            self.fail(|| format!("#{number} from {from} at {at} is shown again although it counts as shown"));
        }
    }

    /// Whether every message has arrived and its sender knows. That it was shown is checked a little later.
    pub(super) fn is_all_delivered(&self) -> bool {
        self.peers.iter().all(|peer| peer.disk.content().outbox.is_empty() && !peer.is_busy())
    }

    pub(super) fn undelivered(&self) -> String {
        let of = |peer: &Peer| {
            let disk = peer.disk.content();
            let outbox: Vec<_> = disk.outbox.keys().collect();
            format!("{}: outbox {outbox:?}, unshown {:?}", peer.name, disk.unshown())
        };
        self.peers.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// At the end each message has arrived once, in order and whole; nothing that was acknowledged is lost.
    pub(super) fn check_end(&mut self) {
        if self.peers.iter().any(|peer| !peer.disk.content().unshown().is_empty()) {
            let left = self.undelivered();
            self.fail(|| format!("at the end not all is shown: {left}"));
        }
        for sender in 0..self.peers.len() {
            for recipient in 0..self.peers.len() {
                if sender != recipient
                    && let Err(why) = self.check_pair(&self.peers[sender], &self.peers[recipient])
                {
                    self.fail(|| format!("from {sender} to {recipient}: {why}"));
                }
            }
        }
    }

    fn check_pair(&self, sender: &Peer, recipient: &Peer) -> Result<(), String> {
        let disk = sender.disk.content();
        let sent = disk.messages(&recipient.name, Direction::Sent);
        let there = recipient.disk.content();
        let received = there.messages(&sender.name, Direction::Received);
        let sent_texts: Vec<(u64, &String)> = sent.iter().map(|r| (r.number, &r.text)).collect();
        let received_texts: Vec<(u64, &String)> = received.iter().map(|r| (r.number, &r.text)).collect();
        if sent_texts != received_texts {
            return Err(format!("{} were sent and {} have arrived", sent.len(), received.len()));
        }
        if !sent.iter().map(|r| r.number).eq(1..=sent.len() as u64) {
            return Err("a number is missing".into());
        }
        if let Some(record) = sent.iter().find(|record| !record.delivered) {
            return Err(format!("the sender does not know that #{} was delivered", record.number));
        }
        let queued = sender.queued.get(&recipient.name.folded()).into_iter().flatten();
        if let Some(lost) = queued.clone().find(|text| !sent.iter().any(|r| r.text == **text)) {
            return Err(format!("{lost:?} was acknowledged as queued and is lost"));
        }
        let from = sender.name.folded();
        for record in &received {
            let is_it = |(who, number, _): &(PeerName, u64, String)| *who == from && *number == record.number;
            if !recipient.shown.iter().any(is_it) {
                return Err(format!("#{} was never shown", record.number));
            }
        }
        Ok(())
    }
}

/// The text of a message as it is on a peer's disk.
fn text(peer: &Peer, with: &PeerName, direction: Direction, number: u64) -> Option<String> {
    let disk = peer.disk.content();
    let found = disk.messages(with, direction).into_iter().find(|record| record.number == number);
    found.map(|record| record.text.clone())
}
