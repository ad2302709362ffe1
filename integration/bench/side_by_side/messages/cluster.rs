//! The same messages between peers of a cluster of two servers, compared with clients of the three nats-servers that these
//! servers use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use integration::Character;
use measure::{Contestant, Report, Shape, Unit};

use super::{CONTENT_BYTES, Plan, REST, Suite, WARM_UP, Work, nats, ours};
use crate::interrupt::Interrupt;
use crate::servers::{self, Server};
use crate::{Extent, machine, tools};

/// As many copies of mail as the servers of the cluster ask for.
const REPLICAS: usize = 3;
const SYNCED: &str = "sync_interval: always";
const PRESENCE: &str = "presence";
const PRESENCE_PEERS: usize = 1_000;

/// A shape to measure.
struct Spread {
    plan: Plan,
    /// Whether the two peers of a pair are at different servers.
    is_across: bool,
    /// What is configured of JetStream.
    stream: &'static str,
    /// The minimum ratio, if there is a goal.
    target: Option<f64>,
}

fn spreads() -> Vec<Spread> {
    let spread = |work, senders, window, is_across, stream, target| {
        let plan = Plan { work, senders, window, target: 0.0 };
        Spread { plan, is_across, stream, target }
    };
    vec![
        spread(Work::Relay, 1, 512, false, "", None),
        spread(Work::Relay, 1, 1, false, "", None),
        spread(Work::Relay, 1, 512, true, "", Some(0.5)),
        spread(Work::Relay, 50, 64, true, "", Some(0.5)),
        // At most 1.5 times the time of NATS.
        spread(Work::Relay, 1, 1, true, "", Some(1.0 / 1.5)),
        spread(Work::Store, 1, 512, true, "", Some(0.7)),
        spread(Work::Store, 50, 64, true, "", Some(0.7)),
        spread(Work::Store, 1, 512, true, SYNCED, None),
    ]
}

impl Spread {
    fn name(&self) -> String {
        let ends = if self.is_across { "across" } else { "inside" };
        let synced = if self.stream == SYNCED { "-synced" } else { "" };
        format!("{ends}-{}{synced}", self.plan.name())
    }

    fn title(&self) -> String {
        let ends = if self.is_across { "2 servers" } else { "1 server" };
        let synced = if self.stream == SYNCED { ", always synced" } else { "" };
        format!("{}, {ends}{synced}", self.plan.title())
    }
}

/// The names for `--only`.
pub(crate) fn names() -> Vec<String> {
    spreads().iter().map(Spread::name).chain([PRESENCE.to_owned()]).collect()
}

/// Measures the shapes that `extent` selects.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let program = servers::build("server")?;
    machine::raise_descriptor_limit();
    let mut versions = BTreeMap::from([("switchboard".to_owned(), tools::revision())]);
    let nats = tools::find("nats-server");
    if let Some(nats) = &nats {
        versions.insert("nats-server".to_owned(), tools::version_in(&tools::say(nats, &["--version"])));
    }
    let report = tools::report("cluster", "nats", versions, extent);
    let mut suite = Suite::new(extent, interrupt, program, report);
    let Some(nats) = suite.need_nats(nats) else { return Ok(suite.report) };
    for spread in spreads().into_iter().filter(|spread| extent.has(&spread.name())) {
        eprintln!("{} ...", spread.name());
        let shape = suite.spread(&spread, &nats)?;
        suite.add(shape);
    }
    if extent.has(PRESENCE) {
        eprintln!("{PRESENCE} ...");
        suite.presence(&nats)?;
    }
    Ok(suite.report)
}

impl Suite<'_> {
    /// Measures a shape in alternating turns: first two servers of a cluster, then the nats-servers of that cluster alone.
    fn spread(&mut self, spread: &Spread, program: &Path) -> Result<Shape> {
        let nats = Server::three_nats(program, &self.folder(), spread.stream)?;
        let servers = [self.start_at(&nats[0])?, self.start_at(&nats[1])?];
        let far = usize::from(spread.is_across);
        let plan = &spread.plan;
        let mut ours = ours::load(&servers[0], &servers[far], plan)?;
        let mut theirs = nats::load(&nats[0], &nats[far], plan, REPLICAS)?;
        ours.run(WARM_UP, self.interrupt)?;
        theirs.run(WARM_UP, self.interrupt)?;
        let contestant = |name: &str| Contestant { name: name.to_owned(), turns: Vec::new() };
        let rival = if plan.work == Work::Store { "JetStream, 3 copies" } else { "core NATS" };
        let [mut our_turns, mut their_turns] = [contestant("switchboard"), contestant(rival)];
        for _ in 0..self.extent.turns() {
            let (servers, nats) = (servers.each_ref(), nats.each_ref());
            let our_turn = ours.turn(&servers, &nats, CONTENT_BYTES, self.extent, self.interrupt)?;
            our_turns.turns.push(Some(our_turn));
            let their_turn = theirs.turn(&nats, &[], CONTENT_BYTES, self.extent, self.interrupt)?;
            their_turns.turns.push(Some(their_turn));
        }
        Ok(Shape {
            name: spread.name(),
            title: spread.title(),
            unit: Unit::Requests,
            target: spread.target,
            is_tail_counted: false,
            ours: our_turns,
            rivals: vec![their_turns],
        })
    }

    /// The processor time for a peer that joins again and leaves: at its server, at the other one, and in NATS.
    fn presence(&mut self, program: &Path) -> Result<()> {
        let nats = Server::three_nats(program, &self.folder(), "")?;
        let servers = [self.start_at(&nats[0])?, self.start_at(&nats[1])?];
        let count = if self.extent.quick { PRESENCE_PEERS / 10 } else { PRESENCE_PEERS };
        let times = || -> Result<[Duration; 3]> {
            let of_nats = nats.iter().map(Server::cpu_time).sum::<Result<Duration>>()?;
            Ok([servers[0].cpu_time()?, servers[1].cpu_time()?, of_nats])
        };
        let keys = Character::new("peer-0");
        // The first time, each takes a name.
        let resident_before = machine::resident_kib(servers[1].id())?;
        let mut rounds = Vec::new();
        for _ in 0..2 {
            let before = times()?;
            drop(ours::join_as(&keys, &servers[0], count, "peer")?);
            std::thread::sleep(REST);
            let after = times()?;
            let each = |of: usize| (after[of] - before[of]).as_secs_f64() * 1e6 / count as f64;
            rounds.push([each(0), each(1), each(2)]);
        }
        let resident = machine::resident_kib(servers[1].id())?.saturating_sub(resident_before);
        self.report.notes.push(format!(
            "A name that another server has given away takes {:.1} KiB of memory",
            resident as f64 / count as f64
        ));
        for (what, [here, there, nats]) in ["joins with a new name", "joins again"].iter().zip(rounds) {
            self.report.notes.push(format!(
                "A peer that {what}, and leaves: {here:.0} us of processor time at its server, {there:.0} us at the other one, \
                 {nats:.0} us of the three nats-servers"
            ));
        }
        Ok(())
    }

    /// Starts a server of the cluster that uses this nats-server.
    fn start_at(&mut self, nats: &Server) -> Result<Server> {
        let url = format!("nats://{}", nats.address);
        // A server connects to any of those that are named, and asks for three copies if three are named.
        let cluster = ["--cluster", &url].repeat(REPLICAS);
        let data: PathBuf = self.folder();
        self.start_with(&data, &[ours::OPTIONS.as_slice(), &cluster].concat())
    }
}
