//! What is leased to sessions: a file as an answer that is ready to be written.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use wire::http::{Condition, EntityTag, Status, Validators, content_type, evaluate};

use super::disk::Stamp;

/// The page for what is not there, on a site that has no `404.html`.
const NOT_FOUND_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Not found</title>\n\
    <p>There is nothing at this address. <a href=\"/\">Start here</a>.\n";

/// The content of an [`Asset`].
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Memory(Bytes),
    /// A file too large to keep, to be sent from its beginning; the offset of the descriptor must not be relied on.
    File {
        /// Open for reading.
        file: File,
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

/// A file of the site as it was when it was read, with the heads of the answers to GET and HEAD.
#[derive(Debug)]
pub struct Asset {
    head: Bytes,
    body: Body,
    /// Only a page that stands for itself can be asked for again on a condition.
    revalidation: Option<Revalidation>,
    status: Status,
    revoked: AtomicBool,
}

#[derive(Debug)]
struct Revalidation {
    validators: Validators,
    not_modified_head: Bytes,
}

impl Asset {
    /// A file for a 200. `now` bounds `Last-Modified`, which must not be in the future (RFC 9110, section 8.8.2.1).
    pub(super) fn of_file(path: &str, stamp: &Stamp, body: Body, now: SystemTime) -> Self {
        let tag = EntityTag::of_file(stamp.bytes, stamp.modified, stamp.changed, stamp.inode);
        let modified = stamp.modified.min(now).max(SystemTime::UNIX_EPOCH);
        // "no-cache" lets clients keep a copy but ask each time whether it is still good, which costs us one 304.
        let fields = format!(
            "Last-Modified: {}\r\nETag: {tag}\r\nCache-Control: no-cache\r\n",
            httpdate::fmt_http_date(modified)
        );
        let revalidation = Revalidation {
            validators: Validators { tag, modified },
            not_modified_head: format!("HTTP/1.1 {}\r\n{fields}", Status::NotModified).into(),
        };
        Self::build(Status::Ok, &content_type(path), &fields, body, Some(revalidation))
    }

    /// The page of a 404: the site's own, or a built-in one.
    pub(super) fn not_found(page: Option<Body>) -> Self {
        let page = page.unwrap_or(Body::Memory(Bytes::from_static(NOT_FOUND_PAGE.as_bytes())));
        Self::build(Status::NotFound, "text/html; charset=utf-8", "", page, None)
    }

    fn build(
        status: Status,
        media_type: &str,
        fields: &str,
        body: Body,
        revalidation: Option<Revalidation>,
    ) -> Self {
        let length = body.bytes();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
             X-Content-Type-Options: nosniff\r\n{fields}"
        );
        Self { head: head.into(), body, revalidation, status, revoked: AtomicBool::new(false) }
    }

    /// Status line and header fields, without `Date`, `Connection` and the empty line.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The content.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The status that [`Asset::head`] says.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The head of a 304, as [`Asset::head`], if a client whose request has `fields` has this content already.
    pub fn not_modified_head(&self, fields: wire::http::Fields<'_>) -> Option<&[u8]> {
        let revalidation = self.revalidation.as_ref()?;
        (evaluate(fields, Some(&revalidation.validators)) == Condition::NotModified)
            .then_some(&*revalidation.not_modified_head)
    }

    /// Whether the lease has ended: ask again. What is being sent may still be sent to its end.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }
}
