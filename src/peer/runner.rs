//! The peer's threads around its engine: one that runs the engine, one for the connection, one for each transfer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use wire::card::Card;
use wire::protocol::{ServerId, Side};
use wire::{Fingerprint, PeerName};

use super::command::{Command, EXIT_FAILED, Update};
use super::connection::{Connection, Writer};
use super::engine::{
    ClientId, Effect, Engine, Fatal, FileJob, Input, Net, Now, Options, ReceiveJob, SendJob, TransferOutcome,
};
use super::event::Event;
use super::home::{Home, HomeError, Lock};
use super::share::{self, Share};
use super::store::{Store, StoreError};
use super::transfer::{self, Destination, Expected, Listener, ListenerEvent, TransferError};

/// Room for messages to the engine. Who sends them waits while it is full, so the connection is not read meanwhile.
const MESSAGES_MAX: usize = 256;
/// Most messages taken in before what they caused is written and sent.
const BATCH_MESSAGES_MAX: usize = 64;
/// Updates that a client has not taken. A client that takes none for [`CLIENT_WAIT`] is let go of.
const UPDATES_MAX: usize = 4096;
const CLIENT_WAIT: Duration = Duration::from_secs(30);
const DIAL_WAIT: Duration = Duration::from_secs(5);
/// How often a transfer says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// To the thread of the engine.
pub(super) enum Message {
    Input(Box<Input>),
    Attach(ClientId, Sender<Update>),
    Joined { server: ServerId, address: String, writer: Writer },
    Prove { nonce: [u8; 32], server: ServerId, reply: Sender<Vec<u8>> },
    Stop,
}

impl Message {
    pub(super) fn net(net: Net) -> Self {
        Self::input(Input::Net(net))
    }

    fn input(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
}

/// Where and as whom a peer runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name it joins under.
    pub name: PeerName,
    /// The server, as `HOST:PORT`.
    pub server: String,
    /// See [`Options`].
    pub options: Options,
    /// What the private keys are under, if they are.
    pub passphrase: Option<String>,
    /// Whose key the user trusts with the command that starts the peer: it may be missing in `known_peers`.
    pub trusts: Option<PeerName>,
}

/// Why a peer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`Fatal`].
    #[error(transparent)]
    Engine(#[from] Fatal),
    /// The system gives no thread.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// A running peer. Dropping it ends it in order: what was decided is sent.
pub struct Runner {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// A way to give commands to a running peer and to hear what comes of them.
pub struct Client {
    id: ClientId,
    messages: Sender<Message>,
    /// What comes of them.
    pub updates: Receiver<Update>,
}

impl Client {
    /// Gives a command. If the peer has ended, `updates` says so by its end.
    pub fn command(&self, command: Command) {
        let _ = self.messages.send(Message::input(Input::Command(self.id, command)));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::input(Input::Gone(self.id)));
    }
}

/// Makes clients of a running peer.
#[derive(Clone)]
pub struct Switch {
    messages: Sender<Message>,
}

impl Switch {
    /// A new client; `id` is used by no other.
    pub fn client(&self, id: ClientId) -> Client {
        let (sender, updates) = bounded(UPDATES_MAX);
        let _ = self.messages.send(Message::Attach(id, sender));
        Client { id, messages: self.messages.clone(), updates }
    }
}

impl Runner {
    /// Starts the peer of a directory that this process has locked.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(home: Arc<Home>, lock: Lock, config: Config) -> Result<Self, StartError> {
        let now = now();
        let keys =
            home.keys(config.passphrase.as_deref(), wire::keys::KEY_BITS, now.unix, &mut rand::rng())?;
        let store = Store::open(&home.private_path().join("store.redb"))?;
        let mut pins = home.pins()?;
        pins.check_accepted(
            accepted_keys(&store, &keys.identity.public().fingerprint())?,
            config.trusts.as_ref(),
            now.unix,
        )?;
        let engine = Engine::new(config.name, keys, pins, store, config.options, now)?;
        let (messages, waiting) = bounded(MESSAGES_MAX);
        let shell = Shell {
            home,
            server: config.server,
            engine,
            messages: messages.clone(),
            clients: HashMap::new(),
            connection: None,
            writer: None,
            listener: None,
            is_serving: false,
            is_stopping: false,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || shell.run(&waiting))?;
        Ok(Self { messages, thread: Some(thread) })
    }

    /// Makes clients of this peer.
    pub fn switch(&self) -> Switch {
        Switch { messages: self.messages.clone() }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The identity keys that were accepted for others: each card in the store was pinned before it was written there. The
/// own card is there as well.
fn accepted_keys(store: &Store, own: &Fingerprint) -> Result<Vec<(PeerName, Fingerprint)>, StoreError> {
    let accepted = store.contacts()?.into_iter().filter_map(|contact| {
        // A card that no longer reads is asked for again.
        let key = Card::from_bytes(&contact.card?).ok()?.fingerprint();
        (key != *own).then_some((contact.name, key))
    });
    Ok(accepted.collect())
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Now { unix, instant: Instant::now() }
}

struct Shell {
    home: Arc<Home>,
    server: String,
    engine: Engine,
    messages: Sender<Message>,
    clients: HashMap<ClientId, Sender<Update>>,
    connection: Option<Connection>,
    writer: Option<Writer>,
    listener: Option<Listener>,
    is_serving: bool,
    is_stopping: bool,
    _lock: Lock,
}

impl Shell {
    fn run(mut self, waiting: &Receiver<Message>) {
        let mut running = Ok(true);
        while matches!(running, Ok(true)) {
            running = self.step(waiting);
        }
        if let Err(fatal) = running {
            let error = format!("{fatal}; nothing that was not written was acknowledged");
            for client in self.clients.values() {
                let _ = client.send(Update::Event(Event::error(error.clone())));
                let _ = client.send(Update::Done(EXIT_FAILED));
            }
        }
        self.clients.clear();
        if let Some(connection) = self.connection.take() {
            connection.finish(self.writer.take());
        }
    }

    /// Waits for something to do and does it. False when the peer ends.
    fn step(&mut self, waiting: &Receiver<Message>) -> Result<bool, Fatal> {
        let first = match self.engine.next_deadline() {
            Some(deadline) => match waiting.recv_deadline(deadline) {
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                received => received.ok(),
            },
            None => match waiting.recv() {
                Ok(message) => Some(message),
                Err(_) => return Ok(false),
            },
        };
        for message in first.into_iter().chain(waiting.try_iter().take(BATCH_MESSAGES_MAX)) {
            self.take(message)?;
        }
        self.engine.handle(now(), Input::Tick)?;
        for effect in self.engine.settle()? {
            self.carry_out(effect);
        }
        // What others have begun through the control socket is finished; what they merely watch, they take over.
        Ok(!self.is_stopping || self.engine.has_work())
    }

    fn take(&mut self, message: Message) -> Result<(), Fatal> {
        match message {
            Message::Input(input) => {
                if let Input::Gone(client) = &*input {
                    self.clients.remove(client);
                }
                if let Input::Net(Net::Lost | Net::Refused(..) | Net::Unreachable(_)) = &*input {
                    self.writer = None;
                }
                self.engine.handle(now(), *input)?;
            }
            Message::Attach(id, updates) => {
                self.clients.insert(id, updates);
            }
            Message::Joined { server, address, writer } => {
                self.writer = Some(writer);
                self.engine.handle(now(), Input::Net(Net::Joined { server, address }))?;
            }
            Message::Prove { nonce, server, reply } => {
                let _ = reply.send(self.engine.prove(&nonce, &server));
            }
            Message::Stop => self.is_stopping = true,
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToServer(bytes) => {
                if let Some(writer) = &self.writer {
                    writer.send(bytes);
                }
            }
            Effect::Tell(client, update) => {
                let Some(updates) = self.clients.get(&client) else {
                    return;
                };
                if updates.send_timeout(update, CLIENT_WAIT).is_err() {
                    self.clients.remove(&client);
                    self.later(Input::Gone(client));
                }
            }
            Effect::Connect => self.connect(),
            Effect::Disconnect => {
                self.writer = None;
                if let Some(connection) = self.connection.take() {
                    connection.finish(None);
                }
            }
            Effect::Serve => self.serve(),
            Effect::ReadShare => self.read_share(None),
            Effect::AddShare(file, keywords) => self.read_share(Some((file, keywords))),
            Effect::Transfer(job) => self.transfer(*job),
        }
    }

    /// An input of this thread to itself, behind what waits already; it must not wait for itself, so another does.
    fn later(&self, input: Input) {
        let messages = self.messages.clone();
        std::thread::spawn(move || {
            let _ = messages.send(Message::input(input));
        });
    }

    fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        let card = self.engine.card().as_bytes().to_vec();
        match Connection::start(self.server.clone(), card, self.messages.clone()) {
            Ok(connection) => self.connection = Some(connection),
            Err(e) => self.later(Input::Net(Net::Unreachable(format!("cannot start a connection: {e}")))),
        }
    }

    fn serve(&mut self) {
        if std::mem::replace(&mut self.is_serving, true) {
            return;
        }
        self.read_share(None);
        let messages = self.messages.clone();
        let listener = Listener::start(move |event| {
            let input = match event {
                ListenerEvent::CalledBack { echo } => Input::CalledBack(echo),
                ListenerEvent::Fetch { transfer, stream } => Input::Fetch(transfer, stream),
            };
            let _ = messages.send(Message::input(input));
        });
        // Without a listener files go through the server.
        if let Ok(listener) = listener {
            self.later(Input::Listening(listener.port()));
            self.listener = Some(listener);
        }
    }

    /// Reads what is shared, on a thread of its own: hashing takes time.
    fn read_share(&self, add: Option<(String, Vec<String>)>) {
        let (home, messages) = (Arc::clone(&self.home), self.messages.clone());
        std::thread::spawn(move || {
            let added = match &add {
                Some((file, keywords)) => share::add_entry(&home, file, keywords).map(|_| ()),
                None => Ok(()),
            };
            let share = added.and_then(|()| Share::read(&home)).map_err(|e| e.to_string());
            let _ = messages.send(Message::input(Input::Shared(share)));
        });
    }

    fn transfer(&self, job: FileJob) {
        let (home, server, messages) = (Arc::clone(&self.home), self.server.clone(), self.messages.clone());
        std::thread::spawn(move || match job {
            FileJob::Receive(job) => {
                let id = job.key.transfer;
                let mut last = Instant::now();
                let outcome = receive(&home, &server, &job, &mut |done, total| {
                    if done == total || last.elapsed() >= PROGRESS_EVERY {
                        last = Instant::now();
                        let progress = TransferOutcome::Progress { done, total };
                        let _ = messages.send(Message::input(Input::Transfer(id, progress)));
                    }
                });
                let _ = messages.send(Message::input(Input::Transfer(id, outcome)));
            }
            FileJob::Send(job) => {
                let id = job.key.transfer;
                let outcome = send(&home, &server, job);
                let _ = messages.send(Message::input(Input::Transfer(id, outcome)));
            }
        });
    }
}

fn receive(
    home: &Home,
    server: &str,
    job: &ReceiveJob,
    progress: &mut dyn FnMut(u64, u64),
) -> TransferOutcome {
    let destination: Result<Destination, _> = match &job.output {
        Some(path) => Destination::output(path, &job.name, job.overwrite),
        None => Destination::downloads(home, &job.name, job.overwrite),
    };
    let destination = match destination.and_then(|d| d.check(job.bytes, &job.sha256).map(|here| (d, here))) {
        Ok((_, Some(received))) => return TransferOutcome::WasHere(received),
        Ok((destination, None)) => destination,
        Err(e) => return TransferOutcome::Received(Err(e.to_string())),
    };
    let stream = match job.address {
        Some(address) => transfer::dial_direct(address, &job.key.transfer, DIAL_WAIT),
        None => transfer::dial_server(server, &job.key.transfer, Side::Receiver, DIAL_WAIT),
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(e) => return TransferOutcome::CannotDial(e.to_string()),
    };
    let expected =
        Expected { key: job.key.clone(), name: job.name.clone(), bytes: job.bytes, sha256: job.sha256 };
    let mut has_begun = false;
    let received = transfer::receive_file(stream, &expected, &destination, &mut |done, total| {
        has_begun = true;
        progress(done, total);
    });
    match received {
        // Nothing has come on a connection that stood: the other way may still work.
        Err(e @ (TransferError::CutOff { .. } | TransferError::Connection(_) | TransferError::TimedOut))
            if !has_begun =>
        {
            TransferOutcome::CannotDial(e.to_string())
        }
        received => TransferOutcome::Received(received.map_err(|e| e.to_string())),
    }
}

fn send(home: &Home, server: &str, job: SendJob) -> TransferOutcome {
    let file = match share::open_shared(home, &job.file) {
        Ok(file) => file,
        Err(e) => return TransferOutcome::Outdated(e.to_string()),
    };
    let stream = match job.stream {
        Some(stream) => Ok(stream),
        None => transfer::dial_server(server, &job.key.transfer, Side::Sender, DIAL_WAIT),
    };
    let sent = stream.and_then(|stream| transfer::send_file(stream, file, &job.header, &job.key));
    TransferOutcome::Sent(sent.map_err(|e| e.to_string()))
}

/// Where a peer's control socket is, in its private folder.
pub(super) fn control_path(home: &Home) -> PathBuf {
    home.private_path().join("control")
}
