//! A second encoder, written from PROTOCOL.md: bytes with remarks.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use wire::Digest;

const LINE_BYTES: usize = 32;

#[derive(Clone)]
struct Part {
    bytes: Vec<u8>,
    remark: String,
    is_full: bool,
}

/// Bytes with remarks.
#[derive(Clone, Default)]
pub(crate) struct Layout(Vec<Part>);

/// Encodes a number as PROTOCOL.md, section 2, specifies: seven bits in each byte, least significant first.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits fit");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

impl Layout {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn part(mut self, bytes: Vec<u8>, remark: &str, is_full: bool) -> Self {
        self.0.push(Part { bytes, remark: remark.into(), is_full });
        self
    }

    /// Bytes without a length.
    pub(crate) fn fixed(self, bytes: &[u8], remark: &str) -> Self {
        self.part(bytes.to_vec(), remark, true)
    }

    /// A number.
    pub(crate) fn number(self, number: u64, what: &str) -> Self {
        self.part(varint(number), &format!("{what}: {number}"), true)
    }

    /// The number of a variant.
    pub(crate) fn variant(self, number: u64, what: &str) -> Self {
        self.part(varint(number), what, true)
    }

    /// A text after its length.
    pub(crate) fn text(self, text: &str, what: &str) -> Self {
        let bytes = [varint(text.len() as u64), text.as_bytes().to_vec()].concat();
        self.part(bytes, &format!("{what}: {text:?}"), true)
    }

    /// Bytes after their length.
    pub(crate) fn sized(self, bytes: &[u8], what: &str) -> Self {
        let length = varint(bytes.len() as u64);
        self.part(length, &format!("{what}: {} bytes", bytes.len()), true).part(bytes.to_vec(), what, true)
    }

    /// Bytes after their length, which another example shows.
    pub(crate) fn given(self, bytes: &[u8], what: &str) -> Self {
        let length = varint(bytes.len() as u64);
        self.part(length, &format!("length: {} bytes", bytes.len()), true).part(bytes.to_vec(), what, false)
    }

    /// Appends `more`.
    pub(crate) fn then(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Puts all of it into a frame.
    pub(crate) fn framed(mut self) -> Self {
        let length = u32::try_from(self.bytes().len()).expect("examples are short");
        self.0.insert(
            0,
            Part {
                bytes: length.to_le_bytes().to_vec(),
                remark: format!("length of the body: {length}"),
                is_full: true,
            },
        );
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|part| part.bytes.clone()).collect()
    }

    /// Appends it to the page as an example, and checks that it is equal to what the library makes.
    pub(crate) fn show(&self, text: &mut String, title: &str, about: &str, made_by_library: &[u8]) {
        let bytes = self.bytes();
        assert_eq!(
            HEXLOWER.encode(&bytes),
            HEXLOWER.encode(made_by_library),
            "{title}: the library makes other bytes than PROTOCOL.md specifies"
        );
        let _ = write!(text, "\n### {title}\n\n");
        if !about.is_empty() {
            let _ = write!(text, "{about}\n\n");
        }
        text.push_str("```text\n");
        for part in self.0.iter().filter(|part| !part.bytes.is_empty()) {
            part.write(text);
        }
        let _ = write!(text, "```\n\n{} bytes, SHA-256 `{}`\n", bytes.len(), Digest::of(&bytes));
    }
}

impl Part {
    fn write(&self, text: &mut String) {
        let width = 2 * LINE_BYTES;
        if !self.is_full {
            let _ = writeln!(text, "{:width$}  {}", "[...]", self.remark);
            return;
        }
        for (n, line) in self.bytes.chunks(LINE_BYTES).enumerate() {
            let hex = HEXLOWER.encode(line);
            if n == 0 {
                let _ = writeln!(text, "{hex:width$}  {}", self.remark);
            } else {
                let _ = writeln!(text, "{hex}");
            }
        }
    }
}

/// Appends named values that are not a message.
pub(crate) fn values(text: &mut String, title: &str, about: &str, values: &[(&str, &[u8])]) {
    let _ = write!(text, "\n### {title}\n\n{about}\n\n```text\n");
    for (name, bytes) in values {
        Part { bytes: bytes.to_vec(), remark: (*name).into(), is_full: true }.write(text);
    }
    text.push_str("```\n");
}
