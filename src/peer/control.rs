//! The control socket. A process that runs a peer also executes the commands of other processes for the same directory,
//! because only one process may use the keys, the store and the connection.
//!
//! Each line is a JSON value: a [`Request`] to the peer, or an [`Update`] from it. The socket is in the private folder,
//! which only its owner can enter.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::command::{Request, Update};
use super::engine::ClientId;
use super::home::Home;
use super::runner::{Switch, control_path};

/// The maximum length of a line, for a command with many long texts.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// How long to wait when the system has no descriptor for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The path of the socket by way of a descriptor of its folder, because the path of a socket has at most 107 bytes.
fn address(home: &Home) -> io::Result<(File, PathBuf)> {
    let folder = File::open(home.private_path())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Accepts clients on a thread of its own, until the process ends.
pub(super) fn serve(home: &Home, switch: Switch) -> io::Result<()> {
    // This process has the lock, so an existing socket is left from a process that was killed.
    match std::fs::remove_file(control_path(home)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let (_folder, path) = address(home)?;
    let listener = UnixListener::bind(path)?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        // The process's own command line is client 0.
        for (id, stream) in (1..).zip(listener.incoming()) {
            let (Ok(stream), switch) = (stream, switch.clone()) else {
                // Most likely the system has no descriptor left.
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            // If there is no thread, the client sees its connection end.
            let _ =
                std::thread::Builder::new().name("client".into()).spawn(move || attend(id, &stream, &switch));
        }
    })?;
    Ok(())
}

fn attend(id: ClientId, stream: &UnixStream, switch: &Switch) {
    let client = switch.client(id);
    let updates = client.updates.clone();
    let Ok(mut out) = stream.try_clone() else { return };
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("client".into()).spawn_scoped(scope, move || {
            // A client that does not read makes only this thread wait.
            for update in updates {
                if write_line(&mut out, &update).is_err() {
                    break;
                }
            }
            // Also ends the reading side.
            let _ = out.shutdown(std::net::Shutdown::Both);
        });
        if writer.is_err() {
            // There is no thread: the client sees its connection end.
            return;
        }
        let mut reader = BufReader::new(stream);
        while let Ok(Some(request)) = read_line::<Request>(&mut reader) {
            client.request(request);
        }
        drop(client);
    });
}

fn write_line<T: serde::Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)
}

fn read_line<T: serde::de::DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if reader.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// A client of a peer that another process runs.
pub(super) struct RemoteClient {
    stream: UnixStream,
    /// The updates. They end when the connection does.
    pub(super) updates: Receiver<Update>,
}

impl RemoteClient {
    /// Connects to the process that runs the peer of a directory.
    pub(super) fn connect(home: &Home) -> io::Result<Self> {
        let (_folder, path) = address(home)?;
        let stream = UnixStream::connect(path)?;
        let (sender, updates) = bounded(1024);
        let input = stream.try_clone()?;
        std::thread::Builder::new().name("updates".into()).spawn(move || {
            let mut reader = BufReader::new(input);
            while let Ok(Some(update)) = read_line::<Update>(&mut reader) {
                if sender.send(update).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { stream, updates })
    }

    pub(super) fn request(&mut self, request: &Request) -> io::Result<()> {
        write_line(&mut self.stream, request)
    }
}
