//! A model of the bucket: all changes in one order.

use actors::cluster::{Here, Input, Revision};
use bytes::Bytes;
use wire::PeerName;

/// A change of a key.
#[derive(Debug, Clone)]
enum Change {
    Card(PeerName, Bytes),
    Here(PeerName, Option<Here>),
}

#[derive(Debug, Default)]
pub(super) struct Bucket(Vec<Change>);

impl Bucket {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn write(&mut self, change: Change) -> Revision {
        self.0.push(change);
        self.0.len() as Revision
    }

    /// What a server that watches is told of the change at this place.
    pub(super) fn change(&self, place: usize) -> Input {
        let revision = place as Revision + 1;
        match self.0[place].clone() {
            Change::Card(name, card) => Input::Card { name, card, revision },
            Change::Here(name, here) => Input::Here { name, here, revision },
        }
    }

    fn card(&self, wanted: &PeerName) -> Option<(Bytes, Revision)> {
        let cards = self.0.iter().zip(1..).filter_map(|(change, revision)| match change {
            Change::Card(name, card) if name == wanted => Some((card.clone(), revision)),
            _ => None,
        });
        cards.last()
    }

    fn here(&self, wanted: &PeerName) -> Option<Revision> {
        let changes = self.0.iter().zip(1..);
        let heres = changes.filter(|(change, _)| matches!(change, Change::Here(name, _) if name == wanted));
        heres.map(|(_, revision)| revision).last()
    }

    /// Writes a card, over the one with a revision or if there is none. Returns what the name then has.
    pub(super) fn claim(&mut self, name: PeerName, card: Bytes, over: Option<Revision>) -> (Bytes, Revision) {
        let there = self.card(&name);
        match there {
            Some(there) if over != Some(there.1) => there,
            _ => (card.clone(), self.write(Change::Card(name, card))),
        }
    }

    /// Writes a presence, if the last change has the revision `over`, or in any case.
    pub(super) fn put(&mut self, name: PeerName, here: Here, over: Option<Revision>) -> Option<Revision> {
        let is_allowed = over.is_none() || over == self.here(&name);
        is_allowed.then(|| self.write(Change::Here(name, Some(here))))
    }

    /// Removes a presence, if it is the last change.
    pub(super) fn erase(&mut self, name: PeerName, revision: Revision) {
        if self.here(&name) == Some(revision) {
            self.write(Change::Here(name, None));
        }
    }
}
