//! Printing a response.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

use wire::escape::Escaped;
use wire::http::{ResponseHead, Version};

use super::WebClientError;
use super::text::Kind;

/// Prints a response. On a terminal, control characters are escaped; a pipe or file gets the bytes unchanged.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    is_terminal: bool,
    is_abandoned: bool,
    kind: Kind,
    /// The first bytes of a UTF-8 character that is not complete yet.
    unfinished: Vec<u8>,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, is_abandoned: false, kind: Kind::AnyText, unfinished: Vec::new() }
    }

    /// Whether the reader has closed the pipe, as `head` does. Further output is dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    pub(super) fn print_head(&mut self, head: &ResponseHead) -> Result<(), WebClientError> {
        let version = match head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        let status_line = format!("{version} {} {}", head.status, head.reason);
        self.print_line(status_line.trim_end().as_bytes())?;
        for (name, value) in &head.fields {
            self.print_line(&[name.as_bytes(), b": ", value].concat())?;
        }
        Ok(())
    }

    pub(super) fn print_empty_line(&mut self) -> Result<(), WebClientError> {
        self.write(b"\n")
    }

    pub(super) fn expect(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// Prints a piece of the body. Returns false and prints nothing if the output is a terminal and the body is not text.
    pub(super) fn print_body(&mut self, data: &[u8]) -> Result<bool, WebClientError> {
        if !self.is_terminal {
            return self.write(data).map(|()| true);
        }
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.extend_from_slice(data);
        let complete_bytes = bytes.len() - unfinished_bytes(&bytes);
        self.unfinished = bytes.split_off(complete_bytes);
        if !self.kind.is_text(&bytes) {
            self.unfinished.clear();
            return Ok(false);
        }
        let text = visible(&String::from_utf8_lossy(&bytes)).into_owned();
        self.write(text.as_bytes()).map(|()| true)
    }

    /// Prints an incomplete character at the end and flushes.
    pub(super) fn finish(&mut self) -> Result<(), WebClientError> {
        let rest = std::mem::take(&mut self.unfinished);
        self.write(String::from_utf8_lossy(&rest).as_bytes())?;
        let flushed = self.out.flush();
        self.note(flushed)
    }

    fn print_line(&mut self, line: &[u8]) -> Result<(), WebClientError> {
        if self.is_terminal {
            let escaped = Escaped(&String::from_utf8_lossy(line)).to_string();
            self.write(escaped.as_bytes())?;
        } else {
            self.write(line)?;
        }
        self.write(b"\n")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WebClientError> {
        if self.is_abandoned {
            return Ok(());
        }
        let written = self.out.write_all(bytes);
        self.note(written)
    }

    fn note(&mut self, result: io::Result<()>) -> Result<(), WebClientError> {
        match result {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.is_abandoned = true;
                Ok(())
            }
            other => other.map_err(|cause| {
                let what = format!("cannot write to standard output: {cause}");
                WebClientError::refused(what, "save the file with --output")
            }),
        }
    }
}

/// How many bytes at the end are the start of an incomplete UTF-8 character.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let tail = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(tail) {
        Err(e) if e.error_len().is_none() => tail.len(),
        _ => 0,
    }
}

/// Escapes all control characters except line breaks and tabs.
fn visible(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, '\n' | '\t' | '\\');
    if text.chars().all(|c| is_plain(c) || !c.is_control()) && text.is_ascii() {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.push_str(&Escaped(&text[at..at + c.len_utf8()]).to_string());
        }
    }
    shown.into()
}
