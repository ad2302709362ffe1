//! Request methods.

use super::fields::is_token;
use super::request::BadRequest;
use super::status::Status;

/// The methods that a file has (RFC 9110, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head alone.
    Head,
}

/// Every other method in IANA's registry: known, so the answer is "not for this resource" and not "what is that?".
const REGISTERED: [&str; 37] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "VERSION-CONTROL",
];

impl Method {
    /// The value of the `Allow` field that goes with a 405.
    pub const ALLOW: &str = "GET, HEAD";

    /// The method's name as it is in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }

    /// Reads a method. Names are case-sensitive.
    pub(super) fn parse(name: &[u8]) -> Result<Self, BadRequest> {
        match name {
            b"GET" => Ok(Self::Get),
            b"HEAD" => Ok(Self::Head),
            _ if REGISTERED.iter().any(|known| known.as_bytes() == name) => {
                Err(BadRequest::new(Status::MethodNotAllowed, "only GET and HEAD are answered here"))
            }
            _ if is_token(name) => Err(BadRequest::new(Status::NotImplemented, "the method is not known")),
            _ => Err(BadRequest::malformed("the method is not a token")),
        }
    }
}
