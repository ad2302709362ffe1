//! A server of a scenario.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;

use crate::process::{Finished, Process};
use crate::{binary, repository};

/// Outside of the ephemeral ports, so that no other process gets the port of a server while it is restarted.
const PORTS_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;
/// More than the tests of one process use. It has no divisor in common with [`PORTS`], so each process id has a place of its own.
const PORTS_OF_A_RUN: u32 = 401;

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    data: PathBuf,
}

impl Server {
    /// Starts one at an address, with what it keeps in `data`, and waits until it listens.
    pub fn start_at(data: &Path, address: &str) -> Self {
        Self::launch(data, Self::command(data, address))
    }

    /// Starts the server with this command line, which names `data`, and waits until it listens.
    pub fn launch(data: &Path, command: Command) -> Self {
        let process = Process::start("server", command);
        let first = process.wait("its first line", |lines| lines.first().cloned());
        let address = first.strip_prefix("listening on ");
        let address =
            address.unwrap_or_else(|| panic!("scripts read the address from the first line: {first}"));
        let address = address.parse().expect("what follows is an address");
        Self { process, address, data: data.to_owned() }
    }

    /// The command line of a server of `www/`.
    pub fn command(data: &Path, listen: &str) -> Command {
        let mut command = Self::site_command(data, &repository().join("www"));
        command.args(["--listen", listen]);
        command
    }

    /// The command line of a server of the site in `root`, without `--listen`.
    pub fn site_command(data: &Path, root: &Path) -> Command {
        let mut command = Command::new(binary("server"));
        command.arg("--data").arg(data).arg("--root").arg(root);
        command
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Waits until it has ended.
    pub fn finish(self) -> Finished {
        self.process.finish()
    }

    /// Sends `signal`, and checks that it exits with 0.
    #[track_caller]
    pub fn end(self, signal: Signal) -> Finished {
        self.process.signal(signal);
        self.process.finish().expect(0)
    }

    /// Ends it with SIGTERM, and checks that it exits with 0.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.end(Signal::TERM)
    }

    /// Ends it with SIGTERM and starts it again with the same data and port.
    #[track_caller]
    #[must_use]
    pub fn restart(self) -> Self {
        let (data, address) = (self.data.clone(), self.address.to_string());
        self.stop();
        Self::start_at(&data, &address)
    }

    /// Kills it (SIGKILL) and starts it again with the same data and port.
    #[must_use]
    pub fn crash_and_restart(self) -> Self {
        let (data, address) = (self.data.clone(), self.address.to_string());
        self.process.kill();
        Self::start_at(&data, &address)
    }
}

/// A port that is free now and is not an ephemeral port.
pub(crate) fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // So that test runs at the same time use different ports, also if they are started in a row.
    let start = std::process::id().wrapping_mul(PORTS_OF_A_RUN) % u32::from(PORTS);
    let start = u16::try_from(start).expect("it is less than PORTS");
    for _ in 0..PORTS {
        let port = PORTS_FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {PORTS_FIRST} and {} is free", PORTS_FIRST + PORTS);
}
