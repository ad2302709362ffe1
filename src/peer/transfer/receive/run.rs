//! The receiving end of a run of pieces.

use std::ops::Range;

use wire::frame::LENGTH_BYTES;
use wire::pieces::{Chain, Link, PIECE_BYTES, Piece, bytes_of, open_links};

use super::{Expected, HEADER_RECORD_BYTES_MAX, Incoming, TAG_BYTES};
use crate::peer::transfer::{IDLE_MAX, PieceStore, RateLimit, TransferError};
use crate::stream::Stream;
use wire::transfer::next_chunk;

/// What has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub piece: Piece,
    /// The link of the next piece, if that one comes too.
    pub next: Option<Link>,
    /// Whether it was written, and not there already.
    pub is_new: bool,
}

/// Receives pieces of a file and puts them into the store, whether they are right or not. `expected.offset` is the start of the
/// first one. What is read counts for `limit`. `report` is called for each; if it returns false, the transfer is cancelled.
///
/// # Errors
/// [`TransferError::CutOff`], [`TransferError::NotAuthentic`], [`TransferError::OtherFile`], [`TransferError::TimedOut`] after
/// [`IDLE_MAX`] without a byte, [`TransferError::Disk`].
pub fn receive_run(
    stream: impl Into<Stream>,
    expected: &Expected,
    pieces: Range<u64>,
    store: &PieceStore,
    limit: Option<&RateLimit>,
    report: &mut dyn FnMut(Arrived) -> bool,
) -> Result<(), TransferError> {
    let stream = stream.into();
    stream.socket().set_read_timeout(Some(IDLE_MAX)).map_err(TransferError::Connection)?;
    let mut incoming = Incoming::new(stream, expected);
    incoming.limit = limit;
    incoming.left = bytes_of(&pieces, expected.bytes).end - expected.offset;
    incoming.header(expected)?;
    let record = incoming.read_record(Vec::new(), |length| length <= HEADER_RECORD_BYTES_MAX)?;
    let links = open_links(&mut incoming.opener, &record).map_err(|_| TransferError::NotAuthentic)?.0;
    if links.len() as u64 != pieces.end - pieces.start {
        return Err(TransferError::OtherFile);
    }
    let mut content = Vec::new();
    for (at, number) in pieces.clone().enumerate() {
        let from = links[at];
        let mut chain = Chain::at(&from, number);
        incoming.piece(&mut content, &mut chain)?;
        let piece = Piece { number, from, to: chain.link_behind(number, expected.bytes) };
        let is_new = store.put(piece, &content)?;
        if !report(Arrived { piece, next: links.get(at + 1).copied(), is_new }) {
            return Err(TransferError::Cancelled);
        }
    }
    Ok(())
}

impl Incoming<'_> {
    /// Receives the chunks of the next piece into `content`, whose buffers are used again, and hashes each while it is in the cache of
    /// the processor.
    fn piece(&mut self, content: &mut Vec<Vec<u8>>, chain: &mut Chain) -> Result<(), TransferError> {
        let mut used = std::mem::take(content).into_iter();
        let mut room = PIECE_BYTES;
        while self.left > 0 && room > 0 {
            let (bytes, last) = next_chunk(self.left);
            let mut chunk =
                self.read_record(used.next().unwrap_or_default(), |length| length == bytes + TAG_BYTES)?;
            self.opener.chunk_in_place(&mut chunk, last).map_err(|_| TransferError::NotAuthentic)?;
            chain.update(&chunk);
            content.push(chunk);
            self.left -= bytes as u64;
            room -= bytes as u64;
        }
        Ok(())
    }
}

const _: () =
    assert!(HEADER_RECORD_BYTES_MAX > 16 * 32 + TAG_BYTES + LENGTH_BYTES, "the links fit into a record");
