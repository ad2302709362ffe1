//! HTTP/1.1 (RFC 9110 and RFC 9112) as far as a file server and a web client need it, without I/O.
//!
//! Both directions are strict where two readers of the same bytes could disagree on where a message ends: bare CR and
//! LF, doubtful lengths and unknown codings are refused, never guessed at.

mod accept;
mod basic_auth;
mod body;
mod coding;
mod conditional;
mod fields;
mod media_type;
mod method;
mod range;
mod request;
mod response;
mod status;
mod target;

#[cfg(test)]
mod tests;

pub use accept::prefers_json;
pub use basic_auth::{BasicCredentials, basic_credentials};
pub use body::{BadBody, BodyDecoder, BodyLength, Decoded};
pub use coding::{AcceptedCodings, Coding};
pub use conditional::{Condition, EntityTag, Validators, evaluate};
pub use fields::{Fields, Version, is_token};
pub use media_type::{MediaType, NotAMediaType, content_type, is_compressible};
pub use method::Method;
pub use range::{Multipart, Part, Wanted, unsatisfied_content_range, wanted_parts};
pub use request::{
    BadRequest, HEAD_BYTES_MAX, HEADER_COUNT_MAX, RequestHead, TARGET_BYTES_MAX, parse_request,
};
pub use response::{BadResponse, RESPONSE_HEAD_BYTES_MAX, ResponseHead, parse_response};
pub use status::Status;
pub use target::{BadPath, SitePath, Target, percent_encode_non_ascii, percent_encode_path};
