//! The status codes that the server sends.

use std::fmt;

/// A status code of RFC 9110, section 15, or RFC 6585.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200
    Ok,
    /// 204: done, and nothing to show.
    NoContent,
    /// 206: the parts that were asked for.
    PartialContent,
    /// 301
    MovedPermanently,
    /// 302
    Found,
    /// 304: the client's copy is still good.
    NotModified,
    /// 307: for now, and with the same method.
    TemporaryRedirect,
    /// 308: for good, and with the same method.
    PermanentRedirect,
    /// 400: not a request that two readers would understand alike.
    BadRequest,
    /// 401: a name and a password are needed.
    Unauthorized,
    /// 403: there, but not for the web.
    Forbidden,
    /// 404
    NotFound,
    /// 405: a known method that files do not have.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 412: a condition of the request does not hold.
    PreconditionFailed,
    /// 414: the target is longer than the server reads.
    UriTooLong,
    /// 416: no part that was asked for exists.
    RangeNotSatisfiable,
    /// 417: an expectation other than 100-continue.
    ExpectationFailed,
    /// 431: the head is longer than the server reads.
    HeaderFieldsTooLarge,
    /// 500: our own fault.
    InternalServerError,
    /// 501: a method or coding that the server does not know.
    NotImplemented,
    /// 503: too much to do at this moment.
    ServiceUnavailable,
    /// 505: another major version of HTTP.
    VersionNotSupported,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::NoContent => 204,
            Self::PartialContent => 206,
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::NotModified => 304,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::PreconditionFailed => 412,
            Self::UriTooLong => 414,
            Self::RangeNotSatisfiable => 416,
            Self::ExpectationFailed => 417,
            Self::HeaderFieldsTooLarge => 431,
            Self::InternalServerError => 500,
            Self::NotImplemented => 501,
            Self::ServiceUnavailable => 503,
            Self::VersionNotSupported => 505,
        }
    }

    /// The words that go with the number.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::PartialContent => "Partial Content",
            Self::MovedPermanently => "Moved Permanently",
            Self::Found => "Found",
            Self::NotModified => "Not Modified",
            Self::TemporaryRedirect => "Temporary Redirect",
            Self::PermanentRedirect => "Permanent Redirect",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::PreconditionFailed => "Precondition Failed",
            Self::UriTooLong => "URI Too Long",
            Self::RangeNotSatisfiable => "Range Not Satisfiable",
            Self::ExpectationFailed => "Expectation Failed",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::InternalServerError => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.phrase())
    }
}
