//! Many files over one connection.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use wire::many::{Entry, NotSent, seal_end, seal_entry};
use wire::transfer::{CHUNK_BYTES, FileHeader, FileSealer};

use super::moving::{content, entries, key, pair};
use super::*;
use crate::peer::command::Existing;

const LENGTHS: [usize; 6] = [0, 1, 4096, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES];

fn header(name: &str, content: &[u8]) -> FileHeader {
    let (total_bytes, sha256) = (content.len() as u64, Digest::of(content));
    FileHeader { name: name.parse().expect("a good name"), total_bytes, offset: 0, sha256 }
}

fn expected(dir: &Path, header: &FileHeader, existing: Existing) -> ExpectedFile {
    let destination = Destination::output(dir, &header.name, existing).expect("a directory");
    let (name, bytes, sha256) = (header.name.clone(), header.total_bytes, header.sha256);
    ExpectedFile { name, bytes, sha256, destination }
}

fn sealed(sealer: &mut FileSealer, header: &FileHeader, content: &[u8]) -> Vec<u8> {
    let mut records = seal_entry(sealer, &Entry::File(header.clone()));
    for chunk in content.chunks(CHUNK_BYTES) {
        records.extend(sealer.chunk(chunk, false));
    }
    records
}

/// Receives what is written at the other end, and all reports.
fn receive(bytes: Vec<u8>, files: &[ExpectedFile]) -> (Result<(), TransferError>, Reports) {
    let (mut near, far): (TcpStream, TcpStream) = pair();
    // The receiver may close as soon as it has seen enough.
    let writer = thread::spawn(move || drop(near.write_all(&bytes)));
    let mut all = Reports::new();
    let received = receive_many(far, &key(), files, &mut |reports: Reports| {
        all.extend(reports);
        true
    });
    writer.join().expect("the writer does not panic");
    (received, all)
}

#[test]
fn files_of_any_length_arrive_in_their_folders() {
    let (shared, dir) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let names: Vec<String> = (0..300).map(|n| format!("{}/{n}.txt", ["a", "a/b", "c"][n % 3])).collect();
    let contents: Vec<Vec<u8>> = (0..300).map(|n| content(LENGTHS[n % LENGTHS.len()] + n)).collect();
    let headers: Vec<FileHeader> =
        names.iter().zip(&contents).map(|(name, content)| header(name, content)).collect();
    let files: Vec<(Entry, Option<File>)> = headers
        .iter()
        .zip(&contents)
        .enumerate()
        .map(|(n, (header, content))| {
            if n == 7 {
                return (Entry::NotSent(NotSent::Changed), None);
            }
            let path = shared.path().join(n.to_string());
            std::fs::write(&path, content).expect("it can be written");
            (Entry::File(header.clone()), Some(File::open(path).expect("it is there")))
        })
        .collect();
    let expected: Vec<_> =
        headers.iter().map(|header| expected(dir.path(), header, Existing::Refuse)).collect();
    let (near, far) = pair();
    let sender = thread::spawn(move || send_many(near, files.into_iter(), &key(), None));
    let mut all = Reports::new();
    let received = receive_many(far, &key(), &expected, &mut |reports: Reports| {
        all.extend(reports);
        true
    });
    received.expect("they arrive");
    let sent = sender.join().expect("the sender does not panic").expect("they are sent");
    assert_eq!(
        sent,
        contents.iter().map(|content| content.len() as u64).sum::<u64>() - contents[7].len() as u64
    );
    all.sort_by_key(|(number, _)| *number);
    assert_eq!(all.len(), 300);
    for (number, result) in all {
        if number == 7 {
            assert!(matches!(result, Err(TransferError::NotSent(NotSent::Changed))), "{result:?}");
            continue;
        }
        let received = result.expect("it arrives");
        assert_eq!(received.path, dir.path().join(&names[number]));
        assert!(std::fs::read(&received.path).ok().as_ref() == Some(&contents[number]), "{number}");
    }
    assert_eq!(entries(dir.path()), ["a", "c"], "nothing hidden is left");
    assert_eq!(entries(&dir.path().join("c")).len(), 100);
}

#[test]
fn one_bad_file_does_not_affect_the_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let (good, other) = (content(5), content(6));
    let names = ["same", "wrong", "taken", "linked/x", "good"];
    let headers = names.map(|name| header(name, &good));
    std::fs::write(dir.path().join("same"), &good).expect("it can be written");
    std::fs::write(dir.path().join("taken"), &other).expect("it can be written");
    let outside = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(outside.path(), dir.path().join("linked")).expect("a link");
    let mut sealer = FileSealer::new(&key());
    let mut bytes = Vec::new();
    for (name, header) in names.iter().zip(&headers) {
        bytes.extend(sealed(&mut sealer, header, if *name == "wrong" { b"other" } else { &good }));
    }
    bytes.extend(seal_end(&mut sealer));
    let files = headers.each_ref().map(|header| expected(dir.path(), header, Existing::Refuse));
    let (received, mut reports) = receive(bytes, &files);
    received.expect("the connection is good");
    reports.sort_by_key(|(number, _)| *number);
    let [(_, same), (_, wrong), (_, taken), (_, linked), (_, good)] =
        <[_; 5]>::try_from(reports).expect("one each");
    assert!(same.is_ok(), "it has the content: {same:?}");
    assert!(matches!(wrong, Err(TransferError::WrongDigest { .. })), "{wrong:?}");
    assert!(matches!(taken, Err(TransferError::Exists(_))), "{taken:?}");
    assert!(matches!(linked, Err(TransferError::Disk(_))), "{linked:?}");
    assert_eq!(good.expect("it arrives").path, dir.path().join("good"));
    assert_eq!(entries(dir.path()), ["good", "linked", "same", "taken"]);
    assert_eq!(entries(outside.path()).len(), 0, "nothing outside");
    assert_eq!(std::fs::read(dir.path().join("taken")).ok(), Some(other));
    for (existing, name) in [(Existing::Overwrite, "taken"), (Existing::KeepBoth, "taken (2)")] {
        let mut sealer = FileSealer::new(&key());
        let mut bytes = sealed(&mut sealer, &headers[2], &content(5));
        bytes.extend(seal_end(&mut sealer));
        if existing == Existing::KeepBoth {
            std::fs::write(dir.path().join("taken"), b"yet another").expect("it can be written");
        }
        let (_, reports) = receive(bytes, &[expected(dir.path(), &headers[2], existing)]);
        assert_eq!(
            reports[0].1.as_ref().ok().map(|received| received.path.clone()),
            Some(dir.path().join(name))
        );
    }
}

#[test]
fn what_was_not_sealed_so_ends_the_transfer_and_leaves_no_name() {
    let contents = [content(5), content(7)];
    let headers = [header("a", &contents[0]), header("b", &contents[1])];
    let good = |headers: &[FileHeader; 2]| {
        let mut sealer = FileSealer::new(&key());
        let records = [
            sealed(&mut sealer, &headers[0], &contents[0]),
            sealed(&mut sealer, &headers[1], &contents[1]),
            seal_end(&mut sealer),
        ];
        records.to_vec()
    };
    let cut = |records: Vec<Vec<u8>>, bytes: usize| {
        let all = records.concat();
        all[..all.len() - bytes].to_vec()
    };
    let mut flipped = good(&headers).concat();
    flipped[60] ^= 1;
    let swapped = good(&[headers[1].clone(), headers[0].clone()]).concat();
    let other_name = good(&[header("xa", &contents[0]), headers[1].clone()]).concat();
    let without_end = good(&headers)[..2].concat();
    for (what, bytes, names) in [
        ("flipped", flipped, &[][..]),
        ("swapped", swapped, &[]),
        ("another name", other_name, &[]),
        ("cut off in the second", cut(good(&headers), 30), &["a"]),
        ("without an end", without_end, &["a", "b"]),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let files = headers.each_ref().map(|header| expected(dir.path(), header, Existing::Refuse));
        let (received, reports) = receive(bytes, &files);
        let error = received.expect_err(what);
        let is_right = matches!(
            error,
            TransferError::NotAuthentic | TransferError::OtherFile | TransferError::CutOff { .. }
        );
        assert!(is_right, "{what}: {error}");
        assert_eq!(entries(dir.path()), names, "{what}");
        assert_eq!(reports.iter().filter(|(_, result)| result.is_ok()).count(), names.len(), "{what}");
    }
}

#[test]
fn a_cancelled_transfer_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let headers: Vec<FileHeader> = (0..2000).map(|n| header(&n.to_string(), b"x")).collect();
    let mut sealer = FileSealer::new(&key());
    let bytes = headers.iter().flat_map(|header| sealed(&mut sealer, header, b"x")).collect::<Vec<u8>>();
    let files: Vec<_> = headers.iter().map(|header| expected(dir.path(), header, Existing::Refuse)).collect();
    let (mut near, far) = pair();
    let writer = thread::spawn(move || {
        // There is no end, so that only the cancelling can end it.
        let _ = near.write_all(&bytes);
        near
    });
    let received = receive_many(far, &key(), &files, &mut |_: Reports| false);
    assert!(matches!(received, Err(TransferError::Cancelled)), "{received:?}");
    let named = entries(dir.path()).len();
    assert!((1..=1024).contains(&named), "{named}: those that had their names");
    assert!(!entries(dir.path()).iter().any(|name| name.starts_with('.')), "nothing hidden is left");
    drop(writer.join().expect("the writer does not panic"));
}
