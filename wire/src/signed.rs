//! A body with a signature over its bytes: the outer structure of cards and openings. PROTOCOL.md, sections 5 and 10.1.

use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::frame::{self, BadFrame};
use crate::keys::{IdentityKey, IdentityPublic, NotAuthentic, Purpose};

/// A signed body. The signature is over the received bytes and not over a new encoding, because postcard allows several
/// encodings of one value.
#[derive(Serialize, Deserialize)]
pub(crate) struct Signed<'a> {
    #[serde(with = "serde_bytes")]
    pub(crate) body: &'a [u8],
    #[serde(with = "serde_bytes")]
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Splits body and signature without verifying anything.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        frame::decode(bytes)
    }

    /// Checks that the owner of `key` signed the body for `purpose`.
    pub(crate) fn verify(&self, key: &IdentityPublic, purpose: Purpose) -> Result<(), NotAuthentic> {
        key.verify(purpose, self.body, self.signature)
    }
}

/// Encodes and signs a body. Returns the encoded body, and the encoded body with its signature.
pub(crate) fn sign<T: Serialize>(
    body: &T,
    key: &IdentityKey,
    purpose: Purpose,
    rng: &mut impl CryptoRng,
) -> (Vec<u8>, Vec<u8>) {
    let body = frame::body(body);
    let signature = key.sign(purpose, &body, rng);
    let all = frame::body(&Signed { body: &body, signature: &signature });
    (body, all)
}
