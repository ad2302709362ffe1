//! Measures Switchboard and other programs in alternating turns on the same machine, so that the ratio means
//! something on any machine: `cargo bench --bench side_by_side -- http`.

mod client;
mod files;
mod http;
mod index;
mod interrupt;
mod load;
mod machine;
mod messages;
mod servers;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser, ValueEnum};
use integration::repository;
use measure::{Report, chart, table};

use interrupt::Interrupt;

/// The number of turns and their length in seconds. Results of shorter runs do not replace those of the suite.
const TURNS: u16 = 5;
const SECONDS: u64 = 3;

/// Measures Switchboard and its rivals side by side.
#[derive(Debug, Parser)]
#[command(name = "side_by_side", bin_name = "cargo bench --bench side_by_side --")]
struct Arguments {
    /// What to measure
    #[arg(value_enum)]
    suites: Vec<Suite>,
    #[command(flatten)]
    extent: Extent,
    /// Measure nothing: read the stored results, print them, and draw their chart again
    #[arg(long, conflicts_with_all = ["turns", "seconds", "only", "quick"])]
    redraw: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Where to write the results [default: integration/bench/results, or side_by_side in the target folder unless everything
    /// was measured]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The extent of the measurement.
#[derive(Debug, clap::Args)]
struct Extent {
    /// The number of turns of each contestant
    #[arg(long, value_name = "N", default_value_t = TURNS, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// The length of a turn in seconds
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measure only shapes with this word or these words in their name, such as `slow` or `keep-alive-64`; may be repeated
    #[arg(long, value_name = "SHAPE")]
    only: Vec<String>,
    /// Two turns of one second and fewer connections, only to see that everything works
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// The web site, against nginx
    Http,
    /// Messages that are relayed or stored, against nats-server
    Messages,
    /// Messages between two servers of a cluster, against three nats-servers alone
    Cluster,
    /// Searches among a million files, against redis-server
    Index,
    /// A file of 1 GiB, against scp and magic-wormhole
    Files,
}

impl Extent {
    fn turns(&self) -> usize {
        if self.quick { 2 } else { self.turns.into() }
    }

    fn seconds(&self) -> u64 {
        if self.quick { 1 } else { self.seconds }
    }

    /// Whether to measure this shape.
    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| has_words(name, only))
    }

    /// Whether the results can replace those of the suite.
    fn is_full(&self) -> bool {
        self.only.is_empty() && !self.quick && self.turns >= TURNS && self.seconds >= SECONDS
    }
}

/// Whether `words` are words of `name`: `keep-alive-1` does not match `keep-alive-16`.
fn has_words(name: &str, words: &str) -> bool {
    format!("-{name}-").contains(&format!("-{words}-"))
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("side_by_side: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.suites.is_empty() {
        // A plain `cargo bench` or `cargo test --benches` gives no suite.
        println!("Say what to measure.\n\n{}", Arguments::command().render_help());
        return Ok(());
    }
    let interrupt = Interrupt::listen()?;
    arguments.suites.iter().try_for_each(|suite| run_suite(*suite, arguments, &interrupt))
}

fn run_suite(suite: Suite, arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let (name, names) = match suite {
        Suite::Http => ("http", http::names()),
        Suite::Messages => ("messages", messages::names()),
        Suite::Cluster => ("cluster", messages::cluster_names()),
        Suite::Index => ("index", index::names()),
        Suite::Files => ("files", files::names()),
    };
    for only in &arguments.extent.only {
        let is_known = names.iter().any(|name| has_words(name, only));
        ensure!(is_known, "no shape of {name} is called {only}; there are {}", names.join(", "));
    }
    let report = if arguments.redraw {
        read(name, &arguments.folder())?
    } else {
        match suite {
            Suite::Http => http::measure(&arguments.extent, interrupt)?,
            Suite::Messages => messages::measure(&arguments.extent, interrupt)?,
            Suite::Cluster => messages::measure_cluster(&arguments.extent, interrupt)?,
            Suite::Index => index::measure(&arguments.extent, interrupt)?,
            Suite::Files => files::measure(&arguments.extent, interrupt)?,
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report));
    }
    if arguments.redraw {
        return write(&arguments.folder().join(name).with_extension("svg"), &chart(&report)?);
    }
    keep(&report, arguments)
}

impl Arguments {
    fn folder(&self) -> PathBuf {
        self.results.clone().unwrap_or_else(|| repository().join("integration/bench/results"))
    }
}

/// Reads the stored report of a suite.
fn read(suite: &str, folder: &Path) -> Result<Report> {
    let path = folder.join(suite).with_extension("json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
}

/// Stores the results. Those of a part of the suite must not replace those of the whole.
fn keep(report: &Report, arguments: &Arguments) -> Result<()> {
    let is_complete = arguments.extent.is_full() && report.skipped.is_empty();
    let folder = match is_complete || arguments.results.is_some() {
        true => arguments.folder(),
        false => servers::target()?.join("side_by_side"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(&report.suite);
    write(&path.with_extension("json"), &format!("{}\n", serde_json::to_string_pretty(report)?))?;
    write(&path.with_extension("svg"), &chart(report)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("Written: {}", path.display());
    Ok(())
}
