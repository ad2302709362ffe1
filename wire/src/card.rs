//! Contact cards: the name of a peer and its public keys, signed. PROTOCOL.md, section 5.

use pem_rfc7468::LineEnding;
use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::digest::Fingerprint;
use crate::frame;
use crate::keys::{BadKey, EncryptionPublic, IdentityKey, IdentityPublic, Purpose};
use crate::name::PeerName;
use crate::signed::{self, Signed};

/// Longest card, in bytes. Two keys of 4096 bits, a signature and a name take 1.7 KB.
pub const CARD_BYTES_MAX: usize = 4096;
/// How long others may encrypt to a card: the 7 days until it is renewed and the 30 that the old key is kept.
pub const CARD_VALID_SECONDS: u64 = (7 + 30) * 24 * 60 * 60;

const PEM_LABEL: &str = "SWITCHBOARD CARD";

/// Why a card is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadCard {
    /// It is too long or does not decode.
    #[error("it is not a contact card")]
    Malformed,
    /// One of its keys cannot be used.
    #[error("a key in the card cannot be used: {0}")]
    Key(#[from] BadKey),
    /// The signature was not made by the identity key in the card.
    #[error("the card's signature does not verify")]
    Signature,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    name: PeerName,
    #[serde(with = "serde_bytes")]
    identity: &'a [u8],
    #[serde(with = "serde_bytes")]
    encryption: &'a [u8],
    issued_at: u64,
    valid_until: u64,
}

/// A contact card whose signature has been checked.
#[derive(Debug, Clone)]
pub struct Card {
    /// The name of the owner.
    pub name: PeerName,
    /// Verifies the owner's signatures.
    pub identity: IdentityPublic,
    /// Wraps keys for the owner.
    pub encryption: EncryptionPublic,
    /// When the card was made, in seconds since 1970.
    pub issued_at: u64,
    /// When the encryption key expires, in seconds since 1970.
    pub valid_until: u64,
    bytes: Vec<u8>,
}

impl Card {
    /// Makes and signs a card.
    pub fn issue(
        name: PeerName,
        identity: &IdentityKey,
        encryption: &EncryptionPublic,
        issued_at: u64,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let valid_until = issued_at.saturating_add(CARD_VALID_SECONDS);
        let body = Body {
            name: name.clone(),
            identity: identity.public().der(),
            encryption: encryption.der(),
            issued_at,
            valid_until,
        };
        let (_, bytes) = signed::sign(&body, identity, Purpose::Card, rng);
        let (identity, encryption) = (identity.public().clone(), encryption.clone());
        Self { name, identity, encryption, issued_at, valid_until, bytes }
    }

    /// Reads a card and checks its signature. The caller must check whether its identity key is the pinned one, and whether
    /// it is still valid.
    ///
    /// # Errors
    /// [`BadCard`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadCard> {
        if bytes.len() > CARD_BYTES_MAX {
            return Err(BadCard::Malformed);
        }
        let signed = Signed::read(bytes).map_err(|_| BadCard::Malformed)?;
        let body: Body = frame::decode(signed.body).map_err(|_| BadCard::Malformed)?;
        let identity = IdentityPublic::from_der(body.identity)?;
        signed.verify(&identity, Purpose::Card).map_err(|_| BadCard::Signature)?;
        Ok(Self {
            name: body.name,
            encryption: EncryptionPublic::from_der(body.encryption)?,
            identity,
            issued_at: body.issued_at,
            valid_until: body.valid_until,
            bytes: bytes.to_vec(),
        })
    }

    /// The encoded card.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fingerprint of the identity key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Whether the encryption key can be used at `now` (seconds since 1970).
    pub fn is_valid_at(&self, now: u64) -> bool {
        now < self.valid_until
    }

    /// The card as a PEM text with the label `SWITCHBOARD CARD` (RFC 7468), to send by mail or to print.
    pub fn to_text(&self) -> String {
        pem_rfc7468::encode_string(PEM_LABEL, LineEnding::LF, &self.bytes)
            .expect("the label is valid and a card is short")
    }

    /// Reads the first card in a text. Everything outside the PEM block is ignored.
    ///
    /// # Errors
    /// [`BadCard`].
    pub fn from_text(text: &str) -> Result<Self, BadCard> {
        let (begin, end) = (format!("-----BEGIN {PEM_LABEL}-----"), format!("-----END {PEM_LABEL}-----"));
        let block = text.find(&begin).map(|at| &text[at..]).ok_or(BadCard::Malformed)?;
        let length = block.find(&end).ok_or(BadCard::Malformed)? + end.len();
        let block = &block[..length];
        let (_, bytes) = pem_rfc7468::decode_vec(block.as_bytes()).map_err(|_| BadCard::Malformed)?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::tests::{ALICE, BOB, BOB_ENCRYPTION, rng};

    pub(crate) fn bobs_card() -> Card {
        let name = "B".parse().expect("a good name");
        Card::issue(name, &BOB, BOB_ENCRYPTION.public(), 1_000_000, &mut rng())
    }

    #[test]
    fn a_card_survives_its_text() {
        let card = bobs_card();
        let text = format!("Hello, this is my card:\n\n{}\nYours, B\n", card.to_text());
        let read = Card::from_text(&text).expect("what was written reads");
        assert_eq!(read.as_bytes(), card.as_bytes());
        assert_eq!((read.name.as_str(), read.fingerprint()), ("B", BOB.public().fingerprint()));
        assert!(read.is_valid_at(1_000_000));
        assert!(!read.is_valid_at(1_000_000 + CARD_VALID_SECONDS));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let card = bobs_card();
        for at in 0..card.as_bytes().len() {
            let mut bytes = card.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert!(Card::from_bytes(&bytes).is_err(), "byte {at} was changed and the card still reads");
        }
        assert!(Card::from_bytes(&[]).is_err());
        assert!(Card::from_text("-----BEGIN SWITCHBOARD CARD-----").is_err());
    }

    #[test]
    fn nobody_can_sign_a_card_with_another_key_inside() {
        let name: PeerName = "B".parse().expect("a good name");
        let forged = Card::issue(name, &ALICE, BOB_ENCRYPTION.public(), 1, &mut rng());
        assert_ne!(forged.fingerprint(), BOB.public().fingerprint());
    }
}
