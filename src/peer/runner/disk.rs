//! The disk of a peer, for its engine: the store, and the pinned identity keys.

use std::rc::Rc;

use wire::card::Card;
use wire::conversation::{ConversationId, MessageId};
use wire::keys::Secret;
use wire::{Fingerprint, PeerName};

use super::{Config, PeerError};
use crate::peer::engine::{Loaded, Out, Records, Unreadable};
use crate::peer::home::{Home, HomeError, Pins};
use crate::peer::records::{HistoryRecord, IncomingRecord, OutboxRecord};
use crate::peer::store::{Store, StoreError};

pub(super) struct Disk {
    store: Rc<Store>,
    pins: Pins,
}

impl Disk {
    /// Opens the store and the pins, and checks that they agree. `store_key` seals the store, if there is one; `own_key` is this
    /// peer's own identity key. `now` is in seconds since 1970.
    pub(super) fn open(
        home: &Home,
        store_key: Option<&Secret>,
        config: &Config,
        own_key: &Fingerprint,
        now: u64,
    ) -> Result<Self, PeerError> {
        let store = Store::open(home.private(), store_key, config.keeps_history)?;
        let mut pins = home.pins()?;
        // The key of each stored card was pinned before the card was written. This peer's own card is in the store too.
        let accepted = store.contacts()?.into_iter().filter_map(|contact| {
            // A card that cannot be decoded is requested from the server again.
            let key = Card::from_bytes(&contact.card?).ok()?.fingerprint();
            // The own card shows the earlier key after that was replaced, and another name if that was given with --name.
            let is_own = key == *own_key || contact.name.folded() == config.name.folded();
            (!is_own).then_some((contact.name, key))
        });
        pins.check_accepted(accepted, config.trusts.as_ref(), now)?;
        Ok(Self { store: Rc::new(store), pins })
    }

    pub(super) fn load(&self) -> Result<Loaded, StoreError> {
        let (next_arrival, shown) = self.store.arrivals()?;
        Ok(Loaded {
            contacts: self.store.contacts()?,
            outbox: self.store.outbox()?,
            stored: self.store.stored()?,
            outgoing: self.store.outgoing()?,
            accepted: self.store.accepted()?,
            next_arrival,
            shown,
            late: self.store.late()?,
            pins: self.pins.iter().map(|(name, key, _)| (name.clone(), *key)).collect(),
        })
    }

    /// The records that the engine reads while it runs.
    pub(super) fn records(&self) -> Box<dyn Records> {
        Box::new(StoredRecords(Rc::clone(&self.store)))
    }

    pub(super) fn history(&self, with: Option<&PeerName>) -> Result<Vec<HistoryRecord>, StoreError> {
        self.store.history(with)
    }

    /// Ends the use of the disk. The engine must be gone.
    ///
    /// # Errors
    /// See [`Store::close`].
    pub(super) fn close(self, home: &Home) -> Result<(), StoreError> {
        Rc::into_inner(self.store).map_or(Ok(()), |store| store.close(home.private()))
    }

    /// Writes the results of a step of the engine; they are on disk when this returns. Pins come first, so that each
    /// contact on disk has a pin. May be called again after an error.
    pub(super) fn write(&mut self, out: &Out, now: u64) -> Result<(), PeerError> {
        for (name, key) in &out.pins {
            self.pins.replace(name, *key, now)?;
        }
        Ok(self.store.commit(&out.writes)?)
    }
}

pub(super) fn is_disk_full(error: &PeerError) -> bool {
    match error {
        PeerError::Store(error) => error.is_disk_full(),
        PeerError::Home(HomeError::Io(error)) => durable::is_disk_full(&error.source),
        _ => false,
    }
}

struct StoredRecords(Rc<Store>);

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl Records for StoredRecords {
    fn outbox(&self, to: &PeerName, number: u64) -> Result<Option<OutboxRecord>, Unreadable> {
        Ok(self.0.outbox_entry(to, number)?)
    }

    fn incoming(&self, id: ConversationId) -> Result<Option<IncomingRecord>, Unreadable> {
        Ok(self.0.incoming(id)?)
    }

    fn received(
        &self,
        from: &PeerName,
        generation: u64,
        number: u64,
    ) -> Result<Option<MessageId>, Unreadable> {
        Ok(self.0.received(from, generation, number)?)
    }

    fn arrived(&self, place: u64) -> Result<Option<(u64, HistoryRecord)>, Unreadable> {
        Ok(self.0.arrived(place)?)
    }
}
