//! The identity keys of two peers in a form that their users can compare: they read words to each other, or scan a QR
//! code.

use bip39::Mnemonic;
use serde::{Deserialize, Serialize};
use wire::{Fingerprint, PeerName};

/// The identity keys of this peer and another one. Both peers show the same words and code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub with: PeerName,
    /// Both keys, sorted by name, so that both peers show the same.
    pub keys: [NamedKey; 2],
    /// The text of the QR code.
    pub code: String,
    /// Whether the user has compared them before.
    pub compared: bool,
}

/// The identity key of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedKey {
    pub name: PeerName,
    pub fingerprint: Fingerprint,
    /// The fingerprint as 24 English words (BIP 39, with a checksum in the last one).
    pub words: String,
}

impl NamedKey {
    fn new((name, fingerprint): (&PeerName, Fingerprint)) -> Self {
        let words = Mnemonic::from_entropy(&fingerprint.0).expect("BIP 39 has words for 256 bits");
        let words: Vec<&str> = words.words().collect();
        Self { name: name.clone(), fingerprint, words: words.join(" ") }
    }
}

impl Comparison {
    pub fn new(own: (&PeerName, Fingerprint), other: (&PeerName, Fingerprint), compared: bool) -> Self {
        let mut keys = [own, other].map(NamedKey::new);
        keys.sort_by_key(|key| key.name.folded());
        let code = keys.each_ref().map(|key| format!("{} {}", key.name.folded(), key.fingerprint)).join("\n");
        Self { with: other.0.clone(), keys, code, compared }
    }

    /// The fingerprint of the other peer's key.
    pub fn other(&self) -> Option<Fingerprint> {
        self.keys.iter().find(|key| key.name == self.with).map(|key| key.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal;
    use wire::Digest;

    fn name(text: &str) -> PeerName {
        text.parse().expect("a good name")
    }

    #[test]
    fn both_peers_show_the_same_and_another_key_shows_other_words() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let at_a = Comparison::new((&name("A"), a), (&name("b"), b), false);
        let at_b = Comparison::new((&name("b"), b), (&name("A"), a), false);
        assert_eq!((&at_a.keys, &at_a.code), (&at_b.keys, &at_b.code));
        assert_eq!((at_a.other(), at_b.other()), (Some(b), Some(a)));
        assert_eq!(at_a.keys[0].words.split(' ').count(), 24);
        assert_ne!(at_a.keys[0].words, at_a.keys[1].words);
        let code = terminal::qr_code(&at_a.code).expect("the text is short");
        assert!(code.lines().count() > 20 && code.starts_with('\u{2588}'), "the margin is light: {code}");
    }

    #[test]
    fn the_words_are_those_of_bip_39() {
        // The first test vector of 256 bits in BIP 39.
        let words = NamedKey::new((&name("A"), Digest([0; 32]))).words;
        assert_eq!(words, format!("{}art", "abandon ".repeat(23)));
    }
}
