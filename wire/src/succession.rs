//! The statement by which an identity key names its successor. PROTOCOL.md, section 5.1.

use pem_rfc7468::LineEnding;
use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::digest::Fingerprint;
use crate::frame;
use crate::keys::{IdentityKey, IdentityPublic, Purpose};
use crate::name::PeerName;

/// Maximum number of statements in a card. With three, a reader that has missed two successions still finds its pinned
/// key. Each takes up to 1,100 bytes and one verification.
pub const SUCCESSIONS_MAX: usize = 3;

const PEM_LABEL: &str = "SWITCHBOARD SUCCESSION";
const PEM_END: &str = "-----END SWITCHBOARD SUCCESSION-----";

/// The statement cannot be decoded, or its signature does not verify for this name and this successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statement about its earlier key does not verify")]
pub struct BadSuccession;

/// The text that the old key signs.
#[derive(Serialize)]
struct Statement<'a> {
    /// Folded.
    name: &'a str,
    successor: Fingerprint,
    issued_at: u64,
}

/// The encoding of a statement in a card.
#[derive(Serialize, Deserialize)]
pub(crate) struct Encoded<'a> {
    #[serde(with = "serde_bytes")]
    predecessor: &'a [u8],
    issued_at: u64,
    #[serde(with = "serde_bytes")]
    signature: &'a [u8],
}

/// The statement of a peer's old identity key that the present one is its successor. It is verified.
#[derive(Debug, Clone)]
pub struct Succession {
    /// Folded.
    name: PeerName,
    predecessor: IdentityPublic,
    issued_at: u64,
    signature: Vec<u8>,
}

fn statement(name: &PeerName, successor: Fingerprint, issued_at: u64) -> Vec<u8> {
    frame::body(&Statement { name: name.folded().as_str(), successor, issued_at })
}

impl Succession {
    /// Signs that `successor` is the successor of `key` for `name`. `now` is in seconds since 1970.
    pub fn sign(
        key: &IdentityKey,
        name: &PeerName,
        successor: Fingerprint,
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let signature = key.sign(Purpose::Succession, &statement(name, successor, now), rng);
        Self { name: name.folded(), predecessor: key.public().clone(), issued_at: now, signature }
    }

    pub(crate) fn encoded(&self) -> Encoded<'_> {
        Encoded { predecessor: self.predecessor.der(), issued_at: self.issued_at, signature: &self.signature }
    }

    /// Verifies a statement for the owner of `name`, who has the key `successor`.
    pub(crate) fn verify(
        encoded: &Encoded<'_>,
        name: &PeerName,
        successor: Fingerprint,
    ) -> Result<Self, BadSuccession> {
        let predecessor = IdentityPublic::from_der(encoded.predecessor).map_err(|_| BadSuccession)?;
        let text = statement(name, successor, encoded.issued_at);
        predecessor.verify(Purpose::Succession, &text, encoded.signature).map_err(|_| BadSuccession)?;
        let (issued_at, signature) = (encoded.issued_at, encoded.signature.to_vec());
        Ok(Self { name: name.folded(), predecessor, issued_at, signature })
    }

    pub fn is_for(&self, name: &PeerName) -> bool {
        self.name == name.folded()
    }

    pub fn predecessor(&self) -> Fingerprint {
        self.predecessor.fingerprint()
    }

    /// When the statement was signed, by the signer's clock, in seconds since 1970.
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// The statement as a PEM text (RFC 7468), for the file with the identity key.
    pub fn to_text(&self) -> String {
        pem_rfc7468::encode_string(PEM_LABEL, LineEnding::LF, &frame::body(&(&self.name, self.encoded())))
            .expect("the label is valid and a statement is short")
    }

    /// Reads one or more texts of [`Succession::to_text`], newest first, and verifies them for the owner of the key
    /// `newest`.
    pub fn from_texts(texts: &str, newest: Fingerprint) -> Result<Vec<Self>, BadSuccession> {
        let mut successor = newest;
        let read = texts.trim().split_inclusive(PEM_END).map(|text| {
            let (label, bytes) =
                pem_rfc7468::decode_vec(text.trim().as_bytes()).map_err(|_| BadSuccession)?;
            if label != PEM_LABEL {
                return Err(BadSuccession);
            }
            let (name, encoded): (PeerName, Encoded) = frame::decode(&bytes).map_err(|_| BadSuccession)?;
            let statement = Self::verify(&encoded, &name, successor)?;
            successor = statement.predecessor();
            Ok(statement)
        });
        read.collect()
    }
}

/// Verifies statements, newest first, for the owner of `name` with the key `newest`. The successor in each is the
/// predecessor in the one before.
pub(crate) fn verify_all(
    statements: &[Encoded<'_>],
    name: &PeerName,
    newest: Fingerprint,
) -> Result<Vec<Succession>, BadSuccession> {
    if statements.len() > SUCCESSIONS_MAX {
        return Err(BadSuccession);
    }
    let mut successor = newest;
    let verified = statements.iter().map(|encoded| {
        let statement = Succession::verify(encoded, name, successor)?;
        successor = statement.predecessor();
        Ok(statement)
    });
    verified.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::{ALICE, BOB, rng};

    fn name(text: &str) -> PeerName {
        text.parse().expect("a good name")
    }

    #[test]
    fn a_statement_holds_for_its_name_and_successor_only() {
        let new = BOB.public().fingerprint();
        let signed = Succession::sign(&ALICE, &name("A"), new, 7, &mut rng());
        let text = signed.to_text();
        let read = &Succession::from_texts(&text, new).expect("what was written reads")[0];
        assert_eq!((read.predecessor(), read.issued_at()), (ALICE.public().fingerprint(), 7));
        assert!(read.is_for(&name("a")) && !read.is_for(&name("B")));
        let other = ALICE.public().fingerprint();
        assert_eq!(Succession::from_texts(&text, other).err(), Some(BadSuccession));
        assert!(Succession::verify(&signed.encoded(), &name("a"), new).is_ok());
        assert_eq!(Succession::verify(&signed.encoded(), &name("B"), new).err(), Some(BadSuccession));
        let forged = Encoded { predecessor: BOB.public().der(), ..signed.encoded() };
        assert_eq!(Succession::verify(&forged, &name("A"), new).err(), Some(BadSuccession));
        let later = Encoded { issued_at: 8, ..signed.encoded() };
        assert_eq!(Succession::verify(&later, &name("A"), new).err(), Some(BadSuccession));
    }

    #[test]
    fn statements_form_a_chain() {
        let (alice, bob) = (ALICE.public().fingerprint(), BOB.public().fingerprint());
        let carol = crate::digest::Digest::of(b"carol");
        let to_carol = Succession::sign(&BOB, &name("A"), carol, 8, &mut rng());
        let to_bob = Succession::sign(&ALICE, &name("A"), bob, 7, &mut rng());
        let text = format!("{}{}", to_carol.to_text(), to_bob.to_text());
        let chain = Succession::from_texts(&text, carol).expect("it is one");
        assert_eq!(chain.iter().map(Succession::predecessor).collect::<Vec<_>>(), [bob, alice]);
        let check = |chain: &[&Succession]| {
            let encoded: Vec<Encoded> = chain.iter().map(|statement| statement.encoded()).collect();
            verify_all(&encoded, &name("A"), carol).map(|chain| chain.len())
        };
        assert_eq!(check(&[&to_carol, &to_bob]), Ok(2));
        assert_eq!(check(&[&to_bob, &to_carol]), Err(BadSuccession), "out of order");
        assert_eq!(check(&[&to_bob]), Err(BadSuccession), "a gap");
        assert_eq!(check(&[&to_carol; SUCCESSIONS_MAX + 1]), Err(BadSuccession), "too many");
    }
}
