//! Many files over one connection.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit};
use wire::many::{Entry, NotSent, seal_end, seal_entry};
use wire::transfer::{CHUNK_BYTES, FileHeader, FileSealer};

use super::super::rate::tests::Sleepers;
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
    let received = receive_many(far, &key(), files, None, &mut |reports: Reports| {
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
    let received = receive_many(far, &key(), &expected, None, &mut |reports: Reports| {
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

/// Small files to send from a folder, and their headers.
fn small_files(folder: &Path, count: usize) -> (Vec<FileHeader>, Vec<(Entry, Option<File>)>) {
    let mut headers = Vec::new();
    let mut files = Vec::new();
    for n in 0..count {
        let content = content(4096 + n);
        let path = folder.join(n.to_string());
        std::fs::write(&path, &content).expect("it can be written");
        let header = header(&n.to_string(), &content);
        files.push((Entry::File(header.clone()), Some(File::open(path).expect("it is there"))));
        headers.push(header);
    }
    (headers, files)
}

#[test]
fn all_transfers_in_one_direction_share_their_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, many) = small_files(folder.path(), 50);
    let one = content(5 * CHUNK_BYTES);
    let path = folder.path().join("one");
    std::fs::write(&path, &one).expect("it can be written");
    let one_file = File::open(path).expect("it is there");
    let limit = Sleepers::default().limit(1_000_000);
    let (to_many, from_many) = pair();
    let (to_one, from_one) = pair();
    let read_all = |mut from: TcpStream| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes.len() as u64)
    };
    let moved: u64 = thread::scope(|scope| {
        scope.spawn(|| send_many(to_many, many.into_iter(), &key(), Some(&limit)));
        scope.spawn(|| send_file(to_one, one_file, &header("one", &one), None, &key(), Some(&limit)));
        let readers = [from_many, from_one].map(|from| scope.spawn(move || read_all(from)));
        readers.map(|reader| reader.join().expect("it does not panic").expect("all of it comes")).iter().sum()
    });
    assert_eq!(limit.passed(), moved);
    assert!(moved > 50 * 4096 + one.len() as u64, "{moved}");
}

#[test]
fn small_files_that_arrive_count_for_the_limit_one_by_one() {
    let (folder, dir) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (headers, files) = small_files(folder.path(), 50);
    let files_expected: Vec<_> =
        headers.iter().map(|header| expected(dir.path(), header, Existing::Refuse)).collect();
    let (up, down) = (Sleepers::default().limit(1_000_000), Sleepers::default().limit(1_000_000));
    let (near, far) = pair();
    thread::scope(|scope| {
        scope.spawn(|| send_many(near, files.into_iter(), &key(), Some(&up)));
        receive_many(far, &key(), &files_expected, Some(&down), &mut |_| true).expect("they arrive");
    });
    assert_eq!(down.passed(), up.passed());
    assert!(up.passed() > 50 * 4096, "{}", up.passed());
}

/// Runs a test of this module again, in a process of its own. Returns whether this is that process.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let (_, module) = module_path!().split_once("::").expect("the crate comes first");
    let mut command = std::process::Command::new("sh");
    // Writing beyond the limit of a file is an error instead of a signal.
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    command.arg(std::env::current_exe().expect("it runs")).args(["--exact", &format!("{module}::{test}")]);
    let output = command.env(ALONE, "1").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

#[test]
fn without_room_for_a_file_the_transfer_ends_and_what_has_arrived_stays() {
    if !is_alone("without_room_for_a_file_the_transfer_ends_and_what_has_arrived_stays") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let limit = Rlimit { current: Some(CHUNK_BYTES as u64), maximum: None };
    rustix::process::setrlimit(Resource::Fsize, limit).expect("a lower limit is allowed");
    let contents = [5, 7, CHUNK_BYTES + 1, 3].map(content);
    let headers: Vec<FileHeader> =
        ["a", "b", "c", "d"].iter().zip(&contents).map(|(name, content)| header(name, content)).collect();
    let mut sealer = FileSealer::new(&key());
    let files = headers.iter().zip(&contents);
    let mut bytes: Vec<u8> =
        files.flat_map(|(header, content)| sealed(&mut sealer, header, content)).collect();
    bytes.extend(seal_end(&mut sealer));
    let expected: Vec<_> =
        headers.iter().map(|header| expected(dir.path(), header, Existing::Refuse)).collect();
    let (received, reports) = receive(bytes, &expected);
    assert!(received.is_err_and(|error| error.is_disk_full()));
    let arrived: Vec<usize> =
        reports.into_iter().map(|(number, result)| result.map(|_| number).expect("it has room")).collect();
    assert_eq!(arrived, [0, 1]);
    assert_eq!(entries(dir.path()), ["a", "b"]);
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
    let received = receive_many(far, &key(), &files, None, &mut |_: Reports| false);
    assert!(matches!(received, Err(TransferError::Cancelled)), "{received:?}");
    let named = entries(dir.path()).len();
    assert!((1..=1024).contains(&named), "{named}: those that had their names");
    assert!(!entries(dir.path()).iter().any(|name| name.starts_with('.')), "nothing hidden is left");
    drop(writer.join().expect("the writer does not panic"));
}

#[test]
fn what_a_killed_transfer_of_many_has_left_is_removed_by_the_next_one_and_not_before_it_has_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let left = format!(".switchboard-{}-7.part", "0123456789abcdef".repeat(2));
    let one = format!(".switchboard-{}.part", Digest::of(b"one"));
    for name in [&left, &one] {
        std::fs::write(dir.path().join(name), b"x").expect("it can be written");
    }
    let arrive = |name: &str| {
        let header = header(name, b"x");
        let mut sealer = FileSealer::new(&key());
        let mut bytes = sealed(&mut sealer, &header, b"x");
        bytes.extend(seal_end(&mut sealer));
        receive(bytes, &[expected(dir.path(), &header, Existing::Refuse)]).0.expect("it arrives");
    };
    // As another transfer of many files does while it has parts here.
    let other = File::open(dir.path()).expect("it is there");
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockShared).expect("it is ours");
    arrive("first");
    assert_eq!(entries(dir.path()), [&left, &one, "first"], "the other one may give it its name");
    drop(other);
    arrive("second");
    assert_eq!(entries(dir.path()), [&one, "first", "second"], "what can be continued stays");
}

#[test]
fn a_transfer_of_many_holds_its_folder_while_it_has_parts_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = crate::peer::folder::Folder::open(dir.path()).expect("it is there");
    let headers = ["a", "b"].map(|name| header(name, b"x"));
    let mut sealer = FileSealer::new(&key());
    let first = sealed(&mut sealer, &headers[0], b"x");
    let rest = [sealed(&mut sealer, &headers[1], b"x"), seal_end(&mut sealer)].concat();
    let files = headers.each_ref().map(|header| expected(dir.path(), header, Existing::Refuse));
    let (mut near, far) = pair();
    near.write_all(&first).expect("it takes so little");
    let mut looked = false;
    let received = receive_many(far, &key(), &files, None, &mut |_: Reports| {
        if !std::mem::replace(&mut looked, true) {
            let locked = folder.lock(rustix::fs::FlockOperation::NonBlockingLockExclusive);
            assert_eq!(locked.err().map(|e| e.kind()), Some(std::io::ErrorKind::WouldBlock));
            near.write_all(&rest).expect("it takes so little");
        }
        true
    });
    received.expect("they arrive");
    assert!(looked);
    folder.lock(rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("it has ended");
}

#[test]
fn a_receiver_that_stops_many_files_is_named_as_the_one_who_has() {
    let content = content(64 * CHUNK_BYTES);
    let files: Vec<(Entry, Option<File>)> = (0..4)
        .map(|number| {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(&content).expect("it can be written");
            file.seek(SeekFrom::Start(0)).expect("it is a file");
            (Entry::File(header(&format!("{number}"), &content)), Some(file))
        })
        .collect();
    let (near, mut far) = pair();
    let sender = thread::spawn(move || send_many(near, files.into_iter(), &key(), None));
    far.read_exact(&mut [0; 100]).expect("it starts");
    drop(far);
    let sent = sender.join().expect("the sender does not panic");
    let error = sent.expect_err("not all can be sent").to_string();
    assert_eq!(error, "the receiver has stopped the transfer");
}
