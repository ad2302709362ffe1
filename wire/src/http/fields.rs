//! Header fields: what requests and responses have in common.

use super::body::BodyLength;

/// The versions that are spoken. A later 1.x is read as 1.1 (RFC 9110, section 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// The header fields of a head that has been checked, still in the bytes that were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    /// `lines` has been parsed before: every line is a field and ends with CRLF.
    pub(super) fn checked(lines: &'b [u8]) -> Self {
        Self(lines)
    }

    /// The values of all fields called `name`, in order, without white space around them. A field whose value is a
    /// list may be spread over several lines (RFC 9110, section 5.3).
    pub fn values(self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0.split(|&byte| byte == b'\n').filter_map(move |line| {
            let (field, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }
}

/// Whether every LF follows a CR and every CR comes before an LF. A reader that takes either alone for a line end sees
/// other fields than one that does not (RFC 9112, section 2.2).
pub(super) fn has_clean_line_ends(head: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in head {
        if (byte == b'\n') != (previous == b'\r') {
            return false;
        }
        previous = byte;
    }
    previous != b'\r'
}

/// Whether this is a token of RFC 9110, section 5.6.2.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The elements of a comma-separated list. Empty elements are ignored (RFC 9110, section 5.6.1.2).
pub(super) fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_unquoted(value, b',').filter(|item| !item.is_empty())
}

/// Splits at each `separator` outside a quoted string (RFC 9110, section 5.6.4) and trims the parts.
pub(super) fn split_unquoted(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value.split(move |&byte| {
        if is_escaped {
            is_escaped = false;
        } else if byte == b'"' {
            is_quoted = !is_quoted;
        } else if is_quoted {
            is_escaped = byte == b'\\';
        } else {
            return byte == separator;
        }
        false
    });
    parts.map(<[u8]>::trim_ascii)
}

/// A weight (`q`) in thousandths: 0, which means "not acceptable", to 1000 (RFC 9110, section 12.4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight(u16);

impl Weight {
    pub(super) const ZERO: Self = Self(0);
    /// The least weight of what is acceptable.
    pub(super) const LEAST: Self = Self(1);
    const FULL: Self = Self(1000);

    fn parse(text: &[u8]) -> Option<Self> {
        let (&whole, fraction) = text.split_first()?;
        let digits = match fraction {
            [] => fraction,
            [b'.', digits @ ..] if digits.len() <= 3 => digits,
            _ => return None,
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let thousandths = (0..3).fold(0, |sum, at| {
            let digit = digits.get(at).map_or(0, |digit| digit - b'0');
            sum * 10 + u16::from(digit)
        });
        match (whole, thousandths) {
            (b'0', _) => Some(Self(thousandths)),
            (b'1', 0) => Some(Self::FULL),
            _ => None,
        }
    }
}

/// Splits an item of an `Accept` field into what is accepted and its weight, 1 if it has none. Other parameters are
/// passed over. None if it is malformed.
pub(super) fn split_weight(item: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = split_unquoted(item, b';');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut weight = Weight::FULL;
    for parameter in parts {
        if let Some((b"q=" | b"Q=", value)) = parameter.split_at_checked(2) {
            weight = Weight::parse(value)?;
        }
    }
    Some((name, weight))
}

/// What is wrong with the fields that say how long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadFraming {
    /// `Content-Length` is not one number.
    Length,
    /// `Transfer-Encoding` is empty, or names `chunked` twice or not last.
    Coding,
    /// A coding other than `chunked`.
    UnknownCoding,
}

/// `Content-Length` and `Transfer-Encoding`, gathered over all lines of a head (RFC 9112, section 6).
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
    unknown_coding: bool,
    coded: bool,
}

impl Framing {
    /// Takes one `Content-Length` field. The same number twice is let pass (RFC 9110, section 8.6).
    pub(super) fn add_length(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        for item in value.split(|&byte| byte == b',') {
            let digits = item.trim_ascii();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(BadFraming::Length);
            }
            let length = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
            let length = length.ok_or(BadFraming::Length)?;
            if self.length.is_some_and(|earlier| earlier != length) {
                return Err(BadFraming::Length);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// Takes one `Transfer-Encoding` field.
    pub(super) fn add_codings(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        self.coded = true;
        for coding in list_items(value) {
            if self.chunked {
                return Err(BadFraming::Coding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.unknown_coding = true;
            }
        }
        Ok(())
    }

    /// Whether both kinds of length were given.
    pub(super) fn is_contradictory(&self) -> bool {
        self.coded && self.length.is_some()
    }

    /// Whether there was a `Transfer-Encoding`.
    pub(super) fn is_coded(&self) -> bool {
        self.coded
    }

    /// Whether `chunked` is the last coding.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The length, or none if the head does not say. `Transfer-Encoding` comes first (RFC 9112, section 6.3).
    pub(super) fn body_length(&self) -> Result<Option<BodyLength>, BadFraming> {
        if self.unknown_coding {
            return Err(BadFraming::UnknownCoding);
        }
        if self.coded {
            return if self.chunked { Ok(Some(BodyLength::Chunked)) } else { Err(BadFraming::Coding) };
        }
        Ok(self.length.map(BodyLength::Exact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_values_of_a_field_whatever_the_case() {
        let fields = Fields::checked(b"Accept: a\r\naccept:b \r\nAccept-Language: de\r\nX: Accept: c\r\n");
        let values: Vec<_> = fields.values("ACCEPT").collect();
        assert_eq!(values, [b"a", b"b"]);
    }

    #[test]
    fn sees_bare_line_ends() {
        for (head, clean) in [
            (&b"a\r\nb\r\n\r\n"[..], true),
            (b"a\nb\r\n\r\n", false),
            (b"a\rb\r\n\r\n", false),
            (b"a\r\r\nb\r\n", false),
            (b"a\r\n\n", false),
            (b"a\r", false),
        ] {
            assert_eq!(has_clean_line_ends(head), clean, "{head:?}");
        }
    }
}
