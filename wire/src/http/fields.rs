//! Header fields (RFC 9110, section 5): what requests and responses share.

use super::body::BodyLength;

/// A version of HTTP. A higher minor version is read as 1.1 (RFC 9110, section 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// The header fields of a parsed head, as the bytes that were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    /// `lines` must have been parsed: every line is a field and ends with CRLF.
    pub(super) fn checked(lines: &'b [u8]) -> Self {
        Self(lines)
    }

    pub(super) fn as_bytes(self) -> &'b [u8] {
        self.0
    }

    /// The values of all fields called `name`, in order and trimmed. A list can be spread over several fields (RFC 9110,
    /// section 5.3).
    pub fn values(self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0.split(|&byte| byte == b'\n').filter_map(move |line| {
            let (field, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// Whether the list in the fields called `name` has this element, whatever its case.
    pub fn lists(self, name: &str, element: &str) -> bool {
        let mut elements = self.values(name).flat_map(list_items);
        elements.any(|item| item.eq_ignore_ascii_case(element.as_bytes()))
    }
}

/// Whether CR and LF occur only together. Recipients disagree on whether either alone ends a line, and so on which fields
/// there are (RFC 9112, section 2.2).
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

/// Whether this is a token (RFC 9110, section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte can be part of a field value (RFC 9110, section 5.5).
pub(super) fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// Whether this is a quoted string (RFC 9110, section 5.6.4).
pub(super) fn is_quoted_string(value: &[u8]) -> bool {
    let Some(inside) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return false;
    };
    let mut is_escaped = false;
    let is_inside = inside.iter().all(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_field_byte(byte) && !is_end
    });
    is_inside && !is_escaped
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

/// A quality value (`q`) in thousandths (RFC 9110, section 12.4.2). 0 means "not acceptable".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight(u16);

impl Weight {
    pub(super) const ZERO: Self = Self(0);
    /// The smallest weight that means "acceptable".
    pub(super) const LEAST: Self = Self(1);
    const FULL: Self = Self(1000);

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
        (thousandths <= Self::FULL.0).then_some(Self(thousandths))
    }
}

/// Splits an element of an `Accept` or `Accept-Encoding` list into the accepted name and its weight, which is 1 by
/// default. Other parameters are ignored. `None` if the element is malformed.
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

/// Why the length of a body is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadFraming {
    Length,
    /// `Transfer-Encoding` is empty, or `chunked` is not its only last coding.
    Coding,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
}

/// `Content-Length` and `Transfer-Encoding` of a head (RFC 9112, section 6).
#[derive(Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    pub(super) is_coded: bool,
    /// Whether its last coding is `chunked`.
    pub(super) is_chunked: bool,
    has_unknown_coding: bool,
}

impl Framing {
    /// Adds one `Content-Length`. Repeating the same number is allowed (RFC 9110, section 8.6).
    pub(super) fn add_length(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        for item in value.split(|&byte| byte == b',') {
            let digits = item.trim_ascii();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(BadFraming::Length);
            }
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            let length = length.ok_or(BadFraming::Length)?;
            if self.length.is_some_and(|earlier| earlier != length) {
                return Err(BadFraming::Length);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// Adds one `Transfer-Encoding`.
    pub(super) fn add_codings(&mut self, value: &[u8]) -> Result<(), BadFraming> {
        self.is_coded = true;
        for coding in list_items(value) {
            if self.is_chunked {
                return Err(BadFraming::Coding);
            }
            self.is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.has_unknown_coding |= !self.is_chunked;
        }
        Ok(())
    }

    /// The length of the body; `None` if the head does not say. `Transfer-Encoding` overrides `Content-Length` (RFC 9112,
    /// section 6.3).
    pub(super) fn body_length(&self) -> Result<Option<BodyLength>, BadFraming> {
        if self.has_unknown_coding {
            return Err(BadFraming::UnknownCoding);
        }
        if self.is_coded {
            return if self.is_chunked { Ok(Some(BodyLength::Chunked)) } else { Err(BadFraming::Coding) };
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
    fn finds_elements_of_a_list_in_all_its_fields() {
        let fields = Fields::checked(b"Upgrade: h2c , WebSocket\r\nX: a, b/c\r\nx: \"d, e\"\r\n");
        assert!(fields.lists("upgrade", "websocket") && fields.lists("x", "b/c"));
        for (name, element) in [("upgrade", "web"), ("x", "b"), ("x", "e"), ("y", "a")] {
            assert!(!fields.lists(name, element), "{name}: {element}");
        }
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
