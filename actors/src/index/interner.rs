//! Texts that occur many times, held once and named by a number.

use std::collections::HashMap;
use std::sync::Arc;

/// Names an interned text. Valid until it has been released as often as it was acquired.
pub(super) type TextId = u32;

/// Counts the uses of each text, and forgets a text with its last use.
#[derive(Debug, Default)]
pub(super) struct Interner {
    ids: HashMap<Arc<str>, TextId>,
    slots: Vec<Slot>,
    free: Vec<TextId>,
}

#[derive(Debug)]
struct Slot {
    text: Arc<str>,
    uses: u32,
}

impl Interner {
    /// Finds or enters a text and counts one more use of it.
    pub(super) fn acquire(&mut self, text: &str) -> TextId {
        if let Some(id) = self.ids.get(text) {
            self.slots[*id as usize].uses += 1;
            return *id;
        }
        let text: Arc<str> = text.into();
        let slot = Slot { text: Arc::clone(&text), uses: 1 };
        let id = if let Some(id) = self.free.pop() {
            self.slots[id as usize] = slot;
            id
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("the index holds fewer than 2^32 pairs")
        };
        self.ids.insert(text, id);
        id
    }

    /// Counts one use less. Returns whether it was the last.
    pub(super) fn release(&mut self, id: TextId) -> bool {
        let slot = &mut self.slots[id as usize];
        slot.uses -= 1;
        if slot.uses > 0 {
            return false;
        }
        let text = std::mem::take(&mut slot.text);
        self.ids.remove(&text);
        self.free.push(id);
        true
    }

    /// The number of a text that is in use.
    pub(super) fn find(&self, text: &str) -> Option<TextId> {
        self.ids.get(text).copied()
    }

    /// The text of a number that is in use.
    pub(super) fn text(&self, id: TextId) -> &str {
        &self.slots[id as usize].text
    }

    /// How many texts are in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
