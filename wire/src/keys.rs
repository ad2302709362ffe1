//! The two RSA key pairs of a peer: one that only signs, one that only unwraps keys.
//!
//! PROTOCOL.md, section "Keys". RSASSA-PSS and RSAES-OAEP are those of RFC 8017 with SHA-256 for the hash and for MGF1.

use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::pss::{Signature, SigningKey, VerifyingKey};
use rsa::rand_core::CryptoRng;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Verifier};
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::digest::{Digest, Fingerprint};

/// Size of the keys that peers make, in bits.
pub const KEY_BITS: usize = 3072;
/// Smallest modulus accepted from others, in bits.
pub const KEY_BITS_MIN: u32 = 2048;
/// Largest modulus accepted from others, in bits: verifying must stay cheap for whoever is asked to.
pub const KEY_BITS_MAX: u32 = 4096;
/// Length of the keys that are wrapped, in bytes.
pub const SECRET_BYTES: usize = 32;

/// A 32-byte secret that is wiped when dropped.
pub type Secret = Zeroizing<[u8; SECRET_BYTES]>;

const OAEP_LABEL: &[u8] = b"switchboard/1 conversation key";

/// What each signature is about; it goes in front of what is signed, so that none can be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A contact card.
    Card,
    /// The proof of a key when joining a server.
    Join,
    /// The opening of a conversation.
    Opening,
}

impl Purpose {
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Card => b"switchboard/1 card\0",
            Self::Join => b"switchboard/1 join\0",
            Self::Opening => b"switchboard/1 opening\0",
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// Not a SubjectPublicKeyInfo with an RSA key.
    #[error("not an RSA public key in SubjectPublicKeyInfo form")]
    Public,
    /// Not a PKCS#8 private key, or the passphrase does not open it.
    #[error("not an RSA private key in PKCS#8 PEM form, or the passphrase does not open it")]
    Private,
    /// The key is under a passphrase and none was given.
    #[error("the key is under a passphrase and none was given")]
    PassphraseMissing,
    /// The modulus is outside 2048 to 4096 bits.
    #[error("an RSA key must have 2048 to 4096 bits, this one has {0}")]
    Size(u32),
    /// The system could not make a key.
    #[error("an RSA key could not be made")]
    Generation,
}

/// The one failure of all that can be wrong with a signature or a ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not verify")]
pub struct NotAuthentic;

/// A public key with its name.
#[derive(Debug, Clone)]
struct PublicKey {
    key: RsaPublicKey,
    der: Vec<u8>,
    fingerprint: Fingerprint,
}

impl PublicKey {
    fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        let key = RsaPublicKey::from_public_key_der(der).map_err(|_| BadKey::Public)?;
        check_size(&key)?;
        Ok(Self { key, der: der.to_vec(), fingerprint: Digest::of(der) })
    }

    fn of(private: &RsaPrivateKey) -> Result<Self, BadKey> {
        let der = private.to_public_key().to_public_key_der().map_err(|_| BadKey::Public)?;
        Self::from_der(der.as_bytes())
    }
}

fn check_size(key: &impl PublicKeyParts) -> Result<(), BadKey> {
    let bits = key.n().bits();
    if (KEY_BITS_MIN..=KEY_BITS_MAX).contains(&bits) { Ok(()) } else { Err(BadKey::Size(bits)) }
}

/// A private key with the public half in the form in which it travels.
struct PrivateKey {
    key: RsaPrivateKey,
    public: PublicKey,
}

impl PrivateKey {
    fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self, BadKey> {
        let key = RsaPrivateKey::new(rng, bits).map_err(|_| BadKey::Generation)?;
        let public = PublicKey::of(&key)?;
        Ok(Self { key, public })
    }

    fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        let key = if is_under_passphrase(pem) {
            let passphrase = passphrase.ok_or(BadKey::PassphraseMissing)?;
            RsaPrivateKey::from_pkcs8_encrypted_pem(pem, passphrase)
        } else {
            RsaPrivateKey::from_pkcs8_pem(pem)
        };
        let key = key.map_err(|_| BadKey::Private)?;
        key.validate().map_err(|_| BadKey::Private)?;
        let public = PublicKey::of(&key)?;
        Ok(Self { key, public })
    }

    fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, BadKey> {
        match passphrase {
            None => self.key.to_pkcs8_pem(LineEnding::LF),
            Some(passphrase) => self.key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        }
        .map_err(|_| BadKey::Private)
    }
}

/// Whether a PEM text holds a key under a passphrase (RFC 7468, section 11).
pub fn is_under_passphrase(pem: &str) -> bool {
    pem.trim_start().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// The public half of an identity: verifies what its owner signed.
#[derive(Debug, Clone)]
pub struct IdentityPublic(PublicKey);

impl IdentityPublic {
    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`BadKey`] when it is none or its size is not accepted.
    pub fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        PublicKey::from_der(der).map(Self)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Names this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Checks that the owner signed `message` for `purpose` (RSASSA-PSS, SHA-256, 32 bytes of salt).
    ///
    /// # Errors
    /// [`NotAuthentic`], whatever is wrong with it.
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &[u8]) -> Result<(), NotAuthentic> {
        let signature = Signature::try_from(signature).map_err(|_| NotAuthentic)?;
        VerifyingKey::<Sha256>::new(self.0.key.clone())
            .verify(&[purpose.domain(), message].concat(), &signature)
            .map_err(|_| NotAuthentic)
    }
}

/// The identity of a peer: a key pair for signatures only.
pub struct IdentityKey {
    signing: SigningKey<Sha256>,
    private: PrivateKey,
    public: IdentityPublic,
}

impl IdentityKey {
    /// Makes a key pair of `bits` bits.
    ///
    /// # Errors
    /// [`BadKey`] when the size is not accepted.
    pub fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self, BadKey> {
        PrivateKey::generate(bits, rng).map(Self::new)
    }

    /// Reads PKCS#8 PEM, under a passphrase or not.
    ///
    /// # Errors
    /// [`BadKey`] when it is none, is damaged, or the passphrase is missing or wrong.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        PrivateKey::from_pem(pem, passphrase).map(Self::new)
    }

    fn new(private: PrivateKey) -> Self {
        let public = IdentityPublic(private.public.clone());
        Self { signing: SigningKey::new(private.key.clone()), private, public }
    }

    /// Writes PKCS#8 PEM, under a passphrase if one is given.
    ///
    /// # Errors
    /// [`BadKey::Private`] when the key cannot be encoded.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, BadKey> {
        self.private.to_pem(passphrase)
    }

    /// The public half.
    pub fn public(&self) -> &IdentityPublic {
        &self.public
    }

    /// Signs `message` for `purpose` (RSASSA-PSS, SHA-256, 32 bytes of salt).
    pub fn sign(&self, purpose: Purpose, message: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        self.signing.sign_with_rng(rng, &[purpose.domain(), message].concat()).to_vec()
    }
}

/// The public half of an encryption pair: wraps keys for its owner.
#[derive(Debug, Clone)]
pub struct EncryptionPublic(PublicKey);

impl EncryptionPublic {
    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`BadKey`] when it is none or its size is not accepted.
    pub fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        PublicKey::from_der(der).map(Self)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Names this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Encrypts a key for the owner (RSAES-OAEP, SHA-256, MGF1-SHA256, label `switchboard/1 conversation key`).
    pub fn wrap(&self, secret: &Secret, rng: &mut impl CryptoRng) -> Vec<u8> {
        self.0
            .key
            .encrypt(rng, Oaep::<Sha256>::new_with_label(OAEP_LABEL), secret.as_slice())
            .expect("32 bytes fit under OAEP with SHA-256 in every modulus from 2048 bits on")
    }
}

/// An encryption pair: unwraps keys, and does nothing else.
pub struct EncryptionKey {
    private: PrivateKey,
    public: EncryptionPublic,
}

impl EncryptionKey {
    /// Makes a key pair of `bits` bits.
    ///
    /// # Errors
    /// [`BadKey`] when the size is not accepted.
    pub fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self, BadKey> {
        PrivateKey::generate(bits, rng).map(Self::new)
    }

    /// Reads PKCS#8 PEM, under a passphrase or not.
    ///
    /// # Errors
    /// [`BadKey`] when it is none, is damaged, or the passphrase is missing or wrong.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        PrivateKey::from_pem(pem, passphrase).map(Self::new)
    }

    fn new(private: PrivateKey) -> Self {
        let public = EncryptionPublic(private.public.clone());
        Self { private, public }
    }

    /// Writes PKCS#8 PEM, under a passphrase if one is given.
    ///
    /// # Errors
    /// [`BadKey::Private`] when the key cannot be encoded.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, BadKey> {
        self.private.to_pem(passphrase)
    }

    /// The public half.
    pub fn public(&self) -> &EncryptionPublic {
        &self.public
    }

    /// Decrypts a key that was wrapped for this pair.
    ///
    /// # Errors
    /// [`NotAuthentic`], whatever is wrong with it.
    pub fn unwrap_secret(&self, wrapped: &[u8], rng: &mut impl CryptoRng) -> Result<Secret, NotAuthentic> {
        let padding = Oaep::<Sha256>::new_with_label(OAEP_LABEL);
        let plain = self.private.key.decrypt_blinded(rng, padding, wrapped).map_err(|_| NotAuthentic)?;
        let plain = Zeroizing::new(plain);
        let secret = plain.as_slice().try_into().map_err(|_| NotAuthentic)?;
        Ok(Zeroizing::new(secret))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::LazyLock;

    pub(crate) fn rng() -> impl CryptoRng {
        rand::rng()
    }

    pub(crate) static ALICE: LazyLock<IdentityKey> =
        LazyLock::new(|| IdentityKey::generate(2048, &mut rng()).expect("a good size"));
    pub(crate) static BOB: LazyLock<IdentityKey> =
        LazyLock::new(|| IdentityKey::generate(2048, &mut rng()).expect("a good size"));
    pub(crate) static BOB_ENCRYPTION: LazyLock<EncryptionKey> =
        LazyLock::new(|| EncryptionKey::generate(2048, &mut rng()).expect("a good size"));

    #[test]
    fn a_signature_holds_for_its_key_message_and_purpose_only() {
        let signature = ALICE.sign(Purpose::Card, b"message", &mut rng());
        assert_eq!(ALICE.public().verify(Purpose::Card, b"message", &signature), Ok(()));
        assert_eq!(ALICE.public().verify(Purpose::Join, b"message", &signature), Err(NotAuthentic));
        assert_eq!(ALICE.public().verify(Purpose::Card, b"massage", &signature), Err(NotAuthentic));
        assert_eq!(BOB.public().verify(Purpose::Card, b"message", &signature), Err(NotAuthentic));
        assert_eq!(ALICE.public().verify(Purpose::Card, b"message", &signature[1..]), Err(NotAuthentic));
        assert_eq!(ALICE.public().verify(Purpose::Card, b"message", b""), Err(NotAuthentic));
    }

    #[test]
    fn a_wrapped_key_opens_for_its_owner_only() {
        let secret = Secret::new([7; SECRET_BYTES]);
        let wrapped = BOB_ENCRYPTION.public().wrap(&secret, &mut rng());
        assert_eq!(BOB_ENCRYPTION.unwrap_secret(&wrapped, &mut rng()), Ok(secret));
        let mut damaged = wrapped.clone();
        damaged[9] ^= 1;
        assert_eq!(BOB_ENCRYPTION.unwrap_secret(&damaged, &mut rng()), Err(NotAuthentic));
        assert_eq!(BOB_ENCRYPTION.unwrap_secret(&[], &mut rng()), Err(NotAuthentic));
    }

    #[test]
    fn keys_survive_their_files_with_and_without_a_passphrase() {
        let plain = ALICE.to_pem(None).expect("a key encodes");
        let again = IdentityKey::from_pem(&plain, None).expect("what was written reads");
        assert_eq!(again.public().fingerprint(), ALICE.public().fingerprint());
        let locked = ALICE.to_pem(Some("open sesame")).expect("a key encodes");
        assert!(is_under_passphrase(&locked));
        assert!(IdentityKey::from_pem(&locked, Some("open sesame")).is_ok());
        assert!(matches!(IdentityKey::from_pem(&locked, Some("wrong")), Err(BadKey::Private)));
        assert!(matches!(IdentityKey::from_pem(&locked, None), Err(BadKey::PassphraseMissing)));
    }

    #[test]
    fn keys_of_other_sizes_are_refused() {
        assert!(matches!(
            IdentityKey::generate(1024, &mut rng()),
            Err(BadKey::Size(1024) | BadKey::Generation)
        ));
        assert!(matches!(IdentityPublic::from_der(b"junk"), Err(BadKey::Public)));
    }
}
