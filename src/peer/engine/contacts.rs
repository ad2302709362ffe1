//! All other peers that the engine knows.

use std::collections::btree_map::{BTreeMap, Values, ValuesMut};
use std::ops::Bound;

use wire::PeerName;

use super::contact::{Contact, Unacked};
use super::interface::Loaded;
use super::local::Local;
use crate::peer::records::Write;

/// All other peers, by folded name.
#[derive(Default)]
pub(super) struct Contacts(BTreeMap<PeerName, Contact>);

impl Contacts {
    pub(super) fn load(loaded: &mut Loaded) -> Self {
        let records = std::mem::take(&mut loaded.contacts);
        let mut contacts =
            Self(records.into_iter().map(|r| (r.name.folded(), Contact::from_record(r))).collect());
        for (id, record) in std::mem::take(&mut loaded.outgoing) {
            if let Some(contact) = contacts.get_mut(&record.to) {
                contact.openings.insert(id, (record.first_number, record.opening));
            }
        }
        // A contact is written in the same transaction as the first message to it, so it is there.
        for ((name, number), record) in std::mem::take(&mut loaded.outbox) {
            if let Some(contact) = contacts.of_folded(&name) {
                let mut message = Unacked::from_record(&record);
                // After a complaint, the opening is deleted, and each message is sealed again before it is sent.
                message.sealed = message.sealed.filter(|s| contact.openings.contains_key(&s.conversation));
                contact.unacked.insert(number, message);
            }
        }
        for ((name, number), server) in &loaded.stored {
            let message = contacts.of_folded(name).and_then(|contact| contact.unacked.get_mut(number));
            if let Some(message) = message {
                // The server does not have a message that must be sealed again.
                message.stored_at = message.sealed.map(|_| *server);
            }
        }
        for contact in contacts.0.values_mut() {
            contact.arrived_before = loaded.next_arrival;
        }
        for (name, late) in &loaded.late {
            if let Some(contact) = contacts.of_folded(name) {
                contact.late = Some(*late);
            }
        }
        contacts
    }

    fn of_folded(&mut self, name: &str) -> Option<&mut Contact> {
        self.0.get_mut(&name.parse::<PeerName>().ok()?)
    }

    pub(super) fn get(&self, name: &PeerName) -> Option<&Contact> {
        self.0.get(&name.folded())
    }

    pub(super) fn get_mut(&mut self, name: &PeerName) -> Option<&mut Contact> {
        self.0.get_mut(&name.folded())
    }

    /// The contact of a name; a new one if the name is not known.
    pub(super) fn of(&mut self, name: &PeerName) -> &mut Contact {
        self.0.entry(name.folded()).or_insert_with(|| Contact::new(name.clone()))
    }

    /// The contacts after a folded name, in the order of their folded names.
    pub(super) fn after(&self, name: Bound<&PeerName>) -> impl Iterator<Item = &Contact> {
        self.0.range::<PeerName, _>((name, Bound::Unbounded)).map(|(_, contact)| contact)
    }

    pub(super) fn iter(&self) -> Values<'_, PeerName, Contact> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> ValuesMut<'_, PeerName, Contact> {
        self.0.values_mut()
    }

    pub(super) fn remove(&mut self, name: &PeerName) -> Option<Contact> {
        self.0.remove(&name.folded())
    }

    /// Prepares all messages without a receipt to be sealed again, because this peer has a new identity key, and the
    /// old one opened their conversations.
    pub(super) fn seal_again(&mut self, local: &mut Local) {
        for contact in self.iter_mut() {
            contact.send_all_again();
            let numbers: Vec<u64> = contact.unacked.keys().copied().collect();
            contact.unseal(&numbers);
            contact.finished().into_iter().for_each(|id| local.records.write(Write::OutgoingDone(id)));
        }
    }

    /// Writes the records that have changed since the last call, and the pinned keys of those contacts.
    pub(super) fn write_changes(&mut self, local: &mut Local) {
        for (name, contact) in self.0.iter_mut().filter(|(_, contact)| contact.is_kept) {
            if std::mem::take(&mut contact.is_pin_new)
                && let Some(key) = local.pins.get(name)
            {
                local.new_pins.push((contact.name.clone(), *key));
            }
            if std::mem::take(&mut contact.is_changed) {
                local.records.write(Write::Contact(contact.record()));
            }
        }
    }
}
