//! The disk of a simulated peer: it survives crashes, and may be full.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use switchboard::peer::engine::{Loaded, Out, Records, Unreadable};
use switchboard::peer::home::KeyTimes;
use switchboard::peer::records::{
    ContactRecord, Direction, HistoryRecord, IncomingRecord, LateRecord, OutboxKey, OutboxRecord,
    OutgoingRecord, PinnedKey, Write,
};
use wire::PeerName;
use wire::conversation::{ConversationId, MessageId};
use wire::protocol::ServerId;

/// What is on the disk.
#[derive(Default)]
pub(super) struct Content {
    pub(super) contacts: BTreeMap<PeerName, ContactRecord>,
    pub(super) outbox: BTreeMap<OutboxKey, OutboxRecord>,
    pub(super) stored: BTreeMap<OutboxKey, ServerId>,
    pub(super) outgoing: BTreeMap<ConversationId, OutgoingRecord>,
    pub(super) incoming: BTreeMap<ConversationId, IncomingRecord>,
    /// By folded name, direction, generation and number.
    pub(super) history: BTreeMap<(String, u8, u64, u64), HistoryRecord>,
    /// By the place in the order of arrival: sender, generation and number.
    pub(super) arrived: BTreeMap<u64, (PeerName, u64, u64)>,
    pub(super) shown: u64,
    pub(super) pins: BTreeMap<PeerName, PinnedKey>,
    pub(super) late: BTreeMap<PeerName, LateRecord>,
    /// The encryption keys, by the time at which they were made: how many had been made before each.
    pub(super) keys: BTreeMap<u64, usize>,
    pub(super) is_full: bool,
}

/// A handle on the disk: one for the engine, one for the simulation.
#[derive(Clone, Default)]
pub(super) struct Disk(Rc<RefCell<Content>>);

fn key(name: &PeerName, number: u64) -> OutboxKey {
    (name.folded().to_string(), number)
}

fn received(name: &PeerName, generation: u64, number: u64) -> (String, u8, u64, u64) {
    (name.folded().to_string(), Direction::Received as u8, generation, number)
}

impl Disk {
    pub(super) fn content(&self) -> RefMut<'_, Content> {
        self.0.borrow_mut()
    }

    pub(super) fn load(&self) -> Loaded {
        let content = self.content();
        let next_arrival =
            content.arrived.last_key_value().map_or(content.shown, |(place, _)| content.shown.max(place + 1));
        Loaded {
            contacts: content.contacts.values().cloned().collect(),
            outbox: content.outbox.iter().map(|(key, record)| (key.clone(), record.clone())).collect(),
            stored: content.stored.iter().map(|(key, server)| (key.clone(), *server)).collect(),
            outgoing: content.outgoing.iter().map(|(id, record)| (*id, record.clone())).collect(),
            accepted: content.incoming.iter().map(|(id, record)| (*id, record.clone())).collect(),
            next_arrival,
            shown: content.shown,
            pins: content.pins.iter().map(|(name, key)| (name.clone(), *key)).collect(),
            late: content.late.iter().map(|(name, late)| (name.to_string(), *late)).collect(),
        }
    }

    /// Writes all that a step has decided, in one transaction.
    pub(super) fn write(&self, out: &Out) {
        let mut content = self.content();
        for (name, key) in &out.pins {
            content.pins.insert(name.folded(), *key);
        }
        for write in &out.writes {
            content.apply(write.clone());
        }
    }
}

impl Content {
    /// What a start does to the keys: those whose time is over are destroyed, and one is made if it is due.
    pub(super) fn open_keys(&mut self, now: u64) -> &BTreeMap<u64, usize> {
        let times = KeyTimes::default();
        if self.keys.is_empty() {
            self.keys.insert(now, 0);
        }
        let newest = self.keys.keys().next_back().copied().unwrap_or_default();
        if now >= times.renewed_at(newest) {
            self.add_key(now);
        }
        self.keys.retain(|made_at, _| now < times.destroyed_at(*made_at));
        &self.keys
    }

    /// Adds a key that was made at `now`. Returns how many were made before it.
    pub(super) fn add_key(&mut self, now: u64) -> usize {
        let made = self.keys.values().max().map_or(0, |made| made + 1);
        self.keys.insert(now, made);
        made
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Contact(record) => {
                self.contacts.insert(record.name.folded(), record);
            }
            Write::Outbox(to, number, record) => {
                self.stored.remove(&key(&to, number));
                self.outbox.insert(key(&to, number), record);
            }
            Write::Stored(to, number, server) => {
                self.stored.insert(key(&to, number), server);
            }
            Write::Delivered(to, number) => {
                self.outbox.remove(&key(&to, number));
                self.stored.remove(&key(&to, number));
                let sent = (to.folded().to_string(), Direction::Sent as u8, 0, number);
                if let Some(record) = self.history.get_mut(&sent) {
                    record.delivered = true;
                }
            }
            Write::Cancelled(to, number) => {
                self.outbox.remove(&key(&to, number));
                self.stored.remove(&key(&to, number));
                self.history.remove(&(to.folded().to_string(), Direction::Sent as u8, 0, number));
            }
            Write::Outgoing(id, record) => {
                self.outgoing.insert(id, record);
            }
            Write::OutgoingDone(id) => {
                self.outgoing.remove(&id);
            }
            Write::Incoming(id, record) => {
                self.incoming.insert(id, record);
            }
            Write::IncomingGone(id) => {
                self.incoming.remove(&id);
            }
            Write::History(record) => {
                let name = record.with.folded().to_string();
                let key = (name, record.direction as u8, record.generation, record.number);
                self.history.insert(key, record);
            }
            Write::Arrived(place, from, generation, number) => {
                self.arrived.insert(place, (from, generation, number));
            }
            Write::Shown { before, forget } => {
                self.shown = before;
                self.arrived.retain(|place, _| *place >= forget);
            }
            Write::Late(from, Some(late)) => {
                self.late.insert(from.folded(), late);
            }
            Write::Late(from, None) => {
                self.late.remove(&from.folded());
            }
            Write::Forgotten(_) => unreachable!("nobody gives this command here"),
        }
    }

    /// The messages that count as not shown: folded name of the sender and number.
    pub(super) fn unshown(&self) -> Vec<(PeerName, u64)> {
        let places = self.arrived.range(self.shown..);
        places.map(|(_, (from, _, number))| (from.folded(), *number)).collect()
    }

    /// The messages with one peer in one direction, in the order of their numbers.
    pub(super) fn messages(&self, with: &PeerName, direction: Direction) -> Vec<&HistoryRecord> {
        let matches = |r: &&HistoryRecord| r.with.folded() == with.folded() && r.direction == direction;
        self.history.values().filter(matches).collect()
    }
}

impl Records for Disk {
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable> {
        Ok(self.content().outbox.get(&key(to, number)).cloned())
    }

    fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, Unreadable> {
        Ok(self.content().incoming.get(&id).cloned())
    }

    fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<MessageId>, Unreadable> {
        Ok(self.content().history.get(&received(from, generation, number)).map(|record| record.id))
    }

    fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable> {
        let content = self.content();
        let first = content.arrived.range(place..).next();
        Ok(first.map(|(place, (from, generation, number))| {
            (*place, content.history[&received(from, *generation, *number)].clone())
        }))
    }
}
