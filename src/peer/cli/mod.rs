//! The command line of a peer.

mod arguments;
mod drive;
mod interactive;
mod offline;

use std::io::{self, BufRead as _, BufReader, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use arguments::Arguments;
use arguments::{Sub, TraceDetail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use crossbeam_channel::{Receiver, bounded};
use drive::{FromUser, Session, Tail};
use wire::PeerName;
use zeroize::Zeroizing;

use super::command::{Command, Ending};
use super::control::{self, RemoteClient};
use super::engine::Options;
use super::event::Event;
use super::home::{Home, KeyTimes};
use super::invited::Invited;
use super::prompt::{self, Line};
use super::render::{Renderer, Style};
use super::runner::{Client, Config, Runner};
use super::server_address::ServerAddress;
use crate::terminal;

/// How long to wait for another process that uses the directory and is about to start or to end.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);
const TAKEOVER_PAUSE: Duration = Duration::from_millis(20);
/// How long the messages may take to be delivered or stored at the end of piped input, unless `--wait` says otherwise.
const DRAIN_SECONDS: u64 = 30;
/// The maximum number of commands from standard input that wait.
const COMMANDS_WAITING_MAX: usize = 16;
/// The maximum number of lines of standard input that become one command.
const LINES_TOGETHER_MAX: usize = 64;
/// The size of the buffer for standard input. A message has room for more, so none of the lines in it is too long.
const INPUT_BYTES: usize = 32 << 10;

/// Runs `peer`. Returns the exit status.
pub fn run(mut arguments: Arguments) -> u8 {
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
    let times = KeyTimes::new(arguments.renew_keys, arguments.card_valid, arguments.keep_keys);
    let times =
        times.unwrap_or_else(|bad| Arguments::command().error(ErrorKind::ValueValidation, bad).exit());
    let mut renderer = Renderer::new(style);
    let ending = match offline::run(&arguments, &mut renderer) {
        Some(ending) => ending,
        None => take_invitation(&mut arguments)
            .and_then(|()| start(&arguments, times, true))
            .and_then(|peer| serve(arguments, times, peer, &mut renderer)),
    };
    exit_status(ending.unwrap_or_else(|error| {
        // If this cannot be printed either, only the exit status is left.
        let _ = renderer.show(&Event::error(error));
        Ending::Failed
    }))
}

fn take_invitation(arguments: &mut Arguments) -> Result<(), String> {
    let Some(path) = &arguments.invitation else { return Ok(()) };
    let Invited { invitation, server } = Invited::read(path)?;
    arguments.invited = Some(invitation);
    if let Some(server) = server {
        arguments.server = vec![server];
        arguments.is_server_of_invitation = true;
    }
    Ok(())
}

/// The servers to use: those that the user names, else the one that the peer remembers, else the usual one.
fn servers(arguments: &Arguments, home: &Home) -> Result<Vec<ServerAddress>, String> {
    let servers = if arguments.server.is_empty() {
        let remembered = home.remembered_server().map_err(|e| e.to_string())?;
        vec![remembered.unwrap_or_else(ServerAddress::usual)]
    } else {
        arguments.server.clone()
    };
    if arguments.ca.is_some() && !servers.iter().any(|server| server.is_tls) {
        return Err("--ca has no effect without TLS; write tls: in front of the address in --server".into());
    }
    Ok(servers)
}

fn exit_status(ending: Ending) -> u8 {
    match ending {
        Ending::Done => 0,
        Ending::Failed => 1,
        Ending::NoConnection => 2,
    }
}

/// A peer in this process, or in another one that uses the directory.
enum Peer {
    Local(Client, Runner),
    Remote(RemoteClient),
}

fn directory(arguments: &Arguments) -> &Path {
    arguments.dir.as_deref().expect("it was checked when the program started")
}

fn name(arguments: &Arguments, home: &Home) -> Result<PeerName, String> {
    arguments.name.clone().map_or_else(|| home.default_name().map_err(|e| e.to_string()), Ok)
}

/// Starts the peer, or connects to the process that runs it. With `may_ask`, asks for a missing passphrase on the
/// terminal.
fn start(arguments: &Arguments, key_times: KeyTimes, may_ask: bool) -> Result<Peer, String> {
    let dir = directory(arguments);
    let deadline = Instant::now() + TAKEOVER_WAIT;
    loop {
        let home = Home::open(dir).map_err(|e| e.to_string())?;
        let servers = servers(arguments, &home)?;
        if let Some(lock) = home.try_lock().map_err(|e| e.to_string())? {
            let config = Config {
                name: name(arguments, &home)?,
                servers,
                remembers_server: arguments.is_server_of_invitation,
                ca: arguments.ca.clone(),
                options: Options {
                    rekey_messages: arguments.rekey,
                    full_trace: arguments.trace == TraceDetail::Full,
                    key_times,
                    invitation: arguments.invited.clone(),
                    limits: arguments.limits(),
                },
                up_limit: arguments.up_limit,
                down_limit: arguments.down_limit,
                passphrase: passphrase(arguments, &home, may_ask)?,
                keeps_history: !arguments.no_history,
                trusts: match &arguments.command {
                    Some(Sub::Trust { who, .. }) => who.parse().ok(),
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
            Ok(_) if arguments.up_limit.or(arguments.down_limit).is_some() => {
                return Err(format!(
                    "another process runs {} and moves all files; give it --up-limit and --down-limit",
                    dir.display()
                ));
            }
            Ok(client) => return Ok(Peer::Remote(client)),
            // The other process is about to start or to end.
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

/// The passphrase, if the peer has one or the user gives one.
fn passphrase(
    arguments: &Arguments,
    home: &Home,
    may_ask: bool,
) -> Result<Option<Zeroizing<String>>, String> {
    if let Some(path) = &arguments.passphrase_file {
        return read_passphrase(path).map(Some);
    }
    let is_locked = home.is_locked().map_err(|e| e.to_string())?;
    if !(is_locked && may_ask && io::stdin().is_terminal()) {
        // If a passphrase is missing, loading the keys fails with an error that says so.
        return Ok(None);
    }
    let asked = terminal::ask_secret(&format!("passphrase of {}: ", home.path().display()));
    asked.map(Some).map_err(|e| format!("the passphrase cannot be read: {e}"))
}

fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|e| format!("the passphrase cannot be read from {}: {e}", path.display()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{} contains no passphrase; write one into it", path.display())),
        passphrase => Ok(Zeroizing::new(passphrase.to_owned())),
    }
}

/// Runs the command of the command line, the commands of standard input, or the prompt.
fn serve(
    mut arguments: Arguments,
    times: KeyTimes,
    peer: Peer,
    renderer: &mut Renderer,
) -> Result<Ending, String> {
    let command = arguments.command.take();
    let (wait, dir) = (arguments.wait, directory(&arguments).to_owned());
    let keeps_history = !arguments.no_history;
    let mut session = Session::new(peer, Box::new(move || start(&arguments, times, false)), renderer)?;
    let command = match command {
        None if io::stdin().is_terminal() => {
            let history = Home::open(&dir).and_then(|home| home.prompt_history(keeps_history));
            return interactive::run(session, history.map_err(|e| e.to_string())?);
        }
        None => {
            let view = Line::Command(Command::View);
            let lines = read_stdin(Some(view), 1, |lines| prompt::parse(&lines[0]))?;
            return session.run(&lines, Tail::Drain(wait.unwrap_or(DRAIN_SECONDS)));
        }
        Some(Sub::Send { to, text }) if text == ["-"] => {
            let send = move |lines| Ok(Line::Command(arguments::send(to.clone(), lines, wait)));
            let messages = read_stdin(None, LINES_TOGETHER_MAX, send)?;
            return session.run(&messages, Tail::End);
        }
        Some(Sub::Verify { name, yes }) => return verify(&mut session, name, yes),
        Some(sub) => sub.command(wait),
    };
    run_one(&mut session, command)
}

/// Runs one command to its end.
fn run_one(session: &mut Session<'_>, command: Result<Command, String>) -> Result<Ending, String> {
    let (sender, commands) = bounded(1);
    // The channel has room for one, and the receiver exists.
    let _ = sender.send(command.map(Line::Command));
    drop(sender);
    session.run(&commands, Tail::End)
}

/// Shows the keys of this peer and another one. Then asks on a terminal whether they are equal, unless `yes` answers
/// that.
fn verify(session: &mut Session<'_>, name: PeerName, yes: bool) -> Result<Ending, String> {
    let ending = run_one(session, Ok(Command::Verify { name: name.clone() }))?;
    let Some(shown) = session.comparison.take() else { return Ok(ending) };
    let is_terminal = io::stdin().is_terminal();
    if !yes && !is_terminal {
        return Ok(ending);
    }
    if !yes && !asks_yes("Are they equal at both ends? [y/N] ")? {
        return Err(format!(
            "{name} is not marked; if the keys differ, somebody may be in between: do not write to {name}"
        ));
    }
    run_one(session, Ok(Command::Compared { name, fingerprint: shown.other() }))
}

fn asks_yes(question: &str) -> Result<bool, String> {
    let mut answer = String::new();
    eprint!("{question}");
    io::stdin().read_line(&mut answer).map_err(|e| format!("the answer cannot be read: {e}"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Starts a thread that the command needs.
fn start_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, String> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|e| format!("cannot start a thread: {e}; end other programs and try again"))
}

/// Reads standard input on a thread of its own. Up to `together` lines that have already arrived become one command.
/// `first` comes before the lines.
fn read_stdin(
    first: Option<Line>,
    together: usize,
    meaning: impl Fn(Vec<String>) -> FromUser + Send + 'static,
) -> Result<Receiver<FromUser>, String> {
    let (sender, receiver) = bounded(COMMANDS_WAITING_MAX);
    start_thread("stdin", move || {
        let mut input = BufReader::with_capacity(INPUT_BYTES, io::stdin());
        let mut is_over = false;
        let commands = std::iter::from_fn(|| {
            let lines = (!is_over).then(|| read_lines(&mut input, together).transpose())??;
            // A line that is not UTF-8 is skipped.
            is_over = lines.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::InvalidData);
            let lines = lines.map_err(|e| format!("standard input cannot be read: {e}"));
            Some(lines.and_then(&meaning))
        });
        // Ends early if the receiver is gone.
        let _ = first.map(Ok).into_iter().chain(commands).try_for_each(|user| sender.send(user));
    })?;
    Ok(receiver)
}

/// Reads the next line, and those behind it that are in the buffer. `None` at the end of the input.
fn read_lines(input: &mut BufReader<impl io::Read>, max: usize) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix('\n').unwrap_or(&line);
        lines.push(text.strip_suffix('\r').unwrap_or(text).to_owned());
        // A line that is too long must not stop the others, and one that is not UTF-8 must not take them with it.
        let mut waiting = input.buffer().split_inclusive(|byte| *byte == b'\n');
        let is_next_good =
            waiting.next().is_some_and(|next| next.ends_with(b"\n") && std::str::from_utf8(next).is_ok());
        if line.len() > INPUT_BYTES || lines.len() >= max || !is_next_good {
            break;
        }
    }
    Ok((!lines.is_empty()).then_some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_have_arrived_are_read_together_and_a_bad_one_takes_no_other_with_it() {
        let long = "x".repeat(2 * INPUT_BYTES);
        let text = [b"a\nb\r\n\nc\n\xff\nd\n", long.as_bytes(), b"\ne\nf\ng\nh"].concat();
        let mut input = BufReader::with_capacity(INPUT_BYTES, text.as_slice());
        let mut read = |max| read_lines(&mut input, max).map(Option::unwrap_or_default);
        assert_eq!(read(64).expect("four good lines"), ["a", "b", "", "c"]);
        assert_eq!(read(64).expect_err("not UTF-8").kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(64).expect("the long line has not arrived as a whole"), ["d"]);
        assert_eq!(read(64).expect("a long line is alone"), [long.as_str()]);
        assert_eq!(read(2).expect("two are allowed"), ["e", "f"]);
        assert_eq!(read(64).expect("the end of the last line has not arrived yet"), ["g"]);
        assert_eq!(read(64).expect("it ends with the input"), ["h"]);
        assert!(read(64).expect("the end").is_empty());
    }
}
