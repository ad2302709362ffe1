//! Who may see the files that not everyone may.

use std::collections::HashMap;

use slab::Slab;
use wire::{Audience, PeerName};

use super::catalog::{Catalog, FileId};
use super::interner::TextId;
use super::peers::Peers;
use super::posting::Posting;

type AudienceId = u32;

/// How many files of one text are looked at for one that an asker may see. Others wait meanwhile.
const LOOKED_AT_MAX: usize = 10_000;

/// The limited files. Those that everyone may see cost nothing here.
#[derive(Debug, Default)]
pub(super) struct Access {
    limited: HashMap<FileId, AudienceId>,
    /// Each audience once, with the number of its files.
    audiences: Slab<(Audience, u32)>,
    ids: HashMap<Audience, AudienceId>,
    /// How many limited files have a text.
    files_of: HashMap<TextId, u32>,
}

impl Access {
    /// Notes who may see a file that has these texts.
    pub(super) fn limit(&mut self, id: FileId, audience: &Audience, texts: impl Iterator<Item = TextId>) {
        if audience.is_everyone() {
            return;
        }
        let audiences = &mut self.audiences;
        let of_file = *self.ids.entry(audience.clone()).or_insert_with(|| {
            u32::try_from(audiences.insert((audience.clone(), 0)))
                .expect("the index holds fewer than 2^30 files")
        });
        audiences[of_file as usize].1 += 1;
        self.limited.insert(id, of_file);
        for text in texts {
            *self.files_of.entry(text).or_default() += 1;
        }
    }

    /// Forgets a file that has these texts.
    pub(super) fn forget(&mut self, id: FileId, texts: impl Iterator<Item = TextId>) {
        let Some(of_file) = self.limited.remove(&id) else { return };
        let uses = &mut self.audiences[of_file as usize].1;
        *uses -= 1;
        if *uses == 0 {
            let (audience, _) = self.audiences.remove(of_file as usize);
            self.ids.remove(&audience);
        }
        for text in texts {
            if let Some(files) = self.files_of.get_mut(&text) {
                *files -= 1;
                if *files == 0 {
                    self.files_of.remove(&text);
                }
            }
        }
    }

    pub(super) fn audience(&self, id: FileId) -> &Audience {
        self.limited.get(&id).map_or(&Audience::Everyone, |of_file| &self.audiences[*of_file as usize].0)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.limited.is_empty()
            && self.audiences.is_empty()
            && self.ids.is_empty()
            && self.files_of.is_empty()
    }
}

/// What one asker may see. All that an answer says comes from files that it may see, so an answer does not betray the others.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'i> {
    pub(super) catalog: &'i Catalog,
    pub(super) peers: &'i Peers,
    pub(super) asker: Option<&'i PeerName>,
}

impl Viewer<'_> {
    pub(super) fn sees(&self, id: FileId) -> bool {
        let access = self.catalog.access();
        if access.limited.is_empty() {
            return true;
        }
        let audience = access.audience(id);
        audience.is_everyone()
            || self.asker.is_some_and(|asker| audience.admits(asker) || self.owns(asker, id))
    }

    fn owns(&self, asker: &PeerName, id: FileId) -> bool {
        self.peers.get(self.catalog.owner(id)).folded == asker.folded()
    }

    /// About how many files the asker sees that have a text: those that everyone sees, or, if there are none, one if the asker
    /// sees any.
    pub(super) fn count(&self, text: TextId, posting: &Posting) -> usize {
        let limited = self.catalog.access().files_of.get(&text).copied().unwrap_or_default();
        let for_all = posting.len().saturating_sub(limited as usize);
        if for_all > 0 { for_all } else { usize::from(self.sees_one_of(posting)) }
    }

    /// Whether the asker sees a file of a list.
    pub(super) fn sees_one_of(&self, posting: &Posting) -> bool {
        if self.catalog.access().limited.is_empty() {
            return posting.len() > 0;
        }
        posting.iter().take(LOOKED_AT_MAX).any(|(id, _)| self.sees(id))
    }
}
