//! Conditional requests (RFC 9110, sections 8.8 and 13).

use std::fmt;
use std::time::{Duration, SystemTime};

use super::fields::Fields;

/// A strong entity tag: it changes whenever a byte of what it stands for does (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// The tag of a file: its length, when its content was modified, when its inode was changed, and the number of that.
    /// Anybody may set the first of the two times back after writing to the file, but not the second.
    pub fn of_file(bytes: u64, modified: SystemTime, changed: SystemTime, inode: u64) -> Self {
        let nanos = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos()
        };
        Self(format!("\"{bytes:x}-{:x}-{:x}-{inode:x}\"", nanos(modified), nanos(changed)))
    }

    /// The tag with its quotation marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether one of the tags in an `If-None-Match` is this one, by the weak comparison of RFC 9110, section 8.8.3.2.
    /// From where a list is malformed, nothing in it matches.
    fn is_in(&self, list: &[u8]) -> bool {
        let mut rest = list.trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
            let Some(inside) = tag.strip_prefix(b"\"") else {
                return false;
            };
            let Some(end) = inside.iter().position(|&byte| byte == b'"') else {
                return false;
            };
            if &tag[..end + 2] == self.0.as_bytes() {
                return true;
            }
            let after = inside[end + 1..].trim_ascii_start();
            if !after.is_empty() && after[0] != b',' {
                return false;
            }
            let is_separator = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
            let next = after.iter().position(|byte| !is_separator(byte));
            rest = &after[next.unwrap_or(after.len())..];
        }
        false
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the answer to a GET or HEAD with these fields is 304: the client already has what it asks for.
///
/// `If-None-Match` decides if it is there; only else `If-Modified-Since` does, if it is one valid date (RFC 9110,
/// sections 13.1.2, 13.1.3 and 13.2.2).
pub fn is_not_modified(fields: Fields<'_>, tag: &EntityTag, modified: SystemTime) -> bool {
    let mut tags = fields.values("if-none-match").peekable();
    if tags.peek().is_some() {
        return tags.any(|list| tag.is_in(list));
    }
    let mut dates = fields.values("if-modified-since");
    let (Some(date), None) = (dates.next(), dates.next()) else {
        return false;
    };
    let since = std::str::from_utf8(date).ok().and_then(|date| httpdate::parse_http_date(date).ok());
    // A date in a header has whole seconds, a file's time has not.
    since.is_some_and(|since| modified < since + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modified() -> SystemTime {
        // Sun, 06 Nov 1994 08:49:37 GMT and a bit.
        SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500)
    }

    fn answer(lines: &str) -> bool {
        let tag = EntityTag("\"abc\"".into());
        is_not_modified(Fields::checked(lines.as_bytes()), &tag, modified())
    }

    #[test]
    fn all_that_tells_two_files_apart_is_in_the_tag() {
        let later = modified() + Duration::from_nanos(1);
        let tag = EntityTag::of_file(1, modified(), modified(), 1);
        assert_eq!(tag, EntityTag::of_file(1, modified(), modified(), 1));
        for other in [
            EntityTag::of_file(2, modified(), modified(), 1),
            EntityTag::of_file(1, later, modified(), 1),
            EntityTag::of_file(1, modified(), later, 1),
            EntityTag::of_file(1, modified(), modified(), 2),
        ] {
            assert_ne!(tag, other);
        }
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        for list in ["\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\"", "\"x,y\" ,, W/\"abc\"", "\"abc\", junk"] {
            assert!(answer(&format!("If-None-Match: {list}\r\n")), "{list}");
        }
        for list in ["", "abc", "\"ab\"", "\"abc", "w/\"abc\"", "junk, \"abc\"", "\"x\" \"abc\""] {
            assert!(!answer(&format!("If-None-Match: {list}\r\n")), "{list}");
        }
        assert!(answer("If-None-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n"));
    }

    #[test]
    fn dates_count_only_without_tags_and_in_all_three_formats() {
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert!(answer(&format!("If-Modified-Since: {date}\r\n")), "{date}");
        }
        assert!(!answer("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n"));
        assert!(!answer("If-Modified-Since: yesterday\r\n"));
        assert!(!answer("If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
        assert!(!answer(""));
    }
}
