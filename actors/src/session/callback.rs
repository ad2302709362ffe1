//! Calls a peer back, to learn whether other peers can dial it.
//!
//! The server must not become a tool for attacks on others. So it only sends its own bytes, only dials the address from
//! which the peer is connected, and never a privileged port.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use wire::frame::CALLBACK_PREFACE;

/// How long the peer has to accept the call and to repeat the challenge.
const CALL_WAIT: Duration = Duration::from_secs(5);
/// Lower ports belong to services of the system.
const PORT_MIN: u16 = 1024;

/// A call that is not confirmed yet.
#[derive(Debug)]
pub(super) struct Callback {
    address: SocketAddr,
    challenge: [u8; 32],
    /// `None` when the challenge is written.
    socket: Option<Socket>,
    deadline: Instant,
}

impl Callback {
    /// Starts to dial without waiting. `None` if that fails at once.
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

    /// The socket to poll for writing; `None` when the challenge is written.
    pub(super) fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sends the challenge when the socket is ready. Returns false if the call has failed.
    pub(super) fn advance(&mut self) -> bool {
        let Some(socket) = self.socket.take() else {
            return true;
        };
        let call = [CALLBACK_PREFACE.as_slice(), &self.challenge].concat();
        // The send buffer of a new socket is empty, so it takes all 36 bytes or none.
        matches!(socket.take_error(), Ok(None)) && (&socket).write_all(&call).is_ok()
    }

    /// The address, if the peer has received the challenge there.
    pub(super) fn confirm(&self, echo: &[u8; 32]) -> Option<SocketAddr> {
        (echo == &self.challenge).then_some(self.address)
    }
}
