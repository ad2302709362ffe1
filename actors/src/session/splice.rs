//! One end of a file transfer through the server: copies the encrypted bytes from the sender to the receiver.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::frame::frame;
use wire::protocol::{ErrorCode, Side, ToPeer};

use super::Services;
use super::shell::refuse;
use crate::commands::pace::Pace;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::commands::router::{Command, Partner, RouterHandle, SPLICE_WAIT, SpliceEnd, SpliceRefused};
use crate::commands::session::SessionId;
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

/// Waits for the other end. The session whose end came first gets the connection of the other one, and copies the bytes.
pub(super) fn serve(mut transport: Transport, end: SpliceEnd, services: &Services) -> io::Result<()> {
    let (side, place) = (end.side, Place(&services.router, end.session));
    let (reply, pending) = reply();
    let answer = match services.router.send(Command::Splice { end, reply }) {
        Ok(()) => wait(&mut transport, &pending, &services.stopping),
        Err(_) => Err(Alone::Nobody),
    };
    let (mut other, pace) = match answer {
        Ok(Partner::Comes(other, pace)) => match other.wait(STALL) {
            Ok(other) => (other, pace),
            Err(_) => return nobody_came(&mut transport),
        },
        Ok(Partner::Carries(to)) => {
            // The other end's session ends both registrations.
            std::mem::forget(place);
            to.answer(transport);
            return Ok(());
        }
        Ok(Partner::Refused(refused)) => {
            refused.limit().into_iter().for_each(|limit| services.router.counts.count(limit));
            return refuse(&mut transport, code(refused), &refused.to_string());
        }
        Err(Alone::Nobody) => return nobody_came(&mut transport),
        Err(Alone::Gone) => return Ok(()),
    };
    let (sender, receiver) = match side {
        Side::Sender => (&mut transport, &mut other),
        Side::Receiver => (&mut other, &mut transport),
    };
    carry(sender, receiver, &pace, &services.router.counts)
}

fn nobody_came(transport: &mut Transport) -> io::Result<()> {
    refuse(transport, ErrorCode::TimedOut, "the other end of the transfer did not connect in time")
}

fn code(refused: SpliceRefused) -> ErrorCode {
    match refused {
        SpliceRefused::NoMember | SpliceRefused::Occupied => ErrorCode::OutOfPlace,
        SpliceRefused::MemberFull | SpliceRefused::AddressFull | SpliceRefused::ServerFull => ErrorCode::Busy,
    }
}

/// Waits for the other end. Stops early if the server shuts down or this end's peer disconnects.
fn wait(
    transport: &mut Transport,
    pending: &Pending<Partner>,
    stopping: &AtomicBool,
) -> Result<Partner, Alone> {
    let deadline = Instant::now() + SPLICE_WAIT;
    loop {
        match pending.wait(LOOK) {
            Ok(partner) => return Ok(partner),
            Err(NoAnswer::TimedOut) if transport.has_ended() => return Err(Alone::Gone),
            Err(NoAnswer::TimedOut) if Instant::now() < deadline && !stopping.load(Ordering::Relaxed) => {}
            Err(_) => return Err(Alone::Nobody),
        }
    }
}

fn carry(
    sender: &mut Transport,
    receiver: &mut Transport,
    pace: &Pace,
    counts: &PeerCounts,
) -> io::Result<()> {
    for end in [&mut *sender, &mut *receiver] {
        end.socket().set_nonblocking(false)?;
        end.socket().set_read_timeout(Some(STALL))?;
        end.set_write_timeout(STALL)?;
        end.write_all(&frame(&ToPeer::Spliced))?;
    }
    let mut is_slowed = false;
    let keep_pace = |bytes: usize| {
        let wait = pace.count(Instant::now(), bytes as u64);
        if !wait.is_zero() && !std::mem::replace(&mut is_slowed, true) {
            counts.count(Limit::TransferRate);
        }
        std::thread::sleep(wait);
    };
    // The file is encrypted by the peers, so the server only copies it.
    let bytes = sender.copy_to(receiver, keep_pace)?;
    receiver.end_writing();
    tracing::info!(target: "route", kind = "file", bytes, outcome = "relayed");
    Ok(())
}
