//! Valid, malformed and hostile messages, in any pieces.

mod conditions;
mod framing;
mod negotiation;
mod paths;
mod ranges;
mod requests;
mod responses;
mod splits;

use super::*;

/// Reads the head of a complete and valid request.
fn head_of(request: &str) -> RequestHead<'_> {
    let parsed = parse_request(request.as_bytes());
    parsed.unwrap_or_else(|bad| panic!("{request:?} got {bad}")).expect("the request is whole")
}

/// The status of the answer as far as the head decides it, 200 if the head is valid, and 0 if it is incomplete.
fn status_of(request: &[u8]) -> u16 {
    match parse_request(request) {
        Ok(Some(head)) => match head.method {
            Method::Get | Method::Head | Method::Options => 200,
            Method::Other(_) => 405,
            Method::Unknown => 501,
        },
        Ok(None) => 0,
        Err(bad) => bad.status.code(),
    }
}

/// Checks the status of each request, and that each prefix of it is either incomplete or has the same status.
fn expect_statuses(requests: &[(&[u8], u16)]) {
    for &(request, status) in requests {
        let text = String::from_utf8_lossy(&request[..request.len().min(200)]);
        assert_eq!(status_of(request), status, "{text:?}");
        for end in (0..request.len()).step_by(1 + request.len() / 500) {
            let early = status_of(&request[..end]);
            assert!(early == 0 || early == status, "{text:?} up to {end} got {early}");
        }
    }
}
