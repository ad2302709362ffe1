//! The client's end of a WebSocket (RFC 6455), as a browser has it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Longest payload of a frame here: less than most writes, so that messages have several.
const FRAME_BYTES_MAX: usize = 10_000;
/// The mask of all frames; a real client draws one for each.
const MASK: [u8; 4] = [0x5a, 0x01, 0xc3, 0x77];

/// Connects to the page's WebSocket, as a page over TLS does: something in between may add the TLS, or have ended it.
///
/// # Errors
/// Those of the connection, and `ConnectionRefused` with the response of a server that refuses.
pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    write!(
        stream,
        "GET /switchboard/socket HTTP/1.1\r\nHost: {server}\r\nOrigin: https://{server}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, String::from_utf8_lossy(&head).into_owned()))
        }
    }
}

/// A message with these bytes, as the client sends it.
pub(crate) fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let frames = bytes.len().div_ceil(FRAME_BYTES_MAX);
    for (index, payload) in bytes.chunks(FRAME_BYTES_MAX).enumerate() {
        let opcode = if index == 0 { 0x02 } else { 0x00 };
        let fin = if index + 1 == frames { 0x80 } else { 0x00 };
        push_frame(&mut message, fin | opcode, payload);
    }
    message
}

/// The frame that closes the connection in order.
pub(crate) fn close() -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, 0x88, &1000u16.to_be_bytes());
    frame
}

fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match u16::try_from(payload.len()).expect("frames are short") {
        short @ 0..126 => out.push(0x80 | short.to_be_bytes()[1]),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Takes the payloads of messages from what the server sends.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// What has arrived of a frame.
    begun: Vec<u8>,
    /// Whether the server has closed the connection in order.
    pub(crate) have_ended: bool,
}

impl Messages {
    /// The payloads that are complete with these bytes.
    ///
    /// # Panics
    /// The server has sent something else than unmasked binary messages of one frame each and a close frame.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let mut payloads = Vec::new();
        while let Some((first, payload)) = frame(&self.begun) {
            assert!(!self.have_ended, "nothing follows a close frame");
            match first {
                0x82 => payloads.extend_from_slice(payload),
                0x88 => self.have_ended = true,
                _ => panic!("the server sends a frame that begins with {first:#x}"),
            }
            let end = payload.as_ptr_range().end as usize - self.begun.as_ptr() as usize;
            self.begun.drain(..end);
        }
        payloads
    }
}

/// The first byte and the payload of the frame at the start, once it is complete.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        126 => {
            rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?
        }
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (u64::from(length), rest),
    };
    assert!(length <= 1 << 20, "the server masks a frame, or sends a huge one");
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    Some((first, payload))
}
