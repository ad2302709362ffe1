//! Entries that name the files of a folder.

use super::*;
use crate::peer::command::{Command, ShareChange};
use crate::peer::prompt::{Line, parse};

fn put_in(home: &Home, path: &str, content: &str) {
    let path = home.path().join(path);
    std::fs::create_dir_all(path.parent().expect("it is below the home")).expect("it can be made");
    std::fs::write(path, content).expect("it can be written");
}

fn keywords(share: &Share, name: &str) -> Vec<String> {
    let file = share.by_name(&name.parse().expect("a good name")).expect("it is shared");
    file.listed.file.keywords.iter().map(ToString::to_string).collect()
}

/// A home with files of all kinds in a tree.
fn tree() -> (tempfile::TempDir, Home) {
    let (dir, home) = home();
    for path in ["a.txt", "lectures/b.txt", "lectures/week 1/c.txt", "notes/d.txt"] {
        put_in(&home, path, path);
    }
    for hidden in [".secret", ".hidden/e.txt", "lectures/.part", "downloads/f.txt", "notes/keyword.txt"] {
        put_in(&home, hidden, "private");
    }
    let outside = dir.path().join(".hidden");
    std::os::unix::fs::symlink(&outside, home.path().join("linked")).expect("a link");
    std::os::unix::fs::symlink(outside.join("e.txt"), home.path().join("link.txt")).expect("a link");
    (dir, home)
}

#[test]
fn an_entry_names_the_ordinary_files_of_a_folder_or_of_a_tree() {
    let (_dir, home) = tree();
    for (text, expected) in [
        ("*, *;", &["a.txt"][..]),
        ("*, **;", &["a.txt", "lectures/b.txt", "lectures/week 1/c.txt", "notes/d.txt"]),
        ("sea, lectures/*;", &["lectures/b.txt"]),
        ("sea, lectures/**;", &["lectures/b.txt", "lectures/week 1/c.txt"]),
        ("sea, lectures/week 1/c.txt", &["lectures/week 1/c.txt"]),
        ("sea, downloads/*", &["downloads/f.txt"]),
    ] {
        put(&home, KEYWORD_FILE, text);
        let share = read(&home).expect("it reads");
        assert_eq!((names(&share), &share.problems), (expected.to_vec(), &vec![]), "{text}");
    }
    for (text, why) in [
        ("sea, gone/*;", "No such file"),
        ("sea, linked/*;", "not a folder, or a symbolic link"),
        ("sea, linked/e.txt;", "not a folder, or a symbolic link"),
        ("sea, a.txt/**;", "not a folder, or a symbolic link"),
        ("sea, notes/keyword.txt;", "not shared itself"),
    ] {
        put(&home, KEYWORD_FILE, text);
        let share = read(&home).expect("it reads");
        assert_eq!((names(&share).len(), share.problems.len()), (0, 1), "{text}: {:?}", share.problems);
        assert!(share.problems[0].reason.contains(why), "{text}: {:?}", share.problems);
    }
}

#[test]
fn keywords_of_a_folder_and_of_a_file_come_together() {
    let (_dir, home) = tree();
    put(
        &home,
        KEYWORD_FILE,
        "*, **; tide, lectures/b.txt; Sea, lectures/*; sea, lectures/**; *, a.txt; x, a.txt;",
    );
    let share = read(&home).expect("it reads");
    assert_eq!(share.problems, []);
    assert_eq!(keywords(&share, "lectures/b.txt"), ["tide", "Sea"]);
    assert_eq!(keywords(&share, "lectures/week 1/c.txt"), ["sea"]);
    assert_eq!(keywords(&share, "a.txt"), ["x"]);
    assert_eq!(keywords(&share, "notes/d.txt"), [""; 0]);
    let watched: Vec<&str> = share.folders.keys().map(String::as_str).collect();
    assert_eq!(watched, ["", "lectures", "lectures/week 1", "notes"]);
}

#[test]
fn a_folder_is_told_of_before_its_files_are_listed() {
    let (_dir, home) = tree();
    put(&home, KEYWORD_FILE, "*, lectures/**; *, notes/d.txt;");
    let mut told = Vec::new();
    let mut looks_into = |folder: &str, _| {
        // What comes between the watch of a folder and its list is reported and listed, so nothing is missed.
        put(&home, &format!("{folder}/late.txt"), "x");
        told.push(folder.to_owned());
    };
    let share = Share::read(&home, &Share::default(), &mut looks_into, &mut |_, _, _| {}).expect("it reads");
    assert_eq!(told, ["lectures", "lectures/week 1", "notes"]);
    assert!(share.folders.keys().eq(&told), "{:?}", share.folders);
    let late: Vec<&str> = names(&share).into_iter().filter(|name| name.ends_with("late.txt")).collect();
    assert_eq!(late, ["lectures/late.txt", "lectures/week 1/late.txt"]);
}

#[test]
fn a_name_that_cannot_be_published_is_reported() {
    use std::os::unix::ffi::OsStrExt as _;
    let (_dir, home) = tree();
    put(&home, "back\\slash", "x");
    put(&home, " margin", "x");
    let no_text = std::ffi::OsStr::from_bytes(b"\xff.txt");
    std::fs::write(home.path().join(no_text), "x").expect("it can be written");
    put(&home, KEYWORD_FILE, "*, *;");
    let share = read(&home).expect("it reads");
    assert_eq!(names(&share), ["a.txt"]);
    let mut reasons: Vec<&str> = share.problems.iter().map(|problem| problem.reason.as_str()).collect();
    reasons.sort_unstable();
    assert!(reasons[0].contains("not UTF-8") && reasons[1].contains("'\\\\'"), "{reasons:?}");
    assert!(reasons[2].contains("white space") && reasons.len() == 3, "{reasons:?}");
}

#[test]
fn a_folder_that_became_a_link_is_not_entered() {
    let (dir, home) = tree();
    put(&home, KEYWORD_FILE, "sea, lectures/b.txt;");
    let share = read(&home).expect("it reads");
    assert!(open_shared(&home, first(&share)).is_ok());
    let path = |name: &str| dir.path().join(name);
    std::fs::rename(path("lectures"), path("elsewhere")).expect("it is ours");
    std::os::unix::fs::symlink(path("elsewhere"), path("lectures")).expect("a link");
    let refused = open_shared(&home, first(&share));
    assert!(matches!(refused, Err(ShareError::Vanished(_))), "{refused:?}");
}

#[test]
fn the_files_of_a_folder_are_shared_by_command() {
    let (_dir, home) = tree();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).unwrap_or_default();
    let none: &[&str] = &[];
    assert_eq!(add_entries(&home, "lectures/**", none, None).ok(), Some(1));
    assert_eq!(add_entries(&home, "lectures/b.txt", &["tide"], None).ok(), Some(1));
    assert_eq!(text(), "*, lectures/**;\ntide, lectures/b.txt;\n");
    for (name, why) in [
        ("gone/*", "no such file or folder"),
        ("linked/*", "symbolic link"),
        ("lectures/../../x", "start with a dot"),
        ("notes/keyword.txt", "not shared itself"),
    ] {
        let error = add_entries(&home, name, &["sea"], None).expect_err(name).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(remove_entries(&home, "lectures/**", none).ok(), Some(1));
    assert_eq!(text(), "tide, lectures/b.txt;\n");
}

/// What a look at these paths, and a look at everything, make of a share; `None` if the paths are not enough.
fn refreshed(home: &Home, before: &Share, paths: &[&str]) -> Option<(Share, Vec<String>, Vec<String>)> {
    let paths = paths.iter().map(|path| home.path().join(path)).collect();
    let mut share = before.clone();
    let (removed, changed) = share.apply(before.refresh(home, &paths, &mut |_, _, _| {})?);
    let names = |names: Vec<&FileName>| names.into_iter().map(ToString::to_string).collect();
    let changed = names(changed.iter().map(|listed| &listed.file.name).collect());
    Some((share, names(removed.iter().collect()), changed))
}

#[test]
fn a_look_at_what_has_changed_is_as_good_as_one_at_everything() {
    let (_dir, home) = tree();
    put(&home, KEYWORD_FILE, "*, **; tide, lectures/*; tide, a.txt; sea, gone.txt; *, downloads/named.txt");
    let mut before = read(&home).expect("it reads");
    type Names = &'static [&'static str];
    type Change = fn(&Home);
    let changes: [(Names, Change, Names, Names); 8] = [
        (&["a.txt"], |home| put(home, "a.txt", "other"), &[], &["a.txt"]),
        (&["gone.txt"], |home| put(home, "gone.txt", "here"), &[], &["gone.txt"]),
        (&["lectures/new.txt", "x"], |home| put(home, "lectures/new.txt", ""), &[], &["lectures/new.txt"]),
        (
            &["lectures/b.txt", "lectures/renamed.txt"],
            |home| {
                let path = |name| home.path().join(name);
                std::fs::rename(path("lectures/b.txt"), path("lectures/renamed.txt")).expect("it is ours");
            },
            &["lectures/b.txt"],
            &["lectures/renamed.txt"],
        ),
        (
            &["gone.txt", "a.txt"],
            |home| {
                std::fs::remove_file(home.path().join("gone.txt")).expect("it is there");
                std::fs::remove_file(home.path().join("a.txt")).expect("it is there");
            },
            &["a.txt", "gone.txt"],
            &[],
        ),
        (
            &["downloads/got.txt", "downloads/named.txt", "notes/keyword.txt", "link.txt"],
            |home| {
                put(home, "downloads/got.txt", "x");
                put(home, "downloads/named.txt", "x");
            },
            &[],
            &["downloads/named.txt"],
        ),
        (&["a.txt"], |home| put(home, "a.txt", "again"), &[], &["a.txt"]),
        // Its times change, and nothing that others see.
        (&["a.txt"], |home| put(home, "a.txt", "again"), &[], &[]),
    ];
    for (paths, change, removed, changed) in changes {
        change(&home);
        let (mut share, gone, new) = refreshed(&home, &before, paths).expect("these are files");
        assert_eq!(
            (gone, new),
            (
                removed.iter().map(ToString::to_string).collect(),
                changed.iter().map(ToString::to_string).collect()
            ),
            "{paths:?}"
        );
        let mut expected = read(&home).expect("it reads");
        expected.problems.sort_by_key(ToString::to_string);
        share.problems.sort_by_key(ToString::to_string);
        assert_eq!(share, expected, "{paths:?}");
        before = expected;
    }
    for all in [KEYWORD_FILE, "lectures", "linked/../notes", "../elsewhere", "back\\slash"] {
        assert!(refreshed(&home, &before, &[all]).is_none(), "{all}");
    }
    std::fs::create_dir(home.path().join("folder")).expect("it can be made");
    assert!(refreshed(&home, &before, &["folder"]).is_none());
}

#[test]
fn what_is_hidden_is_not_shared_whatever_other_entries_say() {
    let (_dir, home) = tree();
    put(&home, KEYWORD_FILE, "*, **; sea, a.txt; -, a.txt; -, lectures/week 1/**; -, gone.txt;");
    let before = read(&home).expect("it reads");
    assert_eq!((names(&before), &before.problems), (vec!["lectures/b.txt", "notes/d.txt"], &vec![]));
    put_in(&home, "lectures/week 1/new.txt", "new");
    let (after, ..) =
        refreshed(&home, &before, &["a.txt", "lectures/week 1/new.txt"]).expect("these are files");
    assert_eq!(names(&after), names(&before));
    put(&home, KEYWORD_FILE, "*, **; -, lectures; -, note;");
    assert_eq!(names(&read(&home).expect("it reads")), ["a.txt", "notes/d.txt"], "a folder by its name");
}

#[test]
fn a_file_of_a_shared_folder_is_unshared_and_shared_again() {
    let (_dir, home) = tree();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    let shares = || names(&read(&home).expect("it reads")).contains(&"lectures/b.txt");
    let none: &[&str] = &[];
    put(&home, KEYWORD_FILE, "*, lectures/*;\nsea, lectures/b.txt");
    assert_eq!(remove_entries(&home, "lectures/b.txt", none).ok(), Some(2));
    assert_eq!((text().as_str(), shares()), ("*, lectures/*;\n-, lectures/b.txt;\n", false));
    assert_eq!(add_entries(&home, "lectures/b.txt", &["tide"], None).ok(), Some(1));
    assert_eq!((text().as_str(), shares()), ("*, lectures/*;\ntide, lectures/b.txt;\n", true));
    assert!(remove_entries(&home, "notes/d.txt", none).is_err(), "no entry shares it");
}

#[test]
fn a_folder_of_a_shared_folder_is_unshared() {
    let (_dir, home) = tree();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    let shares =
        || names(&read(&home).expect("it reads")).iter().filter(|name| name.starts_with("lectures")).count();
    let none: &[&str] = &[];
    put(&home, KEYWORD_FILE, "*, **;\n");
    assert_eq!(remove_entries(&home, "lectures/*", none).ok(), Some(1));
    assert_eq!(shares(), 1, "that in the sub-folder");
    assert_eq!(remove_entries(&home, "lectures/**", none).ok(), Some(1));
    assert_eq!((shares(), remove_entries(&home, "lectures/week 1/*", none).is_err()), (0, true));
    put(&home, KEYWORD_FILE, "*, **;\n");
    assert_eq!(remove_entries(&home, "lectures", none).ok(), Some(1));
    assert_eq!((text().as_str(), shares()), ("*, **;\n-, lectures;\n", 0));
    for gone in ["gone.txt", "gone/*", "gone"] {
        assert!(matches!(remove_entries(&home, gone, none), Err(ShareError::NoEntry(_))), "{gone}");
    }
}

#[test]
fn what_an_entry_hides_is_not_shared_by_command_before_that_entry_is_gone() {
    let (_dir, home) = tree();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    for (hidden, name) in [
        ("lectures/**", "lectures/b.txt"),
        ("lectures/*", "lectures/b.txt"),
        ("lectures", "lectures/week 1/c.txt"),
        ("lectures/week 1", "lectures/week 1/*"),
        ("**", "lectures/**"),
    ] {
        let before = format!("sea, a.txt;\n-, {hidden};\n");
        put(&home, KEYWORD_FILE, &before);
        let refused = add_entries(&home, name, &["tide"], None).expect_err(name).to_string();
        let advice = format!("/unshare \"{hidden}\" -");
        assert!(refused.contains(&format!("`-, {hidden};`")) && refused.contains(&advice), "{refused}");
        assert_eq!(text(), before);
        let Ok(Line::Command(Command::ChangeShare(ShareChange::Remove { file, keywords }))) = parse(&advice)
        else {
            panic!("{advice} is no command")
        };
        assert_eq!(remove_entries(&home, &file, &keywords).ok(), Some(1));
        assert_eq!(add_entries(&home, name, &["tide"], None).ok(), Some(1));
        assert_eq!(text(), format!("sea, a.txt;\ntide, {name};\n"));
    }
    for (hidden, name) in [("lectures/*", "lectures/**"), ("lecture", "lectures/b.txt"), ("notes/**", "**")] {
        put(&home, KEYWORD_FILE, format!("-, {hidden};\n"));
        assert_eq!(
            add_entries(&home, name, &["tide"], None).ok(),
            Some(1),
            "some of it is not hidden: {name}"
        );
    }
}

/// Who may fetch each shared file; empty for everyone.
fn audiences(share: &Share) -> Vec<(&str, String)> {
    share.files.values().map(|file| (file.listed.file.name.as_str(), file.listed.audience.marked())).collect()
}

#[test]
fn only_those_in_all_limits_of_a_file_may_fetch_it() {
    let (_dir, home) = tree();
    put(
        &home,
        KEYWORD_FILE,
        "*, **; sea, lectures/**, @Ann @ben; *, lectures/week 1/*, @ben, @carl; tide, a.txt, @dora; x, a.txt;",
    );
    let mut share = read(&home).expect("it reads");
    assert_eq!(share.problems, []);
    let of = |name, who: &str| (name, who.to_owned());
    let expected = [
        of("a.txt", "@dora"),
        of("lectures/b.txt", "@ann @ben"),
        of("lectures/week 1/c.txt", "@ben"),
        of("notes/d.txt", ""),
    ];
    assert_eq!(audiences(&share), expected);
    put_in(&home, "lectures/week 1/new.txt", "new");
    let paths = [home.path().join("lectures/week 1/new.txt"), home.path().join("a.txt")].into();
    let refreshed = share.refresh(&home, &paths, &mut |_, _, _| {}).expect("these are files");
    let (_, changed) = share.apply(refreshed);
    assert_eq!(changed.iter().map(|listed| listed.audience.marked()).collect::<Vec<_>>(), ["@ben"]);
    assert_eq!(audiences(&read(&home).expect("it reads")), audiences(&share));
}

#[test]
fn a_mistake_in_a_limit_makes_nothing_public() {
    let (_dir, home) = tree();
    for broken in ["exam lectures/b.txt, @ann", "\"exam, lectures/b.txt @ann", "exam, lectures\\b.txt, @ann"]
    {
        put(&home, KEYWORD_FILE, format!("*, **;\n{broken};\n"));
        let mut share = read(&home).expect("it reads");
        assert_eq!(names(&share), ["a.txt", "lectures/week 1/c.txt", "notes/d.txt"], "{broken}");
        let said: Vec<String> = share.problems.iter().map(ToString::to_string).collect();
        let closed = "keyword.txt: lectures/b.txt: not shared, because";
        assert!(said.len() == 2 && said[0].contains("line 2") && said[1].starts_with(closed), "{said:?}");
        let path = [home.path().join("lectures/b.txt")].into();
        let refreshed = share.refresh(&home, &path, &mut |_, _, _| {}).expect("it is a file");
        assert_eq!(share.apply(refreshed), (vec![], vec![]), "also when it changes");
        let error = add_entries(&home, "lectures/b.txt", &["moon"], None).expect_err("it may be limited");
        assert!(matches!(error, ShareError::BadLimit(_)), "{error}");
    }
}

#[test]
fn a_change_of_who_may_fetch_a_file_is_published() {
    let (_dir, home) = tree();
    put(&home, KEYWORD_FILE, "sea, a.txt, @ann;");
    let before = read(&home).expect("it reads");
    put(&home, KEYWORD_FILE, "sea, a.txt;");
    let after = read(&home).expect("it reads");
    assert_eq!((after.since(&before).1.len(), before.since(&after).1.len()), (1, 1));
    assert_eq!(after.since(&after.clone()).1.len(), 0);
}

#[test]
fn a_limit_with_a_typing_error_or_of_nobody_makes_nothing_public() {
    let (_dir, home) = tree();
    for (limit, why) in [("@a/nn", "'/'"), ("@ann ben", "\"ben\""), ("@", "1 to 32")] {
        for text in [
            format!("*, **; sea, lectures/**, {limit};"),
            format!("*, **; sea, lectures/**; tide, lectures/**, {limit};"),
            format!("*, **; sea, lectures/b.txt, {limit}; sea, lectures/week 1/*, {limit}"),
        ] {
            put(&home, KEYWORD_FILE, &text);
            let share = read(&home).expect("it reads");
            assert_eq!(names(&share), ["a.txt", "notes/d.txt"], "{text}");
            assert!(share.problems[0].reason.contains(why), "{text}: {:?}", share.problems);
        }
    }
    for (text, why) in [
        ("*, **; sea, lectures/** @ann;", "a comma before @ann"),
        ("*, **; sea, lectures/**, ann;", "second comma"),
    ] {
        put(&home, KEYWORD_FILE, text);
        let share = read(&home).expect("it reads");
        assert_eq!(names(&share), ["a.txt", "notes/d.txt"], "{text}");
        assert!(share.problems[0].reason.contains(why), "{text}: {:?}", share.problems);
    }
    put(&home, KEYWORD_FILE, "*, *; *, a.txt, @ann; *, a.txt, @ben;");
    let share = read(&home).expect("it reads");
    assert_eq!(names(&share), [""; 0]);
    assert!(share.problems[0].reason.contains("nobody is in all"), "{:?}", share.problems);
    put_in(&home, "x.txt", "x");
    let looked_at = refreshed(&home, &share, &["a.txt", "x.txt"]);
    assert_eq!(looked_at.map(|(_, gone, new)| (gone, new)), Some((vec![], vec!["x.txt".to_owned()])));
}

#[test]
fn who_may_fetch_a_file_is_changed_by_command() {
    let (_dir, home) = tree();
    let text = || std::fs::read_to_string(home.path().join(KEYWORD_FILE)).expect("it is there");
    let none: &[&str] = &[];
    let only = |names: &str| Some(names.parse::<wire::Audience>().expect("names"));
    put(&home, KEYWORD_FILE, "# mine\nsea, lectures/b.txt;\nsky, a.txt;\n");
    assert_eq!(add_entries(&home, "lectures/b.txt", &["tide"], only("@ben @Ann").as_ref()).ok(), Some(2));
    assert_eq!(
        text(),
        "# mine\nsky, a.txt;\nsea, lectures/b.txt, @ann @ben;\ntide, lectures/b.txt, @ann @ben;\n"
    );
    assert_eq!(add_entries(&home, "lectures/b.txt", &["moon"], None).ok(), Some(1));
    assert!(text().ends_with("\nmoon, lectures/b.txt, @ann @ben;\n"), "the limit stays: {}", text());
    assert_eq!(add_entries(&home, "lectures/b.txt", none, only("@carl").as_ref()).ok(), Some(3));
    assert_eq!(text().matches("lectures/b.txt, @carl;").count(), 3, "{}", text());
    assert_eq!(add_entries(&home, "lectures/b.txt", none, only("@carl").as_ref()).ok(), Some(0), "as it was");
    assert_eq!(add_entries(&home, "lectures/b.txt", none, Some(&wire::Audience::Everyone)).ok(), Some(3));
    assert!(!text().contains('@'), "{}", text());
    assert_eq!(add_entries(&home, "notes/*", none, only("@ann").as_ref()).ok(), Some(1));
    assert!(text().ends_with("\n*, notes/*, @ann;\n"), "{}", text());

    put(&home, KEYWORD_FILE, "sea, a.txt, @ann;\ntide, a.txt;\nmoon, a.txt;\n");
    assert_eq!(remove_entries(&home, "a.txt", &["sea"]).ok(), Some(1));
    assert_eq!(text(), "tide, a.txt, @ann;\nmoon, a.txt, @ann;\n", "the limit stays");
    put(&home, KEYWORD_FILE, "sea, a.txt, @;\ntide, a.txt;\n");
    for error in [
        add_entries(&home, "a.txt", &["moon"], None).expect_err("the limit cannot be read"),
        add_entries(&home, "notes/d.txt", none, only("@ann").as_ref()).expect_err("it has no keyword"),
        add_entries(&home, "notes/d.txt", &["@ann"], None).expect_err("a limit was meant"),
    ] {
        let error = error.to_string();
        assert!(error.contains("--with") || error.contains("at least one keyword"), "{error}");
    }
    assert_eq!(add_entries(&home, "a.txt", none, only("@ann").as_ref()).ok(), Some(1));
    assert_eq!(text(), "tide, a.txt, @ann;\n");
}
