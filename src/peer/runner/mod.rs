//! A running peer: the threads around its engine, and how commands reach it.

mod disk;
mod files;
mod jobs;
mod outlet;
mod servers;
mod shell;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wire::PeerName;
use wire::invitation::Invitation;
use wire::protocol::{ChannelBinding, Greeting, ToServer};
use zeroize::Zeroizing;

use super::access::{Access, Server};
use super::command::{Command, Request, Update};
use super::connection::Writer;
use super::engine::{ClientId, Engine, Input, Net, Options, Start, Unreadable};
use super::home::{Home, HomeError, Lock};
use super::server_address::ServerAddress;
use super::store::StoreError;
use super::transfer::ListenerEvent;
use disk::Disk;
use files::ReadShare;
use shell::Shell;

use crate::tls::{Trust, TrustError};

/// The capacity of the engine's mailbox. While it is full, senders wait, so the connection is not read.
const MESSAGES_MAX: usize = 256;
/// The capacity of the channel to a client, in batches of updates.
pub(super) const UPDATE_BATCHES_MAX: usize = 8;

/// How this peer joins a server.
pub(super) struct Joining {
    pub(super) message: ToServer<'static>,
    /// The server has to prove that it knows this invitation, to the peer that signs this text.
    pub(super) asks_for: Option<(Invitation, Vec<u8>)>,
}

/// The messages that the engine's thread takes.
pub(super) enum Message {
    Input(Box<Input>),
    Attach(ClientId, Sender<Vec<Update>>),
    Joined {
        greeting: Greeting,
        address: String,
        local: IpAddr,
        writer: Writer,
    },
    /// Why servers are not those that this peer knows, although it goes on with another one.
    Unproven(Vec<String>),
    /// Asks for the message that joins this server, or why this peer does not join it.
    Join {
        greeting: Greeting,
        server: Server,
        /// That of the TLS connection.
        binding: Option<ChannelBinding>,
        reply: Sender<Result<Joining, String>>,
    },
    /// A read of the share has ended.
    Shared(Result<Box<ReadShare>, String>),
    /// Files at these paths in the peer's directory may have changed; none for any of them.
    FilesChanged(Option<BTreeSet<PathBuf>>),
    Listener(ListenerEvent),
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

#[derive(Debug, Clone)]
pub struct Config {
    /// The name that it joins under.
    pub name: PeerName,
    /// The servers, of which one is used at a time. Not empty.
    pub servers: Vec<ServerAddress>,
    /// Whether the server that it joins is the one to use when the next process names none.
    pub remembers_server: bool,
    /// A file with the certificates that servers with TLS may have. Without it, those of the authorities that this machine
    /// trusts are accepted, and others are pinned at first use.
    pub ca: Option<PathBuf>,
    pub options: Options,
    /// How many bytes a second all files that others fetch here may take together.
    pub up_limit: Option<NonZeroU64>,
    /// The same of all files that are fetched.
    pub down_limit: Option<NonZeroU64>,
    /// The passphrase of the private keys and the store, if they have one.
    pub passphrase: Option<Zeroizing<String>>,
    /// Whether messages stay in the store once they are shown or delivered.
    pub keeps_history: bool,
    /// The peer that the user trusts with the command that starts this process. Its key may be missing in
    /// `known_peers`.
    pub trusts: Option<PeerName>,
}

/// Why a peer does not start or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("the peer's own store: {0}")]
    Store(#[from] StoreError),
    /// A record in its store cannot be read.
    #[error("the peer's own store: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("--ca: {0}")]
    Trust(#[from] TrustError),
    #[error("cannot start a thread: {0}; end other programs and try again")]
    Thread(std::io::Error),
}

/// A running peer. Dropping it ends it in order: decided messages are still sent.
pub struct Runner {
    messages: Sender<Message>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Sends commands to a running peer and receives the updates.
pub struct Client {
    id: ClientId,
    messages: Sender<Message>,
    /// The updates, those of one step together. They end when the peer does.
    pub updates: Receiver<Vec<Update>>,
}

impl Client {
    pub fn command(&self, command: Command) {
        // If the peer has ended, `updates` ends.
        let _ = self.messages.send(Message::input(Input::Command(self.id, command)));
    }

    /// Confirms that the next `count` messages among the updates were written where the user sees them. Unconfirmed
    /// messages are shown again by the next client.
    pub fn shown(&self, count: u64) {
        let _ = self.messages.send(Message::input(Input::Shown(self.id, count)));
    }

    pub(super) fn request(&self, request: Request) {
        match request {
            Request::Command(command) => self.command(command),
            Request::Shown(count) => self.shown(count),
        }
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
    /// Makes a client. The id must be unique.
    pub fn client(&self, id: ClientId) -> Client {
        let (sender, updates) = bounded(UPDATE_BATCHES_MAX);
        let _ = self.messages.send(Message::Attach(id, sender));
        Client { id, messages: self.messages.clone(), updates }
    }
}

impl Runner {
    /// Starts the peer of a directory that this process has locked.
    pub fn start(home: Arc<Home>, lock: Lock, config: Config) -> Result<Self, PeerError> {
        let trust = config.ca.clone().map_or(Trust::SystemOrUnknown, Trust::Authorities);
        let servers = config.servers.iter().map(|address| Access::new(address.clone(), &trust));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let (messages, waiting) = bounded(MESSAGES_MAX);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (started, starting) = bounded(1);
        let (own, stop) = (messages.clone(), Arc::clone(&is_stopping));
        // The store and the engine that reads it never leave this thread.
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || match open(&home, &config) {
                Ok((engine, disk)) => {
                    let shell = Shell::new(home, lock, (config, servers), engine, disk, own, stop);
                    let _ = started.send(Ok(()));
                    shell.run(&waiting);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(PeerError::Thread)?;
        starting.recv().expect("the thread sends one answer")?;
        Ok(Self { messages, is_stopping, thread: Some(thread) })
    }

    pub fn switch(&self) -> Switch {
        Switch { messages: self.messages.clone() }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the engine's thread.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The addresses of servers, as they are given with `--server`.
fn names_of(servers: &[ServerAddress]) -> String {
    let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn open(home: &Home, config: &Config) -> Result<(Engine, Disk), PeerError> {
    let now = shell::now();
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let (passphrase, times) = (config.passphrase.as_ref().map(|p| p.as_str()), &config.options.key_times);
    let store_key = home.store_key(passphrase, &mut rng)?;
    let keys = home.keys(passphrase, wire::keys::KEY_BITS, times, now.unix, &mut rng)?;
    let own_key = keys.identity.public().fingerprint();
    let disk = Disk::open(home, store_key.as_ref(), config, &own_key, now.unix)?;
    let start = Start {
        name: config.name.clone(),
        keys,
        server: names_of(&config.servers),
        options: config.options.clone(),
        loaded: disk.load()?,
        records: disk.records(),
        rng,
    };
    Ok((Engine::new(start, now), disk))
}
