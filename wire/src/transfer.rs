//! The file message: a sealed header with the total length, then the bytes in sealed chunks. PROTOCOL.md, section
//! "Files".
//!
//! Each record is a frame (see [`crate::frame`]) whose body is AES-256-GCM ciphertext. The nonce counts the records and
//! marks the last, so that none can be dropped, repeated, moved or cut off at the end.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::file_name::FileName;
use crate::frame::{self, LENGTH_BYTES};
use crate::keys::{NotAuthentic, SECRET_BYTES};
use crate::protocol::TransferId;

/// Plaintext of every chunk but the last.
pub const CHUNK_BYTES: usize = 128 << 10;
/// Longest record: a chunk with its tag.
pub const RECORD_BYTES_MAX: usize = CHUNK_BYTES + TAG_BYTES;

const TAG_BYTES: usize = 16;

/// What stands in front of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The file's name at its holder.
    pub name: FileName,
    /// The whole file's length.
    pub total_bytes: u64,
    /// The first byte that follows; everything before it the receiver has already.
    pub offset: u64,
    /// SHA-256 of the whole file.
    pub sha256: Digest,
}

/// The holder's part of what the key of a transfer is derived from.
pub type TransferSalt = [u8; 16];

/// What the key of a transfer is derived from.
#[derive(Clone)]
pub struct TransferKey {
    /// Names the transfer; drawn by the receiver.
    pub transfer: TransferId,
    /// Drawn by the receiver; known to the two ends only.
    pub secret: Zeroizing<[u8; SECRET_BYTES]>,
    /// Drawn by the holder.
    pub salt: TransferSalt,
}

struct Records {
    cipher: Aes256Gcm,
    next: u64,
}

impl Records {
    fn new(of: &TransferKey) -> Self {
        let mut key = Zeroizing::new([0; SECRET_BYTES]);
        let salt = [of.transfer, of.salt].concat();
        Hkdf::<Sha256>::new(Some(&salt), of.secret.as_slice())
            .expand(b"switchboard/1 file", key.as_mut_slice())
            .expect("32 bytes are within what HKDF-SHA256 can give");
        let cipher = Aes256Gcm::new_from_slice(key.as_slice()).expect("an AES-256 key has 32 bytes");
        Self { cipher, next: 0 }
    }

    fn nonce(&mut self, last: bool) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.next += 1;
        nonce.into()
    }
}

/// The holder's end: seals the header, then each chunk.
pub struct FileSealer(Records);

impl FileSealer {
    /// For a transfer whose secret came with the request.
    pub fn new(key: &TransferKey) -> Self {
        Self(Records::new(key))
    }

    /// The first record.
    pub fn header(&mut self, header: &FileHeader) -> Vec<u8> {
        let plain = postcard::to_stdvec(header).expect("a header contains nothing that postcard refuses");
        self.record(&plain, false)
    }

    /// A chunk: [`CHUNK_BYTES`] long unless it is the last; there is always a last one, if need be an empty one.
    pub fn chunk(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        debug_assert!(plain.len() <= CHUNK_BYTES, "chunks are cut to size by the caller");
        self.record(plain, last)
    }

    fn record(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let nonce = self.0.nonce(last);
        let sealed =
            self.0.cipher.encrypt(&nonce, plain).expect("a chunk is far below what AES-GCM can seal");
        let length = u32::try_from(sealed.len()).expect("a record is far shorter than 4 GiB");
        let mut record = Vec::with_capacity(LENGTH_BYTES + sealed.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&sealed);
        record
    }
}

/// The receiver's end: opens the header, then each chunk.
pub struct FileOpener(Records);

impl FileOpener {
    /// For a transfer that this side asked for.
    pub fn new(key: &TransferKey) -> Self {
        Self(Records::new(key))
    }

    /// Opens the first record (without its length).
    ///
    /// # Errors
    /// [`NotAuthentic`].
    pub fn header(&mut self, record: &[u8]) -> Result<FileHeader, NotAuthentic> {
        let plain = self.record(record, false)?;
        frame::decode(&plain).map_err(|_| NotAuthentic)
    }

    /// Opens a chunk (without its length); `last` says whether the total is reached with it, which the receiver knows
    /// from the header.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    pub fn chunk(&mut self, record: &[u8], last: bool) -> Result<Vec<u8>, NotAuthentic> {
        self.record(record, last)
    }

    fn record(&mut self, record: &[u8], last: bool) -> Result<Vec<u8>, NotAuthentic> {
        let nonce = self.0.nonce(last);
        self.0.cipher.decrypt(&nonce, record).map_err(|_| NotAuthentic)
    }
}

/// How many bytes the next chunk has when `left` are still to come, and whether it is the last.
pub fn next_chunk(left: u64) -> (usize, bool) {
    match usize::try_from(left) {
        Ok(left) if left <= CHUNK_BYTES => (left, true),
        _ => (CHUNK_BYTES, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(total_bytes: u64) -> FileHeader {
        let name = "a.txt".parse().expect("a good name");
        FileHeader { name, total_bytes, offset: 0, sha256: Digest::of(b"x") }
    }

    fn ends() -> (FileSealer, FileOpener) {
        let key = TransferKey { transfer: [1; 16], secret: Zeroizing::new([2; 32]), salt: [3; 16] };
        (FileSealer::new(&key), FileOpener::new(&key))
    }

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let (mut sealer, mut opener) = ends();
            let record = sealer.header(&header(length as u64));
            assert_eq!(opener.header(&record[LENGTH_BYTES..]), Ok(header(length as u64)));
            let mut got = Vec::new();
            loop {
                let (bytes, last) = next_chunk((length - got.len()) as u64);
                let record = sealer.chunk(&content[got.len()..got.len() + bytes], last);
                assert!(record.len() <= LENGTH_BYTES + RECORD_BYTES_MAX);
                got.extend(opener.chunk(&record[LENGTH_BYTES..], last).expect("it opens"));
                if last {
                    break;
                }
            }
            assert_eq!(got, content);
        }
    }

    #[test]
    fn chunks_cannot_be_moved_dropped_or_cut_off() {
        let (mut sealer, mut opener) = ends();
        let head = sealer.header(&header(10));
        let one = sealer.chunk(b"one", false);
        let two = sealer.chunk(b"two", true);
        assert!(opener.chunk(&one[4..], false).is_err(), "a chunk in the place of the header");
        let (_, mut opener) = ends();
        opener.header(&head[4..]).expect("the header opens");
        assert_eq!(opener.chunk(&two[4..], true), Err(NotAuthentic), "the first chunk was dropped");
        let (_, mut opener) = ends();
        opener.header(&head[4..]).expect("the header opens");
        assert_eq!(opener.chunk(&one[4..], true), Err(NotAuthentic), "cut off after the first chunk");
    }
}
