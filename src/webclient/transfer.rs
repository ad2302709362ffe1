//! From what a person wants to what is printed and saved.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use wire::http::{Method, ResponseHead};

use super::exchange::{Exchange, exchange};
use super::resume::{Resumption, Step};
use super::save::{Place, save};
use super::text::{self, Kind};
use super::{Journal, Request, Response, Screen, Timeouts, WebClientError, redirect};

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
/// [`WebClientError`]; [`WebClientError::Elsewhere`] only if there is something to save. What was printed before it stays
/// printed.
pub fn transfer<W: Write>(
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    screen: &mut Screen<W>,
    journal: &mut Journal,
) -> Result<Outcome, WebClientError> {
    let started_at = Instant::now();
    let place = match &wanted.output {
        Some(path) if wanted.body => Some(place(path)?),
        _ => None,
    };
    let (mut exchange, step) = match &place {
        Some(Place::File(target)) if wanted.resume => {
            let (exchange, step) = Resumption::ask(target, request, wanted, timeouts, journal)?;
            (exchange, Some(step))
        }
        _ => (exchange(request, wanted, timeouts, None, journal)?, None),
    };
    let status = exchange.response.head.status;
    if wanted.head {
        screen.print_head(&exchange.response.head)?;
    }
    if request.asks_for_ranges() && status == 200 {
        journal.remark("the server knows nothing of ranges, or not of these, and sends the whole file");
    }
    let was_complete = matches!(step, Some(Step::Finish(_)));
    match (place, step) {
        (_, Some(Step::Finish(resumption))) => resumption.finish()?,
        (Some(_), _) if (300..400).contains(&status) => {
            screen.finish()?;
            return Err(elsewhere(&exchange));
        }
        (Some(_), _) if status >= 400 => {}
        (Some(_), Some(Step::Save(resumption))) => resumption.save(&mut exchange, journal)?,
        (Some(_), None) if status == 206 && !request.asks_for_ranges() => {
            let server = exchange.request.server();
            return Err(WebClientError::BadPart { server, what: "nobody has asked for a part", part: None });
        }
        (Some(place), None) => save(&mut exchange.response.body, &place)?,
        (None, _) => {
            if wanted.body {
                print_body(&mut exchange.response, wanted, screen, journal)?;
            }
            if let Some(location) = redirect::location(&exchange.response.head) {
                let server = exchange.request.server();
                screen.finish()?;
                journal.remark(format_args!(
                    "{server} answered {status} and has the file at {location}; --follow goes there"
                ));
            }
        }
    }
    screen.finish()?;
    let body_bytes = exchange.response.body.read_bytes();
    journal.detail(format_args!("{body_bytes} bytes of body; all in {:.1?}", started_at.elapsed()));
    Ok(Outcome { request: exchange.request, status, was_complete })
}

fn place(path: &Path) -> Result<Place, WebClientError> {
    Place::of(path).map_err(|cause| WebClientError::Save { path: path.to_owned(), cause })
}

fn elsewhere(exchange: &Exchange) -> WebClientError {
    let head: &ResponseHead = &exchange.response.head;
    let location = head.values("location").next();
    WebClientError::Elsewhere {
        server: exchange.request.server(),
        status: head.status,
        location: location.map(|location| String::from_utf8_lossy(location).into_owned()),
    }
}

/// Prints a body as it comes; on a terminal only as long as it is text.
fn print_body<W: Write>(
    response: &mut Response,
    wanted: &Wanted,
    screen: &mut Screen<W>,
    journal: &mut Journal,
) -> Result<(), WebClientError> {
    if wanted.head {
        screen.print_empty_line()?;
    }
    screen.expect(Kind::of(&response.head));
    while !screen.is_abandoned()
        && let Some(data) = response.body.next_part()?
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
