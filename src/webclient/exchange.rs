//! Sends a request and follows redirections to the final response.

use super::part::Source;
use super::redirect;
use super::{Journal, Request, Response, Timeouts, Wanted, WebClientError, fetch};

#[derive(Debug)]
pub(super) struct Exchange {
    /// The last request, without the range of [`Request::continued`].
    pub(super) request: Request,
    pub(super) response: Response,
    /// Whether the request was only for what follows a part.
    pub(super) continues: bool,
}

/// Sends the request and follows redirections. At the URL of `have`, it requests only what follows those bytes.
pub(super) fn exchange(
    request: &Request,
    wanted: &Wanted,
    timeouts: &Timeouts,
    have: Option<(&Source, u64)>,
    journal: Journal,
) -> Result<Exchange, WebClientError> {
    let mut request = request.clone();
    let mut redirects = 0;
    loop {
        // After a redirection a part of one file must not be continued with another.
        let have = have.filter(|(source, _)| source.url == request.url());
        let asked = match have {
            Some((source, bytes)) => request.clone().continued(bytes, source.version.as_str()),
            None => request.clone(),
        };
        let response = fetch(&asked, wanted.method(), timeouts, journal)?;
        let status = response.head.status;
        match redirect::location(&response.head) {
            Some(location) if redirects < wanted.redirects_max => {
                request = redirect::follow(&request, status, &location)?;
                redirects += 1;
                journal.detail(format_args!("redirection {redirects}: to {}", request.url()));
            }
            Some(location) if wanted.redirects_max > 0 => {
                let what = format!(
                    "{} answered {status} and redirects to {location}, after {redirects} redirections already",
                    request.server()
                );
                return Err(WebClientError::refused(what, "check the name, or allow more with --follow=N"));
            }
            _ => return Ok(Exchange { request, response, continues: have.is_some() }),
        }
    }
}
