//! The server's process: arguments, log, signals and shutdown.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use actors::config::Listen;
use actors::import::Imported;
use actors::{Config, Server};
use anyhow::Context as _;
use clap::Parser as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt as _};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::config::{Arguments, LogFormat, Problems, Settings};
use super::control;
use super::hash_password::{self, hash_password};
use super::log_writer::LogWriter;
use super::make_certificate::make_certificate;
use crate::terminal;

/// Exit status after a second signal: the one that shells use for SIGINT.
const EXIT_INTERRUPTED: u8 = 130;
/// How long the process waits at its end for its log to be read.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command; `command_line` starts with the name of the program.
pub fn run(command_line: &[OsString]) -> ExitCode {
    let arguments = Arguments::parse_from(command_line);
    if let Some(shell) = arguments.completions {
        return terminal::print_completions::<Arguments>(shell, "server");
    }
    if let Some(name) = &arguments.hash_password {
        return match hash_password(name) {
            Ok(line) => print(&line),
            Err(hash_password::Error::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
            Err(error) => {
                eprintln!("server: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if !arguments.make_certificate.is_empty() {
        return match make_certificate(&arguments.make_certificate, Path::new(".")) {
            Ok(text) => print(&text),
            Err(error) => {
                eprintln!("server: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut settings = match Settings::load(command_line, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(problems) => return refuse(&problems),
    };
    if arguments.check {
        return print(&settings.summary);
    }
    if arguments.print_config {
        return print(&settings.origins);
    }
    if let Some(command) = arguments.command {
        return command.run(&settings.config.data);
    }
    // The library that writes the log panics when it gets no thread.
    if let Err(error) = std::thread::Builder::new().spawn(|| ()) {
        eprintln!("server: cannot start a thread: {error}; end other programs and try again");
        return ExitCode::FAILURE;
    }
    // What it has imported is the only line of an import, unless something is wrong.
    settings.quiet |= arguments.cluster_import;
    let (log_starts, log_waits) = bounded(0);
    let _log = start_log(&settings, &log_waits);
    let done = match arguments.cluster_import {
        true => {
            drop(log_starts);
            import(&settings.config).map(|text| print(&text))
        }
        false => serve(&settings.config, log_starts).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Errors contain their cause already.
        eprintln!("server: {error}");
        ExitCode::FAILURE
    })
}

/// Moves what is in the data directory into the cluster. Returns what to print.
fn import(config: &Config) -> anyhow::Result<String> {
    let cluster = config.cluster.as_ref();
    let cluster = cluster.context("--cluster-import needs --cluster URL: the cluster to import into")?;
    let (data, name) = (config.data.display(), &cluster.name);
    let Some(imported) = actors::import::import(config, cluster)? else {
        return Ok(format!("{data} was imported into the cluster {name} before"));
    };
    let Imported { names, mail, shares, left_out } = imported;
    let moved = format!(
        "imported from {data} into the cluster {name}: names {names}, lists of files {shares}, envelopes of stored mail {}",
        mail.envelopes
    );
    if left_out.is_empty() {
        return Ok(moved);
    }
    let left_out = left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    anyhow::bail!(
        "{moved}; left out, with their mail and files, because their cards are damaged or other keys have them in the cluster: {left_out}"
    )
}

fn refuse(problems: &Problems) -> ExitCode {
    for problem in &problems.0 {
        eprintln!("server: {problem}");
    }
    ExitCode::FAILURE
}

fn print(summary: &str) -> ExitCode {
    match terminal::print_line(summary.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: cannot print: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Drops `log_starts` when it has printed where it listens, because scripts read that from the first line.
fn serve(config: &Config, log_starts: Sender<Infallible>) -> anyhow::Result<()> {
    // Before the threads start, so that no signal kills the process while it starts.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let server = Server::start(config)?;
    let administration = server.administration();
    let key = administration.key().fingerprint();
    // Before the server says that it listens: whoever waits for that line may give a command next.
    let of = |addresses: &[SocketAddr], is_tls| {
        addresses.first().map(|&address| control::ListensAt { address, is_tls })
    };
    let listens_at = of(server.addresses(), false).or_else(|| of(server.tls_addresses(), true));
    control::serve(&config.data, administration, listens_at)
        .context("cannot make the control socket in the data directory")?;
    for address in server.addresses() {
        terminal::print_line(&format!("listening on {address}"))?;
    }
    for address in server.tls_addresses() {
        terminal::print_line(&format!("listening on tls:{address}"))?;
    }
    for listen in &config.listen {
        if let Listen::Unix { path, .. } = listen {
            terminal::print_line(&format!("listening on unix:{}", path.display()))?;
        }
    }
    if let Some(address) = server.admin_address() {
        terminal::print_line(&format!("metrics and health on {address}"))?;
    }
    terminal::print_line(&format!("server key {key}"))?;
    if config.sites.iter().any(|site| site.page.is_some()) {
        terminal::print_line(&format!("page SHA-256 {}", actors::page_digest()))?;
    }
    drop(log_starts);
    while signals.forever().next() == Some(SIGHUP) {
        if let Some(log) = server.access_log() {
            log.reopen();
        }
        if let Some(certificates) = server.certificates() {
            certificates.reload();
        }
    }
    // Without these two threads, the server drains to its end.
    let _ = std::thread::Builder::new().spawn(move || {
        // A second signal ends the process without draining. Acknowledged messages are on disk.
        signals.forever().find(|signal| *signal != SIGHUP);
        std::process::exit(EXIT_INTERRUPTED.into());
    });
    tracing::info!(target: "server", "stopping");
    let ended = server.stop();
    // The log threads are still writing. If nobody reads their output, the process must end anyway.
    let status = i32::from(ended.is_err());
    let _ = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(LOG_PATIENCE);
        std::process::exit(status);
    });
    Ok(ended?)
}

/// Two threads write the log to standard output. Each transmission between peers must be printed, so if nobody reads standard
/// output, the sessions of peers wait. All other lines are dropped then, so that nothing else waits for a reader. Nothing is
/// written until the sender of `starts` is dropped.
fn start_log(settings: &Settings, starts: &Receiver<Infallible>) -> [WorkerGuard; 2] {
    let log = || {
        let starts = starts.clone();
        LogWriter::new(std::io::stdout(), move || {
            // Nothing is ever sent.
            let _ = starts.recv();
        })
    };
    let (waiting, guard) = NonBlockingBuilder::default().lossy(false).finish(log());
    let (losing, other_guard) = NonBlockingBuilder::default().lossy(true).finish(log());
    let writer = waiting.with_filter(|line| line.target() == "route").or_else(losing);
    let level = if settings.quiet { tracing::Level::WARN } else { tracing::Level::INFO };
    // The crate notify warns about removed directories, which the server handles and reports itself. The client of NATS tells of each
    // connection, as the cluster does.
    let what = Targets::new().with_default(level);
    let what = what.with_target("notify", LevelFilter::OFF).with_target("async_nats", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(BoxMakeWriter::new(writer));
    let log = tracing_subscriber::registry();
    match settings.log_format {
        LogFormat::Text => log.with(lines.with_ansi(terminal::wants_colour()).with_filter(what)).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true).with_filter(what)).init(),
    }
    [guard, other_guard]
}
