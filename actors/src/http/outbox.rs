//! Bytes out: answers are gathered and written together.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::commands::asset::Body;
use crate::transport::{Patience, Transport};

/// Bodies up to this size are copied behind their head; for larger ones another entry in a `writev` costs less.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Most bodies that are gathered.
const BODIES_MAX: usize = 16;

/// Copied bytes after which is written even if more requests are waiting.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// Room that is kept for the next answers.
const KEPT_BYTES: usize = 2 * COPIED_BYTES_MAX;

/// Bytes of bodies in memory after which is written: until then they are kept, whatever becomes of the cache.
const REFERRED_BYTES_MAX: usize = 512 * 1024;

/// Most bytes that one call of sendfile moves before other threads get their turn: little enough to be in the caches of the
/// processor still when a client on this machine reads it, and with others so that none of them waits for long.
const SEND_FILE_BYTES_MAX: u64 = 512 * 1024;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// All is on its way.
    All,
    /// The client has to read first.
    Full,
    /// What comes next lies on the disk, which may have to be waited for.
    OnDisk,
}

/// A body that is written straight from the cache or the disk.
#[derive(Debug)]
struct Reference {
    /// Where in the copied bytes it belongs.
    after: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    /// A file, of which `offset..end` is left to be sent.
    File {
        file: Arc<File>,
        offset: u64,
        end: u64,
    },
}

/// An answer that is not written to its end yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// How many bytes its body has.
    pub(super) body_bytes: u64,
    /// How many of them the client has been sent.
    pub(super) body_sent: u64,
    /// Where its line for the access log begins, where the number of bytes belongs in it, and where it ends.
    pub(super) line: [usize; 3],
    /// Where it ends among all bytes that were gathered.
    end: u64,
}

/// What is to be written, and which answers that is.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    copied: Vec<u8>,
    /// How many of the copied bytes are written.
    copied_sent: usize,
    bodies: VecDeque<Reference>,
    /// Of the bodies in memory, as they were gathered.
    referred_bytes: usize,
    /// Of all bodies that were gathered beside the copied bytes, and how many of these are written.
    bodies_bytes: u64,
    bodies_sent: u64,
    answers: VecDeque<Answer>,
    /// The lines of these answers for the access log, each without the number of bytes.
    lines: Vec<u8>,
}

impl Outbox {
    /// Where heads and small bodies are written to.
    pub(super) fn copied(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Whether there is something to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.bodies.is_empty()
    }

    /// Whether enough has been gathered for a write.
    pub(super) fn is_full(&self) -> bool {
        self.bodies.len() >= BODIES_MAX
            || self.copied.len() > COPIED_BYTES_MAX
            || self.referred_bytes > REFERRED_BYTES_MAX
            || matches!(self.bodies.back(), Some(Reference { content: Content::File { .. }, .. }))
    }

    /// Adds the bytes `from..end` of a body.
    pub(super) fn push_body(&mut self, body: &Body, from: u64, end: u64) {
        let after = self.copied.len();
        let content = match body {
            Body::Memory(content) => {
                // What is in memory has a length that fits.
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
                if range.len() <= COPY_BYTES_MAX {
                    self.copied.extend_from_slice(&content[range]);
                    return;
                }
                self.referred_bytes += range.len();
                self.bodies_bytes += end - from;
                Content::Memory(content.slice(range))
            }
            Body::File { .. } if from == end => return,
            Body::File { file, .. } => {
                self.bodies_bytes += end - from;
                Content::File { file: Arc::clone(file), offset: from, end }
            }
        };
        self.bodies.push_back(Reference { after, content });
    }

    /// The buffer for log lines: the line of the next answer belongs at its end.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Notes that an answer with a body of so many bytes ends here. Its line has been added to the lines unless nobody keeps
    /// any; `bytes_at` is where in them the number of bytes belongs.
    pub(super) fn end_answer(&mut self, body_bytes: u64, bytes_at: usize) {
        let begin = self.answers.back().map_or(0, |answer| answer.line[2]);
        let end = self.copied.len() as u64 + self.bodies_bytes;
        let line = [begin, bytes_at, self.lines.len()];
        self.answers.push_back(Answer { body_bytes, body_sent: body_bytes, line, end });
    }

    /// Hands over each answer that has been written to its end, with the buffer that its line is in.
    pub(super) fn settle(&mut self, mut written: impl FnMut(&Answer, &[u8])) {
        let sent = if self.is_empty() { u64::MAX } else { self.copied_sent as u64 + self.bodies_sent };
        while let Some(answer) = self.answers.pop_front_if(|answer| answer.end <= sent) {
            written(&answer, &self.lines);
        }
        if self.answers.is_empty() {
            self.lines.clear();
        }
    }

    /// Forgets all that is left, and hands over its answers. The client has not taken the last `untaken` bytes of what was
    /// written.
    pub(super) fn cut(&mut self, untaken: u64, mut cut: impl FnMut(&Answer, &[u8])) {
        let sent = (self.copied_sent as u64 + self.bodies_sent).saturating_sub(untaken);
        for mut answer in std::mem::take(&mut self.answers) {
            answer.body_sent = answer.body_bytes.saturating_sub(answer.end - sent.min(answer.end));
            cut(&answer, &self.lines);
        }
        *self = Self::default();
    }

    /// Writes until all is on its way, the client has to read first, or a file comes next and there is no patience for the
    /// disk.
    pub(super) fn write(&mut self, transport: &Transport, patience: Patience) -> io::Result<Written> {
        while !self.is_empty() {
            let step = match (self.next_is_file(), patience) {
                (true, Patience::None) => return Ok(Written::OnDisk),
                (true, Patience::UntilTimeout) => {
                    self.send_file(transport).map(|()| std::thread::yield_now())
                }
                (false, _) => self.write_some(transport, patience),
            };
            match step {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Full),
                Err(e) => return Err(e),
            }
        }
        Ok(Written::All)
    }

    /// Gives back room that is not used: this may wait for long.
    pub(super) fn shrink(&mut self) {
        self.copied.shrink_to_fit();
        self.bodies.shrink_to_fit();
        self.answers.shrink_to_fit();
        self.lines.shrink_to_fit();
    }

    /// How much has not been written.
    pub(super) fn pending_bytes(&self) -> u64 {
        let bodies = self.bodies.iter().map(|body| match &body.content {
            Content::Memory(content) => content.len() as u64,
            Content::File { offset, end, .. } => end - offset,
        });
        (self.copied.len() - self.copied_sent) as u64 + bodies.sum::<u64>()
    }

    fn next_is_file(&self) -> bool {
        self.bodies.front().is_some_and(|body| {
            body.after == self.copied_sent && matches!(body.content, Content::File { .. })
        })
    }

    /// One write of all that comes before the next file.
    fn write_some(&mut self, transport: &Transport, patience: Patience) -> io::Result<()> {
        let sent = if self.bodies.is_empty() {
            transport.write(&[IoSlice::new(&self.copied[self.copied_sent..])], patience, false)
        } else {
            self.write_vectored(transport, patience)
        };
        match sent {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                self.advance(bytes);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn write_vectored(&self, transport: &Transport, patience: Patience) -> io::Result<usize> {
        let mut more_follows = false;
        let mut slices = [IoSlice::new(&[]); 2 * BODIES_MAX + 1];
        let (mut used, mut from) = (0, self.copied_sent);
        let mut bodies = self.bodies.iter();
        let end = loop {
            let Some(body) = bodies.next() else { break self.copied.len() };
            let Content::Memory(content) = &body.content else {
                // It shares packets with what follows.
                more_follows = true;
                break body.after;
            };
            if used + 2 >= slices.len() {
                break body.after;
            }
            slices[used] = IoSlice::new(&self.copied[from..body.after]);
            slices[used + 1] = IoSlice::new(content);
            (used, from) = (used + 2, body.after);
        };
        slices[used] = IoSlice::new(&self.copied[from..end]);
        transport.write(&slices[..=used], patience, more_follows)
    }

    fn send_file(&mut self, transport: &Transport) -> io::Result<()> {
        let Some(Reference { content: Content::File { file, offset, end }, .. }) = self.bodies.front_mut()
        else {
            return Ok(());
        };
        let count = usize::try_from((*end - *offset).min(SEND_FILE_BYTES_MAX)).unwrap_or(usize::MAX);
        if count > 0 {
            let sent = transport.send_file(file, offset, count)?;
            if sent == 0 {
                // The file has become shorter than its head says; only an early end tells the client.
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.bodies_sent += sent as u64;
        }
        if offset == end {
            self.bodies.pop_front();
            self.forget_if_done();
        }
        Ok(())
    }

    /// So many bytes are written.
    fn advance(&mut self, mut bytes: usize) {
        while let Some(body) = self.bodies.front_mut() {
            let copied = (body.after - self.copied_sent).min(bytes);
            self.copied_sent += copied;
            bytes -= copied;
            let Content::Memory(content) = &mut body.content else { break };
            if self.copied_sent < body.after {
                break;
            }
            let referred = content.len().min(bytes);
            content.advance(referred);
            self.bodies_sent += referred as u64;
            bytes -= referred;
            if !content.is_empty() {
                break;
            }
            self.bodies.pop_front();
        }
        self.copied_sent += bytes;
        self.forget_if_done();
    }

    fn forget_if_done(&mut self) {
        if self.bodies.is_empty() && self.copied_sent == self.copied.len() {
            self.copied.clear();
            self.copied.shrink_to(KEPT_BYTES);
            self.copied_sent = 0;
            self.referred_bytes = 0;
            self.bodies_bytes = 0;
            self.bodies_sent = 0;
        }
    }
}
