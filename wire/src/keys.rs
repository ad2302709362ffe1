//! The two RSA key pairs of a peer: one that only signs and one that only unwraps keys. PROTOCOL.md, section 4.
//!
//! RSASSA-PSS and RSAES-OAEP are those of RFC 8017, with SHA-256 as hash and in MGF1.

use std::marker::PhantomData;

use rsa::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, EncryptedPrivateKeyInfoRef,
    LineEnding,
};
use rsa::rand_core::CryptoRng;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, Oaep, Pss, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::digest::{Digest, Fingerprint};

/// Size of the keys that peers make, in bits.
pub const KEY_BITS: usize = 3072;
/// Smallest accepted modulus, in bits.
pub const KEY_BITS_MIN: u32 = 2048;
/// Largest accepted modulus, in bits: a stranger's signature must be cheap to verify.
pub const KEY_BITS_MAX: u32 = 4096;
/// Smallest accepted public exponent. With a smaller one, mistakes in padding are easier to exploit (NIST SP 800-56B, 6.2).
pub const EXPONENT_MIN: u64 = 65_537;
/// Largest accepted public exponent: with one as long as the modulus, each signature would take 100 times as long to verify.
pub const EXPONENT_MAX: u64 = u32::MAX as u64;
/// Length of the keys that are wrapped, in bytes.
pub const SECRET_BYTES: usize = 32;

/// A 32-byte secret that is zeroized when it is dropped.
pub type Secret = Zeroizing<[u8; SECRET_BYTES]>;

const OAEP_LABEL: &[u8] = b"switchboard/1 conversation key";

/// What a signature is for. Its domain string is signed in front of the message, so that a signature for one purpose
/// cannot be used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Card,
    Join,
    Opening,
    /// The statement that another key takes the place of the signing one.
    Succession,
}

impl Purpose {
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Card => b"switchboard/1 card\0",
            Self::Join => b"switchboard/1 join\0",
            Self::Opening => b"switchboard/1 opening\0",
            Self::Succession => b"switchboard/1 succession\0",
        }
    }

    fn hash(self, message: &[u8]) -> Digest {
        Digest::of_parts(&[self.domain(), message])
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    #[error("not an RSA public key in SubjectPublicKeyInfo form")]
    Public,
    #[error("not an RSA private key in PKCS#8 PEM form")]
    Private,
    /// The key cannot be decrypted. PKCS#8 encrypts without authenticating, so a damaged ciphertext looks the same.
    #[error("wrong passphrase, or the encrypted part of the file is damaged")]
    Passphrase,
    #[error("the key is encrypted and no passphrase was given")]
    PassphraseMissing,
    #[error("an RSA key must have 2048 to 4096 bits, this one has {0}")]
    Size(u32),
    /// The exponent is outside [`EXPONENT_MIN`] to [`EXPONENT_MAX`].
    #[error("the public exponent of an RSA key must be from 65,537 to 4,294,967,295")]
    Exponent,
    #[error("the generation of an RSA key has failed")]
    Generation,
}

/// A signature or a ciphertext is not authentic. There is one error for all causes, because telling them apart would help
/// an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not verify")]
pub struct NotAuthentic;

/// Marks the keys of an identity, which are for signatures only.
#[derive(Debug, Clone)]
pub enum Signing {}

/// Marks the keys of an encryption pair, which are for wrapping keys only.
#[derive(Debug, Clone)]
pub enum Wrapping {}

/// The public half of an identity: verifies what its owner signed.
pub type IdentityPublic = PublicKey<Signing>;
/// The identity of a peer: a key pair for signatures only.
pub type IdentityKey = PrivateKey<Signing>;
/// The public half of an encryption pair: wraps keys for its owner.
pub type EncryptionPublic = PublicKey<Wrapping>;
/// An encryption pair: unwraps keys, and does nothing else.
pub type EncryptionKey = PrivateKey<Wrapping>;

/// A public RSA key of 2048 to 4096 bits.
#[derive(Debug, Clone)]
pub struct PublicKey<Use> {
    key: RsaPublicKey,
    der: Vec<u8>,
    fingerprint: Fingerprint,
    usage: PhantomData<Use>,
}

impl<Use> PublicKey<Use> {
    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`BadKey::Public`], [`BadKey::Size`] or [`BadKey::Exponent`].
    pub fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        // Refuses even numbers as well.
        let key = RsaPublicKey::from_public_key_der(der).map_err(|_| BadKey::Public)?;
        let bits = key.n().bits();
        if !(KEY_BITS_MIN..=KEY_BITS_MAX).contains(&bits) {
            return Err(BadKey::Size(bits));
        }
        if !(BoxedUint::from(EXPONENT_MIN)..=BoxedUint::from(EXPONENT_MAX)).contains(key.e()) {
            return Err(BadKey::Exponent);
        }
        Ok(Self { key, der: der.to_vec(), fingerprint: Digest::of(der), usage: PhantomData })
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 digest of [`PublicKey::der`].
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl PublicKey<Signing> {
    /// Checks that the owner signed `message` for `purpose` (RSASSA-PSS, SHA-256, 32 bytes of salt).
    ///
    /// # Errors
    /// [`NotAuthentic`], whatever is wrong with it.
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &[u8]) -> Result<(), NotAuthentic> {
        let hash = purpose.hash(message);
        self.key.verify(Pss::<Sha256>::new(), &hash.0, signature).map_err(|_| NotAuthentic)
    }
}

impl PublicKey<Wrapping> {
    /// Encrypts a key for the owner (RSAES-OAEP, SHA-256, MGF1-SHA256, label `switchboard/1 conversation key`).
    pub fn wrap(&self, secret: &Secret, rng: &mut impl CryptoRng) -> Vec<u8> {
        self.key
            .encrypt(rng, Oaep::<Sha256>::new_with_label(OAEP_LABEL), secret.as_slice())
            .expect("32 bytes fit under OAEP with SHA-256 in every modulus from 2048 bits on")
    }
}

/// A private RSA key with its public half.
#[derive(Clone)]
pub struct PrivateKey<Use> {
    key: RsaPrivateKey,
    public: PublicKey<Use>,
}

impl<Use> PrivateKey<Use> {
    /// # Errors
    /// [`BadKey::Size`] or [`BadKey::Generation`].
    pub fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self, BadKey> {
        Self::new(RsaPrivateKey::new(rng, bits).map_err(|_| BadKey::Generation)?)
    }

    /// Reads PKCS#8 PEM, encrypted under a passphrase or not.
    ///
    /// # Errors
    /// [`BadKey::PassphraseMissing`] or [`BadKey::Passphrase`] for an encrypted key, [`BadKey::Private`] for a damaged one.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        let key = if is_under_passphrase(pem) {
            let (_, der) = pem_rfc7468::decode_vec(pem.as_bytes()).map_err(|_| BadKey::Private)?;
            let locked = EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|_| BadKey::Private)?;
            let passphrase = passphrase.ok_or(BadKey::PassphraseMissing)?;
            let opened = locked.decrypt(passphrase).map_err(|_| BadKey::Passphrase)?;
            // With a wrong passphrase one in 256 paddings is valid by chance.
            RsaPrivateKey::from_pkcs8_der(opened.as_bytes()).map_err(|_| BadKey::Passphrase)?
        } else {
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| BadKey::Private)?
        };
        key.validate().map_err(|_| BadKey::Private)?;
        Self::new(key)
    }

    fn new(key: RsaPrivateKey) -> Result<Self, BadKey> {
        let der = key.to_public_key().to_public_key_der().map_err(|_| BadKey::Public)?;
        Ok(Self { public: PublicKey::from_der(der.as_bytes())?, key })
    }

    /// Writes PKCS#8 PEM, encrypted if a passphrase is given.
    ///
    /// # Errors
    /// [`BadKey::Private`] when the key cannot be encoded.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, BadKey> {
        match passphrase {
            None => self.key.to_pkcs8_pem(LineEnding::LF),
            Some(passphrase) => self.key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        }
        .map_err(|_| BadKey::Private)
    }

    pub fn public(&self) -> &PublicKey<Use> {
        &self.public
    }
}

impl PrivateKey<Signing> {
    /// Signs `message` for `purpose` (RSASSA-PSS, SHA-256, 32 bytes of salt).
    pub fn sign(&self, purpose: Purpose, message: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        self.key
            .sign_with_rng(rng, Pss::<Sha256>::new(), &purpose.hash(message).0)
            .expect("a SHA-256 hash and its salt fit under PSS in every modulus from 2048 bits on")
    }
}

impl PrivateKey<Wrapping> {
    /// Decrypts a secret that was wrapped for this pair. If that fails, the result is a random secret, which then fails
    /// where every wrong secret fails.
    ///
    /// An error of its own, or one that comes earlier, would tell a sender whether its ciphertext has a valid padding, and
    /// with enough questions of that kind a wrapped secret can be decrypted (J. Manger, CRYPTO 2001).
    pub fn unwrap_secret(&self, wrapped: &[u8], rng: &mut impl CryptoRng) -> Secret {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        // Drawn in any case, so that it takes the same time.
        rng.fill_bytes(secret.as_mut_slice());
        let padding = Oaep::<Sha256>::new_with_label(OAEP_LABEL);
        let plain = self.key.decrypt_blinded(rng, padding, wrapped).map(Zeroizing::new);
        if let Some(unwrapped) = plain.ok().and_then(|plain| plain.as_slice().try_into().ok()) {
            *secret = unwrapped;
        }
        secret
    }
}

/// Whether a PEM text holds an encrypted key (RFC 7468, section 11).
pub fn is_under_passphrase(pem: &str) -> bool {
    pem.trim_start().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::LazyLock;

    pub(crate) fn rng() -> impl CryptoRng {
        rand::rng()
    }

    // Fixed keys, because generating them takes seconds.
    pub(crate) static ALICE: LazyLock<IdentityKey> =
        LazyLock::new(|| fixture(include_str!("../tests/fixtures/a-identity.pem")));
    pub(crate) static ALICE_ENCRYPTION: LazyLock<EncryptionKey> =
        LazyLock::new(|| fixture(include_str!("../tests/fixtures/a-encryption.pem")));
    pub(crate) static BOB: LazyLock<IdentityKey> =
        LazyLock::new(|| fixture(include_str!("../tests/fixtures/b-identity.pem")));
    pub(crate) static BOB_ENCRYPTION: LazyLock<EncryptionKey> =
        LazyLock::new(|| fixture(include_str!("../tests/fixtures/b-encryption.pem")));

    fn fixture<Use>(pem: &str) -> PrivateKey<Use> {
        PrivateKey::from_pem(pem, None).expect("the fixture is a key")
    }

    #[test]
    fn a_generated_key_can_be_used() {
        let key = IdentityKey::generate(2048, &mut rng()).expect("a good size");
        let signature = key.sign(Purpose::Join, b"message", &mut rng());
        assert_eq!(key.public().verify(Purpose::Join, b"message", &signature), Ok(()));
        assert_ne!(key.public().fingerprint(), ALICE.public().fingerprint());
    }

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
        assert_eq!(BOB_ENCRYPTION.unwrap_secret(&wrapped, &mut rng()), secret);
    }

    #[test]
    fn an_unwrap_that_fails_gives_a_random_secret() {
        let secret = Secret::new([7; SECRET_BYTES]);
        let mut damaged = BOB_ENCRYPTION.public().wrap(&secret, &mut rng());
        damaged[9] ^= 1;
        let short = BOB_ENCRYPTION
            .public()
            .key
            .encrypt(&mut rng(), Oaep::<Sha256>::new_with_label(OAEP_LABEL), &[7; SECRET_BYTES - 1])
            .expect("it fits");
        for wrong in [&damaged[..], &short, &[], &[0xff; 256]] {
            let [one, two] = [(); 2].map(|()| BOB_ENCRYPTION.unwrap_secret(wrong, &mut rng()));
            assert!(one != secret && one != two && *one != [0; SECRET_BYTES]);
        }
    }

    #[test]
    fn keys_survive_their_files_with_and_without_a_passphrase() {
        let plain = ALICE.to_pem(None).expect("a key encodes");
        let again = IdentityKey::from_pem(&plain, None).expect("what was written reads");
        assert_eq!(again.public().fingerprint(), ALICE.public().fingerprint());
        let locked = ALICE.to_pem(Some("open sesame")).expect("a key encodes");
        assert!(is_under_passphrase(&locked));
        assert!(IdentityKey::from_pem(&locked, Some("open sesame")).is_ok());
        assert!(matches!(IdentityKey::from_pem(&locked, Some("wrong")), Err(BadKey::Passphrase)));
        let cut = format!("{}\n{}", &locked[..300], &locked[locked.len() - 40..]);
        assert!(matches!(IdentityKey::from_pem(&cut, Some("open sesame")), Err(BadKey::Private)));
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

    #[test]
    fn unusual_exponents_and_moduli_are_refused() {
        let numbers = |n: BoxedUint, e: u64| {
            let key = RsaPublicKey::new_unchecked(n, BoxedUint::from(e));
            let der = key.to_public_key_der().expect("it encodes");
            IdentityPublic::from_der(der.as_bytes())
        };
        let n = || ALICE.public().key.n().as_ref().clone();
        for good in [EXPONENT_MIN, 65_539, EXPONENT_MAX] {
            assert!(numbers(n(), good).is_ok(), "{good}");
        }
        for bad in [0, 1, 3, 17, 65_535, 65_538, EXPONENT_MAX - 1, EXPONENT_MAX + 2, u64::MAX] {
            assert!(matches!(numbers(n(), bad), Err(BadKey::Exponent | BadKey::Public)), "{bad}");
        }
        // The encoding ends with the exponent 65537: a tag, a length and three bytes. The modulus is in front of it.
        let mut even = ALICE.public().der().to_vec();
        let last_of_modulus = even.len() - 6;
        even[last_of_modulus] &= 0xfe;
        assert!(matches!(IdentityPublic::from_der(&even), Err(BadKey::Exponent | BadKey::Public)));
    }
}
