//! Writes responses into the outbox, and their lines into the access log.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use wire::escape::Escaped;
use wire::http::{
    AcceptedCodings, BadRequest, Condition, Method, Multipart, Part, RequestHead, Status, Version, Wanted,
    evaluate, unsatisfied_content_range, wanted_parts,
};

use super::brief::Brief;
use super::outbox::{Answer, Outbox, Written};
use super::record::{Clock, Record, append_bytes};
use crate::commands::access_log::AccessLogHandle;
use crate::commands::asset::{Asset, Representation};
use crate::commands::connection::{Door, Visitor};
use crate::metrics::WebCounts;
use crate::transport::{Patience, Transport};

/// Log lines are sent to the access log when they are longer than this together.
const LOG_BYTES_MAX: usize = 32 << 10;

/// The maximum number of bytes of log lines that are kept while the access log is too slow.
const LOG_KEPT_BYTES_MAX: usize = 256 << 10;

/// What happens to the connection after a response, for the `Connection` field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    Close,
    /// HTTP/1.0 needs a field for it.
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

/// A request, and what happens to its connection after the response.
#[derive(Clone, Copy)]
pub(super) struct Ask<'r> {
    pub(super) head: &'r RequestHead<'r>,
    pub(super) visitor: &'r Visitor,
    pub(super) after: After,
}

/// A request, with the fields that the site adds to its response.
pub(super) struct Request<'r> {
    pub(super) ask: Ask<'r>,
    /// The user, if the site has users.
    pub(super) user: Option<&'r str>,
    /// Fields of every response, each with its CRLF.
    pub(super) fields: &'r str,
    /// Fields that the site adds to responses without a file.
    pub(super) site_fields: &'r str,
}

/// Writes the responses of one thread, for one connection at a time.
pub(crate) struct Writer {
    pub(super) outbox: Outbox,
    pub(crate) counts: Arc<WebCounts>,
    clock: Clock,
    log: Option<Log>,
}

struct Log {
    handle: AccessLogHandle,
    lines: Vec<u8>,
}

impl Writer {
    pub(super) fn new(counts: Arc<WebCounts>, log: Option<AccessLogHandle>) -> Self {
        let log = log.map(|handle| Log { handle, lines: Vec::new() });
        Self { outbox: Outbox::default(), counts, clock: Clock::new(SystemTime::now()), log }
    }

    pub(crate) fn set_time(&mut self, now: SystemTime) {
        self.clock.set(now);
    }

    /// Writes the outbox, and counts and logs what was written completely.
    pub(super) fn write(&mut self, transport: &mut Transport, patience: Patience) -> io::Result<Written> {
        let written = self.outbox.write(transport, patience)?;
        let Self { outbox, counts, log, .. } = self;
        outbox.settle(|answer, lines| note_sent(counts, log.as_mut(), answer, lines));
        if self.log.as_ref().is_some_and(|log| log.lines.len() > LOG_BYTES_MAX) {
            self.flush_log();
        }
        Ok(written)
    }

    /// Drops the outbox because its connection ends, and counts and logs what the client has received.
    pub(super) fn cut(&mut self, visitor: &Visitor, transport: &Transport) {
        let Self { outbox, counts, log, .. } = self;
        outbox.cut(transport.untaken_bytes(), |answer, lines| {
            let (sent, of) = (answer.body_sent, answer.body_bytes);
            tracing::info!(target: "web", %visitor, sent, of, "the connection ended in the middle of a response");
            note_sent(counts, log.as_mut(), answer, lines);
        });
    }

    /// Sends the gathered lines to the access log.
    pub(crate) fn flush_log(&mut self) {
        if let Some(log) = self.log.as_mut().filter(|log| !log.lines.is_empty()) {
            if let Err(lines) = log.handle.write(std::mem::take(&mut log.lines)) {
                log.lines = lines;
            }
            if log.lines.len() > LOG_KEPT_BYTES_MAX {
                log.lines.clear();
                log.handle.note_loss();
            }
        }
    }

    /// Content negotiation: chooses a representation by `Accept-Encoding`.
    fn choose<'a>(head: &RequestHead<'_>, asset: &'a Asset) -> &'a Representation {
        if !(asset.is_negotiated && head.accepts_codings) {
            return &asset.plain;
        }
        let coding = AcceptedCodings::parse(head.fields).choose(|coding| asset.in_coding(coding).is_some());
        coding.and_then(|coding| asset.in_coding(coding)).unwrap_or(&asset.plain)
    }

    /// Responds with an asset, according to the conditions and ranges of the request (RFC 9110, section 13.2.2).
    pub(super) fn push_asset(&mut self, request: &Request<'_>, asset: &Asset) {
        let head = request.ask.head;
        let chosen = Self::choose(head, asset);
        if let Some(validators) = &chosen.validators {
            if head.is_conditional {
                match evaluate(head.fields, Some(validators)) {
                    Condition::Proceed => {}
                    Condition::NotModified => return self.push_not_modified(request, chosen),
                    Condition::Failed => {
                        let reason = "the file has changed";
                        return self.push_refusal(request, chosen, Status::PreconditionFailed, reason, "");
                    }
                }
            }
            if head.has_range && head.method == Method::Get {
                let length = chosen.body.bytes();
                match wanted_parts(head.fields, validators, asset.is_negotiated, length) {
                    Wanted::Whole => {}
                    Wanted::Parts(parts) => return self.push_parts(request, chosen, &parts, length),
                    Wanted::Unsatisfiable => {
                        let range = format!("Content-Range: {}\r\n", unsatisfied_content_range(length));
                        let reason = "the file is shorter than the range";
                        return self.push_refusal(
                            request,
                            chosen,
                            Status::RangeNotSatisfiable,
                            reason,
                            &range,
                        );
                    }
                }
            }
        }
        self.outbox.copied.extend_from_slice(chosen.head());
        self.end_head(request);
        let bytes = if head.method == Method::Head { 0 } else { chosen.body.bytes() };
        self.outbox.push_body(&chosen.body, 0, bytes);
        self.note(request, asset.status, bytes);
    }

    fn push_not_modified(&mut self, request: &Request<'_>, chosen: &Representation) {
        self.outbox.copied.extend_from_slice(chosen.not_modified_head().unwrap_or_default());
        self.end_head(request);
        self.note(request, Status::NotModified, 0);
    }

    fn push_refusal(
        &mut self,
        request: &Request<'_>,
        chosen: &Representation,
        status: Status,
        reason: &str,
        fields: &str,
    ) {
        // Header fields that we wrote ourselves are UTF-8.
        let of_resource = String::from_utf8_lossy(chosen.refusal_fields());
        let fields = format!("{fields}{of_resource}").into();
        self.push_brief(request, &Brief { status, reason, fields, is_of_resource: true });
    }

    /// One part is the body, several parts are a multipart body (RFC 9110, section 15.3.7).
    fn push_parts(&mut self, request: &Request<'_>, chosen: &Representation, parts: &[Part], length: u64) {
        let out = &mut self.outbox.copied;
        let status = Status::PartialContent;
        let bytes = if let [part] = parts {
            // Writing into a Vec cannot fail, here and below.
            let _ = write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nContent-Range: {}\r\n",
                chosen.content_type(),
                part.bytes(),
                part.content_range(length)
            );
            out.extend_from_slice(chosen.partial_fields());
            self.end_head(request);
            self.outbox.push_body(&chosen.body, part.first, part.last + 1);
            part.bytes()
        } else {
            // Random, so that the file cannot contain it.
            let boundary = format!("{:032x}", rand::random::<u128>());
            let multipart = Multipart::new(parts, chosen.content_type(), length, &boundary);
            let bytes = multipart.content_length();
            let out = &mut self.outbox.copied;
            let _ = write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {bytes}\r\n",
                multipart.content_type()
            );
            out.extend_from_slice(chosen.partial_fields());
            self.end_head(request);
            for (part_head, part) in multipart.parts() {
                self.outbox.copied.extend_from_slice(part_head);
                self.outbox.push_body(&chosen.body, part.first, part.last + 1);
            }
            self.outbox.copied.extend_from_slice(multipart.end());
            bytes
        };
        self.note(request, status, bytes);
    }

    /// Responds without a file.
    pub(super) fn push_brief(&mut self, request: &Request<'_>, brief: &Brief<'_>) {
        let has_body = request.ask.head.method != Method::Head;
        let fields = [request.fields, if brief.is_of_resource { "" } else { request.site_fields }];
        let bytes = self.push_brief_head(brief, fields, request.ask.after, has_body);
        self.note(request, brief.status, bytes);
    }

    /// Responds with a text that must not be cached.
    pub(super) fn push_text(&mut self, request: &Request<'_>, media_type: &str, text: &str) {
        let _ = write!(
            &mut self.outbox.copied,
            "HTTP/1.1 {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
            Status::Ok,
            text.len()
        );
        self.end_head(request);
        let bytes = if request.ask.head.method == Method::Head { 0 } else { text.len() };
        self.outbox.copied.extend_from_slice(&text.as_bytes()[..bytes]);
        self.note(request, Status::Ok, bytes as u64);
    }

    /// Begins a response with events (HTML standard, section 9.2), which has no end. A HEAD gets only this.
    pub(super) fn push_events(&mut self, request: &Request<'_>) {
        let head = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
        let _ = write!(&mut self.outbox.copied, "HTTP/1.1 {}\r\n{head}", Status::Ok);
        self.end_head(request);
        self.note(request, Status::Ok, 0);
    }

    pub(super) fn push_bad_request(&mut self, visitor: &Visitor, bad: BadRequest, has_body: bool) {
        let bytes =
            self.push_brief_head(&Brief::new(bad.status, bad.reason), [""; 2], After::Close, has_body);
        let status = bad.status.code();
        tracing::info!(target: "web", %visitor, status, bytes, reason = bad.reason, "refused");
        self.counts.count_answer(status);
        self.end_answer(bytes, || Record {
            address: visitor.ip().map(|ip| ip.to_canonical()),
            user: None,
            method: "-",
            target: "-".into(),
            version: "-",
            host: None,
            status,
            referer: None,
            user_agent: None,
        });
    }

    /// Returns the length of the body.
    fn push_brief_head(&mut self, brief: &Brief<'_>, fields: [&str; 2], after: After, has_body: bool) -> u64 {
        let body = format!("{}: {}\n", brief.status, brief.reason);
        let out = &mut self.outbox.copied;
        let _ = write!(out, "HTTP/1.1 {}\r\n", brief.status);
        // A 101 or 204 has no content (RFC 9110, section 8.6).
        let has_content = !matches!(brief.status, Status::SwitchingProtocols | Status::NoContent);
        if has_content {
            let _ =
                write!(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n", body.len());
        }
        out.extend_from_slice(brief.fields.as_bytes());
        if !brief.is_of_resource {
            out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
        }
        fields.iter().for_each(|fields| out.extend_from_slice(fields.as_bytes()));
        push_head_end(out, &self.clock, after);
        if !(has_content && has_body) {
            return 0;
        }
        out.extend_from_slice(body.as_bytes());
        body.len() as u64
    }

    /// Adds the fields that depend on the request, and the empty line.
    fn end_head(&mut self, request: &Request<'_>) {
        let out = &mut self.outbox.copied;
        out.extend_from_slice(request.fields.as_bytes());
        push_head_end(out, &self.clock, request.ask.after);
    }

    /// Counts and logs a response with a body of `bytes`.
    fn note(&mut self, request: &Request<'_>, status: Status, bytes: u64) {
        let Request { ask: Ask { head, visitor, .. }, user, .. } = request;
        self.counts.count_answer(status.code());
        // Monitoring asks every few seconds, which would fill the logs.
        if visitor.door == Door::Admin {
            self.outbox.end_answer(bytes, 0);
            return;
        }
        tracing::info!(
            target: "web",
            %visitor,
            method = head.method.as_str(),
            path = %Escaped(head.target.path),
            status = status.code(),
            bytes,
            "request"
        );
        self.end_answer(bytes, || Record {
            address: visitor.ip().map(|ip| ip.to_canonical()),
            user: *user,
            method: head.method.as_str(),
            target: match head.target.query {
                Some(query) => format!("{}?{query}", head.target.path).into(),
                None => head.target.path.into(),
            },
            version: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            },
            host: head.host,
            status: status.code(),
            referer: head.fields.values("referer").next(),
            user_agent: head.fields.values("user-agent").next(),
        });
    }

    fn end_answer<'r>(&mut self, bytes: u64, record: impl FnOnce() -> Record<'r>) {
        let bytes_at = match &self.log {
            Some(log) => record().append_to(&mut self.outbox.lines, log.handle.format, &self.clock),
            None => 0,
        };
        self.outbox.end_answer(bytes, bytes_at);
    }
}

/// Counts what was sent of a body, and completes the log line if there is one.
fn note_sent(counts: &WebCounts, log: Option<&mut Log>, answer: &Answer, lines: &[u8]) {
    counts.body_bytes.add(answer.body_sent);
    let [begin, bytes_at, end] = answer.line;
    if let Some(log) = log.filter(|_| begin < end) {
        log.lines.extend_from_slice(&lines[begin..bytes_at]);
        let is_cut = answer.body_sent < answer.body_bytes;
        append_bytes(&mut log.lines, log.handle.format, answer.body_sent, is_cut);
        log.lines.extend_from_slice(&lines[bytes_at..end]);
    }
}

fn push_head_end(out: &mut Vec<u8>, clock: &Clock, after: After) {
    out.extend_from_slice(clock.date_line.as_bytes());
    out.extend_from_slice(match after {
        After::Close => b"Connection: close\r\n\r\n".as_slice(),
        After::KeepAlive10 => b"Connection: keep-alive\r\n\r\n",
        After::KeepAlive11 => b"\r\n",
    });
}
