//! Gives commands to a peer and shows what comes of them.

use crossbeam_channel::{Receiver, bounded, never, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Peer;
use crate::peer::command::{Command, EXIT_DONE, EXIT_FAILED, EXIT_NO_CONNECTION, Update};
use crate::peer::event::Event;
use crate::peer::prompt::{HELP, Line};
use crate::peer::render::Renderer;
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

/// One process's use of a peer.
pub(super) struct Session {
    peer: Peer,
    renderer: Renderer,
    pub(super) printer: Option<Printer>,
    /// Commands that are not done.
    open: usize,
    /// Of them, those that end only with the process.
    standing: usize,
    code: u8,
}

impl Session {
    pub(super) fn new(peer: Peer, renderer: Renderer) -> Self {
        Self {
            peer,
            renderer,
            printer: None,
            open: 0,
            standing: 0,
            code: EXIT_DONE,
        }
    }

    /// Runs until the user wants nothing more and all is done. Returns the exit status.
    pub(super) fn run(mut self, from_user: &Receiver<FromUser>, tail: Tail) -> u8 {
        let signals = signals();
        let updates = self.peer.updates();
        // A prompt's view stands until the user wants nothing more; what was given as the only command is waited for.
        let drains = matches!(tail, Tail::Drain(_));
        let mut tail = Some(tail);
        loop {
            let is_busy = self.open > self.standing;
            let is_done = if drains { !is_busy } else { self.open == 0 };
            if tail.is_none() && is_done {
                return self.code;
            }
            // The next line is looked at when the one before is done, as in a shell; a prompt does not wait.
            let waits =
                tail.is_none() || (is_busy && matches!(tail, Some(Tail::Drain(_))) && self.printer.is_none());
            let closed = never();
            select! {
                recv(if waits { &closed } else { from_user }) -> user => match user {
                    Ok(FromUser::Quit) | Err(_) => self.tail(&mut tail),
                    Ok(user) => self.user(user),
                },
                recv(updates) -> update => match update {
                    Ok(update) => self.update(update),
                    Err(_) => {
                        self.show(&Event::error("the process that runs this peer has ended"));
                        return EXIT_FAILED;
                    }
                },
                recv(signals) -> _ => return self.interrupted(),
            }
            if self.standing > 0 && self.open < self.standing {
                // What stands has ended by itself: the server or the store has failed, and that was said.
                return self.code.max(EXIT_FAILED);
            }
        }
    }

    /// The user wants nothing more.
    fn tail(&mut self, tail: &mut Option<Tail>) {
        if let Some(Tail::Drain(wait)) = tail.take() {
            self.command(Command::Drain { wait });
        }
    }

    fn interrupted(&self) -> u8 {
        // Who listens or shares without an end in mind ends it this way.
        if self.open == self.standing && self.standing > 0 {
            EXIT_DONE
        } else {
            EXIT_FAILED
        }
    }

    fn user(&mut self, user: FromUser) {
        match user {
            FromUser::Command(command) => self.command(command),
            FromUser::Trace(on) => self.renderer.trace(on),
            FromUser::Help => self.print(HELP.to_owned()),
            FromUser::Error(error) => {
                self.show(&Event::error(error));
                self.code = self.code.max(EXIT_NO_CONNECTION);
            }
            FromUser::Quit | FromUser::Nothing => {}
        }
    }

    fn command(&mut self, command: Command) {
        self.open += 1;
        if matches!(
            command,
            Command::View
                | Command::Share
                | Command::Listen {
                    count: None,
                    timeout: None
                }
        ) {
            self.standing += 1;
        }
        self.peer.command(command);
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Event(event) => self.show(&event),
            Update::Done(code) => {
                self.open = self.open.saturating_sub(1);
                self.code = self.code.max(code);
            }
        }
    }

    fn print(&mut self, text: String) {
        match &mut self.printer {
            Some(printer) => printer(text),
            // A reader that is gone wants nothing more.
            None => {
                let _ = terminal::print_line(&text);
            }
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
            let _ = self.renderer.show(event);
        }
    }
}

fn signals() -> Receiver<()> {
    let (sender, receiver) = bounded(1);
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return never();
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    receiver
}
