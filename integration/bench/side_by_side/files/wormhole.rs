//! magic-wormhole, with a mailbox server and a transit relay of its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{Process, Sandbox};
use measure::Report;

use super::Way;
use super::command::{self, Moved};
use crate::interrupt::Interrupt;
use crate::{servers, tools};

const START_WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Wormhole {
    program: PathBuf,
    source: PathBuf,
    mailbox: SocketAddr,
    relay: SocketAddr,
    /// Running until this is dropped.
    _servers: [Process; 2],
    /// How many codes were used.
    codes: u32,
}

impl Wormhole {
    /// Starts its servers. `None` if it is not installed, which is noted in the report.
    pub(super) fn start(
        sandbox: &Sandbox,
        source: &Path,
        versions: &mut BTreeMap<String, String>,
        report: &mut Report,
        interrupt: &Interrupt,
    ) -> Result<Option<Self>> {
        let (Some(program), Some(twist)) = (tools::find("wormhole"), tools::find("twist")) else {
            let why = "comparisons with magic-wormhole: it or its servers are not installed (PyPI: magic-wormhole, \
                       magic-wormhole-mailbox-server, magic-wormhole-transit-relay; the folder of its programs must be in PATH)";
            tools::skip(report, why.to_owned());
            return Ok(None);
        };
        versions
            .insert("magic-wormhole".to_owned(), tools::version_in(&tools::say(&program, &["--version"])));
        let folder = sandbox.path("wormhole");
        std::fs::create_dir(&folder).context("cannot make a folder for the servers of magic-wormhole")?;
        let [mailbox, relay] = [servers::free_address()?, servers::free_address()?];
        let start = |plugin: &str, address: SocketAddr| {
            let mut command = Command::new(&twist);
            let endpoint = format!("tcp:{}:interface={}", address.port(), address.ip());
            command.args([plugin, "--port", &endpoint]).current_dir(&folder);
            let process = Process::start(plugin, command);
            let start = Instant::now();
            while TcpStream::connect(address).is_err() {
                interrupt.check()?;
                ensure!(!process.has_ended() && start.elapsed() < START_WAIT, "{plugin} does not start");
                std::thread::sleep(LOOK);
            }
            Ok(process)
        };
        let servers = [start("wormhole-mailbox", mailbox)?, start("transitrelay", relay)?];
        Ok(Some(Self { program, source: source.to_owned(), mailbox, relay, _servers: servers, codes: 0 }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--relay-url").arg(format!("ws://{}/v1", self.mailbox));
        command.arg("--transit-helper").arg(format!("tcp:{}:{}", self.relay.ip(), self.relay.port()));
        command.args(arguments);
        command
    }
}

impl Way for Wormhole {
    fn name(&self) -> &'static str {
        "magic-wormhole"
    }

    fn fetch(&mut self, to: &Path, interrupt: &Interrupt) -> Result<Moved> {
        self.codes += 1;
        let code = format!("{}-side-by-side", self.codes);
        let mut sender = self.command(&["send", "--hide-progress", "--no-qr", "--code", &code]);
        // What it says goes to standard error, which cannot be read while it runs.
        let said = to.with_extension("said");
        let log = std::fs::File::create(&said).context("cannot make a file for what the sender says")?;
        sender.arg(&self.source).stderr(log).stdin(std::process::Stdio::null());
        let sender = Sender(sender.spawn().context("cannot start wormhole")?);
        let start = Instant::now();
        while !std::fs::read_to_string(&said)?.contains(&code) {
            interrupt.check()?;
            ensure!(start.elapsed() < START_WAIT, "the sender of magic-wormhole does not say its code");
            std::thread::sleep(LOOK);
        }
        let output = to.to_str().context("temporary folders have plain names")?;
        let mut command =
            self.command(&["receive", "--hide-progress", "--accept-file", "--output-file", output, &code]);
        command.stderr(std::process::Stdio::null());
        let moved = command::run("wormhole", command, &[("its sender", sender.0.id())], interrupt);
        drop(sender);
        std::fs::remove_file(&said)?;
        moved
    }
}

/// Killed when dropped.
struct Sender(std::process::Child);

impl Drop for Sender {
    fn drop(&mut self) {
        // Fails when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
