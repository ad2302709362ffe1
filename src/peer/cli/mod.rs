//! The command line of a peer.

mod arguments;
mod drive;
mod interactive;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use arguments::Arguments;
use arguments::{Sub, TraceDetail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use crossbeam_channel::{Receiver, bounded};
use drive::{FromUser, Session, Tail};

use super::command::{Command, EXIT_FAILED};
use super::control::{self, RemoteClient};
use super::engine::Options;
use super::event::Event;
use super::home::Home;
use super::render::{Renderer, Style};
use super::runner::{Client, Config, Runner};
use crate::terminal;

/// How long to wait for a process that runs the directory and is just starting or ending.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);
const TAKEOVER_PAUSE: Duration = Duration::from_millis(20);
/// How long everything may take to be delivered or stored at the end of piped input, unless `--wait` says otherwise.
const DRAIN_SECONDS: u64 = 30;
/// Lines of standard input on their way.
const LINES_MAX: usize = 16;

/// Runs a peer as its command line says. Returns the exit status.
pub fn run(arguments: Arguments) -> u8 {
    if let Some(shell) = arguments.completions {
        terminal::print_completions::<Arguments>(shell, "peer");
        return 0;
    }
    if arguments.dir.is_none() {
        let missing = "--dir DIR is missing: the directory of the peer, for example --dir client_data/A";
        Arguments::command().error(ErrorKind::MissingRequiredArgument, missing).exit();
    }
    let style = match (arguments.json, arguments.quiet || arguments.trace == TraceDetail::Off) {
        (true, _) => Style::Json,
        (false, true) => Style::Quiet,
        (false, false) => Style::Trace,
    };
    let mut renderer = Renderer::new(style);
    match start(&arguments) {
        Ok(peer) => serve(arguments, peer, renderer),
        Err(error) => {
            // Nothing can be done if even this cannot be shown.
            let _ = renderer.show(&Event::error(error));
            EXIT_FAILED
        }
    }
}

/// A peer in this process, or in the one that runs the directory.
enum Peer {
    Local(Client, Runner),
    Remote(RemoteClient),
}

fn start(arguments: &Arguments) -> Result<Peer, String> {
    let dir = arguments.dir.as_ref().expect("it was checked when the program started");
    let deadline = Instant::now() + TAKEOVER_WAIT;
    loop {
        let home = Home::open(dir).map_err(|e| e.to_string())?;
        if let Some(lock) = home.try_lock().map_err(|e| e.to_string())? {
            let name = match &arguments.name {
                Some(name) => name.clone(),
                None => home.default_name().map_err(|e| e.to_string())?,
            };
            let config = Config {
                name,
                server: arguments.server.clone(),
                options: Options {
                    rekey_messages: arguments.rekey,
                    full_trace: arguments.trace == TraceDetail::Full,
                },
                passphrase: arguments.passphrase_file.as_deref().map(passphrase).transpose()?,
                trusts: match &arguments.command {
                    Some(Sub::Trust { name, .. }) => Some(name.clone()),
                    _ => None,
                },
            };
            let home = Arc::new(home);
            let runner = Runner::start(Arc::clone(&home), lock, config).map_err(|e| e.to_string())?;
            control::serve(&home, runner.switch())
                .map_err(|e| format!("cannot make the control socket: {e}"))?;
            return Ok(Peer::Local(runner.switch().client(0), runner));
        }
        match RemoteClient::connect(&home) {
            Ok(client) => return Ok(Peer::Remote(client)),
            // It is starting or ending.
            Err(_) if Instant::now() < deadline => std::thread::sleep(TAKEOVER_PAUSE),
            Err(e) => {
                let dir = dir.display();
                return Err(format!(
                    "another process runs {dir} and cannot be reached: {e}; end it and try again"
                ));
            }
        }
    }
}

fn passphrase(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("the passphrase cannot be read from {}: {e}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn serve(mut arguments: Arguments, peer: Peer, renderer: Renderer) -> u8 {
    let command = arguments.command.take();
    let arguments = Arc::new(arguments);
    let again = Arc::clone(&arguments);
    let session = Session::new(peer, Box::new(move || start(&again)), renderer);
    let wait = arguments.wait;
    let command = match command {
        None if std::io::stdin().is_terminal() => return interactive::run(session, &arguments.dir),
        None => return session.run(&lines(), Tail::Drain(wait.unwrap_or(DRAIN_SECONDS))),
        Some(Sub::Send { to, text }) if text == ["-"] => return session.run(&messages(to, wait), Tail::End),
        Some(sub) => sub.command(wait),
    };
    let (sender, commands) = bounded(1);
    let first = command.map_or_else(FromUser::Error, FromUser::Command);
    // The receiver is right here, so it is taken.
    let _ = sender.send(first);
    drop(sender);
    session.run(&commands, Tail::End)
}

/// The lines of standard input as commands of the prompt.
fn lines() -> Receiver<FromUser> {
    let (sender, receiver) = bounded(LINES_MAX);
    std::thread::spawn(move || {
        let view = FromUser::Command(Command::View);
        if sender.send(view).is_err() {
            return;
        }
        for line in std::io::stdin().lines() {
            let line = line.map_err(|e| e.to_string());
            let user = line
                .and_then(|line| super::prompt::parse(&line))
                .map_or_else(FromUser::Error, FromUser::from);
            if sender.send(user).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The lines of standard input as messages, one each.
fn messages(to: wire::PeerName, wait: Option<u64>) -> Receiver<FromUser> {
    let (sender, receiver) = bounded(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let user = match line {
                Ok(line) => FromUser::Command(Command::Send { to: to.clone(), texts: vec![line], wait }),
                Err(e) => FromUser::Error(format!("standard input cannot be read: {e}")),
            };
            if sender.send(user).is_err() {
                return;
            }
        }
    });
    receiver
}
