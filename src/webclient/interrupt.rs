//! Ctrl-C while a file is saved.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Catches signals while temporary files have to be removed at the end. Dropping it ends its thread, which otherwise would keep
/// the connection open.
#[derive(Debug)]
pub(super) struct Interrupt {
    /// The number of the signal that was received; 0 before.
    signal: Arc<AtomicI32>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Interrupt {
    /// Makes the first SIGINT or SIGTERM shut `stream` down instead of ending the process, so that a read from it
    /// returns. A second signal ends the process.
    pub(super) fn catch(stream: &TcpStream) -> io::Result<Self> {
        let signal = Arc::new(AtomicI32::new(0));
        let (received, stream) = (Arc::clone(&signal), stream.try_clone()?);
        let mut caught = Signals::new([SIGINT, SIGTERM])?;
        let signals = caught.handle();
        let thread = std::thread::Builder::new().spawn(move || {
            for number in caught.forever() {
                if received.swap(number, Ordering::SeqCst) != 0 {
                    std::process::exit(exit_status(number).into());
                }
                // An error means that the connection has ended already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        })?;
        Ok(Self { signal, signals, thread: Some(thread) })
    }

    /// The exit status for the signal that was received.
    pub(super) fn received(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::SeqCst);
        (signal != 0).then(|| exit_status(signal))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            // It panics only if the library does. The download has ended anyway.
            let _ = thread.join();
        }
    }
}

/// The exit status that shells give to a process that a signal has ended.
fn exit_status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
