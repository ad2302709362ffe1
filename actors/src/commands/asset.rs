//! What is leased to sessions: something on the site, in each of its forms an answer that is ready to be written.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use wire::http::{Coding, Status, Validators};

/// What an entry of the cache takes beside its texts and bodies: the asset, the stamps, the places in the maps.
const ENTRY_BYTES: usize = 1024;

/// The fields of one resource that do not depend on its coding; each line with its CRLF.
#[derive(Debug)]
pub(crate) struct Said<'s> {
    pub(crate) content_type: Cow<'s, str>,
    /// What caches need, also in a 304: `Cache-Control`, `Expires`.
    pub(crate) caching: String,
    /// What holds for errors too: `X-Content-Type-Options`, `Vary`, and what the site adds.
    pub(crate) policy: String,
}

/// The content of a [`Representation`].
#[derive(Debug, Clone)]
pub enum Body {
    /// All of it.
    Memory(Bytes),
    /// A file too large to keep; the offset of the descriptor, which many share, must not be relied on.
    File {
        /// Open for reading.
        file: Arc<File>,
        /// Its length in bytes when it was opened.
        bytes: u64,
    },
}

impl Body {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Memory(content) => content.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// A resource in one coding, or in none, as it was when it was read.
///
/// Its header fields lie in one text, in an order of which each kind of answer needs a part:
///
/// ```text
/// status line, Content-Type, Content-Length | Content-Encoding, ETag, Last-Modified, caching | Accept-Ranges, policy
/// |------------------------------------- head ---------------------------------------------------------------------|
///                                           |----------------------- partial fields ------------------------------|
///                                                                                            |- refusal fields ---|
/// ```
#[derive(Debug, Clone)]
pub struct Representation {
    text: Arc<str>,
    content_type: Range<usize>,
    partial_start: usize,
    refusal_start: usize,
    /// Behind it follows the head of the 304.
    head_end: usize,
    validators: Option<Validators>,
    body: Body,
}

impl Representation {
    /// `said` is what the site says of the resource; `validators` are those of this very representation.
    pub(crate) fn build(
        status: Status,
        said: &Said<'_>,
        coding: Option<Coding>,
        validators: Option<Validators>,
        body: Body,
    ) -> Self {
        // Writing into a String cannot fail.
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Type: {}", said.content_type);
        let content_type = text.len() - said.content_type.len()..text.len();
        let _ = write!(text, "\r\nContent-Length: {}\r\n", body.bytes());
        let partial_start = text.len();
        if let Some(coding) = coding {
            let _ = write!(text, "Content-Encoding: {}\r\n", coding.name());
        }
        let tag = validators.as_ref().map(|v| format!("ETag: {}\r\n", v.tag)).unwrap_or_default();
        text.push_str(&tag);
        if let Some(validators) = &validators {
            let _ = write!(text, "Last-Modified: {}\r\n", httpdate::fmt_http_date(validators.modified));
        }
        text.push_str(&said.caching);
        let refusal_start = text.len();
        if validators.is_some() {
            text.push_str("Accept-Ranges: bytes\r\n");
        }
        text.push_str(&said.policy);
        let head_end = text.len();
        if validators.is_some() {
            // Without Last-Modified, which is superfluous beside a tag (RFC 9110, section 15.4.5).
            let _ = write!(text, "HTTP/1.1 {}\r\n{tag}{}{}", Status::NotModified, said.caching, said.policy);
        }
        Self { text: text.into(), content_type, partial_start, refusal_start, head_end, validators, body }
    }

    /// Status line and header fields of the whole, without `Date`, `Connection` and the empty line.
    pub fn head(&self) -> &[u8] {
        &self.text.as_bytes()[..self.head_end]
    }

    /// The head of a 304, as [`Representation::head`]; none for what has no validators.
    pub fn not_modified_head(&self) -> Option<&[u8]> {
        let head = &self.text.as_bytes()[self.head_end..];
        (!head.is_empty()).then_some(head)
    }

    /// What a 206 says beside `Content-Type`, `Content-Length` and `Content-Range`.
    pub fn partial_fields(&self) -> &[u8] {
        &self.text.as_bytes()[self.partial_start..self.head_end]
    }

    /// What a 412 or 416 with a body of its own says of the resource: `Accept-Ranges`, `X-Content-Type-Options`, `Vary`, and
    /// the site's fields except those about caching.
    pub fn refusal_fields(&self) -> &[u8] {
        &self.text.as_bytes()[self.refusal_start..self.head_end]
    }

    /// The value of `Content-Type`.
    pub fn content_type(&self) -> &str {
        &self.text[self.content_type.clone()]
    }

    /// What conditions and `If-Range` are compared with; none for pages that only stand for an error or a list.
    pub fn validators(&self) -> Option<&Validators> {
        self.validators.as_ref()
    }

    /// The content.
    pub fn body(&self) -> &Body {
        &self.body
    }

    fn memory_bytes(&self) -> usize {
        self.text.len()
            + match &self.body {
                Body::Memory(content) => content.len(),
                Body::File { .. } => 0,
            }
    }
}

/// Something on the site as it was when it was read.
#[derive(Debug)]
pub struct Asset {
    status: Status,
    is_negotiated: bool,
    revoked: AtomicBool,
    used: AtomicBool,
    plain: Representation,
    coded: Vec<(Coding, Representation)>,
}

impl Asset {
    /// `is_negotiated`: whether its answers differ, or may soon, by `Accept-Encoding`.
    pub(crate) fn new(
        status: Status,
        is_negotiated: bool,
        plain: Representation,
        coded: Vec<(Coding, Representation)>,
    ) -> Self {
        Self {
            status,
            is_negotiated,
            revoked: AtomicBool::new(false),
            used: AtomicBool::new(false),
            plain,
            coded,
        }
    }

    /// The content in a coding, if there is one, or as it is, which there always is.
    pub fn representation(&self, coding: Option<Coding>) -> Option<&Representation> {
        match coding {
            None => Some(&self.plain),
            Some(coding) => self.coded.iter().find(|(has, _)| *has == coding).map(|(_, coded)| coded),
        }
    }

    /// The content as it is on the disk.
    pub fn plain(&self) -> &Representation {
        &self.plain
    }

    /// The codings that [`Asset::representation`] has.
    pub fn codings(&self) -> impl Iterator<Item = Coding> {
        self.coded.iter().map(|(coding, _)| *coding)
    }

    /// Whether there is a representation in this coding.
    pub fn has(&self, coding: Coding) -> bool {
        self.codings().any(|has| has == coding)
    }

    /// Whether `Accept-Encoding` makes a difference, or may soon; all heads have `Vary` then.
    pub fn is_negotiated(&self) -> bool {
        self.is_negotiated
    }

    /// The status that the heads say.
    pub fn status(&self) -> Status {
        self.status
    }

    /// [`Representation::head`] of what is on the disk.
    pub fn head(&self) -> &[u8] {
        self.plain.head()
    }

    /// [`Representation::body`] of what is on the disk.
    pub fn body(&self) -> &Body {
        &self.plain.body
    }

    /// Whether the lease has ended: ask again. What is being sent may still be sent to its end.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Notes that a lease was used, so that what is used stays in the cache longer. FileServer cannot see it otherwise.
    pub fn touch(&self) {
        // Reading does not take the line of memory away from other processors.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// What it takes in the cache.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let coded: usize = self.coded.iter().map(|(_, coded)| coded.memory_bytes()).sum();
        (ENTRY_BYTES + self.plain.memory_bytes() + coded) as u64
    }

    /// How many descriptors it keeps.
    pub(crate) fn open_files(&self) -> usize {
        let representations = std::iter::once(&self.plain).chain(self.coded.iter().map(|(_, coded)| coded));
        representations.filter(|r| matches!(r.body, Body::File { .. })).count()
    }
}
