//! The calls that only Linux has. Another Unix needs another version of this file and of nothing else.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// How often a path is resolved anew when something in it was renamed meanwhile.
const RESOLVE_ATTEMPTS_MAX: usize = 16;

/// No way out of a root.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Most bytes that one `splice(2)` moves; also what the pipe in between is asked to hold.
const SPLICE_BYTES: usize = 1 << 20;

/// The nicest of the values of `nice(2)`.
const LOWEST_PRIORITY: i32 = 19;

/// An `eventfd(2)` that is not raised.
///
/// # Errors
/// When there are no descriptors left.
pub(crate) fn event() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes an event readable.
pub(crate) fn raise(event: &OwnedFd) {
    // Fails only when 2^64 - 2 raises were not looked at; then it is readable all the same.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// Makes an event unreadable again.
pub(crate) fn lower(event: &OwnedFd) {
    // Fails only when it was not raised.
    let _ = rustix::io::read(event, &mut [0; 8]);
}

/// Moves all that comes from one blocking socket into another, through a pipe and never through this process
/// (`splice(2)`), until the first is at its end. Returns how many bytes.
///
/// # Errors
/// Those of the sockets; `WouldBlock` when one stood still for longer than its timeout.
pub(crate) fn splice_all(from: &TcpStream, to: &TcpStream) -> io::Result<u64> {
    let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Without the larger pipe it takes more calls, and nothing else.
    let _ = rustix::pipe::fcntl_setpipe_size(&into, SPLICE_BYTES);
    let mut total = 0;
    loop {
        let mut count = splice(from, &into)?;
        if count == 0 {
            return Ok(total);
        }
        total += count as u64;
        while count > 0 {
            count -= splice_some(&out, to, count)?;
        }
    }
}

fn splice(from: &TcpStream, into: &OwnedFd) -> io::Result<usize> {
    splice_fds(from, into, SPLICE_BYTES)
}

fn splice_some(out: &OwnedFd, to: &TcpStream, count: usize) -> io::Result<usize> {
    match splice_fds(out, to, count)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        moved => Ok(moved),
    }
}

fn splice_fds(from: impl AsFd, to: impl AsFd, count: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(&from, None, &to, None, count, SpliceFlags::MOVE) {
            Err(Errno::INTR) => {}
            moved => return Ok(moved?),
        }
    }
}

/// Opens `path` relative to `root`; the empty path is `root` itself. Refuses a path of which any part, links included,
/// leads out of `root` (`openat2(2)` with `RESOLVE_BENEATH`).
///
/// # Errors
/// Those of `openat2(2)`: `EXDEV` when the path leads out, `ENOSYS` before Linux 5.6.
pub(crate) fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = path_or_root(path);
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..RESOLVE_ATTEMPTS_MAX {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), BENEATH) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    rustix::fs::openat2(&root, path, flags, Mode::empty(), BENEATH)
}

/// Whether a path, relative to `root`, certainly names nothing: the system remembers that (`RESOLVE_CACHED` of `openat2(2)`,
/// since Linux 5.12), and no disk is asked.
pub(crate) fn is_known_absent(root: impl AsFd, path: &Path) -> bool {
    let (path, flags) = (path_or_root(path), OFlags::PATH | OFlags::CLOEXEC);
    let opened = rustix::fs::openat2(root, path, flags, Mode::empty(), BENEATH | ResolveFlags::CACHED);
    matches!(opened, Err(Errno::NOENT))
}

fn path_or_root(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Lets all other threads run before the calling one (`setpriority(2)`, which on Linux is about one thread).
pub(crate) fn yield_to_others() {
    // Without it the thread takes its share of the processor, and nothing else.
    let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
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

/// The processors that a thread may run on.
#[derive(Debug, Clone)]
pub(crate) struct CpuSet(rustix::thread::CpuSet);

impl CpuSet {
    /// Those of the calling thread; none if the system does not say.
    pub(crate) fn of_this_thread() -> Option<Self> {
        rustix::thread::sched_getaffinity(None).ok().map(Self)
    }

    /// The numbers of the processors.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| self.0.is_set(cpu))
    }

    /// One processor alone.
    pub(crate) fn only(cpu: usize) -> Self {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        Self(set)
    }

    /// Keeps the calling thread on these processors.
    pub(crate) fn apply(&self) {
        // Where that is forbidden the thread runs anywhere, which is slower and nothing else.
        let _ = rustix::thread::sched_setaffinity(None, &self.0);
    }
}

/// The processor that handled the last packet of a connection: its client's own, when that is on this machine.
pub(crate) fn incoming_cpu(socket: impl AsFd) -> Option<usize> {
    rustix::net::sockopt::socket_incoming_cpu(socket).ok().and_then(|cpu| usize::try_from(cpu).ok())
}

/// What a connection is watched for.
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

/// Most events that one wait brings.
pub(crate) const EVENTS_MAX: usize = 512;

/// An `epoll(7)` instance that names what is ready by a number.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches a connection until it is deleted or closed; reports `token` for as long as it is ready for `what`, or broken.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(crate) fn add(&self, source: impl AsFd, token: u64, what: ReadyFor) -> io::Result<()> {
        Ok(epoll::add(&self.0, source, epoll::EventData::new_u64(token), what.flags())?)
    }

    /// Watches it for something else from now on.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(crate) fn change(&self, source: impl AsFd, token: u64, what: ReadyFor) -> io::Result<()> {
        Ok(epoll::modify(&self.0, source, epoll::EventData::new_u64(token), what.flags())?)
    }

    /// As [`Epoll::add`], for a listening socket that several threads watch: one of them is woken.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(crate) fn add_shared(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.0, source, epoll::EventData::new_u64(token), flags)?)
    }

    /// Watches it no more.
    pub(crate) fn delete(&self, source: impl AsFd) {
        // Fails only when it was not watched.
        let _ = epoll::delete(&self.0, source);
    }

    /// Waits until something is ready or the time is up. The tokens are added to `tokens`.
    pub(crate) fn wait(&self, timeout: Duration, tokens: &mut Vec<u64>) {
        let timeout = Timespec::try_from(timeout).ok();
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        // An interrupted wait has nothing ready, and the next one follows.
        if let Ok((ready, _)) = epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            tokens.extend(ready.iter().map(|event: &epoll::Event| event.data.u64()));
        }
    }
}

/// How much memory this process has in use, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

/// Has a listening socket hand out connections only once their first bytes are there (`TCP_DEFER_ACCEPT`, tcp(7)), so that
/// accepting, reading and answering are one wake; after `timeout` they come without. Measured with a connection each:
/// an eighth more requests a second.
///
/// # Errors
/// Those of `setsockopt(2)`.
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

/// How many bytes have been written to a connected socket that the system at the other end has not taken (`SIOCOUTQ`,
/// tcp(7); on a Unix socket the memory that they occupy, unix(7)).
#[allow(unsafe_code)] // No library offers this call.
pub(crate) fn untaken_bytes(socket: impl AsFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and the call stores an int, which is there as long.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}
