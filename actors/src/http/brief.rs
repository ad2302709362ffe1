//! Responses without a file, for errors and redirections.

use std::borrow::Cow;

use wire::http::{Method, RequestHead, Status, percent_encode_non_ascii};

/// The port of `https` addresses without one.
const HTTPS_PORT: u16 = 443;

#[derive(Debug)]
pub(super) struct Brief<'r> {
    pub(super) status: Status,
    /// The text of the body, for people.
    pub(super) reason: &'r str,
    /// Further header fields, each with its CRLF.
    pub(super) fields: Cow<'r, str>,
    /// Whether `fields` has the fields that the site sets for the requested file. Otherwise the general ones are added.
    pub(super) is_of_resource: bool,
}

impl<'r> Brief<'r> {
    pub(super) fn new(status: Status, reason: &'r str) -> Self {
        let fields = match status {
            Status::MethodNotAllowed => format!("Allow: {}\r\n", Method::ALLOW).into(),
            Status::ServiceUnavailable => "Retry-After: 1\r\n".into(),
            Status::Unauthorized => "WWW-Authenticate: Basic realm=\"site\", charset=\"UTF-8\"\r\n".into(),
            _ => "".into(),
        };
        Self { status, reason, fields, is_of_resource: false }
    }

    pub(super) fn busy() -> Self {
        Self::new(Status::ServiceUnavailable, "the server is overloaded; try again in a moment")
    }

    /// The query of the request is appended unless `location` has its own.
    pub(super) fn redirect(status: Status, location: &str, query: Option<&str>) -> Self {
        let location = percent_encode_non_ascii(location);
        let fields = match query.filter(|_| !location.contains(['?', '#'])) {
            Some(query) => format!("Location: {location}?{}\r\n", percent_encode_non_ascii(query)),
            None => format!("Location: {location}\r\n"),
        };
        Self { fields: fields.into(), ..Self::new(status, "it is at another address") }
    }

    /// The redirection to the same address with TLS, on `port`.
    pub(super) fn https(head: &RequestHead<'_>, port: u16) -> Self {
        // Only HTTP/1.0 has requests without a host.
        let Some(host) = head.host.filter(|host| !host.is_empty()) else {
            return Self::new(Status::BadRequest, "use TLS, or name the host");
        };
        let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
        let location = format!("https://{host}{port}{}", head.target.path);
        Self::redirect(Status::PermanentRedirect, &location, head.target.query)
    }

    /// The response to a method other than GET and HEAD.
    pub(super) fn for_method(method: Method) -> Option<Self> {
        match method {
            Method::Get | Method::Head => None,
            Method::Options => Some(Self {
                fields: format!("Allow: {}\r\n", Method::ALLOW).into(),
                ..Self::new(Status::NoContent, "")
            }),
            Method::Other(_) => {
                Some(Self::new(Status::MethodNotAllowed, "only GET, HEAD and OPTIONS are supported here"))
            }
            Method::Unknown => Some(Self::new(Status::NotImplemented, "the method is unknown")),
        }
    }
}
