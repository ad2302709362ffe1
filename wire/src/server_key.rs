//! The identity key of a server, by which peers recognise it. PROTOCOL.md, section 8.
//!
//! Ed25519 (RFC 8032) rather than RSA, because it signs and makes keys faster: the server signs in every join, and
//! makes its key at its first start.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Fingerprint};
use crate::keys::NotAuthentic;

pub const SEED_BYTES: usize = 32;
pub const SIGNATURE_BYTES: usize = 64;

/// The prefix of the text that the server signs.
const WELCOME: &[u8] = b"switchboard/1 welcome\0";

#[derive(Clone)]
pub struct ServerKey(SigningKey);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPublic(pub [u8; 32]);

impl ServerKey {
    /// The key of a seed, which must be random and secret.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    pub fn public(&self) -> ServerPublic {
        ServerPublic(self.0.verifying_key().to_bytes())
    }

    /// Proves this key to the peer that has joined with `proof`. The proof of the peer signs the nonce of this
    /// connection and this key, so no two proofs are equal, and this signature is of no use on another connection.
    pub fn welcome(&self, proof: &[u8]) -> Vec<u8> {
        self.0.sign(&welcome_text(proof)).to_bytes().to_vec()
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerKey").field(&self.public().fingerprint()).finish()
    }
}

impl ServerPublic {
    /// The SHA-256 digest of the 32 bytes of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        Digest::of(&self.0)
    }

    /// Checks what [`ServerKey::welcome`] has signed.
    ///
    /// [`NotAuthentic`], also if this is not a valid key.
    pub fn verify_welcome(&self, proof: &[u8], signature: &[u8]) -> Result<(), NotAuthentic> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| NotAuthentic)?;
        let signature = Signature::from_slice(signature).map_err(|_| NotAuthentic)?;
        key.verify_strict(&welcome_text(proof), &signature).map_err(|_| NotAuthentic)
    }
}

fn welcome_text(proof: &[u8]) -> Vec<u8> {
    [WELCOME, &Digest::of(proof).0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_good_for_one_key_and_one_proof() {
        let key = ServerKey::from_seed(&[7; SEED_BYTES]);
        let other = ServerKey::from_seed(&[8; SEED_BYTES]);
        let signature = key.welcome(b"the peer's proof");
        assert_eq!(signature.len(), SIGNATURE_BYTES);
        assert_eq!(key.public().verify_welcome(b"the peer's proof", &signature), Ok(()));
        assert_eq!(key.public().verify_welcome(b"another proof", &signature), Err(NotAuthentic));
        assert_eq!(other.public().verify_welcome(b"the peer's proof", &signature), Err(NotAuthentic));
        assert_eq!(key.public().verify_welcome(b"the peer's proof", &signature[1..]), Err(NotAuthentic));
        let mut altered = signature;
        altered[40] ^= 1;
        assert_eq!(key.public().verify_welcome(b"the peer's proof", &altered), Err(NotAuthentic));
        assert_eq!(ServerPublic([2; 32]).verify_welcome(b"", &altered), Err(NotAuthentic), "it is no point");
    }

    #[test]
    fn debugging_output_has_no_secret() {
        let shown = format!("{:?}", ServerKey::from_seed(&[0xab; SEED_BYTES]));
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }
}
