//! SHA-256 digests and key fingerprints.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

pub const DIGEST_BYTES: usize = 32;

/// A text that is not 64 hexadecimal digits; contains its number of characters.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected 64 hexadecimal digits of a SHA-256 digest, got {0} characters")]
pub struct NotADigest(usize);

/// A SHA-256 digest (FIPS 180-4).
///
/// Displayed in lower-case hexadecimal, as in readable serde formats; in binary formats 32 bytes without a length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the concatenated parts. There are no separators, so callers must choose parts that cannot be split
    /// in another way.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A number that stands for it: its first eight bytes, the lowest first.
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a digest has 32 bytes"))
    }

    /// The first eight hexadecimal digits, for logs.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    /// Accepts digits of either case, a `sha256:` in front, and colons or spaces between the digits.
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text.trim();
        let digits = match digits.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => &digits[7..],
            _ => digits,
        };
        let digits: String = digits.chars().filter(|c| *c != ':' && *c != ' ').collect();
        HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(NotADigest(digits.chars().count()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; DIGEST_BYTES]>::deserialize(deserializer).map(Self)
        }
    }
}

/// The SHA-256 digest of a public key's SubjectPublicKeyInfo in DER (RFC 5280, section 4.1).
pub type Fingerprint = Digest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_the_fips_example() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
        assert_eq!(Digest::of_parts(&[b"a", b"", b"bc"]), Digest::of(b"abc"));
        assert_eq!(Digest::of(b"abc").number(), 0xeacf_018f_bf16_78ba);
    }

    #[test]
    fn reads_what_people_paste() {
        let digest = Digest::of(b"abc");
        let hex = digest.to_string();
        assert_eq!(hex.parse(), Ok(digest));
        assert_eq!(format!("sha256:{}", hex.to_uppercase()).parse(), Ok(digest));
        assert_eq!(format!(" {}:{} ", &hex[..30], &hex[30..]).parse(), Ok(digest));
        assert_eq!("abc".parse::<Digest>(), Err(NotADigest(3)));
        assert_eq!("é".repeat(64).parse::<Digest>(), Err(NotADigest(64)));
    }
}
