//! Response heads (RFC 9112, section 4), as a client reads them.

use std::borrow::Cow;

use super::body::BodyLength;
use super::fields::{BadFraming, Framing, Version, has_clean_line_ends};

pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

const HEADER_COUNT_MAX: usize = 256;

/// Why a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// Another major version than HTTP/1, or a malformed line.
    #[error("the response is not valid HTTP/1.1")]
    Malformed,
    /// More than [`RESPONSE_HEAD_BYTES_MAX`] bytes, or too many fields.
    #[error("the head of the response has more than 64 KiB or 256 fields")]
    TooLarge,
    #[error("the response has an invalid Content-Length or Transfer-Encoding")]
    Framing,
    #[error("the response has an unknown transfer coding")]
    UnknownCoding,
}

impl From<BadFraming> for BadResponse {
    fn from(bad: BadFraming) -> Self {
        match bad {
            BadFraming::Length | BadFraming::Coding => Self::Framing,
            BadFraming::UnknownCoding => Self::UnknownCoding,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: String,
    /// Names and values, in order. A value that was folded over several lines is on one line.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Length of the head including its empty line, in bytes.
    pub head_bytes: usize,
}

/// Reads the head of the response at the start of `buffer`; `None` if more bytes are needed.
///
/// # Errors
/// [`BadResponse`] as soon as it is certain that no further bytes make the head valid.
pub fn parse_response(buffer: &[u8]) -> Result<Option<ResponseHead>, BadResponse> {
    let window = &buffer[..buffer.len().min(RESPONSE_HEAD_BYTES_MAX)];
    let window = &*with_known_version(window);
    let mut slots = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut parsed = httparse::Response::new(&mut slots);
    // A user agent must accept obsolete line folding (RFC 9112, section 5.2).
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    let head_bytes = match config.parse_response(&mut parsed, window) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if window.len() == RESPONSE_HEAD_BYTES_MAX => {
            return Err(BadResponse::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooLarge),
        Err(_) => return Err(BadResponse::Malformed),
    };
    let (Some(minor), Some(status)) = (parsed.version, parsed.code) else {
        return Err(BadResponse::Malformed);
    };
    if !window.starts_with(b"HTTP/") || status < 100 || !has_clean_line_ends(&window[..head_bytes]) {
        return Err(BadResponse::Malformed);
    }
    let fields = parsed.headers.iter().map(|h| (h.name.to_owned(), one_line(h.value)));
    Ok(Some(ResponseHead {
        version: if minor == 0 { Version::Http10 } else { Version::Http11 },
        status,
        reason: parsed.reason.unwrap_or_default().to_owned(),
        fields: fields.collect(),
        head_bytes,
    }))
}

/// Writes HTTP/1.1 for a higher minor version, which a recipient treats as the highest that it knows (RFC 9110, section
/// 2.5). httparse refuses it.
fn with_known_version(head: &[u8]) -> Cow<'_, [u8]> {
    match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', rest @ ..] => {
            Cow::Owned([b"HTTP/1.1", rest].concat())
        }
        _ => Cow::Borrowed(head),
    }
}

fn one_line(value: &[u8]) -> Vec<u8> {
    let space_for_line_end = |&byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    value.trim_ascii().iter().map(space_for_line_end).collect()
}

impl ResponseHead {
    /// Whether another response follows this one (RFC 9110, section 15.2). After a 101 none does, because the protocol
    /// changes.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The values of all fields called `name`, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let called = move |field: &&(String, Vec<u8>)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(called).map(|(_, value)| value.as_slice())
    }

    /// How the end of the body is found (RFC 9112, section 6.3). `to_head` says that this answers a HEAD.
    ///
    /// # Errors
    /// [`BadResponse::Framing`] or [`BadResponse::UnknownCoding`].
    pub fn body_length(&self, to_head: bool) -> Result<BodyLength, BadResponse> {
        if to_head || (100..200).contains(&self.status) || matches!(self.status, 204 | 304) {
            return Ok(BodyLength::Exact(0));
        }
        let mut framing = Framing::default();
        for value in self.values("transfer-encoding") {
            framing.add_codings(value)?;
        }
        // Transfer-Encoding overrides Content-Length, even a malformed one (RFC 9112, section 6.3). Other than for a
        // request, this is safe: no further recipient could read the response differently.
        if !framing.is_coded {
            for value in self.values("content-length") {
                framing.add_length(value)?;
            }
        }
        if framing.is_coded && self.version == Version::Http10 {
            return Err(BadResponse::Framing);
        }
        Ok(framing.body_length()?.unwrap_or(BodyLength::UntilClose))
    }
}
