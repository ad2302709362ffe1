//! Frames: a 4-byte little-endian length and a body of that many bytes. PROTOCOL.md, section 6.

use serde::{Deserialize, Serialize};

/// First bytes of a connection from a peer to the server, protocol version 2.
pub const PREFACE: [u8; 4] = *b"SWB2";
/// First bytes of a connection by which the server calls a peer back. PROTOCOL.md, section 15.2.
pub const CALLBACK_PREFACE: [u8; 4] = *b"SWBC";
/// First bytes of a connection by which a peer fetches a file directly from another. PROTOCOL.md, section 15.3.
pub const FILE_PREFACE: [u8; 4] = *b"SWBF";

/// Length of the length field in front of a body, in bytes.
pub const LENGTH_BYTES: usize = 4;
/// Longest body, in bytes: ten times the longest text, and small enough to buffer for each session.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest body before a peer has joined, in bytes: a card and a proof fit, and strangers cannot make the server buffer more.
pub const BODY_BYTES_MAX_BEFORE_JOIN: usize = 16 << 10;

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The length exceeds the bound that applies at this point of the connection.
    #[error("a frame of {length} bytes is longer than the {max} allowed here")]
    TooLong { length: usize, max: usize },
    /// The first byte is not a message kind of this version.
    #[error("message kind {0} is not known in version 2")]
    UnknownKind(u8),
    /// The body does not decode as the kind in its first byte, or bytes are left over.
    #[error("a frame's body is malformed")]
    Malformed,
}

/// Returns the body of the first frame in `buffer`; `None` while it is incomplete.
///
/// # Errors
/// [`BadFrame::TooLong`] as soon as the length has arrived, so that callers buffer nothing for it.
pub fn split(buffer: &[u8], body_bytes_max: usize) -> Result<Option<&[u8]>, BadFrame> {
    let Some((length, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > body_bytes_max {
        return Err(BadFrame::TooLong { length, max: body_bytes_max });
    }
    Ok(rest.get(..length))
}

/// Encodes a value with postcard, without a length in front.
pub fn body<T: Serialize>(value: &T) -> Vec<u8> {
    append_body(value, Vec::new())
}

fn append_body<T: Serialize>(value: &T, out: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, out)
        .expect("a Vec takes all that is written, and our types contain nothing that postcard refuses")
}

/// Appends `message` to `out` as a frame. Returns the length of its body.
///
/// # Panics
/// If the body is longer than 4 GiB, which no message of this protocol can be.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    *out = append_body(message, std::mem::take(out));
    let length = out.len() - start - LENGTH_BYTES;
    let prefix = u32::try_from(length).expect("a message is far shorter than 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&prefix.to_le_bytes());
    length
}

pub fn frame<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    encode(message, &mut out);
    out
}

/// Decodes a body, or any other postcard-encoded value. Bytes left over are refused.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadFrame> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(BadFrame::Malformed),
    }
}

/// Decodes a message. Its first byte is its kind, which must be less than `kinds`.
///
/// # Errors
/// [`BadFrame::UnknownKind`] or [`BadFrame::Malformed`].
pub fn decode_message<'a, T: Deserialize<'a>>(body: &'a [u8], kinds: u8) -> Result<T, BadFrame> {
    match body.first() {
        Some(&kind) if kind >= kinds => Err(BadFrame::UnknownKind(kind)),
        _ => decode(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_is_refused_before_its_body_is_there() {
        let claim = 2_000_000_u32.to_le_bytes();
        let refused = BadFrame::TooLong { length: 2_000_000, max: BODY_BYTES_MAX };
        assert_eq!(split(&claim, BODY_BYTES_MAX), Err(refused));
        assert_eq!(split(&claim[..3], BODY_BYTES_MAX), Ok(None));
    }

    #[test]
    fn bytes_left_over_are_refused() {
        assert_eq!(decode::<u8>(&[1]), Ok(1));
        assert_eq!(decode::<u8>(&[1, 2]), Err(BadFrame::Malformed));
        assert_eq!(decode::<u8>(&[]), Err(BadFrame::Malformed));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cut in 0usize..4000,
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                encode(body, &mut stream);
            }
            let cut = cut.min(stream.len());
            let (mut buffer, mut found) = (Vec::new(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(body) = split(&buffer, BODY_BYTES_MAX)? {
                    found.push(decode::<Vec<u8>>(body)?);
                    let used = body.len() + LENGTH_BYTES;
                    buffer.drain(..used);
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(buffer.is_empty());
        }
    }
}
