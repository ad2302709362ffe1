//! What each request is answered with.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use wire::escape::Escaped;
use wire::http::{BadRequest, Method, RequestHead, SitePath, Status, Version};

use super::Visitor;
use super::leases::Leases;
use super::outbox::Outbox;
use crate::file_server::{Asset, Body, FileServerHandle, Found};

/// Answers requests: those of all connections of a poller, or the one that a session waits for.
pub(crate) struct Responder {
    pub(crate) outbox: Outbox,
    pub(crate) leases: Leases,
    /// What has been found by waiting, for whoever wants to know it next time.
    pub(crate) learned: Vec<Learned>,
    files: FileServerHandle,
    stopping: Arc<AtomicBool>,
    /// Whether answers may wait, or are to be [`Answered::MustWait`].
    may_wait: bool,
    date: DateLine,
}

/// A lease that a session has got.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(crate) path: Box<str>,
    pub(crate) asset: Arc<Asset>,
}

/// Whether a request has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It is in the outbox.
    Done,
    /// It has to wait for something. Nothing has been done yet.
    MustWait,
}

/// What becomes of the connection after an answer, as its head says it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    Close,
    /// HTTP/1.0 has to be told.
    KeepAlive10,
    KeepAlive11,
}

impl After {
    pub(crate) fn new(keep_alive: bool, version: Version) -> Self {
        match (keep_alive, version) {
            (false, _) => Self::Close,
            (true, Version::Http10) => Self::KeepAlive10,
            (true, Version::Http11) => Self::KeepAlive11,
        }
    }
}

/// An answer without a file, made on the spot.
struct Brief<'r> {
    status: Status,
    reason: &'r str,
    /// Further header fields, each with its CRLF.
    fields: Cow<'r, str>,
}

impl<'r> Brief<'r> {
    fn new(status: Status, reason: &'r str) -> Self {
        let fields = match status {
            Status::MethodNotAllowed => format!("Allow: {}\r\n", Method::ALLOW).into(),
            Status::ServiceUnavailable => "Retry-After: 1\r\n".into(),
            _ => "".into(),
        };
        Self { status, reason, fields }
    }
}

impl Responder {
    pub(crate) fn new(files: FileServerHandle, stopping: Arc<AtomicBool>, may_wait: bool) -> Self {
        Self {
            outbox: Outbox::default(),
            leases: Leases::default(),
            learned: Vec::new(),
            files,
            stopping,
            may_wait,
            date: DateLine::new(SystemTime::now()),
        }
    }

    /// Tells the time for the answers to come.
    pub(crate) fn set_time(&mut self, now: SystemTime) {
        self.date.set(now);
    }

    /// Takes over what a session has found.
    pub(crate) fn learn(&mut self, learned: Vec<Learned>) {
        for Learned { path, asset } in learned {
            self.leases.keep(path, asset);
        }
    }

    /// Whether every answer is to be the last on its connection.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers a request, into the outbox.
    pub(crate) fn answer(&mut self, head: &RequestHead<'_>, visitor: &Visitor, after: After) -> Answered {
        if !matches!(head.method, Method::Get | Method::Head) {
            let brief = without_file(head.method);
            let bytes = self.push_brief(&brief, true, after);
            log(head, visitor, brief.status, bytes);
            return Answered::Done;
        }
        if let Some(asset) = self.leases.get(head.target.path) {
            if !self.may_wait && matches!(asset.body(), Body::File { .. }) {
                return Answered::MustWait;
            }
            let asset = Arc::clone(asset);
            self.push_asset(head, visitor, after, &asset);
            return Answered::Done;
        }
        if !self.may_wait {
            return Answered::MustWait;
        }
        let brief = match self.find(head.target.path) {
            Ok(Found::Asset(asset)) => {
                self.push_asset(head, visitor, after, &asset);
                self.learned.push(Learned { path: head.target.path.into(), asset });
                return Answered::Done;
            }
            Ok(Found::NotFound(page)) => {
                self.push_asset(head, visitor, after, &page);
                return Answered::Done;
            }
            Ok(Found::Redirect(location)) => redirect(&location, head.target.query),
            Ok(Found::Refused) => Brief::new(Status::Forbidden, "this is not for the web"),
            Ok(Found::Listing { html, .. }) => {
                self.push_asset(head, visitor, after, &html);
                return Answered::Done;
            }
            Ok(Found::Busy(_)) => {
                Brief::new(Status::ServiceUnavailable, "too much to do; try again in a moment")
            }
            Ok(Found::Failed(_)) => Brief::new(Status::InternalServerError, "the file could not be read"),
            Err(brief) => brief,
        };
        let bytes = self.push_brief(&brief, head.method == Method::Get, after);
        log(head, visitor, brief.status, bytes);
        Answered::Done
    }

    fn find(&self, path: &str) -> Result<Found, Brief<'static>> {
        let path = SitePath::decode(path).map_err(|bad| match bad.status() {
            Status::NotFound => Brief::new(Status::NotFound, "there is nothing under such a name"),
            status => Brief::new(status, "the path is malformed"),
        })?;
        self.files
            .find(path)
            .map_err(|_| Brief::new(Status::ServiceUnavailable, "too much to do; try again in a moment"))
    }

    /// Answers what is no request; the connection ends after it.
    pub(crate) fn refuse(&mut self, visitor: &Visitor, bad: BadRequest, with_body: bool) {
        let bytes = self.push_brief(&Brief::new(bad.status, bad.reason), with_body, After::Close);
        tracing::info!(target: "web", %visitor, status = bad.status.code(), bytes, reason = bad.reason, "refused");
    }

    fn push_asset(&mut self, head: &RequestHead<'_>, visitor: &Visitor, after: After, asset: &Arc<Asset>) {
        if head.is_conditional
            && let Some(not_modified) = asset.not_modified_head(head.fields)
        {
            self.outbox.copied().extend_from_slice(not_modified);
            end_head(self.outbox.copied(), &self.date, after);
            log(head, visitor, Status::NotModified, 0);
            return;
        }
        self.outbox.copied().extend_from_slice(asset.head());
        end_head(self.outbox.copied(), &self.date, after);
        if head.method == Method::Head {
            log(head, visitor, asset.status(), 0);
            return;
        }
        let bytes = asset.body().bytes();
        self.outbox.push_body(asset, 0, bytes);
        log(head, visitor, asset.status(), bytes);
    }

    /// Adds a short answer; returns the length of its body.
    fn push_brief(&mut self, brief: &Brief<'_>, with_body: bool, after: After) -> u64 {
        let body = format!("{}: {}\n", brief.status, brief.reason);
        let out = self.outbox.copied();
        // Writing into a Vec cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\n{}",
            brief.status,
            body.len(),
            brief.fields
        );
        end_head(out, &self.date, after);
        if with_body {
            out.extend_from_slice(body.as_bytes());
        }
        if with_body { body.len() as u64 } else { 0 }
    }
}

/// The answer to a method that does not ask for the content of a file.
fn without_file(method: Method) -> Brief<'static> {
    match method.refusal() {
        Some(Status::MethodNotAllowed) => {
            Brief::new(Status::MethodNotAllowed, "only GET, HEAD and OPTIONS are answered here")
        }
        Some(status) => Brief::new(status, "the method is not known"),
        None => {
            let fields = format!("Allow: {}\r\n", Method::ALLOW).into();
            Brief { status: Status::Ok, reason: "this can be read", fields }
        }
    }
}

/// `location` starts with one slash, and a query is what the client sent: visible ASCII.
fn redirect(location: &str, query: Option<&str>) -> Brief<'static> {
    let fields = match query {
        Some(query) => format!("Location: {location}?{query}\r\n"),
        None => format!("Location: {location}\r\n"),
    };
    Brief {
        status: Status::PermanentRedirect,
        reason: "this is a directory; its address ends with a slash",
        fields: fields.into(),
    }
}

fn log(head: &RequestHead<'_>, visitor: &Visitor, status: Status, bytes: u64) {
    tracing::info!(
        target: "web",
        %visitor,
        method = head.method.as_str(),
        path = %Escaped(head.target.path),
        status = status.code(),
        bytes,
        "request"
    );
}

/// Adds the fields that differ from answer to answer, and the empty line.
fn end_head(out: &mut Vec<u8>, date: &DateLine, after: After) {
    out.extend_from_slice(date.line.as_bytes());
    out.extend_from_slice(match after {
        After::Close => b"Connection: close\r\n\r\n".as_slice(),
        After::KeepAlive10 => b"Connection: keep-alive\r\n\r\n",
        After::KeepAlive11 => b"\r\n",
    });
}

/// The `Date` field, made anew once a second (RFC 9110, section 6.6.1).
struct DateLine {
    second: u64,
    line: String,
}

impl DateLine {
    fn new(now: SystemTime) -> Self {
        let mut date = Self { second: 0, line: String::new() };
        date.set(now);
        date
    }

    fn set(&mut self, now: SystemTime) {
        let second =
            now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since_epoch| since_epoch.as_secs());
        if self.line.is_empty() || second != self.second {
            self.second = second;
            self.line = format!("Date: {}\r\n", httpdate::fmt_http_date(now));
        }
    }
}
