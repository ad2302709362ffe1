//! Gives commands to a peer and shows what comes of them.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Peer;
use crate::peer::command::{Command, EXIT_DONE, EXIT_FAILED, EXIT_NO_CONNECTION, Update};
use crate::peer::event::Event;
use crate::peer::prompt::{HELP, Line};
use crate::peer::render::Renderer;
use crate::peer::runner::Runner;
use crate::terminal;

/// What the user wants next.
pub(super) enum FromUser {
    Command(Command),
    Trace(bool),
    Help,
    Quit,
    Nothing,
    /// What was typed is wrong.
    Error(String),
}

impl From<Line> for FromUser {
    fn from(line: Line) -> Self {
        match line {
            Line::Command(command) => Self::Command(command),
            Line::Trace(on) => Self::Trace(on),
            Line::Help => Self::Help,
            Line::Quit => Self::Quit,
            Line::Empty => Self::Nothing,
        }
    }
}

/// What happens when the user wants nothing more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// It ends when all commands are done.
    End,
    /// It ends when everything is delivered or stored, after so many seconds at most.
    Drain(u64),
}

/// Where shown text goes, if not to standard output: a prompt moves aside for it.
pub(super) type Printer = Box<dyn FnMut(String)>;

/// Exit status after a second signal, as shells have it for SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Commands on their way to the peer. More are not read from the user, so none is ever waited for here.
const COMMANDS_MAX: usize = 256;

/// The way to a peer and back. Commands go through a thread of their own: whoever gave one must go on hearing what
/// comes of the others, or both sides would wait for each other.
struct Attached {
    commands: Sender<Command>,
    updates: Receiver<Update>,
    is_remote: bool,
    feeder: Option<JoinHandle<()>>,
    /// Ended last.
    runner: Option<Runner>,
}

impl Attached {
    fn new(peer: Peer) -> Self {
        let (commands, given) = bounded::<Command>(2 * COMMANDS_MAX);
        match peer {
            Peer::Local(client, runner) => {
                let updates = client.updates.clone();
                let feeder =
                    std::thread::spawn(move || given.iter().for_each(|command| client.command(command)));
                Self { commands, updates, is_remote: false, feeder: Some(feeder), runner: Some(runner) }
            }
            Peer::Remote(mut client) => {
                let updates = client.updates.clone();
                let feeder = std::thread::spawn(move || {
                    // If the other process is gone, the updates end.
                    given.iter().try_for_each(|command| client.command(&command)).ok();
                });
                Self { commands, updates, is_remote: true, feeder: Some(feeder), runner: None }
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Nothing is heard any more, so nobody waits for it to be heard.
        self.updates = never();
        self.commands = bounded(0).0;
        if let (Some(feeder), false) = (self.feeder.take(), self.is_remote) {
            let _ = feeder.join();
        }
        self.runner = None;
    }
}

/// Finds the peer again when the process that ran it has ended.
pub(super) type Restart = Box<dyn Fn() -> Result<Peer, String>>;

/// One process's use of a peer.
pub(super) struct Session {
    peer: Attached,
    restart: Restart,
    renderer: Renderer,
    pub(super) printer: Option<Printer>,
    /// Commands that are not done.
    open: usize,
    /// Of them, those that go on for as long as the user likes; another process can take them over.
    standing: Vec<Command>,
    code: u8,
}

impl Session {
    pub(super) fn new(peer: Peer, restart: Restart, renderer: Renderer) -> Self {
        let peer = Attached::new(peer);
        Self { peer, restart, renderer, printer: None, open: 0, standing: Vec::new(), code: EXIT_DONE }
    }

    /// Runs until the user wants nothing more and all is done. Returns the exit status.
    pub(super) fn run(mut self, from_user: &Receiver<FromUser>, tail: Tail) -> u8 {
        let signals = signals();
        // A prompt's view stands until the user wants nothing more; what was given as the only command is waited for.
        let drains = matches!(tail, Tail::Drain(_));
        let mut tail = Some(tail);
        loop {
            let busy = self.open.saturating_sub(self.standing.len());
            let is_done = if drains { busy == 0 } else { self.open == 0 };
            if tail.is_none() && is_done {
                return self.code;
            }
            // The next line is looked at when the one before is done, as in a shell; a prompt does not wait.
            let waits = drains && busy > 0 && self.printer.is_none();
            let takes_no_more = tail.is_none() || waits || busy >= COMMANDS_MAX;
            let closed = never();
            let updates = self.peer.updates.clone();
            select! {
                recv(if takes_no_more { &closed } else { from_user }) -> user => match user {
                    Ok(FromUser::Quit) | Err(_) => self.tail(&mut tail),
                    Ok(user) => self.user(user),
                },
                recv(updates) -> update => match update {
                    Ok(update) => self.update(update),
                    Err(_) => {
                        if let Err(why) = self.take_over() {
                            self.show(&Event::error(why));
                            return EXIT_FAILED;
                        }
                    }
                },
                recv(signals) -> _ => return self.interrupted(),
            }
            if self.open < self.standing.len() {
                // What stands has ended by itself: it is done, or the server or the store has failed, and that was said.
                return if drains { self.code.max(EXIT_FAILED) } else { self.code };
            }
        }
    }

    /// The process that ran the peer has ended: what stands is taken over, by this process or by another that was faster.
    fn take_over(&mut self) -> Result<(), String> {
        if !self.peer.is_remote || self.open > self.standing.len() {
            return Err("the process that runs this peer has ended; try again".into());
        }
        self.peer = Attached::new((self.restart)()?);
        for command in &self.standing {
            let _ = self.peer.commands.send(command.clone());
        }
        Ok(())
    }

    /// The user wants nothing more.
    fn tail(&mut self, tail: &mut Option<Tail>) {
        if let Some(Tail::Drain(wait)) = tail.take() {
            self.command(Command::Drain { wait });
        }
    }

    fn interrupted(&self) -> u8 {
        // Who listens or shares without an end in mind ends it this way.
        let has_no_end = |command: &Command| match command {
            Command::Listen { count, timeout } => count.is_none() && timeout.is_none(),
            _ => true,
        };
        let is_idle = self.open == self.standing.len() && !self.standing.is_empty();
        if is_idle && self.standing.iter().all(has_no_end) { EXIT_DONE } else { EXIT_FAILED }
    }

    fn user(&mut self, user: FromUser) {
        match user {
            FromUser::Command(command) => self.command(command),
            FromUser::Trace(on) => self.renderer.trace(on),
            FromUser::Help => self.print(HELP.to_owned()),
            FromUser::Error(error) => {
                self.show(&Event::error(error));
                // At a prompt a slip of the fingers is put right in the next line.
                if self.printer.is_none() {
                    self.code = self.code.max(EXIT_NO_CONNECTION);
                }
            }
            FromUser::Quit | FromUser::Nothing => {}
        }
    }

    fn command(&mut self, command: Command) {
        self.open += 1;
        if matches!(command, Command::View | Command::Share | Command::Listen { .. }) {
            self.standing.push(command.clone());
        }
        // There is room, see `COMMANDS_MAX`; and if the peer is gone, the updates end.
        let _ = self.peer.commands.send(command);
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Event(event) => {
                if matches!(event, Event::Message(_)) {
                    self.count_message();
                }
                self.show(&event);
            }
            Update::Done(code) => {
                self.open = self.open.saturating_sub(1);
                self.code = self.code.max(code);
            }
        }
    }

    /// What is taken over waits only for the messages that are still to come.
    fn count_message(&mut self) {
        for command in &mut self.standing {
            if let Command::Listen { count: Some(count), .. } = command {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn print(&mut self, text: String) {
        match &mut self.printer {
            Some(printer) => printer(text),
            None => {
                let printed = terminal::print_line(&text);
                self.note(&printed);
            }
        }
    }

    /// What could not be printed has not been said: that is a failure, but for a reader that has gone.
    fn note(&mut self, printed: &std::io::Result<()>) {
        if printed.is_err() {
            self.code = self.code.max(EXIT_FAILED);
        }
    }

    fn show(&mut self, event: &Event) {
        if self.printer.is_some() {
            let text = match event {
                Event::Error { message } => Some(message.clone()),
                event => self.renderer.text(event),
            };
            if let Some(text) = text {
                self.print(text);
            }
        } else {
            let printed = self.renderer.show(event);
            self.note(&printed);
        }
    }
}

/// Says that a signal has come. The second ends the process at once: what was acknowledged is on disk.
fn signals() -> Receiver<()> {
    let (sender, receiver) = bounded(1);
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return never();
    };
    std::thread::spawn(move || {
        for (earlier, _) in signals.forever().enumerate() {
            if earlier > 0 || sender.try_send(()).is_err() {
                std::process::exit(EXIT_INTERRUPTED);
            }
        }
    });
    receiver
}
