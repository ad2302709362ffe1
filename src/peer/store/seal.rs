//! Encryption of records under the key of the store.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use rand::RngExt as _;
use wire::keys::Secret;

const NONCE_BYTES: usize = 12;

/// Encrypts the records of a store with AES-256-GCM, or leaves them as they are if there is no key.
///
/// The table and the key of a record are its associated data, so a record cannot take the place of another. The nonces
/// are random: among up to 2^32 records, the probability that two are equal is below 2^-32 (NIST SP 800-38D, section
/// 8.3). A message takes at most 6 records.
#[derive(Default)]
pub(super) struct Seal(Option<Box<Aes256Gcm>>);

impl Seal {
    pub(super) fn new(key: Option<&Secret>) -> Self {
        let cipher =
            |key: &Secret| Aes256Gcm::new_from_slice(key.as_slice()).expect("an AES-256 key has 32 bytes");
        Self(key.map(|key| Box::new(cipher(key))))
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn seal(&self, table: &str, key: &[u8], record: Vec<u8>) -> Vec<u8> {
        let Some(cipher) = &self.0 else { return record };
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let associated_data = associated_data(table, key);
        let payload = Payload { msg: &record, aad: &associated_data };
        let sealed = cipher.encrypt(&nonce.into(), payload).expect("a record is far below 64 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The inverse of [`Seal::seal`]; `None` if the record was not encrypted for this table and key under this store
    /// key.
    pub(super) fn open(&self, table: &str, key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let Some(cipher) = &self.0 else { return Some(bytes.to_vec()) };
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let associated_data = associated_data(table, key);
        let payload = Payload { msg: sealed, aad: &associated_data };
        cipher.decrypt(nonce.into(), payload).ok()
    }
}

/// The zero byte separates the two: no name of a table contains one.
fn associated_data(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}
