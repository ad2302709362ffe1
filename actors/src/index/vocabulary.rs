//! All texts by which files are found, each with its posting list, in order for prefixes and for texts that are nearly equal.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::interner::{Interner, TextId};
use super::posting::Posting;

/// The maximum number of texts that one [`Vocabulary::nearest`] compares, because others wait meanwhile.
const COMPARED_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    terms: Interner<Posting>,
    sorted: BTreeMap<Arc<str>, TextId>,
}

impl Vocabulary {
    /// Counts one more use of a text.
    pub(super) fn acquire(&mut self, text: &str) -> TextId {
        let is_known = self.terms.find(text).is_some();
        let id = self.terms.acquire(text, || (text.into(), Posting::default()));
        if !is_known {
            self.sorted.insert(Arc::clone(self.terms.text(id)), id);
        }
        id
    }

    /// Counts one use less. The text is forgotten with its last use.
    pub(super) fn release(&mut self, id: TextId) {
        let text = Arc::clone(self.terms.text(id));
        if self.terms.release(id).is_some() {
            self.sorted.remove(&text);
        }
    }

    pub(super) fn id(&self, text: &str) -> Option<TextId> {
        self.terms.find(text)
    }

    pub(super) fn text(&self, id: TextId) -> &str {
        self.terms.text(id)
    }

    /// The posting list of a text; `None` if no file has it.
    pub(super) fn find(&self, text: &str) -> Option<&Posting> {
        self.terms.find(text).map(|id| self.terms.value(id))
    }

    /// The posting list of a text that is in use.
    pub(super) fn posting_mut(&mut self, id: TextId) -> &mut Posting {
        self.terms.value_mut(id)
    }

    /// The posting lists of all texts that begin with this one.
    pub(super) fn with_prefix<'v>(&'v self, prefix: &'v str) -> impl Iterator<Item = &'v Posting> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let begin = move |(text, _): &(&Arc<str>, &TextId)| text.starts_with(prefix);
        self.sorted.range::<str, _>(from).take_while(begin).map(|(_, id)| self.terms.value(*id))
    }

    /// The text that differs from this one in the fewest edits, one or two: characters that are missing, too many, wrong, or
    /// swapped with their neighbour. Of several, the one with the most files, which `count` says; those without any do not
    /// count. Texts of up to three characters may differ in one edit only, because two make them another word.
    pub(super) fn nearest(&self, text: &str, count: impl Fn(TextId, &Posting) -> usize) -> Option<&str> {
        let letters: Vec<char> = text.chars().collect();
        let edits_max = if letters.len() <= 3 { 1 } else { 2 };
        (1..=edits_max).find_map(|edits| {
            let found = self.within(&letters, edits).into_iter();
            let counted = found.map(|(text, id)| (usize::MAX - count(id, self.terms.value(id)), text));
            counted.filter(|(missing, _)| *missing < usize::MAX).min().map(|(_, text)| text)
        })
    }

    /// The texts within so many edits. Goes through the vocabulary in order, and keeps the rows of the table of distances
    /// that the next text has in common with the one before. If no text with a prefix can be near, all of them are skipped.
    fn within(&self, wanted: &[char], edits: usize) -> Vec<(&str, TextId)> {
        let mut found = Vec::new();
        let mut distances = Distances::new(wanted);
        let mut from = Bound::Unbounded;
        let mut compared = 0;
        'seek: loop {
            let range = (from.as_ref().map(String::as_str), Bound::Unbounded);
            for (text, id) in self.sorted.range::<str, _>(range) {
                compared += 1;
                if compared > COMPARED_MAX {
                    return found;
                }
                match distances.of(text, edits) {
                    Near::Yes => found.push((&**text, *id)),
                    Near::No => {}
                    Near::NoneWith(prefix) => match after_prefix(prefix) {
                        Some(next) => {
                            from = Bound::Included(next);
                            continue 'seek;
                        }
                        None => return found,
                    },
                }
            }
            return found;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.terms.len(), self.sorted.len());
        self.sorted.len()
    }
}

/// The smallest text above all texts with this prefix.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

enum Near<'t> {
    Yes,
    No,
    /// No text with this prefix is near.
    NoneWith(&'t str),
}

/// The table of edit distances (optimal string alignment) between prefixes of a text and prefixes of the wanted one.
struct Distances<'w> {
    wanted: &'w [char],
    /// The text to which the rows belong.
    text: Vec<char>,
    /// A row for each prefix of `text`, the empty one first.
    rows: Vec<Vec<usize>>,
}

impl<'w> Distances<'w> {
    fn new(wanted: &'w [char]) -> Self {
        Self { wanted, text: Vec::new(), rows: vec![(0..=wanted.len()).collect()] }
    }

    fn of<'t>(&mut self, text: &'t str, edits: usize) -> Near<'t> {
        let common = self.text.iter().zip(text.chars()).take_while(|(a, b)| **a == *b).count();
        self.text.truncate(common);
        self.rows.truncate(common + 1);
        for (at, c) in text.char_indices().skip(common) {
            self.text.push(c);
            self.add_row();
            let least = |row: &Vec<usize>| row.iter().min().copied().unwrap_or_default();
            let [.., before, last] = &self.rows[..] else { continue };
            // The next row can be one more than the one before the last, by a swap.
            if least(last) > edits && least(before) >= edits {
                return Near::NoneWith(&text[..at + c.len_utf8()]);
            }
        }
        let distance = self.rows.last().and_then(|row| row.last());
        if distance.is_some_and(|distance| *distance <= edits) { Near::Yes } else { Near::No }
    }

    /// Adds the row of the last character of `text`.
    fn add_row(&mut self) {
        let n = self.text.len();
        let (last, above) = (self.text[n - 1], &self.rows[n - 1]);
        let mut row = vec![n];
        for (j, c) in self.wanted.iter().enumerate() {
            let wrong = usize::from(last != *c);
            let mut least = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + wrong);
            let is_swapped = n > 1 && j > 0 && last == self.wanted[j - 1] && self.text[n - 2] == *c;
            if is_swapped {
                least = least.min(self.rows[n - 2][j - 1] + 1);
            }
            row.push(least);
        }
        self.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::super::posting::Match;
    use super::*;

    fn vocabulary<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for text in texts {
            vocabulary.acquire(text);
        }
        vocabulary
    }

    #[test]
    fn a_misspelt_text_has_a_nearest_one() {
        let mut vocabulary = vocabulary(["sea", "seal", "tide", "lighthouse", "höhe", "high water"]);
        for (typed, meant) in [
            ("sae", Some("sea")),
            ("lihgthosue", Some("lighthouse")),
            ("hohe", Some("höhe")),
            ("high watr", Some("high water")),
            ("tid", Some("tide")),
            ("xy", None),
            ("sxx", None),
            ("submarine", None),
        ] {
            assert_eq!(vocabulary.nearest(typed, |_, _| 1), meant, "{typed}");
        }
        assert_eq!(vocabulary.nearest("sean", |_, _| 1), Some("sea"), "equally near ones come in order");
        let seal = vocabulary.acquire("seal");
        vocabulary.posting_mut(seal).push(7, Match::Keyword);
        let of = |_, posting: &Posting| posting.len();
        assert_eq!(
            vocabulary.nearest("sean", |id, posting| 1 + of(id, posting)),
            Some("seal"),
            "more files come first"
        );
        assert_eq!(vocabulary.nearest("sea", of), Some("seal"), "only texts with files count");
        assert_eq!(vocabulary.nearest("tid", of), None);
    }

    #[test]
    fn a_prefix_has_a_text_above_all_that_begin_with_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
    }

    proptest! {
        #[test]
        fn texts_are_near_as_by_comparing_all(
            texts in btree_set("[abcé]{1,6}", 0..40), wanted in "[abcé]{1,6}", edits in 1..3usize,
        ) {
            let vocabulary = vocabulary(texts.iter().map(String::as_str));
            let letters: Vec<char> = wanted.chars().collect();
            let near: Vec<&str> = vocabulary.within(&letters, edits).into_iter().map(|(text, _)| text).collect();
            let model = texts.iter().map(String::as_str).filter(|text| strsim::osa_distance(text, &wanted) <= edits);
            prop_assert_eq!(near, model.collect::<Vec<_>>());
        }

        #[test]
        fn a_prefix_finds_all_texts_that_begin_with_it(texts in btree_set("[abé]{1,4}", 0..30), prefix in "[abé]{1,2}") {
            let mut vocabulary = vocabulary(texts.iter().map(String::as_str));
            for (n, text) in texts.iter().enumerate() {
                let id = vocabulary.acquire(text);
                vocabulary.posting_mut(id).push(u32::try_from(n).expect("few texts"), Match::Word);
            }
            let found: Vec<usize> =
                vocabulary.with_prefix(&prefix).flat_map(Posting::iter).map(|(id, _)| id as usize).collect();
            let model = texts.iter().enumerate().filter(|(_, text)| text.starts_with(&prefix)).map(|(n, _)| n);
            prop_assert_eq!(found, model.collect::<Vec<_>>());
        }
    }
}
