//! A raw protocol client, which can send messages that a real peer never would.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::keys::{EncryptionKey, EncryptionPublic, IdentityKey, Purpose};
use wire::protocol::{ErrorCode, Greeting, Side, ToPeer, ToServer, join_proof_text};

use crate::{PATIENCE, keys};

/// Small, because generating larger keys takes long; the server accepts this size.
const KEY_BITS: usize = 2048;

/// An identity with its card.
pub struct Character {
    /// The identity key.
    pub identity: IdentityKey,
    /// The contact card.
    pub card: Card,
}

impl Character {
    /// A new identity with this name.
    ///
    /// # Panics
    /// `name` is not a valid name.
    pub fn new(name: &str) -> Self {
        let (identity, encryption) = match keys::next() {
            Some(pems) => (
                IdentityKey::from_pem(pems.identity, None).expect("the file has keys"),
                EncryptionKey::from_pem(pems.encryption, None).expect("the file has keys"),
            ),
            None => (
                IdentityKey::generate(KEY_BITS, &mut rand::rng()).expect("the size is a good one"),
                EncryptionKey::generate(KEY_BITS, &mut rand::rng()).expect("the size is a good one"),
            ),
        };
        Self::with_keys(name, identity, encryption.public())
    }

    /// The same keys under another name, because making keys takes long.
    ///
    /// # Panics
    /// `name` is not a valid name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self::with_keys(name, self.identity.clone(), &self.card.encryption)
    }

    fn with_keys(name: &str, identity: IdentityKey, encryption: &EncryptionPublic) -> Self {
        let name = name.parse().expect("scenarios use good names");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs();
        let term = Term::starting(now, CARD_VALID_SECONDS_MAX, None);
        let card = Card::issue(name, &identity, encryption, term, &mut rand::rng());
        Self { identity, card }
    }

    /// The `Join` message for the server that has sent this greeting.
    pub fn join(&self, greeting: &Greeting) -> ToServer<'static> {
        let card = self.card.as_bytes().to_vec();
        let text = join_proof_text(greeting, &card, None);
        let proof = self.identity.sign(Purpose::Join, &text, &mut rand::rng());
        ToServer::Join { card, proof, invitation: None }
    }
}

/// A connection to a server.
pub struct RawConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The greeting of the server.
    pub greeting: Greeting,
}

impl RawConnection {
    /// Connects, sends the preface and reads the `Hello`.
    ///
    /// # Panics
    /// There is no server, or it sends something else.
    pub fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream.write_all(&PREFACE).expect("the server reads");
        let mut raw = Self { stream, buffer: Vec::new(), greeting: Greeting::default() };
        let body = raw.next().expect("the server greets");
        match ToPeer::decode(&body) {
            Ok(ToPeer::Hello(greeting)) => raw.greeting = greeting,
            other => panic!("the server greets with {other:?}"),
        }
        raw
    }

    /// Connects and joins.
    ///
    /// # Panics
    /// The server refuses the join.
    pub fn join(address: SocketAddr, character: &Character) -> Self {
        let mut raw = Self::open(address);
        raw.say(&character.join(&raw.greeting));
        let body = raw.next().expect("the server answers");
        assert!(matches!(ToPeer::decode(&body), Ok(ToPeer::Welcome { .. })), "{:?}", ToPeer::decode(&body));
        raw
    }

    /// Connects as one end of a transfer of the peer that has joined on this connection as `member`.
    ///
    /// # Panics
    /// When there is no server, or `member` is no name.
    pub fn splice(&self, member: &str, transfer: [u8; 16], side: Side) -> Self {
        self.splice_at(self.stream.peer_addr().expect("it is connected"), member, transfer, side)
    }

    /// The same at another address of the server.
    ///
    /// # Panics
    /// As [`RawConnection::splice`].
    pub fn splice_at(&self, address: SocketAddr, member: &str, transfer: [u8; 16], side: Side) -> Self {
        let mut end = Self::open(address);
        let member = member.parse().expect("scenarios use good names");
        end.say(&ToServer::Splice { transfer, side, member, token: self.greeting.nonce });
        end
    }

    /// Sends a message.
    pub fn say(&mut self, message: &ToServer<'_>) {
        self.say_bytes(&frame::frame(message));
    }

    /// Sends any bytes. Ignores errors, because a server may refuse before it has read everything.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Closes the sending direction.
    pub fn end(&mut self) {
        // The server may have closed the connection already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends any bytes, or as many as possible within a time. Returns false if the server has closed the connection.
    ///
    /// # Panics
    /// When the system sets no timeout.
    pub fn try_say_bytes(&mut self, bytes: &[u8], timeout: Duration) -> bool {
        self.stream.set_write_timeout(Some(timeout)).expect("it is not zero");
        match self.stream.write_all(bytes) {
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(()) => true,
        }
    }

    /// A second handle to the connection, for a thread that reads.
    ///
    /// # Panics
    /// When there is no descriptor left.
    #[must_use]
    pub fn second_handle(&self) -> Self {
        let stream = self.stream.try_clone().expect("there are descriptors");
        Self { stream, buffer: self.buffer.clone(), greeting: self.greeting }
    }

    /// The connection itself, which must have nothing that was read and not taken.
    ///
    /// # Panics
    /// There is such a rest.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty(), "nothing comes unasked after the welcome");
        self.stream
    }

    /// Ends the connection in both directions.
    pub fn close(&mut self) {
        // The server may have closed it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads and drops bytes, which need not be frames, until the connection ends.
    pub fn drop_bytes(&mut self) {
        while matches!(self.stream.read(&mut [0; 65_536]), Ok(1..)) {}
    }

    /// All bytes until the end of the connection.
    ///
    /// # Panics
    /// It breaks.
    pub fn rest(mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.buffer).expect("the connection does not break");
        self.buffer
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes, or a bad one.
    pub fn next_message(&mut self) -> ToPeer<'static> {
        let body = self.next().expect("the server sends a message");
        ToPeer::decode(body.leak()).expect("the server sends good messages")
    }

    /// The body of the next frame, or `None` at the end of the connection.
    ///
    /// # Panics
    /// Nothing arrives, or only a part of a frame.
    #[expect(clippy::should_implement_trait, reason = "it blocks and panics")]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let split = frame::split(&self.buffer, BODY_BYTES_MAX).expect("the server sends good frames");
            if let Some(body) = split.map(<[u8]>::to_vec) {
                self.buffer.drain(..LENGTH_BYTES + body.len());
                return Some(body);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the server ends within a frame");
                    return None;
                }
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(e) => panic!("the server neither answers nor ends the connection: {e}"),
            }
        }
    }

    /// Whether the server sends anything, or ends the connection, within `timeout`.
    ///
    /// # Panics
    /// The timeout is zero.
    pub fn hears_within(&self, timeout: Duration) -> bool {
        self.stream.set_read_timeout(Some(timeout)).expect("it is not zero");
        let is_there = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        is_there
    }

    /// Checks that the last frame before the end of the connection is this error.
    ///
    /// # Panics
    /// It is not.
    #[track_caller]
    pub fn expect_error(&mut self, expected: ErrorCode) {
        let mut last = None;
        while let Some(body) = self.next() {
            if let Ok(ToPeer::Error { code, detail }) = ToPeer::decode(&body) {
                assert!(!detail.is_empty(), "an error says what is wrong");
                last = Some(code);
            } else {
                assert_eq!(last, None, "an error is the last frame");
            }
        }
        assert_eq!(last, Some(expected));
    }
}
