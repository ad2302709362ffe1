//! One end of a file transfer through the server: copies the encrypted bytes from the sender to the receiver.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::frame::frame;
use wire::protocol::{ErrorCode, Side, ToPeer};

use super::Services;
use super::buffers::Outgoing;
use super::shell::linger;
use crate::commands::pace::Pace;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::commands::router::{Command, Partner, RouterHandle, SPLICE_WAIT, SpliceEnd, SpliceRefused};
use crate::commands::session::SessionId;
use crate::linux;
use crate::runtime::{NoAnswer, Pending, reply};
use crate::transport::Transport;

/// How long a transfer may make no progress.
const STALL: Duration = Duration::from_secs(30);
/// How often a waiting end checks whether its peer is still connected and whether the server shuts down.
const LOOK: Duration = Duration::from_millis(250);

/// Why a transfer did not start.
enum Alone {
    Nobody,
    Gone,
}

/// The registration of an end with the Router. Dropping it ends the registration.
struct Place<'a>(&'a RouterHandle, SessionId);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Fails only when the Router has ended.
        let _ = self.0.send(Command::SpliceEnded(self.1));
    }
}

/// Waits for the other end. The session that gets its connection copies the bytes.
pub(super) fn serve(transport: &mut Transport, end: SpliceEnd, services: &Services) -> io::Result<()> {
    // The file is encrypted by the peers, so the bytes go directly from socket to socket.
    let stream = &Arc::clone(transport.socket());
    let (side, place) = (end.side, Place(&services.router, end.session));
    let (reply, pending) = reply();
    let asked = services.router.send(Command::Splice { end, stream: Arc::clone(stream), reply });
    let answer = match asked {
        Ok(()) => wait(stream, &pending, &services.stopping),
        Err(_) => Err(Alone::Nobody),
    };
    let (partner, pace) = match answer {
        Ok(Partner::Here(partner, pace)) => (partner, pace),
        Ok(Partner::CarriesOn) => {
            // The other end's session ends both registrations.
            std::mem::forget(place);
            return Ok(());
        }
        Ok(Partner::Refused(refused)) => {
            refused.limit().into_iter().for_each(|limit| services.router.counts.count(limit));
            return refuse(transport, code(refused), &refused.to_string());
        }
        Err(Alone::Nobody) => {
            return refuse(
                transport,
                ErrorCode::TimedOut,
                "the other end of the transfer did not connect in time",
            );
        }
        Err(Alone::Gone) => return Ok(()),
    };
    let (sender, receiver) = match side {
        Side::Sender => (&**stream, &*partner),
        Side::Receiver => (&*partner, &**stream),
    };
    carry(sender, receiver, &pace, &services.router.counts)
}

fn code(refused: SpliceRefused) -> ErrorCode {
    match refused {
        SpliceRefused::NoMember | SpliceRefused::Occupied => ErrorCode::OutOfPlace,
        SpliceRefused::MemberFull | SpliceRefused::AddressFull | SpliceRefused::ServerFull => ErrorCode::Busy,
    }
}

fn refuse(transport: &mut Transport, code: ErrorCode, detail: &str) -> io::Result<()> {
    tracing::info!(target: "session", ?code, detail, "refused");
    let mut outgoing = Outgoing::default();
    outgoing.push_message(&ToPeer::Error { code, detail: detail.into() });
    linger(transport, &mut outgoing)
}

/// Waits for the other end. Stops early if the server shuts down or this end's peer disconnects.
fn wait(stream: &TcpStream, pending: &Pending<Partner>, stopping: &AtomicBool) -> Result<Partner, Alone> {
    let deadline = Instant::now() + SPLICE_WAIT;
    loop {
        match pending.wait(LOOK) {
            Ok(partner) => return Ok(partner),
            Err(NoAnswer::TimedOut) if has_gone(stream) => return Err(Alone::Gone),
            Err(NoAnswer::TimedOut) if Instant::now() < deadline && !stopping.load(Ordering::Relaxed) => {}
            Err(_) => return Err(Alone::Nobody),
        }
    }
}

/// Whether the peer has closed or reset the connection. The peer sends nothing before the transfer starts, so a read
/// would not lose data.
fn has_gone(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(e) => e.kind() != io::ErrorKind::WouldBlock && e.kind() != io::ErrorKind::Interrupted,
    }
}

fn carry(sender: &TcpStream, receiver: &TcpStream, pace: &Pace, counts: &PeerCounts) -> io::Result<()> {
    use std::io::Write;
    for mut stream in [sender, receiver] {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        stream.write_all(&frame(&ToPeer::Spliced))?;
    }
    let mut is_slowed = false;
    let keep_pace = |bytes: usize| {
        let wait = pace.count(Instant::now(), bytes as u64);
        if !wait.is_zero() && !std::mem::replace(&mut is_slowed, true) {
            counts.count(Limit::TransferRate);
        }
        std::thread::sleep(wait);
    };
    let bytes = linux::splice_all(sender, receiver, keep_pace)?;
    receiver.shutdown(Shutdown::Write)?;
    tracing::info!(target: "route", kind = "file", bytes, outcome = "relayed");
    Ok(())
}
