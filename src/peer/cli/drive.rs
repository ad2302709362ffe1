//! Sends the user's commands to a peer, and prints its updates.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Peer, start_thread};
use crate::peer::command::{Command, Ending, Request, Update};
use crate::peer::comparison::Comparison;
use crate::peer::event::{Answer, ConnectionState, Event};
use crate::peer::prompt::{HELP, Line};
use crate::peer::render::Renderer;
use crate::peer::runner::Runner;
use crate::terminal;

/// A line of the user, or what is wrong with it.
pub(super) type FromUser = Result<Line, String>;

/// What to do at the end of the user's input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Wait for all commands.
    End,
    /// Wait until everything is delivered or stored, at most this many seconds.
    Drain(u64),
}

/// Prints text above the prompt.
pub(super) type Printer = Box<dyn FnMut(String)>;

/// Exit status after a second signal: the one that shells use for SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// The maximum number of unfinished commands. No more input of the user is read then, so sending a command never
/// blocks. A command can send up to [`super::LINES_TOGETHER_MAX`] messages.
const COMMANDS_MAX: usize = 64;
/// Shown messages are confirmed when no more updates wait, or when there are this many.
const CONFIRM_AFTER: u64 = 256;
/// How long the process that runs the peer may take to read the last confirmation.
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// A peer, and the thread that sends commands to it.
///
/// Commands need a thread of their own: a busy peer takes no commands until its updates are received, so the thread
/// that receives updates must not block on sending a command.
struct Attached {
    requests: Sender<Request>,
    updates: Receiver<Vec<Update>>,
    is_remote: bool,
    feeder: Option<JoinHandle<()>>,
    /// Closed when the thread that sends commands ends.
    feeding: Receiver<()>,
    /// Dropped last.
    runner: Option<Runner>,
}

impl Attached {
    fn new(peer: Peer) -> Result<Self, String> {
        let (requests, given) = bounded::<Request>(2 * COMMANDS_MAX);
        let (fed, feeding) = bounded(0);
        let (updates, runner, feeder) = match peer {
            Peer::Local(client, runner) => {
                let updates = client.updates.clone();
                let feed = move || {
                    given.iter().for_each(|request| client.request(request));
                    drop((client, fed));
                };
                (updates, Some(runner), start_thread("commands", feed)?)
            }
            Peer::Remote(mut client) => {
                let updates = client.updates.clone();
                let feed = move || {
                    // If the other process is gone, the updates end.
                    given.iter().try_for_each(|request| client.request(&request)).ok();
                    drop(fed);
                };
                (updates, None, start_thread("commands", feed)?)
            }
        };
        let is_remote = runner.is_none();
        Ok(Self { requests, updates, is_remote, feeder: Some(feeder), feeding, runner })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Without a receiver, the peer does not wait until its updates are received.
        self.updates = never();
        self.requests = bounded(0).0;
        if self.is_remote {
            // The other process may have stopped reading.
            let _ = self.feeding.recv_timeout(LAST_REQUEST_WAIT);
        } else if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        self.runner = None;
    }
}

/// Finds the peer again after the process that ran it has ended.
pub(super) type Restart = Box<dyn Fn() -> Result<Peer, String>>;

/// The use of a peer by this process.
pub(super) struct Session<'r> {
    peer: Attached,
    restart: Restart,
    pub(super) renderer: &'r mut Renderer,
    pub(super) printer: Option<Printer>,
    /// Whether the peer is connected to its server, for the prompt.
    pub(super) is_online: Arc<AtomicBool>,
    /// The number of unfinished commands.
    open: usize,
    /// Those of them that run until the user ends them. They can be given to another process.
    standing: Vec<Command>,
    /// Whether one of them fetches files.
    is_fetching: bool,
    /// How many messages were printed and are not confirmed to the peer.
    unconfirmed: u64,
    /// Why standard output cannot be written. Later messages are not confirmed.
    output_error: Option<io::ErrorKind>,
    /// Whether the user's input has ended.
    is_draining: bool,
    /// The worst ending so far.
    ending: Ending,
    /// The last search, and the one for the matches after it, if there are any.
    searched: Option<Command>,
    more: Option<Command>,
    /// The last comparison of keys that was shown.
    pub(super) comparison: Option<Comparison>,
}

impl<'r> Session<'r> {
    pub(super) fn new(peer: Peer, restart: Restart, renderer: &'r mut Renderer) -> Result<Self, String> {
        let peer = Attached::new(peer)?;
        Ok(Self {
            peer,
            restart,
            renderer,
            printer: None,
            is_online: Arc::default(),
            open: 0,
            standing: Vec::new(),
            is_fetching: false,
            unconfirmed: 0,
            output_error: None,
            is_draining: false,
            ending: Ending::Done,
            searched: None,
            more: None,
            comparison: None,
        })
    }

    /// Runs until the user's input has ended and all commands are done. Returns the worst result of a command.
    ///
    /// When a thread cannot be started, or the peer cannot be taken over from a process that has ended.
    pub(super) fn run(&mut self, from_user: &Receiver<FromUser>, tail: Tail) -> Result<Ending, String> {
        let ending = self.follow(from_user, tail);
        if self.unconfirmed > 0 {
            // There is room, see `COMMANDS_MAX`.
            let _ = self.peer.requests.try_send(Request::Shown(self.unconfirmed));
        }
        ending
    }

    fn follow(&mut self, from_user: &Receiver<FromUser>, tail: Tail) -> Result<Ending, String> {
        let signals = signals()?;
        let (nobody, _never_ready) = bounded(0);
        // At a prompt, messages are shown until the end of the input. A single command is waited for.
        let drains = matches!(tail, Tail::Drain(_));
        let mut tail = Some(tail);
        loop {
            let busy = self.open.saturating_sub(self.standing.len());
            let is_done = if drains { busy == 0 } else { self.open == 0 };
            if tail.is_none() && is_done {
                return Ok(self.ending);
            }
            // Without a prompt, each line waits for the one before, as in a shell script.
            let waits = drains && busy > 0 && self.printer.is_none();
            let takes_no_more = tail.is_none() || waits || busy >= COMMANDS_MAX;
            let closed = never();
            let (updates, requests) = (self.peer.updates.clone(), self.peer.requests.clone());
            let confirms = self.unconfirmed > 0 && (updates.is_empty() || self.unconfirmed >= CONFIRM_AFTER);
            select! {
                // If the peer is gone, the updates end.
                send(if confirms { &requests } else { &nobody }, Request::Shown(self.unconfirmed)) -> _ => {
                    self.unconfirmed = 0;
                }
                recv(if takes_no_more { &closed } else { from_user }) -> user => match user {
                    Ok(Ok(Line::Quit)) | Err(_) => self.tail(&mut tail),
                    Ok(user) => self.user(user),
                },
                recv(updates) -> batch => match batch {
                    Ok(batch) => self.updates(batch),
                    Err(_) => self.take_over()?,
                },
                recv(signals) -> _ => return Ok(self.interrupted()),
            }
            if !drains
                && self.output_error == Some(io::ErrorKind::BrokenPipe)
                && self.open == self.standing.len()
            {
                // Nobody reads the rest of the output.
                return Ok(self.ending);
            }
            if self.open < self.standing.len() {
                // A command without an end has ended, or the server or the store has failed. The reason was shown.
                return Ok(if drains { self.ending.max(Ending::Failed) } else { self.ending });
            }
        }
    }

    /// Continues after the process that ran the peer has ended. Gives the running commands without an end again, to a
    /// peer in this process or in another one that was faster.
    fn take_over(&mut self) -> Result<(), String> {
        if !self.peer.is_remote || self.open > self.standing.len() {
            return Err("the process that runs this peer has ended; try again".into());
        }
        self.peer = Attached::new((self.restart)()?)?;
        // Messages that were not confirmed to the other process are shown again.
        self.unconfirmed = 0;
        for command in &self.standing {
            let _ = self.peer.requests.send(Request::Command(command.clone()));
        }
        Ok(())
    }

    fn tail(&mut self, tail: &mut Option<Tail>) {
        if let Some(Tail::Drain(wait)) = tail.take() {
            self.is_draining = true;
            self.command(Command::Drain { wait });
        }
    }

    fn interrupted(&mut self) -> Ending {
        if self.is_fetching {
            self.show(&Event::error(
                "interrupted; what has arrived is kept, and the same command fetches the rest",
            ));
            let printed = self.renderer.flush();
            self.note(printed);
        }
        // The user ends commands without an end in this way, so it is not a failure.
        let has_no_end = |command: &Command| match command {
            Command::Listen { count, timeout } => count.is_none() && timeout.is_none(),
            _ => true,
        };
        let is_idle = self.open == self.standing.len() && !self.standing.is_empty();
        if is_idle && self.standing.iter().all(has_no_end) { Ending::Done } else { Ending::Failed }
    }

    fn user(&mut self, user: FromUser) {
        match user {
            Ok(Line::Command(command)) => self.command(command),
            Ok(Line::Trace(on)) => self.renderer.trace(on),
            Ok(Line::Help) => self.print(HELP.to_owned()),
            Ok(Line::More) => match self.more.take() {
                Some(command) => self.command(command),
                None => {
                    self.mistake("there are no more matches of the last search; type /search WORD...".into());
                }
            },
            Ok(Line::Interrupt) => self.command(Command::StopGets),
            Err(error) => self.mistake(error),
            Ok(Line::Quit | Line::Empty) => {}
        }
    }

    fn mistake(&mut self, error: String) {
        self.show(&Event::error(error));
        let printed = self.renderer.flush();
        self.note(printed);
        // At a prompt, the user sees the mistake and can correct it in the next line.
        if self.printer.is_none() {
            self.ending = self.ending.max(Ending::NoConnection);
        }
    }

    /// Notes the search for the matches after those that were shown.
    fn note_more(&mut self, total: u64, seen: u64) {
        self.more = match (self.searched.take(), u32::try_from(seen)) {
            (Some(Command::Search { search, limit, .. }), Ok(skip)) if seen < total => {
                Some(Command::Search { search, skip, limit })
            }
            _ => None,
        };
    }

    fn command(&mut self, command: Command) {
        self.open += 1;
        self.is_fetching |= matches!(command, Command::Get { .. });
        if matches!(command, Command::Search { .. }) {
            self.searched = Some(command.clone());
        }
        if matches!(command, Command::View | Command::Share | Command::Listen { .. }) {
            self.standing.push(command.clone());
        }
        // There is room, see `COMMANDS_MAX`. If the peer is gone, the updates end.
        let _ = self.peer.requests.send(Request::Command(command));
    }

    /// Shows updates. They are written together, because a write for each would cost more than the rest of the work for
    /// a message.
    fn updates(&mut self, batch: Vec<Update>) {
        let mut messages = 0;
        for update in batch {
            if let Update::Event(Event::Message(_)) = update {
                messages += 1;
            }
            self.update(update);
        }
        let printed = self.renderer.flush();
        self.note(printed);
        if messages > 0 {
            self.count_messages(messages);
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Event(event) => {
                match &event {
                    Event::Joined { .. } => self.is_online.store(true, Ordering::Relaxed),
                    Event::Connection { state, .. } => {
                        self.is_online.store(*state == ConnectionState::Back, Ordering::Relaxed);
                    }
                    Event::Result(Answer::Found { total, skip, shown, .. }) => {
                        self.note_more(*total, skip + shown);
                    }
                    Event::Result(Answer::Comparison(shown)) => self.comparison = Some(shown.clone()),
                    _ => {}
                }
                self.show(&event);
            }
            Update::Done(ending) => {
                self.open = self.open.saturating_sub(1);
                self.is_fetching &= self.open > self.standing.len();
                // At a prompt, the user has seen the failure; the exit status only tells whether messages stay
                // undelivered at the end.
                if self.printer.is_none() || self.is_draining {
                    self.ending = self.ending.max(ending);
                }
            }
        }
    }

    /// Counts messages that were written, unless writing has failed. If `listen` is given again to another process, it
    /// must wait only for the messages that are missing.
    fn count_messages(&mut self, messages: u64) {
        if self.output_error.is_none() {
            self.unconfirmed += messages;
        }
        for command in &mut self.standing {
            if let Command::Listen { count: Some(count), .. } = command {
                *count = count.saturating_sub(messages);
            }
        }
    }

    fn print(&mut self, text: String) {
        match &mut self.printer {
            Some(printer) => printer(text),
            None => {
                let printed = terminal::write(&format!("{text}\n"));
                self.note(printed);
            }
        }
    }

    /// Notes whether an event was printed. If not, that is a failure, unless the reader has closed the pipe.
    fn note(&mut self, printed: io::Result<()>) {
        let Err(error) = printed else { return };
        self.output_error = Some(error.kind());
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.ending = self.ending.max(Ending::Failed);
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
            let printed = self.renderer.add(event);
            self.note(printed);
        }
    }
}

/// Receives SIGINT and SIGTERM. The second one ends the process at once: acknowledged messages are on disk.
fn signals() -> Result<Receiver<()>, String> {
    let (sender, receiver) = bounded(1);
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return Ok(never());
    };
    start_thread("signals", move || {
        for (earlier, _) in signals.forever().enumerate() {
            if earlier > 0 || sender.try_send(()).is_err() {
                std::process::exit(EXIT_INTERRUPTED);
            }
        }
    })?;
    Ok(receiver)
}
