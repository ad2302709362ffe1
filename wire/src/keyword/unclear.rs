//! Which files the entries of a `keyword.txt` with a mistake can be about. One of them may limit a file to peers, and then a mistake
//! must not open the file to others, whatever other entries share it. So it counts for each file that can be meant.

use std::ops::Range;

use super::{ENTRY_SHOWN_CHARS, MARK};
use crate::FileName;

/// The largest number of bytes of entries in which files are looked for. With more, all files can be meant: looking for a million names
/// in them would take minutes.
const BYTES_MAX: usize = 64 << 10;

/// In front of an entry that hides a file in the grammar of a peer.
const HIDING: char = '-';

/// Entries with a mistake, and others that look like the result of one. Only those with names of peers, or that hide a file, count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unclear {
    texts: Vec<Text>,
    /// Files that are meant if the comma behind the name is missing, with the name as it is: `a.txt` for `a.txt@ben`.
    joined: Vec<(Box<str>, FileName)>,
    is_too_long: bool,
}

impl Unclear {
    /// The start of an entry that can be about a file, or about the files of one of its folders; empty if there are too many to look
    /// at. It is not escaped.
    pub fn about(&self, name: &FileName) -> Option<String> {
        if self.is_too_long {
            return Some(String::new());
        }
        if self.texts.is_empty() && self.joined.is_empty() {
            return None;
        }
        let patterns = name.folder_paths().flat_map(|path| [format!("{path}/*"), format!("{path}/**")]);
        let items: Vec<String> = std::iter::once(name.as_str().to_owned()).chain(patterns).collect();
        let root = ["*", "**"].into_iter().skip(usize::from(name.folders().next().is_some()));
        let is_about = |text: &&Text| {
            items.iter().any(|item| text.is_about(item)) || root.clone().any(|item| text.is_about_root(item))
        };
        let in_text = self.texts.iter().find(is_about).map(|text| text.text.chars().take(ENTRY_SHOWN_CHARS));
        let is_joined =
            |item: &str| root.clone().chain(items.iter().map(String::as_str)).any(|meant| meant == item);
        let joined =
            || self.joined.iter().find(|(meant, _)| is_joined(meant)).map(|(_, file)| file.to_string());
        in_text.map(Iterator::collect).or_else(joined)
    }

    fn add(&mut self, text: &str, own: Option<&FileName>) {
        let bytes: usize = self.texts.iter().map(|text| text.text.len()).sum();
        self.is_too_long |= bytes + text.len() > BYTES_MAX;
        if !self.is_too_long {
            self.texts.push(Text::new(text, own));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    text: Box<str>,
    /// The file that it is about without doubt.
    own: Option<FileName>,
    /// Where items can begin.
    starts: Vec<usize>,
    /// Where items can end.
    ends: Vec<usize>,
}

impl Text {
    fn new(text: &str, own: Option<&FileName>) -> Self {
        let edges = || text.match_indices(is_edge);
        let starts = std::iter::once(0).chain(edges().map(|(at, edge)| at + edge.len())).collect();
        let ends = edges().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text: text.into(), own: own.cloned(), starts, ends }
    }

    fn is_about(&self, item: &str) -> bool {
        // `lectures/*` in `lectures/**` is not another file.
        let is_own = self.own.as_ref().is_some_and(|own| own.as_str().starts_with(item));
        !is_own && (self.has(item) || item.contains('"') && self.has(&item.replace('"', "\"\"")))
    }

    /// Whether an item is in it, at least one end of which can be told; or one of which one character is damaged, so that it can be
    /// nothing else.
    fn has(&self, item: &str) -> bool {
        self.starts.iter().any(|at| self.text[*at..].starts_with(item))
            || self.ends.iter().any(|at| self.text[..*at].ends_with(item))
            || self.starts.iter().any(|at| self.has_damaged(*at, item))
    }

    fn has_damaged(&self, start: usize, item: &str) -> bool {
        // A character more or less has at most 4 bytes; of invalid UTF-8, each byte has become 3.
        let nearest = start + item.len().saturating_sub(4);
        let first = self.ends.partition_point(|end| *end < nearest);
        let ends = self.ends[first..].iter().take_while(|end| **end <= start + item.len() + 12);
        ends.map(|end| &self.text[start..*end]).any(|found| is_damaged(found) && is_near(found, item))
    }

    /// Whether the item is in it that stands for all files, `*` or `**`, in front of names. Other items end with it, and it can be a
    /// keyword.
    fn is_about_root(&self, item: &str) -> bool {
        let is_own = self.own.as_ref().is_some_and(|own| own.as_str().starts_with(item));
        let mut places = self.text.match_indices(item).map(|(at, _)| at);
        !is_own
            && places.any(|at| {
                let (before, names) =
                    (&self.text[..at], self.text[at + item.len()..].trim_start_matches(is_edge));
                let is_folder = before
                    .strip_suffix('/')
                    .is_some_and(|before| !(before.is_empty() || before.ends_with(is_edge)));
                let is_keyword = before.is_empty() && self.own.is_some();
                let mut behind_one = names.chars();
                behind_one.next();
                let is_before_names = names.starts_with(MARK)
                    || behind_one.as_str().trim_start_matches(is_edge).starts_with(MARK);
                is_before_names && !is_folder && !is_keyword && !before.ends_with('*')
            })
    }
}

fn is_edge(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '"')
}

/// Whether a text cannot be a whole file name without quotes.
fn is_damaged(item: &str) -> bool {
    item.contains([',', ';', '"', char::REPLACEMENT_CHARACTER])
        || item.starts_with(MARK)
        || super::marks_in(item).next().is_some()
        || item.parse::<FileName>().is_err()
}

/// Whether two texts differ in at most one character.
fn is_near(found: &str, item: &str) -> bool {
    let same = found.chars().zip(item.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
    let (found, item) = (&found[same..], &item[same..]);
    let pairs = found.chars().rev().zip(item.chars().rev());
    let same: usize = pairs.take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
    let (found, item) = (&found[..found.len() - same], &item[..item.len() - same]);
    let is_few = |text: &str| text.chars().nth(1).is_none();
    let is_no_text = found.contains(char::REPLACEMENT_CHARACTER) && found.chars().nth(4).is_none();
    is_few(item) && (is_few(found) || is_no_text)
}

/// Collects what is unclear while a text is read.
pub(super) struct Doubts<'t> {
    text: &'t str,
    unclear: Unclear,
    /// Entries with a mistake that follow each other, and where the entry before them begins if it limits nothing: it may have
    /// lost its names.
    broken: Vec<(Option<usize>, Range<usize>)>,
    before: Before,
}

#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// An entry that begins there and limits nothing.
    Plain(usize),
    Broken,
}

impl<'t> Doubts<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, unclear: Unclear::default(), broken: Vec::new(), before: Before::Nothing }
    }

    pub(super) fn broken(&mut self, entry: Range<usize>) {
        match (self.before, self.broken.last_mut()) {
            (Before::Broken, Some((_, last))) => last.end = entry.end,
            (Before::Plain(at), _) => self.broken.push((Some(at), entry)),
            _ => self.broken.push((None, entry)),
        }
        self.before = Before::Broken;
    }

    /// Takes an entry that can be read. It can be the result of a mistake all the same.
    pub(super) fn sound(&mut self, entry: Range<usize>, file: &FileName, is_bare: bool, is_limited: bool) {
        self.before = if is_limited { Before::Nothing } else { Before::Plain(entry.start) };
        let text = &self.text[entry];
        if !text.contains(MARK) {
            return;
        }
        // A quote has swallowed an entry, or has lost the other one; or a byte that is no text stands for a character.
        let is_swallowing = text.rsplit_once(';').is_some_and(|(swallowed, _)| has_names(swallowed));
        let has_half = is_bare && file.as_str().contains('"');
        if is_swallowing || has_half || text.contains(char::REPLACEMENT_CHARACTER) {
            self.unclear.add(text, Some(file));
        }
        if let Some((meant, name)) = file.as_str().rsplit_once(MARK).filter(|_| is_bare)
            && name.parse::<crate::PeerName>().is_ok()
        {
            let mut shorter = meant.chars();
            shorter.next_back();
            let both =
                [meant, shorter.as_str()].map(str::trim_end).into_iter().filter(|meant| !meant.is_empty());
            self.unclear.joined.extend(both.map(|meant| (meant.into(), file.clone())));
        }
    }

    pub(super) fn end(mut self) -> Unclear {
        for (before, Range { mut start, mut end }) in self.broken {
            let text = &self.text[start..end];
            if text.split(';').any(has_early_names) {
                start = before.unwrap_or(start);
            }
            if text.contains('"') {
                // A quoted item is on one line, and without one of its quotes it can look like any number of entries.
                start = self.text[..start].rfind('\n').unwrap_or_default();
                end += self.text[end..].find('\n').unwrap_or(self.text.len() - end);
            }
            let text = self.text[start..end].trim();
            if text.contains(MARK) || text.starts_with(HIDING) {
                self.unclear.add(text, None);
            }
        }
        self.unclear
    }
}

/// Whether names are behind a comma.
fn has_names(text: &str) -> bool {
    text.match_indices(MARK).any(|(at, _)| text[..at].trim_end().ends_with(','))
}

/// Whether names are in the place of the keyword or the file name.
fn has_early_names(entry: &str) -> bool {
    let is_mark = |text: &str| text.trim_start().starts_with(MARK);
    is_mark(entry) || entry.split_once(',').is_some_and(|(_, second)| is_mark(second))
}

#[cfg(test)]
mod tests;
