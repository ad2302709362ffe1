//! The web client: fetches one file from any HTTP/1.1 server and shows it or saves it.
//!
//! [`fetch()`] has a conversation with the server, [`transfer`] does with the answer what a person asked for.

mod error;
mod fetch;
mod request;
mod save;
mod show;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use wire::http::Method;

pub use error::WebClientError;
pub use fetch::{BodyReader, Response, Timeouts, fetch};
pub use request::{BadHost, Request};
pub use show::Screen;

/// Shortest body that gets a progress bar: less is there before anybody looks.
const PROGRESS_BYTES_MIN: u64 = 1024 * 1024;

/// What to do with an answer.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Print the status line and the header fields.
    pub head: bool,
    /// Print the body, or save it.
    pub body: bool,
    /// Where to save the body instead of printing it.
    pub output: Option<PathBuf>,
}

impl Wanted {
    /// The method that fetches no more than what is wanted.
    pub fn method(&self) -> Method {
        if self.body { Method::Get } else { Method::Head }
    }
}

/// Fetches a file and prints or saves it, as wanted. Returns the status of the answer.
///
/// A body goes to its file only with a status from 200 to 299, so that no page about an error or a new address is taken for
/// the file; and the file gets its name only when it is whole. A reader of `out` that has gone away is no error.
///
/// # Errors
/// [`WebClientError`]; [`WebClientError::Elsewhere`] only if there is something to save. What was printed before it stays
/// printed.
pub fn transfer<W: Write>(
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    screen: &mut Screen<W>,
) -> Result<u16, WebClientError> {
    let mut response = fetch(request, wanted.method(), timeouts)?;
    let status = response.head.status;
    if wanted.head {
        screen.print_head(&response.head)?;
    }
    match &wanted.output {
        _ if !wanted.body => {}
        Some(_) if (300..400).contains(&status) => {
            screen.finish()?;
            let location = response.head.values("location").next();
            let location = location.map(|location| String::from_utf8_lossy(location).into_owned());
            return Err(WebClientError::Elsewhere { server: request.server(), status, location });
        }
        Some(_) if status >= 400 => {}
        Some(path) => save::save(&mut response.body, path)?,
        None => {
            if wanted.head {
                screen.print_empty_line()?;
            }
            while !screen.is_abandoned()
                && let Some(data) = response.body.next_part()?
            {
                screen.print_body(data)?;
            }
        }
    }
    screen.finish()?;
    Ok(status)
}
