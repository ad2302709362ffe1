//! The file message: a sealed header with the total length, then the bytes in sealed chunks. PROTOCOL.md, section 15.5.
//!
//! Each record is a frame (see [`crate::frame`]) whose body is AES-256-GCM ciphertext. The nonce contains the number of the
//! record and a mark for the last one, so that no record can be dropped, repeated, moved or cut off at the end.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::cipher::{TAG_BYTES, derive_key};
use crate::digest::Digest;
use crate::file_name::FileName;
use crate::frame::{self, LENGTH_BYTES};
use crate::keys::{NotAuthentic, Secret};
use crate::protocol::TransferId;

/// Length of the plaintext of every chunk but the last, in bytes.
pub const CHUNK_BYTES: usize = 128 << 10;
/// Longest record, in bytes: a chunk with its tag.
pub const RECORD_BYTES_MAX: usize = CHUNK_BYTES + TAG_BYTES;

/// The first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The file's name at its holder.
    pub name: FileName,
    /// Length of the whole file, in bytes.
    pub total_bytes: u64,
    /// Offset of the first byte that follows. The receiver has everything before it.
    pub offset: u64,
    pub sha256: Digest,
}

/// The holder's contribution to the key of a transfer.
pub type TransferSalt = [u8; 16];

/// The inputs of the key of a transfer.
#[derive(Clone)]
pub struct TransferKey {
    /// Identifies the transfer; drawn by the receiver.
    pub transfer: TransferId,
    /// Drawn by the receiver; known to the two ends only.
    pub secret: Secret,
    /// Drawn by the holder, so that a repeated request leads to another key.
    pub salt: TransferSalt,
}

/// The key, and the number of the next record. The cipher is that of ring, which spends less processor time on a byte than
/// `aes-gcm`: a file has gigabytes of records. Unlike `aes-gcm`, ring does not wipe the key from memory, which is that of one
/// transfer only. Messages are short, and their keys are wiped.
struct Records {
    key: LessSafeKey,
    next: u64,
}

impl Records {
    fn new(key: &TransferKey) -> Self {
        let salt = [key.transfer, key.salt].concat();
        let key = derive_key(&key.secret, &salt, b"switchboard/1 file");
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("an AES-256 key has 32 bytes");
        Self { key: LessSafeKey::new(key), next: 0 }
    }

    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The holder's end: seals the header, then each chunk.
pub struct FileSealer(Records);

impl FileSealer {
    pub fn new(key: &TransferKey) -> Self {
        Self(Records::new(key))
    }

    /// Seals the first record.
    pub fn header(&mut self, header: &FileHeader) -> Vec<u8> {
        self.record(&frame::body(header), false)
    }

    /// Seals a chunk of [`CHUNK_BYTES`], or less if it is the last one. There is always a last chunk, of an empty file an
    /// empty one.
    pub fn chunk(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        self.record(plain, last)
    }

    /// Like [`FileSealer::chunk`], without a copy: `record` has [`LENGTH_BYTES`] bytes of any value, and then the chunk. It becomes
    /// the record.
    pub fn chunk_in_place(&mut self, record: &mut Vec<u8>, last: bool) {
        let (length, chunk) = record.split_at_mut(LENGTH_BYTES);
        debug_assert!(chunk.len() <= CHUNK_BYTES, "chunks are cut to size by the caller");
        let sealed_bytes =
            u32::try_from(chunk.len() + TAG_BYTES).expect("a record is far shorter than 4 GiB");
        length.copy_from_slice(&sealed_bytes.to_le_bytes());
        let nonce = self.0.nonce(last);
        let sealed = self.0.key.seal_in_place_separate_tag(nonce, Aad::empty(), chunk);
        let tag = sealed.expect("a chunk is far below the 64 GiB that AES-GCM can seal");
        record.extend_from_slice(tag.as_ref());
    }

    fn record(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let mut record = Vec::with_capacity(LENGTH_BYTES + plain.len() + TAG_BYTES);
        record.extend_from_slice(&[0; LENGTH_BYTES]);
        record.extend_from_slice(plain);
        self.chunk_in_place(&mut record, last);
        record
    }
}

/// The receiver's end: opens the header, then each chunk.
pub struct FileOpener(Records);

impl FileOpener {
    pub fn new(key: &TransferKey) -> Self {
        Self(Records::new(key))
    }

    /// Opens the first record, given without its length.
    pub fn header(&mut self, record: &[u8]) -> Result<FileHeader, NotAuthentic> {
        let plain = self.chunk(record, false)?;
        frame::decode(&plain).map_err(|_| NotAuthentic)
    }

    /// Opens a chunk, given without its length. The receiver knows from the header whether it is the last one.
    pub fn chunk(&mut self, record: &[u8], last: bool) -> Result<Vec<u8>, NotAuthentic> {
        let mut chunk = record.to_vec();
        self.chunk_in_place(&mut chunk, last)?;
        Ok(chunk)
    }

    /// Like [`FileOpener::chunk`], without a copy: `record` becomes the chunk. After an error, its content means nothing.
    pub fn chunk_in_place(&mut self, record: &mut Vec<u8>, last: bool) -> Result<(), NotAuthentic> {
        let nonce = self.0.nonce(last);
        let opened = self.0.key.open_in_place(nonce, Aad::empty(), record).map_err(|_| NotAuthentic)?;
        let bytes = opened.len();
        record.truncate(bytes);
        Ok(())
    }
}

/// How many bytes the next chunk has when `left` bytes are still to come, and whether it is the last.
pub fn next_chunk(left: u64) -> (usize, bool) {
    match usize::try_from(left) {
        Ok(left) if left <= CHUNK_BYTES => (left, true),
        _ => (CHUNK_BYTES, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

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
