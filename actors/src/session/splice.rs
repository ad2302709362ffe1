//! One end of a transfer of a file through the server: bytes from the sender to the receiver, which nobody here reads.

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
use crate::commands::router::{Command, Partner, RouterHandle, SPLICE_WAIT, SpliceEnd, SpliceRefused};
use crate::commands::session::SessionId;
use crate::linux;
use crate::runtime::{NoAnswer, Pending, reply};
use crate::transport::Transport;

/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(30);
/// How often an end that waits for the other looks whether its peer is still there, and whether the server ends.
const LOOK: Duration = Duration::from_millis(250);

/// Why there is no other end.
enum Alone {
    /// It did not come.
    Nobody,
    /// This end has gone.
    Gone,
}

/// The place of an end at the Router, which is free again when this is dropped.
struct Place<'a>(&'a RouterHandle, SessionId);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Fails only when the Router is gone, and its places with it.
        let _ = self.0.send(Command::SpliceEnded(self.1));
    }
}

/// Waits for the other end, and if this is the session that carries the bytes, carries them.
pub(super) fn serve(transport: &Transport, end: SpliceEnd, services: &Services) -> io::Result<()> {
    // Encrypted inside already, the bytes go from socket to socket.
    let stream = transport.socket();
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
            // The other end's session gives back both places.
            std::mem::forget(place);
            return Ok(());
        }
        Ok(Partner::Refused(refused)) => {
            refused.limit().into_iter().for_each(|limit| services.router.counts.count(limit));
            return refuse(transport, code(refused), &refused.to_string());
        }
        Err(Alone::Nobody) => {
            return refuse(transport, ErrorCode::TimedOut, "the other end of the transfer did not come");
        }
        Err(Alone::Gone) => return Ok(()),
    };
    let (sender, receiver) = match side {
        Side::Sender => (&**stream, &*partner),
        Side::Receiver => (&*partner, &**stream),
    };
    carry(sender, receiver, &pace)
}

fn code(refused: SpliceRefused) -> ErrorCode {
    match refused {
        SpliceRefused::NoMember | SpliceRefused::Occupied => ErrorCode::OutOfPlace,
        SpliceRefused::MemberFull | SpliceRefused::AddressFull | SpliceRefused::ServerFull => ErrorCode::Busy,
    }
}

fn refuse(transport: &Transport, code: ErrorCode, detail: &str) -> io::Result<()> {
    tracing::info!(target: "session", ?code, detail, "refused");
    let mut outgoing = Outgoing::default();
    outgoing.push_message(&ToPeer::Error { code, detail: detail.into() });
    linger(transport, &mut outgoing)
}

/// Waits for the other end, but not when the server ends or this end's peer has gone.
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

/// Whether the peer has closed or reset the connection. It sends nothing before the other end is there.
fn has_gone(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(e) => e.kind() != io::ErrorKind::WouldBlock && e.kind() != io::ErrorKind::Interrupted,
    }
}

fn carry(sender: &TcpStream, receiver: &TcpStream, pace: &Pace) -> io::Result<()> {
    use std::io::Write;
    for mut stream in [sender, receiver] {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        stream.write_all(&frame(&ToPeer::Spliced))?;
    }
    let keep_pace = |bytes: usize| std::thread::sleep(pace.count(Instant::now(), bytes as u64));
    let bytes = linux::splice_all(sender, receiver, keep_pace)?;
    receiver.shutdown(Shutdown::Write)?;
    tracing::info!(target: "route", kind = "file", bytes, outcome = "relayed");
    Ok(())
}
