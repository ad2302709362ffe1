//! The status codes that the server sends.

use std::fmt;

/// A status code of RFC 9110, section 15, or RFC 6585.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200
    Ok,
    /// 304: the client's copy is still good.
    NotModified,
    /// 308: for good, and with the same method.
    PermanentRedirect,
    /// 400: not a request that two readers would understand alike.
    BadRequest,
    /// 403: there, but not for the web.
    Forbidden,
    /// 404
    NotFound,
    /// 405: a known method that files do not have.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 414: the target is longer than the server reads.
    UriTooLong,
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
            Self::NotModified => 304,
            Self::PermanentRedirect => 308,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UriTooLong => 414,
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
            Self::NotModified => "Not Modified",
            Self::PermanentRedirect => "Permanent Redirect",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UriTooLong => "URI Too Long",
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
