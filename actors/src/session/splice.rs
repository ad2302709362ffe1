//! One end of a transfer of a file through the server: bytes from the sender to the receiver, which nobody here reads.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::frame::frame;
use wire::protocol::{ErrorCode, Side, ToPeer, TransferId};

use super::Services;
use super::buffers::Outgoing;
use super::shell::linger;
use crate::commands::router::{Command, Partner, SPLICE_WAIT};
use crate::linux;
use crate::runtime::{NoAnswer, Pending, reply};
use crate::transport::Transport;

/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(30);
/// How often an end that waits for the other looks whether the server ends.
const STOP_LOOK: Duration = Duration::from_millis(500);

/// Which end of which transfer a connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) transfer: TransferId,
    pub(super) side: Side,
}

/// Waits for the other end, and if this is the session that carries the bytes, carries them.
pub(super) fn serve(
    transport: &Transport,
    End { transfer, side }: End,
    services: &Services,
) -> io::Result<()> {
    // Encrypted inside already, the bytes go from socket to socket.
    let stream = transport.socket();
    let (router, stopping) = (&services.router, &services.stopping);
    let (reply, pending) = reply();
    let asked = router.send(Command::Splice { transfer, side, stream: Arc::clone(stream), reply });
    let partner = match asked.ok().map(|()| wait(&pending, stopping)) {
        Some(Ok(Partner::Here(partner))) => partner,
        Some(Ok(Partner::CarriesOn)) => return Ok(()),
        Some(Ok(Partner::Occupied)) => {
            return refuse(transport, ErrorCode::OutOfPlace, "this end of the transfer is already here");
        }
        Some(Ok(Partner::Busy)) => {
            return refuse(transport, ErrorCode::Busy, "too many transfers wait; try again");
        }
        _ => {
            return refuse(transport, ErrorCode::TimedOut, "the other end of the transfer did not come");
        }
    };
    let (sender, receiver) = match side {
        Side::Sender => (&**stream, &*partner),
        Side::Receiver => (&*partner, &**stream),
    };
    carry(sender, receiver)
}

fn refuse(transport: &Transport, code: ErrorCode, detail: &str) -> io::Result<()> {
    tracing::info!(target: "session", ?code, detail, "refused");
    let mut outgoing = Outgoing::default();
    outgoing.push_message(&ToPeer::Error { code, detail: detail.into() });
    linger(transport, &mut outgoing)
}

/// Waits for the other end, but not when the server ends.
fn wait(pending: &Pending<Partner>, stopping: &AtomicBool) -> Result<Partner, NoAnswer> {
    let deadline = Instant::now() + SPLICE_WAIT;
    loop {
        match pending.wait(STOP_LOOK) {
            Err(NoAnswer::TimedOut) if Instant::now() < deadline && !stopping.load(Ordering::Relaxed) => {}
            answer => return answer,
        }
    }
}

fn carry(sender: &TcpStream, receiver: &TcpStream) -> io::Result<()> {
    use std::io::Write;
    for mut stream in [sender, receiver] {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        stream.write_all(&frame(&ToPeer::Spliced))?;
    }
    let bytes = linux::splice_all(sender, receiver)?;
    receiver.shutdown(Shutdown::Write)?;
    tracing::info!(target: "route", kind = "file", bytes, outcome = "relayed");
    Ok(())
}
