//! Keywords, and the grammar of `keyword.txt`: `key1, filename1; key2, filename2; key3, filename1; ...`
//!
//! Each entry is a keyword, a comma and a file name, and ends with a semicolon. White space and line breaks around items
//! and empty entries are ignored. A keyword can have many files, and a file many keywords.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

use crate::FileName;
use crate::checked_text::checked_text;
use crate::file_name::BadFileName;

/// Longest keyword, in bytes: enough for a phrase.
pub const KEYWORD_BYTES_MAX: usize = 128;

/// Largest `keyword.txt`, in bytes. It can hold [`PAIRS_MAX`] pairs of 268 bytes; usually they have about 30. The bound is low
/// enough to read the file into memory.
pub const KEYWORD_TEXT_BYTES_MAX: usize = 256 << 20;

/// The maximum number of pairs in one `keyword.txt`. The server's index is measured with three peers of this size.
pub const PAIRS_MAX: usize = 1_000_000;

/// The maximum number of broken entries that are reported one by one: a binary file must not lead to a million lines of
/// output.
pub const PROBLEMS_NAMED_MAX: usize = 100;

/// The maximum number of characters of a broken entry that a [`Problem`] quotes.
const ENTRY_SHOWN_CHARS: usize = 80;

const BYTE_ORDER_MARK: char = '\u{feff}';

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyword {
    #[error("a keyword is missing")]
    Empty,
    #[error("a keyword has at most 128 bytes, this one has {0}")]
    TooLong(usize),
    /// A separator of `keyword.txt`, a control character, or a byte order mark.
    #[error("a keyword must not contain {0:?}")]
    Character(char),
}

/// A keyword as its owner writes it: 1 to 128 bytes of UTF-8 without white space at its ends, with single spaces inside, and
/// without control characters, `,`, `;` and U+FEFF.
///
/// Two keywords are the same if their [`Keyword::folded`] forms are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyword(Box<str>);

checked_text!(Keyword);

impl Keyword {
    /// The keyword in Unicode lower case.
    pub fn folded(&self) -> Cow<'_, str> {
        if self.0.is_ascii() && !self.0.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Borrowed(&self.0)
        } else {
            Cow::Owned(self.0.to_lowercase())
        }
    }
}

impl FromStr for Keyword {
    type Err = BadKeyword;

    /// White space at the ends is removed, and each run of it inside becomes one space.
    fn from_str(text: &str) -> Result<Self, BadKeyword> {
        let mut kept = String::new();
        for word in text.split_whitespace() {
            if !kept.is_empty() {
                kept.push(' ');
            }
            kept.push_str(word);
            // Checked inside the loop, so that a huge text is not copied before it is refused.
            if kept.len() > KEYWORD_BYTES_MAX {
                return Err(BadKeyword::TooLong(text.trim().len()));
            }
        }
        if kept.is_empty() {
            return Err(BadKeyword::Empty);
        }
        match kept.chars().find(|c| c.is_control() || matches!(*c, ',' | ';' | BYTE_ORDER_MARK)) {
            Some(bad) => Err(BadKeyword::Character(bad)),
            None => Ok(Self(kept.into())),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("expected `keyword, filename`, found no comma")]
    NoComma,
    #[error("expected `keyword, filename`, found a second comma; is a `;` missing before it?")]
    SecondComma,
    #[error(transparent)]
    Keyword(#[from] BadKeyword),
    #[error(transparent)]
    FileName(#[from] BadFileName),
    /// More than [`PAIRS_MAX`] pairs. This entry and the following ones are ignored.
    #[error("more than {PAIRS_MAX} pairs; this one and the rest are left out")]
    TooManyPairs,
    /// The text is longer than [`KEYWORD_TEXT_BYTES_MAX`]. All of it is ignored.
    #[error(
        "keyword.txt has at most {KEYWORD_TEXT_BYTES_MAX} bytes, this one has {0}; nothing of it is used"
    )]
    TooLarge(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}: {}", crate::escape::Escaped(entry))]
pub struct Problem {
    /// The number of the line on which the entry starts, from 1.
    pub line: usize,
    /// The start of the entry. It is not escaped; `Display` escapes it.
    pub entry: String,
    pub reason: BadEntry,
}

/// The content of a `keyword.txt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The valid pairs in the order of the text. Repeated pairs, compared by the folded keyword, are left out.
    pub pairs: Vec<(Keyword, FileName)>,
    /// The broken entries in the order of the text, at most [`PROBLEMS_NAMED_MAX`].
    pub problems: Vec<Problem>,
    pub problems_unnamed: usize,
}

impl Parsed {
    fn report(&mut self, line: usize, entry: &str, reason: BadEntry) {
        if self.problems.len() < PROBLEMS_NAMED_MAX {
            let entry = entry.chars().take(ENTRY_SHOWN_CHARS).collect();
            self.problems.push(Problem { line, entry, reason });
        } else {
            self.problems_unnamed += 1;
        }
    }
}

/// Reads a `keyword.txt`. Broken entries are reported, and the others are used. A byte order mark at the start and carriage
/// returns are allowed.
pub fn parse(text: &str) -> Parsed {
    parse_at_most(PAIRS_MAX, text)
}

fn parse_at_most(pairs_max: usize, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if text.len() > KEYWORD_TEXT_BYTES_MAX {
        parsed.report(1, "", BadEntry::TooLarge(text.len()));
        return parsed;
    }
    let entries = text.bytes().filter(|b| *b == b';').count() + 1;
    let mut seen = HashSet::with_capacity(entries.min(pairs_max));
    let mut line = 1;
    for piece in text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).split(';') {
        let entry = piece.trim();
        let starts_at = line + newlines(&piece[..piece.len() - piece.trim_start().len()]);
        line += newlines(piece);
        if entry.is_empty() {
            continue;
        }
        let (keyword, file) = match parse_entry(entry) {
            Ok(pair) => pair,
            Err(reason) => {
                parsed.report(starts_at, entry, reason);
                continue;
            }
        };
        // The file name is borrowed from the text, so only keywords take memory twice.
        let name = entry.rsplit(',').next().unwrap_or_default().trim();
        if !seen.insert((keyword.folded().into_owned(), name)) {
            continue;
        }
        if parsed.pairs.len() == pairs_max {
            parsed.report(starts_at, entry, BadEntry::TooManyPairs);
            break;
        }
        parsed.pairs.push((keyword, file));
    }
    parsed
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'\n').count()
}

fn parse_entry(entry: &str) -> Result<(Keyword, FileName), BadEntry> {
    let (keyword, file) = entry.split_once(',').ok_or(BadEntry::NoComma)?;
    if file.contains(',') {
        return Err(BadEntry::SecondComma);
    }
    Ok((keyword.parse()?, file.trim().parse()?))
}

/// Writes pairs as a `keyword.txt`, one on each line.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a Keyword, &'a FileName)>) -> String {
    let mut text = String::new();
    for (keyword, file) in pairs {
        text.push_str(keyword.as_str());
        text.push_str(", ");
        text.push_str(file.as_str());
        text.push_str(";\n");
    }
    text
}

#[cfg(test)]
mod tests;
