//! Ctrl-C while a file is saved.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// While this exists, the first SIGINT or SIGTERM ends the wait for the server instead of the process, so that temporary
/// files can be removed. A second one ends the process.
#[derive(Debug)]
pub(super) struct Interrupt {
    /// The number of the signal that was received; 0 before.
    signal: Arc<AtomicUsize>,
    /// Becomes readable with the signal.
    wake: UnixStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The socket has bytes or has reached its end.
    Readable,
    Signal(i32),
    TimedOut,
}

impl Interrupt {
    /// Catches the signals from now on until the process ends.
    pub(super) fn catch() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        let signal = Arc::new(AtomicUsize::new(0));
        let is_second = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM] {
            // Handlers run in the order of registration, so the first signal finds the flag not yet set.
            flag::register_conditional_shutdown(number, exit_status(number).into(), Arc::clone(&is_second))?;
            flag::register(number, Arc::clone(&is_second))?;
            flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(1))?;
            low_level::pipe::register(number, waker.try_clone()?)?;
        }
        Ok(Self { signal, wake })
    }

    /// Waits until `stream` can be read, a signal comes, or `patience` is over.
    pub(super) fn wait(&self, stream: &TcpStream, patience: Duration) -> io::Result<Waited> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(number @ 1..) = i32::try_from(self.signal.load(Ordering::SeqCst)) {
                return Ok(Waited::Signal(number));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut watched = [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Ok(Waited::TimedOut),
                Ok(_) if watched[1].revents().is_empty() => return Ok(Waited::Readable),
                // The next round checks the signal first.
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The exit status that shells give to a process that a signal has ended.
pub(super) fn exit_status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
