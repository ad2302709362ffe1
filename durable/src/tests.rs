use super::*;
use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DATA: TableDefinition<u64, &[u8]> = TableDefinition::new("data");
const OPTIONS: Options = Options { cache_bytes: 1 << 20, lost: "everything" };
const PAGE_BYTES: usize = 4096;

type Rows = BTreeMap<u64, Vec<u8>>;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.redb");
    (folder, path)
}

fn open(path: &Path) -> Result<Database, Error> {
    Database::open(path, OPTIONS)
}

fn put(database: &Database, keys: std::ops::Range<u64>) -> Result<(), Error> {
    database.write(|write| {
        let mut table = write.open_table(DATA)?;
        for key in keys {
            table.insert(key, value(key).as_slice())?;
        }
        Ok(())
    })
}

fn value(key: u64) -> Vec<u8> {
    vec![key.to_le_bytes()[0] | 1; 700]
}

fn rows(database: &Database) -> Result<Rows, Error> {
    database.read(|read| {
        let mut rows = Rows::new();
        for entry in redb::ReadableTable::iter(&read.open_table(DATA)?)? {
            let (key, value) = entry?;
            rows.insert(key.value(), value.value().to_vec());
        }
        Ok(rows)
    })
}

fn expected(keys: std::ops::Range<u64>) -> Rows {
    keys.map(|key| (key, value(key))).collect()
}

/// Zeroes each page of a file in turn. Returns in how many cases it could not be opened.
fn zero_each_page(path: &Path, mut check: impl FnMut(usize, Result<Database, Error>)) -> usize {
    let whole = std::fs::read(path).expect("it reads");
    let mut refused = 0;
    for (page, bytes) in whole.chunks(PAGE_BYTES).enumerate() {
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut damaged = whole.clone();
        damaged[page * PAGE_BYTES..][..bytes.len()].fill(0);
        std::fs::write(path, &damaged).expect("it can be written");
        let opened = open(path);
        if opened.is_err() {
            refused += 1;
            assert!(
                std::fs::read(path).expect("it reads") == damaged,
                "page {page}: a damaged file was changed"
            );
        }
        check(page, opened);
    }
    refused
}

#[test]
fn a_zeroed_page_is_an_error_or_does_no_harm() {
    let (_folder, path) = folder();
    let database = open(&path).expect("it opens");
    for round in 0..10 {
        put(&database, round * 20..round * 20 + 20).expect("it is written");
    }
    drop(database);
    let refused = zero_each_page(&path, |page, opened| match opened {
        Ok(database) => assert_eq!(rows(&database).expect("it reads"), expected(0..200), "page {page}"),
        Err(Error::Damaged { .. }) => {}
        Err(other) => panic!("page {page}: {other}"),
    });
    assert!(refused > 40, "most pages are in use, only {refused} were refused");
}

#[test]
fn a_page_that_goes_bad_while_the_file_is_open_is_an_error() {
    let (_folder, path) = folder();
    // The cache is too small for a page.
    let database = Database::open(&path, Options { cache_bytes: 0, ..OPTIONS }).expect("it opens");
    put(&database, 0..200).expect("it is written");
    let length = path.metadata().expect("it is there").len();
    let file = OpenOptions::new().write(true).open(&path).expect("it opens");
    let zeros = vec![0; usize::try_from(length).expect("it is small") - PAGE_BYTES];
    file.write_all_at(&zeros, PAGE_BYTES as u64).expect("it can be written");
    let error = rows(&database).expect_err("all pages but the header are gone");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("store.redb is damaged") && text.contains("give up everything"), "{text}");
}

#[test]
fn a_file_that_is_gone_or_emptied_is_not_made_again_unless_the_marker_is_removed() {
    let (folder, path) = folder();
    put(&open(&path).expect("it opens"), 0..3).expect("it is written");
    let marker = folder.path().join("store.made");
    for empty in [false, true] {
        if empty { File::create(&path).map(drop) } else { std::fs::remove_file(&path) }.expect("it goes");
        let error = open(&path).err().expect("it is missed");
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        assert!(error.to_string().contains(marker.to_str().expect("a plain path")), "{error}");
        assert_eq!(path.exists(), empty, "nothing is made");
    }
    std::fs::remove_file(&marker).expect("it is there");
    put(&open(&path).expect("it begins anew"), 0..1).expect("it is written");
    assert_eq!(rows(&open(&path).expect("it opens")).expect("it reads"), expected(0..1));
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    for junk in [b"junk".to_vec(), vec![0; 100_000], vec![7; 100_000]] {
        std::fs::write(&path, &junk).expect("it can be written");
        let error = open(&path).err().expect("it is no database");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(std::fs::read(&path).expect("it reads") == junk);
    }
}

#[test]
fn a_file_of_another_version_is_named_and_not_changed() {
    let (folder, path) = folder();
    let database = open(&path).expect("it opens");
    put(&database, 0..3).expect("it is written");
    database
        .write(|write| Ok(write.open_table(META)?.insert(FORMAT, b"0".as_slice()).map(drop)?))
        .expect("it is written");
    drop(database);
    for _ in 0..2 {
        let error = open(&path).err().expect("it is of another version");
        assert!(matches!(error, Error::Format { .. }), "{error}");
        let (text, marker) = (error.to_string(), folder.path().join("store.made"));
        assert!(text.contains("another version") && text.contains("give up everything"), "{text}");
        assert!(text.contains(marker.to_str().expect("a plain path")), "{text}");
    }
    let left = Database::open_damaged(&path, OPTIONS).expect("redb opens it");
    assert_eq!(rows(&left).expect("it reads"), expected(0..3));
    let format =
        left.read(|read| Ok(read.open_table(META)?.get(FORMAT)?.map(|version| version.value().to_vec())));
    assert_eq!(format.expect("it reads").as_deref(), Some(b"0".as_slice()));
}

#[test]
fn only_the_owner_can_read_the_file() {
    let (folder, path) = folder();
    drop(open(&path).expect("it opens"));
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&folder.path().join("store.made"))), (0o600, 0o600));
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
    drop(open(&path).expect("it opens"));
    assert_eq!(mode(&path), 0o600);
}

/// A backend whose writes fail from a given call on, until it is repaired.
#[derive(Debug, Clone)]
struct Failing {
    file: Arc<FileBackend>,
    calls_left: Arc<AtomicU64>,
}

impl Failing {
    fn call(&self) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(1);
        match self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call()?;
        self.file.write(offset, data)
    }
}

#[test]
fn it_goes_on_after_a_failure_of_any_call() {
    let mut failures = 0;
    for calls in 0.. {
        let file = tempfile::tempfile().expect("a temporary file");
        let file = Arc::new(FileBackend::new(file).expect("a backend"));
        let calls_left = Arc::new(AtomicU64::new(u64::MAX));
        let backend = Failing { file, calls_left: Arc::clone(&calls_left) };
        let database = Database::with_backend(OPTIONS, move || backend.clone()).expect("it opens");
        put(&database, 0..20).expect("there is room");
        calls_left.store(calls, Ordering::SeqCst);
        let result = put(&database, 20..40);
        let while_full = put(&database, 40..60);
        calls_left.store(u64::MAX, Ordering::SeqCst);
        let found = rows(&database).expect("it reads again");
        // A commit whose last flush fails may still be on the disk, but only as a whole.
        let found: Vec<u64> = found.into_keys().collect();
        let outcomes = |is_ok: bool| if is_ok { &[true][..] } else { &[false, true] };
        let is_possible = outcomes(result.is_ok()).iter().any(|first| {
            outcomes(while_full.is_ok()).iter().any(|second| {
                let kept = [(true, 0..20), (*first, 20..40), (*second, 40..60)];
                let keys = kept.into_iter().filter(|(is_kept, _)| *is_kept).flat_map(|(_, keys)| keys);
                keys.eq(found.iter().copied())
            })
        });
        assert!(is_possible, "{calls} calls: {result:?} {while_full:?} {found:?}");
        put(&database, 60..80).expect("there is room again");
        failures += u32::from(result.is_err());
        if result.is_ok() && while_full.is_ok() {
            break;
        }
    }
    assert!(failures >= 3, "{failures}");
}

/// Runs a test again in a process that can write at most 4 or 8 MiB to a file. Returns whether this is that process.
fn with_small_files(test: &str) -> bool {
    const CHILD: &str = "SWITCHBOARD_TEST_SMALL_FILES";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    // While SIGXFSZ is ignored, writing beyond the limit is an error and does not end the process.
    let script = "trap '' XFSZ; ulimit -S -f 8192; exec \"$0\" \"$@\"";
    let executable = std::env::current_exe().expect("it has a path");
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(executable)
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .status();
    assert!(status.expect("a shell is there").success());
    false
}

#[test]
fn it_goes_on_when_a_full_disk_has_room_again() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if !with_small_files("tests::it_goes_on_when_a_full_disk_has_room_again") {
        return;
    }
    let (_folder, path) = folder();
    let database = open(&path).expect("it opens");
    let put = |number: u64| put(&database, number * 30..number * 30 + 30);
    let full = (0..1000).find(|number| put(*number).is_err()).expect("the disk is full at some time");
    assert!(full > 10, "only {full}");
    assert!(put(full).is_err(), "it is still full");
    let limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit }).expect("it is allowed");
    put(full).expect("there is room again");
    drop(database);
    let database = open(&path).expect("it opens again");
    assert_eq!(rows(&database).expect("it reads"), expected(0..full * 30 + 30));
}
