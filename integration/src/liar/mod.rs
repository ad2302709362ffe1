//! A hostile server: a proxy between peers and a real server that reads every frame, and alters, drops or forges what its
//! current lie says. Like a hostile server, it has no keys.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::protocol::{Envelope, Outcome, Refusal, ToPeer, ToServer};

use crate::{Character, PATIENCE};

/// What a hostile server can do to its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Forwards everything.
    None,
    /// Changes a byte of each sealed envelope.
    Alters,
    /// Drops envelopes to peers. The real server believes that the peer has taken them.
    Drops,
    /// Replaces each envelope by one that it has delivered before.
    Replays,
    /// Drops envelopes from peers, and reports them as stored.
    ClaimsStored,
    /// Drops envelopes from peers, and reports that the mailbox is full.
    Refuses,
    /// Does not report outcomes.
    WithholdsOutcomes,
    /// Does not answer lookups.
    WithholdsCards,
    /// Answers lookups with another card, which has the right name and a valid signature.
    ShowsOtherCards,
    /// Sends frames that cannot be decoded.
    SendsGarbage,
    /// Damages the frames of peers, so that the real server refuses them.
    DamagesFrames,
    /// Closes each connection at its first frame.
    Disconnects,
    /// Forwards nothing any more on its current connections, but keeps them open.
    Hangs,
}

/// A name that no peer has.
const NOBODY: &str = "nobody";
/// The number of envelopes that it keeps for replays.
const KEPT_MAX: usize = 16;
const READ_BYTES: usize = 64 << 10;

struct State {
    lie: Lie,
    /// How often it has lied since the lie was set.
    told: u64,
    other_card: Vec<u8>,
    /// Envelopes that it has delivered.
    kept: Vec<Vec<u8>>,
    streams: Vec<TcpStream>,
    is_over: bool,
}

/// A running liar; its connections end when it is dropped.
pub struct Liar {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Liar {
    /// Starts in front of `server`, and forwards everything at first. `impostor` has the card that it shows in place of others.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(server: SocketAddr, impostor: &Character) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State {
            lie: Lie::None,
            told: 0,
            other_card: impostor.card.as_bytes().to_vec(),
            kept: Vec::new(),
            streams: Vec::new(),
            is_over: false,
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if lock(&shared).is_over {
                    return;
                }
                if let Ok(server) = TcpStream::connect(server) {
                    connect(&shared, client, server);
                }
            }
        });
        Self { address, state }
    }

    /// Where peers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the lie.
    pub fn tells(&self, lie: Lie) {
        let mut state = lock(&self.state);
        (state.lie, state.told) = (lie, 0);
    }

    /// Waits until it has lied `times` times.
    ///
    /// # Panics
    /// It has not by the deadline.
    pub fn wait_for(&self, times: u64) {
        let deadline = Instant::now() + PATIENCE;
        while lock(&self.state).told < times {
            assert!(Instant::now() < deadline, "{:?}: no occasion to lie", lock(&self.state).lie);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        for stream in &state.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the thread from `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

/// One direction of a connection between a peer and the server.
struct Way {
    state: Arc<Mutex<State>>,
    from: TcpStream,
    to: TcpStream,
    /// Whether the peer is the receiver.
    is_to_peer: bool,
}

fn connect(state: &Arc<Mutex<State>>, client: TcpStream, server: TcpStream) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        lock(state).streams.extend(stream.try_clone());
    }
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    let there = Way { state: Arc::clone(state), from, to, is_to_peer: false };
    let back = Way { state: Arc::clone(state), from: server, to: client, is_to_peer: true };
    for way in [there, back] {
        std::thread::spawn(move || {
            if way.carry().is_err() {
                let _ = way.from.shutdown(Shutdown::Both);
            }
            // A connection that hangs stays open until the liar ends.
            let _ = way.to.shutdown(Shutdown::Write);
        });
    }
}

impl Way {
    /// Forwards frames until the connection ends.
    fn carry(&self) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut bytes = vec![0; READ_BYTES];
        let mut preface = if self.is_to_peer { 0 } else { PREFACE.len() };
        let mut hangs = false;
        loop {
            let count = (&self.from).read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&bytes[..count]);
            if preface > 0 && buffer.len() >= preface {
                (&self.to).write_all(&buffer[..preface])?;
                buffer.drain(..std::mem::take(&mut preface));
            }
            while preface == 0
                && let Ok(Some(body)) = frame::split(&buffer, BODY_BYTES_MAX)
            {
                let body = body.to_vec();
                buffer.drain(..LENGTH_BYTES + body.len());
                let mut state = lock(&self.state);
                hangs |= state.lie == Lie::Hangs;
                if hangs {
                    state.told += 1;
                    continue;
                }
                let said =
                    if self.is_to_peer { state.pass_to_peer(body) } else { state.pass_to_server(body) };
                drop(state);
                for body in said? {
                    let length = u32::try_from(body.len()).expect("frames are short");
                    (&self.to).write_all(&[&length.to_le_bytes(), body.as_slice()].concat())?;
                }
            }
        }
    }
}

impl State {
    /// The bodies to send to the peer in place of this one.
    fn pass_to_peer(&mut self, mut body: Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
        let said = match (self.lie, ToPeer::decode(&body)) {
            (Lie::Disconnects, _) => {
                self.told += 1;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            // An invalid first frame would only show the peer that this is not a server.
            (Lie::SendsGarbage, Ok(message)) if !matches!(message, ToPeer::Hello { .. }) => {
                Some(vec![vec![250, 1, 2, 3]])
            }
            (lie, Ok(ToPeer::Envelope(envelope))) => self.envelope_to_peer(lie, &envelope),
            (Lie::ClaimsStored, Ok(ToPeer::Routed { first, count, .. })) => {
                Some(vec![frame::body(&ToPeer::Routed { first, count, outcome: Outcome::Stored })])
            }
            (Lie::Refuses, Ok(ToPeer::Routed { first, count, .. })) => {
                let outcome = Outcome::Refused(Refusal::MailboxFull);
                Some(vec![frame::body(&ToPeer::Routed { first, count, outcome })])
            }
            (Lie::WithholdsOutcomes, Ok(ToPeer::Routed { .. }))
            | (Lie::WithholdsCards, Ok(ToPeer::Card { .. } | ToPeer::Unknown { .. })) => Some(Vec::new()),
            (Lie::ShowsOtherCards, Ok(ToPeer::Card { .. })) => {
                Some(vec![frame::body(&ToPeer::Card { card: self.other_card.clone() })])
            }
            _ => None,
        };
        if let Some(said) = said {
            self.told += 1;
            return Ok(said);
        }
        if self.lie == Lie::Alters && wire::protocol::decode_envelope(&body).is_some() {
            self.told += 1;
            // The sealed bytes are at the end.
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
        }
        Ok(vec![body])
    }

    fn envelope_to_peer(&mut self, lie: Lie, envelope: &Envelope<'_>) -> Option<Vec<Vec<u8>>> {
        let body = frame::body(&ToPeer::Envelope(envelope.clone()));
        match lie {
            Lie::Drops => {
                // Peers count envelopes, so it sends one for another recipient.
                Some(vec![frame::body(&ToPeer::Envelope(Envelope { to: NOBODY, ..envelope.clone() }))])
            }
            Lie::Replays if !self.kept.is_empty() => {
                let at = usize::try_from(self.told).unwrap_or(0) % self.kept.len();
                Some(vec![self.kept[at].clone()])
            }
            _ => {
                if self.kept.len() < KEPT_MAX {
                    self.kept.push(body);
                }
                None
            }
        }
    }

    /// The bodies to send to the real server in place of this one.
    fn pass_to_server(&mut self, mut body: Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
        match (self.lie, ToServer::decode(&body)) {
            (Lie::ClaimsStored | Lie::Refuses, Ok(ToServer::Envelope(envelope))) => {
                self.told += 1;
                let envelope = Envelope { to: NOBODY, ..envelope };
                Ok(vec![frame::body(&ToServer::Envelope(envelope))])
            }
            (Lie::DamagesFrames, Ok(message)) if !matches!(message, ToServer::Join { .. }) => {
                self.told += 1;
                body[0] = 250;
                Ok(vec![body])
            }
            _ => Ok(vec![body]),
        }
    }
}
