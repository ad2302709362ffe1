//! Keys that were made once, for simulated peers only: making RSA keys takes longer than a whole run.

use std::sync::LazyLock;

use switchboard::peer::home::{EncryptionPair, Keys};
use wire::keys::{EncryptionKey, IdentityKey};

/// Identity key and encryption key of each simulated peer, in PKCS#8 PEM.
const PEMS: [(&str, &str); super::PEERS_MAX] = [
    (include_str!("keys/a-identity.pem"), include_str!("keys/a-encryption.pem")),
    (include_str!("keys/b-identity.pem"), include_str!("keys/b-encryption.pem")),
    (include_str!("keys/c-identity.pem"), include_str!("keys/c-encryption.pem")),
];

/// Identity, then encryption key, of each peer. Reading a key checks that it is one, which is slow as well.
static PARSED: LazyLock<Vec<(IdentityKey, EncryptionKey)>> = LazyLock::new(|| {
    let parse = |(identity, encryption): &(&str, &str)| {
        let identity = IdentityKey::from_pem(identity, None).expect("the file is a key");
        (identity, EncryptionKey::from_pem(encryption, None).expect("the file is a key"))
    };
    PEMS.iter().map(parse).collect()
});

/// The keys of a peer, as if they had been made at `made_at` (seconds since 1970).
pub(super) fn of(peer: usize, made_at: u64) -> Keys {
    let (identity, encryption) = PARSED[peer].clone();
    let pair = EncryptionPair { key: encryption, made_at, retired_at: None };
    Keys { identity, encryption: vec![pair], made_identity: false }
}
