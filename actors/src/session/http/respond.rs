//! What each request is answered with.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::SystemTime;

use wire::escape::Escaped;
use wire::http::{BadRequest, Method, RequestHead, SitePath, Status, Version};

use super::leases::Leases;
use super::outbox::Outbox;
use crate::file_server::{Asset, FileServerHandle, Found};

/// Answers the requests of one connection.
pub(super) struct Responder<'a> {
    files: &'a FileServerHandle,
    leases: Leases,
    outbox: Outbox<'a>,
    date: DateLine,
}

/// What becomes of the connection after an answer, as its head says it.
#[derive(Clone, Copy)]
enum After {
    Close,
    /// HTTP/1.0 has to be told.
    KeepAlive10,
    KeepAlive11,
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

impl<'a> Responder<'a> {
    pub(super) fn new(stream: &'a TcpStream, files: &'a FileServerHandle) -> Self {
        Self { files, leases: Leases::default(), outbox: Outbox::new(stream), date: DateLine::default() }
    }

    /// Writes all answers so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush()
    }

    /// Answers a request; small answers are kept back for [`Responder::flush`].
    pub(super) fn answer(&mut self, head: &RequestHead<'_>, keep_alive: bool) -> io::Result<()> {
        let after = match (keep_alive, head.version) {
            (false, _) => After::Close,
            (true, Version::Http10) => After::KeepAlive10,
            (true, Version::Http11) => After::KeepAlive11,
        };
        if !matches!(head.method, Method::Get | Method::Head) {
            let brief = without_file(head.method);
            let bytes = self.push_brief(&brief, true, after);
            log(head, brief.status, bytes);
            return self.outbox.flush_if_full();
        }
        if let Some(asset) = self.leases.get(head.target.path) {
            return send_asset(&mut self.outbox, &mut self.date, head, after, asset);
        }
        let brief = match self.find(head.target.path) {
            Ok(Found::Asset(asset)) => {
                self.leases.keep(head.target.path, &asset);
                return send_asset(&mut self.outbox, &mut self.date, head, after, &asset);
            }
            Ok(Found::NotFound(page)) => {
                return send_asset(&mut self.outbox, &mut self.date, head, after, &page);
            }
            Ok(Found::Redirect(location)) => redirect(&location, head.target.query),
            Ok(Found::Refused) => Brief::new(Status::Forbidden, "this is not for the web"),
            Ok(Found::Listing { html, .. }) => {
                return send_asset(&mut self.outbox, &mut self.date, head, after, &html);
            }
            Ok(Found::Busy(_)) => {
                Brief::new(Status::ServiceUnavailable, "too much to do; try again in a moment")
            }
            Ok(Found::Failed(_)) => Brief::new(Status::InternalServerError, "the file could not be read"),
            Err(brief) => brief,
        };
        let bytes = self.push_brief(&brief, head.method == Method::Get, after);
        log(head, brief.status, bytes);
        self.outbox.flush_if_full()
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

    /// Lets go of what a client that may be silent for long would else keep open.
    pub(super) fn drop_revoked(&mut self) {
        self.leases.drop_revoked();
    }

    /// Answers what is no request; the connection ends after it.
    pub(super) fn refuse(&mut self, bad: BadRequest, with_body: bool) {
        let bytes = self.push_brief(&Brief::new(bad.status, bad.reason), with_body, After::Close);
        tracing::info!(target: "web", status = bad.status.code(), bytes, reason = bad.reason, "refused");
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
        end_head(out, &mut self.date, after);
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

fn send_asset(
    outbox: &mut Outbox<'_>,
    date: &mut DateLine,
    head: &RequestHead<'_>,
    after: After,
    asset: &Arc<Asset>,
) -> io::Result<()> {
    if head.is_conditional
        && let Some(not_modified) = asset.not_modified_head(head.fields)
    {
        outbox.copied().extend_from_slice(not_modified);
        end_head(outbox.copied(), date, after);
        log(head, Status::NotModified, 0);
        return outbox.flush_if_full();
    }
    outbox.copied().extend_from_slice(asset.head());
    end_head(outbox.copied(), date, after);
    if head.method == Method::Head {
        log(head, asset.status(), 0);
        return outbox.flush_if_full();
    }
    outbox.push_body(asset)?;
    log(head, asset.status(), asset.body().bytes());
    Ok(())
}

fn log(head: &RequestHead<'_>, status: Status, bytes: u64) {
    tracing::info!(
        target: "web",
        method = head.method.as_str(),
        path = %Escaped(head.target.path),
        status = status.code(),
        bytes,
        "request"
    );
}

/// Adds the fields that differ from answer to answer, and the empty line.
fn end_head(out: &mut Vec<u8>, date: &mut DateLine, after: After) {
    out.extend_from_slice(date.line(SystemTime::now()).as_bytes());
    out.extend_from_slice(match after {
        After::Close => b"Connection: close\r\n\r\n".as_slice(),
        After::KeepAlive10 => b"Connection: keep-alive\r\n\r\n",
        After::KeepAlive11 => b"\r\n",
    });
}

/// The `Date` field, made anew once a second (RFC 9110, section 6.6.1).
#[derive(Default)]
struct DateLine {
    second: u64,
    line: String,
}

impl DateLine {
    fn line(&mut self, now: SystemTime) -> &str {
        let second =
            now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since_epoch| since_epoch.as_secs());
        if self.line.is_empty() || second != self.second {
            self.second = second;
            self.line = format!("Date: {}\r\n", httpdate::fmt_http_date(now));
        }
        &self.line
    }
}
