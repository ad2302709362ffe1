//! One end of a transfer of a file through the server: bytes from the sender to the receiver, which nobody here reads.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use wire::frame::frame;
use wire::protocol::{ErrorCode, Side, ToPeer, TransferId};

use super::greeting::refuse;
use super::link::Link;
use crate::linux;
use crate::router::{Command, Partner, RouterHandle, SPLICE_WAIT};
use crate::runtime::reply;

/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(30);

/// Waits for the other end, and if this is the session that carries the bytes, carries them.
pub(super) fn serve(
    mut link: Link,
    transfer: TransferId,
    side: Side,
    router: &RouterHandle,
) -> io::Result<()> {
    let (reply, pending) = reply();
    let stream = link.stream().try_clone()?;
    let asked = router.send(Command::Splice {
        transfer,
        side,
        stream,
        reply,
    });
    let partner = match asked.ok().map(|()| pending.wait(SPLICE_WAIT)) {
        Some(Ok(Partner::Here(partner))) => partner,
        Some(Ok(Partner::CarriesOn)) => return Ok(()),
        Some(Ok(Partner::Occupied)) => {
            return refuse(
                &mut link,
                ErrorCode::OutOfPlace,
                "this end of the transfer is already here",
            );
        }
        Some(Ok(Partner::Busy)) => {
            return refuse(&mut link, ErrorCode::Busy, "too many transfers wait; try again");
        }
        _ => {
            return refuse(
                &mut link,
                ErrorCode::TimedOut,
                "the other end of the transfer did not come",
            );
        }
    };
    let (sender, receiver) = match side {
        Side::Sender => (&**link.stream(), &partner),
        Side::Receiver => (&partner, &**link.stream()),
    };
    carry(sender, receiver)
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
