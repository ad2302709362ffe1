//! The control socket. A process that runs a peer also executes the commands of other processes for the same directory,
//! because only one process may use the keys, the store and the connection.
//!
//! Each line is a JSON value: a [`Request`] to the peer, or an [`Update`] from it. The socket is in the private folder,
//! which only its owner can enter.

use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::command::{Request, Update};
use super::engine::ClientId;
use super::home::Home;
use super::runner::{Switch, UPDATE_BATCHES_MAX};
use crate::control_socket::{bind, connect, read_line, write_line};

/// How long to wait when the system has no descriptor for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts clients on a thread of its own, until the process ends.
pub(super) fn serve(home: &Home, switch: Switch) -> io::Result<()> {
    let listener = bind(home.private_path())?;
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
    let Ok(out) = stream.try_clone() else { return };
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("client".into()).spawn_scoped(scope, move || {
            // A client that does not read makes only this thread wait.
            let mut buffer = BufWriter::new(&out);
            let _ = updates.iter().try_for_each(|batch| {
                batch.iter().try_for_each(|update| write_line(&mut buffer, update))?;
                buffer.flush()
            });
            drop(buffer);
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

/// Reads the next update and those that have arrived behind it. Nothing at the end of the connection.
fn read_batch(reader: &mut BufReader<UnixStream>) -> io::Result<Vec<Update>> {
    let mut batch = Vec::new();
    while batch.is_empty() || reader.buffer().contains(&b'\n') {
        let Some(update) = read_line(reader)? else { break };
        batch.push(update);
    }
    Ok(batch)
}

/// A client of a peer that another process runs.
pub(super) struct RemoteClient {
    stream: UnixStream,
    /// The updates, those that arrived together in one batch. They end when the connection does.
    pub(super) updates: Receiver<Vec<Update>>,
}

impl RemoteClient {
    /// Connects to the process that runs the peer of a directory.
    pub(super) fn connect(home: &Home) -> io::Result<Self> {
        let stream = connect(home.private_path())?;
        let (sender, updates) = bounded(UPDATE_BATCHES_MAX);
        let input = stream.try_clone()?;
        std::thread::Builder::new().name("updates".into()).spawn(move || {
            let mut reader = BufReader::new(input);
            while let Ok(batch) = read_batch(&mut reader)
                && !batch.is_empty()
                && sender.send(batch).is_ok()
            {}
        })?;
        Ok(Self { stream, updates })
    }

    pub(super) fn request(&mut self, request: &Request) -> io::Result<()> {
        write_line(&mut self.stream, request)
    }
}
