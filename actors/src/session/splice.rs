//! One end of a file transfer through the server: copies the encrypted bytes from the sender to the receiver.
//!
//! If the sending end is at another server of a cluster, this server gets the bytes from there.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::escape::Escaped;
use wire::frame::{self, BODY_BYTES_MAX_BEFORE_JOIN, LENGTH_BYTES, PREFACE, frame};
use wire::protocol::{ErrorCode, Side, ToPeer, ToServer};

use super::Services;
use super::shell::refuse;
use crate::commands::cluster::Offered;
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
/// How long another server may take to accept a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

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
pub(super) fn serve(mut transport: Transport, mut end: SpliceEnd, services: &Services) -> io::Result<()> {
    let (side, place) = (end.side, Place(&services.router, end.session));
    let (transfer, member) = (end.transfer, end.member.clone());
    if side == Side::Sender && services.cluster.is_some() {
        end.guest = Some(rand::random());
    }
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
        Ok(Partner::Elsewhere(Offered { address, secret })) => {
            return fetch(
                &mut transport,
                &address,
                &ToServer::Splice { transfer, side, member, token: secret },
            );
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
        SpliceRefused::NoMember | SpliceRefused::Occupied | SpliceRefused::NotAdvertised => {
            ErrorCode::OutOfPlace
        }
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

/// Gets the bytes from another server, and first what that one says to a receiver: that the ends have met, or why not.
fn fetch(transport: &mut Transport, address: &str, splice: &ToServer<'_>) -> io::Result<()> {
    let mut sender = match dial(address, splice) {
        Ok(socket) => Transport::plain(socket),
        Err(error) => {
            let address = Escaped(address).to_string();
            tracing::warn!(
                target: "session", address, %error,
                "cannot get a file from another server of the cluster; is its --advertise right, and the port open?"
            );
            let detail = format!(
                "the file cannot come through the server: its holder is at another server of the cluster, to which this one cannot \
                 connect at {address} ({error})"
            );
            return refuse(transport, ErrorCode::OutOfPlace, &detail);
        }
    };
    transport.socket().set_nonblocking(false)?;
    transport.socket().set_read_timeout(Some(STALL))?;
    transport.set_write_timeout(STALL)?;
    // The other server limits the rate, because the sending member is there.
    let bytes = sender.copy_to(transport, usize::MAX, |_| {})?;
    transport.end_writing();
    tracing::info!(target: "route", kind = "file", bytes, from = %Escaped(address), outcome = "relayed");
    Ok(())
}

/// Connects to another server as its peers do, and names a transfer.
fn dial(address: &str, splice: &ToServer<'_>) -> io::Result<TcpStream> {
    let mut dialled = Err(io::ErrorKind::NotFound.into());
    for address in address.to_socket_addrs()? {
        dialled = TcpStream::connect_timeout(&address, DIAL_TIMEOUT);
        if dialled.is_ok() {
            break;
        }
    }
    let mut socket = dialled?;
    socket.set_read_timeout(Some(STALL))?;
    socket.set_write_timeout(Some(STALL))?;
    socket.write_all(&PREFACE)?;
    let mut length = [0; LENGTH_BYTES];
    socket.read_exact(&mut length)?;
    frame::split(&length, BODY_BYTES_MAX_BEFORE_JOIN)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    socket.read_exact(&mut vec![0; u32::from_le_bytes(length) as usize])?;
    // What follows its greeting is for the receiver.
    socket.write_all(&frame(splice))?;
    Ok(socket)
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
    let bytes = sender.copy_to(receiver, pace.part_bytes(), keep_pace)?;
    receiver.end_writing();
    tracing::info!(target: "route", kind = "file", bytes, outcome = "relayed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// Both ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (far, _) = listener.accept().expect("somebody connects");
        (near, far)
    }

    #[test]
    fn a_slow_rate_lets_little_through_at_once() {
        const RATE: u64 = 16 << 10;
        // What the rate needs a quarter of a minute for is here from the start.
        let file = vec![7; 256 << 10];
        let ((mut sending, sender), (receiver, mut receiving)) = (pair(), pair());
        sending.write_all(&file).expect("the system takes it");
        let carried = thread::spawn(move || {
            let (mut sender, mut receiver) = (Transport::plain(sender), Transport::plain(receiver));
            let pace = Pace::new(RATE, Instant::now());
            carry(&mut sender, &mut receiver, &pace, &PeerCounts::default())
        });
        let mut buffer = vec![0; file.len()];
        let head = frame(&ToPeer::Spliced).len();
        receiving.read_exact(&mut buffer[..=head]).expect("the file begins");
        receiving.set_nonblocking(true).expect("it is open");
        let mut at_once = 1;
        while let Ok(more) = receiving.read(&mut buffer) {
            assert!(more > 0, "it goes on");
            at_once += more as u64;
        }
        // If this thread had to wait for seconds, there would be more.
        assert!(at_once < 8 * RATE, "{at_once} bytes came at once");
        drop((sending, receiving));
        carried.join().expect("it does not panic").expect_err("nobody receives the rest");
    }

    #[test]
    fn parts_are_bounded_whether_the_kernel_copies_them_or_not() {
        for is_plain in [true, false] {
            let ((mut sending, sender), (receiver, mut receiving)) = (pair(), pair());
            sending.write_all(&[7; 50_000]).expect("the system takes it");
            drop(sending);
            let (mut sender, mut receiver) = (Transport::plain(sender), Transport::plain(receiver));
            if !is_plain {
                receiver.upgrade(Vec::new()).expect("nothing was read");
            }
            let mut parts = Vec::new();
            let all = sender.copy_to(&mut receiver, 1000, |part| parts.push(part)).expect("both are open");
            assert_eq!((all, parts.iter().sum()), (50_000, 50_000));
            assert!(parts.iter().all(|part| *part <= 1000), "{parts:?}");
            drop(receiver);
            let mut got = Vec::new();
            receiving.read_to_end(&mut got).expect("it is closed");
            assert_eq!(got.len() == 50_000, is_plain);
        }
    }
}
