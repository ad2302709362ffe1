//! Short answers that are made on the spot.

use std::borrow::Cow;

use wire::http::{Method, Status, percent_encode_non_ascii};

/// An answer without a file.
#[derive(Debug)]
pub(super) struct Brief<'r> {
    pub(super) status: Status,
    /// What a person should know.
    pub(super) reason: &'r str,
    /// Further header fields, each with its CRLF.
    pub(super) fields: Cow<'r, str>,
    /// Whether `fields` has all that the site says of the resource.
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
        Self::new(Status::ServiceUnavailable, "too much to do; try again in a moment")
    }

    /// The query is appended unless `location` has one of its own.
    pub(super) fn redirect(status: Status, location: &str, query: Option<&str>) -> Self {
        let location = percent_encode_non_ascii(location);
        let fields = match query.filter(|_| !location.contains(['?', '#'])) {
            Some(query) => format!("Location: {location}?{}\r\n", percent_encode_non_ascii(query)),
            None => format!("Location: {location}\r\n"),
        };
        Self { fields: fields.into(), ..Self::new(status, "it is at another address") }
    }

    /// The answer to a method that does not ask for a file; none to GET and HEAD.
    pub(super) fn for_method(method: Method) -> Option<Self> {
        match method {
            Method::Get | Method::Head => None,
            Method::Options => Some(Self {
                fields: format!("Allow: {}\r\n", Method::ALLOW).into(),
                ..Self::new(Status::NoContent, "")
            }),
            Method::Other(_) => {
                Some(Self::new(Status::MethodNotAllowed, "only GET, HEAD and OPTIONS are answered here"))
            }
            Method::Unknown => Some(Self::new(Status::NotImplemented, "the method is not known")),
        }
    }
}
