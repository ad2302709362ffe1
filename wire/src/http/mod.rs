//! The parts of HTTP/1.1 (RFC 9110 and RFC 9112) that a file server and a web client need, without I/O.
//!
//! Both directions refuse messages whose end two recipients could see at different places: those with bare CR or LF,
//! ambiguous lengths or unknown transfer codings.

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
    BadRequest, HEAD_BYTES_MAX, HEADER_COUNT_MAX, KeptHead, RequestHead, TARGET_BYTES_MAX, parse_request,
};
pub use response::{BadResponse, RESPONSE_HEAD_BYTES_MAX, ResponseHead, parse_response};
pub use status::Status;
pub use target::{
    BadPath, SitePath, Target, has_control_character, percent_encode_non_ascii, percent_encode_path,
};
