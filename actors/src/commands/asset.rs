//! Assets: what FileServer leases to sessions. Each form of an asset is a response that is ready to be written.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use wire::http::{Coding, Status, Validators};

/// The memory that a cache entry takes beside its texts and bodies: structs, and entries in maps.
const ENTRY_BYTES: usize = 1024;

/// The header fields of a resource that do not depend on its content coding; each line with its CRLF.
#[derive(Debug)]
pub(crate) struct AssetFields<'s> {
    pub(crate) content_type: Cow<'s, str>,
    /// `Cache-Control` and `Expires`, which a 304 needs too.
    pub(crate) caching: String,
    /// Fields that apply to errors too: `X-Content-Type-Options`, `Vary`, and what the site adds.
    pub(crate) policy: String,
}

/// The content of a [`Representation`].
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Memory(Bytes),
    /// A file that is too large for the cache. Several threads share the descriptor, so its offset must not be used.
    File {
        file: Arc<File>,
        /// Length when it was opened.
        bytes: u64,
    },
}

impl Body {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Memory(content) => content.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// A resource in one content coding, or in none, as it was when it was read.
///
/// Its header fields are one text, ordered so that each kind of response needs one range of it:
///
/// ```text
/// status line, Content-Type, Content-Length | Content-Encoding, ETag, Last-Modified, caching | Accept-Ranges, policy
/// |------------------------------------- head ---------------------------------------------------------------------|
///                                           |----------------------- partial fields ------------------------------|
///                                                                                            |- refusal fields ---|
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Representation {
    text: Arc<str>,
    content_type: Range<usize>,
    partial_start: usize,
    refusal_start: usize,
    /// The head of the 304 starts here.
    head_end: usize,
    /// `None` for pages that stand for an error or a list: they cannot be revalidated.
    pub(crate) validators: Option<Validators>,
    pub(crate) body: Body,
}

impl Representation {
    /// `validators` are those of this content coding.
    pub(crate) fn build(
        status: Status,
        fields: &AssetFields<'_>,
        coding: Option<Coding>,
        validators: Option<Validators>,
        body: Body,
    ) -> Self {
        // Writing into a String cannot fail.
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Type: {}", fields.content_type);
        let content_type = text.len() - fields.content_type.len()..text.len();
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
        text.push_str(&fields.caching);
        let refusal_start = text.len();
        if validators.is_some() {
            text.push_str("Accept-Ranges: bytes\r\n");
        }
        text.push_str(&fields.policy);
        let head_end = text.len();
        if validators.is_some() {
            // Last-Modified is superfluous beside an entity tag (RFC 9110, section 15.4.5).
            let _ =
                write!(text, "HTTP/1.1 {}\r\n{tag}{}{}", Status::NotModified, fields.caching, fields.policy);
        }
        Self { text: text.into(), content_type, partial_start, refusal_start, head_end, validators, body }
    }

    /// Status line and header fields of a response with the whole body, without `Date`, `Connection` and the empty line.
    pub(crate) fn head(&self) -> &[u8] {
        &self.text.as_bytes()[..self.head_end]
    }

    /// The same for a 304; `None` without validators.
    pub(crate) fn not_modified_head(&self) -> Option<&[u8]> {
        let head = &self.text.as_bytes()[self.head_end..];
        (!head.is_empty()).then_some(head)
    }

    /// The fields of a 206, except `Content-Type`, `Content-Length` and `Content-Range`.
    pub(crate) fn partial_fields(&self) -> &[u8] {
        &self.text.as_bytes()[self.partial_start..self.head_end]
    }

    /// The fields of a 412 or 416 that describe the resource.
    pub(crate) fn refusal_fields(&self) -> &[u8] {
        &self.text.as_bytes()[self.refusal_start..self.head_end]
    }

    pub(crate) fn content_type(&self) -> &str {
        &self.text[self.content_type.clone()]
    }

    fn memory_bytes(&self) -> usize {
        self.text.len()
            + match &self.body {
                Body::Memory(content) => content.len(),
                Body::File { .. } => 0,
            }
    }
}

/// A resource of the site as it was when it was read.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) status: Status,
    /// Whether responses depend on `Accept-Encoding`, or soon will. Then all heads have `Vary`.
    pub(crate) is_negotiated: bool,
    /// The content as it is on the disk.
    pub(crate) plain: Representation,
    pub(crate) coded: Vec<(Coding, Representation)>,
    revoked: AtomicBool,
    used: AtomicBool,
}

impl Asset {
    pub(crate) fn new(
        status: Status,
        is_negotiated: bool,
        plain: Representation,
        coded: Vec<(Coding, Representation)>,
    ) -> Self {
        let (revoked, used) = Default::default();
        Self { status, is_negotiated, plain, coded, revoked, used }
    }

    /// The content in a content coding, if there is one.
    pub(crate) fn in_coding(&self, coding: Coding) -> Option<&Representation> {
        self.coded.iter().find(|(has, _)| *has == coding).map(|(_, coded)| coded)
    }

    /// Ends the lease. Responses that have begun may still be sent to their end.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Marks the lease as used, so that it stays in the cache longer.
    pub(crate) fn touch(&self) {
        // A write would take the cache line away from other processors, so it is only done if needed.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last call.
    pub(crate) fn take_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed)
    }

    fn representations(&self) -> impl Iterator<Item = &Representation> {
        std::iter::once(&self.plain).chain(self.coded.iter().map(|(_, coded)| coded))
    }

    /// The memory that it takes in the cache.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (ENTRY_BYTES + self.representations().map(Representation::memory_bytes).sum::<usize>()) as u64
    }

    /// The number of descriptors that it keeps open.
    pub(crate) fn open_files(&self) -> usize {
        self.representations().filter(|r| matches!(r.body, Body::File { .. })).count()
    }
}
