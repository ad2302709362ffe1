//! What is written to disk, and what is read after a crash or damage.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

use super::super::format::{Texts, read_list, render};
use super::super::journal::Journal;
use super::super::keeper::{KeeperShell, Newest};
use super::super::shelf::Shelf;
use super::*;
use crate::runtime::{Shell as _, mailbox};

fn shelf(folder: &Path) -> Shelf {
    Shelf::open(folder.to_owned()).expect("a temporary folder can be used")
}

fn load(shelf: &Shelf) -> Vec<Share> {
    let mut shares = Vec::new();
    let loaded = shelf.load(|share, _| {
        shares.push(share);
        true
    });
    loaded.expect("the folder can be listed");
    shares
}

fn share(owner: &str, files: Vec<ListedFile>) -> Share {
    Share { owner: peer(owner), network: network(1), files }
}

fn keep(shelf: &Shelf, shares: &[Share]) {
    for result in shelf.keep(shares) {
        result.expect("a temporary folder can be written");
    }
}

fn tides(word: &str) -> Vec<ListedFile> {
    vec![file("low water.txt", &["Sea", word]), file("plain", &[]), file("tides.md", &["sea"])]
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_share_is_kept_as_keyword_txt_and_a_list() {
    let folder = TempDir::new().expect("a temporary folder");
    let shelf = shelf(folder.path());
    let shares = [share("Alice", tides("poem")), share("b.files", Vec::new())];
    keep(&shelf, &shares);
    assert_eq!(listed(folder.path()), ["alice.files", "alice.txt", "b.files.files", "b.files.txt"]);
    let text = fs::read_to_string(folder.path().join("alice.txt")).expect("the keywords");
    assert_eq!(text, "Sea, low water.txt;\npoem, low water.txt;\nsea, tides.md;\n");
    let list = fs::read_to_string(folder.path().join("alice.files")).expect("the list");
    let line = format!("{}  5  plain", Digest::of(b"plain"));
    assert!(list.lines().any(|l| l == line), "{list}");
    assert_eq!(load(&shelf), shares);
}

#[test]
fn a_stop_at_any_step_leaves_the_old_share_or_the_new_one() {
    let old = share("A", tides("old"));
    let new = share("A", tides("new"));
    type Stop = fn(&Shelf, &Share);
    let stops: [(&str, Stop, bool); 4] = [
        ("half of the keywords", |_, _| {}, false),
        ("prepared", |s, new| s.prepare(new).expect("it can be written"), false),
        (
            "committed",
            |s, new| {
                s.prepare(new).expect("it can be written");
                s.commit(new).expect("it can be renamed");
            },
            true,
        ),
        ("finished", |s, new| keep(s, std::slice::from_ref(new)), true),
    ];
    for (name, stop, is_new) in stops {
        let folder = TempDir::new().expect("a temporary folder");
        let shelf = shelf(folder.path());
        keep(&shelf, std::slice::from_ref(&old));
        fs::write(folder.path().join("a.txt.tmp"), "Sea, low w").expect("it can be written");
        stop(&shelf, &new);
        let expected = if is_new { &new } else { &old };
        assert_eq!(load(&shelf), std::slice::from_ref(expected), "{name}");
        assert_eq!(load(&shelf), std::slice::from_ref(expected), "{name}, a start later");
        assert_eq!(listed(folder.path()), ["a.files", "a.txt"], "{name}");
    }
}

#[test]
fn the_first_share_of_a_peer_may_be_cut_off_anywhere() {
    let new = share("A", tides("new"));
    let folder = TempDir::new().expect("a temporary folder");
    let shelf = shelf(folder.path());
    shelf.prepare(&new).expect("it can be written");
    assert_eq!(load(&shelf), []);
    assert!(listed(folder.path()).is_empty());
    shelf.prepare(&new).expect("it can be written");
    shelf.commit(&new).expect("it can be renamed");
    assert_eq!(load(&shelf), [new]);
}

#[test]
fn the_newest_of_many_shares_is_kept_and_all_are_answered() {
    let folder = TempDir::new().expect("a temporary folder");
    let (_index, mut told) = mailbox::<Command, Command>(1);
    let (shelf_of_keeper, journal) = (shelf(folder.path()), Journal::default());
    let mut keeper = KeeperShell { shelf: shelf_of_keeper, journal, kept: told.answers(None) };
    let mut newest = Newest::default();
    let mut core = Core::default();
    let mut answers = Vec::new();
    for (owner, word) in [("A", "first"), ("B", "other"), ("a", "second"), ("A", "third")] {
        let Outcome::ToKeep(keep, answer) = publish_part(&mut core, owner, 0, true, tides(word)) else {
            panic!("a share goes to the keeper");
        };
        newest.handle(Now::read(), keep, &mut ());
        answers.push(answer);
    }
    keeper.settle(&mut newest, &mut (), Now::read());
    assert_eq!(load(&shelf(folder.path())), [share("A", tides("third")), share("B", tides("other"))]);
    for answer in answers {
        assert_eq!(answer.wait(NOW), Ok(Ok(Published { files: 3, pairs: 3 })));
    }
    let mut batch = Vec::new();
    assert!(told.wait(None, 1, &mut batch));
    for command in batch {
        assert!(handle(&mut core, command).is_none(), "the report has no effect");
    }
    for owner in ["A", "B"] {
        publish(&mut core, owner, Vec::new());
    }
    assert!(core.is_empty(), "the memory of all four is free again");
}

#[test]
fn a_share_that_fails_does_not_hinder_the_others() {
    let folder = TempDir::new().expect("a temporary folder");
    let shelf = shelf(folder.path());
    fs::create_dir(folder.path().join("a.files.tmp")).expect("it can be made");
    let shares = [share("A", tides("a")), share("B", tides("b"))];
    let results = shelf.keep(&shares);
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
    assert_eq!(load(&shelf), shares[1..]);
    assert_eq!(listed(folder.path()), ["a.files.tmp", "b.files", "b.txt"]);
}

#[test]
fn damaged_shares_are_moved_aside_and_the_others_loaded() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("keywords cut off", |f| {
            fs::write(f.join("b.txt"), "Sea, low water.txt;\n").expect("written");
        }),
        ("keywords gone", |f| {
            fs::remove_file(f.join("b.txt")).expect("removed");
        }),
        ("keywords not text", |f| {
            fs::write(f.join("b.txt"), [0xff, 0xfe]).expect("written");
        }),
        ("list gone", |f| {
            fs::remove_file(f.join("b.files")).expect("removed");
        }),
        ("list empty", |f| {
            fs::write(f.join("b.files"), "").expect("written");
        }),
        ("list of another", |f| {
            fs::copy(f.join("a.files"), f.join("b.files")).expect("copied");
        }),
    ];
    for (name, damage) in damages {
        let folder = TempDir::new().expect("a temporary folder");
        let shelf = shelf(folder.path());
        let kept = [share("A", tides("a")), share("C", tides("c"))];
        keep(&shelf, &kept);
        keep(&shelf, &[share("B", tides("b"))]);
        damage(folder.path());
        assert_eq!(load(&shelf), kept, "{name}");
        let left = listed(folder.path());
        let aside = left.iter().filter(|name| name.ends_with(".damaged")).count();
        assert!(aside >= 1 && left.len() == 4 + aside, "{name}: {left:?}");
        keep(&shelf, &[share("B", tides("b"))]);
        assert_eq!(load(&shelf).len(), 3, "{name}, published again");
    }
}

#[test]
fn files_that_are_not_shares_are_left_alone() {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["README.txt", "no name at all.txt", "notes.md"] {
        fs::write(folder.path().join(name), "mine").expect("it can be written");
    }
    assert_eq!(load(&shelf(folder.path())), []);
    assert_eq!(listed(folder.path()).len(), 3);
}

fn shares() -> impl Strategy<Value = Share> {
    let names = proptest::collection::btree_set("[a-zü][ a-z0-9#~ü]{0,8}[a-z]", 0..6);
    let words = proptest::collection::btree_set(select(vec!["sea", "Tide", "#", "two words", "ß"]), 0..4);
    (names, words).prop_map(|(names, words)| {
        let words: Vec<_> = words.into_iter().collect();
        share("Alice", names.iter().map(|name| file(name, &words)).collect())
    })
}

fn read(texts: &Texts) -> Option<Share> {
    let list = read_list(&texts.list).ok()?;
    list.with_keywords(&texts.keywords).ok()
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_again(share in shares()) {
        let replaced = Some(Digest::of(b"changes"));
        prop_assert_eq!(&read(&render(&share, replaced)), &read(&render(&share, None)));
        prop_assert_eq!(read(&render(&share, None)), Some(share));
    }

    #[test]
    fn a_changed_byte_is_noticed(share in shares(), at in any::<Index>(), to in 0u8..128, in_list in any::<bool>()) {
        let mut texts = render(&share, None);
        let text = if in_list { &mut texts.list } else { &mut texts.keywords };
        prop_assume!(!text.is_empty());
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(changed) = String::from_utf8(bytes) {
            *text = changed;
            let read = read(&texts);
            prop_assert!(read.is_none() || read == Some(share));
        }
    }

    #[test]
    fn any_list_is_answered(text in any::<String>()) {
        prop_assert!(read_list(&text).is_err());
    }
}
