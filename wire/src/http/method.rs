//! Request methods.

use super::fields::is_token;
use super::request::BadRequest;
use super::status::Status;

/// A request method (RFC 9110, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Options,
    /// Another registered method, by its name. None of them applies to files: 405.
    Other(&'static str),
    /// A method that is not registered: 501.
    Unknown,
}

/// Bound on the length of a method; the longest registered one has 17 bytes.
const NAME_BYTES_MAX: usize = 32;

/// The other methods in IANA's registry. They are recognized, so that the answer is 405 and not 501 (RFC 9110, section 9.1).
const REGISTERED: &str = "
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL
    MKREDIRECTREF MKWORKSPACE MOVE ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE
    UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
";

impl Method {
    /// The value of the `Allow` field that goes with a 405.
    pub const ALLOW: &str = "GET, HEAD, OPTIONS";

    /// The method's name; `-` for one that is not registered.
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
    /// 400 for what is not a token, 501 for a token that is longer than any method (RFC 9112, section 3). Bytes after
    /// the bound do not count, because the answer must not depend on how many of them have arrived.
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
            return Err(BadRequest::new(
                Status::NotImplemented,
                "the method is longer than any registered one",
            ));
        }
        let registered = REGISTERED.split_ascii_whitespace().find(|known| known.as_bytes() == name);
        Ok(registered.map_or(Self::Unknown, Self::Other))
    }
}
