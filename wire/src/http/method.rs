//! Request methods.

use super::fields::is_token;
use super::request::BadRequest;
use super::status::Status;

/// Request methods (RFC 9110, section 9), as far as they are told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head alone.
    Head,
    /// What can be done with the target.
    Options,
    /// Another method of IANA's registry, with its name. No file has it: 405.
    Other(&'static str),
    /// A name that nobody has registered: 501.
    Unknown,
}

/// No method in IANA's registry has more than 17 bytes.
const NAME_BYTES_MAX: usize = 32;

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
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl Method {
    /// The value of the `Allow` field that goes with a 405.
    pub const ALLOW: &str = "GET, HEAD, OPTIONS";

    /// The method's name as it is in a request; `-` for one that is not known.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Other(name) => name,
            Self::Unknown => "-",
        }
    }

    /// Reads a method. Names are case-sensitive.
    ///
    /// # Errors
    /// 400 for what is no token, 501 for a token that is longer than any method (RFC 9112, section 3). Only as many bytes
    /// decide as may have arrived by then, so that the answer does not depend on how they did.
    pub(super) fn parse(name: &[u8]) -> Result<Self, BadRequest> {
        match name {
            b"GET" => return Ok(Self::Get),
            b"HEAD" => return Ok(Self::Head),
            b"OPTIONS" => return Ok(Self::Options),
            _ => {}
        }
        if !is_token(&name[..name.len().min(NAME_BYTES_MAX + 1)]) {
            return Err(BadRequest::malformed("the method is not a token"));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(BadRequest::new(Status::NotImplemented, "the method is longer than any"));
        }
        let registered = REGISTERED.iter().find(|known| known.as_bytes() == name);
        Ok(registered.map_or(Self::Unknown, |name| Self::Other(name)))
    }
}
