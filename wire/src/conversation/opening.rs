//! The opening of a conversation: a fresh key, wrapped for the recipient and signed by the opener.

use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::card::{BadCard, Card};
use crate::conversation::ConversationId;
use crate::digest::{Digest, Fingerprint};
use crate::frame;
use crate::keys::{EncryptionKey, IdentityKey, NotAuthentic, Purpose, SECRET_BYTES, Secret};
use crate::signed::{self, Signed};

/// Longest opening: the sender's card, a key wrapped under 4096 bits and a signature.
const OPENING_BYTES_MAX: usize = 8192;

const COMMITMENT_DOMAIN: &[u8] = b"switchboard/1 commitment\0";

/// Why an opening is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BadOpening {
    /// The encoding is wrong.
    #[error("the opening of a conversation is malformed")]
    Malformed,
    /// The card inside is not a good one.
    #[error("the card in the opening is not accepted: {0}")]
    Card(#[from] BadCard),
    /// The signature is not that of the card's key, or the key inside does not open or is not the one committed to.
    #[error("the opening of a conversation does not verify")]
    NotAuthentic,
}

impl From<NotAuthentic> for BadOpening {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(with = "serde_bytes")]
    sender_card: &'a [u8],
    sender: Fingerprint,
    recipient: Fingerprint,
    recipient_key: Fingerprint,
    #[serde(with = "serde_bytes")]
    wrapped_key: &'a [u8],
    commitment: Digest,
    opened_at: u64,
    first_number: u64,
}

/// The opening of a conversation whose signature has been checked.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Names the conversation.
    pub id: ConversationId,
    /// Who opens it.
    pub sender: Card,
    /// Names the identity key of whom it is for.
    pub recipient: Fingerprint,
    /// Names the encryption key that unwraps the key.
    pub recipient_key: Fingerprint,
    /// The conversation's key under RSAES-OAEP.
    pub wrapped_key: Vec<u8>,
    /// SHA-256 over a domain string and the key, so that no second key can be made to fit.
    pub commitment: Digest,
    /// When, by the sender's clock, in seconds since 1970.
    pub opened_at: u64,
    /// The opener has verified receipts for all its messages to this recipient with smaller numbers.
    pub first_number: u64,
    bytes: Vec<u8>,
}

impl Opening {
    /// Draws a key, wraps it for `recipient` and signs.
    pub(super) fn issue(
        identity: &IdentityKey,
        sender: &Card,
        recipient: &Card,
        first_number: u64,
        opened_at: u64,
        rng: &mut impl CryptoRng,
    ) -> (Self, Secret) {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rng.fill_bytes(secret.as_mut_slice());
        let wrapped_key = recipient.encryption.wrap(&secret, rng);
        let body = Body {
            sender_card: sender.as_bytes(),
            sender: sender.fingerprint(),
            recipient: recipient.fingerprint(),
            recipient_key: recipient.encryption.fingerprint(),
            wrapped_key: &wrapped_key,
            commitment: commitment(&secret),
            opened_at,
            first_number,
        };
        let (bytes, signed) = signed::sign(&body, identity, Purpose::Opening, rng);
        let opening = Self {
            id: Digest::of(&bytes),
            sender: sender.clone(),
            recipient: body.recipient,
            recipient_key: body.recipient_key,
            commitment: body.commitment,
            wrapped_key,
            opened_at,
            first_number,
            bytes: signed,
        };
        (opening, secret)
    }

    /// Reads an opening, checks the card inside and the signature over the opening. Whether the card's key is the one
    /// that was pinned is for the caller to check.
    ///
    /// # Errors
    /// [`BadOpening`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadOpening> {
        if bytes.len() > OPENING_BYTES_MAX {
            return Err(BadOpening::Malformed);
        }
        let signed = Signed::read(bytes).map_err(|_| BadOpening::Malformed)?;
        let body: Body = frame::decode(signed.body).map_err(|_| BadOpening::Malformed)?;
        let sender = Card::from_bytes(body.sender_card)?;
        signed.verify(&sender.identity, Purpose::Opening)?;
        if sender.fingerprint() != body.sender {
            return Err(BadOpening::NotAuthentic);
        }
        Ok(Self {
            id: Digest::of(signed.body),
            sender,
            recipient: body.recipient,
            recipient_key: body.recipient_key,
            wrapped_key: body.wrapped_key.to_vec(),
            commitment: body.commitment,
            opened_at: body.opened_at,
            first_number: body.first_number,
            bytes: bytes.to_vec(),
        })
    }

    /// The opening as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Unwraps the conversation's key and checks it against the commitment.
    ///
    /// # Errors
    /// [`NotAuthentic`], whatever is wrong with it.
    pub(super) fn unwrap_key(
        &self,
        key: &EncryptionKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Secret, NotAuthentic> {
        let secret = key.unwrap_secret(&self.wrapped_key, rng)?;
        if commitment(&secret) == self.commitment { Ok(secret) } else { Err(NotAuthentic) }
    }
}

fn commitment(secret: &Secret) -> Digest {
    Digest::of_parts(&[COMMITMENT_DOMAIN, secret.as_slice()])
}
