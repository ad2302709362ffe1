//! A file of 1 GiB from one place to another on this machine: straight from peer to peer and through the server, compared with
//! scp and magic-wormhole. And a folder of small files, compared with scp. All of them encrypt what they send.
//!
//! What is measured is a command, from its start until it has ended: `peer get`, `scp` or `wormhole receive`. What it fetches
//! from runs already.

mod command;
mod ours;
mod scp;
mod small;
mod wormhole;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::Sandbox;
use measure::{Bound, Contestant, Goal, Report, Shape, Turn, Unit, per_second};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::interrupt::Interrupt;
use crate::{Extent, messages, servers, tools};
use command::Moved;
use ours::{Peers, Route};
use scp::Sshd;
use small::Small;
use wormhole::Wormhole;

const BYTES: u64 = 1 << 30;
const QUICK_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 1 << 20;
/// How many times the bytes a second of the fastest rival: straight, and through the server.
const STRAIGHT: f64 = 3.0;
const THROUGH: f64 = 1.5;
/// Small files: how many, and how long each is.
const SMALL: &str = "small";
const SMALL_FILES: u64 = 5_000;
const QUICK_SMALL_FILES: u64 = 500;
const SMALL_BYTES: u64 = 4 << 10;
/// As many a second. At half the bytes a second of a large file there would be tens of thousands, so this is the smaller goal.
const SMALL_PER_SECOND: f64 = 5_000.0;
/// The limit for the memory of each of our processes.
const MEMORY_MIB: u64 = 64;
/// Messages are as fast as this in 99 of 100 cases, while a transfer runs through their server.
const MESSAGES: &str = "messages-beside";
const MESSAGES_P99_US: f64 = 20_000.0;

/// A shape: its name, its title, how the file goes with us, and the target.
const PLANS: [(&str, &str, Route, f64); 2] = [
    ("straight", "straight from peer to peer", Route::Direct, STRAIGHT),
    ("through", "through the server", Route::Server, THROUGH),
];

/// The names for `--only`.
pub(crate) fn names() -> Vec<String> {
    PLANS.iter().map(|(name, ..)| *name).chain([SMALL, MESSAGES]).map(str::to_owned).collect()
}

/// What is moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    files: u64,
    bytes: u64,
}

impl Amount {
    /// What is at a path: a file, or all files in a folder and its sub-folders.
    fn at(path: &Path) -> Result<Self> {
        let failed = || format!("nothing was fetched to {}", path.display());
        let metadata = std::fs::metadata(path).with_context(failed)?;
        if metadata.is_file() {
            return Ok(Self { files: 1, bytes: metadata.len() });
        }
        let mut amount = Self::default();
        for entry in std::fs::read_dir(path).with_context(failed)? {
            let Self { files, bytes } = Self::at(&entry.with_context(failed)?.path())?;
            amount = Self { files: amount.files + files, bytes: amount.bytes + bytes };
        }
        Ok(amount)
    }

    fn title(self) -> String {
        match self.files {
            1 => format!("{} MiB", self.bytes >> 20),
            files => format!("{files} files of {} KiB", (self.bytes / files) >> 10),
        }
    }
}

/// A way to move a file or a folder.
trait Way {
    fn name(&self) -> &'static str;

    /// Moves it to `to`, where nothing is yet.
    fn fetch(&mut self, to: &Path, interrupt: &Interrupt) -> Result<Moved>;
}

/// Measures the shapes that `extent` selects.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let [server, peer] = [servers::build("server")?, servers::build("peer")?];
    let mut versions = BTreeMap::from([("switchboard".to_owned(), tools::revision())]);
    let sandbox = Sandbox::new();
    let bytes = if extent.quick { QUICK_BYTES } else { BYTES };
    let source = sandbox.path("source.bin");
    make(&source, bytes)?;
    let mut report = tools::report("files", "the fastest other", BTreeMap::new(), extent);
    let peers = Peers::start(&server, &peer, &sandbox, &source, interrupt)?;
    let is_big = PLANS.iter().any(|(name, ..)| extent.has(name));
    let sshd = match is_big || extent.has(SMALL) {
        true => Sshd::start(&sandbox, &mut versions, &mut report)?,
        false => None,
    };
    let mut rivals: Vec<Box<dyn Way>> = Vec::new();
    if is_big {
        rivals.extend(sshd.iter().flat_map(|sshd| scp::ways(sshd, &source)));
        let wormhole = Wormhole::start(&sandbox, &source, &mut versions, &mut report, interrupt)?;
        rivals.extend(wormhole.map(|way| Box::new(way) as Box<dyn Way>));
    }
    report.versions = versions;
    let mut suite = Suite { extent, interrupt, target: sandbox.path("fetched"), report };
    let big = Amount { files: 1, bytes };
    for (name, title, route, target) in PLANS.into_iter().filter(|(name, ..)| extent.has(name)) {
        let Some(mut ours) = peers.way(route) else {
            let why = "this machine has no address but loopback, and over that, files go straight";
            tools::skip(&mut suite.report, format!("{title}: {why}"));
            continue;
        };
        suite.shape((name, title, Some(target)), big, &mut ours, &mut rivals)?;
    }
    if extent.has(SMALL) {
        suite.small(&peers, &sandbox, sshd.as_ref())?;
    }
    if extent.has(MESSAGES) {
        eprintln!("{MESSAGES} ...");
        suite.messages(&peers, big)?;
    }
    Ok(suite.report)
}

/// Makes a file of bytes that cannot be compressed.
fn make(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let (mut rng, mut block) = (StdRng::seed_from_u64(1), vec![0; BLOCK_BYTES]);
    for _ in 0..bytes / BLOCK_BYTES as u64 {
        rng.fill_bytes(&mut block);
        file.write_all(&block).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

struct Suite<'a> {
    extent: &'a Extent,
    interrupt: &'a Interrupt,
    target: PathBuf,
    report: Report,
}

impl Suite<'_> {
    /// Measures a shape in alternating turns.
    fn shape(
        &mut self,
        (name, title, target): (&str, &str, Option<f64>),
        amount: Amount,
        ours: &mut dyn Way,
        rivals: &mut [Box<dyn Way>],
    ) -> Result<()> {
        eprintln!("{name} ...");
        let mut contestants = vec![Contestant { name: ours.name().to_owned(), turns: Vec::new() }];
        let names = rivals.iter().map(|rival| rival.name().to_owned());
        contestants.extend(names.map(|name| Contestant { name, turns: Vec::new() }));
        let mut all: Vec<Moved> = Vec::new();
        // One more turn is the warm-up.
        for turn in 0..=self.extent.turns() {
            let mut turns = vec![self.fetch(ours, amount)?];
            for rival in rivals.iter_mut() {
                turns.push(self.fetch(&mut **rival, amount)?);
            }
            if turn == 0 {
                continue;
            }
            for (contestant, moved) in contestants.iter_mut().zip(&turns) {
                contestant.turns.push(Some(turn_of(moved, amount)));
            }
            all.push(turns.swap_remove(0));
        }
        let shape = Shape {
            name: name.to_owned(),
            title: format!("{}, {title}", amount.title()),
            unit: if amount.files == 1 { Unit::Bytes } else { Unit::Requests },
            target,
            is_tail_counted: false,
            ours: contestants.remove(0),
            rivals: contestants,
        };
        for contestant in [&shape.ours].into_iter().chain(&shape.rivals) {
            let rates = contestant.turns.iter().flatten().map(|turn| match shape.unit {
                Unit::Bytes => turn.bytes_per_second,
                Unit::Requests => turn.requests_per_second,
            });
            let rates = measure::median(&rates.collect::<Vec<_>>()).unwrap_or_default();
            eprintln!("  {}: {}", contestant.name, per_second(rates, shape.unit));
        }
        self.report.notes.push(costs(&shape.title, amount, &all));
        self.report.shapes.push(shape);
        Ok(())
    }

    /// Moves a file or folder once, and checks that all of it has come.
    fn fetch(&self, way: &mut dyn Way, amount: Amount) -> Result<Moved> {
        // What was written before does not slow this one down.
        rustix::fs::sync();
        let moved = way.fetch(&self.target, self.interrupt)?;
        let there = Amount::at(&self.target)?;
        ensure!(there == amount, "{} fetched {there:?} of {amount:?}", way.name());
        if self.target.is_dir() {
            // Removed in the end, because ext4 without a journal gives no inode out again for up to five minutes after its file was
            // deleted: many files that are deleted make the creation of others several times slower.
            let mut aside = (1_u32..).map(|number| self.target.with_extension(number.to_string()));
            let aside = aside.find(|path| !path.exists()).context("there is always a next number")?;
            std::fs::rename(&self.target, aside).context("cannot move what was fetched aside")?;
        } else {
            std::fs::remove_file(&self.target).context("cannot remove what was fetched")?;
        }
        Ok(moved)
    }

    /// Small files, straight from peer to peer.
    fn small(&mut self, peers: &Peers<'_>, sandbox: &Sandbox, sshd: Option<&Rc<Sshd>>) -> Result<()> {
        let files = if self.extent.quick { QUICK_SMALL_FILES } else { SMALL_FILES };
        let amount = Amount { files, bytes: files * SMALL_BYTES };
        let mut ours = Small::start(peers, sandbox, files, self.interrupt)?;
        let mut rivals = sshd.map(|sshd| scp::ways(sshd, ours.folder())).unwrap_or_default();
        self.shape((SMALL, "straight from peer to peer", None), amount, &mut ours, &mut rivals)?;
        let shape = self.report.shapes.last().context("it was measured")?;
        let per_second = shape.ours.turns.iter().flatten().map(|turn| turn.requests_per_second).collect();
        let (name, title) = (SMALL.to_owned(), shape.title.clone());
        let bound = Bound::Rate(SMALL_PER_SECOND);
        self.report.goals.push(Goal { name, title, bound, per_second, p99_us: Vec::new() });
        Ok(())
    }

    /// Messages that are sent one at a time while files go through the same server.
    fn messages(&mut self, peers: &Peers<'_>, amount: Amount) -> Result<()> {
        let Some(mut way) = peers.way(Route::Server) else {
            let why = "messages beside a transfer: this machine has no address but loopback";
            tools::skip(&mut self.report, why.to_owned());
            return Ok(());
        };
        let mut load = messages::pair(peers.server())?;
        let time = Duration::from_secs(self.extent.seconds());
        let alone = load.run(time, self.interrupt)?;
        let (mut per_second, mut p99_us, mut p50_us) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.extent.turns() {
            let is_over = AtomicBool::new(false);
            let (suite, way) = (&*self, &mut way);
            let outcome = std::thread::scope(|scope| {
                let moving = scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        suite.fetch(way, amount)?;
                    }
                    Ok::<_, anyhow::Error>(())
                });
                let outcome = load.run(time, self.interrupt);
                is_over.store(true, Ordering::Relaxed);
                moving.join().expect("it does not panic")?;
                outcome
            })?;
            per_second.push(outcome.messages as f64 / outcome.time.as_secs_f64());
            p50_us.push(outcome.p50.as_secs_f64() * 1e6);
            p99_us.push(outcome.p99.as_secs_f64() * 1e6);
        }
        let median = measure::median(&p50_us).unwrap_or_default();
        self.report.notes.push(format!(
            "A message and its answer beside transfers through the same server: p50 {median:.0} us; without them {:.0} us, p99 {:.0} us",
            alone.p50.as_secs_f64() * 1e6,
            alone.p99.as_secs_f64() * 1e6,
        ));
        let title = "Messages one at a time, beside transfers".to_owned();
        let bound = Bound::Tail(MESSAGES_P99_US);
        self.report.goals.push(Goal { name: MESSAGES.to_owned(), title, bound, per_second, p99_us });
        Ok(())
    }
}

fn turn_of(moved: &Moved, amount: Amount) -> Turn {
    let seconds = moved.time.as_secs_f64();
    Turn {
        requests: amount.files,
        requests_per_second: amount.files as f64 / seconds,
        bytes_per_second: amount.bytes as f64 / seconds,
        p50_us: seconds * 1e6,
        p99_us: seconds * 1e6,
        cpu_us_per_request: Some(moved.cpu().as_secs_f64() * 1e6 / amount.files as f64),
        cpu_beneath_us_per_request: None,
    }
}

/// Processor time and memory of each of our processes, as a sentence.
fn costs(title: &str, amount: Amount, all: &[Moved]) -> String {
    let (unit, units) = match amount.files {
        1 => ("GB", amount.bytes as f64 / 1e9),
        files => ("1,000 files", files as f64 / 1e3),
    };
    let sides = all.first().map(|moved| moved.sides.len()).unwrap_or_default();
    let costs = (0..sides).map(|side| {
        let each = all.iter().map(|moved| &moved.sides[side]);
        let cpu: Vec<f64> = each.clone().map(|side| side.cpu.as_secs_f64() / units).collect();
        let peak = each.clone().map(|side| side.peak_kib).max().unwrap_or_default();
        let (name, cpu) = (all[0].sides[side].name, measure::median(&cpu).unwrap_or_default());
        format!("{name} {cpu:.2} s of processor time for {unit} and at most {} MiB of memory", peak >> 10)
    });
    let costs = costs.collect::<Vec<_>>().join(", ");
    format!("{title}: {costs} (the goal is {MEMORY_MIB} MiB each)")
}
