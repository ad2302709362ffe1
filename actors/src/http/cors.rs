//! The CORS protocol of the Fetch standard: which other origins may read the site.

use std::borrow::Cow;

use wire::http::{Fields, Method, RequestHead};

use crate::site::Cors;

/// The response fields that scripts may read, beside those that the standard always allows.
const EXPOSED: &str =
    "Access-Control-Expose-Headers: Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag\r\n";

/// The answer to a preflight request: whatever is useful with a file, valid for a day.
const ALLOWED: &str = "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
    Access-Control-Allow-Headers: Authorization, Cache-Control, If-Match, If-Modified-Since, If-None-Match, If-Range, \
    If-Unmodified-Since, Range\r\nAccess-Control-Max-Age: 86400\r\n";

/// The fields of every response.
pub(super) fn fields(cors: Option<&Cors>, head: &RequestHead<'_>) -> Cow<'static, str> {
    match cors {
        None => "".into(),
        Some(Cors::Any) => format!("Access-Control-Allow-Origin: *\r\n{EXPOSED}").into(),
        Some(Cors::Origins(origins)) => {
            match head.has_origin.then(|| only_origin(head.fields)).flatten() {
                Some(origin) if origins.iter().any(|allowed| allowed.as_bytes() == origin) => {
                    let origin = String::from_utf8_lossy(origin);
                    format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n{EXPOSED}").into()
                }
                // An allowed origin would get another response.
                _ => "Vary: Origin\r\n".into(),
            }
        }
    }
}

/// The further fields of the response to a preflight request.
pub(super) fn preflight_fields(cors: Option<&Cors>, head: &RequestHead<'_>) -> &'static str {
    let asks = head.method == Method::Options
        && head.has_origin
        && head.fields.values("access-control-request-method").next().is_some();
    if asks && cors.is_some() { ALLOWED } else { "" }
}

fn only_origin(fields: Fields<'_>) -> Option<&[u8]> {
    let mut origins = fields.values("origin");
    origins.next().filter(|_| origins.next().is_none())
}
