//! Contact cards: the name of a peer and its public keys, signed. PROTOCOL.md, section 5.

use pem_rfc7468::LineEnding;
use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::digest::Fingerprint;
use crate::frame;
use crate::keys::{BadKey, EncryptionPublic, IdentityKey, IdentityPublic, Purpose};
use crate::name::PeerName;
use crate::signed::{self, Signed};
use crate::succession::{self, BadSuccession, Encoded, Succession};

/// Longest card, in bytes. Two keys of 4096 bits, a signature and a name take 1.7 KB.
pub const CARD_BYTES_MAX: usize = 4096;
/// Longest time from the issue of a card until it expires, in seconds: 8 days. A longer one would let others seal for an
/// encryption key that its owner has destroyed since.
pub const CARD_VALID_SECONDS_MAX: u64 = 8 * 24 * 60 * 60;
/// How far a card's `issued_at` may be ahead of the reader's clock, in seconds: an hour, because clocks differ.
pub const CARD_AHEAD_SECONDS_MAX: u64 = 60 * 60;

const PEM_LABEL: &str = "SWITCHBOARD CARD";

/// Why a card is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadCard {
    /// It is too long or does not decode.
    #[error("it is not a contact card")]
    Malformed,
    #[error("a key in the card cannot be used: {0}")]
    Key(#[from] BadKey),
    #[error("the card's signature does not verify")]
    Signature,
    /// It expires before it was issued, or more than [`CARD_VALID_SECONDS_MAX`] later.
    #[error("the card's lifetime is not between 1 second and 8 days")]
    Lifetime,
    /// The statement of the old key does not verify for this name and identity key.
    #[error("{0}")]
    Succession(#[from] BadSuccession),
}

/// Why a card cannot be used at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDates {
    /// It was issued more than [`CARD_AHEAD_SECONDS_MAX`] after that time.
    #[error("the card is dated {0} seconds in the future; one of the clocks is wrong")]
    Future(u64),
    #[error(
        "the card expired {0} seconds ago; either its owner has not joined since, or one of the clocks is wrong"
    )]
    Expired(u64),
}

/// The order of a card among those of its owner, and the time for which it can be used. All times are in seconds since
/// 1970 by the owner's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Larger than that of each earlier card of the owner.
    pub sequence: u64,
    /// When the card was made.
    pub issued_at: u64,
    /// When it expires.
    pub valid_until: u64,
}

impl Term {
    /// The term of a card that is issued at `now` and valid for `valid_seconds`, at most [`CARD_VALID_SECONDS_MAX`].
    /// `previous` is the sequence number of the owner's last card.
    ///
    /// The sequence number is the time of issue unless that would not be an increase. So a peer whose directory was
    /// restored from a copy, and which has forgotten its last cards, still issues larger numbers, provided that its clock
    /// is right; and a clock that goes back does not make numbers smaller.
    pub fn starting(now: u64, valid_seconds: u64, previous: Option<u64>) -> Self {
        let sequence = previous.map_or(0, |previous| previous.saturating_add(1)).max(now);
        let valid_seconds = valid_seconds.clamp(1, CARD_VALID_SECONDS_MAX);
        Self { sequence, issued_at: now, valid_until: now.saturating_add(valid_seconds) }
    }

    /// Checks the term against the reader's clock.
    pub fn check(&self, now: u64) -> Result<(), BadDates> {
        if self.issued_at > now.saturating_add(CARD_AHEAD_SECONDS_MAX) {
            return Err(BadDates::Future(self.issued_at - now));
        }
        if now >= self.valid_until {
            return Err(BadDates::Expired(now - self.valid_until));
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    name: PeerName,
    #[serde(with = "serde_bytes")]
    identity: &'a [u8],
    #[serde(with = "serde_bytes")]
    encryption: &'a [u8],
    sequence: u64,
    issued_at: u64,
    valid_until: u64,
    #[serde(borrow)]
    succeeds: Vec<Encoded<'a>>,
}

/// A contact card whose signature has been checked.
#[derive(Debug, Clone)]
pub struct Card {
    pub name: PeerName,
    /// Verifies the owner's signatures.
    pub identity: IdentityPublic,
    /// Wraps keys for the owner.
    pub encryption: EncryptionPublic,
    /// Its order among the owner's cards, and when it can be used.
    pub term: Term,
    /// The statements of the owner's old identity keys, newest first.
    pub succeeds: Vec<Succession>,
    bytes: Vec<u8>,
}

impl Card {
    pub fn issue(
        name: PeerName,
        identity: &IdentityKey,
        encryption: &EncryptionPublic,
        term: Term,
        rng: &mut impl CryptoRng,
    ) -> Self {
        Self::issue_for_successor(name, identity, encryption, term, &[], rng)
    }

    /// Makes and signs a card with the statements of the owner's old identity keys, newest first: as many as fit.
    pub fn issue_for_successor(
        name: PeerName,
        identity: &IdentityKey,
        encryption: &EncryptionPublic,
        term: Term,
        succeeds: &[Succession],
        rng: &mut impl CryptoRng,
    ) -> Self {
        let body = Body {
            name: name.clone(),
            identity: identity.public().der(),
            encryption: encryption.der(),
            sequence: term.sequence,
            issued_at: term.issued_at,
            valid_until: term.valid_until,
            succeeds: succeeds.iter().map(Succession::encoded).collect(),
        };
        let (_, bytes) = signed::sign(&body, identity, Purpose::Card, rng);
        if let ([fewer @ .., _], true) = (succeeds, bytes.len() > CARD_BYTES_MAX) {
            return Self::issue_for_successor(name, identity, encryption, term, fewer, rng);
        }
        let (identity, encryption) = (identity.public().clone(), encryption.clone());
        Self { name, identity, encryption, term, succeeds: succeeds.to_vec(), bytes }
    }

    /// Reads a card and checks its signature and its lifetime. The caller must check whether its identity key is the pinned
    /// one, and whether it can be used at present ([`Term::check`]).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadCard> {
        if bytes.len() > CARD_BYTES_MAX {
            return Err(BadCard::Malformed);
        }
        let signed = Signed::read(bytes).map_err(|_| BadCard::Malformed)?;
        let body: Body = frame::decode(signed.body).map_err(|_| BadCard::Malformed)?;
        let identity = IdentityPublic::from_der(body.identity)?;
        signed.verify(&identity, Purpose::Card).map_err(|_| BadCard::Signature)?;
        let Body { sequence, issued_at, valid_until, .. } = body;
        let lifetime = valid_until.checked_sub(issued_at).ok_or(BadCard::Lifetime)?;
        if !(1..=CARD_VALID_SECONDS_MAX).contains(&lifetime) {
            return Err(BadCard::Lifetime);
        }
        let succeeds = succession::verify_all(&body.succeeds, &body.name, identity.fingerprint())?;
        Ok(Self {
            succeeds,
            name: body.name,
            encryption: EncryptionPublic::from_der(body.encryption)?,
            identity,
            term: Term { sequence, issued_at, valid_until },
            bytes: bytes.to_vec(),
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fingerprint of the identity key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// Whether this card has the key `owner` or a successor of it, so that it may use the names of that key.
    pub fn is_of(&self, owner: &Fingerprint) -> bool {
        self.fingerprint() == *owner || self.takes_over_from(owner)
    }

    /// Whether the key of this card is the successor of `predecessor`, or of one of its successors.
    pub fn takes_over_from(&self, predecessor: &Fingerprint) -> bool {
        self.succeeds.iter().any(|statement| statement.predecessor() == *predecessor)
    }

    /// Whether messages can be sealed for it at `now` (seconds since 1970).
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.term.check(now).is_ok()
    }

    /// Whether it takes the place of `known`, another card of the same owner, at `now` (seconds since 1970).
    ///
    /// The order of cards is that of their sequence numbers and not of their dates, which a wrong clock spoils. But a known
    /// card that cannot be used any more, or not yet, never stands in the way of one that can.
    pub fn replaces(&self, known: &Self, now: u64) -> bool {
        match (self.is_valid_at(now), known.is_valid_at(now)) {
            (true, false) => true,
            (false, true) => false,
            _ => self.term.sequence >= known.term.sequence && self.bytes != known.bytes,
        }
    }

    /// The card as a PEM text with the label `SWITCHBOARD CARD` (RFC 7468), to send by mail or to print.
    pub fn to_text(&self) -> String {
        pem_rfc7468::encode_string(PEM_LABEL, LineEnding::LF, &self.bytes)
            .expect("the label is valid and a card is short")
    }

    /// Reads the first card in a text. Everything outside the PEM block is ignored.
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
        let name: PeerName = "B".parse().expect("a good name");
        issued(1_000_000, CARD_VALID_SECONDS_MAX, None, &name)
    }

    fn issued(at: u64, valid_seconds: u64, previous: Option<u64>, name: &PeerName) -> Card {
        let term = Term::starting(at, valid_seconds, previous);
        Card::issue(name.clone(), &BOB, BOB_ENCRYPTION.public(), term, &mut rng())
    }

    #[test]
    fn a_card_survives_its_text() {
        let card = bobs_card();
        let text = format!("Hello, this is my card:\n\n{}\nYours, B\n", card.to_text());
        let read = Card::from_text(&text).expect("what was written reads");
        assert_eq!(read.as_bytes(), card.as_bytes());
        assert_eq!((read.name.as_str(), read.fingerprint()), ("B", BOB.public().fingerprint()));
        assert_eq!(read.term, card.term);
    }

    #[test]
    fn a_card_can_be_used_from_an_hour_before_its_issue_until_it_expires() {
        const ISSUED: u64 = 1_000_000;
        const EXPIRES: u64 = ISSUED + CARD_VALID_SECONDS_MAX;
        let card = bobs_card();
        assert_eq!(card.term.check(ISSUED - 3_601), Err(BadDates::Future(3_601)));
        assert_eq!(card.term.check(ISSUED - 3_600), Ok(()));
        assert_eq!(card.term.check(EXPIRES - 1), Ok(()));
        assert_eq!(card.term.check(EXPIRES), Err(BadDates::Expired(0)));
    }

    #[test]
    fn a_lifetime_of_more_than_eight_days_is_refused() {
        let read = |valid_until| {
            let term = Term { sequence: 1, issued_at: 1_000, valid_until };
            let name = "B".parse().expect("a good name");
            let card = Card::issue(name, &BOB, BOB_ENCRYPTION.public(), term, &mut rng());
            Card::from_bytes(card.as_bytes())
        };
        assert!(read(1_001).is_ok() && read(1_000 + CARD_VALID_SECONDS_MAX).is_ok());
        for bad in [0, 999, 1_000, 1_001 + CARD_VALID_SECONDS_MAX, u64::MAX] {
            assert!(matches!(read(bad), Err(BadCard::Lifetime)), "{bad}");
        }
    }

    #[test]
    fn sequence_numbers_grow_whatever_the_clock_does() {
        let sequence = |now, previous| Term::starting(now, 1, previous).sequence;
        assert_eq!(sequence(100, None), 100);
        assert_eq!(
            sequence(200, Some(100)),
            200,
            "a copy that does not know of 101 to 199 does not fall behind"
        );
        assert_eq!(sequence(50, Some(200)), 201, "the clock has gone back");
        assert_eq!(sequence(50, Some(u64::MAX)), u64::MAX);
    }

    #[test]
    fn the_larger_sequence_number_counts_unless_only_one_card_can_be_used() {
        const DAY: u64 = 24 * 60 * 60;
        let name = "B".parse().expect("a good name");
        let (old, new) =
            (issued(10 * DAY, DAY, None, &name), issued(10 * DAY, 2 * DAY, Some(10 * DAY), &name));
        assert!(new.replaces(&old, 10 * DAY) && !old.replaces(&new, 10 * DAY));
        assert!(!new.replaces(&new, 10 * DAY), "it is the same card");
        // The clock was a year ahead once; the card from then has a larger number.
        let ahead = issued(375 * DAY, DAY, None, &name);
        assert!(new.replaces(&ahead, 10 * DAY) && !ahead.replaces(&new, 10 * DAY));
        // Expired, with the larger number.
        let next = issued(9 * DAY, 8 * DAY, Some(5 * DAY), &name);
        assert!(next.replaces(&new, 13 * DAY) && !new.replaces(&next, 13 * DAY));
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
    fn a_successor_shows_the_statement_of_the_earlier_key() {
        let name: PeerName = "B".parse().expect("a good name");
        let issue = |name: &PeerName, succeeds: &[Succession]| {
            let encryption = BOB_ENCRYPTION.public();
            let term = Term::starting(1, 1, None);
            Card::issue_for_successor(name.clone(), &BOB, encryption, term, succeeds, &mut rng())
        };
        let statement = Succession::sign(&ALICE, &name, BOB.public().fingerprint(), 1, &mut rng());
        let card =
            Card::from_bytes(issue(&name, std::slice::from_ref(&statement)).as_bytes()).expect("it reads");
        let (old, new) = (ALICE.public().fingerprint(), BOB.public().fingerprint());
        assert!(card.is_of(&old) && card.is_of(&new) && card.takes_over_from(&old));
        assert!(!card.takes_over_from(&new) && !issue(&name, &[]).is_of(&old));
        let other = issue(&"C".parse().expect("a good name"), &[statement]);
        assert!(matches!(Card::from_bytes(other.as_bytes()), Err(BadCard::Succession(_))), "another name");
        let for_another = Succession::sign(&ALICE, &name, old, 1, &mut rng());
        let card = issue(&name, &[for_another]);
        assert!(matches!(Card::from_bytes(card.as_bytes()), Err(BadCard::Succession(_))), "another key");
        let many = vec![Succession::sign(&ALICE, &name, new, 1, &mut rng()); 9];
        let issued = issue(&name, &many);
        assert!(issued.as_bytes().len() <= CARD_BYTES_MAX && !issued.succeeds.is_empty());
    }

    #[test]
    fn nobody_can_sign_a_card_with_another_key_inside() {
        let name: PeerName = "B".parse().expect("a good name");
        let forged =
            Card::issue(name, &ALICE, BOB_ENCRYPTION.public(), Term::starting(1, 1, None), &mut rng());
        assert_ne!(forged.fingerprint(), BOB.public().fingerprint());
    }
}
