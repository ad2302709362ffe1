//! A client without manners: it speaks the protocol byte by byte, and may say what no peer would.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use wire::card::Card;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::keys::{EncryptionKey, IdentityKey, Purpose};
use wire::protocol::{ErrorCode, ServerId, ToPeer, ToServer, join_proof_text};

use crate::PATIENCE;

/// Small, so that they are made quickly; the server accepts them.
const KEY_BITS: usize = 2048;

/// Somebody with keys and a card.
pub struct Character {
    /// Signs for them.
    pub identity: IdentityKey,
    /// Their card.
    pub card: Card,
}

impl Character {
    /// Somebody new called `name`.
    ///
    /// # Panics
    /// When `name` is no name.
    pub fn new(name: &str) -> Self {
        let mut rng = rand::rng();
        let identity = IdentityKey::generate(KEY_BITS, &mut rng).expect("the size is a good one");
        let encryption = EncryptionKey::generate(KEY_BITS, &mut rng).expect("the size is a good one");
        let name = name.parse().expect("scenarios use good names");
        let card = Card::issue(name, &identity, encryption.public(), 1_000_000, &mut rng);
        Self { identity, card }
    }

    /// The message with which they join the server that has said this hello.
    pub fn join(&self, nonce: &[u8; 32], server: &ServerId) -> ToServer<'static> {
        let card = self.card.as_bytes().to_vec();
        let text = join_proof_text(nonce, server, &card);
        let proof = self.identity.sign(Purpose::Join, &text, &mut rand::rng());
        ToServer::Join { card, proof }
    }
}

/// A connection to a server.
pub struct RawConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What the server wants signed.
    pub nonce: [u8; 32],
    /// Which server it is.
    pub server: ServerId,
}

impl RawConnection {
    /// Connects, says the preface and hears the hello.
    ///
    /// # Panics
    /// When there is no server, or it says something else.
    pub fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.write_all(&PREFACE).expect("the server reads");
        let mut raw = Self { stream, buffer: Vec::new(), nonce: [0; 32], server: [0; 16] };
        let body = raw.next().expect("the server greets");
        match ToPeer::decode(&body) {
            Ok(ToPeer::Hello { nonce, server }) => (raw.nonce, raw.server) = (nonce, server),
            other => panic!("the server greets with {other:?}"),
        }
        raw
    }

    /// Connects and joins.
    ///
    /// # Panics
    /// When the server does not let them in.
    pub fn join(address: SocketAddr, character: &Character) -> Self {
        let mut raw = Self::open(address);
        raw.say(&character.join(&raw.nonce, &raw.server));
        let body = raw.next().expect("the server answers");
        assert!(matches!(ToPeer::decode(&body), Ok(ToPeer::Welcome { .. })), "{:?}", ToPeer::decode(&body));
        raw
    }

    /// Sends a message.
    pub fn say(&mut self, message: &ToServer<'_>) {
        self.say_bytes(&frame::frame(message));
    }

    /// Sends any bytes. A server that has had enough does not read them, and says why.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says nothing more.
    pub fn end(&mut self) {
        // A server that is gone hears nothing.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The body of the next frame, or `None` at the end of the connection.
    ///
    /// # Panics
    /// When nothing comes, or a part of a frame.
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

    /// Checks that the server ends the connection with this error, as its last frame.
    ///
    /// # Panics
    /// When it does not.
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
