//! Measures Switchboard and what people use otherwise, one after the other on the same machine, so that the ratio says
//! something wherever it runs: `cargo bench --bench side_by_side -- http`.

mod client;
mod http;
mod interrupt;
mod machine;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser, ValueEnum};
use integration::repository;
use measure::{Report, chart, table};

use interrupt::Interrupt;

/// Turns of each contestant, and their length in seconds. With less nothing is written down that stands for the suite.
const TURNS: u16 = 5;
const SECONDS: u64 = 3;

/// Measures Switchboard and its rivals side by side.
#[derive(Debug, Parser)]
#[command(name = "side_by_side", bin_name = "cargo bench --bench side_by_side --")]
struct Arguments {
    /// What to measure
    #[arg(value_enum)]
    suite: Option<Suite>,
    #[command(flatten)]
    extent: Extent,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Where to write the results [default: integration/bench/results for a full run, nowhere with --only or --quick]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much to measure.
#[derive(Debug, clap::Args)]
struct Extent {
    /// How many turns each contestant has
    #[arg(long, value_name = "N", default_value_t = TURNS, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// How long a turn is
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Only what has this word or these words in its name, as in `slow` or `keep-alive-64`; may be given several times
    #[arg(long, value_name = "SHAPE")]
    only: Vec<String>,
    /// Two turns of one second and fewer connections: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// The web site, against nginx
    Http,
}

impl Extent {
    fn turns(&self) -> usize {
        if self.quick { 2 } else { self.turns.into() }
    }

    fn seconds(&self) -> u64 {
        if self.quick { 1 } else { self.seconds }
    }

    /// Whether this is to be measured.
    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| has_words(name, only))
    }

    /// Whether the results stand for the suite.
    fn is_full(&self) -> bool {
        self.only.is_empty() && !self.quick && self.turns >= TURNS && self.seconds >= SECONDS
    }
}

/// Whether `words` are words of `name`: `keep-alive-1` is not meant by who says `keep-alive-16`, nor the other way round.
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
    let Some(suite) = arguments.suite else {
        // A plain `cargo bench` comes here, and so does `cargo test --benches`.
        println!("Say what to measure.\n\n{}", Arguments::command().render_help());
        return Ok(());
    };
    let interrupt = Interrupt::listen()?;
    let (name, names) = match suite {
        Suite::Http => ("http", http::names()),
    };
    for only in &arguments.extent.only {
        let is_known = names.iter().any(|name| has_words(name, only));
        ensure!(is_known, "no shape of {name} is called {only}; there are {}", names.join(", "));
    }
    let report = match suite {
        Suite::Http => http::measure(&arguments.extent, &interrupt)?,
    };
    if arguments.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", table(&report));
    }
    keep(&report, arguments)
}

/// Writes the results down. What does not stand for the suite must not replace what does.
fn keep(report: &Report, arguments: &Arguments) -> Result<()> {
    let is_complete = arguments.extent.is_full() && report.skipped.is_empty();
    let folder = match &arguments.results {
        Some(folder) => folder.clone(),
        None if is_complete => repository().join("integration/bench/results"),
        None => {
            eprintln!("Not everything was measured, so the results were not kept; --results DIR keeps them.");
            return Ok(());
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (ending, text) in [("json", format!("{:#}\n", report.to_json())), ("svg", chart(report))] {
        let path = folder.join(report.suite).with_extension(ending);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("Written: {}", path.display());
    }
    Ok(())
}
