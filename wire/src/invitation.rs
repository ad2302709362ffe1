//! Invitations to a server that admits only members. PROTOCOL.md, section 8.
//!
//! A peer does not send its invitation to the server. It proves that it has it with a MAC over data of this join, so
//! that somebody who reads the connection, or another server, cannot use the invitation.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::digest::{Digest, Fingerprint};

pub const SECRET_BYTES: usize = 16;
const SERVER_BYTES: usize = 16;
/// How many letters and digits are between two hyphens.
const GROUP: usize = 4;
const TEXT: Encoding = BASE32_NOPAD;

/// Identifies an invitation: the first bytes of a digest of its secret.
pub type InvitationId = [u8; 8];

/// A secret that lets one peer join.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Invitation {
    secret: [u8; SECRET_BYTES],
    /// The first half of the fingerprint of the server's key. The peer uses the invitation at no other server.
    server: [u8; SERVER_BYTES],
}

/// Proves to the peer that signs a text that a server knows its invitation: HMAC-SHA256 under the secret over a domain and the text.
pub type KnownProof = [u8; 32];

/// The prefix of what [`KnownProof`] is made of. Claims are MACs of texts that are shorter.
const KNOWN: &[u8] = b"switchboard/1 known invitation\0";

/// Proves in a `Join` that the peer has an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationClaim {
    pub id: InvitationId,
    /// HMAC-SHA256 under the secret over the text that the proof of the join signs.
    pub mac: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an invitation; an invitation has 52 letters and digits, in groups of four")]
pub struct BadInvitation;

impl Invitation {
    /// An invitation to the server with this key. `secret` must be random.
    pub fn new(secret: [u8; SECRET_BYTES], server: &Fingerprint) -> Self {
        let mut half = [0; SERVER_BYTES];
        half.copy_from_slice(&server.0[..SERVER_BYTES]);
        Self { secret, server: half }
    }

    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// Whether this invitation is for the server with this key.
    pub fn is_for(&self, server: &Fingerprint) -> bool {
        server.0.starts_with(&self.server)
    }

    /// Whether the server that has sent `proof` knows this invitation. The peer that signs `proof_text` asks this of a server with
    /// another key, because another server of the same cluster knows it too.
    pub fn is_known(&self, proof_text: &[u8], proof: &KnownProof) -> bool {
        mac(&self.secret, &known_text(proof_text)).verify_slice(proof).is_ok()
    }

    /// Proves to the server that the peer that signs `proof_text` has this invitation.
    pub fn claim(&self, proof_text: &[u8]) -> InvitationClaim {
        InvitationClaim {
            id: id(&self.secret),
            mac: mac(&self.secret, proof_text).finalize().into_bytes().into(),
        }
    }
}

impl InvitationClaim {
    /// Whether it was made with this secret, by the peer that has signed `proof_text`.
    pub fn is_valid(&self, secret: &[u8; SECRET_BYTES], proof_text: &[u8]) -> bool {
        self.id == id(secret) && mac(secret, proof_text).verify_slice(&self.mac).is_ok()
    }
}

/// Proves to the peer that signs `proof_text` that a server knows the invitation with this secret.
pub fn prove_known(secret: &[u8; SECRET_BYTES], proof_text: &[u8]) -> KnownProof {
    mac(secret, &known_text(proof_text)).finalize().into_bytes().into()
}

fn known_text(proof_text: &[u8]) -> Vec<u8> {
    [KNOWN, proof_text].concat()
}

pub fn id(secret: &[u8; SECRET_BYTES]) -> InvitationId {
    let digest = Digest::of_parts(&[b"switchboard/1 invitation\0", secret]);
    *digest.0.first_chunk().expect("a digest is longer than an id")
}

fn mac(secret: &[u8; SECRET_BYTES], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(text);
    mac
}

impl fmt::Display for Invitation {
    /// Base32 (RFC 4648, section 6) in groups of four.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = TEXT.encode(&[self.secret, self.server].concat());
        for (index, letter) in text.char_indices() {
            let separator = if index > 0 && index % GROUP == 0 { "-" } else { "" };
            write!(f, "{separator}{letter}")?;
        }
        text.zeroize();
        Ok(())
    }
}

impl fmt::Debug for Invitation {
    /// Shows the id only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Invitation").field(&id(&self.secret)).finish()
    }
}

impl FromStr for Invitation {
    type Err = BadInvitation;

    /// Reads the text with or without hyphens and spaces, in either case.
    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        let letters: String = text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        let bytes = TEXT.decode(letters.to_ascii_uppercase().as_bytes()).map_err(|_| BadInvitation)?;
        let (secret, server) = bytes.split_first_chunk().ok_or(BadInvitation)?;
        Ok(Self { secret: *secret, server: server.try_into().map_err(|_| BadInvitation)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation::new([0x5a; SECRET_BYTES], &Digest::of(b"the server's key"))
    }

    #[test]
    fn the_text_is_read_as_people_type_it() {
        let text = invitation().to_string();
        assert_eq!(text.len(), 52 + 12);
        assert_eq!(text.parse(), Ok(invitation()));
        assert_eq!(text.to_lowercase().replace('-', " ").parse(), Ok(invitation()));
        for bad in
            ["", "abc", &text[1..], &format!("{text}a"), &text.replace(|c: char| c.is_ascii_digit(), "1")]
        {
            assert_eq!(bad.parse::<Invitation>(), Err(BadInvitation), "{bad}");
        }
    }

    #[test]
    fn it_is_for_one_server() {
        assert!(invitation().is_for(&Digest::of(b"the server's key")));
        assert!(!invitation().is_for(&Digest::of(b"another key")));
    }

    #[test]
    fn a_claim_is_good_for_one_join_and_one_secret() {
        let claim = invitation().claim(b"this join");
        assert!(claim.is_valid(&[0x5a; SECRET_BYTES], b"this join"));
        assert!(!claim.is_valid(&[0x5a; SECRET_BYTES], b"another join"));
        assert!(!claim.is_valid(&[0x5b; SECRET_BYTES], b"this join"));
        let mut forged = claim;
        forged.mac[31] ^= 1;
        assert!(!forged.is_valid(&[0x5a; SECRET_BYTES], b"this join"));
        forged = InvitationClaim { id: [0; 8], ..claim };
        assert!(!forged.is_valid(&[0x5a; SECRET_BYTES], b"this join"));
    }

    #[test]
    fn a_server_that_knows_an_invitation_proves_it_to_one_join() {
        let proof = prove_known(&[0x5a; SECRET_BYTES], b"this join");
        assert!(invitation().is_known(b"this join", &proof));
        assert!(!invitation().is_known(b"another join", &proof));
        assert!(!invitation().is_known(b"this join", &prove_known(&[0x5b; SECRET_BYTES], b"this join")));
        // What a peer sends is no such proof.
        assert!(!invitation().is_known(b"this join", &invitation().claim(b"this join").mac));
    }

    #[test]
    fn debugging_output_has_no_secret() {
        let shown = format!("{:?}", invitation());
        assert!(!shown.contains("90, 90"), "{shown}");
    }
}
