//! The pieces of a file, which its receiver takes from several holders at once. PROTOCOL.md, section 15.7.
//!
//! Only the SHA-256 of the whole file is known when a piece arrives. It binds each piece all the same, because SHA-256 goes over a
//! file from its start to its end and keeps 32 bytes between two blocks. The [`Link`] at a piece is this state before its first
//! byte. A piece that leads from its link to the next one is right if the next one is, and behind the last piece comes the digest
//! of the file, which is right. So pieces are proved from the last one to the first, in whatever order and from whomever they
//! arrive, and all of them together are the computation of the digest of the file.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::digest::{DIGEST_BYTES, Digest};
use crate::frame::{self, BadFrame};
use crate::keys::NotAuthentic;
use crate::transfer::{FileOpener, FileSealer};
use crate::{bounded, signal::FileRequest};

/// The length of every piece of a file but the last, in bytes. A multiple of that of a chunk, and of a block of SHA-256.
pub const PIECE_BYTES: u64 = 1 << 20;

/// The maximum number of pieces of one request. Their links fit into one record.
pub const RUN_PIECES_MAX: usize = 16;

/// How many pieces a file has.
pub fn count(total_bytes: u64) -> u64 {
    total_bytes.div_ceil(PIECE_BYTES)
}

/// The bytes of a file that these pieces have.
pub fn bytes_of(pieces: &Range<u64>, total_bytes: u64) -> Range<u64> {
    let at = |piece: u64| piece.saturating_mul(PIECE_BYTES).min(total_bytes);
    at(pieces.start)..at(pieces.end)
}

/// The pieces that a request asks for; `None` if they are not those of a file with this length. A file of one piece is not asked for
/// like this.
pub fn requested(request: &FileRequest, total_bytes: u64) -> Option<Range<u64>> {
    let end = request.wish.end()?;
    let pieces = request.offset / PIECE_BYTES..count(end);
    let is_right = end <= total_bytes
        && count(total_bytes) > 1
        && !pieces.is_empty()
        && pieces.end - pieces.start <= RUN_PIECES_MAX as u64
        && bytes_of(&pieces, total_bytes) == (request.offset..end);
    is_right.then_some(pieces)
}

/// The state of SHA-256 between two pieces: its eight words, the first byte of each the highest (FIPS 180-4, section 6.2). Behind
/// the last piece it is the digest of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Link(pub Digest);

/// A piece that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub number: u64,
    /// The link at it, as its holder has named it.
    pub from: Link,
    /// The link to which it leads.
    pub to: Link,
}

/// The links at the pieces of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links(#[serde(deserialize_with = "links_of_a_run")] pub Vec<Link>);

fn links_of_a_run<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Link>, D::Error> {
    bounded::at_most::<RUN_PIECES_MAX, _, _>(deserializer)
}

/// The record with the links, which follows the header.
pub fn seal_links(sealer: &mut FileSealer, links: &Links) -> Vec<u8> {
    sealer.chunk(&frame::body(links), false)
}

/// Opens the record with the links, given without its length.
///
/// # Errors
/// [`NotAuthentic`], also if it has no links.
pub fn open_links(opener: &mut FileOpener, record: &[u8]) -> Result<Links, NotAuthentic> {
    let plain = opener.chunk(record, false)?;
    frame::decode(&plain).map_err(|_: BadFrame| NotAuthentic)
}

const WORD_BYTES: usize = 4;

/// The hash over a file, or over one of its pieces.
#[derive(Clone)]
pub struct Chain(Sha256);

impl Chain {
    /// From the first byte of a file.
    #[expect(clippy::new_without_default, reason = "a hash over nothing is no sensible default of anything")]
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// From the first byte of a piece.
    pub fn at(link: &Link, piece: u64) -> Self {
        let mut state = Sha256::new().serialize();
        let (words, rest) = state.split_at_mut(DIGEST_BYTES);
        // The crate keeps the words with the lowest byte first, and then the number of blocks before.
        swap_words(link.0.0.as_slice(), words);
        let blocks = piece * (PIECE_BYTES / 64);
        rest[..8].copy_from_slice(&blocks.to_le_bytes());
        Self(
            Sha256::deserialize(&state)
                .expect("the state between two blocks is valid whatever its words are"),
        )
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The link at the place that was reached, which is the start of a piece.
    pub fn link(&self) -> Link {
        let state: SerializedState<Sha256> = self.0.serialize();
        let mut link = Link::default();
        swap_words(&state[..DIGEST_BYTES], link.0.0.as_mut_slice());
        link
    }

    /// The link behind a piece of a file with this length, whose end was reached.
    pub fn link_behind(self, piece: u64, total_bytes: u64) -> Link {
        if piece + 1 == count(total_bytes) { Link(self.digest()) } else { self.link() }
    }

    /// What [`Chain::resume`] needs to go on from the place that was reached, which is anywhere.
    pub fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// `None` if it is not a state, but a damaged one is not always noticed.
    pub fn resume(state: &[u8]) -> Option<Self> {
        let state = SerializedState::<Sha256>::try_from(state).ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }

    /// The digest of the file, whose end was reached.
    pub fn digest(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Copies words, and reverses the bytes of each.
fn swap_words(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks_exact(WORD_BYTES).zip(to.chunks_exact_mut(WORD_BYTES)) {
        to.copy_from_slice(from);
        to.reverse();
    }
}

/// Computes the digest of a file and the links at its pieces.
pub struct Linker {
    chain: Chain,
    done: u64,
    links: Vec<Link>,
}

impl Linker {
    #[expect(clippy::new_without_default, reason = "as of a chain")]
    pub fn new() -> Self {
        Self { chain: Chain::new(), done: 0, links: Vec::new() }
    }

    /// Adds the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.done.is_multiple_of(PIECE_BYTES) {
                self.links.push(self.chain.link());
            }
            let room = PIECE_BYTES - self.done % PIECE_BYTES;
            let now = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            self.chain.update(&bytes[..now]);
            self.done += now as u64;
            bytes = &bytes[now..];
        }
    }

    /// The digest of the file, and the links at its pieces. A file of one piece needs none, because nobody asks for it by pieces.
    pub fn finish(mut self) -> (Digest, Vec<Link>) {
        if self.links.len() == 1 {
            self.links.clear();
        }
        (self.chain.digest(), self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Route, Wish};
    use zeroize::Zeroizing;

    fn content(bytes: u64) -> Vec<u8> {
        (0..bytes).map(|at| u8::try_from((at * at / 7) % 251).expect("it is below 251")).collect()
    }

    fn index(at: u64) -> usize {
        usize::try_from(at).expect("it is small")
    }

    #[test]
    fn pieces_lead_from_link_to_link_and_to_the_digest() {
        for total in [PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES - 1, 3 * PIECE_BYTES + 77] {
            let content = content(total);
            let mut linker = Linker::new();
            content.chunks(100_003).for_each(|bytes| linker.update(bytes));
            let (digest, mut links) = linker.finish();
            assert_eq!(digest, Digest::of(&content));
            assert_eq!(links.len() as u64, count(total));
            links.push(Link(digest));
            for piece in 0..count(total) {
                let Range { start, end } = bytes_of(&(piece..piece + 1), total);
                let at = index(piece);
                let mut bytes = content[index(start)..index(end)].to_vec();
                let behind = |bytes: &[u8]| {
                    let mut chain = Chain::at(&links[at], piece);
                    chain.update(bytes);
                    chain.link_behind(piece, total)
                };
                assert_eq!(behind(&bytes), links[at + 1], "{total} {piece}");
                bytes[0] ^= 1;
                assert_ne!(behind(&bytes), links[at + 1]);
            }
        }
    }

    #[test]
    fn the_first_link_is_that_of_the_standard() {
        // FIPS 180-4, section 5.3.3.
        let first = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19";
        assert_eq!(Chain::new().link().0.to_string(), first);
        let (_, none) = Linker::new().finish();
        assert!(none.is_empty());
        let mut one = Linker::new();
        one.update(&[1]);
        assert!(one.finish().1.is_empty());
    }

    #[test]
    fn a_request_is_for_whole_pieces_of_the_file() {
        let request = |offset, end| FileRequest {
            transfer: [1; 16],
            secret: [2; 32],
            name: "a".parse().expect("a good name"),
            sha256: Digest::of(b""),
            offset,
            wish: Wish::Pieces(Route::Direct, end),
        };
        let total = 20 * PIECE_BYTES + 5;
        let wanted = |offset, end| requested(&request(offset, end), total);
        assert_eq!(wanted(0, PIECE_BYTES), Some(0..1));
        assert_eq!(wanted(19 * PIECE_BYTES, total), Some(19..21));
        assert_eq!(wanted(PIECE_BYTES, 17 * PIECE_BYTES), Some(1..17));
        for (offset, end) in [
            (0, 17 * PIECE_BYTES),
            (0, 0),
            (1, PIECE_BYTES),
            (0, PIECE_BYTES + 1),
            (19 * PIECE_BYTES, 21 * PIECE_BYTES),
            (2 * PIECE_BYTES, PIECE_BYTES),
            (u64::MAX, u64::MAX),
            (total, total),
        ] {
            assert_eq!(wanted(offset, end), None, "{offset} {end}");
        }
        assert_eq!(requested(&request(0, 5), 5), None, "it has no links");
        let mut whole = request(0, 0);
        whole.wish = Wish::Direct;
        assert_eq!(requested(&whole, total), None);
    }

    #[test]
    fn links_are_counted_while_they_are_decoded_and_fit_into_a_record() {
        let key = crate::transfer::TransferKey {
            transfer: [1; 16],
            secret: Zeroizing::new([2; 32]),
            salt: [3; 16],
        };
        for (links, fits) in [(0, true), (RUN_PIECES_MAX, true), (RUN_PIECES_MAX + 1, false)] {
            let links = Links(vec![Link::default(); links]);
            let record = seal_links(&mut FileSealer::new(&key), &links);
            assert!(record.len() <= 1024);
            let opened = open_links(&mut FileOpener::new(&key), &record[crate::frame::LENGTH_BYTES..]);
            assert_eq!(opened.is_ok(), fits);
        }
    }
}
