//! Loads that have no rival: whole peers, which seal messages, write them to disk and verify receipts; thousands of peers that
//! each write now and then; and a pair that writes while others ask for the list of peers all the time.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use measure::{Bound, Goal};
use wire::frame::{self, LENGTH_BYTES};
use wire::protocol::ToServer;

use super::{Plan, REST, Suite, Work, ours};
use crate::servers::{self, Server};

/// A name for `--only`, how many pairs of peers there are, how many messages each sends, and the least rate.
const PAIRS: [(&str, &str, usize, usize, f64); 2] = [
    ("whole-1", "Whole peers, one to another", 1, 100_000, 30_000.0),
    ("whole-20", "Whole peers, 20 pairs", 20, 10_000, 100_000.0),
];
const MANY: &str = "many-peers";
const MANY_PAIRS: usize = 2_500;
const MANY_P99: f64 = 50_000.0;
/// A pair writes one message at a time, while each asker asks for all peers again as soon as it has an answer.
const ASKERS: &str = "askers";
const ASKER_COUNT: usize = 8;
const LISTED: usize = 4_000;
const ASKERS_P99: f64 = 20_000.0;
/// How long a process may take.
const PROCESS_WAIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(2);

pub(super) fn names() -> impl Iterator<Item = String> {
    PAIRS.iter().map(|(name, ..)| *name).chain([MANY, ASKERS]).map(str::to_owned)
}

impl Suite<'_> {
    pub(super) fn goals(&mut self) -> Result<()> {
        let selected: Vec<_> = PAIRS.into_iter().filter(|(name, ..)| self.extent.has(name)).collect();
        if !selected.is_empty() {
            let program = servers::build("peer")?;
            for (name, title, pairs, messages, least) in selected {
                eprintln!("{name} ...");
                let messages = if self.extent.quick { messages / 10 } else { messages };
                let per_second = self.whole_peers(&program, pairs, messages)?;
                let (name, title, bound) = (name.to_owned(), title.to_owned(), Bound::Rate(least));
                self.report.goals.push(Goal { name, title, bound, per_second, p99_us: Vec::new() });
            }
        }
        if self.extent.has(MANY) {
            eprintln!("{MANY} ...");
            let goal = self.many_peers()?;
            self.report.goals.push(goal);
        }
        if self.extent.has(ASKERS) {
            eprintln!("{ASKERS} ...");
            let goal = self.askers()?;
            self.report.goals.push(goal);
        }
        Ok(())
    }

    /// The messages per second of each turn, from the start of the senders to the last verified receipt and the last message
    /// shown. The text of each message has 64 bytes.
    fn whole_peers(&mut self, program: &Path, pairs: usize, messages: usize) -> Result<Vec<f64>> {
        let server = self.start_ours()?;
        let folder = self.folder();
        fs::create_dir(&folder).context("cannot make a folder for the peers")?;
        let lines = folder.join("lines");
        fs::write(&lines, (0..messages).map(|number| format!("{number:063}\n")).collect::<String>())?;
        let peer = |name: &str| PeerProcess { program, server: &server, dir: folder.join(name) };
        for pair in 0..pairs {
            for name in [format!("from-{pair}"), format!("to-{pair}")] {
                self.wait(peer(&name).start(&["who"], Stdio::null())?)?;
            }
        }
        let mut per_second = Vec::new();
        for _ in 0..self.extent.turns() {
            let count = messages.to_string();
            let mut running = Vec::new();
            for pair in 0..pairs {
                let to = peer(&format!("to-{pair}"));
                running.push(to.start(&["listen", "--count", &count], Stdio::null())?);
            }
            thread::sleep(REST);
            let start = Instant::now();
            for pair in 0..pairs {
                let to = format!("to-{pair}");
                let from = peer(&format!("from-{pair}"));
                let text = File::open(&lines)?.into();
                running.push(from.start(&["send", &to, "-", "--wait", "100"], text)?);
            }
            for process in running {
                self.wait(process)?;
            }
            per_second.push((pairs * messages) as f64 / start.elapsed().as_secs_f64());
        }
        Ok(per_second)
    }

    fn wait(&self, mut process: Running) -> Result<()> {
        let since = Instant::now();
        loop {
            if let Some(status) = process.0.try_wait()? {
                ensure!(status.success(), "a peer ends with {status}");
                return Ok(());
            }
            self.interrupt.check()?;
            ensure!(since.elapsed() < PROCESS_WAIT, "a peer takes longer than {PROCESS_WAIT:?}");
            thread::sleep(LOOK);
        }
    }

    /// Thousands of connected peers, of which each sends a message a second: half of them write, the others answer.
    fn many_peers(&mut self) -> Result<Goal> {
        let pairs = if self.extent.quick { MANY_PAIRS / 25 } else { MANY_PAIRS };
        let plan = Plan { work: Work::Relay, senders: pairs, window: 1, target: 0.0 };
        let server = self.start_ours()?;
        let mut load = ours::load(&server, &server, &plan)?;
        let (mut per_second, mut p99_us) = (Vec::new(), Vec::new());
        load.run_paced(Duration::from_secs(2), self.interrupt)?;
        for _ in 0..self.extent.turns() {
            let time = Duration::from_secs(self.extent.seconds());
            let outcome = load.run_paced(time, self.interrupt)?;
            // The answers count as well.
            per_second.push(2.0 * outcome.messages as f64 / outcome.time.as_secs_f64());
            p99_us.push(outcome.p99.as_secs_f64() * 1e6);
        }
        let title = format!("{} peers, a message a second each, answered", 2 * pairs);
        Ok(Goal { name: MANY.to_owned(), title, bound: Bound::Tail(MANY_P99), per_second, p99_us })
    }

    /// Questions for the list of all peers must not delay the messages of others.
    fn askers(&mut self) -> Result<Goal> {
        let server = self.start_ours()?;
        let listed = ours::join(&server, if self.extent.quick { LISTED / 10 } else { LISTED }, "listed")?;
        let plan = Plan { work: Work::Relay, senders: 1, window: 1, target: 0.0 };
        let mut load = ours::load(&server, &server, &plan)?;
        let (mut per_second, mut p99_us) = (Vec::new(), Vec::new());
        for _ in 0..self.extent.turns() {
            let is_over = AtomicBool::new(false);
            let outcome = thread::scope(|scope| {
                let asking = listed.iter().take(ASKER_COUNT);
                let asking: Vec<_> = asking.map(|stream| scope.spawn(|| ask(stream, &is_over))).collect();
                let outcome = load.run(Duration::from_secs(self.extent.seconds()), self.interrupt);
                is_over.store(true, Ordering::Relaxed);
                for asker in asking {
                    asker.join().expect("it does not panic")?;
                }
                outcome
            })?;
            per_second.push(outcome.messages as f64 / outcome.time.as_secs_f64());
            p99_us.push(outcome.p99.as_secs_f64() * 1e6);
        }
        let title = format!("One at a time, while {ASKER_COUNT} ask for {} peers", listed.len());
        Ok(Goal { name: ASKERS.to_owned(), title, bound: Bound::Tail(ASKERS_P99), per_second, p99_us })
    }
}

/// Asks for the list of peers again and again.
fn ask(mut stream: &TcpStream, is_over: &AtomicBool) -> Result<()> {
    let question = frame::frame(&ToServer::Who { id: 1 });
    let mut answer = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&question).context("cannot ask for the peers")?;
        let mut length = [0; LENGTH_BYTES];
        stream.read_exact(&mut length).context("no list of peers came")?;
        answer.resize(usize::try_from(u32::from_le_bytes(length))?, 0);
        stream.read_exact(&mut answer).context("the list of peers is not complete")?;
    }
    Ok(())
}

/// A process that is killed if it is dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer of a pair.
struct PeerProcess<'a> {
    program: &'a Path,
    server: &'a Server,
    dir: PathBuf,
}

impl PeerProcess<'_> {
    fn start(&self, arguments: &[&str], input: Stdio) -> Result<Running> {
        let mut command = Command::new(self.program);
        command.args(arguments).arg("--quiet").arg("--dir").arg(&self.dir);
        command.arg("--server").arg(self.server.address.to_string());
        let process = command.stdin(input).stdout(Stdio::null()).spawn();
        Ok(Running(process.context("cannot start a peer")?))
    }
}
