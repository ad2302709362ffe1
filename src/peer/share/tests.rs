use super::*;
use std::path::Path;

use wire::share::FILE_KEYWORDS_MAX;

mod folders;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(dir.path()).expect("it exists");
    (dir, home)
}

fn put(home: &Home, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(home.path().join(name), content).expect("it can be written");
}

fn read(home: &Home) -> Result<Share, ShareError> {
    Share::read(home, &Share::default(), &mut |_, _| {}, &mut |_, _, _| {})
}

fn names(share: &Share) -> Vec<&str> {
    share.files.keys().map(FileName::as_str).collect()
}

fn first(share: &Share) -> &SharedFile {
    share.files.values().next().expect("a file is shared")
}

/// A time long after all files that the tests write.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

#[test]
fn without_a_keyword_file_nothing_is_shared() {
    let (_dir, home) = home();
    assert_eq!(read(&home).ok(), Some(Share::default()));
}

#[test]
fn files_are_shared_with_their_digest_and_keywords() {
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    put(&home, "b.txt", "");
    put(&home, KEYWORD_FILE, "sea, b.txt; sea, a.txt;\n Salt, a.txt");
    let share = read(&home).expect("it reads");
    assert_eq!((names(&share), &share.problems), (vec!["a.txt", "b.txt"], &vec![]));
    let file =
        share.by_name(&"a.txt".parse().expect("a good name")).expect("it is shared").listed.file.clone();
    assert_eq!(file.sha256, Digest::of(b"abc"));
    assert_eq!((file.name.as_str(), file.bytes), ("a.txt", 3));
    let keywords: Vec<_> = file.keywords.iter().map(Keyword::as_str).collect();
    assert_eq!(keywords, ["sea", "Salt"]);
    assert!(share.by_name(&"b.txt".parse().expect("a good name")).is_some());
}

#[test]
fn the_peers_that_come_with_the_project_share_all_that_they_name() {
    for peer in ["A", "B"] {
        let (dir, home) = home();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("client_data").join(peer);
        let entries = std::fs::read_dir(&from).expect("it comes with the project");
        for path in entries.map(|entry| entry.expect("it reads").path()).filter(|path| path.is_file()) {
            let name = path.file_name().expect("a file has a name");
            std::fs::copy(&path, dir.path().join(name)).expect("it can be copied");
        }
        let share = read(&home).expect("it reads");
        assert!(share.files.len() >= 6 && share.problems.is_empty(), "{:?}", share.problems);
    }
}

#[test]
fn files_that_cannot_be_shared_are_reported_and_the_others_shared() {
    let (dir, home) = home();
    put(&home, "good.txt", "x");
    std::fs::create_dir(dir.path().join("folder")).expect("a directory");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.txt")).expect("a link");
    let text = b"a, link.txt; b, folder; c, gone.txt;\n d; e, ../up.txt; f, .switchboard;\n\xff, good.txt; g, good.txt";
    put(&home, KEYWORD_FILE, text);
    let share = read(&home).expect("it reads");
    assert_eq!(names(&share), ["good.txt"]);
    assert_eq!(first(&share).listed.file.keywords.len(), 1);
    let of = |entry: &str| {
        let mut all = share.problems.iter();
        let problem = all.find(|problem| problem.entry == entry).expect(entry);
        (problem.line, problem.reason.as_str())
    };
    assert_eq!(of("link.txt"), (None, "it is a symbolic link"));
    assert_eq!(of("folder"), (None, "it is not a regular file"));
    assert!(of("gone.txt").1.contains("No such file"));
    assert_eq!(of("d").0, Some(2));
    assert_eq!(of("e, ../up.txt").0, Some(2));
    assert_eq!(of("f, .switchboard").0, Some(2));
    assert_eq!(of("").0, Some(3), "not UTF-8");
    assert_eq!(share.problems.len(), 7);
}

#[test]
fn a_name_with_separators_is_added_in_quotes_and_comments_stay_as_they_are() {
    let (_dir, home) = home();
    put(&home, "salt, pepper.txt", "abc");
    put(&home, KEYWORD_FILE, "# spices");
    add_entries(&home, "salt, pepper.txt", &["hot; cold", "spice"], None).expect("it is added");
    let text = std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    assert_eq!(text, "# spices\n\"hot; cold\", \"salt, pepper.txt\";\nspice, \"salt, pepper.txt\";\n");
    let share = read(&home).expect("it reads");
    assert_eq!((names(&share), &share.problems), (vec!["salt, pepper.txt"], &vec![]));
    assert_eq!(first(&share).listed.file.keywords.len(), 2);
}

#[test]
fn the_list_of_shared_files_is_not_shared_itself() {
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    let refused = add_entries(&home, KEYWORD_FILE, &["list"], None);
    assert!(matches!(refused, Err(ShareError::Itself)), "{refused:?}");
    put(&home, KEYWORD_FILE, "list, keyword.txt; sea, a.txt;");
    let share = read(&home).expect("it reads");
    assert_eq!(names(&share), ["a.txt"]);
    assert_eq!(share.problems.len(), 1, "{:?}", share.problems);
    assert_eq!(share.problems[0].entry, KEYWORD_FILE);
}

#[test]
fn the_reading_of_a_file_is_reported_unless_its_digest_is_known() {
    let (_dir, home) = home();
    let bytes = 300 << 10;
    put(&home, "a.txt", vec![7; bytes]);
    put(&home, KEYWORD_FILE, "a, a.txt");
    for is_read in [true, false] {
        let mut steps = Vec::new();
        let mut progress = |name: &FileName, done, total| steps.push((name.to_string(), done, total));
        Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut progress).expect("it reads");
        let done: Vec<u64> = steps.iter().map(|step| step.1).collect();
        let part = 128 << 10;
        let expected = if is_read { vec![part, 2 * part, bytes as u64] } else { vec![] };
        assert_eq!(done, expected);
        assert!(steps.iter().all(|step| step.0 == "a.txt" && step.2 == bytes as u64));
    }
}

#[test]
fn a_file_has_only_as_many_keywords_as_can_be_published() {
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    let text: String = (0..=FILE_KEYWORDS_MAX).map(|n| format!("k{n}, a.txt;")).collect();
    put(&home, KEYWORD_FILE, text);
    let share = read(&home).expect("it reads");
    assert_eq!(first(&share).listed.file.keywords.len(), FILE_KEYWORDS_MAX);
    assert_eq!(share.problems.len(), 1);
}

#[test]
fn a_digest_is_remembered_until_the_file_changes() {
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    put(&home, KEYWORD_FILE, "a, a.txt");
    let cache = home.private_path().join("digests");
    read(&home).expect("it reads");
    let text = std::fs::read_to_string(&cache).unwrap_or_default();
    assert_eq!(text, "", "a file that may still be changing is not remembered");

    let share = Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
        .expect("it reads");
    let real = Digest::of(b"abc");
    assert_eq!(first(&share).listed.file.sha256, real);
    // A wrong digest in the cache shows whether the cached one is used.
    let (marker, text) = (Digest::of(b"marker"), std::fs::read_to_string(&cache).expect("it reads"));
    std::fs::write(&cache, text.replace(&real.to_string(), &marker.to_string())).expect("it is ours");
    let share = Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
        .expect("it reads");
    assert_eq!(first(&share).listed.file.sha256, marker);

    // Same length and same modification time, other content.
    let path = home.path().join("a.txt");
    let modified = std::fs::metadata(&path).and_then(|m| m.modified()).expect("it is there");
    wait_for_the_next_tick(home.path(), &path);
    put(&home, "a.txt", "xyz");
    let file = File::options().write(true).open(&path).expect("it opens");
    file.set_modified(modified).expect("it is ours");
    let share = Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
        .expect("it reads");
    assert_eq!(first(&share).listed.file.sha256, Digest::of(b"xyz"));

    std::fs::write(&cache, b"\xff damaged").expect("it is ours");
    let share = Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
        .expect("it reads");
    assert_eq!(first(&share).listed.file.sha256, Digest::of(b"xyz"));
    put(&home, KEYWORD_FILE, "");
    Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {}).expect("it reads");
    assert_eq!(std::fs::read(&cache).ok(), Some(vec![]), "what is not shared is forgotten");
}

#[test]
fn digests_are_found_whatever_the_order_of_their_lines() {
    let (_dir, home) = home();
    let files = ["a.txt", "b.txt", "c.txt"];
    files.iter().for_each(|name| put(&home, name, name));
    put(&home, KEYWORD_FILE, "a, a.txt; b, b.txt; c, c.txt");
    let read = || {
        Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
            .expect("it reads")
    };
    read();
    let cache = home.private_path().join("digests");
    let text = std::fs::read_to_string(&cache).expect("it is there");
    let names: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(names, files);
    // Wrong digests show that the cached ones are used.
    let marked = |name: &&str| {
        text.lines().find(|line| line.ends_with(name)).map(|line| {
            let (_, rest) = line.split_once(' ').expect("a line has several items");
            format!("{} {rest}\n", Digest::of(format!("marker {name}").as_bytes()))
        })
    };
    let others: String = ["b.txt", "c.txt", "a.txt"].iter().filter_map(marked).collect();
    std::fs::write(&cache, others).expect("it is ours");
    for (name, file) in &read().files {
        assert_eq!(file.listed.file.sha256, Digest::of(format!("marker {name}").as_bytes()), "{name}");
    }
}

#[test]
fn what_is_as_before_is_in_memory_once() {
    let (_dir, home) = home();
    put(&home, "a.txt", "a");
    put(&home, "b.txt", "b");
    put(&home, KEYWORD_FILE, "sea, a.txt; sea, b.txt");
    let before = read(&home).expect("it reads");
    put(&home, "b.txt", "other");
    let after = Share::read(&home, &before, &mut |_, _| {}, &mut |_, _, _| {}).expect("it reads");
    let is_same = |name: &str| {
        let of = |share: &Share| {
            Arc::clone(&share.by_name(&name.parse().expect("a good name")).expect("it is shared").listed)
        };
        Arc::ptr_eq(&of(&before), &of(&after))
    };
    assert_eq!([is_same("a.txt"), is_same("b.txt")], [true, false]);
}

/// The names of the files in a directory that are opened by `what`, as the watcher hears of them.
fn opened_by(directory: &Path, what: impl FnOnce()) -> Vec<String> {
    use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
    let watch = inotify::init(CreateFlags::NONBLOCK).expect("the system has it");
    inotify::add_watch(&watch, directory, WatchFlags::OPEN).expect("it is there");
    what();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(&watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = events.next() {
        names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names
}

#[test]
fn a_file_whose_digest_is_known_is_not_opened() {
    let (_dir, home) = home();
    std::fs::create_dir(home.path().join("folder")).expect("it can be made");
    put(&home, "folder/a.txt", "abc");
    put(&home, KEYWORD_FILE, "a, folder/a.txt");
    let read = || {
        drop(
            Share::read_at(&home, &Share::default(), later(), &mut |_, _| {}, &mut |_, _, _| {})
                .expect("it reads"),
        );
    };
    let folder = home.path().join("folder");
    assert_eq!(opened_by(&folder, read), ["a.txt"]);
    assert_eq!(opened_by(&folder, read), [""; 0]);
}

/// Returns when a file that is written now gets another time than `than` has.
fn wait_for_the_next_tick(dir: &Path, than: &Path) {
    let changed = |path: &Path| std::fs::metadata(path).map(|m| (m.ctime(), m.ctime_nsec())).ok();
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    let probe = dir.join("probe");
    while {
        std::fs::write(&probe, b"x").expect("it can be written");
        changed(&probe) == changed(than)
    } {
        assert!(std::time::Instant::now() < deadline, "the clock stands still");
    }
}

#[test]
fn only_the_file_that_was_published_is_opened() {
    let (dir, home) = home();
    put(&home, "a.txt", "abc");
    put(&home, KEYWORD_FILE, "a, a.txt");
    let share = read(&home).expect("it reads");
    let shared = first(&share);
    let file = open_shared(&home, shared).expect("it is as it was");
    assert_eq!(digest_of(&file).ok(), Some(shared.listed.file.sha256));

    put(&home, "a.txt", "abcd");
    let changed = open_shared(&home, shared);
    assert!(matches!(changed, Err(ShareError::Changed(_))), "{changed:?}");
    // The same length and time, but another file.
    let modified = std::time::UNIX_EPOCH
        + Duration::new(
            u64::try_from(shared.stamp.modified.0).expect("after 1970"),
            u32::try_from(shared.stamp.modified.1).expect("below a second"),
        );
    put(&home, "other", "xyz");
    let other = File::options().write(true).open(dir.path().join("other")).expect("it opens");
    other.set_modified(modified).expect("it is ours");
    std::fs::rename(dir.path().join("other"), dir.path().join("a.txt")).expect("it is ours");
    let changed = open_shared(&home, shared);
    assert!(matches!(changed, Err(ShareError::Changed(_))), "{changed:?}");

    std::fs::remove_file(dir.path().join("a.txt")).expect("it is there");
    assert!(matches!(open_shared(&home, shared), Err(ShareError::Vanished(_))));
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a.txt")).expect("a link");
    assert!(matches!(open_shared(&home, shared), Err(ShareError::Vanished(_))));
}

#[test]
fn an_entry_is_added_behind_what_is_there() {
    let (_dir, home) = home();
    put(&home, "a b.txt", "abc");
    for (before, after) in [
        ("", "Sea, a b.txt;\nhigh water, a b.txt;\n"),
        ("x, y", "x, y;\nSea, a b.txt;\nhigh water, a b.txt;\n"),
        ("x, y ;; \n\n", "x, y ;; \n\nSea, a b.txt;\nhigh water, a b.txt;\n"),
        ("broken \n", "broken;\nSea, a b.txt;\nhigh water, a b.txt;\n"),
        ("SEA,a b.txt;", "SEA,a b.txt;\nhigh water, a b.txt;\n"),
    ] {
        put(&home, KEYWORD_FILE, before);
        let added = add_entries(&home, "a b.txt", &["Sea", " high   water ", "sea"], None);
        assert_eq!(added.ok(), Some(after.matches("a b.txt").count() - before.matches("a b.txt").count()));
        let text = std::fs::read_to_string(home.path().join(KEYWORD_FILE)).ok();
        assert_eq!(text.as_deref(), Some(after));
        assert_eq!(add_entries(&home, "a b.txt", &["SEA"], None).ok(), Some(0));
        assert_eq!(std::fs::read_to_string(home.path().join(KEYWORD_FILE)).ok(), text);
    }
}

#[test]
fn entries_are_removed_and_the_rest_stays_as_it_is() {
    let (_dir, home) = home();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    // The file need not be there any more.
    put(&home, KEYWORD_FILE, "# mine\nSEA, a.txt; high  water, a.txt;\nsea, b.txt\n;salt, a.txt");
    assert_eq!(remove_entries(&home, "a.txt", &["sea", "none"]).ok(), Some(1));
    assert_eq!(text(), "# mine\nhigh  water, a.txt;\nsea, b.txt\n;salt, a.txt");
    let nothing = [(&["sea"][..], "a.txt"), (&[], "c.txt"), (&[""], "a.txt"), (&[], "../a.txt")];
    for (keywords, file) in nothing {
        assert!(remove_entries(&home, file, keywords).is_err(), "{file} {keywords:?}");
    }
    let all: &[&str] = &[];
    assert_eq!(remove_entries(&home, " a.txt", all).ok(), Some(2));
    assert_eq!(text(), "# mine\nsea, b.txt\n;");
    put(&home, KEYWORD_FILE, b"sea, a.txt; \xff, b.txt");
    let error = remove_entries(&home, "a.txt", all).expect_err("it would be damaged");
    assert!(error.to_string().contains("not UTF-8; change the entry with an editor"), "{error}");
}

#[test]
fn the_keyword_file_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    put(&home, KEYWORD_FILE, "");
    let path = home.path().join(KEYWORD_FILE);
    // One mode is narrower than the usual umask allows, one wider.
    for (mode, keyword) in [(0o600, "sea"), (0o666, "salt")] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        assert_eq!(add_entries(&home, "a.txt", &[keyword], None).ok(), Some(1));
        let kept = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(kept, mode, "{kept:o}");
    }
}

#[test]
fn a_bad_entry_is_refused_in_one_line() {
    let (_dir, home) = home();
    put(&home, "a.txt", "abc");
    put(&home, KEYWORD_FILE, "x, a.txt");
    std::fs::create_dir(home.path().join("folder")).expect("it can be made");
    for (file, keywords, why) in [
        ("gone.txt", &["sea"][..], "no such file"),
        (".switchboard", &["sea"], "start with a dot"),
        ("sub/a.txt", &["sea"], "no such file"),
        ("../a.txt", &["sea"], "below the peer's directory"),
        ("a.txt", &["se\u{7}a"], "must not contain '\\u{7}'"),
        ("a.txt", &["sea", "\n"], "missing"),
        ("a.txt", &[], "at least one keyword"),
        ("\u{1b}[2J", &["sea"], "\\u{1b}"),
        ("\u{202e}txt.exe", &["sea"], "\\u{202e}"),
        ("folder", &["sea"], "is a folder; say folder/*"),
    ] {
        let error = add_entries(&home, file, keywords, None).expect_err(file).to_string();
        assert!(error.contains(why) && !error.contains(['\n', '\u{1b}', '\u{202e}']), "{error}");
    }
    let text = std::fs::read_to_string(home.path().join(KEYWORD_FILE)).ok();
    assert_eq!(text.as_deref(), Some("x, a.txt"));
}

#[test]
fn what_has_changed_is_found_file_by_file() {
    let (_dir, home) = home();
    for name in ["a.txt", "b.txt", "c.txt", "e.txt"] {
        put(&home, name, name);
    }
    put(&home, KEYWORD_FILE, "k, b.txt; k, a.txt; k, c.txt; k, e.txt; l, a.txt");
    let before = read(&home).expect("it reads");
    put(&home, "b.txt", "other");
    put(&home, "d.txt", "new");
    // Its times change, and nothing that others see.
    put(&home, "e.txt", "e.txt");
    put(&home, KEYWORD_FILE, "k, b.txt; k, a.txt; k, e.txt; k, d.txt");
    let after = read(&home).expect("it reads");
    let changed = |after: &Share, before: &Share| {
        let (removed, changed) = after.since(before);
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        (removed, changed.iter().map(|file| file.listed.file.name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(changed(&after, &before).0, ["c.txt"]);
    assert_eq!(changed(&after, &before).1, ["a.txt", "b.txt", "d.txt"]);
    assert_eq!(changed(&after, &after), (vec![], vec![]));
    assert_eq!(changed(&Share::default(), &after).0.len(), 4);
}
