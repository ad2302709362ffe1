//! Range requests (RFC 9110, section 14): which bytes are wanted, and what surrounds each part in an answer.

use std::fmt;

use super::conditional::Validators;
use super::fields::{Fields, list_items};

/// Most ranges that are looked at. Who asks for more gets the whole, as RFC 9110, section 14.2, allows: many small ranges are
/// either an attack (section 17.15) or cost more in heads of parts than they save.
const RANGES_MAX: usize = 16;

/// Ranges with fewer bytes between them are sent as one: the head of a part takes about as much (RFC 9110,
/// section 15.3.7.2).
const GAP_BYTES_MIN: u64 = 80;

/// Bytes of a representation, from `first` to `last`, both included and both within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The offset of the first byte.
    pub first: u64,
    /// The offset of the last byte, at least `first`.
    pub last: u64,
}

impl Part {
    /// How many bytes it has; at least one.
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of its `Content-Range`, in a representation of `length` bytes (RFC 9110, section 14.4).
    pub fn content_range(self, length: u64) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "bytes {}-{}/{length}", self.first, self.last))
    }

    /// Whether the two overlap, touch, or leave too little between them to be worth two parts.
    fn is_near(self, other: Self) -> bool {
        let reaches = |a: Self, b: Self| b.first <= a.last.saturating_add(GAP_BYTES_MIN);
        reaches(self, other) && reaches(other, self)
    }

    fn joined(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// The value of the `Content-Range` that goes with a 416, for a representation of `length` bytes.
pub fn unsatisfied_content_range(length: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "bytes */{length}"))
}

/// What part of a representation a GET wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: 200.
    Whole,
    /// These parts, in the order in which they were asked for, none near another: 206. If it is one, it is the
    /// content itself; more are sent as [`Multipart`]. Even one that is all there is gets a 206: so a client
    /// finds out that ranges work.
    Parts(Vec<Part>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14.2). To be asked only for a GET that would be answered with
/// 200, after its conditions; `validators` and `length` (in bytes) are those of what would be sent, in its coding.
/// `is_negotiated` says whether there may be others with the same date: then a date names none of them.
///
/// A field that is there twice, malformed or in another unit than bytes is ignored.
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

/// Reads the value of a `Range`; none if it is to be ignored.
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
    // A suffix of nothing is all of it, and no Content-Range can say so (RFC 9110, section 14.1.2).
    if length == 0 && asked.iter().any(|range| matches!(range, RangeSpec::Suffix(1..))) {
        return None;
    }
    let parts = without_near_ones(asked.iter().filter_map(|range| range.within(length)));
    Some(if parts.is_empty() { Wanted::Unsatisfiable } else { Wanted::Parts(parts) })
}

/// One range as it was asked for (RFC 9110, section 14.1.2).
enum RangeSpec {
    /// `5-9` or `5-`, which goes on to the end.
    From(u64, u64),
    /// `-5`: so many bytes at the end.
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

    /// What there is of it in `length` bytes.
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

/// A number of decimal digits. What no representation can have is as good as the largest.
fn read_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Joins what overlaps or is near; what comes of it stands where the first of them did. So no byte is sent twice, however
/// often it is asked for, and few parts are.
fn without_near_ones(asked: impl Iterator<Item = Part>) -> Vec<Part> {
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

/// An answer of several parts, `multipart/byteranges` (RFC 9110, section 14.6): what surrounds the bytes of each.
///
/// The content is, for each of [`Multipart::parts`], the head and then the bytes of the part, and [`Multipart::end`] after
/// the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    parts: Vec<(String, Part)>,
    end: String,
}

impl Multipart {
    /// The framing of `parts` of a representation with `media_type` and `length` bytes. `boundary` is 1 to 70 letters and
    /// digits that are not in the content, so they had better be random (RFC 2046, section 5.1.1).
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

    /// The value of the answer's `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Each part with the bytes that go before it.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&[u8], Part)> {
        self.parts.iter().map(|(head, part)| (head.as_bytes(), *part))
    }

    /// The bytes that go after the last part.
    pub fn end(&self) -> &[u8] {
        self.end.as_bytes()
    }

    /// The value of the answer's `Content-Length`: all heads, parts and the end.
    pub fn content_length(&self) -> u64 {
        let all_parts = self.parts().map(|(head, part)| part.bytes().saturating_add(head.len() as u64));
        all_parts.fold(self.end.len() as u64, u64::saturating_add)
    }
}
