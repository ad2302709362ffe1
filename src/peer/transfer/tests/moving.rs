//! The file message: complete, damaged or cut off, and the destination of the file.

use super::*;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use wire::FileName;
use wire::transfer::{CHUNK_BYTES, FileHeader, FileSealer, TransferKey};
use zeroize::Zeroizing;

use crate::peer::command::Existing;
use crate::peer::home::Home;

pub(super) fn key() -> TransferKey {
    TransferKey { transfer: TRANSFER, secret: Zeroizing::new([9; 32]), salt: [5; 16] }
}

pub(super) fn content(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn name() -> FileName {
    "tide.csv".parse().expect("a good name")
}

pub(super) fn header(content: &[u8]) -> FileHeader {
    FileHeader { name: name(), total_bytes: content.len() as u64, offset: 0, sha256: Digest::of(content) }
}

pub(super) fn expected(content: &[u8]) -> Expected {
    Expected { key: key(), name: name(), bytes: content.len() as u64, sha256: Digest::of(content), offset: 0 }
}

pub(super) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let dialled = TcpStream::connect(address).expect("it listens");
    let (accepted, _) = listener.accept().expect("somebody dialled");
    (dialled, accepted)
}

pub(super) fn file_with(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content).expect("it can be written");
    file
}

pub(super) fn destination(dir: &Path) -> Destination {
    Destination::output(dir, &name(), Existing::Refuse).expect("a directory")
}

pub(super) fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .expect("it is there")
        .map(|entry| entry.expect("it reads").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Receives what `write` sends on the other end of a connection.
pub(super) fn receive_from(
    write: impl FnOnce(TcpStream) + Send + 'static,
    expected: &Expected,
    destination: &Destination,
) -> Result<Received, TransferError> {
    let (near, far) = pair();
    let writer = thread::spawn(move || write(near));
    let received = receive_file(far, expected, destination, &mut |_, _| true);
    writer.join().expect("the writer does not panic");
    received
}

/// The records of a whole file message.
pub(super) fn records(header: &FileHeader, content: &[u8]) -> Vec<Vec<u8>> {
    let mut sealer = FileSealer::new(&key());
    let mut records = vec![sealer.header(header)];
    let mut chunks = content.chunks(CHUNK_BYTES).peekable();
    while let Some(chunk) = chunks.next() {
        records.push(sealer.chunk(chunk, chunks.peek().is_none()));
    }
    if content.is_empty() {
        records.push(sealer.chunk(&[], true));
    }
    records
}

pub(super) fn send_all(records: Vec<Vec<u8>>) -> impl FnOnce(TcpStream) + Send + 'static {
    // The receiver may close as soon as it has seen enough.
    move |mut stream| drop(stream.write_all(&records.concat()))
}

#[test]
fn a_file_of_any_length_arrives_whole() {
    for length in [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        2 * CHUNK_BYTES - 1,
        2 * CHUNK_BYTES,
        9 * CHUNK_BYTES + 5,
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let content = content(length);
        let (near, far) = pair();
        let (head, file) = (header(&content), file_with(&content));
        let sender = thread::spawn(move || send_file(near, file, &head, None, &key(), None));
        let mut steps = Vec::new();
        let mut progress = |done, total| {
            steps.push((done, total));
            true
        };
        let received = receive_file(far, &expected(&content), &destination(dir.path()), &mut progress);
        let received = received.expect("it arrives");
        let sent = sender.join().expect("the sender does not panic");
        assert_eq!(sent.expect("it is sent"), length as u64);
        assert_eq!(received.path, dir.path().join("tide.csv"));
        assert_eq!((received.bytes, received.sha256), (length as u64, Digest::of(&content)));
        assert_eq!(std::fs::read(&received.path).ok(), Some(content));
        assert_eq!(entries(dir.path()), ["tide.csv"]);
        assert_eq!(steps.last(), Some(&(length as u64, length as u64)));
        assert!(steps.is_sorted());
    }
}

#[test]
fn a_changed_file_never_gets_its_name() {
    let content = content(2 * CHUNK_BYTES + 10);
    let good = records(&header(&content), &content);
    let flipped = |record: usize, byte: usize| {
        let mut records = good.clone();
        records[record][byte] ^= 1;
        records
    };
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    let mut dropped = good.clone();
    dropped.remove(2);
    let mut huge = good.clone();
    huge[1][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut huge_header = good.clone();
    huge_header[0][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for (what, records) in [
        ("a byte of the header", flipped(0, 9)),
        ("the length of the header", flipped(0, 0)),
        ("a byte of a chunk", flipped(2, 1000)),
        ("the tag of the last chunk", flipped(3, 25)),
        ("the length of a chunk", flipped(1, 0)),
        ("a length of 4 GiB", huge),
        ("a header of 4 GiB", huge_header),
        ("the order", swapped),
        ("a chunk left out", dropped),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let received = receive_from(send_all(records), &expected(&content), &destination(dir.path()));
        assert!(matches!(received, Err(TransferError::NotAuthentic)), "{what}: {received:?}");
        assert!(!dir.path().join("tide.csv").exists(), "{what}");
    }
}

#[test]
fn a_stream_that_ends_anywhere_is_cut_off() {
    let content = content(2 * CHUNK_BYTES + 10);
    let stream = records(&header(&content), &content).concat();
    let chunk_record = CHUNK_BYTES + 20;
    let head = stream.len() - 2 * chunk_record - 30;
    for (length, missing) in [
        (0, content.len()),
        (3, content.len()),
        (head - 1, content.len()),
        (head, content.len()),
        (head + chunk_record, CHUNK_BYTES + 10),
        (stream.len() - 1, 10),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let part = stream[..length].to_vec();
        let received = receive_from(send_all(vec![part]), &expected(&content), &destination(dir.path()));
        match received {
            Err(TransferError::CutOff { missing: said }) => assert_eq!(said, missing as u64, "at {length}"),
            other => panic!("at {length}: {other:?}"),
        }
        let kept = destination(dir.path()).kept(&Digest::of(&content));
        assert_eq!(kept, (content.len() - missing) as u64, "at {length}");
        assert_eq!(entries(dir.path()).is_empty(), kept == 0, "at {length}");
    }
}

#[test]
fn another_file_than_the_requested_one_is_refused() {
    let content = content(100);
    let right = header(&content);
    let other_name = "other".parse().expect("a good name");
    for wrong in [
        FileHeader { name: other_name, ..right.clone() },
        FileHeader { total_bytes: 101, ..right.clone() },
        FileHeader { sha256: Digest::of(b"other"), ..right.clone() },
        FileHeader { offset: 1, ..right.clone() },
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let records = records(&wrong, &content);
        let received = receive_from(send_all(records), &expected(&content), &destination(dir.path()));
        assert!(matches!(received, Err(TransferError::OtherFile)), "{wrong:?}: {received:?}");
    }
}

#[test]
fn a_file_with_another_digest_is_not_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (published, mut sent) = (content(CHUNK_BYTES + 1), content(CHUNK_BYTES + 1));
    sent[CHUNK_BYTES] ^= 1;
    let records = records(&header(&published), &sent);
    let received = receive_from(send_all(records), &expected(&published), &destination(dir.path()));
    match received {
        Err(TransferError::WrongDigest { expected, got }) => {
            assert_eq!((expected, got), (Digest::of(&published), Digest::of(&sent)));
        }
        other => panic!("{other:?}"),
    }
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn nothing_is_overwritten_unless_allowed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let content = content(1000);
    let good = records(&header(&content), &content);
    let mut destination = destination(dir.path());
    let path = destination.path();
    std::fs::write(&path, b"mine").expect("it can be written");
    let refused = receive_from(send_all(good.clone()), &expected(&content), &destination);
    assert!(matches!(&refused, Err(TransferError::Exists(at)) if *at == path), "{refused:?}");
    assert_eq!(std::fs::read(&path).ok(), Some(b"mine".to_vec()));
    destination.existing = Existing::Overwrite;
    receive_from(send_all(good), &expected(&content), &destination).expect("it may be replaced");
    assert_eq!(std::fs::read(&path).ok(), Some(content.clone()));
    destination.existing = Existing::Refuse;
    // Nothing is read from the connection any more.
    let again = receive_from(drop, &expected(&content), &destination).expect("it is there already");
    assert_eq!(again.sha256, Digest::of(&content));
    assert_eq!(entries(dir.path()), ["tide.csv"]);
}

#[test]
fn both_files_are_kept_if_the_user_wants_that() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let content = content(1000);
    let good = records(&header(&content), &content);
    let destination = Destination { existing: Existing::KeepBoth, ..destination(dir.path()) };
    std::fs::write(destination.path(), b"mine").expect("it can be written");
    std::fs::write(dir.path().join("tide (2).csv"), b"mine too").expect("it can be written");
    let received = receive_from(send_all(good), &expected(&content), &destination).expect("it arrives");
    assert_eq!(received.path, dir.path().join("tide (3).csv"));
    assert_eq!(std::fs::read(&received.path).ok().as_ref(), Some(&content));
    assert_eq!(entries(dir.path()), ["tide (2).csv", "tide (3).csv", "tide.csv"]);
    assert_eq!(std::fs::read(destination.path()).ok(), Some(b"mine".to_vec()));
    let here = destination.check(1000, &Digest::of(&content)).expect("it can be checked");
    assert_eq!(here, Some(received), "the numbered file counts as received");
}

#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten() {
    let content = content(CHUNK_BYTES + 1);
    for (there, is_same) in [(&content[..], true), (b"mine", false)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let destination = destination(dir.path());
        let (near, far) = pair();
        let records = records(&header(&content), &content);
        let writer = thread::spawn(move || send_all(records)(near));
        // The progress of the first chunk comes after the check at the start and before the file gets its name.
        let mut progress = |_, _| std::fs::write(destination.path(), there).is_ok();
        let received = receive_file(far, &expected(&content), &destination, &mut progress);
        writer.join().expect("the writer does not panic");
        match received {
            Ok(received) => assert!(is_same && received.path == destination.path()),
            Err(error) => assert!(!is_same && matches!(error, TransferError::Exists(_)), "{error}"),
        }
        assert_eq!(std::fs::read(destination.path()).ok().as_deref(), Some(there));
        assert_eq!(entries(dir.path()), ["tide.csv"]);
    }
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let content = content(1000);
    let good = records(&header(&content), &content);
    let victim = dir.path().join("victim");
    let mut destination = destination(dir.path());
    for (target, overwrite) in [("victim", false), ("nowhere", false), ("victim", true)] {
        // Even a link to the same content is not the file.
        std::fs::write(&victim, &content).expect("it can be written");
        std::os::unix::fs::symlink(target, destination.path()).expect("a link");
        destination.existing = if overwrite { Existing::Overwrite } else { Existing::Refuse };
        let received = receive_from(send_all(good.clone()), &expected(&content), &destination);
        let metadata = std::fs::symlink_metadata(destination.path()).expect("it is there");
        if overwrite {
            received.expect("the link is replaced");
            assert!(metadata.is_file());
        } else {
            assert!(matches!(received, Err(TransferError::Exists(_))), "{received:?}");
            assert!(metadata.is_symlink());
        }
        assert_eq!(std::fs::read(&victim).ok().as_ref(), Some(&content));
        assert!(!dir.path().join("nowhere").exists());
        std::fs::remove_file(destination.path()).expect("it is there");
    }
    assert_eq!(entries(dir.path()), ["victim"]);
}

#[test]
fn a_receiver_that_vanishes_ends_the_sending() {
    let content = content(64 * CHUNK_BYTES);
    let (near, mut far) = pair();
    let (head, file) = (header(&content), file_with(&content));
    let sender = thread::spawn(move || send_file(near, file, &head, None, &key(), None));
    far.read_exact(&mut [0; 100]).expect("it starts");
    drop(far);
    let sent = sender.join().expect("the sender does not panic");
    assert!(matches!(sent, Err(TransferError::Stopped)), "{sent:?}");
}

#[test]
fn a_file_that_has_become_shorter_is_noticed_while_it_is_sent() {
    let content = content(3 * CHUNK_BYTES);
    for left in [0, 10, 2 * CHUNK_BYTES, content.len() - 1] {
        let (near, mut far) = pair();
        let (head, file) = (header(&content), file_with(&content));
        file.set_len(left as u64).expect("it is ours");
        let drain = thread::spawn(move || std::io::copy(&mut far, &mut std::io::sink()));
        let sent = send_file(near, file, &head, None, &key(), None);
        assert!(matches!(sent, Err(TransferError::FileChanged)), "{left}: {sent:?}");
        drain.join().expect("it does not panic").expect("it reads to the end");
    }
}

#[test]
fn sending_starts_where_the_header_says() {
    let content = content(CHUNK_BYTES + 100);
    let (near, mut far) = pair();
    let mut head = header(&content);
    head.offset = 90;
    let file = file_with(&content);
    let sealed_head = FileSealer::new(&key()).header(&head);
    let expected_bytes = sealed_head.len() + 20 + CHUNK_BYTES + 20 + 10;
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        far.read_to_end(&mut all).map(|_| all)
    });
    let sent = send_file(near, file, &head, None, &key(), None);
    assert_eq!(sent.ok(), Some(CHUNK_BYTES as u64 + 10));
    let all = reader.join().expect("it does not panic").expect("it reads");
    assert_eq!(all.len(), expected_bytes);
    let mut sealer = FileSealer::new(&key());
    let first = [sealer.header(&head), sealer.chunk(&content[90..90 + CHUNK_BYTES], false)].concat();
    assert_eq!(all[..first.len()], first);
    head.offset = head.total_bytes + 1;
    let (near, _far) = pair();
    let sent = send_file(near, file_with(&content), &head, None, &key(), None);
    assert!(matches!(sent, Err(TransferError::FileChanged)), "{sent:?}");
}

#[test]
fn a_destination_is_a_directory_or_a_path_in_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = |path: &Path| Destination::output(path, &name(), Existing::Refuse);
    let into = output(dir.path()).expect("a directory");
    assert_eq!(into.path(), dir.path().join("tide.csv"));
    let renamed = output(&dir.path().join("new.csv")).expect("a path");
    assert_eq!((renamed.directory.as_path(), renamed.name.to_str()), (dir.path(), Some("new.csv")));
    let here = output(Path::new("new.csv")).expect("a path");
    assert_eq!(here.directory, Path::new("."));
    for bad in ["", "missing/", "missing/.."] {
        let refused = output(&dir.path().join("x").join(bad));
        assert!(matches!(refused, Err(TransferError::BadPath(_))), "{bad}: {refused:?}");
    }
    let lost = output(&dir.path().join("no/where.csv")).expect("a path");
    assert!(matches!(lost.check(1, &Digest::of(b"x")), Err(TransferError::Disk { .. })));

    let home = Home::open(&dir.path().join("A")).expect("its parent exists");
    assert!(!home.downloads_path().exists());
    for _ in 0..2 {
        let downloads = Destination::downloads(&home, &name(), Existing::Refuse).expect("it is made");
        assert_eq!(downloads.directory, home.downloads_path());
        assert!(home.downloads_path().is_dir());
    }
}

#[test]
fn a_file_goes_into_its_folders_and_follows_no_link_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name: FileName = "lectures/week 1/tide.csv".parse().expect("a good name");
    let below = |name: &str| dir.path().join(name);
    let destination = Destination::output(dir.path(), &name, Existing::Refuse).expect("a directory");
    assert_eq!(destination.path(), below("lectures/week 1/tide.csv"));
    let content = content(CHUNK_BYTES + 1);
    assert_eq!(destination.check(content.len() as u64, &Digest::of(&content)).ok(), Some(None));
    assert!(entries(dir.path()).is_empty(), "folders are made when the file arrives");
    let expected = Expected { name: name.clone(), ..expected(&content) };
    let header = FileHeader { name, ..header(&content) };
    let sent = records(&header, &content);
    let received = receive_from(send_all(sent.clone()), &expected, &destination).expect("it arrives");
    assert_eq!(received.path, below("lectures/week 1/tide.csv"));
    assert_eq!(std::fs::read(&received.path).ok(), Some(content.clone()));
    assert_eq!(entries(&below("lectures/week 1")), ["tide.csv"], "the part was beside it");

    // Somebody puts a link in the place of a folder.
    std::fs::remove_dir_all(below("lectures")).expect("it is ours");
    std::fs::create_dir(below("outside")).expect("a directory");
    std::os::unix::fs::symlink(below("outside"), below("lectures")).expect("a link");
    let refused = destination.check(1, &Digest::of(b"x"));
    assert!(matches!(refused, Err(TransferError::Disk(_))), "{refused:?}");
    let refused = receive_from(send_all(sent), &expected, &destination);
    assert!(matches!(refused, Err(TransferError::Disk(_))), "{refused:?}");
    assert!(entries(&below("outside")).is_empty());
}

#[test]
fn a_name_that_another_peer_chose_is_escaped_in_every_message() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name: FileName = "a\u{202e}txt.exe".parse().expect("a name that a file may have");
    let destination = Destination::output(dir.path(), &name, Existing::Refuse).expect("a directory");
    std::fs::write(destination.path(), b"mine").expect("it can be written");
    let error = destination.check(1, &Digest::of(b"x")).expect_err("it is taken").to_string();
    assert!(error.contains("a\\u{202e}txt.exe"), "{error}");
}
