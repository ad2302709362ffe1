//! The opening of a conversation: a fresh secret, wrapped for the acceptor and signed by the opener. PROTOCOL.md, section 10.1.

use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::card::{BadCard, Card};
use crate::conversation::ConversationId;
use crate::digest::{Digest, Fingerprint};
use crate::frame;
use crate::keys::{EncryptionKey, IdentityKey, NotAuthentic, Purpose, SECRET_BYTES, Secret};
use crate::signed::{self, Signed};

/// Longest opening, in bytes: a card, a key wrapped under 4096 bits, and a signature.
const OPENING_BYTES_MAX: usize = 8192;

const COMMITMENT_DOMAIN: &[u8] = b"switchboard/1 commitment\0";

/// Why an opening is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadOpening {
    /// It is too long or does not decode.
    #[error("the opening of a conversation is malformed")]
    Malformed,
    #[error("the card in the opening is not accepted: {0}")]
    Card(#[from] BadCard),
    /// The signature is wrong, or the secret cannot be unwrapped or does not match the commitment.
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
    pub id: ConversationId,
    pub sender: Card,
    pub recipient: Fingerprint,
    pub recipient_key: Fingerprint,
    /// The conversation's secret, wrapped for that key.
    pub wrapped_key: Vec<u8>,
    /// SHA-256 over a domain string and the secret. It binds the conversation to one secret, because AES-GCM does not
    /// commit to its key.
    pub commitment: Digest,
    /// When it was opened, by the opener's clock, in seconds since 1970.
    pub opened_at: u64,
    /// The opener has verified receipts for all its messages to this recipient with smaller numbers.
    pub first_number: u64,
    bytes: Vec<u8>,
}

impl Opening {
    /// Draws a secret, wraps it for `recipient` and signs the opening.
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
        (Self::assemble(&body, Digest::of(&bytes), sender.clone(), signed), secret)
    }

    /// The id of the conversation that these bytes open, and the fingerprint of the encryption key that its secret was wrapped
    /// for, without any check: one that was accepted before need not be checked again. `None` if they are no opening.
    pub fn peek(bytes: &[u8]) -> Option<(ConversationId, Fingerprint)> {
        let signed = Signed::read(bytes).ok()?;
        let body: Body = frame::decode(signed.body).ok()?;
        Some((Digest::of(signed.body), body.recipient_key))
    }

    /// Reads an opening and checks its signature and the card inside. The caller must check whether the card's identity key
    /// is the pinned one.
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
        Ok(Self::assemble(&body, Digest::of(signed.body), sender, bytes.to_vec()))
    }

    fn assemble(body: &Body<'_>, id: ConversationId, sender: Card, bytes: Vec<u8>) -> Self {
        Self {
            id,
            sender,
            recipient: body.recipient,
            recipient_key: body.recipient_key,
            wrapped_key: body.wrapped_key.to_vec(),
            commitment: body.commitment,
            opened_at: body.opened_at,
            first_number: body.first_number,
            bytes,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Unwraps the conversation's secret and checks it against the commitment.
    ///
    /// # Errors
    /// [`NotAuthentic`], whatever is wrong with it.
    pub(super) fn unwrap_key(
        &self,
        key: &EncryptionKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Secret, NotAuthentic> {
        let secret = key.unwrap_secret(&self.wrapped_key, rng);
        if commitment(&secret) == self.commitment { Ok(secret) } else { Err(NotAuthentic) }
    }
}

fn commitment(secret: &Secret) -> Digest {
    Digest::of_parts(&[COMMITMENT_DOMAIN, secret.as_slice()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Term;
    use crate::card::tests::bobs_card;
    use crate::keys::tests::{ALICE, ALICE_ENCRYPTION, BOB, BOB_ENCRYPTION, rng};

    /// An opening from Alice to Bob that is signed, but whose body `change` has made wrong.
    fn forged(change: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
        let card = Card::issue(
            "A".parse().expect("a good name"),
            &ALICE,
            ALICE_ENCRYPTION.public(),
            Term::starting(1, 1, None),
            &mut rng(),
        );
        let secret = Secret::new([7; SECRET_BYTES]);
        let mut body = Body {
            sender_card: card.as_bytes(),
            sender: card.fingerprint(),
            recipient: BOB.public().fingerprint(),
            recipient_key: BOB_ENCRYPTION.public().fingerprint(),
            wrapped_key: &bobs_card().encryption.wrap(&secret, &mut rng()),
            commitment: commitment(&secret),
            opened_at: 1,
            first_number: 1,
        };
        change(&mut body);
        signed::sign(&body, &ALICE, Purpose::Opening, &mut rng()).1
    }

    #[test]
    fn the_sender_must_be_the_owner_of_the_card() {
        assert!(Opening::from_bytes(&forged(|_| {})).is_ok());
        let opening = Opening::from_bytes(&forged(|body| body.sender = BOB.public().fingerprint()));
        assert!(matches!(opening, Err(BadOpening::NotAuthentic)));
    }

    #[test]
    fn the_secret_must_match_the_commitment() {
        let unwrapped = |bytes: &[u8]| {
            let opening = Opening::from_bytes(bytes).expect("it is signed");
            opening.unwrap_key(&BOB_ENCRYPTION, &mut rng())
        };
        assert!(unwrapped(&forged(|_| {})).is_ok());
        let other = commitment(&Secret::new([8; SECRET_BYTES]));
        assert_eq!(unwrapped(&forged(|body| body.commitment = other)), Err(NotAuthentic));
    }
}
