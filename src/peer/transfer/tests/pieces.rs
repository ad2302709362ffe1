//! Files that come by pieces: what is kept of them, and when they get their names.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use wire::pieces::{Link, Linker, Links, PIECE_BYTES, Piece, bytes_of, count};
use wire::transfer::FileHeader;

use super::moving::{content, destination, entries, expected, header, key, pair};
use super::*;
use crate::peer::transfer::{Arrived, PieceStore, Run, receive_run};

const BYTES: usize = 4 * (1 << 20) + 1000;

/// A file and its links.
struct Example {
    content: Vec<u8>,
    sha256: Digest,
    links: Vec<Link>,
}

impl Example {
    fn new() -> Self {
        let content = content(BYTES);
        let mut linker = Linker::new();
        linker.update(&content);
        let (sha256, links) = linker.finish();
        Self { content, sha256, links }
    }

    fn range(&self, pieces: &Range<u64>) -> Range<usize> {
        let bytes = bytes_of(pieces, self.content.len() as u64);
        let at = |at| usize::try_from(at).expect("it is small");
        at(bytes.start)..at(bytes.end)
    }

    /// Sends these pieces of `sent`, with the links of the example, and receives them.
    fn receive(
        &self,
        sent: &[u8],
        pieces: Range<u64>,
        store: &PieceStore,
    ) -> (Vec<Arrived>, Result<(), TransferError>) {
        let (near, far) = pair();
        let (file, range) = (super::moving::file_with(sent), self.range(&pieces));
        let links = self.links[usize::try_from(pieces.start).expect("small")..]
            [..range.len().div_ceil(1 << 20)]
            .to_vec();
        let run = Run { links: Links(links), end: range.end as u64 };
        let head = FileHeader { offset: range.start as u64, ..header(&self.content) };
        let sender =
            std::thread::spawn(move || send_file(near, file, &head, Some(&run), &key(), None).is_ok());
        let expected = Expected { offset: range.start as u64, ..expected(&self.content) };
        let mut arrived = Vec::new();
        let received = receive_run(far, &expected, pieces, store, None, &mut |piece| {
            arrived.push(piece);
            true
        });
        sender.join().expect("the sender does not panic");
        (arrived, received)
    }

    fn open(&self, dir: &Path) -> (PieceStore, Vec<Piece>) {
        let opened = PieceStore::open(&destination(dir), self.content.len() as u64, &self.sha256);
        opened.expect("the folder can be written")
    }
}

#[test]
fn pieces_arrive_in_any_order_and_the_whole_gets_its_name() {
    let (example, dir) = (Example::new(), tempfile::tempdir().expect("a temporary directory"));
    let (store, here) = example.open(dir.path());
    assert_eq!(here, []);
    assert!(
        PieceStore::open(&destination(dir.path()), BYTES as u64, &example.sha256).is_err(),
        "it is locked"
    );
    let to = destination(dir.path());
    for pieces in [3..5, 0..1, 1..3] {
        assert!(matches!(store.finish(&to), Err(TransferError::Incomplete)));
        let (arrived, received) = example.receive(&example.content, pieces.clone(), &store);
        received.expect("it arrives");
        assert_eq!(arrived.len() as u64, pieces.end - pieces.start);
        for (at, Arrived { piece, next, is_new }) in arrived.iter().enumerate() {
            assert!(is_new);
            assert_eq!(*next, arrived.get(at + 1).map(|next| next.piece.from));
            assert_eq!(next.unwrap_or(piece.to), piece.to);
        }
    }
    let again = example.receive(&vec![7; BYTES], 1..2, &store);
    assert!(!again.0[0].is_new, "what is here is not written again");
    let received = store.finish(&to).expect("it is whole");
    assert_eq!(std::fs::read(&received.path).ok().as_ref(), Some(&example.content));
    assert_eq!(entries(dir.path()), ["tide.csv"]);
}

#[test]
fn false_bytes_lead_to_another_link_and_never_get_the_name() {
    let (example, dir) = (Example::new(), tempfile::tempdir().expect("a temporary directory"));
    let (store, _) = example.open(dir.path());
    let to = destination(dir.path());
    let mut sent = example.content.clone();
    sent[(2 << 20) + 5] ^= 1;
    let (arrived, received) = example.receive(&sent, 0..5, &store);
    received.expect("it arrives");
    let wrong: Vec<u64> = arrived
        .iter()
        .filter(|arrived| arrived.next.is_some_and(|next| next != arrived.piece.to))
        .map(|arrived| arrived.piece.number)
        .collect();
    assert_eq!(wrong, [2]);
    assert!(matches!(store.finish(&to), Err(TransferError::Incomplete)));
    store.release(&[2]);
    assert!(matches!(store.finish(&to), Err(TransferError::Incomplete)));
    let (arrived, _) = example.receive(&example.content, 2..3, &store);
    assert!(arrived[0].is_new);
    let received = store.finish(&to).expect("it is whole");
    assert_eq!(std::fs::read(received.path).ok(), Some(example.content));
}

#[test]
fn what_has_arrived_is_there_after_an_interruption() {
    let (example, dir) = (Example::new(), tempfile::tempdir().expect("a temporary directory"));
    let (store, _) = example.open(dir.path());
    example.receive(&example.content, 3..5, &store).1.expect("it arrives");
    example.receive(&example.content, 0..1, &store).1.expect("it arrives");
    drop(store);
    let record = dir.path().join(format!(".switchboard-{}.pieces", example.sha256));
    // A record that was cut off, and one that is damaged.
    let mut records = std::fs::read(&record).expect("it is there");
    assert_eq!(records.len(), 3 * 72);
    records.extend_from_slice(&[9; 30]);
    std::fs::write(&record, &records).expect("it can be written");
    let (store, here) = example.open(dir.path());
    assert_eq!(here.iter().map(|piece| piece.number).collect::<Vec<_>>(), [0, 3, 4]);
    for piece in &here {
        let at = usize::try_from(piece.number).expect("it is small");
        assert_eq!(piece.from, example.links[at]);
    }
    assert!(!example.receive(&example.content, 0..1, &store).0[0].is_new);
    example.receive(&example.content, 1..3, &store).1.expect("it arrives");
    let received = store.finish(&destination(dir.path())).expect("it is whole");
    assert_eq!(std::fs::read(received.path).ok().as_ref(), Some(&example.content));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, _) = example.open(dir.path());
    example.receive(&example.content, 0..5, &store).1.expect("it arrives");
    drop(store);
    let record = dir.path().join(format!(".switchboard-{}.pieces", example.sha256));
    let file = OpenOptions::new().write(true).open(record).expect("it is there");
    file.write_all_at(&[7], 72 + 20).expect("it can be written");
    let (store, here) = example.open(dir.path());
    assert_eq!(here.len() as u64, count(BYTES as u64));
    assert!(
        matches!(store.finish(&destination(dir.path())), Err(TransferError::Incomplete)),
        "a broken chain"
    );
    drop(store);

    // A transfer from one holder begins with the first byte.
    let (near, far) = pair();
    let (file, head) = (super::moving::file_with(&example.content), header(&example.content));
    let sender = std::thread::spawn(move || send_file(near, file, &head, None, &key(), None).is_ok());
    let received = receive_file(far, &expected(&example.content), &destination(dir.path()), &mut |_, _| true);
    assert!(received.is_ok() && sender.join().expect("it does not panic"));
    assert_eq!(entries(dir.path()), ["tide.csv"]);
}

#[test]
fn nothing_is_left_of_a_transfer_without_a_piece() {
    let (example, dir) = (Example::new(), tempfile::tempdir().expect("a temporary directory"));
    drop(example.open(dir.path()));
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn a_run_with_too_few_links_or_another_offset_is_refused() {
    let (example, dir) = (Example::new(), tempfile::tempdir().expect("a temporary directory"));
    let (store, _) = example.open(dir.path());
    for (links, offset) in [(1, PIECE_BYTES), (3, PIECE_BYTES), (2, 0)] {
        let (near, far) = pair();
        let run = Run { links: Links(example.links[..links].to_vec()), end: 3 * PIECE_BYTES };
        let head = FileHeader { offset, ..header(&example.content) };
        let file = super::moving::file_with(&example.content);
        let sender =
            std::thread::spawn(move || send_file(near, file, &head, Some(&run), &key(), None).is_ok());
        let expected = Expected { offset: PIECE_BYTES, ..expected(&example.content) };
        let received = receive_run(far, &expected, 1..3, &store, None, &mut |_| true);
        assert!(matches!(received, Err(TransferError::OtherFile)), "{links} {offset}");
        let _ = sender.join();
    }
}
