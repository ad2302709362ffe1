//! The server's end of a WebSocket (RFC 6455): turns what a client sends into plain bytes, and plain bytes into messages. It
//! does no I/O.
//!
//! The payloads of the binary messages are one stream of bytes. How they are divided into messages and frames means nothing, so
//! a payload is passed on as it comes, and the length of a frame costs no memory.

#[cfg(test)]
mod tests;

use std::io::IoSlice;

use data_encoding::BASE64;
use sha1::{Digest as _, Sha1};

/// The version of the protocol (RFC 6455, section 4.1).
pub(crate) const VERSION: &str = "13";
/// RFC 6455, section 1.3.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Length of a decoded `Sec-WebSocket-Key` (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

/// Bits of the first two bytes of a frame (RFC 6455, section 5.2).
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// Opcodes.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest header: two bytes, a length of eight, and the mask.
const HEADER_BYTES_MAX: usize = 14;
/// The highest bit of a length is not used.
const LENGTH_MAX: u64 = u64::MAX >> 1;
/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: u8 = 125;
/// Longest payload of a message that the server sends, because it is copied.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Why a connection is closed, with the status code that the client gets (RFC 6455, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u16)]
pub(crate) enum Violation {
    /// The client has broken the protocol.
    #[error("the client broke the WebSocket protocol")]
    Protocol = 1002,
    /// The client has sent a text message.
    #[error("the client sent a text message, and only binary ones are understood")]
    Text = 1003,
    /// The reason in a close frame is not UTF-8.
    #[error("the client gave a reason for closing that is not UTF-8")]
    Reason = 1007,
}

/// The status code of a connection that has done what it was for.
const NORMAL: u16 = 1000;

/// The value of `Sec-WebSocket-Accept` for that of `Sec-WebSocket-Key` (RFC 6455, section 4.2.2). `None` if it is not a key.
pub(crate) fn accept_value(key: &[u8]) -> Option<String> {
    BASE64.decode(key).ok().filter(|nonce| nonce.len() == KEY_BYTES)?;
    Some(BASE64.encode(&Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize()))
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Close,
    Ping,
    Pong,
}

/// A frame whose header has arrived.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// How much of the payload is still to come.
    left: u64,
    /// Rotated, so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
}

/// The header of a frame, as far as it has arrived.
#[derive(Debug, Default)]
struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    filled: usize,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    header: Header,
    frame: Option<Frame>,
    /// Whether a message has begun whose last frame has not.
    is_in_message: bool,
    /// The payload of a control frame, as far as it has arrived.
    control: Vec<u8>,
    /// The payload of the last ping that was not answered. One answer for several is enough (RFC 6455, section 5.5.3), so a
    /// client that sends pings without reading costs no memory.
    ping: Option<Vec<u8>>,
    /// Frames for the client.
    unsent: Vec<u8>,
    /// How many bytes of them were sent.
    sent: usize,
    has_client_closed: bool,
    has_server_closed: bool,
}

impl WebSocket {
    /// Replaces the received bytes at the start of `bytes` by the plain bytes in them, and returns how many these are. Replies
    /// to control frames wait in [`WebSocket::unsent`]. What follows the client's close frame is dropped.
    ///
    /// # Errors
    /// The client may send nothing more, and a close frame waits for it.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        self.take(bytes).inspect_err(|violation| self.close(*violation as u16))
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        let (mut at, mut plain) = (0, 0);
        while at < bytes.len() && !self.has_client_closed {
            let Some(frame) = &mut self.frame else {
                self.header.push(bytes[at]);
                at += 1;
                self.frame = self.header.complete(&mut self.is_in_message)?;
                self.end_frame()?;
                continue;
            };
            let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
            let payload = at..at + left.min(bytes.len() - at);
            frame.unmask(&mut bytes[payload.clone()]);
            at = payload.end;
            if frame.kind == Kind::Data {
                let count = payload.len();
                bytes.copy_within(payload, plain);
                plain += count;
            } else {
                self.control.extend_from_slice(&bytes[payload]);
            }
            self.end_frame()?;
        }
        Ok(plain)
    }

    /// Acts on a frame that is complete.
    fn end_frame(&mut self) -> Result<(), Violation> {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return Ok(()) };
        let payload = std::mem::take(&mut self.control);
        match frame.kind {
            Kind::Data | Kind::Pong => {}
            Kind::Ping => self.ping = Some(payload),
            Kind::Close => {
                let code = close_code(&payload)?;
                self.has_client_closed = true;
                self.close(code.unwrap_or(NORMAL));
            }
        }
        Ok(())
    }

    /// Whether the client sends nothing more.
    pub(crate) fn has_client_closed(&self) -> bool {
        self.has_client_closed
    }

    /// Puts some of the bytes into a message for the client, and returns how many. `None` after a close frame, which must be the
    /// last one.
    pub(crate) fn encode(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        if self.has_server_closed {
            return None;
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let count = all.min(MESSAGE_BYTES_MAX);
        self.push_header(BINARY, count);
        let end = self.unsent.len() + count;
        for slice in slices {
            let room = end - self.unsent.len();
            self.unsent.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Some(count)
    }

    /// Tells the client that nothing more follows, unless it was told already.
    pub(crate) fn end(&mut self) {
        self.close(NORMAL);
    }

    fn close(&mut self, code: u16) {
        if !std::mem::replace(&mut self.has_server_closed, true) {
            self.push_header(CLOSE, 2);
            self.unsent.extend_from_slice(&code.to_be_bytes());
        }
    }

    /// Frames of the server are not masked, and messages have one frame each.
    fn push_header(&mut self, opcode: u8, payload_bytes: usize) {
        self.unsent.push(FIN | opcode);
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(length @ 0..=CONTROL_BYTES_MAX), _) => self.unsent.push(length),
            (_, Ok(length)) => {
                self.unsent.push(126);
                self.unsent.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.unsent.push(127);
                self.unsent.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
            }
        }
    }

    /// The bytes to send to the client; none if there are none.
    pub(crate) fn unsent(&mut self) -> &[u8] {
        if self.unsent.is_empty()
            && !self.has_server_closed
            && let Some(payload) = self.ping.take()
        {
            self.push_header(PONG, payload.len());
            self.unsent.extend_from_slice(&payload);
        }
        &self.unsent[self.sent..]
    }

    /// How many bytes wait to be sent, without the reply to a ping.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Whether [`WebSocket::unsent`] has bytes.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || (self.ping.is_some() && !self.has_server_closed)
    }

    /// Notes that `count` of the unsent bytes were sent.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.unsent.len() {
            self.sent = 0;
            // An idle connection keeps no memory.
            self.unsent = Vec::new();
        }
    }
}

impl Header {
    fn push(&mut self, byte: u8) {
        self.bytes[self.filled] = byte;
        self.filled += 1;
    }

    /// The frame that the header announces, once it is complete. The first two bytes are checked as soon as they are there.
    fn complete(&mut self, is_in_message: &mut bool) -> Result<Option<Frame>, Violation> {
        let [first, second, rest @ ..] = &self.bytes[..self.filled] else { return Ok(None) };
        let kind = kind_of(*first, *second, *is_in_message)?;
        // The shortest form is required (RFC 6455, section 5.2).
        let (length_bytes, left_min) = match second & LENGTH {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        let Some((length, mask)) = rest.split_at_checked(length_bytes) else { return Ok(None) };
        let Ok(mask) = <[u8; 4]>::try_from(mask) else { return Ok(None) };
        let left = match length {
            [] => u64::from(second & LENGTH),
            length => length.iter().fold(0, |left, byte| left << 8 | u64::from(*byte)),
        };
        if left < left_min || left > LENGTH_MAX {
            return Err(Violation::Protocol);
        }
        if kind == Kind::Data {
            *is_in_message = first & FIN == 0;
        }
        self.filled = 0;
        Ok(Some(Frame { kind, left, mask }))
    }
}

/// What a frame with these first two bytes is for.
fn kind_of(first: u8, second: u8, is_in_message: bool) -> Result<Kind, Violation> {
    let is_control_allowed = first & FIN != 0 && second & LENGTH <= CONTROL_BYTES_MAX;
    match first & OPCODE {
        // Clients must mask (section 5.1), and no extension was agreed that uses the reserved bits.
        _ if first & RESERVED != 0 || second & MASKED == 0 => Err(Violation::Protocol),
        TEXT => Err(Violation::Text),
        CONTINUATION if is_in_message => Ok(Kind::Data),
        BINARY if !is_in_message => Ok(Kind::Data),
        CLOSE if is_control_allowed => Ok(Kind::Close),
        PING if is_control_allowed => Ok(Kind::Ping),
        PONG if is_control_allowed => Ok(Kind::Pong),
        _ => Err(Violation::Protocol),
    }
}

impl Frame {
    /// Unmasks the next bytes of the payload (RFC 6455, section 5.3).
    fn unmask(&mut self, payload: &mut [u8]) {
        let mut chunks = payload.chunks_exact_mut(4);
        for chunk in &mut chunks {
            chunk.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        chunks.into_remainder().iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        self.mask.rotate_left(payload.len() % 4);
        self.left -= payload.len() as u64;
    }
}

/// The status code in the payload of a close frame, if it has one (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::Reason);
    }
    Ok(Some(code))
}
