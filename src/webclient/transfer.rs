//! From what a person wants to what is printed and saved.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use wire::http::{Method, ResponseHead};

use super::exchange::Exchange;
use super::part::Part;
use super::save::{Place, save};
use super::text::{self, Kind};
use super::{Journal, Request, Response, Screen, Timeouts, WebClientError, redirect, resume};

/// What to do with an answer.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Print the status line and the header fields.
    pub head: bool,
    /// Print the body, or save it.
    pub body: bool,
    /// Where to save the body instead of printing it.
    pub output: Option<PathBuf>,
    /// Go on where an earlier call with this `output` has ended, and leave what the next can go on with.
    pub resume: bool,
    /// How many redirections to follow.
    pub redirects_max: usize,
}

impl Wanted {
    /// The method that fetches no more than what is wanted.
    pub fn method(&self) -> Method {
        if self.body { Method::Get } else { Method::Head }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The request that was answered last; another one than was given if there were redirections.
    pub request: Request,
    /// The status of the answer.
    pub status: u16,
    /// Whether the file was wanted, there already and only not under its name yet; the status is 416 then.
    pub was_complete: bool,
}

impl Outcome {
    /// Whether the answer is what was asked for.
    pub fn is_success(&self) -> bool {
        self.status < 400 || self.was_complete
    }
}

/// Fetches a file and prints or saves it, as wanted.
///
/// A body goes to its file only with a status from 200 to 299, so that no page about an error or a new address is taken for
/// the file; and the file gets its name only when it is whole. A reader of `screen` that has gone away is no error.
///
/// # Errors
/// A redirection that is not followed is an error only if there is something to save. What was printed before an error stays
/// printed.
pub fn transfer<W: Write>(
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    screen: &mut Screen<W>,
    journal: Journal,
) -> Result<Outcome, WebClientError> {
    let started_at = Instant::now();
    let place = wanted.output.as_deref().filter(|_| wanted.body).map(Place::of).transpose()?;
    let target = match &place {
        Some(Place::File(target)) if wanted.resume => Some(target),
        _ => None,
    };
    let part = match target {
        Some(target) => Part::find(target).map_err(|cause| WebClientError::save(target, &cause))?,
        None => None,
    };
    let (mut exchange, was_complete) = resume::ask(part.as_ref(), request, wanted, timeouts, journal)?;
    let status = exchange.response.head.status;
    if wanted.head {
        screen.print_head(&exchange.response.head)?;
    }
    if wanted.body && status < 300 {
        check_range(request, &mut exchange).inspect_err(|_| drop(screen.finish()))?;
        remark_on_body(request, &exchange.response.head, journal);
    }
    match &place {
        _ if was_complete => {
            let finished = part.map_or(Ok(()), Part::finish);
            let target = target.map_or(Path::new(""), PathBuf::as_path);
            finished.map_err(|cause| WebClientError::save(target, &cause))?;
        }
        Some(_) if (300..400).contains(&status) => {
            screen.finish()?;
            return Err(elsewhere(&exchange));
        }
        Some(_) if status >= 400 => {}
        Some(Place::File(target)) if wanted.resume => {
            resume::save_resumable(target, part, &mut exchange, journal)?;
        }
        Some(place) => save(&mut exchange.response.body, place)?,
        None => {
            if wanted.body {
                print_body(&mut exchange.response, wanted, screen, journal)?;
            }
            if let Some(location) = redirect::location(&exchange.response.head) {
                screen.finish()?;
                journal.remark(format_args!(
                    "{} answered {status} and has the file at {location}; --follow goes there",
                    exchange.request.server()
                ));
            }
        }
    }
    screen.finish()?;
    let body_bytes = exchange.response.body.read_bytes();
    journal.detail(format_args!("{body_bytes} bytes of body; all in {:.1?}", started_at.elapsed()));
    Ok(Outcome { request: exchange.request, status, was_complete })
}

/// Refuses a part of the file that was not asked for.
fn check_range(request: &Request, exchange: &mut Exchange) -> Result<(), WebClientError> {
    let Exchange { request: last, response: Response { head, body }, continues } = exchange;
    match request.ranges() {
        // The answer to a question for the rest of a part is looked at where it is saved.
        _ if head.status != 206 || *continues => {}
        Some(ranges) => {
            let checked = ranges.check(head, body.announced_bytes());
            if let Some(bytes) = checked.map_err(|what| WebClientError::wrong_part(&last.server(), what))? {
                body.expect_bytes(bytes, format!("asked for bytes {ranges}, got more than {bytes} bytes"));
            }
        }
        None => return Err(resume::not_asked_for(&last.server())),
    }
    Ok(())
}

/// Says what a person may not expect of a body.
fn remark_on_body(request: &Request, head: &ResponseHead, journal: Journal) {
    if request.ranges().is_some() && head.status == 200 {
        journal.remark("the server does not support ranges, or not these, and sends the whole file");
    }
    let codings = text::codings(head);
    if !codings.is_empty() && !request.accepts_codings() {
        let unpack = match &*codings {
            "gzip" | "x-gzip" => "; unpack it with gzip -d",
            "br" => "; unpack it with brotli -d",
            "zstd" => "; unpack it with zstd -d",
            _ => "",
        };
        journal.remark(format_args!(
            "the body is compressed ({codings}), which was not asked for, and left as it came{unpack}"
        ));
    }
}

fn elsewhere(exchange: &Exchange) -> WebClientError {
    let (server, head) = (exchange.request.server(), &exchange.response.head);
    match head.values("location").next().map(String::from_utf8_lossy) {
        Some(location) => WebClientError::refused(
            format!("{server} answered {} and has the file at {location}", head.status),
            "nothing is saved; ask there, or let --follow do it",
        ),
        None => WebClientError::refused(
            format!("{server} answered {} and has no file for us", head.status),
            "nothing is saved; check the name of the file",
        ),
    }
}

/// Prints a body as it comes; on a terminal only as long as it is text.
fn print_body<W: Write>(
    response: &mut Response,
    wanted: &Wanted,
    screen: &mut Screen<W>,
    journal: Journal,
) -> Result<(), WebClientError> {
    if wanted.head {
        screen.print_empty_line()?;
    }
    screen.expect(Kind::of(&response.head));
    while !screen.is_abandoned()
        && let Some(data) = response.body.next_piece()?
    {
        if !screen.print_body(data)? {
            screen.finish()?;
            let body = text::describe(&response.head, response.body.announced_bytes());
            journal.remark(format_args!(
                "the body ({body}) is no text and not shown on a terminal; save it with --output FILE, or pipe it with --body"
            ));
            break;
        }
    }
    Ok(())
}
