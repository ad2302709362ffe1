//! Runs simulated networks, each as its seed says, and prints which of them fail.
//!
//!     cargo run --release --example simulate -- 10000
//!     cargo run --release --example simulate -- 1 --from 4711 --trace
//!     cargo run --release --example simulate -- 1000 --cluster

mod cluster;
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;

/// Runs networks of peers and a server in virtual time, with crashes, bad connections and full disks.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print every step; for one seed
    #[arg(long)]
    trace: bool,
    /// Run the servers of a cluster, without the engines of peers
    #[arg(long)]
    cluster: bool,
}

/// What a seed leads to; a panic is a failure as well.
fn run(seed: u64, arguments: &Arguments) -> Result<(usize, Duration), String> {
    let run = || match arguments.cluster {
        true => cluster::run(seed, arguments.trace),
        false => simulation::run(seed, arguments.trace).map(|report| (report.messages, report.took)),
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".into()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (next, start) = (AtomicU64::new(0), Instant::now());
    let totals = Mutex::new((0, 0, Duration::ZERO));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..if arguments.trace { 1 } else { threads } {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= arguments.seeds {
                        return;
                    }
                    let seed = arguments.from.wrapping_add(at);
                    let result = run(seed, &arguments);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok((messages, took)) => {
                            totals.1 += messages;
                            totals.2 = totals.2.max(took);
                        }
                        Err(why) => {
                            totals.0 += 1;
                            println!("seed {seed}: {why}");
                        }
                    }
                }
            });
        }
    });
    let (failed, messages, longest) = *totals.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = arguments.seeds;
    println!(
        "{seeds} seeds, {failed} failed, {messages} messages delivered, at most {longest:.1?} after all was mended, in \
         {:.1?}",
        start.elapsed()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
