//! AES-256-GCM under a key from HKDF-SHA256, as conversations and file transfers use it. PROTOCOL.md, section 4.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{NotAuthentic, SECRET_BYTES, Secret};

/// How much longer a ciphertext is than its plaintext.
pub(crate) const TAG_BYTES: usize = 16;

/// 12 bytes. Under one key a nonce must never be used for two plaintexts.
pub(crate) type Nonce = [u8; 12];

/// Derives a key with HKDF-SHA256.
pub(crate) fn derive_key(secret: &Secret, salt: &[u8], info: &[u8]) -> Secret {
    let mut key = Zeroizing::new([0; SECRET_BYTES]);
    Hkdf::<Sha256>::new(Some(salt), secret.as_slice())
        .expand(info, key.as_mut_slice())
        .expect("32 bytes are within what HKDF-SHA256 can give");
    key
}

pub(crate) struct Cipher(Aes256Gcm);

impl Cipher {
    pub(crate) fn derive(secret: &Secret, salt: &[u8], info: &[u8]) -> Self {
        let key = derive_key(secret, salt, info);
        Self(Aes256Gcm::new_from_slice(key.as_slice()).expect("an AES-256 key has 32 bytes"))
    }

    pub(crate) fn seal(&self, nonce: Nonce, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.0
            .encrypt(&nonce.into(), Payload { msg: plaintext, aad: associated_data })
            .expect("a plaintext is far below the 64 GiB that AES-GCM can seal")
    }

    pub(crate) fn open(
        &self,
        nonce: Nonce,
        associated_data: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, NotAuthentic> {
        let payload = Payload { msg: ciphertext, aad: associated_data };
        self.0.decrypt(&nonce.into(), payload).map_err(|_| NotAuthentic)
    }
}
