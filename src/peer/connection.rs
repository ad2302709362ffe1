//! The connection to the server: dials, joins, reads and writes, and dials again when the connection breaks.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, Sender, bounded};
use socket2::{SockRef, TcpKeepalive};
use wire::escape::Escaped;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::invitation::{Invitation, KnownProof};
use wire::protocol::{ChannelBinding, ErrorCode, Greeting, ToPeer, ToServer};

use super::access::{Access, ConnectError, Server};
use super::engine::Net;
use super::runner::{Joining, Message};
use crate::stream::Stream;
use crate::tls::HandshakeError;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long the server may take for each answer while this peer joins. Messages that wait must go within 5 seconds after a
/// server that hangs has been replaced, so this is shorter. A server under load may take longer, and is dialled again.
const JOIN_ANSWER_WAIT: Duration = Duration::from_secs(4);
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// The first pause before dialling again, and the longest. Each failure doubles the pause.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_millis(1600);
/// A session that ends sooner counts as a failure, because it may end for the same reason each time.
const SESSION_SHORT: Duration = Duration::from_secs(10);
/// How long the server may take to read the last bytes when this peer ends.
const FINISH_WAIT: Duration = Duration::from_secs(3);
const KEEPALIVE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 << 10;
/// The capacity of the writer's queue, in batches of frames.
const OUTGOING_MAX: usize = 1024;

/// Why there is no session.
enum NoSession {
    /// The server cannot be reached. Another attempt follows.
    Unreachable(String),
    /// It is not the server that this peer knows by this address. Another attempt follows.
    Unproven(String),
    /// The server has refused this peer.
    Refused(ErrorCode, String),
    /// This peer ends.
    Stopped,
}

/// The thread that keeps a connection to the server.
pub(super) struct Connection {
    stop: Arc<AtomicBool>,
    /// Dropping it ends the wait between two attempts.
    wake: Option<Sender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// Writes to one connection, on a thread of its own.
pub(super) struct Writer {
    frames: Option<Sender<Vec<u8>>>,
    stream: Arc<Stream>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(stream: Arc<Stream>) -> io::Result<Self> {
        let (frames, waiting) = bounded::<Vec<u8>>(OUTGOING_MAX);
        let out = Arc::clone(&stream);
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
            for bytes in waiting {
                if (&*out).write_all(&bytes).is_err() {
                    // The reader notices it and reports that the connection is lost.
                    let _ = out.socket().shutdown(Shutdown::Both);
                    return;
                }
            }
        })?;
        Ok(Self { frames: Some(frames), stream, thread: Some(thread) })
    }

    /// Ends the connection without waiting for what is queued. The reader then reports that it is lost.
    pub(super) fn abort(self) {
        let _ = self.stream.socket().shutdown(Shutdown::Both);
    }

    /// Queues bytes. If the connection is lost, they are lost with it.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        if let Some(frames) = &self.frames {
            let _ = frames.send(bytes);
        }
    }
}

impl Drop for Writer {
    /// Writes what is queued, and then closes the sending side.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.stream.end_writing();
    }
}

impl Connection {
    /// `servers` are used in turn: when one ends or cannot be reached, the next one.
    pub(super) fn start(servers: Vec<Access>, runner: Sender<Message>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = bounded(0);
        let (ending, ended) = bounded(0);
        let dialler = Dialler { servers, runner, stop: Arc::clone(&stop), woken };
        let thread = std::thread::Builder::new().name("connection".into()).spawn(move || {
            dialler.run();
            drop(ending);
        })?;
        Ok(Self { stop, wake: Some(wake), ended, thread: Some(thread) })
    }

    /// Ends the connection. Queued bytes are still sent, unless that takes too long.
    pub(super) fn finish(mut self, writer: Option<Writer>) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake = None;
        if writer.is_none() {
            return;
        }
        drop(writer);
        // Nothing is ever sent over this channel. It closes when the thread ends.
        let in_time =
            self.ended.recv_timeout(FINISH_WAIT) != Err(crossbeam_channel::RecvTimeoutError::Timeout);
        if let (Some(thread), true) = (self.thread.take(), in_time) {
            let _ = thread.join();
        }
    }
}

struct Dialler {
    servers: Vec<Access>,
    runner: Sender<Message>,
    stop: Arc<AtomicBool>,
    woken: Receiver<()>,
}

impl Dialler {
    fn run(&self) {
        let mut pause = RETRY_FIRST;
        let (mut failures, mut unproven) = (Vec::new(), Vec::new());
        for access in self.servers.iter().cycle() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let begun = Instant::now();
            let ended = self.session(access, &mut unproven);
            if ended.is_ok() && begun.elapsed() >= SESSION_SHORT {
                pause = RETRY_FIRST;
            }
            // Varies the pause, so that peers that were interrupted together do not return together.
            let mut retry = pause.mul_f64(rand::random_range(0.75..1.25));
            if ended.is_err() {
                // An attempt that has waited for the server in vain was a pause already.
                retry = retry.saturating_sub(begun.elapsed());
            }
            if let Err(NoSession::Unproven(why)) = &ended {
                unproven.push(why.clone());
            }
            let net = match ended {
                Ok(()) => Net::Lost(retry),
                Err(NoSession::Unreachable(why) | NoSession::Unproven(why)) => {
                    failures.push(why);
                    // Commands may fail only if no server can be reached.
                    if failures.len() < self.servers.len() {
                        continue;
                    }
                    Net::Unreachable(failures.join("; "), retry)
                }
                Err(NoSession::Refused(code, detail)) => {
                    let passes = !matches!(
                        code,
                        ErrorCode::NameTaken | ErrorCode::Superseded | ErrorCode::NotAdmitted
                    );
                    self.say(Net::Refused(code, detail));
                    if !passes {
                        return;
                    }
                    Net::Lost(retry)
                }
                Err(NoSession::Stopped) => return,
            };
            failures.clear();
            unproven.clear();
            self.say(net);
            if self.woken.recv_timeout(retry) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return;
            }
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }

    fn say(&self, net: Net) {
        // Fails only when the runner has ended.
        let _ = self.runner.send(Message::net(net));
    }

    /// One connection, from dialling to its end. If the server answers, this peer reports `unproven`: why servers before it are
    /// not those that this peer knows.
    fn session(&self, access: &Access, unproven: &mut Vec<String>) -> Result<(), NoSession> {
        let unreachable = |e: io::Error| {
            NoSession::Unreachable(format!(
                "no server at {}: {e}; start it with `cargo run --bin server` or name another with --server",
                access.address
            ))
        };
        let (stream, server) = access.connect(CONNECT_WAIT).map_err(|error| match error {
            ConnectError::Socket(error) => unreachable(error),
            ConnectError::Handshake(error) => no_tls(access, &error),
        })?;
        prepare(&stream).map_err(unreachable)?;
        let stream = Arc::new(stream);
        let mut reader = Reader::new(Arc::clone(&stream));
        let joined = self.join(&stream, &mut reader, server);
        if matches!(joined, Ok(_) | Err(NoSession::Refused(..))) && !unproven.is_empty() {
            let report = Message::Unproven(std::mem::take(unproven));
            self.runner.send(report).map_err(|_| NoSession::Stopped)?;
        }
        let greeting = joined?;
        let writer = Writer::start(Arc::clone(&stream)).map_err(unreachable)?;
        let socket = stream.socket();
        let address = socket.peer_addr().map(|address| {
            if access.address.is_tls { format!("tls:{address}") } else { address.to_string() }
        });
        let address = address.unwrap_or_else(|_| access.address.to_string());
        let local = socket.local_addr().map_err(unreachable)?.ip();
        self.runner
            .send(Message::Joined { greeting, address, local, writer })
            .map_err(|_| NoSession::Stopped)?;
        // From here on silence is no error. The engine's pings, and TCP keep-alive, detect a dead connection.
        socket.set_read_timeout(None).map_err(unreachable)?;
        loop {
            let mut bodies = Vec::new();
            while let Some(body) = reader.next().map_err(malformed)? {
                bodies.push(body);
            }
            if !bodies.is_empty() && !self.stop.load(Ordering::SeqCst) {
                self.runner.send(Message::net(Net::Frames(bodies))).map_err(|_| NoSession::Stopped)?;
            }
            match reader.read() {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// Joins the server. Returns its greeting.
    fn join(&self, mut stream: &Stream, reader: &mut Reader, server: Server) -> Result<Greeting, NoSession> {
        let address = server.access.address.clone();
        let not_joined = |why: String| {
            NoSession::Unreachable(format!(
                "{address} does not let this peer in: {why}; check that it is a Switchboard server"
            ))
        };
        let broken = |e: io::Error| not_joined(e.to_string());
        let binding = stream.channel_binding().map_err(broken)?;
        stream.write_all(&PREFACE).map_err(broken)?;
        let mut next = || {
            let body = reader.wait(Instant::now() + JOIN_ANSWER_WAIT).map_err(broken)?;
            match ToPeer::decode(&body) {
                Ok(ToPeer::Hello(greeting)) => Ok(First::Hello(greeting)),
                Ok(ToPeer::Invited { proof }) => Ok(First::Invited(proof)),
                Ok(ToPeer::Welcome { proof, .. }) => Ok(First::Welcome(proof)),
                Ok(ToPeer::Error { code, detail }) => Err(refused(code, &detail, binding.as_ref())),
                _ => Err(not_joined("it does not speak this protocol".into())),
            }
        };
        let First::Hello(greeting) = next()? else {
            return Err(not_joined("it did not ask for a proof of the key".into()));
        };
        let (reply, join) = bounded(1);
        self.runner
            .send(Message::Join { greeting, server, binding, reply })
            .map_err(|_| NoSession::Stopped)?;
        let joining = join.recv().map_err(|_| NoSession::Stopped)?.map_err(NoSession::Unproven)?;
        let Joining { message, asks_for } = joining;
        stream.write_all(&frame::frame(&message)).map_err(broken)?;
        let answer = next();
        if let Some(why) = asks_for.and_then(|asked| does_not_know(&answer, &asked)) {
            let key = greeting.key.fingerprint();
            return Err(NoSession::Unreachable(match why {
                NotKnown::Unproven => format!(
                    "{address} is not the server that the invitation is for: its key is {key}, and it has not proved that \
                     it knows the invitation; check the address"
                ),
                NotKnown::Refused(detail) => format!(
                    "{address} does not accept the invitation: {detail}; unless it belongs to the cluster that the invitation \
                     is for, check the address, because its key {key} is not the one that the invitation names"
                ),
            }));
        }
        let answer = match answer? {
            First::Invited(_) => next()?,
            other => other,
        };
        match (answer, &message) {
            (First::Welcome(shown), ToServer::Join { proof, .. } | ToServer::JoinInvited { proof, .. })
                if greeting.key.verify_welcome(proof, &shown).is_ok() =>
            {
                Ok(greeting)
            }
            _ => Err(not_joined("it did not prove its own key".into())),
        }
    }
}

/// Sets the timeouts for joining, and finds out when the server's machine is gone.
fn prepare(stream: &Stream) -> io::Result<()> {
    let socket = stream.socket();
    socket.set_read_timeout(Some(JOIN_ANSWER_WAIT))?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

fn no_tls(access: &Access, why: &HandshakeError) -> NoSession {
    let advice = match why {
        HandshakeError::Certificate(_) => "check the address, and that --ca has the right certificates",
        HandshakeError::Other(_) => "check the address and the port",
    };
    NoSession::Unreachable(format!("no TLS connection to {}: {why}; {advice}", access.address))
}

/// An error of the server, escaped. For a bad proof over TLS it is not the server's text, because a server in the middle could
/// have replaced that.
fn refused(code: ErrorCode, detail: &str, binding: Option<&ChannelBinding>) -> NoSession {
    let detail = match (code, binding) {
        (ErrorCode::BadProof, Some(_)) => {
            "the server at the other end has another TLS connection than this peer: somebody in between has ended the \
             TLS connection and forwards what it receives, an attacker or a proxy; use a network and an address without it"
                .to_owned()
        }
        _ => Escaped(detail).to_string(),
    };
    NoSession::Refused(code, detail)
}

/// The first messages of a session, in which a peer joins.
enum First {
    Hello(Greeting),
    Invited(KnownProof),
    Welcome(Vec<u8>),
}

/// What a server whose key an invitation does not name has made of it.
enum NotKnown {
    Unproven,
    /// It is another one, or the invitation is used up in their cluster.
    Refused(String),
}

/// Why a server does not know an invitation that names another key. None if it has proved that it knows it, or the connection broke.
fn does_not_know(
    answer: &Result<First, NoSession>,
    (invitation, text): &(Invitation, Vec<u8>),
) -> Option<NotKnown> {
    match answer {
        Ok(First::Invited(proof)) if invitation.is_known(text, proof) => None,
        Ok(_) => Some(NotKnown::Unproven),
        // Nobody knows yet who says that, so the next server is tried.
        Err(NoSession::Refused(ErrorCode::NotAdmitted | ErrorCode::UnknownKind, detail)) => {
            Some(NotKnown::Refused(detail.clone()))
        }
        Err(_) => None,
    }
}

fn malformed(bad: frame::BadFrame) -> NoSession {
    NoSession::Unreachable(format!("the server sent a bad frame: {bad}"))
}

/// Splits the stream into the bodies of frames, without copying them.
struct Reader {
    stream: Arc<Stream>,
    /// The first `filled` bytes have been read; the rest is zeros.
    buffer: BytesMut,
    filled: usize,
}

impl Reader {
    fn new(stream: Arc<Stream>) -> Self {
        Self { stream, buffer: BytesMut::zeroed(READ_BYTES), filled: 0 }
    }

    fn next(&mut self) -> Result<Option<Bytes>, frame::BadFrame> {
        let Some(body) = frame::split(&self.buffer[..self.filled], BODY_BYTES_MAX)? else {
            return Ok(None);
        };
        let length = body.len() + LENGTH_BYTES;
        self.filled -= length;
        Ok(Some(self.buffer.split_to(length).freeze().slice(LENGTH_BYTES..)))
    }

    fn read(&mut self) -> io::Result<usize> {
        let begun = match self.buffer[..self.filled].first_chunk::<LENGTH_BYTES>() {
            Some(length) => LENGTH_BYTES + u32::from_le_bytes(*length) as usize,
            None => 0,
        };
        if self.buffer.len() < begun.max(self.filled + READ_BYTES / 4) {
            let mut next = BytesMut::zeroed(READ_BYTES.max(begun).max(self.filled * 2));
            next[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = next;
        }
        loop {
            match (&*self.stream).read(&mut self.buffer[self.filled..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    self.filled += count;
                    return Ok(count);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Waits for the next body.
    fn wait(&mut self, deadline: Instant) -> io::Result<Bytes> {
        loop {
            if let Some(body) = self.next().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                return Ok(body);
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
