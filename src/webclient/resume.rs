//! Saving a file in more than one go.
//!
//! A part goes on only when the server says that the file is still the version that it was (`If-Range`, RFC 9110, section
//! 13.1.5) and that the bytes it sends are those that come next (`Content-Range`). Anything else starts again or is refused,
//! so that no two versions are ever mixed.

use std::path::{Path, PathBuf};

use wire::http::ResponseHead;

use super::error::Advice;
use super::exchange::{Exchange, exchange};
use super::part::{Part, Source};
use super::range::ContentRange;
use super::save::{Place, copy, save};
use super::version::Version;
use super::{BodyReader, Journal, Request, Timeouts, Wanted, WebClientError};

const PARTIAL_CONTENT: u16 = 206;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// What there is to do with the answer.
pub(super) enum Step {
    /// Save the body as the file or the rest of it.
    Save(Resumption),
    /// The part is the whole file already.
    Finish(Resumption),
}

/// A file to be saved, and the part of it that is there.
pub(super) struct Resumption {
    target: PathBuf,
    part: Option<Part>,
}

impl Resumption {
    /// Asks for the file, or for the rest of it if a part is there.
    pub(super) fn ask(
        target: &Path,
        request: &Request,
        wanted: &Wanted,
        timeouts: &Timeouts,
        journal: &mut Journal,
    ) -> Result<(Exchange, Step), WebClientError> {
        let save_error = |cause| WebClientError::Save { path: target.to_owned(), cause };
        let part = Part::find(target).map_err(save_error)?;
        let part_bytes = part.as_ref().map_or(Ok(0), Part::bytes).map_err(save_error)?;
        let source = part.as_ref().and_then(Part::source);
        let have = source.map(|source| (source, part_bytes));
        let first = exchange(request, wanted, timeouts, have, journal)?;
        let head = &first.response.head;
        let is_whole = first.continues && source.is_some_and(|source| is_whole(source, part_bytes, head));
        let starts_again = first.continues && head.status == RANGE_NOT_SATISFIABLE && !is_whole;
        let resumption = |part| Self { target: target.to_owned(), part };
        if is_whole {
            journal.remark(format_args!("all {part_bytes} bytes were there already"));
            return Ok((first, Step::Finish(resumption(part))));
        }
        if !starts_again {
            return Ok((first, Step::Save(resumption(part))));
        }
        // The file has become shorter than our part of it.
        let again = exchange(request, wanted, timeouts, None, journal)?;
        Ok((again, Step::Save(resumption(part))))
    }

    /// The part is the whole file.
    pub(super) fn finish(self) -> Result<(), WebClientError> {
        let save_error = |cause| WebClientError::Save { path: self.target.clone(), cause };
        self.part.map_or(Ok(()), Part::finish).map_err(save_error)
    }

    /// Saves what a successful answer brings.
    pub(super) fn save(self, exchange: &mut Exchange, journal: &mut Journal) -> Result<(), WebClientError> {
        let Self { target, part } = self;
        let save_error = |cause| WebClientError::Save { path: target.clone(), cause };
        let (head, body) = (&exchange.response.head, &mut exchange.response.body);
        if head.status == PARTIAL_CONTENT {
            let server = exchange.request.server();
            return match part {
                Some(part) if exchange.continues => go_on(part, &target, &server, head, body, journal),
                _ => Err(WebClientError::BadPart { server, what: "nobody has asked for a part", part: None }),
            };
        }
        let version = Version::of(head);
        if let Some(part) = &part
            && let Some(source) = part.source()
        {
            let path = part.path().display();
            let is_same = source.url == exchange.request.url() && Some(&source.version) == version.as_ref();
            let why = if is_same { "the server sends no parts" } else { "it was of another version or file" };
            journal.remark(format_args!("{path} does not go on, {why}; all of it comes again"));
        }
        let Some(version) = version else {
            // Nothing could ever go on from a part, so there is none.
            save(body, &Place::File(target.clone())).map_err(|error| error.advising(Advice::NoVersion))?;
            if let Some(part) = part {
                part.discard();
            }
            return Ok(());
        };
        let source = Source { url: exchange.request.url(), version, total_bytes: body.announced_bytes() };
        body.catch_signals().map_err(save_error)?;
        let mut part = match part {
            Some(part) => part,
            None => Part::find_or_create(&target).map_err(save_error)?,
        };
        part.start(source).map_err(save_error)?;
        let copied = copy(body, &mut part.file, &target, 0, u64::MAX);
        close(part, &target, copied)
    }
}

/// Whether an answer to a question for the rest says that there is none. Our own note of the length has to agree: a server
/// that ignores `If-Range` would say the same of another version that happens to be as long.
fn is_whole(source: &Source, part_bytes: u64, head: &ResponseHead) -> bool {
    head.status == RANGE_NOT_SATISFIABLE
        && ContentRange::of(head) == Some(ContentRange::Unsatisfied { total: part_bytes })
        && source.total_bytes.is_none_or(|total| total == part_bytes)
        && !source.version.is_contradicted_by(head)
}

/// Adds the rest, once it is certain that it is the rest.
fn go_on(
    mut part: Part,
    target: &Path,
    server: &str,
    head: &ResponseHead,
    body: &mut BodyReader,
    journal: &mut Journal,
) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::Save { path: target.to_owned(), cause };
    let part_path = part.path().to_owned();
    let refuse =
        |what| WebClientError::BadPart { server: server.to_owned(), what, part: Some(part_path.clone()) };
    let have_bytes = part.bytes().map_err(save_error)?;
    let Some(source) = part.source() else {
        return Err(refuse("it is not known what the part is a part of"));
    };
    let Some(ContentRange::Part { first, last, total }) = ContentRange::of(head) else {
        return Err(refuse("it does not say which"));
    };
    let known_total = source.total_bytes.or(total);
    if first != have_bytes {
        return Err(refuse("it starts elsewhere"));
    }
    if total.is_some() && total != known_total || known_total.is_some_and(|known| last >= known) {
        return Err(refuse("the file has another length now"));
    }
    if source.version.is_contradicted_by(head) {
        return Err(refuse("it is of another version"));
    }
    let range_bytes = last - first + 1;
    if body.announced_bytes().is_some_and(|announced| announced != range_bytes) {
        return Err(refuse("it is longer or shorter than it says"));
    }
    body.catch_signals().map_err(save_error)?;
    part.cut(have_bytes).map_err(save_error)?;
    journal.detail(format_args!("goes on after {have_bytes} bytes"));
    let mut copied = copy(body, &mut part.file, target, have_bytes, range_bytes);
    if body.read_bytes() > range_bytes {
        part.cut(have_bytes).map_err(save_error)?;
        return Err(refuse("it is longer than it says"));
    }
    // A server that does not know how long the file is has not said that this was the end of it.
    let is_last = known_total == Some(last + 1);
    if copied.is_ok() && !(is_last && body.read_bytes() == range_bytes) {
        copied = Err(body.truncated());
    }
    close(part, target, copied)
}

/// Gives the part its final name if all of it has come; else it stays for the next time.
fn close(part: Part, target: &Path, copied: Result<(), WebClientError>) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::Save { path: target.to_owned(), cause };
    match copied {
        Ok(()) => part.finish().map_err(save_error),
        Err(error) => match part.bytes().map_err(save_error)? {
            0 => {
                part.discard();
                Err(error)
            }
            kept_bytes => Err(error.advising(Advice::Resume { kept_bytes, path: part.path().to_owned() })),
        },
    }
}
