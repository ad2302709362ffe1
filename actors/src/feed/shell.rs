//! The feed's thread, and its viewers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::core::{Effect, Feed};
use crate::commands::feed::Viewer;
use crate::runtime::{Now, Shell};

pub(super) struct Viewers {
    pub(super) viewers: Vec<Viewer>,
    lost: Arc<AtomicU64>,
}

impl Viewers {
    pub(super) fn new(lost: Arc<AtomicU64>) -> Self {
        Self { viewers: Vec::new(), lost }
    }

    fn show(&mut self, text: String) {
        if !text.is_empty() {
            let text: Arc<str> = text.into();
            self.viewers.retain(|viewer| viewer.offer(Arc::clone(&text)));
        }
    }
}

impl Shell for Viewers {
    type Core = Feed;

    fn settle(&mut self, core: &mut Feed, effects: &mut Vec<Effect>, now: Now) -> Option<Instant> {
        for Effect::Add(viewer, text) in std::mem::take(effects) {
            // While nothing happens no text finds out who has gone, and those who come again and again would fill the memory.
            self.viewers.retain(|viewer| !viewer.has_gone());
            if viewer.offer(text.into()) {
                self.viewers.push(viewer);
            }
        }
        if core.ends_at().is_some_and(|end| end <= now.instant) {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            match self.viewers.is_empty() {
                true => core.forget(),
                false => self.show(core.take(lost)),
            }
        }
        core.ends_at()
    }
}
