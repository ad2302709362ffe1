//! Calling a peer back at the address that it is seen at, to learn whether others can dial it there.
//!
//! Only bytes of ours are sent, only to the address that the peer itself comes from, and never to a privileged port.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wire::frame::CALLBACK_PREFACE;

/// How long the peer has to accept the call and to say what it heard.
const CALL_WAIT: Duration = Duration::from_secs(5);
/// Ports below are services of the system, not peers.
const PORT_MIN: u16 = 1024;

/// A call on its way.
#[derive(Debug)]
pub(super) struct Callback {
    address: SocketAddr,
    challenge: [u8; 32],
    /// Until the challenge is written.
    socket: Option<Socket>,
    deadline: Instant,
}

impl Callback {
    /// Starts to dial; never waits. `None` if that is impossible.
    pub(super) fn dial(ip: IpAddr, port: u16, now: Instant) -> Option<Self> {
        if port < PORT_MIN {
            return None;
        }
        let address = SocketAddr::new(ip, port);
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
                .ok()?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(_) => return None,
        }
        Some(Self { address, challenge: rand::random(), socket: Some(socket), deadline: now + CALL_WAIT })
    }

    /// To be polled for writing until the challenge is written.
    pub(super) fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The socket can be written: the challenge goes out. False if the call has failed.
    pub(super) fn advance(&mut self) -> bool {
        let Some(socket) = self.socket.take() else {
            return true;
        };
        let call = [CALLBACK_PREFACE.as_slice(), &self.challenge].concat();
        // A fresh socket takes 36 bytes at once or not at all.
        matches!(socket.take_error(), Ok(None)) && (&socket).write_all(&call).is_ok()
    }

    /// The address, if the peer has heard the call there.
    pub(super) fn confirm(&self, echo: &[u8; 32]) -> Option<SocketAddr> {
        (echo == &self.challenge).then_some(self.address)
    }
}
