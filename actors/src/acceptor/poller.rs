//! A poller: a thread on one processor, where connections rest while they wait for their client.
//!
//! It accepts connections and sends every response that does not have to wait, so that a warm GET costs one read and
//! one write and wakes no thread. A connection whose response has to wait goes to a session.
//!
//! Connections are moved to the poller on the processor that handles their packets. If client and server share a machine,
//! that is the client's processor. This saves a wake-up across processors, which costs more than the response.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use slab::Slab;

use super::listener::Listener;
use super::pool::{AllEnded, Pool};
use crate::commands::connection::{Door, Visitor};
use crate::commands::gate::{Full, Gate};
use crate::commands::session::SessionId;
use crate::config::Limits;
use crate::handover::{Arrival, Job, PeerJob, PollerHandle};
use crate::http::{Connection, Driver, Responder, Verdict};
use crate::linux::{self, CpuSet, Epoll, ReadyFor};
use crate::metrics::{Count, WebCounts};
use crate::tls::TlsConfig;
use crate::transport::Transport;

/// The maximum number of connections that are accepted in a row, so that the other connections get their turn.
const ACCEPTS_MAX: usize = 64;
/// How often deadlines are checked, and revoked leases dropped.
const SWEEP: Duration = Duration::from_millis(250);
/// The interval of these checks while no connection rests.
const IDLE_SWEEP: Duration = Duration::from_secs(1);
/// How long no connections are accepted after the system had no descriptor or memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The minimum interval between two warnings of the same kind.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);
/// The processor of a connection is checked again after this number of requests.
const STEER_REQUESTS: u32 = 128;
/// A poller may always have this number of connections more than its share.
const STEER_FREELY: usize = 64;
/// How long sessions have to end when the server ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How often the poller checks whether they have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long sessions then have to end after their connections were closed.
const CUT_OFF: Duration = Duration::from_secs(2);

/// The token of the eventfd.
const WAKE: u64 = u64::MAX;
/// Tokens from here up to [`WAKE`] are listening sockets; those below are connections.
const LISTENERS: u64 = u64::MAX - 1024;

pub(super) struct Shared {
    pub(super) listeners: Vec<Listener>,
    pub(super) gate: Arc<Gate>,
    /// For the admin address, so that it answers when the web is full.
    pub(super) admin_gate: Arc<Gate>,
    /// For connections that were refused and whose clients have not read the response yet.
    pub(super) leaving_gate: Arc<Gate>,
    pub(super) limits: Limits,
    /// `--http-threads`
    pub(super) http_threads: bool,
    pub(super) next_id: AtomicU64,
    pub(super) by_cpu: HashMap<usize, PollerHandle>,
    pub(super) all_ended: AllEnded,
}

pub(super) struct Poller {
    shared: Arc<Shared>,
    cpu: Option<usize>,
    handle: PollerHandle,
    arrivals: Receiver<Arrival>,
    /// For the connections that come next.
    tls: TlsConfig,
    pool: Pool,
    driver: Driver,
    epoll: Epoll,
    resting: Slab<Connection>,
    /// Connections that are with sessions, so that they can be ended with the server.
    away: HashMap<SessionId, Away>,
    now: Instant,
    /// Until when no connections are accepted, see [`ACCEPT_PAUSE`].
    paused_until: Option<Instant>,
    turned_away_notice: Option<Instant>,
    cannot_accept_notice: Option<Instant>,
}

impl Poller {
    pub(super) fn new(
        shared: Arc<Shared>,
        cpu: Option<usize>,
        (handle, arrivals): (PollerHandle, Receiver<Arrival>),
        tls: TlsConfig,
        pool: Pool,
        responder: Responder,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&handle.event, WAKE, ReadyFor::Reading)?;
        let driver = Driver::new(responder, shared.limits.clone());
        let poller = Self {
            shared,
            cpu,
            handle,
            arrivals,
            tls,
            pool,
            driver,
            epoll,
            resting: Slab::new(),
            away: HashMap::new(),
            now: Instant::now(),
            paused_until: None,
            turned_away_notice: None,
            cannot_accept_notice: None,
        };
        poller.listen()?;
        Ok(poller)
    }

    fn listen(&self) -> io::Result<()> {
        // An earlier attempt may have failed halfway.
        self.stop_listening();
        for (listener, token) in self.shared.listeners.iter().zip(LISTENERS..) {
            self.epoll.add_shared(listener, token)?;
        }
        Ok(())
    }

    pub(super) fn run(mut self) {
        if let Some(cpu) = self.cpu {
            CpuSet::only(cpu).apply();
        }
        let mut ready = Vec::with_capacity(linux::EVENTS_MAX);
        let mut next_sweep = self.now + SWEEP;
        while !self.driver.responder.is_stopping() {
            let wake_at = self.paused_until.map_or(next_sweep, |until| until.min(next_sweep));
            self.round(wake_at.saturating_duration_since(Instant::now()), &mut ready);
            if self.now >= next_sweep {
                self.sweep();
                next_sweep = self.now + if self.resting.is_empty() { IDLE_SWEEP } else { SWEEP };
            }
            if self.paused_until.is_some_and(|until| until <= self.now) {
                self.paused_until = self.listen().err().map(|_| self.now + ACCEPT_PAUSE);
            }
        }
        self.drain(&mut ready);
        self.end();
    }

    /// Waits, and serves what is ready. Returns the number of events.
    fn round(&mut self, wait: Duration, ready: &mut Vec<u64>) -> usize {
        self.epoll.wait(wait, ready);
        let count = ready.len();
        self.now = Instant::now();
        self.driver.responder.writer.set_time(SystemTime::now());
        for token in ready.drain(..) {
            match token {
                WAKE => self.take_arrivals(),
                LISTENERS.. => self.accept(token),
                key => self.go_on_with(usize::try_from(key).unwrap_or(usize::MAX)),
            }
        }
        self.driver.responder.writer.flush_log();
        self.handle.set_resting(self.resting.len());
        count
    }

    fn take_arrivals(&mut self) {
        linux::lower(&self.handle.event);
        while let Ok(arrival) = self.arrivals.try_recv() {
            let (mut connection, learned) = match arrival {
                Arrival::Connection { connection, learned } => (*connection, learned),
                Arrival::Certificates(tls) => {
                    self.tls = tls;
                    continue;
                }
            };
            self.away.remove(&connection.id);
            self.driver.responder.learn(learned);
            if connection.can_go_on() {
                self.serve_new(connection);
            } else if self.may_rest(&mut connection) {
                self.rest(connection);
            }
        }
    }

    /// Accepts what has come, and serves each connection at once, because its request has usually arrived too.
    fn accept(&mut self, token: u64) {
        let shared = Arc::clone(&self.shared);
        let index = usize::try_from(token - LISTENERS).unwrap_or(usize::MAX);
        let Some(listener) = shared.listeners.get(index) else { return };
        for _ in 0..ACCEPTS_MAX {
            let (stream, visitor) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {
                    continue;
                }
                // The socket was shut down.
                Err(_) if self.driver.responder.is_stopping() => return,
                Err(error) => {
                    if is_due(&mut self.cannot_accept_notice, self.now) {
                        tracing::warn!(target: "acceptor", %error, "cannot accept connections; trying again");
                    }
                    self.stop_listening();
                    self.paused_until = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
            };
            let gate = match visitor.door {
                Door::Public | Door::Tls => &shared.gate,
                Door::Admin => &shared.admin_gate,
            };
            match gate.enter(visitor.ip()) {
                Ok(place) => {
                    self.count(|counts| &counts.accepted);
                    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
                    let transport = match visitor.door {
                        Door::Public | Door::Admin => Ok(Transport::plain(stream)),
                        Door::Tls => Transport::tls(stream, &self.tls),
                    };
                    // The system has no randomness for it. The next connection may find some.
                    let Ok(transport) = transport else { continue };
                    let connection = Connection::new(id, transport, visitor, place, self.now);
                    if shared.http_threads {
                        self.hand_over_whole(connection);
                    } else {
                        self.serve_new(connection);
                    }
                }
                Err(full) => self.turn_away(stream, visitor, full),
            }
        }
    }

    fn stop_listening(&self) {
        for listener in &self.shared.listeners {
            self.epoll.delete(listener);
        }
    }

    fn count(&self, of: impl Fn(&WebCounts) -> &Count) {
        of(&self.driver.responder.writer.counts).add(1);
    }

    fn turn_away(&mut self, stream: TcpStream, visitor: Visitor, full: Full) {
        self.count(|counts| &counts.turned_away);
        let mut transport = Transport::plain(stream);
        // If the request arrives after the response, closing the connection resets it, and the client may not see the response.
        // So a limited number of these connections is kept open for a moment.
        if self.driver.turn_away(&mut transport, visitor)
            && let Ok(place) = self.shared.leaving_gate.enter(None)
        {
            let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
            let mut connection = Connection::new(id, transport, visitor, place, self.now);
            if connection.linger(self.now) {
                self.rest(connection);
            }
        }
        if is_due(&mut self.turned_away_notice, self.now) {
            let open = self.shared.gate.open();
            tracing::warn!(target: "acceptor", %visitor, open, %full, "connections are refused");
        }
    }

    fn serve_new(&mut self, mut connection: Connection) {
        match self.driver.go_on(&mut connection, self.now) {
            Verdict::Rest if !self.may_rest(&mut connection) => {}
            Verdict::Rest => match self.better_poller(&connection) {
                Some(poller) => poller.send(connection, Vec::new()),
                None => self.rest(connection),
            },
            Verdict::Close => {}
            Verdict::Wait => self.hand_over(connection),
            Verdict::Peer => self.hand_over_peer(connection),
        }
    }

    fn go_on_with(&mut self, key: usize) {
        // It may have ended in this round.
        let Some(connection) = self.resting.get_mut(key) else { return };
        let watched_for = connection.ready_for();
        let verdict = self.driver.go_on(connection, self.now);
        let is_ending = self.driver.responder.is_stopping() && connection.is_idle();
        match verdict {
            Verdict::Rest if is_ending && !connection.linger(self.now) => {
                self.resting.remove(key);
            }
            Verdict::Rest => {
                let ready_for = connection.ready_for();
                if ready_for != watched_for {
                    if self.epoll.change(&connection.transport, key as u64, ready_for).is_err() {
                        self.resting.remove(key);
                    }
                } else if connection.requests % STEER_REQUESTS == 0 {
                    self.steer(key);
                }
            }
            Verdict::Close => {
                self.resting.remove(key);
            }
            Verdict::Wait => {
                let connection = self.leave(key);
                self.hand_over(connection);
            }
            Verdict::Peer => {
                let connection = self.leave(key);
                self.hand_over_peer(connection);
            }
        }
    }

    /// Whether a connection that was just served rests; otherwise it is closed. While the server ends, an idle connection
    /// lingers: its client may be sending the next request, and then closing the connection would reset it.
    fn may_rest(&self, connection: &mut Connection) -> bool {
        !self.driver.responder.is_stopping() || !connection.is_idle() || connection.linger(self.now)
    }

    /// Lets a connection wait until its client has written, or has read.
    fn rest(&mut self, connection: Connection) {
        let entry = self.resting.vacant_entry();
        // If the system has no memory for it the connection is closed.
        if self.epoll.add(&connection.transport, entry.key() as u64, connection.ready_for()).is_ok() {
            entry.insert(connection);
        }
    }

    fn leave(&mut self, key: usize) -> Connection {
        let connection = self.resting.remove(key);
        self.epoll.delete(&connection.transport);
        connection
    }

    fn steer(&mut self, key: usize) {
        if let Some(poller) = self.better_poller(&self.resting[key]) {
            let connection = self.leave(key);
            poller.send(connection, Vec::new());
        }
    }

    /// The poller on the processor that handles the packets of a connection. `None` if that is this one, or if it has more
    /// than twice its share, because some network cards send all packets to one processor.
    fn better_poller(&self, connection: &Connection) -> Option<PollerHandle> {
        if self.driver.responder.is_stopping() {
            return None;
        }
        let cpu = linux::incoming_cpu(&connection.transport)
            .filter(|cpu| self.cpu.is_some_and(|own| own != *cpu))?;
        let poller = self.shared.by_cpu.get(&cpu)?;
        let share = self.shared.gate.open() / self.shared.by_cpu.len();
        (poller.resting() <= 2 * share + STEER_FREELY).then(|| poller.clone())
    }

    /// Gives a connection whose response has to wait to a session.
    fn hand_over(&mut self, connection: Connection) {
        self.count(|counts| &counts.waited);
        self.note_away(connection.id, connection.transport.socket(), false);
        self.pool.start(Job::Answer(Box::new(connection), self.handle.clone()));
    }

    /// Gives a new connection to a session for as long as it lasts.
    fn hand_over_whole(&mut self, connection: Connection) {
        self.note_away(connection.id, connection.transport.socket(), false);
        self.pool.start(Job::Connection(Box::new(connection), self.handle.clone()));
    }

    fn hand_over_peer(&mut self, connection: Connection) {
        let (id, socket) = (connection.id, Arc::clone(connection.transport.socket()));
        match PeerJob::new(connection) {
            Ok(job) => {
                self.note_away(id, &socket, true);
                self.pool.start(Job::Peer(Box::new(job)));
            }
            Err(reason) => {
                self.count(|counts| &counts.turned_away);
                if is_due(&mut self.turned_away_notice, self.now) {
                    tracing::warn!(target: "acceptor", reason, "a peer is turned away");
                }
            }
        }
    }

    /// Notes a connection that is with a session. Forgets closed ones when they are the majority.
    fn note_away(&mut self, id: SessionId, socket: &Arc<TcpStream>, is_peer: bool) {
        if self.away.len() > 2 * self.shared.gate.open() + 64 {
            self.away.retain(|_, away| away.stream.strong_count() > 0);
        }
        self.away.insert(id, Away { stream: Arc::downgrade(socket), is_peer });
    }

    /// Ends connections whose deadline has passed, and frees memory.
    fn sweep(&mut self) {
        let (now, driver) = (self.now, &mut self.driver);
        self.resting.retain(|_, connection| !driver.end_if_late(connection, now));
        self.resting.shrink_to_fit();
        self.driver.responder.drop_revoked();
    }

    /// Completes what has begun: peers see the end of their connection, and responses in progress are the last ones.
    fn drain(&mut self, ready: &mut Vec<u64>) {
        let deadline = Instant::now() + DRAIN;
        self.away.values().filter(|away| away.is_peer).for_each(|away| away.shut_down(Shutdown::Read));
        // Requests and connections that have arrived would be lost in a reset.
        while self.round(Duration::ZERO, ready) == linux::EVENTS_MAX && Instant::now() < deadline {}
        self.stop_listening();
        self.shared.listeners.iter().for_each(Listener::refuse);
        loop {
            let now = self.now;
            self.resting.retain(|_, connection| !connection.is_idle() || !connection.end(now));
            self.sweep();
            let sessions_have_ended = self.away.values().all(|away| away.stream.strong_count() == 0);
            if self.now >= deadline || (self.resting.is_empty() && sessions_have_ended) {
                return;
            }
            self.round(DRAIN_LOOK.min(deadline.saturating_duration_since(self.now)), ready);
        }
    }

    /// Waits for the threads of sessions, and closes their connections if they do not end.
    fn end(self) {
        let Self { shared, arrivals, pool, mut driver, mut resting, away, .. } = self;
        resting.iter_mut().for_each(|(_, connection)| driver.cut(connection));
        driver.responder.writer.flush_log();
        // Connections that sessions return from now on are closed.
        drop((arrivals, pool, driver, resting));
        let have_ended = |wait| shared.all_ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        if away.values().all(|away| away.stream.strong_count() == 0) && have_ended(DRAIN) {
            return;
        }
        tracing::warn!(target: "acceptor", "some sessions did not end in time; their connections are closed");
        away.values().for_each(|away| away.shut_down(Shutdown::Both));
        if !have_ended(CUT_OFF) {
            tracing::error!(target: "acceptor", "some sessions do not end; the server does not wait for them any longer");
        }
    }
}

/// Whether a warning that was logged at `last` may be logged again. If so, `last` becomes `now`.
fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = last.is_none_or(|last| now - last >= NOTICE_INTERVAL);
    if is_due {
        *last = Some(now);
    }
    is_due
}

/// A connection that is with a session.
struct Away {
    stream: Weak<TcpStream>,
    /// Whether its session ends at the end of the stream. An HTTP session checks by itself whether the server ends.
    is_peer: bool,
}

impl Away {
    fn shut_down(&self, how: Shutdown) {
        if let Some(stream) = self.stream.upgrade() {
            // Fails only when the connection has ended by itself.
            let _ = stream.shutdown(how);
        }
    }
}
