//! Shows people what passes through the server, live, as server-sent events (HTML standard, section 9.2).

use std::io::{self, ErrorKind, IoSlice};
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
pub(super) fn objection(head: &RequestHead<'_>, door: Door) -> Option<&'static str> {
    let is_elsewhere = head.fields.values("origin").next().is_some() && !is_of_this_origin(head, door);
    let mut sites = head.fields.values("sec-fetch-site");
    (is_elsewhere || !sites.all(|site| matches!(site, b"same-origin" | b"none")))
        .then_some("only the page of this server may read this")
}

/// Sends events until the client has gone or is too slow, or the server ends.
pub(super) fn show(view: &View, transport: &mut Transport, stopping: &AtomicBool) -> io::Result<()> {
    transport.set_write_timeout(WRITE_WAIT)?;
    let mut sent_at = Instant::now();
    while !stopping.load(Ordering::Relaxed) {
        match view.texts.recv_timeout(LOOK) {
            Ok(text) => write(transport, text.as_bytes(), WRITE_WAIT)?,
            Err(RecvTimeoutError::Timeout) if sent_at.elapsed() < COMMENT_INTERVAL => continue,
            Err(RecvTimeoutError::Timeout) => write(transport, COMMENT.as_bytes(), WRITE_WAIT)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        sent_at = Instant::now();
    }
    transport.end_writing();
    Ok(())
}

/// Unlike [`Transport::write_all`] this does not wait for a client that takes a few bytes now and then.
fn write(transport: &mut Transport, mut bytes: &[u8], wait: Duration) -> io::Result<()> {
    let end = Instant::now() + wait;
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_viewer_that_takes_a_few_bytes_now_and_then_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let _client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (socket, _) = listener.accept().expect("a client has connected");
        SockRef::from(&socket).set_send_buffer_size(4096).expect("it is a socket");
        let mut transport = Transport::plain(socket);
        transport.set_write_timeout(Duration::from_millis(50)).expect("it is not zero");
        // The system takes a part of the bytes, as if the client had taken them. Then the time is over. Otherwise the next write
        // would time out, which is `WouldBlock`.
        let written = write(&mut transport, &vec![0; 64 << 20], Duration::ZERO);
        assert_eq!(written.map_err(|e| e.kind()), Err(ErrorKind::TimedOut));
    }
}
