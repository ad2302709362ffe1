//! The system calls that only Linux has. A port to another Unix needs another version of this file only.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags};

/// How many times a path is resolved if a part of it is renamed meanwhile.
const RESOLVE_ATTEMPTS_MAX: usize = 16;

/// No component may lead out of the root.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The maximum number of bytes that one `splice(2)` moves, and the requested capacity of the pipe between two sockets.
const SPLICE_BYTES: usize = 1 << 20;

/// The highest nice value, see `nice(2)`.
const LOWEST_PRIORITY: i32 = 19;

pub(crate) fn event() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes an event readable.
pub(crate) fn raise(event: &OwnedFd) {
    // Fails only at a count of 2^64 - 2, and then the event is readable.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// Makes an event unreadable.
pub(crate) fn lower(event: &OwnedFd) {
    // Fails only if it was not readable.
    let _ = rustix::io::read(event, &mut [0; 8]);
}

/// Moves the bytes of one blocking socket to another until the end of the stream, without copying them into this process
/// (`splice(2)`), in parts of at most `part_bytes_max`. Calls `after_each` with the size of each part. Returns the number of all bytes.
///
/// # Errors
/// Those of the sockets; `WouldBlock` when one made no progress for longer than its timeout.
pub(crate) fn splice_all(
    from: &TcpStream,
    to: &TcpStream,
    part_bytes_max: usize,
    mut after_each: impl FnMut(usize),
) -> io::Result<u64> {
    let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // With a smaller pipe it only takes more calls.
    let _ = rustix::pipe::fcntl_setpipe_size(&into, SPLICE_BYTES);
    let mut total = 0;
    loop {
        let mut count = splice(from, &into, SPLICE_BYTES.min(part_bytes_max))?;
        if count == 0 {
            return Ok(total);
        }
        total += count as u64;
        let part = count;
        while count > 0 {
            match splice(&out, to, count)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                moved => count -= moved,
            }
        }
        after_each(part);
    }
}

fn splice(from: impl AsFd, to: impl AsFd, count: usize) -> rustix::io::Result<usize> {
    retry_on_intr(|| rustix::pipe::splice(&from, None, &to, None, count, SpliceFlags::MOVE))
}

/// Opens `path` relative to `root`; the empty path is `root` itself. Fails if a component, links included, leads out of `root`
/// (`openat2(2)` with `RESOLVE_BENEATH`).
///
/// # Errors
/// Those of `openat2(2)`: `EXDEV` when the path leads out, `ENOSYS` before Linux 5.6.
pub(crate) fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = || open_with(&root, path, flags, BENEATH);
    for _ in 1..RESOLVE_ATTEMPTS_MAX {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    open()
}

/// Whether the kernel knows without asking the disk that `path`, relative to `root`, does not exist (`RESOLVE_CACHED` of
/// `openat2(2)`, since Linux 5.12).
pub(crate) fn is_known_absent(root: impl AsFd, path: &Path) -> bool {
    let opened = open_with(root, path, OFlags::PATH, BENEATH | ResolveFlags::CACHED);
    matches!(opened, Err(Errno::NOENT))
}

fn open_with(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Gives the calling thread the lowest priority (`setpriority(2)`, which on Linux applies to one thread).
pub(crate) fn yield_to_others() {
    // If it fails the thread only takes more processor time.
    let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
}

/// Sends at most `count` bytes of `file` from `offset` on, and advances `offset`. Returns 0 at the end of the file.
///
/// # Errors
/// Those of `sendfile(2)`; `WouldBlock` after the write timeout of the socket.
pub(crate) fn send_file(
    socket: impl AsFd,
    file: impl AsFd,
    offset: &mut u64,
    count: usize,
) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::fs::sendfile(&socket, &file, Some(&mut *offset), count))?)
}

/// A set of processors that a thread may run on.
#[derive(Debug, Clone)]
pub(crate) struct CpuSet(rustix::thread::CpuSet);

impl CpuSet {
    /// The processors that the calling thread may run on.
    pub(crate) fn of_this_thread() -> Option<Self> {
        rustix::thread::sched_getaffinity(None).ok().map(Self)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| self.0.is_set(cpu))
    }

    pub(crate) fn only(cpu: usize) -> Self {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        Self(set)
    }

    /// Restricts the calling thread to these processors.
    pub(crate) fn apply(&self) {
        // If it fails the thread runs anywhere, which is only slower.
        let _ = rustix::thread::sched_setaffinity(None, &self.0);
    }
}

/// The processor that handled the last packet of a connection. If the client is on this machine, that is the client's
/// processor.
pub(crate) fn incoming_cpu(socket: impl AsFd) -> Option<usize> {
    rustix::net::sockopt::socket_incoming_cpu(socket).ok().and_then(|cpu| usize::try_from(cpu).ok())
}

/// The readiness that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadyFor {
    Reading,
    Writing,
}

impl ReadyFor {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Reading => epoll::EventFlags::IN,
            Self::Writing => epoll::EventFlags::OUT,
        }
    }
}

/// The maximum number of events of one wait.
pub(crate) const EVENTS_MAX: usize = 512;

/// An `epoll(7)` instance. Each source has a number as its token.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches a connection, level-triggered, until it is deleted or closed.
    pub(crate) fn add(&self, source: impl AsFd, token: u64, what: ReadyFor) -> io::Result<()> {
        Ok(epoll::add(&self.0, source, epoll::EventData::new_u64(token), what.flags())?)
    }

    /// Changes the readiness that a connection is watched for.
    pub(crate) fn change(&self, source: impl AsFd, token: u64, what: ReadyFor) -> io::Result<()> {
        Ok(epoll::modify(&self.0, source, epoll::EventData::new_u64(token), what.flags())?)
    }

    /// Watches a listening socket that several threads watch. A new connection wakes one of them.
    pub(crate) fn add_shared(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.0, source, epoll::EventData::new_u64(token), flags)?)
    }

    pub(crate) fn delete(&self, source: impl AsFd) {
        // Fails only if it was not watched.
        let _ = epoll::delete(&self.0, source);
    }

    /// Waits for events or the timeout, and appends the tokens of what is ready.
    pub(crate) fn wait(&self, timeout: Duration, tokens: &mut Vec<u64>) {
        let timeout = Timespec::try_from(timeout).ok();
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        // After an interrupted wait nothing is ready, and the caller waits again.
        if let Ok((ready, _)) = epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            tokens.extend(ready.iter().map(|event: &epoll::Event| event.data.u64()));
        }
    }
}

/// The resident memory of this process in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The number of open descriptors of this process.
pub(crate) fn open_descriptors() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

/// Makes a listening socket hold back connections until they have data or `timeout` has passed (`TCP_DEFER_ACCEPT`, tcp(7)).
/// Then accepting, reading and responding take one wake-up. Measured with a connection for each request: an eighth more
/// requests a second.
#[allow(unsafe_code)] // No library offers this option.
pub(crate) fn defer_accept(socket: impl AsFd, timeout: Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(timeout.as_secs()).unwrap_or(libc::c_int::MAX);
    let bytes = libc::socklen_t::try_from(size_of_val(&seconds)).unwrap_or(0);
    // SAFETY: the descriptor is open as long as it is borrowed, and the option is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            bytes,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes written to a connected socket the other system has not acknowledged (`SIOCOUTQ`, tcp(7)). For a Unix
/// socket: the memory that they occupy (unix(7)).
#[allow(unsafe_code)] // No library offers this call.
pub(crate) fn untaken_bytes(socket: impl AsFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and the call stores an int, which is there as long.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}
