//! Removes entries from a `keyword.txt` and leaves the rest of the text as it is.

use std::ops::Range;

use super::{BYTE_ORDER_MARK, BadEntry, Entry, Keyword, Reader};
use crate::FileName;

/// Removes the entries with some pairs from a `keyword.txt`, with their semicolons, and lines that are empty then. Everything else
/// stays as it is. Returns the new text, and how many entries were removed.
pub fn without(text: &str, is_removed: impl Fn(&Keyword, &FileName) -> bool) -> (String, usize) {
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    let mut reader = Reader { text, at: start, counted: 0, line: 1, line_start: 0 };
    let (mut kept, mut copied, mut removed) = (String::with_capacity(text.len()), 0, 0);
    while reader.skip_to_entry() {
        let entry_at = reader.at;
        match reader.entry() {
            // Behind a second comma there may be another entry.
            Ok(Entry { audience: Err((_, BadEntry::SecondComma)), .. }) => {}
            // It may be for another file.
            Ok(Entry { or_files, .. }) if !or_files.is_empty() => {}
            Ok(Entry { keyword, file, .. }) if is_removed(&keyword, &file) => {
                let place = with_its_line(text, entry_at, reader.at);
                kept.push_str(&text[copied..place.start.max(copied)]);
                // A line break ends a quote that is not closed, so the next quote must not become the end of it.
                if !is_at_line_start(&kept) && text[place.clone()].contains('\n') {
                    kept.push('\n');
                }
                copied = place.end;
                removed += 1;
            }
            Ok(_) => {}
            Err(_) => reader.skip_broken_entry(),
        }
    }
    kept.push_str(&text[copied..]);
    (kept, removed)
}

/// The place of an entry, with the semicolon and the spaces behind it, and with its line break if nothing else is on its line.
fn with_its_line(text: &str, start: usize, end: usize) -> Range<usize> {
    let is_space = |c: char| c.is_whitespace() && c != '\n';
    // Without a semicolon, the entry is the last one, and ends with the text.
    let after = text[end..].strip_prefix(';').unwrap_or(&text[end..]).trim_start_matches(is_space);
    let before = text[..start].trim_end_matches(is_space);
    match after.strip_prefix('\n') {
        Some(next) if is_at_line_start(before) => before.len()..text.len() - next.len(),
        _ => start..text.len() - after.len(),
    }
}

fn is_at_line_start(text: &str) -> bool {
    text.is_empty() || text.ends_with('\n')
}
