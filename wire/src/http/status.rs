//! The status codes that the server sends.

use std::fmt;

/// A status code (RFC 9110, section 15; RFC 6585, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// The connection continues with another protocol.
    SwitchingProtocols = 101,
    /// The request has succeeded.
    Ok = 200,
    /// The request has succeeded and there is no content.
    NoContent = 204,
    /// The requested ranges follow.
    PartialContent = 206,
    /// The resource has moved for good; the method may become GET.
    MovedPermanently = 301,
    /// The resource is elsewhere for now; the method may become GET.
    Found = 302,
    /// The client's copy is still valid.
    NotModified = 304,
    /// The resource is elsewhere for now; the method stays.
    TemporaryRedirect = 307,
    /// The resource has moved for good; the method stays.
    PermanentRedirect = 308,
    /// The request is malformed, or two recipients could read it differently.
    BadRequest = 400,
    /// The request needs a name and a password.
    Unauthorized = 401,
    /// The file exists but is not served.
    Forbidden = 403,
    /// There is no such file.
    NotFound = 404,
    /// The method is known but does not apply to files.
    MethodNotAllowed = 405,
    /// The request did not arrive in time.
    RequestTimeout = 408,
    /// A condition of the request does not hold.
    PreconditionFailed = 412,
    /// The target is longer than the server reads.
    UriTooLong = 414,
    /// No requested range overlaps the content.
    RangeNotSatisfiable = 416,
    /// The request has an expectation other than 100-continue.
    ExpectationFailed = 417,
    /// The resource needs another protocol, which the response names.
    UpgradeRequired = 426,
    /// The head is longer than the server reads.
    HeaderFieldsTooLarge = 431,
    /// The server has failed.
    InternalServerError = 500,
    /// The method or transfer coding is unknown.
    NotImplemented = 501,
    /// The server is overloaded.
    ServiceUnavailable = 503,
    /// The major version of HTTP is not supported.
    VersionNotSupported = 505,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reason phrase.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::SwitchingProtocols => "Switching Protocols",
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
            Self::UpgradeRequired => "Upgrade Required",
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
