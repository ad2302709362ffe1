//! Bytes that are encrypted under a passphrase: the key of the store, and an exported identity.
//!
//! The key is derived with scrypt (RFC 7914) and used for AES-256-GCM. A checksum after the ciphertext distinguishes a
//! damaged file from a wrong passphrase.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wire::Digest;
use wire::keys::Secret;
use zeroize::Zeroizing;

/// The cost of scrypt: 2^17 blocks of 1 KiB take 128 MiB and about 0.3 seconds for each attempt (recommended by OWASP).
const LOG_N: u8 = 17;
/// The maximum accepted cost. A file from elsewhere could otherwise make this process use all its memory; this one
/// takes 1 GiB.
const LOG_N_MAX: u8 = 20;
const CHECKSUM_BYTES: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLocked {
    #[error("wrong passphrase")]
    Passphrase,
    /// The bytes have changed, or were never locked bytes.
    #[error("the file is damaged")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct Locked<'a> {
    log_n: u8,
    salt: [u8; 16],
    nonce: [u8; 12],
    #[serde(with = "serde_bytes")]
    sealed: &'a [u8],
}

/// Encrypts bytes. `purpose` says what they are; [`unlock`] needs the same one.
pub(super) fn lock(passphrase: &str, purpose: &[u8], plain: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut nonce);
    let payload = Payload { msg: plain, aad: purpose };
    let sealed = cipher(passphrase, &salt, LOG_N)
        .encrypt(&nonce.into(), payload)
        .expect("a plaintext is far below the 64 GiB that AES-GCM can seal");
    let locked = Locked { log_n: LOG_N, salt, nonce, sealed: &sealed };
    let mut bytes = postcard::to_stdvec(&locked).expect("it contains nothing that postcard refuses");
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(&checksum.0);
    bytes
}

/// The inverse of [`lock`].
pub(super) fn unlock(
    passphrase: &str,
    purpose: &[u8],
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, BadLocked> {
    let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(BadLocked::Damaged)?;
    if Digest::of(bytes).0 != *checksum {
        return Err(BadLocked::Damaged);
    }
    let locked: Locked = postcard::from_bytes(bytes).map_err(|_| BadLocked::Damaged)?;
    if locked.log_n > LOG_N_MAX {
        return Err(BadLocked::Damaged);
    }
    let payload = Payload { msg: locked.sealed, aad: purpose };
    let opened = cipher(passphrase, &locked.salt, locked.log_n).decrypt(&locked.nonce.into(), payload);
    opened.map(Zeroizing::new).map_err(|_| BadLocked::Passphrase)
}

fn cipher(passphrase: &str, salt: &[u8], log_n: u8) -> Aes256Gcm {
    let costs = scrypt::Params::new(log_n, scrypt::Params::RECOMMENDED_R, scrypt::Params::RECOMMENDED_P);
    let mut key = Secret::default();
    scrypt::scrypt(passphrase.as_bytes(), salt, &costs.expect("the costs are in range"), key.as_mut_slice())
        .expect("32 bytes are within what scrypt can give");
    Aes256Gcm::new_from_slice(key.as_slice()).expect("an AES-256 key has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_and_the_purpose_open_it_and_damage_is_told_apart() {
        let locked = lock("open sesame", b"a", b"secret", &mut rand::rng());
        assert_eq!(unlock("open sesame", b"a", &locked).expect("it opens").as_slice(), b"secret");
        assert_eq!(unlock("open barley", b"a", &locked), Err(BadLocked::Passphrase));
        assert_eq!(unlock("open sesame", b"b", &locked), Err(BadLocked::Passphrase));
        for at in [0, locked.len() / 2, locked.len() - 1] {
            let mut damaged = locked.clone();
            damaged[at] ^= 1;
            assert_eq!(unlock("open sesame", b"a", &damaged), Err(BadLocked::Damaged), "byte {at}");
        }
        assert_eq!(unlock("open sesame", b"a", &locked[..20]), Err(BadLocked::Damaged));
        assert_ne!(lock("open sesame", b"a", b"secret", &mut rand::rng()), locked, "the salt is random");
    }
}
