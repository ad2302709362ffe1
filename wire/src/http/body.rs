//! Message bodies: their length and their decoding (RFC 9112, sections 6 and 7).

use super::fields::is_token_byte;

/// Longest line in front of a chunk, in bytes, extensions included. Extensions are hardly ever used.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Most bytes of trailer fields after the last chunk.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// After this number of bytes.
    Exact(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// At the end of the connection. Only in responses.
    UntilClose,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// The line in front of a chunk is too long, or is not a hexadecimal number of at most 64 bits and extensions.
    #[error("the line in front of a chunk is malformed")]
    ChunkSize,
    /// A chunk, or the line in front of it, does not end with CR LF.
    #[error("a chunk does not end with CR LF")]
    ChunkEnd,
    /// A trailer field is malformed, or there are too many.
    #[error("a trailer field is malformed, or the trailers are too long")]
    Trailer,
    /// The connection ended before the body did.
    #[error("the connection ended in the middle of the body")]
    Truncated,
}

/// The result of one decoding step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'b> {
    /// How many bytes of the input were consumed.
    pub consumed: usize,
    /// The part of the body among them; can be empty.
    pub data: &'b [u8],
}

/// A place in the line in front of a chunk (RFC 9112, section 7.1):
///
/// `chunk-size *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ) CRLF`
///
/// Extensions are ignored, but a line that another recipient could read differently must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeLine {
    Start,
    Digits,
    AfterSemicolon,
    Name,
    AfterEquals,
    Token,
    Quoted,
    /// After a backslash in a quoted string.
    QuotedPair,
    QuotedEnd,
    /// In white space after a size, a name or a value; only after a name can a value follow.
    Space {
        after_name: bool,
    },
}

impl SizeLine {
    /// The place after `byte`, which is not the CR that ends the line; `None` if it must not stand here.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start | Self::Digits, byte) if byte.is_ascii_hexdigit() => Self::Digits,
            (Self::Digits | Self::Name | Self::Token | Self::QuotedEnd | Self::Space { .. }, b';') => {
                Self::AfterSemicolon
            }
            (Self::Name | Self::Space { after_name: true }, b'=') => Self::AfterEquals,
            (Self::AfterSemicolon | Self::Name, byte) if is_token_byte(byte) => Self::Name,
            (Self::AfterEquals | Self::Token, byte) if is_token_byte(byte) => Self::Token,
            (Self::AfterEquals, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::QuotedEnd,
            (Self::Quoted, b'\\') => Self::QuotedPair,
            (Self::Quoted | Self::QuotedPair, byte) if is_field_byte(byte) => Self::Quoted,
            (Self::AfterSemicolon | Self::AfterEquals | Self::Space { .. }, b' ' | b'\t') => self,
            (Self::Name, b' ' | b'\t') => Self::Space { after_name: true },
            (Self::Digits | Self::Token | Self::QuotedEnd, b' ' | b'\t') => Self::Space { after_name: false },
            _ => return None,
        })
    }

    fn may_end(self, may_be_padded: bool) -> bool {
        match self {
            Self::Digits | Self::Name | Self::Token | Self::QuotedEnd => true,
            Self::Space { .. } => may_be_padded,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Exact,
    UntilClose,
    Size(SizeLine),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Before a trailer field or the empty line at the end.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Decodes a body from the bytes of a connection, which can arrive in any pieces.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Bytes left of the body or of the current chunk; in the line in front of a chunk, the size read so far.
    left: u64,
    /// Bytes of the line in front of the current chunk, or of all trailers.
    framing_bytes: usize,
    /// Whether white space may stand at the end of the line in front of a chunk.
    may_be_padded: bool,
}

impl BodyDecoder {
    /// A decoder for the bytes after the head of a request.
    pub fn new(length: BodyLength) -> Self {
        let (state, left) = match length {
            BodyLength::Exact(0) => (State::Done, 0),
            BodyLength::Exact(bytes) => (State::Exact, bytes),
            BodyLength::Chunked => (State::Size(SizeLine::Start), 0),
            BodyLength::UntilClose => (State::UntilClose, 0),
        };
        Self { state, left, framing_bytes: 0, may_be_padded: false }
    }

    /// Like [`BodyDecoder::new`], for a response: white space at the end of the line in front of a chunk is ignored, because
    /// some servers pad sizes to a fixed width. In a request such a line could be read differently by two servers,
    /// so it is refused there.
    pub fn of_response(length: BodyLength) -> Self {
        Self { may_be_padded: true, ..Self::new(length) }
    }

    /// Whether the body is complete. Never true for [`BodyLength::UntilClose`].
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes the start of `input`. Consumes at least one byte, unless `input` is empty or the body is complete. Bytes
    /// after the body are not consumed.
    ///
    /// # Errors
    /// [`BadBody`]; the connection cannot be used on.
    pub fn decode<'b>(&mut self, input: &'b [u8]) -> Result<Decoded<'b>, BadBody> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if rest.is_empty() || self.is_done() {
                return Ok(Decoded { consumed, data: &[] });
            }
            if let Some(data) = self.take_data(rest) {
                return Ok(Decoded { consumed: consumed + data.len(), data });
            }
            self.state = self.after_framing_byte(rest[0])?;
            consumed += 1;
        }
    }

    /// Call this when the connection has ended.
    ///
    /// # Errors
    /// [`BadBody::Truncated`] if the body is not complete.
    pub fn finish(&self) -> Result<(), BadBody> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            _ => Err(BadBody::Truncated),
        }
    }

    /// The bytes of the body at the start of `rest`; `None` in the framing between chunks.
    fn take_data<'b>(&mut self, rest: &'b [u8]) -> Option<&'b [u8]> {
        let at_end = match self.state {
            State::UntilClose => return Some(rest),
            State::Exact => State::Done,
            State::Data => State::DataCr,
            _ => return None,
        };
        let taken = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = at_end;
        }
        Some(&rest[..taken])
    }

    fn after_framing_byte(&mut self, byte: u8) -> Result<State, BadBody> {
        self.framing_bytes += 1;
        match (self.state, byte) {
            (State::Size(line), _) => self.after_size_byte(byte, line),
            (State::SizeLf, b'\n') => {
                self.framing_bytes = 0;
                Ok(if self.left == 0 { State::TrailerStart } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.framing_bytes = 0;
                Ok(State::Size(SizeLine::Start))
            }
            (State::SizeLf | State::DataCr | State::DataLf, _) => Err(BadBody::ChunkEnd),
            _ => self.after_trailer_byte(byte),
        }
    }

    fn after_size_byte(&mut self, byte: u8, line: SizeLine) -> Result<State, BadBody> {
        if self.framing_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(BadBody::ChunkSize);
        }
        if byte == b'\r' && line.may_end(self.may_be_padded) {
            return Ok(State::SizeLf);
        }
        let next = line.after(byte).ok_or(BadBody::ChunkSize)?;
        if next == SizeLine::Digits {
            let digit = char::from(byte).to_digit(16).ok_or(BadBody::ChunkSize)?;
            let size = self.left.checked_mul(16).and_then(|size| size.checked_add(digit.into()));
            self.left = size.ok_or(BadBody::ChunkSize)?;
        }
        Ok(State::Size(next))
    }

    fn after_trailer_byte(&self, byte: u8) -> Result<State, BadBody> {
        match (self.state, byte) {
            _ if self.framing_bytes > TRAILER_BYTES_MAX => Err(BadBody::Trailer),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart | State::TrailerName, byte) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_field_byte(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            _ => Err(BadBody::Trailer),
        }
    }
}

/// Whether a byte can be part of a field value (RFC 9110, section 5.5).
fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(length: BodyLength, input: &[u8]) -> Result<(Vec<u8>, usize, bool), BadBody> {
        let mut decoder = BodyDecoder::new(length);
        let (mut body, mut at) = (Vec::new(), 0);
        while at < input.len() && !decoder.is_done() {
            let decoded = decoder.decode(&input[at..])?;
            body.extend_from_slice(decoded.data);
            at += decoded.consumed;
        }
        Ok((body, at, decoder.is_done()))
    }

    #[test]
    fn takes_chunks_apart_and_stops_after_the_trailers() {
        let input = b"5;name=\"v\"\r\nHello\r\n00A\r\n, chunked!\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nGET /";
        let (body, consumed, done) =
            decode_all(BodyLength::Chunked, input).expect("the chunks are well formed");
        assert_eq!(body, b"Hello, chunked!");
        assert!(done);
        assert_eq!(&input[consumed..], b"GET /");
    }

    #[test]
    fn refuses_bad_chunks() {
        for (input, why) in [
            (&b"\r\n"[..], BadBody::ChunkSize),
            (b"x\r\n", BadBody::ChunkSize),
            (b"-1\r\n", BadBody::ChunkSize),
            (b"0x5\r\n", BadBody::ChunkSize),
            (b"5 \r\nHello\r\n", BadBody::ChunkSize),
            (b"5\nHello\r\n", BadBody::ChunkSize),
            (b"5;a\nb\r\nHello\r\n", BadBody::ChunkSize),
            (b"5\rHello\r\n", BadBody::ChunkEnd),
            (b"10000000000000000\r\n", BadBody::ChunkSize),
            (b"5\r\nHello!\r\n", BadBody::ChunkEnd),
            (b"5\r\nHello\n", BadBody::ChunkEnd),
            (b"0\r\n\n", BadBody::Trailer),
            (b"0\r\nname\r\n\r\n", BadBody::Trailer),
            (b"0\r\n: v\r\n\r\n", BadBody::Trailer),
            (b"0\r\na : v\r\n\r\n", BadBody::Trailer),
            (b"0\r\n a: v\r\n\r\n", BadBody::Trailer),
        ] {
            assert_eq!(decode_all(BodyLength::Chunked, input), Err(why), "{input:?}");
        }
        let long_line = [b"5;".as_slice(), &[b'x'; 2000]].concat();
        assert_eq!(decode_all(BodyLength::Chunked, &long_line), Err(BadBody::ChunkSize));
        let long_trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2000)].concat();
        assert_eq!(decode_all(BodyLength::Chunked, &long_trailers), Err(BadBody::Trailer));
    }

    fn decode_byte_by_byte(mut decoder: BodyDecoder, input: &[u8]) -> Result<Vec<u8>, BadBody> {
        let (mut body, mut at) = (Vec::new(), 0);
        while at < input.len() {
            let decoded = decoder.decode(&input[at..=at])?;
            body.extend_from_slice(decoded.data);
            at += decoded.consumed;
        }
        decoder.finish().map(|()| body)
    }

    fn of_request(input: &[u8]) -> Result<Vec<u8>, BadBody> {
        decode_byte_by_byte(BodyDecoder::new(BodyLength::Chunked), input)
    }

    fn of_response(input: &[u8]) -> Result<Vec<u8>, BadBody> {
        decode_byte_by_byte(BodyDecoder::of_response(BodyLength::Chunked), input)
    }

    /// A body of one chunk whose size stands in this line.
    fn one_chunk(size_line: &str) -> Vec<u8> {
        format!("{size_line}\r\nHello\r\n0\r\n\r\n").into_bytes()
    }

    #[test]
    fn accepts_chunk_extensions() {
        for line in [
            "5;a",
            "5;a;b;c",
            "5;a=b",
            "5;a=\"\"",
            "5;a=\"b c;d=,\t\u{fc}\";e",
            "5;a=\"\\\"\\\\\"",
            "5 ; a = \"q\\\"x\"",
            "5\t;\ta\t=\tb\t;\tc",
            "5;a=\"x\" ;b",
            "5;a1!#$%&'*+-.^_`|~=Z",
        ] {
            assert_eq!(of_request(&one_chunk(line)).as_deref(), Ok(b"Hello".as_slice()), "{line:?}");
            assert_eq!(of_response(&one_chunk(line)).as_deref(), Ok(b"Hello".as_slice()), "{line:?}");
        }
    }

    #[test]
    fn refuses_malformed_chunk_extensions() {
        for line in [
            "5;",
            "5; ",
            "5;;a",
            "5;=b",
            "5;a=",
            "5;a= ",
            "5;a=;b",
            "5;a==b",
            "5;a=b=c",
            "5;bad[=x",
            "5;a=b[",
            "5;a b",
            "5;a=b c",
            "5;a=\"b\"c",
            "5;a=\"b\"=c",
            "5;a=b\"c\"",
            "5;\"a\"=b",
            "5;\u{fc}=b",
            // A quotation mark that is not closed, or not on this line.
            "5;a=\"x",
            "5;a=\"x\\\"",
            "5;a=\"x\r\n\"",
            "5;a=\"x\\\r\n\"",
            "5;a=\"\0\"",
            "5;a=\"\\\u{7f}\"",
            "5;a=\u{b}b",
        ] {
            assert_eq!(of_request(&one_chunk(line)), Err(BadBody::ChunkSize), "{line:?}");
            assert_eq!(of_response(&one_chunk(line)), Err(BadBody::ChunkSize), "{line:?}");
        }
    }

    #[test]
    fn the_line_in_front_of_each_chunk_is_bounded() {
        // With its CR.
        let line = |bytes: usize| format!("5;{}", "x".repeat(bytes - 3));
        let body = |bytes: usize| format!("{0}\r\nHello\r\n{0}\r\nHello\r\n0\r\n\r\n", line(bytes));
        assert_eq!(
            of_request(body(CHUNK_LINE_BYTES_MAX).as_bytes()).as_deref(),
            Ok(b"HelloHello".as_slice())
        );
        assert_eq!(of_request(body(CHUNK_LINE_BYTES_MAX + 1).as_bytes()), Err(BadBody::ChunkSize));
        let quoted = one_chunk(&format!("5;a=\"{}\"", "x".repeat(CHUNK_LINE_BYTES_MAX)));
        assert_eq!(of_response(&quoted), Err(BadBody::ChunkSize));
    }

    #[test]
    fn only_in_responses_sizes_may_be_padded() {
        for line in ["5 ", "5 \t ", "5;a ", "5 ; a = b\t", "5;a=\"b\" "] {
            assert_eq!(of_response(&one_chunk(line)).as_deref(), Ok(b"Hello".as_slice()), "{line:?}");
            assert_eq!(of_request(&one_chunk(line)), Err(BadBody::ChunkSize), "{line:?}");
        }
        for bad in
            [&b" 5\r\nHello"[..], b"5 5\r\nHello", b"5 \nHello", b" \r\n", b"5 x\r\nHello", b"5 =x\r\n"]
        {
            assert_eq!(of_response(bad), Err(BadBody::ChunkSize), "{bad:?}");
        }
        let endless = [b"5".as_slice(), &[b' '; 2000]].concat();
        assert_eq!(of_response(&endless), Err(BadBody::ChunkSize));
    }

    #[test]
    fn knows_a_truncated_body() {
        let mut decoder = BodyDecoder::new(BodyLength::Exact(5));
        decoder.decode(b"Hell").expect("any bytes are a body");
        assert_eq!(decoder.finish(), Err(BadBody::Truncated));
        decoder.decode(b"o").expect("any bytes are a body");
        assert_eq!(decoder.finish(), Ok(()));
        let mut open = BodyDecoder::new(BodyLength::UntilClose);
        open.decode(b"anything").expect("any bytes are a body");
        assert_eq!(open.finish(), Ok(()));
        let mut chunked = BodyDecoder::new(BodyLength::Chunked);
        chunked.decode(b"0\r\n").expect("this is the last chunk");
        assert_eq!(chunked.finish(), Err(BadBody::Truncated));
    }
}
