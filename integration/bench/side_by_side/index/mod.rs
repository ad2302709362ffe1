//! Searches among the files of thousands of peers, compared with the same sets in Redis.
//!
//! The peers publish through the protocol; then the server starts again, and reads the lists from its disk.

mod corpus;
mod ours;
mod redis;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration::{Sandbox, repository};
use measure::{Bound, Contestant, Goal, Report, Shape, Unit, per_second};
use rand::rngs::StdRng;

use crate::interrupt::Interrupt;
use crate::servers::{self, Server};
use crate::{Extent, machine, tools};
use corpus::Corpus;
use ours::Question;

const CLIENTS: usize = 16;
/// How many different questions each client has.
const QUESTIONS: usize = 5_000;
/// Without a pause between its questions, a client waits at most this long for 99 of 100 answers.
const P99_US: f64 = 1_000.0;
const WARM_UP: Duration = Duration::from_secs(1);

/// A shape to measure.
struct Plan {
    name: &'static str,
    title: &'static str,
    /// How many keywords a question has.
    keywords: usize,
    question: Question,
    target: Option<f64>,
}

const PLANS: [Plan; 4] = [
    Plan {
        name: "exact-1",
        title: "Files with a keyword",
        keywords: 1,
        question: Question::Search,
        target: None,
    },
    Plan {
        name: "exact-2",
        title: "Files with two keywords",
        keywords: 2,
        question: Question::Search,
        target: Some(1.0),
    },
    Plan {
        name: "exact-3",
        title: "Files with three keywords",
        keywords: 3,
        question: Question::Search,
        target: Some(1.0),
    },
    Plan {
        name: "words-2",
        title: "Two words, ranked",
        keywords: 2,
        question: Question::Find,
        target: Some(1.0),
    },
];

/// The names for `--only`.
pub(crate) fn names() -> Vec<String> {
    PLANS.iter().map(|plan| plan.name.to_owned()).collect()
}

/// Measures the shapes that `extent` selects.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let program = servers::build("server")?;
    machine::raise_descriptor_limit();
    let redis = tools::find("redis-server");
    let mut versions = BTreeMap::from([("switchboard".to_owned(), tools::revision())]);
    if let Some(redis) = &redis {
        let said = tools::say(redis, &["--version"]);
        let version = said.split("v=").nth(1).unwrap_or_default();
        versions.insert("redis".to_owned(), tools::version_in(version));
    }
    let mut report = tools::report("index", "redis", versions, extent);
    let corpus = if extent.quick { Corpus::new(100) } else { Corpus::new(corpus::PEERS) };
    let sandbox = Sandbox::new();
    let server = publish(&program, &sandbox, &corpus, &mut report, interrupt)?;
    let redis = match redis {
        Some(program) => Some(redis::start(&program, &sandbox.path("redis"), &corpus)?),
        None => {
            let why = "every comparison with Redis: redis-server is not installed (Debian, Ubuntu: apt install \
                       redis-server)";
            tools::skip(&mut report, why.to_owned());
            None
        }
    };
    for plan in PLANS.iter().filter(|plan| extent.has(plan.name)) {
        eprintln!("{} ...", plan.name);
        let shape = shape(plan, &corpus, &server, redis.as_ref(), extent, interrupt)?;
        if let Some(of) = shape.comparison().ours {
            eprintln!("  {}", per_second(of.per_second, Unit::Requests));
        }
        report.goals.push(tail(plan, &shape));
        report.shapes.push(shape);
    }
    Ok(report)
}

/// Lets all peers publish what they share, ends the server, and starts it again.
fn publish(
    program: &Path,
    sandbox: &Sandbox,
    corpus: &Corpus,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<Server> {
    let data = sandbox.path("data");
    let start = || Server::ours(program, &repository().join("www"), &data, None, &ours::options());
    eprintln!("{} files of {} peers ...", corpus.files(), corpus.peers());
    let server = start()?;
    let took = ours::publish(&server, corpus, interrupt)?;
    drop(server);
    report.notes.push(format!(
        "{} files of {} peers, {} pairs of a keyword and a file: published in {:.1} s",
        corpus.files(),
        corpus.peers(),
        corpus.pairs(),
        took.as_secs_f64()
    ));
    let begun = Instant::now();
    let server = start()?;
    ours::wait_until_loaded(&server, corpus)?;
    report.notes.push(format!(
        "after a restart they can be found within {:.1} s, and the server uses {} MiB",
        begun.elapsed().as_secs_f64(),
        machine::resident_kib(server.id())? >> 10
    ));
    for note in &report.notes {
        eprintln!("  {note}");
    }
    Ok(server)
}

/// Measures a shape in alternating turns.
fn shape(
    plan: &Plan,
    corpus: &Corpus,
    server: &Server,
    redis: Option<&Server>,
    extent: &Extent,
    interrupt: &Interrupt,
) -> Result<Shape> {
    let mut runs =
        vec![(server, ours::load(server, corpus, plan.name, (plan.question, plan.keywords), CLIENTS)?)];
    if let Some(redis) = redis {
        runs.push((redis, redis::load(redis, corpus, plan.keywords, CLIENTS)?));
    }
    let contestant = |server: &Server| Contestant { name: server.name.to_owned(), turns: Vec::new() };
    let mut contestants: Vec<_> = runs.iter().map(|(server, _)| contestant(server)).collect();
    for (_, load) in &mut runs {
        load.run(WARM_UP, interrupt)?;
    }
    for _ in 0..extent.turns() {
        for (contestant, (server, load)) in contestants.iter_mut().zip(&mut runs) {
            contestant.turns.push(Some(load.turn(&[*server], &[], 0, extent, interrupt)?));
        }
    }
    Ok(Shape {
        name: plan.name.to_owned(),
        title: format!("{}, {CLIENTS} clients", plan.title),
        unit: Unit::Requests,
        target: plan.target,
        is_tail_counted: false,
        ours: contestants.remove(0),
        rivals: contestants,
    })
}

/// Questions that a client asks one after the other, and then again from the first.
struct Questions {
    encoded: Vec<Vec<u8>>,
    next: usize,
}

impl Questions {
    /// Makes questions with as many keywords.
    fn new(
        corpus: &Corpus,
        rng: &mut StdRng,
        keywords: usize,
        encode: impl Fn(&[String]) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let encoded = (0..QUESTIONS).map(|_| encode(&corpus.question(rng, keywords)));
        Ok(Self { encoded: encoded.collect::<Result<_>>()?, next: 0 })
    }

    fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.encoded.len();
        &self.encoded[self.next]
    }
}

/// The goal for the slowest answers of a shape.
fn tail(plan: &Plan, shape: &Shape) -> Goal {
    let turns = shape.ours.turns.iter().flatten();
    Goal {
        name: plan.name.to_owned(),
        title: shape.title.clone(),
        bound: Bound::Tail(P99_US),
        per_second: turns.clone().map(|turn| turn.requests_per_second).collect(),
        p99_us: turns.map(|turn| turn.p99_us).collect(),
    }
}
