//! Texts that occur many times. Each is stored once, under an id, with a value of type `V`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use slab::Slab;

/// The id of an interned text. It is valid until the text has been released as often as it was acquired.
pub(super) type TextId = u32;

/// Counts the uses of each text, and forgets a text with its last use. Copies of a `T` share the text.
#[derive(Debug)]
pub(super) struct Interner<V, T = Arc<str>> {
    ids: HashMap<T, TextId>,
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
        Self { ids: HashMap::new(), slots: Slab::new() }
    }
}

impl<V, T: Borrow<str> + Clone + Eq + Hash> Interner<V, T> {
    /// Counts one more use of a text. `make` makes a copy and the value of a text that is new.
    pub(super) fn acquire(&mut self, text: &str, make: impl FnOnce() -> (T, V)) -> TextId {
        if let Some(id) = self.ids.get(text) {
            self.slots[*id as usize].uses += 1;
            return *id;
        }
        let (text, value) = make();
        let slot = Slot { text: text.clone(), uses: 1, value };
        let id = u32::try_from(self.slots.insert(slot)).expect("the index holds fewer than 2^32 pairs");
        self.ids.insert(text, id);
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
        self.ids.remove(slot.text.borrow());
        Some(slot.value)
    }

    /// The id of a text that is in use.
    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        self.ids.get(text).copied()
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
