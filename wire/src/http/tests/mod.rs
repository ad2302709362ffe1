//! Requests and responses as they come, hostile ones among them, in every split.

mod conditions;
mod framing;
mod negotiation;
mod paths;
mod ranges;
mod requests;
mod responses;
mod splits;

use super::*;

/// Reads a whole request that has to be good.
fn head_of(request: &str) -> RequestHead<'_> {
    let parsed = parse_request(request.as_bytes());
    parsed.unwrap_or_else(|bad| panic!("{request:?} got {bad}")).expect("the request is whole")
}

/// What the bytes are answered with as far as they alone decide: 200, the status of a refusal, or 0 if more are needed.
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

/// Checks what each request is answered with, whole and byte by byte: a prefix gets the same answer or none yet.
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
