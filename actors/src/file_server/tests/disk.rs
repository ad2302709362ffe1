//! Opening, comparing and listing on a real disk.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::super::Body;
use super::super::disk::{Disk, DiskError, Entry, RootDirectory};
use super::super::keep::validators_of;
use super::super::listing::EntryKind;
use crate::runtime::Now;

pub(super) fn write(path: &Path, content: &str) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("the test's folder can be written to");
    }
    std::fs::write(path, content).expect("the test's folder can be written to");
}

#[test]
fn nothing_outside_the_root_is_opened_and_nothing_but_files() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let root = folder.path().join("www");
    write(&folder.path().join("secret.txt"), "secret");
    write(&root.join("inside.txt"), "inside");
    write(&root.join("dir/deep.txt"), "deep");
    let link = |target: &Path, name: &str| symlink(target, root.join(name)).expect("links can be made");
    link(Path::new("../secret.txt"), "out.txt");
    link(&folder.path().join("secret.txt"), "absolute.txt");
    link(folder.path(), "out_dir");
    link(Path::new("dir/../inside.txt"), "in.txt");
    link(Path::new("loop"), "loop");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("pipes can be made");
    let disk = RootDirectory::open(&root).expect("the root is there");
    for (path, expected) in [
        ("out.txt", DiskError::Refused),
        ("absolute.txt", DiskError::Refused),
        ("out_dir/secret.txt", DiskError::Refused),
        ("../secret.txt", DiskError::Refused),
        ("loop", DiskError::Refused),
        ("pipe", DiskError::Refused),
        ("missing", DiskError::NotFound),
        ("inside.txt/index.html", DiskError::NotFound),
    ] {
        assert_eq!(disk.load(Path::new(path), 100).map(drop), Err(expected), "{path}");
        assert_eq!(disk.stamp(Path::new(path)).map(drop), Err(expected), "{path}");
    }
    for (path, content) in [("in.txt", "inside"), ("dir/deep.txt", "deep")] {
        let Ok(Entry::File { stamp, body: Body::Memory(read) }) = disk.load(Path::new(path), 100) else {
            panic!("{path} was not read");
        };
        assert_eq!(read, content);
        assert_eq!(disk.stamp(Path::new(path)), Ok(stamp));
    }
    assert!(matches!(disk.load(Path::new("dir"), 100), Ok(Entry::Directory)));
    let large = disk.load(Path::new("inside.txt"), 5).expect("the file is there");
    assert!(matches!(large, Entry::File { body: Body::File { bytes: 6, .. }, .. }));
}

#[test]
fn a_list_has_what_can_be_asked_for() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let root = folder.path().join("www");
    write(&folder.path().join("secret.txt"), "secret");
    for name in ["a.txt", "sub/b.txt", ".hidden", "line\nbreak"] {
        write(&root.join(name), "1234");
    }
    write(&root.join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "not text");
    for (target, name) in
        [("../secret.txt", "out"), ("a.txt", "in"), ("sub", "in_dir"), ("..", "out_dir"), ("gone", "broken")]
    {
        symlink(target, root.join(name)).expect("links can be made");
    }
    let disk = RootDirectory::open(&root).expect("the root is there");
    let names = |path: &str, with_hidden: bool, max: usize| {
        let entries = disk.list(Path::new(path), with_hidden, max).expect("the directory is there");
        let mut names: Vec<_> = entries.into_iter().map(|e| (e.name, e.kind, e.bytes)).collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names
    };
    let shown = names("", false, 100);
    let expected = [
        ("a.txt", EntryKind::File),
        ("in", EntryKind::File),
        ("in_dir", EntryKind::Directory),
        ("sub", EntryKind::Directory),
        ("\u{fffd}.txt", EntryKind::File),
    ];
    assert_eq!(shown.iter().map(|(name, kind, _)| (&**name, *kind)).collect::<Vec<_>>(), expected);
    assert_eq!(shown.iter().map(|entry| entry.2).collect::<Vec<_>>(), [4, 4, 0, 0, 8]);
    assert!(names("", true, 100).iter().any(|(name, ..)| name == ".hidden"));
    assert!(!names("", true, 100).iter().any(|(name, ..)| name == ".."));
    assert_eq!(names("in_dir", false, 100)[0].0, "b.txt");
    assert_eq!(names("", false, 2).len(), 2);
    for (path, expected) in
        [("out_dir", DiskError::Refused), ("missing", DiskError::NotFound), ("a.txt", DiskError::NotFound)]
    {
        assert_eq!(disk.list(Path::new(path), false, 100).map(drop), Err(expected), "{path}");
    }
}

#[test]
fn a_root_that_is_exchanged_is_noticed() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let at = |name: &str| folder.path().join(name);
    write(&at("old/a.txt"), "old");
    write(&at("new/a.txt"), "newer");
    symlink("old", at("www")).expect("links can be made");
    let mut disk = RootDirectory::open(&at("www")).expect("the root is there");
    let bytes = |disk: &RootDirectory| disk.stamp(Path::new("a.txt")).map(|stamp| stamp.bytes);
    assert!(!disk.reopen_if_replaced());
    std::fs::remove_file(at("www")).expect("links can be removed");
    assert!(!disk.reopen_if_replaced());
    assert_eq!(bytes(&disk), Ok(3), "while there is none the old one goes on");
    symlink("new", at("www")).expect("links can be made");
    assert!(disk.reopen_if_replaced());
    assert_eq!(bytes(&disk), Ok(5));
    assert!(!disk.reopen_if_replaced());
}

#[test]
fn other_content_with_the_old_length_and_time_gets_another_tag() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path().join("a");
    write(&path, "one");
    let disk = RootDirectory::open(folder.path()).expect("the root is there");
    let before = disk.stamp(Path::new("a")).expect("it is there");
    write(&path, "two");
    let file = std::fs::File::options().write(true).open(&path).expect("it is there");
    file.set_modified(before.modified).expect("times can be set");
    let after = disk.stamp(Path::new("a")).expect("it is there");
    assert_eq!((before.bytes, before.modified), (after.bytes, after.modified));
    let now = Now { instant: Instant::now(), time: SystemTime::now() };
    assert_ne!(validators_of(&before, now).tag, validators_of(&after, now).tag);
}

#[test]
fn an_absence_holds_until_something_is_there() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let root = folder.path().join("www");
    write(&root.join("file.txt"), "");
    let disk = RootDirectory::open(&root).expect("the root is there");
    let absence = |paths: &[&str]| disk.absence(paths.iter().map(PathBuf::from).collect());
    // The kernel answers only from its cache, and only if nothing is being renamed at that moment. Other tests rename files,
    // and the kernel may drop an entry at any time, so each attempt looks the names up again first.
    let holds = |paths: &[&str]| {
        let absence = absence(paths);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            paths.iter().for_each(|path| assert_eq!(disk.stamp(Path::new(path)), Err(DiskError::NotFound)));
            let held = absence.holds();
            if held || Instant::now() > deadline {
                return held;
            }
        }
    };
    let missing = ["a.txt", "dir/a.txt"];
    for path in missing {
        assert!(holds(&[path]), "{path}");
    }
    assert!(holds(&[]) && holds(&missing));
    for path in ["file.txt", "", ".", "../www", "../missing"] {
        assert!(!absence(&[path]).holds(), "{path}");
    }
    assert!(!absence(&["a.txt", "file.txt"]).holds());
    let both = absence(&["a.txt", "dir/a.txt"]);
    write(&root.join("dir/a.txt"), "");
    assert!(!both.holds());
    std::fs::remove_file(root.join("dir/a.txt")).expect("it was there");
    symlink("b.txt", root.join("a.txt")).expect("links can be made");
    assert!(holds(&["a.txt"]), "a link to nothing is nothing");
    write(&root.join("b.txt"), "");
    assert!(!absence(&["a.txt"]).holds());
}
