//! `server`: the web site, the messages and the index of files on one port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actors::config::{Limits, Listen};
use actors::site::SiteConfig;
use actors::{Config, Server};
use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use switchboard::terminal;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Serves a web site, carries messages that only their two ends can read, and knows who shares which file.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    after_help = "Stop it with Ctrl-C: it finishes what it has begun and exits with 0."
)]
struct Arguments {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6789")]
    listen: SocketAddr,
    /// The directory of the web site
    #[arg(long, value_name = "DIR", default_value = "www")]
    root: PathBuf,
    /// The directory of what the server keeps: names, stored mail, who shares what
    #[arg(long, value_name = "DIR", default_value = "server_data")]
    data: PathBuf,
    /// How to print each transmission and request
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Print nothing but the address and what goes wrong
    #[arg(long)]
    quiet: bool,
    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    sessions_max: u32,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    completions: Option<clap_complete::Shell>,
}

/// Exit status after a second signal, as shells have it for SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// How long ending may take, with the deadlines of all actors; a session that ignores them all does not hold it up.
const PATIENCE: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(shell) = arguments.completions {
        return terminal::print_completions::<Arguments>(shell, "server");
    }
    let _log = start_log(&arguments);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors contain their cause already.
            eprintln!("server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Before the threads start, so that no signal ends the process on the way.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let server = Server::start(&Config {
        listen: vec![Listen::Address(arguments.listen)],
        data: arguments.data.clone(),
        sites: vec![SiteConfig { root: arguments.root.clone(), ..SiteConfig::default() }],
        limits: Limits { connections: usize::try_from(arguments.sessions_max)?, ..Limits::default() },
        ..Config::default()
    })?;
    terminal::print_line(&format!("listening on {}", server.address()))?;
    signals.forever().next();
    tracing::info!(target: "server", "stopping");
    std::thread::spawn(move || {
        // Somebody is in a hurry. What was acknowledged is on disk.
        signals.forever().next();
        std::process::exit(EXIT_INTERRUPTED);
    });
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        std::process::exit(0);
    });
    drop(server);
    Ok(())
}

/// Log lines go to standard output through a thread of their own, so that no actor waits for whoever reads them.
fn start_log(arguments: &Arguments) -> WorkerGuard {
    // Every transmission is printed: when nobody reads, sessions wait; the Router does not, it prints none.
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(std::io::stdout());
    let level = if arguments.quiet { tracing::Level::WARN } else { tracing::Level::INFO };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(BoxMakeWriter::new(writer));
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(terminal::wants_colour()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    guard
}
