//! Fetching a file and printing or saving it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use wire::http::{Method, ResponseHead};

use super::exchange::Exchange;
use super::part::Part;
use super::save::{Target, save};
use super::text::{self, Kind};
use super::{Journal, Request, Response, Screen, Timeouts, WebClientError, redirect, resume};

/// What to do with the response.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Print the status line and the header fields.
    pub(super) head: bool,
    /// Print the body, or save it.
    pub(super) body: bool,
    /// Save the body here instead of printing it.
    pub(super) output: Option<PathBuf>,
    /// Continue an earlier call with the same `output`, and keep an incomplete body for the next call.
    pub(super) resume: bool,
    pub(super) redirects_max: usize,
}

impl Wanted {
    pub(super) fn method(&self) -> Method {
        if self.body { Method::Get } else { Method::Head }
    }
}

#[derive(Debug)]
pub(super) struct Outcome {
    /// The last request; differs from the first after redirections.
    pub(super) request: Request,
    pub(super) status: u16,
    /// Whether the part from earlier calls was already the whole file. The status is 416 then.
    pub(super) was_complete: bool,
}

impl Outcome {
    pub(super) fn is_success(&self) -> bool {
        self.status < 400 || self.was_complete
    }
}

/// Fetches a file and prints or saves it.
///
/// Only a status from 200 to 299 saves a body, so that an error page or a redirection never replaces the file, and the
/// file gets its name only when the body is complete. A closed pipe behind `screen` is not an error.
///
/// # Errors
/// A redirection that is not followed is an error only with `output`. What was printed before an error stays printed.
pub(super) fn transfer<W: Write>(
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    screen: &mut Screen<W>,
    journal: Journal,
) -> Result<Outcome, WebClientError> {
    let started_at = Instant::now();
    let output = wanted.output.as_deref().filter(|_| wanted.body).map(Target::of).transpose()?;
    let target = match &output {
        Some(Target::File(target)) if wanted.resume => Some(target),
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
    match &output {
        _ if was_complete => {
            if let (Some(part), Some(target)) = (part, target) {
                part.finish().map_err(|cause| WebClientError::save(target, &cause))?;
            }
        }
        Some(_) if (300..400).contains(&status) => {
            screen.finish()?;
            return Err(elsewhere(&exchange));
        }
        Some(_) if status >= 400 => {}
        Some(Target::File(target)) if wanted.resume => {
            resume::save_resumable(target, part, &mut exchange, journal)?;
        }
        Some(output) => save(&mut exchange.response.body, output)?,
        None => {
            if wanted.body {
                print_body(&mut exchange.response, wanted, screen, journal)?;
            }
            if let Some(location) = redirect::location(&exchange.response.head) {
                screen.finish()?;
                journal.remark(format_args!(
                    "{} answered {status} and redirects to {location}; --follow follows it",
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

/// Refuses a part of the file that was not requested.
fn check_range(request: &Request, exchange: &mut Exchange) -> Result<(), WebClientError> {
    let Exchange { request: last, response: Response { head, body }, continues } = exchange;
    match &request.ranges {
        // The rest of a part is checked where it is saved.
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

/// Tells the user about a body that is not what they may expect.
fn remark_on_body(request: &Request, head: &ResponseHead, journal: Journal) {
    if request.ranges.is_some() && head.status == 200 {
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
            "the body is compressed ({codings}) although the request did not ask for it; it is left compressed{unpack}"
        ));
    }
}

fn elsewhere(exchange: &Exchange) -> WebClientError {
    let (server, head) = (exchange.request.server(), &exchange.response.head);
    match head.values("location").next().map(String::from_utf8_lossy) {
        Some(location) => WebClientError::refused(
            format!("{server} answered {} and redirects to {location}", head.status),
            "nothing is saved; request that address, or use --follow",
        ),
        None => WebClientError::refused(
            format!("{server} answered {} without a Location", head.status),
            "nothing is saved; check the name of the file",
        ),
    }
}

/// Prints the body as it arrives; on a terminal only while it is text.
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
                "the body ({body}) is not text, so it is not shown on a terminal; save it with --output FILE, or pipe it with --body"
            ));
            break;
        }
    }
    Ok(())
}
