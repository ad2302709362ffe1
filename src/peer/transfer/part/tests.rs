use std::thread;

use tempfile::TempDir;

use super::*;

const SHA256: Digest = Digest([7; 32]);

fn folder() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = Folder::open(dir.path()).expect("it is there");
    (dir, folder)
}

/// Writes chunks and returns how writing has ended, and whether all of them were taken.
fn write(part: &mut Part<'_>, chunks: Vec<(Vec<u8>, SoFar)>) -> (io::Result<()>, bool) {
    let (sender, to_write) = bounded(0);
    let (used, _free) = bounded(1);
    thread::scope(|scope| {
        let feeder = scope.spawn(move || chunks.into_iter().all(|chunk| sender.send(chunk).is_ok()));
        let written = part.write_all(to_write, &used);
        (written, joined(feeder))
    })
}

/// A chunk that is said to end at a byte of the file.
fn chunk(text: &[u8], end: u64) -> (Vec<u8>, SoFar) {
    let mut hash = Chain::new();
    hash.update(text);
    (text.to_vec(), SoFar { bytes: end, hash })
}

#[test]
fn what_is_due_is_recorded_while_the_rest_comes() {
    let (_dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    let (sender, to_write) = bounded(0);
    let (used, _free) = bounded(1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| part.write_all(to_write, &used));
        // The recording thread may not wait yet when the first chunk is written, so the next one is due as well.
        let is_recorded = (1..1_000_000).any(|end| {
            sender.send(chunk(b"x", end * RECORD_BYTES)).expect("it is taken");
            recorded(&folder, &SHA256).is_some_and(|(bytes, _)| bytes > 0)
        });
        assert!(is_recorded);
        drop(sender);
        joined(writer).expect("all is written");
    });
}

#[test]
fn what_cannot_be_recorded_ends_the_transfer() {
    let (dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    part.files.state = File::open(dir.path().join(name(&SHA256, STATE))).expect("it is there");
    // Far more than are written before the recording thread has seen its error.
    let chunks = (1..100_000).map(|end| chunk(b"x", end * RECORD_BYTES)).collect();
    let (written, all_taken) = write(&mut part, chunks);
    assert!(written.is_err(), "a state that is open for reading only cannot be written");
    assert!(!all_taken, "the transfer goes on");
}

#[test]
fn only_what_was_written_counts() {
    let (dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    let (written, _) = write(&mut part, vec![chunk(b"one", 3)]);
    written.expect("it is written");
    part.files.content = File::open(dir.path().join(name(&SHA256, PART))).expect("it is there");
    let (written, _) = write(&mut part, vec![chunk(b"onetwo", 6)]);
    assert!(written.is_err(), "a part that is open for reading only cannot be written");
    assert_eq!(part.digest(), Digest::of(b"one"));
    drop(part);
    assert_eq!(kept(&folder, &SHA256), 3);
}
