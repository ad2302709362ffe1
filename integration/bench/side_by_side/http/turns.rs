//! Measures a shape: all servers, in alternating turns.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::Sandbox;
use measure::{Contestant, SAY_RESULT, Shape, Turn, Unit, parse, per_second};

use super::{Tls, handshakes, site};
use crate::Extent;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::servers::Server;
use crate::tools;

/// Timeout for a response. The default of wrk, 2 s, is too short for 100 MiB on a slow machine.
const ANSWER_SECONDS: u64 = 20;
const WARM_UP_SECONDS: u64 = 1;

/// The kind of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// The small file on persistent connections.
    KeepAlive,
    /// The small file, with a new connection for each request.
    ConnectionEach,
    /// The large file.
    Large,
    /// Random ones of the many files.
    Random,
    /// The small file, with a new connection for each request, which resumes a session of TLS.
    Resumed,
}

/// A shape to measure.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) work: Work,
    pub(super) connections: usize,
    /// Whether our server runs with `--http-threads`.
    pub(super) with_threads: bool,
    /// Whether the connections use TLS 1.3.
    pub(super) with_tls: bool,
}

pub(super) fn plans() -> Vec<Plan> {
    let plans = |with_threads, work, connections: &[usize]| {
        let plan = |&connections| Plan { work, connections, with_threads, with_tls: false };
        connections.iter().map(plan).collect::<Vec<_>>()
    };
    let with_tls = |work, connections| Plan { work, connections, with_threads: false, with_tls: true };
    [
        plans(false, Work::KeepAlive, &[1, 16, 64, 256, 1000]),
        plans(false, Work::ConnectionEach, &[16]),
        plans(false, Work::Large, &[4]),
        plans(false, Work::Random, &[64, 256]),
        plans(true, Work::KeepAlive, &[64]),
        plans(true, Work::ConnectionEach, &[16]),
        vec![
            with_tls(Work::KeepAlive, 64),
            with_tls(Work::ConnectionEach, 16),
            with_tls(Work::Resumed, 2),
            with_tls(Work::Large, 4),
        ],
    ]
    .concat()
}

impl Plan {
    /// Its name for `--only`.
    pub(super) fn name(&self) -> String {
        let connections = self.connections;
        let work = match self.work {
            Work::KeepAlive => format!("keep-alive-{connections}"),
            Work::ConnectionEach => "connection-each".to_owned(),
            Work::Large => "large-file".to_owned(),
            Work::Random => format!("random-files-{connections}"),
            Work::Resumed => "resumed".to_owned(),
        };
        match (self.with_threads, self.with_tls) {
            (true, _) => format!("http-threads-{work}"),
            (false, true) => format!("tls-{work}"),
            (false, false) => work,
        }
    }

    fn title(&self) -> String {
        let connections = self.connections;
        let work = match self.work {
            Work::KeepAlive if connections == 1 => "1 kB, 1 connection".to_owned(),
            Work::KeepAlive => format!("1 kB, {connections} connections"),
            Work::ConnectionEach => format!("1 kB, connection each, {connections} at once"),
            Work::Large => format!("100 MiB, {connections} connections"),
            Work::Random => format!("10,000 files, {connections} connections"),
            Work::Resumed => format!("1 kB, resumed connection each, {connections} at once"),
        };
        match (self.with_threads, self.with_tls) {
            (true, _) => format!("{work}, --http-threads"),
            (false, true) => format!("{work}, TLS 1.3"),
            (false, false) => work,
        }
    }

    /// The minimum ratio. A thread for each connection is only shown for comparison.
    fn target(&self) -> Option<f64> {
        let target = match self.work {
            Work::KeepAlive if self.with_tls => 1.2,
            Work::ConnectionEach if self.with_tls => 1.0,
            Work::KeepAlive | Work::Random => 1.5,
            Work::ConnectionEach => 1.1,
            Work::Large | Work::Resumed => 1.0,
        };
        (!self.with_threads).then_some(target)
    }

    fn path(&self) -> &'static str {
        match self.work {
            Work::KeepAlive | Work::ConnectionEach | Work::Resumed => site::SMALL,
            Work::Large => site::LARGE,
            // The script chooses the path.
            Work::Random => "/",
        }
    }
}

/// wrk and its scripts.
#[derive(Debug)]
pub(super) struct Wrk {
    program: PathBuf,
    plain: PathBuf,
    random: PathBuf,
    /// For what wrk cannot do.
    tls: Tls,
}

impl Wrk {
    /// Writes the scripts to `sandbox`.
    pub(super) fn new(program: PathBuf, sandbox: &Sandbox, tls: Tls) -> Result<Self> {
        let (plain, random) = (sandbox.path("plain.lua"), sandbox.path("random.lua"));
        std::fs::write(&plain, SAY_RESULT).context("cannot write a script for wrk")?;
        std::fs::write(&random, format!("{SAY_RESULT}{}", random_script()))?;
        Ok(Self { program, plain, random, tls })
    }

    fn turn(
        &self,
        plan: &Plan,
        server: &Server,
        seconds: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<Turn>> {
        if plan.work == Work::Resumed {
            let time = Duration::from_secs(seconds);
            return handshakes::resume(&self.tls, server, plan.path(), time, interrupt).map(Some);
        }
        let script = if plan.work == Work::Random { &self.random } else { &self.plain };
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--threads={}", plan.connections.min(2)))
            .arg(format!("--connections={}", plan.connections))
            .arg(format!("--duration={seconds}s"))
            .arg(format!("--timeout={ANSWER_SECONDS}s"))
            .arg("--latency")
            .arg("--script")
            .arg(script);
        if plan.work == Work::ConnectionEach {
            command.args(["--header", "Connection: close"]);
        }
        let (scheme, address) = match plan.with_tls {
            true => ("https", server.tls),
            false => ("http", server.address),
        };
        command.arg(format!("{scheme}://{address}{}", plan.path()));
        let cpu_before = server.cpu_time()?;
        let output = tools::output("wrk", command, interrupt)?;
        let cpu = server.cpu_time()?.saturating_sub(cpu_before);
        match parse(&output) {
            Ok(turn) => {
                let cpu_us_per_request = Some(cpu.as_secs_f64() * 1e6 / turn.requests as f64);
                Ok(Some(Turn { cpu_us_per_request, ..turn }))
            }
            Err(why) => {
                eprintln!("  a turn of {} does not count: {why}", server.name);
                Ok(None)
            }
        }
    }
}

/// Makes wrk request random ones of the many files: the same sequence for each server and turn, another for each
/// thread.
fn random_script() -> String {
    format!(
        r#"
local threads = 0
function setup(thread)
    threads = threads + 1
    thread:set("seed", threads)
end
function init(args)
    math.randomseed(seed)
    requests = {{}}
    for folder = 0, {} do
        for file = 0, {} do
            requests[#requests + 1] = wrk.format("GET", string.format("/many/%02d/%02d.html", folder, file))
        end
    end
end
function request()
    return requests[math.random(#requests)]
end
"#,
        site::FOLDERS - 1,
        site::FILES - 1
    )
}

/// Measures a shape with our server and the rival in each of its settings.
pub(super) fn measure(
    plan: &Plan,
    wrk: &Wrk,
    ours: &Server,
    rivals: &[Server],
    root: &Path,
    extent: &Extent,
    interrupt: &Interrupt,
) -> Result<Shape> {
    let servers: Vec<&Server> = std::iter::once(ours).chain(rivals).collect();
    for server in &servers {
        check(plan, &wrk.tls, server, root).with_context(|| format!("{} answers wrongly", server.name))?;
        // A warm-up turn fills caches and starts threads.
        wrk.turn(plan, server, WARM_UP_SECONDS, interrupt)?;
    }
    let mut contestants: Vec<Contestant> =
        servers.iter().map(|server| Contestant { name: server.name.to_owned(), turns: Vec::new() }).collect();
    for _ in 0..extent.turns() {
        for (contestant, server) in contestants.iter_mut().zip(&servers) {
            contestant.turns.push(wrk.turn(plan, server, extent.seconds(), interrupt)?);
        }
    }
    let shape = Shape {
        name: plan.name(),
        title: plan.title(),
        unit: if plan.work == Work::Large { Unit::Bytes } else { Unit::Requests },
        target: plan.target(),
        is_tail_counted: plan.work == Work::KeepAlive,
        ours: contestants.remove(0),
        rivals: contestants,
    };
    let comparison = shape.comparison();
    if let (Some(ours), Some(rival)) = (comparison.ours, comparison.rival) {
        let [ours, rival] = [ours, rival].map(|of| per_second(of.per_second, shape.unit));
        eprintln!("  {ours} to {rival} (nginx with {})", comparison.setting);
    }
    Ok(shape)
}

/// Checks that a server sends the content of the files, because a wrong response can be fast.
fn check(plan: &Plan, tls: &Tls, server: &Server, root: &Path) -> Result<()> {
    let mut client = match plan.with_tls {
        true => Client::connect_tls(server.tls, &tls.client)?,
        false => Client::connect(server.address)?,
    };
    let paths = match plan.work {
        // All files, which also fills the cache of the server.
        Work::Random => site::many().collect(),
        _ => vec![plan.path().to_owned()],
    };
    for path in paths {
        ensure!(client.get(&path)? == site::body(root, &path)?, "the body of {path} is not the file");
    }
    Ok(())
}
