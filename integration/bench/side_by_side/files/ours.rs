//! Switchboard: a peer that shares the file, and one that gets it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{Process, Sandbox, repository};
use serde_json::Value;

use super::Way;
use super::command::{self, Moved};
use crate::interrupt::Interrupt;
use crate::servers::Server;

/// The name of the file at its holder.
const FILE: &str = "source.bin";
/// Far more than this machine moves.
const OPTIONS: [&str; 2] = ["--transfer-rate", "100G"];
/// How long the server may take to find out that it can dial the holder.
const REACHABLE_WAIT: Duration = Duration::from_secs(10);

/// How the file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    Server,
}

/// A server, and a peer that shares the file.
pub(super) struct Peers<'a> {
    program: &'a Path,
    /// The directory of the peer that gets it.
    dir: PathBuf,
    server: Server,
    holder: Process,
    /// Where the server listens besides loopback. Peers that come from there are not told the holder's address on loopback, so
    /// they get the file through the server.
    outside: Option<SocketAddr>,
}

impl<'a> Peers<'a> {
    pub(super) fn start(
        server: &Path,
        peer: &'a Path,
        sandbox: &Sandbox,
        source: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let outside = outside();
        let mut options = OPTIONS.map(str::to_owned).to_vec();
        options.extend(outside.iter().flat_map(|address| ["--listen".to_owned(), address.to_string()]));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let data = sandbox.path("server");
        let server = Server::ours(server, &repository().join("www"), &data, None, &options)?;
        let shares = sandbox.path("holder");
        std::fs::create_dir(&shares).context("cannot make a folder for the holder")?;
        std::fs::hard_link(source, shares.join(FILE))
            .context("cannot put the file into the holder's folder")?;
        std::fs::write(shares.join("keyword.txt"), format!("file, {FILE};"))?;
        let holder = share(peer, &server, "holder", &shares, "--json");
        holder.event("result", |event| event["kind"] == "published");
        let peers = Self { program: peer, dir: sandbox.path("receiver"), server, holder, outside };
        peers.wait_until_reachable("file", interrupt)?;
        Ok(peers)
    }

    /// Starts another holder, which shares a folder under a keyword and says nothing, so that nobody has to read what it says.
    pub(super) fn share_quietly(
        &self,
        name: &str,
        folder: &Path,
        keyword: &str,
        interrupt: &Interrupt,
    ) -> Result<Process> {
        let holder = share(self.program, &self.server, name, folder, "--quiet");
        self.wait_until_reachable(keyword, interrupt)?;
        Ok(holder)
    }

    /// A command of the receiver.
    pub(super) fn get(&self, arguments: &[&str]) -> Command {
        self.command(self.server.address, &[&["get"], arguments].concat())
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// The way of a route, if this machine has it.
    pub(super) fn way(&self, route: Route) -> Option<Ours<'_>> {
        let address = match route {
            Route::Direct => self.server.address,
            Route::Server => self.outside?,
        };
        Some(Ours { peers: self, route, address })
    }

    fn command(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).args(["--json", "--name", "receiver", "--server", &address.to_string()]);
        command.arg("--dir").arg(&self.dir);
        command
    }

    /// Waits until the server tells others where the holder of files with this keyword can be dialled.
    fn wait_until_reachable(&self, keyword: &str, interrupt: &Interrupt) -> Result<()> {
        let start = Instant::now();
        loop {
            let search = Process::start("a search", self.command(self.server.address, &["search", keyword]));
            let found = search.finish().answers("file");
            if found.iter().any(|hit| !hit["address"].is_null()) {
                return Ok(());
            }
            interrupt.check()?;
            ensure!(start.elapsed() < REACHABLE_WAIT, "the server cannot dial the holder");
        }
    }
}

/// Starts a peer that shares a folder. `output` is how it says what happens.
fn share(program: &Path, server: &Server, name: &str, folder: &Path, output: &str) -> Process {
    let mut command = Command::new(program);
    command.args(["share", output, "--name", name, "--server", &server.address.to_string(), "--dir"]);
    command.arg(folder);
    Process::start(format!("the holder {name}"), command)
}

/// An address of this machine that is not loopback, with a free port.
fn outside() -> Option<SocketAddr> {
    // Nothing is sent. The system only says from where it would.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own: IpAddr = socket.local_addr().ok()?.ip();
    let listener = TcpListener::bind((own, 0)).ok().filter(|_| !own.is_loopback())?;
    listener.local_addr().ok()
}

/// A way of our file.
pub(super) struct Ours<'a> {
    peers: &'a Peers<'a>,
    route: Route,
    address: SocketAddr,
}

impl Way for Ours<'_> {
    fn name(&self) -> &'static str {
        "switchboard"
    }

    fn fetch(&mut self, to: &Path, interrupt: &Interrupt) -> Result<Moved> {
        let output = to.to_str().context("temporary folders have plain names")?;
        let before = self.peers.holder.events("file_sent", 0).len();
        let command =
            self.peers.command(self.address, &["get", FILE, "--from", "holder", "--output", output]);
        let others = [("the holder", self.peers.holder.id()), ("the server", self.peers.server.id())];
        let moved = command::run("the receiver", command, &others, interrupt)?;
        let sent: Value = self.peers.holder.events("file_sent", before + 1).swap_remove(before);
        let expected = if self.route == Route::Direct { "direct" } else { "server" };
        ensure!(sent["route"] == expected, "the file went by the route {}, not {expected}", sent["route"]);
        Ok(moved)
    }
}
