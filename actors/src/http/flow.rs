//! Shows people what passes through the server, live, as server-sent events (HTML standard, section 9.2).

use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use wire::http::RequestHead;

use super::handshake::is_of_this_origin;
use crate::commands::connection::Door;
use crate::commands::feed::View;
use crate::transport::{Patience, Transport};

/// A client that does not take a text within this time is disconnected. The end of the server waits as long.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// How often to check whether the server ends.
const LOOK: Duration = Duration::from_millis(250);
/// When nothing happens a comment is sent this often: so proxies keep the connection, and the server notices a client that has
/// gone.
const COMMENT_INTERVAL: Duration = Duration::from_secs(5);
const COMMENT: &str = ":\n\n";

/// Why a request may not read the events, if it may not: pages of other sites must not, nor take the places of viewers.
///
/// A page whose host name has been made to resolve to this server (DNS rebinding) is of the same origin for the browser, but sends
/// its own name as Host. The admin address has no name of its own, so only IP addresses and `localhost` are accepted there.
pub(super) fn objection(head: &RequestHead<'_>, door: Door) -> Option<&'static str> {
    if door == Door::Admin && !head.host.is_some_and(is_literal) {
        return Some("at the address of --admin this is shown only under an IP address or localhost");
    }
    let is_elsewhere = head.fields.values("origin").next().is_some() && !is_of_this_origin(head, door);
    let mut sites = head.fields.values("sec-fetch-site");
    (is_elsewhere || !sites.all(|site| matches!(site, b"same-origin" | b"none")))
        .then_some("only the page of this server may read this")
}

fn is_literal(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Sends events until the client has gone or is too slow, or the server ends.
pub(super) fn show(view: &View, transport: &mut Transport, stopping: &AtomicBool) -> io::Result<()> {
    transport.set_write_timeout(WRITE_WAIT)?;
    let mut sent_at = Instant::now();
    while !stopping.load(Ordering::Relaxed) {
        match view.texts.recv_timeout(LOOK) {
            Ok(text) => write(transport, text.as_bytes())?,
            Err(RecvTimeoutError::Timeout) if sent_at.elapsed() < COMMENT_INTERVAL => continue,
            Err(RecvTimeoutError::Timeout) => write(transport, COMMENT.as_bytes())?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        sent_at = Instant::now();
    }
    transport.end_writing();
    Ok(())
}

/// Unlike [`Transport::write_all`] this does not wait for a client that takes a few bytes now and then.
fn write(transport: &mut Transport, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + WRITE_WAIT;
    while !bytes.is_empty() {
        match transport.write(&[IoSlice::new(bytes)], Patience::UntilTimeout, false) {
            Ok(count) => bytes = &bytes[count..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        transport.flush(Patience::UntilTimeout)?;
        if !bytes.is_empty() && Instant::now() >= end {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}
