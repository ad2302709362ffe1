//! Sealing and opening under a conversation's keys.

use rsa::rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::opening::{BadOpening, Opening};
use crate::card::Card;
use crate::cipher::{Cipher, Nonce, TAG_BYTES};
use crate::conversation::{ConversationId, MessageId};
use crate::digest::{DIGEST_BYTES, Digest};
use crate::keys::{EncryptionKey, IdentityKey, NotAuthentic, Secret};
use crate::protocol::Kind;

/// Longest text of a message, in bytes: with its head and padding it fills 64 KiB.
pub const TEXT_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX - MESSAGE_HEAD_BYTES - 1;

const PLAINTEXT_BYTES_MAX: usize = 64 << 10;
/// Texts of up to 71 bytes, which most are, have ciphertexts of the same length.
const PLAINTEXT_BYTES_MIN: usize = 128;
/// In front of a text: the time at which it was written, its digest, and the message's id.
const MESSAGE_HEAD_BYTES: usize = 8 + DIGEST_BYTES + size_of::<MessageId>();
/// Ends the content; zeros follow (ISO/IEC 7816-4).
const PADDING_MARK: u8 = 0x80;

/// Why a sealed message was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it was opened before")]
    Again,
    #[error("earlier messages are missing; place {expected} is next")]
    Gap { expected: u64 },
    /// The opener did not seal these bytes for this place, kind and number.
    #[error("it does not verify")]
    NotAuthentic,
}

impl From<NotAuthentic> for Refused {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

/// The two keys of a conversation: one for messages, which must arrive completely and in order, and one for signals
/// (receipts, requests, answers), of which some may be lost.
struct Keys {
    id: ConversationId,
    messages: Cipher,
    signals: Cipher,
}

impl Keys {
    fn derive(id: ConversationId, secret: &Secret) -> Self {
        let key = |info| Cipher::derive(secret, &id.0, info);
        Self { id, messages: key(b"switchboard/1 messages"), signals: key(b"switchboard/1 signals") }
    }

    fn cipher(&self, kind: Kind) -> &Cipher {
        if kind == Kind::Message { &self.messages } else { &self.signals }
    }

    fn seal(&self, kind: Kind, number: u64, place: u64, plaintext: &[u8]) -> Vec<u8> {
        let associated_data = associated_data(self.id, kind, number);
        let ciphertext = self.cipher(kind).seal(nonce(place), &associated_data, plaintext);
        [self.id.0.as_slice(), &place.to_le_bytes(), &ciphertext].concat()
    }

    fn open(&self, kind: Kind, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (id, place, ciphertext) = sealed_parts(sealed).ok_or(NotAuthentic)?;
        if id != self.id {
            return Err(NotAuthentic);
        }
        let associated_data = associated_data(id, kind, number);
        self.cipher(kind).open(nonce(place), &associated_data, ciphertext).map(Zeroizing::new)
    }
}

fn nonce(place: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&place.to_be_bytes());
    nonce
}

fn associated_data(id: ConversationId, kind: Kind, number: u64) -> Vec<u8> {
    [id.0.as_slice(), &[kind as u8], &number.to_le_bytes()].concat()
}

/// Splits sealed bytes into conversation, place and ciphertext; `None` if they are too short.
pub fn sealed_parts(sealed: &[u8]) -> Option<(ConversationId, u64, &[u8])> {
    let (id, rest) = sealed.split_first_chunk::<DIGEST_BYTES>()?;
    let (place, ciphertext) = rest.split_first_chunk::<8>()?;
    Some((Digest(*id), u64::from_le_bytes(*place), ciphertext))
}

/// h(n) = SHA-256(h(n-1), sealed message n); h(0) is the conversation's id.
fn next_running_hash(hash: Digest, sealed: &[u8]) -> Digest {
    Digest::of_parts(&[&hash.0, sealed])
}

/// Concatenates the parts and pads them to a power of two, so that the length of a ciphertext says little about the text.
fn padded(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let content_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let padded_bytes = (content_bytes + 1).next_power_of_two().max(PLAINTEXT_BYTES_MIN);
    // The capacity is exact, because a Vec that grows leaves a copy of the plaintext that is not zeroized.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(padded_bytes));
    for part in parts {
        plaintext.extend_from_slice(part);
    }
    plaintext.push(PADDING_MARK);
    plaintext.resize(padded_bytes, 0);
    plaintext
}

fn unpad(padded: &[u8]) -> Result<&[u8], NotAuthentic> {
    let end = padded.iter().rposition(|b| *b != 0).ok_or(NotAuthentic)?;
    if padded[end] == PADDING_MARK { Ok(&padded[..end]) } else { Err(NotAuthentic) }
}

/// The opener's end of a conversation. It is never written to disk: a process that resumed it from an old state would use a
/// place, and so a nonce, twice.
pub struct Outgoing {
    opening: Opening,
    keys: Keys,
    messages_sealed: u64,
    signals_sealed: u64,
    running_hash: Digest,
}

/// A sealed message and what its sender needs to check the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedMessage {
    pub bytes: Vec<u8>,
    /// Its place in the conversation, from 0.
    pub place: u64,
    /// SHA-256 of the text.
    pub digest: Digest,
    /// The running hash over all messages up to and including this one.
    pub running_hash: Digest,
}

impl Outgoing {
    /// Opens a conversation to `recipient` at `now` (seconds since 1970). `first_number` is the smallest number of a
    /// message to this recipient that has no receipt yet.
    pub fn open(
        identity: &IdentityKey,
        sender: &Card,
        recipient: &Card,
        first_number: u64,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let (opening, secret) = Opening::issue(identity, sender, recipient, first_number, now, rng);
        let keys = Keys::derive(opening.id, &secret);
        Self { running_hash: opening.id, opening, keys, messages_sealed: 0, signals_sealed: 0 }
    }

    /// The opening, which the recipient must have before anything else.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    pub fn messages_sealed(&self) -> u64 {
        self.messages_sealed
    }

    /// Seals a text that was written at `sent_at` (seconds since 1970), at most [`TEXT_BYTES_MAX`] bytes long.
    pub fn seal_message(&mut self, number: u64, id: &MessageId, sent_at: u64, text: &str) -> SealedMessage {
        let digest = Digest::of(text.as_bytes());
        let plaintext = padded(&[&sent_at.to_le_bytes(), &digest.0, id, text.as_bytes()]);
        let place = self.messages_sealed;
        let bytes = self.keys.seal(Kind::Message, number, place, &plaintext);
        self.messages_sealed += 1;
        self.running_hash = next_running_hash(self.running_hash, &bytes);
        SealedMessage { bytes, place, digest, running_hash: self.running_hash }
    }

    /// Seals a receipt, a request or an answer.
    pub fn seal_signal(&mut self, kind: Kind, number: u64, content: &[u8]) -> Vec<u8> {
        debug_assert!(kind != Kind::Message, "messages have a key of their own");
        let place = self.signals_sealed;
        self.signals_sealed += 1;
        self.keys.seal(kind, number, place, &padded(&[content]))
    }
}

/// A message that was opened and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedMessage {
    pub id: MessageId,
    pub text: String,
    /// When it was written, by the sender's clock, in seconds since 1970.
    pub sent_at: u64,
    /// SHA-256 of the text, equal to the digest in the message.
    pub digest: Digest,
    /// Its place in the conversation.
    pub place: u64,
}

/// The acceptor's end of a conversation.
pub struct Incoming {
    keys: Keys,
    messages_opened: u64,
    signals_next: u64,
    running_hash: Digest,
}

impl Incoming {
    /// Accepts a conversation. `key` is the pair that [`Opening::recipient_key`] names. `resume` continues an earlier
    /// one: the number of messages opened, and the running hash over them.
    ///
    /// # Errors
    /// [`BadOpening::NotAuthentic`] when the key does not unwrap or is not the one committed to.
    pub fn accept(
        opening: &Opening,
        key: &EncryptionKey,
        resume: Option<(u64, Digest)>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BadOpening> {
        let secret = opening.unwrap_key(key, rng)?;
        let (messages_opened, running_hash) = resume.unwrap_or((0, opening.id));
        Ok(Self { keys: Keys::derive(opening.id, &secret), messages_opened, signals_next: 0, running_hash })
    }

    /// Number of messages opened so far, which is also the place of the next one.
    pub fn messages_opened(&self) -> u64 {
        self.messages_opened
    }

    pub fn running_hash(&self) -> Digest {
        self.running_hash
    }

    /// Opens the next message. If it is refused, nothing changes.
    pub fn open_message(&mut self, number: u64, sealed: &[u8]) -> Result<OpenedMessage, Refused> {
        let (_, place, ciphertext) = sealed_parts(sealed).ok_or(Refused::NotAuthentic)?;
        if ciphertext.len() > PLAINTEXT_BYTES_MAX + TAG_BYTES {
            return Err(Refused::NotAuthentic);
        }
        if place > self.messages_opened {
            return Err(Refused::Gap { expected: self.messages_opened });
        }
        if place < self.messages_opened {
            return Err(Refused::Again);
        }
        let plaintext = self.keys.open(Kind::Message, number, sealed)?;
        let opened = read_message(&plaintext, place).ok_or(Refused::NotAuthentic)?;
        self.messages_opened += 1;
        self.running_hash = next_running_hash(self.running_hash, sealed);
        Ok(opened)
    }

    /// Opens a signal whose place is larger than that of every signal opened so far.
    ///
    /// # Errors
    /// [`Refused::Again`] or [`Refused::NotAuthentic`].
    pub fn open_signal(&mut self, kind: Kind, number: u64, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let (_, place, _) = sealed_parts(sealed).ok_or(Refused::NotAuthentic)?;
        if place < self.signals_next {
            return Err(Refused::Again);
        }
        let plaintext = self.keys.open(kind, number, sealed)?;
        let content = unpad(&plaintext)?.to_vec();
        self.signals_next = place.saturating_add(1);
        Ok(content)
    }
}

fn read_message(plaintext: &[u8], place: u64) -> Option<OpenedMessage> {
    let (sent_at, rest) = unpad(plaintext).ok()?.split_first_chunk::<8>()?;
    let (digest, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let (id, text) = rest.split_first_chunk::<{ size_of::<MessageId>() }>()?;
    let digest = Digest(*digest);
    let text = std::str::from_utf8(text).ok()?.to_owned();
    let sent_at = u64::from_le_bytes(*sent_at);
    (Digest::of(text.as_bytes()) == digest).then_some(OpenedMessage { id: *id, text, sent_at, digest, place })
}
