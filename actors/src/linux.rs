//! The calls that only Linux has. Another Unix needs another version of this file and of nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is resolved anew when something in it was renamed meanwhile.
const RESOLVE_ATTEMPTS_MAX: usize = 16;

/// Opens `path`, relative to `root`, unless any part of it, links included, leads out of `root` (`openat2(2)` with
/// `RESOLVE_BENEATH`).
///
/// # Errors
/// Those of `openat2(2)`: `EXDEV` when the path leads out, `ENOSYS` before Linux 5.6.
pub(crate) fn open_beneath(root: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..RESOLVE_ATTEMPTS_MAX {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)
}

/// Moves up to `count` bytes of `file` from `offset` on into `socket` without copying them here, and advances
/// `offset`. Returns how many; 0 at the end of the file.
///
/// # Errors
/// Those of `sendfile(2)`; `WouldBlock` when the socket's write timeout passed.
pub(crate) fn send_file(
    socket: impl AsFd,
    file: impl AsFd,
    offset: &mut u64,
    count: usize,
) -> io::Result<usize> {
    loop {
        match rustix::fs::sendfile(&socket, &file, Some(&mut *offset), count) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}
