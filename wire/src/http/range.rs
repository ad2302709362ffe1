//! Range requests and `multipart/byteranges` (RFC 9110, section 14).

use std::fmt;

use super::conditional::Validators;
use super::fields::{Fields, list_items};

/// The maximum number of ranges in one request. With more, `Range` is ignored, which RFC 9110, section 14.2, allows:
/// many small ranges are an attack (section 17.15), or the heads of their parts cost more bytes than they save.
const RANGES_MAX: usize = 16;

/// Ranges with a smaller gap between them are combined, because the head of a part is about as long as the gap (RFC 9110,
/// section 15.3.7.2).
const GAP_BYTES_MIN: u64 = 80;

/// A satisfiable range of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    /// The offset of the last byte, at least `first`.
    pub last: u64,
}

impl Part {
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of `Content-Range` for a representation of `length` bytes (RFC 9110, section 14.4).
    pub fn content_range(self, length: u64) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "bytes {}-{}/{length}", self.first, self.last))
    }

    /// Whether the two overlap, touch, or have a gap smaller than [`GAP_BYTES_MIN`].
    fn is_near(self, other: Self) -> bool {
        let reaches = |a: Self, b: Self| b.first <= a.last.saturating_add(GAP_BYTES_MIN);
        reaches(self, other) && reaches(other, self)
    }

    fn joined(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// The value of `Content-Range` in a 416, for a representation of `length` bytes.
pub fn unsatisfied_content_range(length: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "bytes */{length}"))
}

/// The part of a representation that a GET asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// These parts in the requested order, after near ones were combined: answer 206. A single part is sent as it is,
    /// several as [`Multipart`]. A range of the whole representation is a part, too, because the 206 tells
    /// the client that ranges are supported.
    Parts(Vec<Part>),
    /// No range overlaps the representation: answer 416.
    Unsatisfiable,
}

/// Evaluates `Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14.2). Call this only for a GET whose status would be 200,
/// after its preconditions. `validators` and `length` (in bytes) are those of the selected representation, coding
/// included. `is_negotiated` says whether other codings of it could have the same date.
///
/// `Range` is ignored if it is repeated, malformed or in another unit than bytes.
pub fn wanted_parts(fields: Fields<'_>, validators: &Validators, is_negotiated: bool, length: u64) -> Wanted {
    let mut ranges = fields.values("range");
    let (Some(ranges), None) = (ranges.next(), ranges.next()) else {
        return Wanted::Whole;
    };
    let mut states = fields.values("if-range");
    match (states.next(), states.next()) {
        (None, _) => {}
        (Some(state), None) if validators.are_named_by(state, is_negotiated) => {}
        _ => return Wanted::Whole,
    }
    read_ranges(ranges, length).unwrap_or(Wanted::Whole)
}

/// Reads the value of a `Range`; `None` if it must be ignored.
fn read_ranges(value: &[u8], length: u64) -> Option<Wanted> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut asked = Vec::new();
    for (index, range) in list_items(set).enumerate() {
        if index == RANGES_MAX {
            return None;
        }
        asked.push(RangeSpec::parse(range)?);
    }
    if asked.is_empty() {
        return None;
    }
    // A suffix of an empty representation is satisfiable, but Content-Range cannot express it (RFC 9110, section 14.1.2).
    if length == 0 && asked.iter().any(|range| matches!(range, RangeSpec::Suffix(1..))) {
        return None;
    }
    let parts = combined(asked.iter().filter_map(|range| range.within(length)));
    Some(if parts.is_empty() { Wanted::Unsatisfiable } else { Wanted::Parts(parts) })
}

/// One requested range (RFC 9110, section 14.1.2).
enum RangeSpec {
    /// First and last offset; `5-` has the greatest offset as its last.
    From(u64, u64),
    /// `-5`: the number of bytes at the end.
    Suffix(u64),
}

impl RangeSpec {
    fn parse(range: &[u8]) -> Option<Self> {
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&range[..dash], &range[dash + 1..]);
        if first.is_empty() {
            return read_number(last).map(Self::Suffix);
        }
        let first = read_number(first)?;
        let last = if last.is_empty() { u64::MAX } else { read_number(last)? };
        (first <= last).then_some(Self::From(first, last))
    }

    /// The part of a representation of `length` bytes that is in this range; `None` if it is not satisfiable.
    fn within(&self, length: u64) -> Option<Part> {
        let end = length.checked_sub(1)?;
        match *self {
            Self::From(first, last) => (first <= end).then(|| Part { first, last: last.min(end) }),
            Self::Suffix(bytes) => {
                (bytes > 0).then(|| Part { first: length.saturating_sub(bytes), last: end })
            }
        }
    }
}

/// Reads decimal digits. A number that does not fit counts as the largest, because no representation is that long.
fn read_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Combines parts that overlap or are near each other, so that no byte is sent twice. A combined part takes the place of the
/// first one in it.
fn combined(asked: impl Iterator<Item = Part>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for mut part in asked {
        let mut place = parts.len();
        while let Some(near) = parts.iter().position(|other| other.is_near(part)) {
            part = part.joined(parts.remove(near));
            place = place.min(near);
        }
        parts.insert(place, part);
    }
    parts
}

/// The framing of a `multipart/byteranges` content (RFC 9110, section 14.6).
///
/// The content is the head and the bytes of each of [`Multipart::parts`], and then [`Multipart::end`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    parts: Vec<(String, Part)>,
    end: String,
}

impl Multipart {
    /// Frames `parts` of a representation with `media_type` and `length` bytes. `boundary` must be 1 to 70 letters and digits
    /// that are not in the content; draw them at random (RFC 2046, section 5.1.1).
    pub fn new(parts: &[Part], media_type: &str, length: u64, boundary: &str) -> Self {
        debug_assert!((1..=70).contains(&boundary.len()));
        debug_assert!(boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let head = |(index, &part): (usize, &Part)| {
            let line_end = if index == 0 { "" } else { "\r\n" };
            let range = part.content_range(length);
            let head = format!(
                "{line_end}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n"
            );
            (head, part)
        };
        Self {
            boundary: boundary.to_owned(),
            parts: parts.iter().enumerate().map(head).collect(),
            end: format!("\r\n--{boundary}--\r\n"),
        }
    }

    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Each part with the head to send before it.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&[u8], Part)> {
        self.parts.iter().map(|(head, part)| (head.as_bytes(), *part))
    }

    /// The bytes to send after the last part.
    pub fn end(&self) -> &[u8] {
        self.end.as_bytes()
    }

    pub fn content_length(&self) -> u64 {
        let all_parts = self.parts().map(|(head, part)| part.bytes().saturating_add(head.len() as u64));
        all_parts.fold(self.end.len() as u64, u64::saturating_add)
    }
}
