//! The core against a disk in memory, the disk against a real one, and the whole actor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;
use wire::http::{SitePath, Status};

use super::core::{CacheLimits, Core, Now};
use super::disk::{Disk, DiskError, Entry, RootDirectory, Stamp};
use super::*;
use crate::runtime::reply;

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);

/// A disk in memory. Each write draws a new version, from which the stamp is made.
#[derive(Clone, Default, Debug)]
struct FakeDisk(Rc<RefCell<FakeFiles>>);

#[derive(Default, Debug)]
struct FakeFiles {
    files: BTreeMap<String, (u64, Vec<u8>)>,
    version: u64,
    loads: usize,
}

impl FakeDisk {
    fn write(&self, path: &str, content: &str) {
        let mut disk = self.0.borrow_mut();
        disk.version += 1;
        let version = disk.version;
        disk.files.insert(path.to_owned(), (version, content.as_bytes().to_vec()));
    }

    fn remove(&self, path: &str) {
        self.0.borrow_mut().files.remove(path);
    }

    fn loads(&self) -> usize {
        self.0.borrow().loads
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.0.borrow().files.get(path).map(|(_, content)| content.clone())
    }
}

fn fake_stamp(version: u64, content: &[u8]) -> Stamp {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(version);
    Stamp { bytes: content.len() as u64, modified: time, changed: time, device: 1, inode: 1 }
}

impl Disk for FakeDisk {
    fn load(&mut self, path: &str, _memory_bytes_max: u64) -> Result<Entry, DiskError> {
        let mut disk = self.0.borrow_mut();
        disk.loads += 1;
        let directory = format!("{path}/");
        if disk.files.keys().any(|file| file.starts_with(&directory)) {
            return Ok(Entry::Directory);
        }
        let (version, content) = disk.files.get(path).ok_or(DiskError::NotFound)?;
        let stamp = fake_stamp(*version, content);
        let body = Body::Memory(Bytes::from(content.clone()));
        Ok(Entry::File { stamp, body })
    }

    fn stamp(&mut self, path: &str) -> Result<Stamp, DiskError> {
        let disk = self.0.borrow();
        let (version, content) = disk.files.get(path).ok_or(DiskError::NotFound)?;
        Ok(fake_stamp(*version, content))
    }
}

/// A core over a disk in memory, and virtual time.
struct Bench {
    core: Core<FakeDisk>,
    disk: FakeDisk,
    now: Now,
}

impl Bench {
    fn new(limits: CacheLimits) -> Self {
        let disk = FakeDisk::default();
        let now =
            Now { instant: Instant::now(), time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) };
        let core = Core::new(disk.clone(), limits, true, now);
        Self { core, disk, now }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.time += time;
        self.core.look_if_due(self.now);
    }

    fn find(&mut self, path: &str) -> Found {
        let (reply, pending) = reply();
        let path = SitePath::decode(path).expect("the test gives a good path");
        self.core.handle(self.now, Command::Find { path, reply });
        pending.wait(SOON).expect("the core answers at once")
    }

    fn asset(&mut self, path: &str) -> Arc<Asset> {
        match self.find(path) {
            Found::Asset(asset) | Found::NotFound(asset) => asset,
            other => panic!("{path} gave {other:?}"),
        }
    }
}

fn text(asset: &Asset) -> String {
    match asset.body() {
        Body::Memory(content) => String::from_utf8_lossy(content).into_owned(),
        Body::File { file, .. } => {
            let mut content = String::new();
            let mut file = file;
            file.read_to_string(&mut content).expect("the test's file can be read");
            content
        }
    }
}

#[test]
fn a_lease_lasts_until_the_file_changes() {
    let mut bench = Bench::new(CacheLimits::default());
    bench.disk.write("a.txt", "one");
    let first = bench.asset("/a.txt");
    let again = bench.asset("/a.txt");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(bench.disk.loads(), 1);
    assert!(first.head().starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    bench.disk.write("a.txt", "two");
    bench.core.note_change();
    bench.pass(Duration::from_secs(1));
    assert!(first.is_revoked());
    assert_eq!(text(&bench.asset("/a.txt")), "two");
}

#[test]
fn what_is_not_reported_is_seen_when_somebody_asks_a_second_later() {
    let mut bench = Bench::new(CacheLimits::default());
    bench.disk.write("a.txt", "one");
    let first = bench.asset("/a.txt");
    bench.disk.write("a.txt", "two");
    bench.pass(Duration::from_millis(1001));
    assert!(!first.is_revoked(), "nobody has looked yet");
    assert_eq!(text(&bench.asset("/a.txt")), "two");
    assert!(first.is_revoked());
}

#[test]
fn without_reports_everything_is_looked_at_once_a_second() {
    let mut bench = Bench::new(CacheLimits::default());
    bench.core.note_reports_ended();
    assert_eq!(bench.core.next_look(), None, "there is nothing to look at");
    bench.disk.write("a.txt", "one");
    let asset = bench.asset("/a.txt");
    bench.disk.remove("a.txt");
    bench.pass(Duration::from_millis(999));
    assert!(!asset.is_revoked());
    bench.pass(Duration::from_millis(1));
    assert!(asset.is_revoked());
}

#[test]
fn a_change_within_a_tick_of_the_clock_is_not_overlooked() {
    let mut bench = Bench::new(CacheLimits::default());
    bench.now.time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_010);
    bench.disk.write("a.txt", "one");
    let asset = bench.asset("/a.txt");
    // The same version: a file system whose clock did not tick.
    bench.disk.0.borrow_mut().files.insert("a.txt".into(), (1, b"two".to_vec()));
    bench.core.note_change();
    bench.pass(Duration::from_secs(1));
    assert!(asset.is_revoked());
    assert_eq!(text(&bench.asset("/a.txt")), "two");
}

#[test]
fn directories_have_an_index_and_a_slash() {
    let mut bench = Bench::new(CacheLimits::default());
    bench.disk.write("index.html", "root");
    bench.disk.write("dir/index.html", "dir");
    bench.disk.write("empty/x/y.txt", "y");
    assert_eq!(text(&bench.asset("/")), "root");
    assert_eq!(text(&bench.asset("/dir/")), "dir");
    assert!(matches!(bench.find("/dir"), Found::Redirect(to) if to == "/dir/"));
    assert!(matches!(bench.find("//dir"), Found::Redirect(to) if to == "/dir/"));
    assert!(matches!(bench.find("/empty/"), Found::NotFound(_)));
    assert!(matches!(bench.find("/index.html/"), Found::NotFound(_)));
}

#[test]
fn the_site_may_have_its_own_page_for_what_is_missing() {
    let mut bench = Bench::new(CacheLimits::default());
    let built_in = bench.asset("/missing");
    assert_eq!(built_in.status(), Status::NotFound);
    assert!(text(&built_in).contains("nothing at this address"));
    bench.disk.write("404.html", "own page");
    let own = bench.asset("/missing");
    assert!(own.head().starts_with(b"HTTP/1.1 404 Not Found\r\n"));
    assert_eq!(text(&own), "own page");
    assert_eq!(bench.asset("/404.html").status(), Status::Ok);
}

#[test]
fn makes_room_but_never_by_taking_what_is_leased() {
    let mut bench = Bench::new(CacheLimits { memory_bytes_max: 8, ..CacheLimits::default() });
    for name in ["a", "b", "c"] {
        bench.disk.write(name, "1234");
    }
    let leased = bench.asset("/a");
    drop(bench.asset("/b"));
    let third = bench.asset("/c");
    assert!(!leased.is_revoked() && !third.is_revoked());
    assert_eq!(bench.disk.loads(), 3);
    let without_room = bench.asset("/b");
    assert!(without_room.is_revoked(), "good for one answer only");
    assert_eq!(text(&without_room), "1234");
    assert!(!leased.is_revoked() && !third.is_revoked());
    drop(third);
    assert!(!bench.asset("/b").is_revoked());
}

#[test]
fn other_content_with_the_old_length_and_time_gets_another_tag() {
    let stamp = fake_stamp(1, b"old");
    let overwritten = Stamp { changed: stamp.changed + Duration::from_nanos(1), ..stamp };
    let tag = |stamp: &Stamp| {
        let asset = Asset::of_file("a", stamp, Body::Memory(Bytes::new()), stamp.modified);
        let head = String::from_utf8_lossy(asset.head()).into_owned();
        head.lines().find_map(|line| line.strip_prefix("ETag: ").map(str::to_owned)).expect("there is a tag")
    };
    assert_ne!(tag(&stamp), tag(&overwritten));
}

#[test]
fn keeps_a_bounded_number_of_files() {
    let mut bench = Bench::new(CacheLimits { entries_max: 2, ..CacheLimits::default() });
    for name in ["a", "b", "c"] {
        bench.disk.write(name, name);
        bench.asset(&format!("/{name}"));
    }
    let loads = bench.disk.loads();
    bench.asset("/b");
    bench.asset("/c");
    assert_eq!(bench.disk.loads(), loads);
    bench.asset("/a");
    assert_eq!(bench.disk.loads(), loads + 1);
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, String),
    Remove(u8),
    Ask(u8),
    Forget,
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_u8, "[a-z]{0,6}").prop_map(|(file, content)| Step::Write(file, content)),
        (0..4_u8).prop_map(Step::Remove),
        (0..4_u8).prop_map(Step::Ask),
        Just(Step::Forget),
        (0..3000_u16).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever happens: once changes have been looked at, a lease that still holds is what the disk says.
    #[test]
    fn no_lease_outlives_its_file(steps in steps()) {
        let limits = CacheLimits { memory_bytes_max: 12, entries_max: 3, ..CacheLimits::default() };
        let mut bench = Bench::new(limits);
        let mut leases: Vec<(String, Arc<Asset>)> = Vec::new();
        for step in steps {
            match step {
                Step::Write(file, content) => bench.disk.write(&file.to_string(), &content),
                Step::Remove(file) => bench.disk.remove(&file.to_string()),
                Step::Ask(file) => {
                    if let Found::Asset(asset) = bench.find(&format!("/{file}")) {
                        leases.push((file.to_string(), asset));
                    }
                }
                Step::Forget => leases.clear(),
                Step::Pass(millis) => {
                    bench.core.note_change();
                    bench.pass(Duration::from_millis(20) + Duration::from_millis(millis.into()));
                    for (file, asset) in leases.iter().filter(|(_, asset)| !asset.is_revoked()) {
                        prop_assert_eq!(Some(text(asset).into_bytes()), bench.disk.content(file));
                    }
                    let mut held: Vec<_> = leases.iter().filter(|(_, asset)| !asset.is_revoked()).collect();
                    held.sort_by(|a, b| a.0.cmp(&b.0));
                    held.dedup_by(|a, b| a.0 == b.0);
                    prop_assert!(held.len() <= 3);
                    prop_assert!(held.iter().map(|(_, asset)| asset.body().bytes()).sum::<u64>() <= 12);
                }
            }
        }
    }
}

fn write(path: &Path, content: &str) {
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
    let mut disk = RootDirectory::open(&root).expect("the root is there");
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
        assert_eq!(disk.load(path, 100).map(drop), Err(expected), "{path}");
        assert_eq!(disk.stamp(path).map(drop), Err(expected), "{path}");
    }
    for (path, content) in [("in.txt", "inside"), ("dir/deep.txt", "deep")] {
        let Ok(Entry::File { stamp, body: Body::Memory(read) }) = disk.load(path, 100) else {
            panic!("{path} was not read");
        };
        assert_eq!(read, content);
        assert_eq!(disk.stamp(path), Ok(stamp));
    }
    assert!(matches!(disk.load("dir", 100), Ok(Entry::Directory)));
    let large = disk.load("inside.txt", 5).expect("the file is there");
    assert!(matches!(large, Entry::File { body: Body::File { bytes: 6, .. }, .. }));
}

#[test]
fn a_missing_root_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let config = FileServerConfig { root: folder.path().join("nowhere") };
    let error = start(&config).expect_err("there is no such directory").to_string();
    assert!(error.contains("nowhere") && error.contains("--root"), "{error}");
}

#[test]
fn the_actor_revokes_what_changes_on_the_disk_and_ends_with_its_handles() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    write(&folder.path().join("a.txt"), "one");
    let config = FileServerConfig { root: folder.path().to_owned() };
    let (files, vital) = start(&config).expect("the root is there");
    let find = || match files.find(SitePath::decode("/a.txt").expect("the path is good")) {
        Ok(Found::Asset(asset)) => asset,
        other => panic!("no asset but {other:?}"),
    };
    let first = find();
    assert_eq!(text(&first), "one");
    write(&folder.path().join("a.txt"), "two");
    let since = Instant::now();
    while !first.is_revoked() {
        // Shorter than the time after which it would be looked at without a report.
        assert!(since.elapsed() < Duration::from_secs(4), "the change was not reported");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(text(&find()), "two");
    drop(files);
    drop(vital);
}
