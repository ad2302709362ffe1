//! Sealing of records under the key of the store.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use rand::RngExt as _;
use wire::keys::Secret;

const NONCE_BYTES: usize = 12;

/// Seals the records of a store with AES-256-GCM, or leaves them as they are if there is no key.
///
/// The table and the key of a record are its associated data, so that nobody can put a record in the place of another. The
/// nonces are random: up to 2^32 records, two of them are equal with a probability below 2^-32 (NIST SP 800-38D, 8.3). A
/// message takes at most 6 records.
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

    /// A record as it is written.
    pub(super) fn seal(&self, table: &str, key: &[u8], record: Vec<u8>) -> Vec<u8> {
        let Some(cipher) = &self.0 else { return record };
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let associated_data = associated_data(table, key);
        let payload = Payload { msg: &record, aad: &associated_data };
        let sealed = cipher.encrypt(&nonce.into(), payload).expect("a record is far below 64 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The inverse of [`Seal::seal`]; `None` if the record was not sealed for this place under this key.
    pub(super) fn open(&self, table: &str, key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let Some(cipher) = &self.0 else { return Some(bytes.to_vec()) };
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let associated_data = associated_data(table, key);
        let payload = Payload { msg: sealed, aad: &associated_data };
        cipher.decrypt(nonce.into(), payload).ok()
    }
}

/// No name of a table contains a zero.
fn associated_data(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}
