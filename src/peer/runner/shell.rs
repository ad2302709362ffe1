//! The thread of the engine: takes the waiting messages, writes what the engine decides, and then executes the effects.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use wire::PeerName;
use wire::invitation::Invitation;
use wire::protocol::Token;
use zeroize::Zeroizing;

use super::disk::{Disk, is_disk_full};
use super::files::{Files, Read};
use super::outlet::Outlet;
use super::{Config, MESSAGES_MAX, Message, PeerError, jobs};
use crate::peer::access::{Access, Server};
use crate::peer::command::{Ending, Update};
use crate::peer::connection::{Connection, Writer};
use crate::peer::engine::{ClientId, Effect, Engine, Input, Net, Now, Out};
use crate::peer::event::{Answer, Event};
use crate::peer::home::{Home, Lock};
use crate::peer::transfer::{ListenerEvent, Membership};
use crate::unix_now;

/// The maximum number of inputs of one step. All of them share one transaction.
const BATCH_MESSAGES_MAX: usize = MESSAGES_MAX;
/// The interval at which waiting updates are offered to a slow client.
const OFFER_EVERY: Duration = Duration::from_millis(20);
/// How long clients may take at the end to read the remaining updates and to confirm messages.
const CLIENTS_END_WAIT: Duration = Duration::from_secs(2);
/// The interval of retries while the disk is full.
const DISK_RETRY_EVERY: Duration = Duration::from_secs(1);
/// The interval of checks whether the peer must end while the disk is full.
const STOP_CHECK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn now() -> Now {
    Now { unix: unix_now(), instant: Instant::now() }
}

pub(super) struct Shell {
    pub(super) home: Arc<Home>,
    servers: Vec<Access>,
    /// The server, and the proof of membership for transfers through it.
    pub(super) membership: Membership,
    passphrase: Option<Zeroizing<String>>,
    pub(super) invitation: Option<Invitation>,
    /// Whether the server that this peer joins is still to be remembered.
    pub(super) remembers_server: bool,
    pub(super) engine: Engine,
    disk: Disk,
    pub(super) messages: Sender<Message>,
    /// Messages that this thread has set aside or sent to itself. They come before those in the mailbox.
    pub(super) backlog: VecDeque<Message>,
    clients: HashMap<ClientId, Outlet>,
    connection: Option<Connection>,
    writer: Option<Writer>,
    /// This peer's own address on the connection to the server.
    pub(super) local: Option<IpAddr>,
    pub(super) files: Files,
    is_stopping: Arc<AtomicBool>,
    /// Set when the peer must end: until when clients may confirm messages.
    ends_at: Option<Instant>,
    _lock: Lock,
}

impl Shell {
    pub(super) fn new(
        home: Arc<Home>,
        lock: Lock,
        (config, servers): (Config, Vec<Access>),
        engine: Engine,
        disk: Disk,
        messages: Sender<Message>,
        is_stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            membership: Membership {
                server: Server { access: servers[0].clone(), unknown_certificate: None },
                member: engine.card().name.clone(),
                token: Token::default(),
            },
            servers,
            home,
            passphrase: config.passphrase,
            invitation: config.options.invitation,
            remembers_server: config.remembers_server,
            engine,
            disk,
            messages,
            backlog: VecDeque::new(),
            clients: HashMap::new(),
            connection: None,
            writer: None,
            local: None,
            files: Files::with_limits(config.up_limit, config.down_limit),
            is_stopping,
            ends_at: None,
            _lock: lock,
        }
    }

    pub(super) fn run(mut self, waiting: &Receiver<Message>) {
        let mut running = Ok(true);
        while matches!(running, Ok(true)) {
            running = self.step(waiting);
        }
        if let Err(error) = running {
            self.tell_all(&format!("{error}; nothing that was not written was acknowledged"));
            for client in self.clients.values_mut() {
                client.send(Update::Done(Ending::Failed));
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.finish(self.writer.take());
        }
        self.end_receiving(waiting);
        let Self { engine, disk, home, mut clients, _lock, .. } = self;
        drop(engine);
        if let Err(error) = disk.close(&home) {
            let error =
                format!("{error}; messages that were not to be kept are overwritten at the next start");
            for client in clients.values_mut() {
                client.send(Update::Event(Event::error(&error)));
            }
        }
        let deadline = Instant::now() + CLIENTS_END_WAIT;
        for (_, client) in clients.drain() {
            client.finish(deadline);
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    pub(super) fn tell_all(&mut self, error: &str) {
        for client in self.clients.values_mut() {
            client.send(Update::Event(Event::error(error)));
            client.flush();
        }
    }

    /// Waits for messages or a deadline and runs one step. Returns false when the peer ends.
    fn step(&mut self, waiting: &Receiver<Message>) -> Result<bool, PeerError> {
        let Some(inputs) = self.gather(waiting) else {
            return Ok(false);
        };
        let mut out = Out::default();
        self.engine.handle(now(), inputs, &mut out)?;
        if !self.write(&out, waiting)? {
            return Ok(false);
        }
        if let (Some(writer), false) = (&self.writer, out.to_server.is_empty()) {
            writer.send(out.to_server);
        }
        for effect in out.effects {
            self.carry_out(effect)?;
        }
        self.files.callers.clear();
        self.clients.values_mut().filter(|client| client.is_behind()).for_each(Outlet::flush);
        // Before the end, the commands of other processes are completed. Those that only watch are continued by the
        // processes themselves.
        let is_done =
            self.ends_at.is_some_and(|at| !self.engine.awaits_confirmation() || at <= Instant::now());
        Ok(!is_done || self.engine.has_work())
    }

    /// When to run a step even if no message comes.
    fn next_deadline(&self) -> Option<Instant> {
        let is_behind = self.clients.values().any(Outlet::is_behind);
        let offer = is_behind.then(|| Instant::now() + OFFER_EVERY);
        let end = self.ends_at.filter(|_| self.engine.awaits_confirmation());
        self.engine.next_deadline().into_iter().chain(offer).chain(end).min()
    }

    /// Waits for messages, at most until the next deadline. `None` if no more can come.
    fn gather(&mut self, waiting: &Receiver<Message>) -> Option<Vec<Input>> {
        let first = match (self.backlog.pop_front(), self.next_deadline()) {
            (Some(message), _) => Some(message),
            (None, None) => Some(waiting.recv().ok()?),
            (None, Some(deadline)) => match waiting.recv_deadline(deadline) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        let mut inputs = Vec::new();
        let mut message = first;
        while let Some(next) = message {
            inputs.extend(self.take(next));
            if inputs.len() >= BATCH_MESSAGES_MAX {
                break;
            }
            message = self.backlog.pop_front().or_else(|| waiting.try_recv().ok());
        }
        Some(inputs)
    }

    /// Handles a message. Returns the input for the engine, if there is one.
    fn take(&mut self, message: Message) -> Option<Input> {
        match message {
            Message::Input(input) => {
                if let Input::Gone(client) = &*input {
                    self.clients.remove(client);
                }
                if let Input::Transfer(id, outcome) = &*input {
                    self.transfer_reported(*id, outcome);
                }
                if let Input::Net(Net::Lost(_) | Net::Refused(..) | Net::Unreachable(..)) = &*input {
                    self.writer = None;
                }
                return Some(*input);
            }
            Message::Attach(id, updates) => {
                self.clients.insert(id, Outlet::new(updates));
            }
            Message::Joined { greeting, address, local, writer } => {
                let pinned_certificate = self.pin_server(&greeting);
                self.remember_server();
                self.writer = Some(writer);
                self.local = Some(local);
                self.listen();
                return Some(Input::Net(Net::Joined { greeting, address, pinned_certificate }));
            }
            // Somebody may have taken the place of a server that this peer knows.
            Message::Unproven(reasons) => {
                for why in reasons {
                    self.tell_all(&format!("{why}; going on with another server"));
                }
            }
            Message::Join { greeting, server, binding, reply } => {
                let checked = self.check_server(&server, &greeting);
                self.membership.token = greeting.nonce;
                self.membership.server = server;
                let joining = checked.map(|is_pinned| self.joining(&greeting, binding.as_ref(), is_pinned));
                let _ = reply.send(joining);
            }
            Message::Shared(share) => return Some(self.shared(share)),
            Message::FilesChanged(Some(paths)) => self.read_share(Read::Few(paths)),
            Message::FilesChanged(None) => self.read_share(Read::All),
            Message::Listener(ListenerEvent::CalledBack { echo }) => return Some(Input::CalledBack(echo)),
            Message::Listener(ListenerEvent::Fetch { transfer, stream }) => {
                self.files.callers.entry(transfer).or_insert(stream);
                return Some(Input::Dialled(transfer));
            }
            Message::Stop => {
                self.engine.stop_showing();
                self.ends_at = Some(Instant::now() + CLIENTS_END_WAIT);
            }
        }
        None
    }

    /// Writes the results of a step. While the disk is full, this step and everything after it waits. Returns false if
    /// the peer must end meanwhile.
    fn write(&mut self, out: &Out, waiting: &Receiver<Message>) -> Result<bool, PeerError> {
        let mut is_full = false;
        loop {
            match self.disk.write(out, now().unix) {
                Ok(()) => {
                    if is_full {
                        self.tell_all("there is room on the disk again");
                    }
                    return Ok(true);
                }
                Err(error) if is_disk_full(&error) => {
                    if !std::mem::replace(&mut is_full, true) {
                        self.tell_all(&format!(
                            "disk full: nothing is sent or acknowledged until there is room ({error})"
                        ));
                    }
                    if !self.wait_for_room(waiting) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the next retry and keeps the messages that come. Returns false if the peer must end meanwhile.
    fn wait_for_room(&mut self, waiting: &Receiver<Message>) -> bool {
        let until = Instant::now() + DISK_RETRY_EVERY;
        while Instant::now() < until {
            if self.is_stopping() {
                return false;
            }
            if self.backlog.len() >= MESSAGES_MAX {
                // From here on, the senders of messages wait.
                std::thread::sleep(STOP_CHECK_EVERY);
                continue;
            }
            match waiting.recv_timeout(STOP_CHECK_EVERY) {
                Ok(Message::Attach(id, updates)) => {
                    let error = "disk full: nothing is sent or acknowledged until there is room";
                    let mut outlet = Outlet::new(updates);
                    outlet.send(Update::Event(Event::error(error)));
                    outlet.flush();
                    self.clients.insert(id, outlet);
                }
                Ok(message) => self.backlog.push_back(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), PeerError> {
        match effect {
            Effect::Tell(client, update) => self.tell(client, update),
            Effect::ShowHistory(client, with) => self.show_history(client, with.as_ref())?,
            Effect::TrustServer(client, server, key) => self.trust_server(client, server, key),
            Effect::Connect => self.connect(),
            Effect::Reconnect => {
                if let Some(writer) = self.writer.take() {
                    writer.abort();
                }
            }
            Effect::Disconnect => {
                self.writer = None;
                if let Some(connection) = self.connection.take() {
                    connection.finish(None);
                }
            }
            Effect::MakeKey => self.make_key(),
            Effect::DestroyKey(made_at) => {
                if let Err(e) = self.home.destroy_encryption_pair(made_at) {
                    self.tell_all(&format!("{e}; it is tried again at the next start"));
                }
            }
            Effect::Serve => {
                if !std::mem::replace(&mut self.files.is_serving, true) {
                    self.watch();
                    self.read_share(Read::All);
                    self.listen();
                }
            }
            Effect::ReadShare => self.read_share(Read::All),
            Effect::ChangeShare(change) => self.read_share(Read::AfterChange(change)),
            Effect::Prepare(task, download) => self.prepare(task, download),
            Effect::PrepareMany(task, downloads) => self.prepare_many(task, downloads),
            Effect::ReceiveMany(job) => self.receive_many(job),
            Effect::SendMany(job) => self.send_many(job),
            Effect::OpenPieces(task, download) => self.open_pieces(task, download),
            Effect::ReceivePieces(job) => self.receive_pieces(job),
            Effect::ReleasePieces(task, pieces) => self.release_pieces(task, &pieces),
            Effect::FinishPieces(task, download) => self.finish_pieces(task, download),
            Effect::ClosePieces(task) => self.close_pieces(task),
            Effect::Receive(job) => self.receive(job),
            Effect::StopReceive(transfer) => self.stop_receive(transfer),
            Effect::Send(job) => self.send(job),
            Effect::StopSend(transfer) => self.stop_send(transfer),
        }
        Ok(())
    }

    fn make_key(&mut self) {
        let (home, passphrase) = (Arc::clone(&self.home), self.passphrase.clone());
        self.spawn(
            move |_| {
                let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
                Message::input(Input::KeyMade(jobs::make_key(&home, passphrase)))
            },
            |e| Message::input(Input::KeyMade(Err(e))),
        );
    }

    pub(super) fn tell(&mut self, client: ClientId, update: Update) {
        if let Some(outlet) = self.clients.get_mut(&client) {
            outlet.send(update);
        }
    }

    fn show_history(&mut self, client: ClientId, with: Option<&PeerName>) -> Result<(), PeerError> {
        let records = self.disk.history(with)?;
        if records.is_empty() {
            let nothing = Answer::NoHistory { with: with.cloned() };
            self.tell(client, Update::Event(Event::Result(nothing)));
        }
        for record in records {
            self.tell(client, Update::Event(Event::Result(Answer::History(record))));
        }
        self.tell(client, Update::Done(Ending::Done));
        Ok(())
    }

    /// Adds an input for the next step.
    pub(super) fn later(&mut self, input: Input) {
        self.backlog.push_back(Message::input(input));
    }

    /// Runs `work` on its own thread, which sends the result to this one. Without a thread, `failed` makes the result.
    pub(super) fn spawn(
        &mut self,
        work: impl FnOnce(&Sender<Message>) -> Message + Send + 'static,
        failed: impl FnOnce(String) -> Message,
    ) {
        let messages = self.messages.clone();
        let spawned = std::thread::Builder::new().name("job".into()).spawn(move || {
            let message = work(&messages);
            // Fails only when the peer has ended.
            let _ = messages.send(message);
        });
        if let Err(e) = spawned {
            self.backlog.push_back(failed(format!("cannot start a thread: {e}; try again")));
        }
    }

    fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        match Connection::start(self.servers.clone(), self.messages.clone()) {
            Ok(connection) => self.connection = Some(connection),
            Err(e) => self
                .later(Input::Net(Net::Unreachable(format!("cannot start a thread: {e}"), Duration::ZERO))),
        }
    }
}
