//! The records as they will be when the current step is written.

use std::collections::{BTreeMap, HashMap};

use wire::PeerName;
use wire::conversation::{ConversationId, MessageId};

use super::interface::{Records, Unreadable};
use crate::peer::records::{Direction, HistoryRecord, IncomingRecord, OutboxRecord, Write};

/// Collects the writes of a step and reads through them to the disk.
///
/// A failed read finds nothing, and [`Overlay::take`] then discards the whole step. So the functions that read need not
/// return errors.
pub(super) struct Overlay {
    disk: Box<dyn Records>,
    writes: Vec<Write>,
    /// Where in `writes` a message of the outbox is, by folded name and number.
    outbox: HashMap<(PeerName, u64), usize>,
    /// Where in `writes` a received message is, by folded name, generation and number.
    received: HashMap<(PeerName, u64, u64), usize>,
    /// The messages that have arrived in this step, by their place in the order of arrival: sender, generation and number.
    arrived: BTreeMap<u64, (PeerName, u64, u64)>,
    unreadable: Option<Unreadable>,
}

impl Overlay {
    pub(super) fn new(disk: Box<dyn Records>) -> Self {
        Self {
            disk,
            writes: Vec::new(),
            outbox: HashMap::new(),
            received: HashMap::new(),
            arrived: BTreeMap::new(),
            unreadable: None,
        }
    }

    /// Adds a write. A second write of the same outbox record replaces the first: most messages are queued and sealed in
    /// the same step.
    pub(super) fn write(&mut self, write: Write) {
        match &write {
            Write::Outbox(to, number, _) => {
                let at = *self.outbox.entry((to.folded(), *number)).or_insert(self.writes.len());
                if let Some(pending) = self.writes.get_mut(at) {
                    *pending = write;
                    return;
                }
            }
            Write::History(HistoryRecord {
                direction: Direction::Received,
                with,
                generation,
                number,
                ..
            }) => {
                self.received.insert((with.folded(), *generation, *number), self.writes.len());
            }
            Write::Arrived(place, from, generation, number) => {
                self.arrived.insert(*place, (from.clone(), *generation, *number));
            }
            _ => {}
        }
        self.writes.push(write);
    }

    pub(super) fn outbox(&mut self, to: &PeerName, number: u64) -> Option<OutboxRecord> {
        let pending = self.outbox.get(&(to.folded(), number)).map(|at| &self.writes[*at]);
        if let Some(Write::Outbox(_, _, record)) = pending {
            return Some(record.clone());
        }
        let read = self.disk.outbox(to, number);
        self.found(read)
    }

    /// Reads from disk only, because conversations that are not written yet are in memory.
    pub(super) fn incoming(&mut self, id: ConversationId) -> Option<IncomingRecord> {
        let read = self.disk.incoming(id);
        self.found(read)
    }

    pub(super) fn received(&mut self, from: &PeerName, generation: u64, number: u64) -> Option<MessageId> {
        if let Some(record) = self.pending(from, generation, number) {
            return Some(record.id);
        }
        let read = self.disk.received(from, generation, number);
        self.found(read)
    }

    /// A message that was received in this step.
    fn pending(&self, from: &PeerName, generation: u64, number: u64) -> Option<&HistoryRecord> {
        let at = self.received.get(&(from.folded(), generation, number))?;
        if let Write::History(record) = &self.writes[*at] { Some(record) } else { None }
    }

    pub(super) fn arrived(&mut self, place: u64) -> Option<(u64, HistoryRecord)> {
        let read = self.disk.arrived(place);
        // Places on disk come before those of this step.
        if let Some(found) = self.found(read) {
            return Some(found);
        }
        let (place, (from, generation, number)) = self.arrived.range(place..).next()?;
        Some((*place, self.pending(from, *generation, *number)?.clone()))
    }

    /// Whether this step writes anything so far.
    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    fn found<T>(&mut self, read: Result<Option<T>, Unreadable>) -> Option<T> {
        read.unwrap_or_else(|unreadable| {
            self.unreadable.get_or_insert(unreadable);
            None
        })
    }

    /// The writes of this step.
    ///
    /// # Errors
    /// The first read of the step that failed.
    pub(super) fn take(&mut self) -> Result<Vec<Write>, Unreadable> {
        self.outbox.clear();
        self.received.clear();
        self.arrived.clear();
        match self.unreadable.take() {
            Some(unreadable) => Err(unreadable),
            None => Ok(std::mem::take(&mut self.writes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with one message for B, under number 1; number 9 cannot be read.
    struct OneMessage;

    fn record(text: &str) -> OutboxRecord {
        OutboxRecord { id: [1; 16], text: text.into(), queued_at: 1, sealed: None }
    }

    fn b() -> PeerName {
        "B".parse().expect("a good name")
    }

    impl Records for OneMessage {
        fn outbox(&self, _: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable> {
            match number {
                9 => Err(Unreadable("damaged".into())),
                number => Ok((number == 1).then(|| record("on disk"))),
            }
        }

        fn incoming(&self, _: ConversationId) -> Result<Option<IncomingRecord>, Unreadable> {
            Ok(None)
        }

        fn received(&self, _: &PeerName, _: u64, _: u64) -> Result<Option<MessageId>, Unreadable> {
            Ok(None)
        }

        fn arrived(&self, _: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable> {
            Ok(None)
        }
    }

    #[test]
    fn pending_writes_are_read_before_the_disk() {
        let mut overlay = Overlay::new(Box::new(OneMessage));
        assert_eq!(overlay.outbox(&b(), 1), Some(record("on disk")));
        overlay.write(Write::Outbox(b(), 1, record("pending")));
        overlay.write(Write::Shown { before: 1, forget: 1 });
        overlay.write(Write::Outbox("b".parse().expect("a good name"), 1, record("again")));
        assert_eq!(overlay.outbox(&b(), 1), Some(record("again")));
        let writes = overlay.take().expect("everything could be read");
        assert_eq!(writes.len(), 2, "the second write of a record replaces the first: {writes:?}");
        assert_eq!(
            overlay.outbox(&b(), 1),
            Some(record("on disk")),
            "what was taken is not pending any more"
        );
    }

    #[test]
    fn a_read_that_fails_discards_the_step() {
        let mut overlay = Overlay::new(Box::new(OneMessage));
        overlay.write(Write::Shown { before: 1, forget: 1 });
        assert_eq!(overlay.outbox(&b(), 9), None);
        assert!(overlay.take().is_err());
    }
}
