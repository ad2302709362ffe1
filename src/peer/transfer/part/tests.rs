use std::os::fd::OwnedFd;
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
        let written = part.write_all(&to_write, &used);
        drop(to_write);
        (written, joined(feeder))
    })
}

/// A chunk that is said to end at a byte of the file.
fn chunk(text: &[u8], end: u64) -> (Vec<u8>, SoFar) {
    let mut hash = Chain::new();
    hash.update(text);
    (text.to_vec(), SoFar { bytes: end, hash })
}

/// Lets a function send chunks that are written meanwhile.
fn while_writing(part: &mut Part<'_>, send: impl FnOnce(&Sender<(Vec<u8>, SoFar)>)) {
    let (sender, to_write) = bounded(0);
    let (used, _free) = bounded(1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| part.write_all(&to_write, &used));
        send(&sender);
        drop(sender);
        joined(writer).expect("all is written");
    });
}

#[test]
fn what_is_due_is_recorded_while_the_rest_comes() {
    let (_dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    while_writing(&mut part, |sender| {
        // The recording thread may not wait yet when the first chunk is written, so the next one is due as well.
        let is_recorded = (1..1_000_000).any(|end| {
            sender.send(chunk(b"x", end * RECORD_BYTES)).expect("it is taken");
            recorded(&folder, &SHA256).is_some_and(|(bytes, _)| bytes > 0)
        });
        assert!(is_recorded);
    });
}

#[test]
fn what_has_arrived_is_recorded_while_nothing_more_comes() {
    let (_dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    while_writing(&mut part, |sender| {
        sender.send(chunk(b"one", 3)).expect("it is taken");
        let deadline = Instant::now() + Duration::from_secs(30);
        while recorded(&folder, &SHA256).is_none_or(|(bytes, _)| bytes != 3) {
            assert!(Instant::now() < deadline, "nothing is recorded");
            thread::yield_now();
        }
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

#[test]
fn what_the_disk_may_have_lost_does_not_count() {
    let (_dir, folder) = folder();
    let mut part = Part::open(&folder, &SHA256, 0).expect("a new part");
    let (mut read, write_end) = io::pipe().expect("a pipe");
    // It takes all that is written, and there is no disk to wait for.
    let file = std::mem::replace(&mut part.files.content, File::from(OwnedFd::from(write_end)));
    let drain = thread::spawn(move || io::copy(&mut read, &mut io::sink()));
    let chunks = (1..100_000).map(|end| chunk(b"x", end * RECORD_BYTES)).collect();
    let (written, _) = write(&mut part, chunks);
    assert!(written.is_err(), "nobody can wait until a pipe is on disk");
    // From now on the system has forgotten it.
    part.files.content = file;
    part.files.content.set_len(100_000 * RECORD_BYTES).expect("a sparse file");
    drop(part);
    drain.join().expect("the pipe is closed").expect("it can be read");
    assert_eq!(kept(&folder, &SHA256), 0);
}

#[test]
fn a_receiver_that_was_killed_at_once_has_left_nothing_to_continue() {
    let (_dir, folder) = folder();
    // Without what dropping does, as when the process is killed.
    std::mem::forget(Part::open(&folder, &SHA256, 0).expect("a new part"));
    assert_eq!(kept(&folder, &SHA256), 0);
    assert!(!pieces::has_pieces(&folder, &SHA256));
}
