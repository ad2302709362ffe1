//! Conditional requests (RFC 9110, sections 8.8 and 13).

use std::fmt;
use std::time::{Duration, SystemTime};

use super::coding::Coding;
use super::fields::Fields;
use crate::Digest;

/// A strong entity tag: it changes whenever a byte of the representation does (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

/// How two entity tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag matches nothing, because it does not identify the bytes.
    Strong,
    /// `W/` is ignored.
    Weak,
}

impl EntityTag {
    /// The tag of a file, from its length in bytes, modification time (mtime), change time (ctime) and inode number. The
    /// change time is included because programs can reset the modification time after they write.
    pub fn of_file(bytes: u64, modified: SystemTime, changed: SystemTime, inode: u64) -> Self {
        let nanos = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos()
        };
        Self(format!("\"{bytes:x}-{:x}-{:x}-{inode:x}\"", nanos(modified), nanos(changed)))
    }

    /// The tag of content that is in memory, which can change only with the program.
    pub fn of_content(content: &[u8]) -> Self {
        Self(format!("\"{}\"", Digest::of(content)))
    }

    /// The tag of the same content in a coding. Representations with different bytes must not share a strong tag (RFC 9110,
    /// section 8.8.3.3).
    #[must_use]
    pub fn for_coding(&self, coding: Coding) -> Self {
        self.with(coding.name())
    }

    /// As [`EntityTag::for_coding`], for bytes that the server has compressed itself. Their checksum is part of the tag,
    /// because another version of the compressor can make different bytes from the same content.
    #[must_use]
    pub fn for_coded(&self, coding: Coding, checksum: u32) -> Self {
        self.for_coding(coding).with(&format!("{checksum:x}"))
    }

    fn with(&self, suffix: &str) -> Self {
        let start = self.0.strip_suffix('"').unwrap_or(&self.0);
        Self(format!("{start}-{suffix}\""))
    }

    /// The tag with its quotation marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `list`, a list of entity tags, contains this tag. Elements behind a malformed one are not looked at,
    /// because it is unclear where they start. Commas and backslashes can be part of a tag, so
    /// [`list_items`](super::fields::list_items) cannot split this list.
    fn is_in(&self, list: &[u8], comparison: Comparison) -> bool {
        let mut rest = list;
        loop {
            // Empty elements are ignored, also at the start (RFC 9110, section 5.6.1.2).
            let separators = rest.iter().take_while(|byte| matches!(byte, b',' | b' ' | b'\t')).count();
            let Some((is_weak, tag, after)) = split_tag(&rest[separators..]) else {
                return false;
            };
            let may_match = comparison == Comparison::Weak || !is_weak;
            if may_match && tag == self.0.as_bytes() {
                return true;
            }
            rest = after.trim_ascii_start();
            if !rest.starts_with(b",") {
                return false;
            }
        }
    }
}

/// Splits off the entity tag that `list` starts with: whether it is weak, the tag with its quotation marks, and what
/// follows. `None` if `list` does not start with one.
fn split_tag(list: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (is_weak, tag) = match list.strip_prefix(b"W/") {
        Some(tag) => (true, tag),
        None => (false, list),
    };
    let inside = tag.strip_prefix(b"\"")?;
    let end = inside.iter().position(|&byte| byte == b'"')?;
    let (tag, after) = tag.split_at(end + 2);
    Some((is_weak, tag, after))
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The validators of a representation (RFC 9110, section 8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The value of `ETag`.
    pub tag: EntityTag,
    /// The value of `Last-Modified`. Fractions of a second are ignored, because a date in a field has none.
    pub modified: SystemTime,
}

impl Validators {
    fn modified_second(&self) -> u64 {
        second_of(self.modified)
    }

    /// Whether the value of an `If-Range` matches these validators (RFC 9110, section 13.1.5): a tag by strong comparison, a
    /// date exactly.
    ///
    /// A date is a strong validator only if it was at least a second old when it was sent (section 8.8.2.2). This is not
    /// checked, because it needs a clock. So a client that resumes by date can combine two versions of a file that was
    /// written twice within a second; clients that got a tag use the tag. Dates do not match where codings are
    /// negotiated (`is_negotiated`), because all codings of a file have the same date.
    pub(super) fn are_named_by(&self, if_range: &[u8], is_negotiated: bool) -> bool {
        if if_range.starts_with(b"\"") || if_range.starts_with(b"W/") {
            return if_range == self.tag.as_str().as_bytes();
        }
        !is_negotiated && date_second(if_range) == Some(self.modified_second())
    }
}

/// The result of a request's preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Answer as without preconditions.
    Proceed,
    /// Answer 304: the client's copy is valid.
    NotModified,
    /// Answer 412.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD in the order of RFC 9110, section 13.2.2. `validators` are those of the selected
/// representation, coding included; `None` if there is none. Call this only if the status would otherwise be 200
/// (section 13.2.1), and before ranges are evaluated.
///
/// A field with a date is ignored if it is repeated or is not a valid date.
pub fn evaluate(fields: Fields<'_>, validators: Option<&Validators>) -> Condition {
    let holds = match matches_tag(fields, "if-match", validators, Comparison::Strong) {
        Some(matches) => matches,
        None => is_modified_since(fields, "if-unmodified-since", validators) != Some(true),
    };
    if !holds {
        return Condition::Failed;
    }
    let has_it_already = match matches_tag(fields, "if-none-match", validators, Comparison::Weak) {
        Some(matches) => matches,
        None => is_modified_since(fields, "if-modified-since", validators) == Some(false),
    };
    if has_it_already { Condition::NotModified } else { Condition::Proceed }
}

/// Whether the field called `name` lists the tag of `validators`; `None` if there is no such field. `*` matches every
/// representation (RFC 9110, sections 13.1.1 and 13.1.2).
fn matches_tag(
    fields: Fields<'_>,
    name: &str,
    validators: Option<&Validators>,
    comparison: Comparison,
) -> Option<bool> {
    let mut lists = fields.values(name).peekable();
    lists.peek()?;
    let Some(validators) = validators else {
        return Some(false);
    };
    Some(lists.any(|list| list == b"*" || validators.tag.is_in(list, comparison)))
}

/// Whether the representation was modified after the date in the field called `name`; `None` if there is no such field, valid
/// date or representation (RFC 9110, sections 13.1.3 and 13.1.4).
fn is_modified_since(fields: Fields<'_>, name: &str, validators: Option<&Validators>) -> Option<bool> {
    let mut dates = fields.values(name);
    let (Some(date), None) = (dates.next(), dates.next()) else {
        return None;
    };
    Some(validators?.modified_second() > date_second(date)?)
}

/// Reads a date in any of the three formats of RFC 9110, section 5.6.7. Returns seconds since 1970.
fn date_second(date: &[u8]) -> Option<u64> {
    let date = std::str::from_utf8(date).ok()?;
    httpdate::parse_http_date(date).ok().map(second_of)
}

fn second_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
