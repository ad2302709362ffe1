//! Byte ranges in requests and responses (RFC 9110, section 14).

use std::fmt;
use std::str::FromStr;

use wire::http::ResponseHead;

const BAD_RANGE: &str =
    "a range is FIRST-LAST, FIRST- or -LENGTH in bytes from 0, several with commas between them";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// From the first to the last byte, inclusive.
    Between(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

/// One or more ranges of bytes, as `--range` and a `Range` field have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    pub(super) fn from(first: u64) -> Self {
        Self(vec![Range::From(first)])
    }
}

impl Ranges {
    /// Checks that a response with status 206 has what these ranges ask for (RFC 9110, section 15.3.7). Returns the length
    /// that its body must have; none for several parts, which carry their own lengths.
    ///
    /// # Errors
    /// What was asked for and what came.
    pub(super) fn check(
        &self,
        head: &ResponseHead,
        announced_bytes: Option<u64>,
    ) -> Result<Option<u64>, String> {
        let wrong = |came: &str| Err(format!("asked for bytes {self}, got {came}"));
        let is_single = self.0.len() == 1;
        let content_type = head.values("content-type").next().unwrap_or_default().to_ascii_lowercase();
        let is_multipart = content_type.starts_with(b"multipart/byteranges");
        let Some(part @ ContentRange::Part { first, last, total }) = ContentRange::of(head) else {
            return match (is_multipart, is_single) {
                (true, false) => Ok(None),
                (true, true) => wrong("several parts (multipart)"),
                (false, _) => wrong("a part with no usable Content-Range"),
            };
        };
        let asked: Vec<(u64, u64)> = self.0.iter().filter_map(|range| range.within(total, last)).collect();
        // A server may omit ranges beyond the end and may coalesce several into one.
        let is_whole = asked.iter().map(|range| range.0).min() == Some(first)
            && asked.iter().map(|range| range.1).max() == Some(last);
        if !is_whole && !asked.contains(&(first, last)) {
            return wrong(&part.to_string());
        }
        let bytes = last - first + 1;
        match announced_bytes {
            Some(announced) if announced != bytes => {
                wrong(&format!("{part} with a body of {announced} bytes"))
            }
            _ => Ok(Some(bytes)),
        }
    }
}

impl Range {
    /// The first and the last byte of this range in a file of `total` bytes. If the length is unknown, the `last` byte of the
    /// response stands for the end. None if the range is beyond the end.
    fn within(self, total: Option<u64>, last: u64) -> Option<(u64, u64)> {
        let end = total.map_or(last, |total| total.saturating_sub(1));
        match (self, total) {
            (Self::Between(first, last), None) => Some((first, last)),
            (Self::Between(first, last), Some(_)) => (first <= end).then_some((first, last.min(end))),
            (Self::From(first), _) => (first <= end).then_some((first, end)),
            (Self::Last(bytes), Some(total)) => Some((total.saturating_sub(bytes), end)),
            (Self::Last(bytes), None) => Some((last.saturating_sub(bytes - 1), last)),
        }
    }
}

impl FromStr for Ranges {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.split(',').map(|range| parse_range(range.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_range(text: &str) -> Result<Range, &'static str> {
    let (first, last) = text.split_once('-').ok_or(BAD_RANGE)?;
    match (first, last) {
        ("", length) => match number(length)? {
            0 => Err(BAD_RANGE),
            length => Ok(Range::Last(length)),
        },
        (first, "") => Ok(Range::From(number(first)?)),
        (first, last) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok(Range::Between(first, last)),
            _ => Err(BAD_RANGE),
        },
    }
}

/// Only digits; `parse` alone would also accept a sign.
fn number(text: &str) -> Result<u64, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| BAD_RANGE)
    } else {
        Err(BAD_RANGE)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match range {
                Range::Between(first, last) => write!(f, "{comma}{first}-{last}")?,
                Range::From(first) => write!(f, "{comma}{first}-")?,
                Range::Last(length) => write!(f, "{comma}-{length}")?,
            }
        }
        Ok(())
    }
}

/// The value of `Content-Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// The body has these bytes, inclusive, of a file of `total` bytes, if the server knows the length.
    Part { first: u64, last: u64, total: Option<u64> },
    /// None of the ranges is in the file, which has `total` bytes.
    Unsatisfied { total: u64 },
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part { first, last, total: Some(total) } => write!(f, "bytes {first}-{last}/{total}"),
            Self::Part { first, last, total: None } => write!(f, "bytes {first}-{last}/*"),
            Self::Unsatisfied { total } => write!(f, "bytes */{total}"),
        }
    }
}

impl ContentRange {
    /// None unless the response has exactly one valid `Content-Range`.
    pub(super) fn of(head: &ResponseHead) -> Option<Self> {
        let mut values = head.values("content-range");
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let (unit, rest) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let known = |text| if text == "*" { Ok(None) } else { number_given(text).map(Some) };
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let total = known(total).ok()?;
        if range == "*" {
            return total.map(|total| Self::Unsatisfied { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number_given(first).ok()?, number_given(last).ok()?);
        let makes_sense = first <= last && last < u64::MAX && total.is_none_or(|total| last < total);
        makes_sense.then_some(Self::Part { first, last, total })
    }
}

fn number_given(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() { Err(BAD_RANGE) } else { number(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_and_writes_them_as_a_field_has_them() {
        for (text, sent) in [("0-99", "0-99"), ("007-", "7-"), ("-5", "-5"), ("0-0, 5-,-1", "0-0,5-,-1")] {
            assert_eq!(text.parse::<Ranges>().map(|r| r.to_string()), Ok(sent.to_owned()));
        }
        for text in [
            "",
            "-",
            "5",
            "2-1",
            "-0",
            "a-b",
            "+1-2",
            "0-1,",
            "0-1-2",
            "18446744073709551616-",
            "0-1\r\nX: y",
        ] {
            assert_eq!(text.parse::<Ranges>(), Err(BAD_RANGE), "{text:?}");
        }
    }

    fn content_range(values: &[&str]) -> Option<ContentRange> {
        let lines: String = values.iter().map(|value| format!("Content-Range: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 206 x\r\n{lines}\r\n");
        let head = wire::http::parse_response(head.as_bytes()).expect("this is a head");
        ContentRange::of(&head.expect("it is whole"))
    }

    #[test]
    fn reads_content_ranges_and_none_that_contradict_themselves() {
        let part = |first, last, total| Some(ContentRange::Part { first, last, total });
        assert_eq!(content_range(&["bytes 5-9/10"]), part(5, 9, Some(10)));
        assert_eq!(content_range(&["Bytes 5-9/*"]), part(5, 9, None));
        assert_eq!(content_range(&["bytes */10"]), Some(ContentRange::Unsatisfied { total: 10 }));
        for value in
            ["bytes 9-5/10", "bytes 5-10/10", "bytes 5-/10", "items 5-9/10", "bytes */*", "5-9/10", ""]
        {
            assert_eq!(content_range(&[value]), None, "{value}");
        }
        assert_eq!(content_range(&[]), None);
        assert_eq!(content_range(&["bytes 0-1/10", "bytes 5-9/10"]), None);
    }
}
