//! The two peers of the examples: their keys and cards.

use std::fmt::Write as _;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rsa::pkcs8::DecodePrivateKey;
use rsa::pss::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::keys::{EncryptionKey, IdentityKey};
use wire::succession::Succession;

use crate::layout::{Layout, values};

/// When the cards were made.
const ISSUED_AT: u64 = 1_800_000_000;
/// The last cards of these peers: their clocks have gone back since.
const PREVIOUS: u64 = ISSUED_AT + 299;

fn term() -> Term {
    Term::starting(ISSUED_AT, CARD_VALID_SECONDS_MAX, Some(PREVIOUS))
}

/// One peer. Its keys are read twice: by the library, and as bare RSA keys for the checks.
pub(crate) struct Person {
    pub(crate) identity: IdentityKey,
    pub(crate) encryption: EncryptionKey,
    pub(crate) identity_bare: RsaPrivateKey,
    pub(crate) encryption_bare: RsaPrivateKey,
    pub(crate) card: Card,
}

/// Both peers.
pub(crate) struct People {
    pub(crate) a: Person,
    pub(crate) b: Person,
    pub(crate) rng: StdRng,
}

impl Person {
    fn new(name: &str, identity: &str, encryption: &str, rng: &mut StdRng) -> Self {
        let bare = |pem| RsaPrivateKey::from_pkcs8_pem(pem).expect("the fixture is a key");
        let identity_key = IdentityKey::from_pem(identity, None).expect("the fixture is a key");
        let encryption_key = EncryptionKey::from_pem(encryption, None).expect("the fixture is a key");
        let name = name.parse().expect("a good name");
        let card = Card::issue(name, &identity_key, encryption_key.public(), term(), rng);
        Self {
            identity: identity_key,
            encryption: encryption_key,
            identity_bare: bare(identity),
            encryption_bare: bare(encryption),
            card,
        }
    }
}

impl People {
    pub(crate) fn new() -> Self {
        let mut rng = StdRng::from_seed([7; 32]);
        let a = Person::new(
            "A",
            include_str!("../fixtures/a-identity.pem"),
            include_str!("../fixtures/a-encryption.pem"),
            &mut rng,
        );
        let b = Person::new(
            "B",
            include_str!("../fixtures/b-identity.pem"),
            include_str!("../fixtures/b-encryption.pem"),
            &mut rng,
        );
        Self { a, b, rng }
    }
}

/// Checks a signature with the bare algorithm over the bytes that PROTOCOL.md specifies.
pub(crate) fn check_signature(key: &RsaPrivateKey, domain: &str, message: &[u8], signature: &[u8]) {
    let signed = [domain.as_bytes(), &[0], message].concat();
    let signature = Signature::try_from(signature).expect("it is a signature");
    VerifyingKey::<Sha256>::new(RsaPublicKey::from(key)).verify(&signed, &signature).unwrap_or_else(|_| {
        panic!("the signature for {domain:?} does not cover the bytes that PROTOCOL.md specifies")
    });
}

/// The signature at the end of a card or an opening.
pub(crate) fn signature_of(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len() - 256..]
}

/// Appends the keys and the cards.
pub(crate) fn describe(people: &People, text: &mut String) {
    text.push_str("\n## Keys and cards\n");
    let (a, b) = (&people.a, &people.b);
    values(
        text,
        "Fingerprints",
        "The SHA-256 of each SubjectPublicKeyInfo in DER; the keys themselves are in the cards.",
        &[
            ("A, identity", &a.identity.public().fingerprint().0),
            ("A, encryption", &a.encryption.public().fingerprint().0),
            ("B, identity", &b.identity.public().fingerprint().0),
            ("B, encryption", &b.encryption.public().fingerprint().0),
        ],
    );
    for (name, person) in [("A", a), ("B", b)] {
        show_card(name, person, text);
    }
    show_succession(a, b, &mut StdRng::from_seed([8; 32]), text);
    let pem = b.card.to_text();
    let read = Card::from_text(&pem).expect("what was written reads");
    assert_eq!(read.as_bytes(), b.card.as_bytes());
    let _ = write!(text, "\n### The card of B as text\n\n```text\n{pem}```\n");
}

/// The statement by which the key of A would name that of B its successor, and how a card shows it.
fn show_succession(a: &Person, b: &Person, rng: &mut StdRng, text: &mut String) {
    let name = "A".parse().expect("a good name");
    let successor = b.identity.public().fingerprint();
    let statement = Succession::sign(&a.identity, &name, successor, ISSUED_AT, rng);
    let encryption = b.encryption.public();
    let card = Card::issue_for_successor(name, &b.identity, encryption, term(), &[statement], rng);
    let signed = Layout::new()
        .text("a", "name, folded")
        .fixed(&successor.0, "the successor: the fingerprint of B's identity key")
        .number(ISSUED_AT, "issued_at");
    let message = signed.bytes();
    signed.show(text, "What the key of A signs to name the key of B its successor", "", &message);
    let bytes = card.as_bytes();
    let start = bytes.len() - 256 - 2 - (1 + 2 + a.identity.public().der().len() + 5 + 2 + 256);
    let succeeds = &bytes[start..bytes.len() - 256 - 2];
    let signature = signature_of(succeeds);
    check_signature(&a.identity_bare, "switchboard/1 succession", &message, signature);
    Layout::new()
        .number(1, "succeeds: number of statements")
        .sized(a.identity.public().der(), "identity key of A")
        .number(ISSUED_AT, "issued_at")
        .sized(signature, "signature, over `switchboard/1 succession`, a zero byte, and the bytes above")
        .show(text, "The end of the body of a card of A with the key of B", "", succeeds);
    let read = Card::from_bytes(bytes).expect("it reads");
    assert!(read.takes_over_from(&a.identity.public().fingerprint()));
}

fn show_card(name: &str, person: &Person, text: &mut String) {
    let card = person.card.as_bytes();
    let body = Layout::new()
        .text(name, "name")
        .sized(person.identity.public().der(), "identity key")
        .sized(person.encryption.public().der(), "encryption key")
        .number(PREVIOUS + 1, "sequence: one more than that of the last card")
        .number(ISSUED_AT, "issued_at")
        .number(ISSUED_AT + 691_200, "valid_until: 8 days later")
        .number(0, "succeeds: number of statements");
    let body_bytes = body.bytes();
    body.show(text, &format!("The body of the card of {name}"), "", &card[2..2 + body_bytes.len()]);
    let signature = signature_of(card);
    check_signature(&person.identity_bare, "switchboard/1 card", &body_bytes, signature);
    let about = format!(
        "The signature is over `switchboard/1 card`, a zero byte, and the {} bytes of the body.",
        body_bytes.len()
    );
    Layout::new()
        .given(&body_bytes, &format!("body: the body of the card of {name}"))
        .sized(signature, "signature")
        .show(text, &format!("The card of {name}"), &about, card);
    let read = Card::from_bytes(card).expect("it reads");
    assert_eq!((read.name.as_str(), read.term), (name, term()));
}
