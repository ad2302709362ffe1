//! Transfers that are interrupted or cancelled, and continue later.

use std::fs::File;
use std::io::Write as _;
use std::thread;

use tempfile::TempDir;
use wire::pieces::{Linker, Piece};
use wire::transfer::{CHUNK_BYTES, FileHeader};

use super::moving::{content, destination, entries, expected, header, pair, receive_from, records, send_all};
use super::*;
use crate::peer::transfer::PieceStore;

/// Receives the first `chunks` chunks of a file, and then the connection ends.
fn interrupt(content: &[u8], chunks: usize, destination: &Destination) {
    let records = records(&header(content), content)[..=chunks].to_vec();
    let cut = receive_from(send_all(records), &expected(content), destination);
    assert!(matches!(cut, Err(TransferError::CutOff { .. })), "{cut:?}");
    assert_eq!(destination.kept(&Digest::of(content)), (chunks * CHUNK_BYTES) as u64);
}

/// A file of this length, and a directory in which a transfer of it was interrupted after `chunks` chunks.
fn interrupted(length: usize, chunks: usize) -> (Vec<u8>, TempDir, Destination) {
    let content = content(length);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let destination = destination(dir.path());
    interrupt(&content, chunks, &destination);
    (content, dir, destination)
}

/// The records of the rest of a file message, and what the receiver expects of it.
fn rest(content: &[u8], offset: u64) -> (Vec<Vec<u8>>, Expected) {
    let start = usize::try_from(offset).expect("it is short");
    let header = FileHeader { offset, ..header(content) };
    (records(&header, &content[start..]), Expected { offset, ..expected(content) })
}

#[test]
fn an_interrupted_transfer_continues_with_the_first_missing_byte() {
    let (content, dir, destination) = interrupted(5 * CHUNK_BYTES + 7, 2);
    assert!(!destination.path().exists(), "an incomplete file has no name");
    let (records, expected) = rest(&content, 2 * CHUNK_BYTES as u64);
    let received = receive_from(send_all(records), &expected, &destination).expect("the rest arrives");
    assert_eq!(received.sha256, Digest::of(&content));
    assert_eq!(std::fs::read(&received.path).ok(), Some(content));
    assert_eq!(entries(dir.path()), ["tide.csv"]);
}

#[test]
fn the_pieces_of_an_interrupted_transfer_are_known_also_after_several() {
    const CHUNKS: usize = 1 << 20 >> 17;
    for interruptions in
        [&[2 * CHUNKS + 3][..], &[CHUNKS], &[3, 2 * CHUNKS, 3 * CHUNKS - 1], &[CHUNKS, CHUNKS + 1]]
    {
        let content = content(4 << 20);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (destination, sha256) = (destination(dir.path()), Digest::of(&content));
        let (mut before, mut at) = (0, 0);
        for chunks in interruptions {
            let offset = (before * CHUNK_BYTES) as u64;
            let (mut records, expected) = rest(&content, offset);
            records.truncate(1 + chunks - before);
            let cut = receive_from(send_all(records), &expected, &destination);
            assert!(matches!(cut, Err(TransferError::CutOff { .. })), "{cut:?}");
            (before, at) = (*chunks, *chunks * CHUNK_BYTES);
        }
        assert_eq!(destination.kept(&sha256), at as u64);
        let mut linker = Linker::new();
        linker.update(&content);
        let (_, links) = linker.finish();
        // Whether another piece follows is known when it begins, so one that ends at the interruption is not recorded.
        let whole = (at - 1) >> 20;
        let pieces: Vec<Piece> =
            (0..whole).map(|n| Piece { number: n as u64, from: links[n], to: links[n + 1] }).collect();
        let (store, here) = PieceStore::open(&destination, content.len() as u64, &sha256).expect("it opens");
        assert_eq!(here, pieces, "{interruptions:?}");
        drop(store);
        // Nothing was put into it, so one holder can still go on.
        assert_eq!(destination.kept(&sha256), at as u64);
        let (records, expected) = rest(&content, at as u64);
        receive_from(send_all(records), &expected, &destination).expect("the rest arrives");
        assert_eq!(entries(dir.path()), ["tide.csv"]);
    }
}

#[test]
fn what_a_killed_receiver_had_not_recorded_is_received_again() {
    let (content, dir, destination) = interrupted(3 * CHUNK_BYTES, 1);
    let part = dir.path().join(format!(".switchboard-{}.part", Digest::of(&content)));
    let mut file = File::options().append(true).open(&part).expect("it is there");
    file.write_all(b"bytes that were written after the last record").expect("it can be written");
    let (records, expected) = rest(&content, destination.kept(&Digest::of(&content)));
    let received = receive_from(send_all(records), &expected, &destination).expect("the rest arrives");
    assert_eq!(std::fs::read(&received.path).ok(), Some(content.clone()));

    // With less on disk than was recorded, everything is received again.
    std::fs::remove_file(received.path).expect("it is there");
    interrupt(&content, 1, &destination);
    File::options().write(true).open(&part).and_then(|file| file.set_len(5)).expect("it is ours");
    assert_eq!(destination.kept(&Digest::of(&content)), 0);
    let (records, expected) = rest(&content, 0);
    receive_from(send_all(records), &expected, &destination).expect("all of it arrives");
}

#[test]
fn a_damaged_part_never_becomes_the_file() {
    let (content, dir, destination) = interrupted(3 * CHUNK_BYTES, 1);
    let state = dir.path().join(format!(".switchboard-{}.state", Digest::of(&content)));
    let mut bytes = std::fs::read(&state).expect("it is there");
    bytes[20] ^= 1;
    std::fs::write(&state, bytes).expect("it can be written");
    let (records, expected) = rest(&content, CHUNK_BYTES as u64);
    let wrong = receive_from(send_all(records), &expected, &destination);
    assert!(matches!(wrong, Err(TransferError::WrongDigest { .. })), "{wrong:?}");
    assert!(entries(dir.path()).is_empty(), "nothing of it is used again");
}

#[test]
fn a_cancelled_transfer_takes_no_more_and_keeps_what_has_arrived() {
    let content = content(3 * CHUNK_BYTES);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let destination = destination(dir.path());
    let (near, far) = pair();
    let records = records(&header(&content), &content);
    let writer = thread::spawn(move || send_all(records)(near));
    let cancelled = receive_file(far, &expected(&content), &destination, &mut |_, _| false);
    writer.join().expect("the writer does not panic");
    assert!(matches!(cancelled, Err(TransferError::Cancelled)), "{cancelled:?}");
    assert_eq!(destination.kept(&Digest::of(&content)), CHUNK_BYTES as u64);
    assert!(!destination.path().exists());
}

#[test]
fn two_transfers_of_one_file_do_not_write_into_each_other() {
    let content = content(2 * CHUNK_BYTES);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let destination = destination(dir.path());
    let (near, far) = pair();
    let records = records(&header(&content), &content);
    let writer = thread::spawn({
        let records = records.clone();
        move || send_all(records)(near)
    });
    let mut second = None;
    let mut progress = |_, _| {
        let again = || receive_from(send_all(records.clone()), &expected(&content), &destination);
        second.get_or_insert_with(again);
        true
    };
    receive_file(far, &expected(&content), &destination, &mut progress).expect("the first one arrives");
    writer.join().expect("the writer does not panic");
    let refused = second.expect("it was tried").expect_err("the first one has the file").to_string();
    let path = destination.path();
    let expected = format!(
        "{}: cannot receive the file: another transfer receives the same content into this folder; repeat the command when that has \
         ended, or name another folder with --output",
        path.display()
    );
    assert_eq!(refused, expected);
    assert_eq!(std::fs::read(destination.path()).ok(), Some(content));
    assert_eq!(entries(dir.path()), ["tide.csv"]);
}

#[test]
fn forgotten_parts_are_removed_and_those_in_use_are_not() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let part = |name: &str, age: Duration| {
        let path = dir.path().join(format!(".switchboard-{name}.part"));
        std::fs::write(path.with_extension("state"), b"").expect("it can be written");
        let file = File::create_new(path).expect("it can be made");
        file.set_modified(std::time::SystemTime::now() - age).expect("it is ours");
        file
    };
    let day = Duration::from_secs(24 * 3600);
    part("forgotten", 8 * day);
    part("fresh", 6 * day);
    let held = part("held", 8 * day);
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("it is ours");
    let content = content(1000);
    receive_from(
        send_all(records(&header(&content), &content)),
        &expected(&content),
        &destination(dir.path()),
    )
    .expect("it arrives");
    let left =
        ["fresh.part", "fresh.state", "held.part", "held.state"].map(|name| format!(".switchboard-{name}"));
    assert_eq!(entries(dir.path()), [&left[..], &["tide.csv".to_owned()]].concat());
}
