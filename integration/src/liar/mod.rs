//! A hostile server: a proxy between peers and a real server that reads every frame, and alters, drops or forges what its
//! current lie says. Like a hostile server, it has no keys of peers. A member without scruples helps it.

mod conspirator;
mod lies;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::card::Card;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};

use conspirator::Conspirator;
use lies::{Line, State};

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
    /// Drops envelopes from peers, and does not report outcomes.
    Swallows,
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
    /// Drops the messages of peers, and forges receipts for them.
    ForgesReceipts,
    /// Replaces each envelope for a peer by one that the peer itself has sent, with the names exchanged.
    Reflects,
    /// Replaces each envelope by one of another sender to the same recipient, under the name of the first sender.
    Crosses,
    /// Sends many openings of ever new names, and complaints, with each frame that it forwards.
    Floods,
    /// Shows files that are for some peers only to everyone.
    ShowsLimitedFiles,
    /// Forwards nothing any more on its current connections, but keeps them open.
    Hangs,
    /// Forwards nothing until the lie ends, and then everything that has come meanwhile.
    Pauses,
}

const READ_BYTES: usize = 64 << 10;

/// A running liar; its connections end when it is dropped.
pub struct Liar {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Liar {
    /// Starts in front of `server`, and forwards everything at first. `impostor` has the card that it shows in place of others, and
    /// forges receipts under its name.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(server: SocketAddr, impostor: Character) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
        let address = listener.local_addr().expect("it is bound");
        let other_card = impostor.card.as_bytes().to_vec();
        let state = State::new(other_card, Conspirator::new(Character::new("Mallory"), impostor));
        let state = Arc::new(Mutex::new(state));
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

    /// Sets the card that it shows instead of others.
    pub fn shows(&self, card: &Card) {
        lock(&self.state).other_card = card.as_bytes().to_vec();
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
    /// The state of the peer's connection.
    line: Arc<Mutex<Line>>,
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
    let line = Arc::new(Mutex::new(Line::default()));
    let there = Way { state: Arc::clone(state), line: Arc::clone(&line), from, to, is_to_peer: false };
    let back = Way { state: Arc::clone(state), line, from: server, to: client, is_to_peer: true };
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
    fn wait_for_the_end_of_a_pause(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        if state.lie == Lie::Pauses {
            state.told += 1;
        }
        while state.lie == Lie::Pauses && !state.is_over {
            drop(state);
            std::thread::sleep(Duration::from_millis(10));
            state = lock(&self.state);
        }
        state
    }

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
                let mut state = self.wait_for_the_end_of_a_pause();
                hangs |= state.lie == Lie::Hangs;
                if hangs {
                    state.told += 1;
                    continue;
                }
                let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
                let said = if self.is_to_peer {
                    state.pass_to_peer(&mut line, body)
                } else {
                    state.pass_to_server(&mut line, body)
                };
                // Writing may block, and the other direction must go on meanwhile.
                drop((line, state));
                for body in said? {
                    let length = u32::try_from(body.len()).expect("frames are short");
                    (&self.to).write_all(&[&length.to_le_bytes(), body.as_slice()].concat())?;
                }
            }
        }
    }
}
