//! Keys that were made once, for simulated peers only: making RSA keys takes longer than a whole run.

use std::collections::BTreeMap;
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

/// What the encryption keys of all peers are taken from, one after the other.
static POOL: LazyLock<Vec<EncryptionKey>> = LazyLock::new(|| {
    let end = "-----END PRIVATE KEY-----\n";
    let pems = include_str!("keys/renewed.pem").split_inclusive(end);
    pems.map(|pem| EncryptionKey::from_pem(pem, None).expect("the file has keys")).collect()
});

/// How many renewals of one peer have keys that differ.
pub(super) const RENEWALS: usize = 8;

/// The encryption key of a peer after so many renewals. After [`RENEWALS`] of them the keys come again, which is long after
/// they were destroyed.
pub(super) fn pair(peer: usize, renewals: usize, made_at: u64) -> EncryptionPair {
    let key = match renewals.checked_sub(1) {
        None => PARSED[peer].1.clone(),
        Some(renewal) => POOL[peer * RENEWALS + renewal % RENEWALS].clone(),
    };
    EncryptionPair { key, made_at }
}

/// The keys of a peer; `made` are its encryption keys, see [`super::disk::Content::keys`].
pub(crate) fn of(peer: usize, made: &BTreeMap<u64, usize>) -> Keys {
    let pairs = made.iter().rev().map(|(made_at, renewals)| pair(peer, *renewals, *made_at));
    Keys {
        identity: PARSED[peer].0.clone(),
        encryption: pairs.collect(),
        made_identity: false,
        succeeds: Vec::new(),
    }
}
