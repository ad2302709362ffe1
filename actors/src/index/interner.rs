//! Texts that occur many times. Each is stored once, under an id, with a value of type `V`.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

/// The id of an interned text. It is valid until the text has been released as often as it was acquired.
pub(super) type TextId = u32;

/// Counts the uses of each text, and forgets a text with its last use. Copies of a `T` share the text.
#[derive(Debug)]
pub(super) struct Interner<V, T = Arc<str>> {
    /// Only the ids, because the texts are in the slots: 5 bytes for each place instead of 25.
    ids: HashTable<TextId>,
    hasher: RandomState,
    slots: Slab<Slot<V, T>>,
}

#[derive(Debug)]
struct Slot<V, T> {
    text: T,
    uses: u32,
    value: V,
}

impl<V, T> Default for Interner<V, T> {
    fn default() -> Self {
        Self { ids: HashTable::new(), hasher: RandomState::new(), slots: Slab::new() }
    }
}

impl<V, T: Borrow<str>> Interner<V, T> {
    /// Counts one more use of a text. `make` makes a copy and the value of a text that is new.
    pub(super) fn acquire(&mut self, text: &str, make: impl FnOnce() -> (T, V)) -> TextId {
        let hash = self.hasher.hash_one(text);
        if let Some(id) = self.find_hashed(text, hash) {
            self.slots[id as usize].uses += 1;
            return id;
        }
        let (text, value) = make();
        let id = self.slots.insert(Slot { text, uses: 1, value });
        let id = u32::try_from(id).expect("the index holds fewer than 2^32 pairs");
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.ids.insert_unique(hash, id, |id| hasher.hash_one(text_in(slots, *id)));
        id
    }

    /// Counts one use less. Returns the value if it was the last use.
    pub(super) fn release(&mut self, id: TextId) -> Option<V> {
        let slot = &mut self.slots[id as usize];
        slot.uses -= 1;
        if slot.uses > 0 {
            return None;
        }
        let slot = self.slots.remove(id as usize);
        let hash = self.hasher.hash_one(slot.text.borrow());
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        Some(slot.value)
    }

    /// The id of a text that is in use.
    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        self.find_hashed(text, self.hasher.hash_one(text))
    }

    fn find_hashed(&self, text: &str, hash: u64) -> Option<TextId> {
        self.ids.find(hash, |id| text_in(&self.slots, *id) == text).copied()
    }

    pub(super) fn text(&self, id: TextId) -> &T {
        &self.slots[id as usize].text
    }

    pub(super) fn value(&self, id: TextId) -> &V {
        &self.slots[id as usize].value
    }

    pub(super) fn value_mut(&mut self, id: TextId) -> &mut V {
        &mut self.slots[id as usize].value
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

fn text_in<V, T: Borrow<str>>(slots: &Slab<Slot<V, T>>, id: TextId) -> &str {
    slots[id as usize].text.borrow()
}
