//! Continuing a download that was interrupted.
//!
//! A part is continued only if the server says that the file is still the same version (`If-Range`, RFC 9110, section
//! 13.1.5) and that the bytes it sends are the next ones (`Content-Range`). Anything else starts again or is refused, so
//! that two versions are never mixed.

use std::path::Path;

use wire::http::ResponseHead;

use super::exchange::{Exchange, exchange};
use super::part::{Part, Source};
use super::range::ContentRange;
use super::save::{Target, copy, save};
use super::version::Version;
use super::{BodyReader, Journal, Request, Timeouts, Wanted, WebClientError};

const PARTIAL_CONTENT: u16 = 206;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Requests the file, or only the rest of it if there is a `part`. Also returns whether the part is already the whole file.
pub(super) fn ask(
    part: Option<&Part>,
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    journal: Journal,
) -> Result<(Exchange, bool), WebClientError> {
    let have = part.and_then(Part::have);
    let first = exchange(request, wanted, timeouts, have, journal)?;
    match have.filter(|_| first.continues && first.response.head.status == RANGE_NOT_SATISFIABLE) {
        None => Ok((first, false)),
        Some((source, bytes)) if is_whole(source, bytes, &first.response.head) => {
            journal.remark(format_args!("all {bytes} bytes were there already"));
            Ok((first, true))
        }
        // The file has become shorter than the part.
        Some(_) => Ok((exchange(request, wanted, timeouts, None, journal)?, false)),
    }
}

/// Whether a response with status 416 means that the part is the whole file. The length that was noted at the start must
/// agree, because a server that ignores `If-Range` would answer the same for another version of this length.
fn is_whole(source: &Source, part_bytes: u64, head: &ResponseHead) -> bool {
    ContentRange::of(head) == Some(ContentRange::Unsatisfied { total: part_bytes })
        && source.total_bytes.is_none_or(|total| total == part_bytes)
        && !source.version.is_contradicted_by(head)
}

/// Saves the body of a successful response as `target`, appended to `part` if it is the rest of it.
pub(super) fn save_resumable(
    target: &Path,
    part: Option<Part>,
    exchange: &mut Exchange,
    journal: Journal,
) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::save(target, &cause);
    let server = exchange.request.server();
    let (head, body) = (&exchange.response.head, &mut exchange.response.body);
    let version = Version::of(head);
    if let Some(part) = &part
        && head.status != PARTIAL_CONTENT
        && let Some((source, _)) = part.have()
    {
        let path = part.path().display();
        let is_same = source.url == exchange.request.url() && Some(&source.version) == version.as_ref();
        let why =
            if is_same { "the server does not support ranges" } else { "it is of another version or file" };
        journal.remark(format_args!("{path} is not continued, because {why}; the download starts again"));
    }
    match (part, version) {
        (Some(part), _) if head.status == PARTIAL_CONTENT && exchange.continues => {
            go_on(part, target, &server, head, body, journal)
        }
        _ if head.status == PARTIAL_CONTENT => Err(not_asked_for(&server)),
        (part, None) => {
            // Without a version a part could never be continued, so none is kept.
            save(body, &Target::File(target.to_owned())).map_err(|error| {
                error.if_missing(
                    "nothing is saved, because the server does not say which version of the file it has; try again",
                )
            })?;
            part.into_iter().for_each(Part::discard);
            Ok(())
        }
        (part, Some(version)) => {
            let source = Source { url: exchange.request.url(), version, total_bytes: body.announced_bytes() };
            body.catch_signals().map_err(save_error)?;
            let part = part.map_or_else(|| Part::find_or_create(target), Ok);
            let mut part = part.map_err(save_error)?;
            part.start(source).map_err(save_error)?;
            let copied = copy(body, &mut part.file, target, 0);
            close(part, target, copied)
        }
    }
}

/// The error for a response with status 206 to a request without a range.
pub(super) fn not_asked_for(server: &str) -> WebClientError {
    WebClientError::wrong_part(server, "asked for the whole file, got a part")
        .advising("nothing is saved; check that it is a web server")
}

/// Appends the body to the part after checking that it is the rest of the same version.
fn go_on(
    mut part: Part,
    target: &Path,
    server: &str,
    head: &ResponseHead,
    body: &mut BodyReader,
    journal: Journal,
) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::save(target, &cause);
    let refusal = format!("nothing is added to {}; remove that to start again", part.path().display());
    let refuse = |what: &str| WebClientError::wrong_part(server, what).advising(&refusal);
    let Some((source, have_bytes)) = part.have() else {
        return Err(refuse("it is not known which file the part belongs to"));
    };
    let Some(ContentRange::Part { first, last, total }) = ContentRange::of(head) else {
        return Err(refuse("it has no usable Content-Range"));
    };
    let known_total = source.total_bytes.or(total);
    if first != have_bytes {
        return Err(refuse("it starts at another byte"));
    }
    if total.is_some() && total != known_total || known_total.is_some_and(|known| last >= known) {
        return Err(refuse("the length of the file has changed"));
    }
    if source.version.is_contradicted_by(head) {
        return Err(refuse("it is of another version"));
    }
    let range_bytes = last - first + 1;
    if body.announced_bytes().is_some_and(|announced| announced != range_bytes) {
        return Err(refuse("its length differs from its Content-Range"));
    }
    body.catch_signals().map_err(save_error)?;
    body.expect_bytes(range_bytes, "it is longer than its Content-Range".to_owned());
    part.cut(have_bytes).map_err(save_error)?;
    journal.detail(format_args!("continues after {have_bytes} bytes"));
    let copied = match copy(body, &mut part.file, target, have_bytes) {
        Err(error) if error.is_about_wrong_bytes() => {
            part.cut(have_bytes).map_err(save_error)?;
            return Err(error.advising(refusal));
        }
        // If the length of the file is unknown, this range may not be the last.
        Ok(()) if known_total != Some(last + 1) => Err(body.truncated()),
        copied => copied,
    };
    close(part, target, copied)
}

/// Renames a complete part to the target; keeps an incomplete one for the next call.
fn close(part: Part, target: &Path, copied: Result<(), WebClientError>) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::save(target, &cause);
    let Err(error) = copied else {
        return part.finish().map_err(save_error);
    };
    match part.bytes().map_err(save_error)? {
        0 => {
            part.discard();
            Err(error)
        }
        kept_bytes => Err(error.if_missing(format!(
            "{kept_bytes} bytes are kept in {}; run the same command again with --resume to get the rest",
            part.path().display()
        ))),
    }
}
