//! The bytes to write on a connection. Responses that are ready together are written together.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::commands::asset::Body;
use crate::transport::{Patience, Transport};

/// Bodies up to this size are copied after their head. For larger ones another slice in `sendmsg(2)` is cheaper.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// The maximum number of bodies that are gathered, apart from copied ones.
const BODIES_MAX: usize = 16;

/// The number of copied bytes after which the outbox is written even if more requests are waiting.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// The same for bodies that are not copied. They stay in memory until they are written, even if the cache drops them.
const BODIES_BYTES_MAX: u64 = 512 * 1024;

/// Capacity that is kept for the next responses.
const KEPT_BYTES: usize = 2 * COPIED_BYTES_MAX;

/// The maximum number of bytes that one call of `sendfile(2)` moves before the thread yields. A client on the same
/// machine then reads them while they are still in the processor's cache, and other threads do not wait for long.
const SEND_FILE_BYTES_MAX: u64 = 512 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    /// The socket is full; the client has to read first.
    Full,
    /// The next bytes have to be read from the disk, which may block.
    OnDisk,
}

/// A body that is written from the cache or the disk without being copied.
#[derive(Debug)]
struct Reference {
    /// The index in the copied bytes at which the body belongs.
    after: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    /// The bytes `offset..end` of a file.
    File {
        file: Arc<File>,
        offset: u64,
        end: u64,
    },
}

/// A response that is not written completely.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) body_bytes: u64,
    /// How many bytes of the body were sent, in the end.
    pub(super) body_sent: u64,
    /// Indices into the log lines: where its line begins, where the number of bytes belongs, where the line ends.
    pub(super) line: [usize; 3],
    /// Its end among all gathered bytes.
    end: u64,
}

/// The bytes to write, and the responses that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Heads and small bodies.
    pub(super) copied: Vec<u8>,
    /// How many of the copied bytes were written.
    copied_sent: usize,
    bodies: VecDeque<Reference>,
    /// Length of all bodies that were gathered in `bodies`, and how many of these bytes were written.
    bodies_bytes: u64,
    bodies_sent: u64,
    answers: VecDeque<Answer>,
    /// The log lines of these responses, each without the number of bytes.
    pub(super) lines: Vec<u8>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.bodies.is_empty()
    }

    /// Whether enough was gathered for a write.
    pub(super) fn is_full(&self) -> bool {
        self.bodies.len() >= BODIES_MAX
            || self.copied.len() > COPIED_BYTES_MAX
            || self.bodies_bytes > BODIES_BYTES_MAX
            || matches!(self.bodies.back(), Some(Reference { content: Content::File { .. }, .. }))
    }

    /// Adds the bytes `from..end` of a body.
    pub(super) fn push_body(&mut self, body: &Body, from: u64, end: u64) {
        let after = self.copied.len();
        let content = match body {
            Body::Memory(content) => {
                // The indices of bytes in memory fit into usize.
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
                if range.len() <= COPY_BYTES_MAX {
                    self.copied.extend_from_slice(&content[range]);
                    return;
                }
                Content::Memory(content.slice(range))
            }
            Body::File { .. } if from == end => return,
            Body::File { file, .. } => Content::File { file: Arc::clone(file), offset: from, end },
        };
        self.bodies_bytes += end - from;
        self.bodies.push_back(Reference { after, content });
    }

    /// Marks the end of a response with a body of `body_bytes`. If there is an access log its line was appended before, and
    /// `bytes_at` is the index at which the number of bytes belongs.
    pub(super) fn end_answer(&mut self, body_bytes: u64, bytes_at: usize) {
        let begin = self.answers.back().map_or(0, |answer| answer.line[2]);
        let end = self.gathered_bytes();
        let line = [begin, bytes_at, self.lines.len()];
        self.answers.push_back(Answer { body_bytes, body_sent: body_bytes, line, end });
    }

    fn gathered_bytes(&self) -> u64 {
        self.copied.len() as u64 + self.bodies_bytes
    }

    fn sent_bytes(&self) -> u64 {
        self.copied_sent as u64 + self.bodies_sent
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        self.gathered_bytes() - self.sent_bytes()
    }

    /// Calls `written` for each response that was written completely, with the log lines.
    pub(super) fn settle(&mut self, mut written: impl FnMut(&Answer, &[u8])) {
        let sent = if self.is_empty() { u64::MAX } else { self.sent_bytes() };
        while let Some(answer) = self.answers.pop_front_if(|answer| answer.end <= sent) {
            written(&answer, &self.lines);
        }
        if self.answers.is_empty() {
            self.lines.clear();
        }
    }

    /// Drops everything, and calls `cut` for each response that was not written completely. The client has not received
    /// the last `untaken` of the written bytes.
    pub(super) fn cut(&mut self, untaken: u64, mut cut: impl FnMut(&Answer, &[u8])) {
        let sent = self.sent_bytes().saturating_sub(untaken);
        for mut answer in std::mem::take(&mut self.answers) {
            answer.body_sent = answer.body_bytes.saturating_sub(answer.end - sent.min(answer.end));
            cut(&answer, &self.lines);
        }
        *self = Self::default();
    }

    /// Writes until everything is written or the socket is full. Without patience it also stops before a file.
    pub(super) fn write(&mut self, transport: &mut Transport, patience: Patience) -> io::Result<Written> {
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
        match transport.flush(patience) {
            Ok(()) => Ok(Written::All),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Written::Full),
            Err(e) => Err(e),
        }
    }

    /// Frees unused capacity, because the outbox may wait for long.
    pub(super) fn shrink(&mut self) {
        self.copied.shrink_to_fit();
        self.bodies.shrink_to_fit();
        self.answers.shrink_to_fit();
        self.lines.shrink_to_fit();
    }

    fn next_is_file(&self) -> bool {
        self.bodies.front().is_some_and(|body| {
            body.after == self.copied_sent && matches!(body.content, Content::File { .. })
        })
    }

    /// Writes once, up to the next file.
    fn write_some(&mut self, transport: &mut Transport, patience: Patience) -> io::Result<()> {
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

    fn write_vectored(&self, transport: &mut Transport, patience: Patience) -> io::Result<usize> {
        let mut more_follows = false;
        let mut slices = [IoSlice::new(&[]); 2 * BODIES_MAX + 1];
        let (mut used, mut from) = (0, self.copied_sent);
        let mut bodies = self.bodies.iter();
        let end = loop {
            let Some(body) = bodies.next() else { break self.copied.len() };
            let Content::Memory(content) = &body.content else {
                // The file follows in the same packet.
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

    fn send_file(&mut self, transport: &mut Transport) -> io::Result<()> {
        let Some(Reference { content: Content::File { file, offset, end }, .. }) = self.bodies.front_mut()
        else {
            return Ok(());
        };
        let count = usize::try_from((*end - *offset).min(SEND_FILE_BYTES_MAX)).unwrap_or(usize::MAX);
        if count > 0 {
            let sent = transport.send_file(file, offset, count)?;
            if sent == 0 {
                // The file is shorter than its head says. Only an early end of the connection tells the client.
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
            self.bodies_bytes = 0;
            self.bodies_sent = 0;
        }
    }
}
