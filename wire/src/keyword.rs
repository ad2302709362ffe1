//! Keywords, and the grammar of `keyword.txt`: `key1, filename1; key2, filename2; key3, filename1; ...`
//!
//! Each entry is a keyword, a comma and a file name, and ends with a semicolon. White space and line breaks around items
//! and empty entries are ignored. A keyword can have many files, and a file many keywords. An item in double quotes may contain
//! `,` and `;`, and `""` in it is one double quote; it is on one line. A `#` in the place of an entry begins a comment, which ends
//! with the line. A third item, `@name1 @name2`, limits the file to these peers: `key1, filename1, @ann @ben;`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::iter;
use std::str::FromStr;
use std::sync::Arc;

use crate::audience::BadAudience;
use crate::checked_text::checked_text;
use crate::file_name::{BadFileName, FILE_NAME_BYTES_MAX};
use crate::words;
use crate::{Audience, FileName};

mod removal;
mod unclear;

pub use removal::without;
use unclear::Doubts;
pub use unclear::Unclear;

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

/// In front of each name of a peer.
const MARK: char = '@';

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyword {
    #[error("a keyword is missing")]
    Empty,
    #[error("a keyword has at most 128 bytes, this one has {0}")]
    TooLong(usize),
    /// A control character or a byte order mark.
    #[error("a keyword must not contain {0:?}")]
    Character(char),
}

/// A keyword as its owner writes it: 1 to 128 bytes of UTF-8 without white space at its ends, with single spaces inside, and
/// without control characters and U+FEFF.
///
/// Two keywords are the same if their [`Keyword::folded`] forms are equal. Copies share the text, because a million files can have the
/// same keyword.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyword(Arc<str>);

checked_text!(Keyword);

impl Keyword {
    /// The keyword in Unicode lower case and Normalization Form C, so that it does not matter how an accent is encoded.
    pub fn folded(&self) -> Cow<'_, str> {
        words::folded(&self.0)
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
        match kept.chars().find(|c| c.is_control() || *c == BYTE_ORDER_MARK) {
            Some(bad) => Err(BadKeyword::Character(bad)),
            None => Ok(Self(kept.into())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("expected `keyword, filename;`, found no comma")]
    NoComma,
    #[error(
        "expected `keyword, filename;`, found a second comma; is a `;` missing before it? Put a name or keyword that has a \
         comma or semicolon into double quotes, and @ in front of the name of a peer; until this is corrected, nobody may fetch the \
         file"
    )]
    SecondComma,
    #[error(
        "expected a comma before {}; put a file name that has an @ behind a space into double quotes; until this is corrected, \
         nobody may fetch a file that could be meant",
        crate::escape::Escaped(.0)
    )]
    NoCommaBefore(String),
    #[error(
        "expected `keyword, filename;`, found the names of peers where the {0} belongs; put a file name that begins with @ into \
         double quotes"
    )]
    EarlyNames(&'static str),
    #[error("a double quote is not closed on its line; inside quotes, write \"\" for one double quote")]
    OpenQuote,
    #[error(
        "expected a comma or semicolon after the closing quote, found {0:?}; inside quotes, write \"\" for one double quote"
    )]
    AfterQuote(char),
    #[error(transparent)]
    Keyword(#[from] BadKeyword),
    #[error(transparent)]
    FileName(#[from] BadFileName),
    #[error("{0}; until this is corrected, nobody may fetch the file")]
    Audience(#[from] BadAudience),
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
#[error("line {line}, column {column}: {reason}: {}", crate::escape::Escaped(entry))]
pub struct Problem {
    /// The line with the error, from 1.
    pub line: usize,
    /// The character of the line at which the error is, from 1.
    pub column: usize,
    /// The start of the entry. It is not escaped; `Display` escapes it.
    pub entry: String,
    pub reason: BadEntry,
}

/// The content of a `keyword.txt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The valid pairs in the order of the text. Repeated pairs, compared by the folded keyword, are left out.
    pub pairs: Vec<(Keyword, FileName)>,
    /// The files that entries limit, in the order of the text. Only who is in all limits of a file may fetch it. An entry whose
    /// names cannot be read, or are not marked as such, limits its file to nobody, so that a typing error makes nothing public.
    pub limits: Vec<(FileName, Audience)>,
    /// The broken entries in the order of the text, at most [`PROBLEMS_NAMED_MAX`].
    pub problems: Vec<Problem>,
    pub problems_unnamed: usize,
    /// What entries with a mistake can be about.
    pub unclear: Unclear,
}

impl Parsed {
    fn report(&mut self, (line, column): (usize, usize), entry: &str, reason: BadEntry) {
        if self.problems.len() < PROBLEMS_NAMED_MAX {
            let entry = entry.chars().take(ENTRY_SHOWN_CHARS).collect();
            self.problems.push(Problem { line, column, entry, reason });
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
        parsed.report((1, 1), "", BadEntry::TooLarge(text.len()));
        return parsed;
    }
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let entries = text.bytes().filter(|b| *b == b';').count() + 1;
    let mut seen = HashSet::with_capacity(entries.min(pairs_max));
    let mut reader = Reader { text, at: 0, counted: 0, line: 1, line_start: 0 };
    let mut is_full = false;
    let mut doubts = Doubts::new(text);
    while reader.skip_to_entry() {
        let start = reader.at;
        let Entry { keyword, name, is_bare, file, or_files, audience } = match reader.entry() {
            Ok(entry) => entry,
            Err((at, reason)) => {
                reader.skip_broken_entry();
                doubts.broken(start..reader.at);
                parsed.report(reader.place(at), text[start..reader.at].trim_end(), reason);
                continue;
            }
        };
        match audience {
            Ok(audience) => {
                doubts.sound(start..reader.at, &file, is_bare, !audience.is_everyone());
                if !audience.is_everyone() {
                    parsed.limits.push((file.clone(), audience));
                }
            }
            Err((at, reason)) => {
                doubts.broken(start..reader.at);
                let closed = iter::once(file).chain(or_files);
                parsed.limits.extend(closed.map(|file| (file, Audience::nobody())));
                parsed.report(reader.place(at), text[start..reader.at].trim_end(), reason);
                continue;
            }
        }
        // The file name is usually borrowed from the text, so only keywords take memory twice.
        if !is_full && !seen.insert((keyword.folded().into_owned(), name)) {
            continue;
        }
        if parsed.pairs.len() == pairs_max {
            if !is_full {
                parsed.report(reader.place(start), text[start..reader.at].trim_end(), BadEntry::TooManyPairs);
            }
            // Goes on for the limits, which would otherwise be lost.
            is_full = true;
            continue;
        }
        parsed.pairs.push((keyword, file));
    }
    parsed.unclear = doubts.end();
    parsed
}

/// Reads the entries of a `keyword.txt` one after the other.
struct Reader<'t> {
    text: &'t str,
    /// The byte to read next.
    at: usize,
    /// The line breaks before this byte are counted, so that each is looked at once.
    counted: usize,
    /// The number of the line with the byte `counted`, from 1, and where it starts.
    line: usize,
    line_start: usize,
}

type Misplaced = (usize, BadEntry);

/// An entry of a `keyword.txt`.
struct Entry<'t> {
    keyword: Keyword,
    /// The name as it is in the text.
    name: Cow<'t, str>,
    /// Whether the name is without quotes.
    is_bare: bool,
    file: FileName,
    /// What the file may be instead, if it is not clear where the names begin.
    or_files: Vec<FileName>,
    audience: Result<Audience, Misplaced>,
}

impl<'t> Reader<'t> {
    /// Skips white space, empty entries and comments. Returns false at the end of the text.
    fn skip_to_entry(&mut self) -> bool {
        loop {
            let rest = self.text[self.at..].trim_start_matches(|c: char| c == ';' || c.is_whitespace());
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return !rest.is_empty();
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// Skips the rest of an entry that cannot be read, without its semicolon.
    fn skip_broken_entry(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.find(';').unwrap_or(rest.len());
    }

    /// Reads an entry without its semicolon. An error comes with its place, in bytes; then the next entry begins after the next
    /// semicolon.
    fn entry(&mut self) -> Result<Entry<'t>, Misplaced> {
        let keyword_at = self.at;
        let keyword = self.item()?;
        if !self.text[self.at..].starts_with(',') {
            let is_early = self.text[keyword_at..].starts_with(MARK);
            let reason = if is_early { BadEntry::EarlyNames("keyword") } else { BadEntry::NoComma };
            return Err((keyword_at, reason));
        }
        self.at += 1;
        self.skip_white_space();
        let name_at = self.at;
        if self.text[name_at..].starts_with(MARK) {
            return Err((name_at, BadEntry::EarlyNames("file name")));
        }
        let is_bare = !self.text[name_at..].starts_with('"');
        let mut name = self.item()?;
        let mut audience = self.audience();
        let mut or_files = Vec::new();
        let first = marks_in(&name).next().filter(|_| is_bare);
        if let Some(at) = first {
            let mark = name[at..].chars().take(ENTRY_SHOWN_CHARS).take_while(|c| !c.is_whitespace());
            audience = Err((name_at + at, BadEntry::NoCommaBefore(mark.collect())));
            if name[at..].parse::<Audience>().is_err() {
                let ends = marks_in(&name).skip(1).take_while(|end| *end <= FILE_NAME_BYTES_MAX);
                let ends = ends.chain([name.len()]);
                or_files = ends.filter_map(|end| name[..end].trim_end().parse().ok()).collect();
            }
            name = name[..at].trim_end().to_owned().into();
        }
        let bad_item = |at: usize, bad: BadEntry| match &audience {
            // That is why the item is bad: it is of two entries.
            Err((comma_at, BadEntry::SecondComma)) => (*comma_at, BadEntry::SecondComma),
            _ => (at, bad),
        };
        let keyword = keyword.parse().map_err(|bad: BadKeyword| bad_item(keyword_at, bad.into()))?;
        let file = name.parse().map_err(|bad: BadFileName| bad_item(name_at, bad.into()))?;
        Ok(Entry { keyword, name, is_bare, file, or_files, audience })
    }

    /// Reads the names behind the file name, if there are any. Anything else is a typing error, or the next entry without a
    /// semicolon before it. After an error, the next entry begins after the next semicolon.
    fn audience(&mut self) -> Result<Audience, Misplaced> {
        let comma_at = self.at;
        let Some(after) = self.text[self.at..].strip_prefix(',') else { return Ok(Audience::Everyone) };
        if !after.trim_start().trim_start_matches('"').starts_with('@') {
            self.skip_broken_entry();
            return Err((comma_at, BadEntry::SecondComma));
        }
        let names_at = self.text.len() - after.trim_start().len();
        let mut names = String::new();
        while self.text[self.at..].starts_with(',') {
            self.at += 1;
            names.push(' ');
            names.push_str(self.bare());
        }
        names.parse().map_err(|bad: BadAudience| (names_at, bad.into()))
    }

    /// Reads a keyword or a file name, up to the separator behind it.
    fn item(&mut self) -> Result<Cow<'t, str>, Misplaced> {
        let rest = &self.text[self.at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            return self.quoted(quoted);
        }
        Ok(self.bare().into())
    }

    /// Reads up to the next separator, whatever it is.
    fn bare(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let item = &rest[..rest.find([',', ';']).unwrap_or(rest.len())];
        self.at += item.len();
        item.trim()
    }

    /// Reads an item after its opening quote.
    fn quoted(&mut self, text: &'t str) -> Result<Cow<'t, str>, Misplaced> {
        let start = self.at;
        let mut end = 0;
        loop {
            // On one line, so that a missing quote does not swallow the rest of the text.
            let Some(at) = text[end..].find(['"', '\n']).filter(|at| text[end + at..].starts_with('"'))
            else {
                return Err((start, BadEntry::OpenQuote));
            };
            end += at + 1;
            if !text[end..].starts_with('"') {
                break;
            }
            end += 1;
        }
        let item = &text[..end - 1];
        self.at += 1 + end;
        self.skip_white_space();
        match self.text[self.at..].chars().next() {
            None | Some(',' | ';') if item.contains('"') => Ok(item.replace("\"\"", "\"").into()),
            None | Some(',' | ';') => Ok(item.into()),
            Some(found) => Err((self.at, BadEntry::AfterQuote(found))),
        }
    }

    fn skip_white_space(&mut self) {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
    }

    /// The line and column of a byte, which is not before that of an earlier call.
    fn place(&mut self, at: usize) -> (usize, usize) {
        let at = at.max(self.counted);
        for (newline, _) in self.text[self.counted..at].match_indices('\n') {
            self.line += 1;
            self.line_start = self.counted + newline + 1;
        }
        self.counted = at;
        (self.line, self.text[self.line_start..at].chars().count() + 1)
    }
}

/// Writes pairs as a `keyword.txt`, one on each line.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a Keyword, &'a FileName)>) -> String {
    write_limited(pairs, &Audience::Everyone)
}

/// Writes pairs as a `keyword.txt`, and in each entry to whom the file is limited. Nobody cannot be written.
pub fn write_limited<'a>(
    pairs: impl IntoIterator<Item = (&'a Keyword, &'a FileName)>,
    audience: &Audience,
) -> String {
    let mut text = String::new();
    for (keyword, file) in pairs {
        write_item(keyword.as_str(), &mut text);
        text.push_str(", ");
        write_item(file.as_str(), &mut text);
        if !audience.is_everyone() {
            text.push_str(", ");
            text.push_str(&audience.marked());
        }
        text.push_str(";\n");
    }
    text
}

/// Where names of peers may begin in an item without quotes: at each `@` behind white space. They belong behind a comma.
fn marks_in(item: &str) -> impl Iterator<Item = usize> {
    item.match_indices('@').map(|(at, _)| at).filter(|at| item[..*at].ends_with(char::is_whitespace))
}

fn write_item(item: &str, text: &mut String) {
    if item.contains([',', ';']) || item.starts_with(['"', '#', MARK]) || marks_in(item).next().is_some() {
        text.push('"');
        text.push_str(&item.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(item);
    }
}

#[cfg(test)]
mod tests;
