//! Many files over one connection: the request, and what the holder sends. PROTOCOL.md, section 15.6.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::frame::{self, BadFrame};
use crate::keys::NotAuthentic;
use crate::protocol::TransferId;
use crate::signal::Wish;
use crate::transfer::{FileHeader, FileOpener, FileSealer};
use crate::{Digest, FileName, bounded};

/// The maximum number of files of one request.
pub const MANY_FILES_MAX: usize = 1024;

/// The maximum size of the names and digests of one request, so that it can be sealed.
pub const MANY_BYTES_MAX: usize = 48 << 10;

/// A file that the receiver wants, as it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedFile {
    pub name: FileName,
    pub sha256: Digest,
}

impl WantedFile {
    /// About its size in a request.
    pub fn bytes(&self) -> usize {
        2 + self.name.as_str().len() + size_of::<Digest>()
    }
}

/// Asks for files in this order. Where a [`crate::signal::FileRequest`] has a name, this has an empty one, so that no reader takes
/// one for the other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct ManyRequest {
    #[zeroize(skip)]
    pub transfer: TransferId,
    /// The receiver's secret for the key of the transfer.
    pub secret: [u8; 32],
    #[zeroize(skip)]
    pub mark: NoName,
    #[zeroize(skip)]
    pub wish: Wish,
    #[zeroize(skip)]
    #[serde(deserialize_with = "wanted_files")]
    pub files: Vec<WantedFile>,
}

fn wanted_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WantedFile>, D::Error> {
    bounded::at_most::<MANY_FILES_MAX, _, _>(deserializer)
}

/// An empty text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoName;

impl Serialize for NoName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }
}

impl<'de> Deserialize<'de> for NoName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        if text.is_empty() { Ok(Self) } else { Err(serde::de::Error::custom("a name")) }
    }
}

/// What the holder sends for each requested file, before the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The content follows in chunks; there is none of an empty file.
    File(FileHeader),
    /// Nothing follows: this file is not sent.
    NotSent(NotSent),
}

/// Why a file is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotSent {
    NotShared,
    /// The file has another content than the requested one.
    Changed,
    Unreadable,
}

/// The record with an entry.
pub fn seal_entry(sealer: &mut FileSealer, entry: &Entry) -> Vec<u8> {
    sealer.chunk(&frame::body(entry), false)
}

/// Opens the record with an entry, given without its length.
///
/// # Errors
/// [`NotAuthentic`], also if it is not an entry.
pub fn open_entry(opener: &mut FileOpener, record: &[u8]) -> Result<Entry, NotAuthentic> {
    let plain = opener.chunk(record, false)?;
    frame::decode(&plain).map_err(|_: BadFrame| NotAuthentic)
}

/// The record behind the last file.
pub fn seal_end(sealer: &mut FileSealer) -> Vec<u8> {
    sealer.chunk(&[], true)
}

/// Opens the record behind the last file.
///
/// # Errors
/// [`NotAuthentic`].
pub fn open_end(opener: &mut FileOpener, record: &[u8]) -> Result<(), NotAuthentic> {
    let plain = opener.chunk(record, true)?;
    if plain.is_empty() { Ok(()) } else { Err(NotAuthentic) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LENGTH_BYTES;
    use crate::signal::{self, FileRequest};
    use crate::transfer::TransferKey;

    fn wanted(name: &str) -> WantedFile {
        WantedFile { name: name.parse().expect("a good name"), sha256: Digest::of(name.as_bytes()) }
    }

    fn request(files: Vec<WantedFile>) -> ManyRequest {
        ManyRequest { transfer: [1; 16], secret: [2; 32], mark: NoName, wish: Wish::Direct, files }
    }

    #[test]
    fn a_request_for_many_is_not_one_for_a_file() {
        let many = signal::encode(&request(vec![wanted("a"), wanted("b/c")]));
        assert!(
            signal::decode::<ManyRequest>(&many)
                .is_ok_and(|got| got == request(vec![wanted("a"), wanted("b/c")]))
        );
        assert!(signal::decode::<FileRequest>(&many).is_err());
        let (name, sha256) = ("a".parse().expect("a good name"), Digest::of(b"x"));
        let one =
            FileRequest { transfer: [1; 16], secret: [2; 32], name, sha256, offset: 0, wish: Wish::Direct };
        assert!(signal::decode::<ManyRequest>(&signal::encode(&one)).is_err());
        let too_many = signal::encode(&request(vec![wanted("a"); MANY_FILES_MAX + 1]));
        assert!(signal::decode::<ManyRequest>(&too_many).is_err());
    }

    #[test]
    fn entries_and_the_end_are_opened_in_their_order_only() {
        let key = TransferKey { transfer: [1; 16], secret: zeroize::Zeroizing::new([2; 32]), salt: [3; 16] };
        let (mut sealer, mut opener) = (FileSealer::new(&key), FileOpener::new(&key));
        let header = FileHeader {
            name: "a".parse().expect("a good name"),
            total_bytes: 1,
            offset: 0,
            sha256: Digest::of(b"x"),
        };
        let entries = [Entry::File(header), Entry::NotSent(NotSent::Changed)];
        let sealed = entries.clone().map(|entry| seal_entry(&mut sealer, &entry));
        let end = seal_end(&mut sealer);
        assert!(
            open_entry(&mut FileOpener::new(&key), &sealed[1][LENGTH_BYTES..]).is_err(),
            "the first is missing"
        );
        for (entry, sealed) in entries.iter().zip(&sealed) {
            assert_eq!(open_entry(&mut opener, &sealed[LENGTH_BYTES..]).as_ref(), Ok(entry));
        }
        assert!(open_end(&mut opener, &end[LENGTH_BYTES..]).is_ok());
        let mut early = FileOpener::new(&key);
        assert!(open_entry(&mut early, &sealed[0][LENGTH_BYTES..]).is_ok());
        assert!(open_end(&mut early, &sealed[1][LENGTH_BYTES..]).is_err(), "an entry is not the end");
    }
}
