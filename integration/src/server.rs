//! A server of a scenario.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;

use crate::process::{Finished, Process};
use crate::{binary, repository};

/// Ports that the system gives to nobody who asks for any port, so that a server finds its own again after a restart.
const PORTS_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    data: PathBuf,
}

impl Server {
    /// Starts one on a free port, with what it keeps in `data`, and waits until it listens.
    pub fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0")
    }

    /// Starts one on a port that stays free for it between a stop and the next start.
    pub fn start_on_own_port(data: &Path) -> Self {
        Self::start_at(data, &format!("127.0.0.1:{}", own_port()))
    }

    /// Starts one where another was before.
    pub fn start_again(data: &Path, address: SocketAddr) -> Self {
        Self::start_at(data, &address.to_string())
    }

    fn start_at(data: &Path, listen: &str) -> Self {
        let process = Process::start("server", Self::command(data, listen));
        let address = process.wait("listening on", |lines| {
            let line = lines.iter().find_map(|line| line.strip_prefix("listening on "))?;
            Some(line.parse().expect("what follows is an address"))
        });
        let data = data.to_owned();
        Self { process, address, data }
    }

    /// The command line of a server.
    pub fn command(data: &Path, listen: &str) -> Command {
        let mut command = Command::new(binary("server"));
        command.args(["--listen", listen, "--data"]).arg(data);
        command.arg("--root").arg(repository().join("www"));
        command
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it keeps what it keeps.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Ends it with `signal`, and checks that it drains and exits with 0.
    #[track_caller]
    pub fn end(self, signal: Signal) -> Finished {
        self.process.signal(signal);
        self.process.finish().expect(0)
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.end(Signal::TERM)
    }

    /// Ends it in order and starts it again on the same data and port.
    #[track_caller]
    #[must_use]
    pub fn restart(self) -> Self {
        let (data, address) = (self.data.clone(), self.address.to_string());
        self.stop();
        Self::start_at(&data, &address)
    }

    /// Kills it (SIGKILL) and starts it again on the same data and port.
    #[must_use]
    pub fn crash_and_restart(self) -> Self {
        let (data, address) = (self.data.clone(), self.address.to_string());
        self.process.kill();
        Self::start_at(&data, &address)
    }
}

/// A port that is free now and outside of what the system hands out.
pub(crate) fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs of the tests at the same time start at different places.
    let start = std::process::id() % u32::from(PORTS);
    let start = u16::try_from(start).expect("it is less than PORTS");
    for _ in 0..PORTS {
        let port = PORTS_FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {PORTS_FIRST} and {} is free", PORTS_FIRST + PORTS);
}
