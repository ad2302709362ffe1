//! Message bodies: their length and their decoding (RFC 9112, sections 6 and 7).

use super::fields::{is_field_byte, is_quoted_string, is_token, split_unquoted};

/// The maximum length of the line in front of a chunk in bytes, with its CR and its extensions, which are hardly ever used.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// The maximum number of bytes of trailer fields after the last chunk.
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
    /// The line in front of a chunk is too long, does not end with CR LF, or is not a hexadecimal number of at most 64 bits and
    /// extensions.
    #[error("the line in front of a chunk is malformed")]
    ChunkSize,
    #[error("a chunk is not followed by CR LF")]
    ChunkEnd,
    #[error("a trailer field is malformed, or the trailers are too long")]
    Trailer,
    #[error("the connection ended in the middle of the body")]
    Truncated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'b> {
    pub consumed: usize,
    /// The part of the body among them; can be empty.
    pub data: &'b [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a body of known length, of which this many bytes are left.
    Exact(u64),
    /// In a chunk, of which this many bytes are left.
    Chunk(u64),
    UntilClose,
    Line(Line),
    Done,
}

/// A line of the framing of chunks (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The size of a chunk, and extensions.
    Size,
    /// The empty line after the data of a chunk.
    ChunkEnd,
    /// A trailer field, or the empty line at the end of the body.
    Trailer,
}

/// Decodes a body from the bytes of a connection, which can arrive in any pieces.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// The start of the current line.
    line: Vec<u8>,
    /// Bytes of all trailers before the current line.
    trailer_bytes: usize,
    /// Whether white space may stand at the end of the line in front of a chunk.
    may_be_padded: bool,
}

impl BodyDecoder {
    /// A decoder for the bytes after the head of a request.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Exact(0) => State::Done,
            BodyLength::Exact(bytes) => State::Exact(bytes),
            BodyLength::Chunked => State::Line(Line::Size),
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, line: Vec::new(), trailer_bytes: 0, may_be_padded: false }
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
            let (left, end) = match self.state {
                _ if rest.is_empty() => return Ok(Decoded { consumed, data: &[] }),
                State::Done => return Ok(Decoded { consumed, data: &[] }),
                State::Line(line) => {
                    consumed += self.take_line(line, rest)?;
                    continue;
                }
                State::UntilClose => return Ok(Decoded { consumed: consumed + rest.len(), data: rest }),
                State::Exact(left) => (left, State::Done),
                State::Chunk(left) => (left, State::Line(Line::ChunkEnd)),
            };
            let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            self.state = match (left - taken as u64, self.state) {
                (0, _) => end,
                (left, State::Exact(_)) => State::Exact(left),
                (left, _) => State::Chunk(left),
            };
            return Ok(Decoded { consumed: consumed + taken, data: &rest[..taken] });
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

    /// Takes bytes up to the end of the current line. Returns how many.
    fn take_line(&mut self, kind: Line, rest: &[u8]) -> Result<usize, BadBody> {
        let (bytes_max, bad) = match kind {
            Line::Size => (CHUNK_LINE_BYTES_MAX, BadBody::ChunkSize),
            Line::ChunkEnd => (1, BadBody::ChunkEnd),
            Line::Trailer => (TRAILER_BYTES_MAX - self.trailer_bytes, BadBody::Trailer),
        };
        let end = rest.iter().position(|&byte| byte == b'\n');
        let taken = &rest[..end.unwrap_or(rest.len())];
        if self.line.len() + taken.len() > bytes_max {
            return Err(bad);
        }
        self.line.extend_from_slice(taken);
        let Some(end) = end else { return Ok(rest.len()) };
        let line = self.line.strip_suffix(b"\r").ok_or(bad)?;
        self.state = match kind {
            Line::Size => match chunk_size(line, self.may_be_padded).ok_or(bad)? {
                0 => State::Line(Line::Trailer),
                bytes => State::Chunk(bytes),
            },
            Line::ChunkEnd if line.is_empty() => State::Line(Line::Size),
            Line::Trailer if line.is_empty() => State::Done,
            Line::Trailer if is_field_line(line) => {
                self.trailer_bytes += self.line.len();
                State::Line(Line::Trailer)
            }
            Line::ChunkEnd | Line::Trailer => return Err(bad),
        };
        self.line.clear();
        Ok(end + 1)
    }
}

/// Reads the line in front of a chunk (RFC 9112, section 7.1):
///
/// `chunk-size *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`
///
/// Extensions are ignored, but `None` if any is malformed: another recipient could read such a line differently.
fn chunk_size(line: &[u8], may_be_padded: bool) -> Option<u64> {
    let is_padded = line.ends_with(b" ") || line.ends_with(b"\t");
    let starts_with_digit = line.first().is_some_and(u8::is_ascii_hexdigit);
    if is_padded && !may_be_padded || !starts_with_digit || !line.iter().copied().all(is_field_byte) {
        return None;
    }
    let mut parts = split_unquoted(line, b';');
    let digits = parts.next().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let is_extension = |part: &[u8]| match part.iter().position(|&byte| byte == b'=') {
        Some(equals) => {
            let (name, value) = (part[..equals].trim_ascii_end(), part[equals + 1..].trim_ascii_start());
            is_token(name) && (is_token(value) || is_quoted_string(value))
        }
        None => is_token(part),
    };
    if !parts.all(is_extension) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether this is a field line without its CR LF (RFC 9112, section 5).
fn is_field_line(line: &[u8]) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| is_token(&line[..colon]) && line[colon..].iter().copied().all(is_field_byte))
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
            (b" 5\r\nHello\r\n", BadBody::ChunkSize),
            (b"-1\r\n", BadBody::ChunkSize),
            (b"0x5\r\n", BadBody::ChunkSize),
            (b"5 \r\nHello\r\n", BadBody::ChunkSize),
            (b"5\nHello\r\n", BadBody::ChunkSize),
            (b"5;a\nb\r\nHello\r\n", BadBody::ChunkSize),
            (b"5\rHello\r\n", BadBody::ChunkSize),
            (b"10000000000000000\r\n", BadBody::ChunkSize),
            (b"5\r\nHello!\r\n", BadBody::ChunkEnd),
            (b"5\r\nHello\n", BadBody::ChunkEnd),
            (b"0\r\n\n", BadBody::Trailer),
            (b"0\r\nname\r\n\r\n", BadBody::Trailer),
            (b"0\r\n: v\r\n\r\n", BadBody::Trailer),
            (b"0\r\na : v\r\n\r\n", BadBody::Trailer),
            (b"0\r\n a: v\r\n\r\n", BadBody::Trailer),
            (b"0\r\na b: v\r\n\r\n", BadBody::Trailer),
            (b"0\r\na: v\nb: v\r\n\r\n", BadBody::Trailer),
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
