//! Posting lists: the files that have a term, and how well each matches it.

use super::catalog::FileId;

/// How a term occurs at a file. A better match is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    /// As a word of the file's name.
    Name = 1,
    /// As a word of a keyword.
    Word = 2,
    /// As a whole keyword.
    Keyword = 3,
}

/// An entry has a file and a [`Match`] in its two lowest bits, so that a list takes 4 bytes for each file.
const MATCH_BITS: u32 = 2;

/// Files in ascending order of their ids, each once.
#[derive(Debug, Default)]
pub(super) struct Posting(Vec<u32>);

impl Posting {
    /// Adds a file that is not in the list. Returns whether the list has to be sorted before it is used.
    pub(super) fn push(&mut self, id: FileId, how: Match) -> bool {
        let entry = (id << MATCH_BITS) | how as u32;
        let is_unsorted = self.0.last().is_some_and(|last| *last > entry);
        self.0.push(entry);
        is_unsorted
    }

    pub(super) fn sort(&mut self) {
        // Mostly two ascending runs, which the stable sort merges in one pass.
        self.0.sort();
    }

    /// Removes files, which are in the list and in ascending order. Moves the others in blocks, because a list can be a
    /// thousand times longer than the share that has changed.
    pub(super) fn remove(&mut self, gone: impl Iterator<Item = FileId>) {
        let (mut kept, mut read) = (0, 0);
        for id in gone {
            let at = read + count_below(&self.0[read..], id);
            self.0.copy_within(read..at, kept);
            kept += at - read;
            read = at + 1;
        }
        let rest = self.0.len() - read;
        self.0.copy_within(read.., kept);
        self.0.truncate(kept + rest);
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (FileId, Match)> {
        self.0.iter().copied().map(split)
    }

    /// How a file matches; `None` if it is not in the list.
    pub(super) fn find(&self, id: FileId) -> Option<Match> {
        self.scan().find(id)
    }

    /// Looks up files in ascending order.
    pub(super) fn scan(&self) -> Scan<'_> {
        Scan(&self.0)
    }
}

/// The rest of a list, while ascending ids are looked up in it.
pub(super) struct Scan<'p>(&'p [u32]);

impl Scan<'_> {
    /// How a file matches. Its id must not be below an earlier one.
    pub(super) fn find(&mut self, id: FileId) -> Option<Match> {
        self.0 = &self.0[count_below(self.0, id)..];
        self.0.first().map(|entry| split(*entry)).filter(|(first, _)| *first == id).map(|(_, how)| how)
    }
}

fn split(entry: u32) -> (FileId, Match) {
    let how = match entry & ((1 << MATCH_BITS) - 1) {
        1 => Match::Name,
        2 => Match::Word,
        _ => Match::Keyword,
    };
    (entry >> MATCH_BITS, how)
}

/// How many entries at the start of an ascending list are of files below `id`. A galloping search: cheap when the place is
/// near, and when the list is much longer than the one whose files are looked up.
fn count_below(ascending: &[u32], id: FileId) -> usize {
    let is_below = |entry: &u32| (entry >> MATCH_BITS) < id;
    let mut bound = 1;
    while bound < ascending.len() && is_below(&ascending[bound]) {
        bound *= 2;
    }
    let from = bound / 2;
    let to = ascending.len().min(bound + 1);
    from + ascending[from.min(to)..to].partition_point(is_below)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_has_what_was_added_and_not_removed(
            first in btree_set(0..60u32, 0..40), second in btree_set(0..60u32, 0..40), gone in btree_set(0..60u32, 0..40),
        ) {
            let mut posting = Posting::default();
            let second: BTreeSet<u32> = second.difference(&first).copied().collect();
            let unsorted = first.iter().chain(&second).filter(|id| posting.push(**id, Match::Word)).count();
            prop_assert_eq!(unsorted > 0, !first.is_empty() && second.first() < first.last() && !second.is_empty());
            posting.sort();
            let mut model: BTreeSet<u32> = first.union(&second).copied().collect();
            let gone: Vec<u32> = gone.intersection(&model).copied().collect();
            model.retain(|id| !gone.contains(id));
            posting.remove(gone.into_iter());
            prop_assert_eq!(posting.iter().map(|(id, _)| id).collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            let mut scan = posting.scan();
            for id in 0..60 {
                let expected = model.contains(&id).then_some(Match::Word);
                prop_assert_eq!(posting.find(id), expected);
                prop_assert_eq!(scan.find(id), expected);
            }
        }
    }
}
