//! Bytes out: answers are gathered and written together.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::net::SendFlags;

use crate::file_server::{Asset, Body};
use crate::linux::send_file;

/// Bodies up to this size are copied behind their head; for larger ones another entry in a `writev` costs less.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Most bodies in one `writev`.
const BODIES_MAX: usize = 16;

/// Copied bytes after which is written even if more requests are waiting.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// Most bytes that one call of sendfile moves, so that its time limit is for a known amount.
const SEND_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A body that is written straight from the cache.
struct Reference {
    /// Where in the copied bytes it belongs.
    after: usize,
    content: Bytes,
}

/// What is to be written.
pub(super) struct Outbox<'a> {
    stream: &'a TcpStream,
    copied: Vec<u8>,
    bodies: Vec<Reference>,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        Self { stream, copied: Vec::new(), bodies: Vec::new() }
    }

    /// Where heads and small bodies are written to.
    pub(super) fn copied(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Adds the body of an asset behind the head that has just been added. Writes if that is a file, or if enough has
    /// been gathered.
    pub(super) fn push_body(&mut self, asset: &Arc<Asset>) -> io::Result<()> {
        match asset.body() {
            Body::Memory(content) if content.len() <= COPY_BYTES_MAX => {
                self.copied.extend_from_slice(content);
            }
            Body::Memory(content) => {
                self.bodies.push(Reference { after: self.copied.len(), content: content.clone() });
            }
            Body::File { file, bytes } => return self.send_file(file, *bytes),
        }
        self.flush_if_full()
    }

    /// Writes if enough has been gathered.
    pub(super) fn flush_if_full(&mut self) -> io::Result<()> {
        if self.bodies.len() == BODIES_MAX || self.copied.len() > COPIED_BYTES_MAX {
            return self.flush();
        }
        Ok(())
    }

    /// Writes all that has been gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.copied.is_empty() {
            return Ok(());
        }
        if self.bodies.is_empty() {
            self.stream.write_all(&self.copied)?;
        } else {
            self.write_vectored()?;
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.bodies.clear();
        self.copied.clear();
        // An idle connection need not keep the room of its busiest moment.
        self.copied.shrink_to(COPY_BYTES_MAX * 2);
    }

    fn write_vectored(&mut self) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); 2 * BODIES_MAX + 1];
        let (mut used, mut from) = (0, 0);
        for body in &self.bodies {
            slices[used] = IoSlice::new(&self.copied[from..body.after]);
            slices[used + 1] = IoSlice::new(&body.content);
            (used, from) = (used + 2, body.after);
        }
        slices[used] = IoSlice::new(&self.copied[from..]);
        let mut rest = &mut slices[..=used];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.stream.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => IoSlice::advance_slices(&mut rest, bytes),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes what has been gathered so that it shares packets with what follows, and then the file.
    fn send_file(&mut self, file: &std::fs::File, bytes: u64) -> io::Result<()> {
        if !self.bodies.is_empty() {
            self.write_vectored()?;
        } else {
            let mut rest = &self.copied[..];
            while !rest.is_empty() {
                match rustix::net::send(self.stream.as_fd(), rest, SendFlags::MORE | SendFlags::NOSIGNAL) {
                    Ok(sent) => rest = &rest[sent..],
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        self.clear();
        let mut offset = 0;
        while offset < bytes {
            let count = usize::try_from((bytes - offset).min(SEND_FILE_BYTES_MAX)).unwrap_or(usize::MAX);
            if send_file(self.stream, file, &mut offset, count)? == 0 {
                // The file has become shorter than its head says; only an early end tells the client.
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
