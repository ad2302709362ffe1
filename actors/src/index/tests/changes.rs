//! Changes of a share: in memory, and on the disk.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use wire::share::{Difference, ListDigest};

use super::super::core::KEEPS_IN_FLIGHT_MAX;
use super::super::journal::Journal;
use super::super::shelf::Shelf;
use super::*;
use crate::commands::index::{Change, PublishRefused};
use crate::config::Quota;

fn difference(base: &[ListedFile], removed: &[&str], files: Vec<ListedFile>) -> Difference {
    let removed = removed.iter().map(|name| name.parse().expect("a good name")).collect();
    Difference { base: ListDigest::of(base), removed, files }
}

pub(super) fn change(core: &mut Core, name: &str, difference: Difference) -> Outcome {
    let (reply, pending) = reply();
    let command = Command::Change { peer: peer(name), network: network(1), difference, reply };
    match handle(core, command) {
        Some(keep) => Outcome::ToKeep(keep, pending),
        None => Outcome::Answered(pending.wait(NOW).expect("it is answered at once")),
    }
}

/// Publishes a difference. Returns the change that the keeper gets, and what is published with it.
fn changed(core: &mut Core, name: &str, difference: Difference) -> (Change, Published) {
    match change(core, name, difference) {
        Outcome::ToKeep(Keep { what: Kept::Change(change), published, held, .. }, _) => {
            kept(core, held);
            (change, published)
        }
        Outcome::ToKeep(keep, _) => panic!("not a change: {keep:?}"),
        Outcome::Answered(answer) => panic!("a difference was not taken: {answer:?}"),
    }
}

fn refused(core: &mut Core, name: &str, difference: Difference) -> PublishRefused {
    match change(core, name, difference) {
        Outcome::Answered(Err(refused)) => refused,
        Outcome::Answered(Ok(published)) => panic!("it was taken: {published:?}"),
        Outcome::ToKeep(keep, _) => panic!("it was taken: {keep:?}"),
    }
}

fn found(core: &mut Core, word: &str) -> Vec<String> {
    let found = search(core, &keywords(&[word]), 100, FAR);
    found.hits.iter().map(|hit| hit.file.name.to_string()).collect()
}

#[test]
fn a_difference_adds_replaces_and_removes_files() {
    let mut core = Core::default();
    let base = vec![file("a", &["k"]), file("b", &["k", "l"]), file("c", &["k"])];
    publish(&mut core, "B", vec![file("b", &["k"])]);
    publish(&mut core, "A", base.clone());
    let files = vec![file("b", &["K", "k", "m"]), file("sub/d", &["k"])];
    let (kept, published) = changed(&mut core, "a", difference(&base, &["a"], files));
    assert_eq!(published, Published { files: 3, pairs: 4 });
    assert_eq!(kept.difference.files[0].file.keywords.len(), 2, "a repeated keyword counts once");
    assert_eq!(found(&mut core, "k"), ["b", "b", "c", "sub/d"]);
    assert_eq!(found(&mut core, "l"), [""; 0]);
    assert_eq!(found(&mut core, "m"), ["b"]);
    // The next one is based on the list with the repeated keyword dropped.
    let base = vec![file("b", &["K", "m"]), file("c", &["k"]), file("sub/d", &["k"])];
    changed(&mut core, "A", difference(&base, &["b", "c", "sub/d", "never there"], Vec::new()));
    assert_eq!(found(&mut core, "k"), ["b"], "that of the other peer");
    publish(&mut core, "B", Vec::new());
    assert!(core.is_empty());
}

#[test]
fn a_difference_that_does_not_fit_changes_nothing() {
    let mut core = Core::new(Quota { per_sender: 3, per_address: 4, in_all: 6 });
    let base = vec![file("a", &["k"]), file("b", &["k"])];
    let other = PublishRefused::OtherList;
    assert_eq!(refused(&mut core, "A", difference(&[], &[], base.clone())), other, "nothing was published");
    publish(&mut core, "A", base.clone());
    for wrong in [&base[..1], &[]] {
        assert_eq!(refused(&mut core, "A", difference(wrong, &["a"], Vec::new())), other);
    }
    let twice = || "x".parse().expect("a good name");
    let files = vec![file("x", &[]), file("x", &["k"])];
    assert_eq!(refused(&mut core, "A", difference(&base, &[], files)), PublishRefused::Repeated(twice()));
    let files = vec![file("x", &[])];
    assert_eq!(refused(&mut core, "A", difference(&base, &["x"], files)), PublishRefused::Repeated(twice()));
    let too_many = vec![file("c", &["k"]), file("d", &["k"])];
    assert_eq!(refused(&mut core, "A", difference(&base, &[], too_many)), PublishRefused::PeerFull);
    let (reply, pending) = reply();
    let elsewhere = network(2);
    let difference_ = difference(&base, &["a"], Vec::new());
    let command = Command::Change { peer: peer("A"), network: elsewhere, difference: difference_, reply };
    assert!(handle(&mut core, command).is_none());
    assert_eq!(pending.wait(NOW), Ok(Err(PublishRefused::OtherList)), "the quota is that of an address");

    assert_eq!(found(&mut core, "k"), ["a", "b"]);
    let (_, published) = changed(&mut core, "A", difference(&base, &["a"], vec![file("c", &["k"])]));
    assert_eq!(published, Published { files: 2, pairs: 2 });
    publish(&mut core, "A", Vec::new());
    assert!(core.is_empty());
}

#[test]
fn an_empty_difference_asks_whether_the_server_has_the_list() {
    let mut core = Core::default();
    let base = vec![file("a", &["k"]), file("b", &[])];
    publish(&mut core, "A", base.clone());
    let asked = change(&mut core, "A", difference(&base, &[], Vec::new()));
    assert!(matches!(asked, Outcome::Answered(Ok(Published { files: 2, pairs: 1 }))), "nothing is written");
    assert_eq!(refused(&mut core, "A", difference(&base[1..], &[], Vec::new())), PublishRefused::OtherList);
}

#[test]
fn after_many_changes_the_whole_list_is_wanted() {
    let mut core = Core::default();
    let versions = [vec![file("a", &["one"])], vec![file("a", &["two"])]];
    publish(&mut core, "A", versions[0].clone());
    let mut count = 0;
    let refused = loop {
        let (old, new) = (&versions[count % 2], &versions[(count + 1) % 2]);
        match change(&mut core, "A", difference(old, &[], new.clone())) {
            Outcome::ToKeep(keep, _) => kept(&mut core, keep.held),
            Outcome::Answered(answer) => break answer,
        }
        count += 1;
    };
    assert_eq!(refused, Err(PublishRefused::TooManyChanges));
    assert!((1000..3000).contains(&count), "{count}: about a quarter of a megabyte");
    publish(&mut core, "A", versions[0].clone());
    changed(&mut core, "A", difference(&versions[0], &[], versions[1].clone()));
}

#[test]
fn changes_that_wait_for_the_disk_are_bounded() {
    let mut core = Core::default();
    let mut list = Vec::new();
    publish(&mut core, "A", list.clone());
    tell(&mut core, here("A", None));
    publish(&mut core, "A", list.clone());
    let mut held = Vec::new();
    for n in 0..KEEPS_IN_FLIGHT_MAX {
        let new = file(&n.to_string(), &[]);
        match change(&mut core, "A", difference(&list, &[], vec![new.clone()])) {
            Outcome::ToKeep(keep, _) => held.push(keep.held),
            Outcome::Answered(answer) => panic!("{answer:?}"),
        }
        list.push(new);
    }
    assert_eq!(refused(&mut core, "A", difference(&list, &["0"], Vec::new())), PublishRefused::Busy);
    held.into_iter().for_each(|held| kept(&mut core, held));
    changed(&mut core, "A", difference(&list, &["0"], Vec::new()));
}

#[test]
fn a_change_of_another_server_is_taken_if_it_fits() {
    let mut core = Core::default();
    let base = vec![file("a", &["k"])];
    publish(&mut core, "A", base.clone());
    let learn = |core: &mut Core, difference| {
        let change = Box::new(Change { owner: peer("A"), difference });
        assert!(handle(core, Command::LearnChange(change)).is_none());
    };
    for _ in 0..2 {
        learn(&mut core, difference(&base, &[], vec![file("b", &["k"])]));
        assert_eq!(found(&mut core, "k"), ["a", "b"], "the second time it does not fit");
    }
    let both = [file("a", &["k"]), file("b", &["k"])];
    learn(&mut core, difference(&both, &["a", "b"], Vec::new()));
    assert!(core.is_empty());
}

fn shelf(folder: &Path) -> Shelf {
    Shelf::open(folder.to_owned()).expect("a temporary folder can be used")
}

fn load(folder: &Path) -> Vec<Share> {
    let mut shares = Vec::new();
    let loaded = shelf(folder).load(|share, _| {
        shares.push(share);
        true
    });
    loaded.expect("the folder can be listed");
    shares
}

fn share(files: &[ListedFile]) -> Share {
    Share { owner: peer("A"), network: network(1), files: files.to_vec() }
}

fn keep(folder: &Path, files: &[ListedFile]) {
    let kept = shelf(folder).keep(&[share(files)]);
    assert!(kept.iter().all(Result::is_ok), "{kept:?}");
}

fn of_a(removed: &[&str], files: Vec<ListedFile>) -> Change {
    Change { owner: peer("A"), difference: difference(&[], removed, files) }
}

/// A shelf with a share and three changes in two batches.
fn with_changes(folder: &Path) -> Vec<ListedFile> {
    keep(folder, &[file("a", &["one"]), file("b", &["k"])]);
    let (shelf, mut journal) = (shelf(folder), Journal::default());
    let batches = [
        vec![of_a(&["b"], vec![file("a", &["two", "; #"])])],
        vec![of_a(&[], vec![file("b", &[]), file("sub/c", &["k"])]), of_a(&["a", "gone"], Vec::new())],
    ];
    for batch in batches {
        journal.append(&shelf, &peer("A"), &batch).expect("it can be written");
    }
    vec![file("b", &[]), file("sub/c", &["k"])]
}

#[test]
fn changes_are_appended_as_text_and_read_again() {
    let folder = TempDir::new().expect("a temporary folder");
    let lists = ["a.files", "a.txt"].map(|name| folder.path().join(name));
    let expected = with_changes(folder.path());
    let text = fs::read_to_string(folder.path().join("a.changes")).expect("the changes");
    assert!(text.contains("# gone b\n") && text.contains("\"; #\", a;\n"), "{text}");
    assert!(wire::keyword::parse(&text).problems.is_empty(), "it is in the grammar of keyword.txt: {text}");
    assert_eq!(fs::read_to_string(&lists[1]).ok().as_deref(), Some("one, a;\nk, b;\n"), "not written again");
    assert_eq!(load(folder.path()), [share(&expected)]);
    // Another run continues behind what is there.
    let more = of_a(&["b"], vec![file("d", &["k"])]);
    Journal::default().append(&shelf(folder.path()), &peer("a"), &[more]).expect("it can be written");
    assert_eq!(load(folder.path()), [share(&[file("d", &["k"]), file("sub/c", &["k"])])]);
}

#[test]
fn a_stop_in_a_change_leaves_those_before_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("a.changes");
    let expected = with_changes(folder.path());
    let before = fs::read(&path).expect("the changes");
    let more = || of_a(&[], vec![file("more", &["k", "l"])]);
    let append = || Journal::default().append(&shelf(folder.path()), &peer("A"), &[more()]);
    append().expect("it can be written");
    let after = fs::read(&path).expect("the changes");
    for end in before.len()..after.len() {
        fs::write(&path, &after[..end]).expect("it is ours");
        assert_eq!(load(folder.path()), [share(&expected)], "{end} of {} bytes", after.len());
    }
    // The part is overwritten by the next one. So is one whose blocks came to the disk in another order.
    let mut holes = after.clone();
    holes[before.len() + 10] = 0;
    for torn in [&after[..after.len() - 1], &holes] {
        fs::write(&path, torn).expect("it is ours");
        assert_eq!(load(folder.path()), [share(&expected)]);
        append().expect("it can be written");
        assert_eq!(fs::read(&path).ok().as_ref(), Some(&after));
    }
}

#[test]
fn a_changed_byte_in_an_acknowledged_change_is_noticed() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("a.changes");
    with_changes(folder.path());
    let text = fs::read_to_string(&path).expect("the changes");
    fs::write(&path, text.replace("# gone b", "# gone c")).expect("it is ours");
    assert_eq!(load(folder.path()), []);
    assert!(folder.path().join("a.changes.damaged").exists());
    assert!(!path.exists());
    keep(folder.path(), &[file("a", &[])]);
    assert_eq!(load(folder.path()), [share(&[file("a", &[])])], "published again");
}

#[test]
fn a_whole_list_replaces_the_changes_whenever_the_machine_stops() {
    // The list is the same as before the changes, so only what it says about them tells it from that one.
    let files = [file("a", &["one"]), file("b", &["k"])];
    type Stop = fn(&Shelf, &Share);
    let stops: [(Stop, bool); 3] = [
        (|shelf, new| shelf.prepare(new).expect("it can be written"), false),
        (
            |shelf, new| {
                shelf.prepare(new).expect("it can be written");
                shelf.commit(new).expect("it can be renamed");
            },
            true,
        ),
        (|shelf, new| assert!(shelf.keep(std::slice::from_ref(new))[0].is_ok()), true),
    ];
    for (stop, is_new) in stops {
        let folder = TempDir::new().expect("a temporary folder");
        let changed = with_changes(folder.path());
        stop(&shelf(folder.path()), &share(&files));
        let expected = if is_new { &files[..] } else { &changed[..] };
        for _ in 0..2 {
            assert_eq!(load(folder.path()), [share(expected)]);
        }
        assert_eq!(folder.path().join("a.changes").exists(), !is_new);
        let more = of_a(&[], vec![file("more", &[])]);
        Journal::default().append(&shelf(folder.path()), &peer("A"), &[more]).expect("it can be written");
        assert_eq!(load(folder.path())[0].files.len(), 3);
    }
}

#[test]
fn after_a_change_that_could_not_be_written_the_whole_list_comes_first() {
    let folder = TempDir::new().expect("a temporary folder");
    let (shelf, mut journal) = (shelf(folder.path()), Journal::default());
    keep(folder.path(), &[file("a", &[])]);
    fs::create_dir(folder.path().join("a.changes")).expect("it can be made");
    let more = || vec![of_a(&[], vec![file("b", &[])])];
    assert!(journal.append(&shelf, &peer("A"), &more()).is_err());
    fs::remove_dir(folder.path().join("a.changes")).expect("it is empty");
    let error = journal.append(&shelf, &peer("A"), &more()).expect_err("one is missing").to_string();
    assert!(error.contains("publish the whole list"), "{error}");
    journal.replaced(&peer("a"), true);
    journal.append(&shelf, &peer("A"), &more()).expect("it fits");
    assert_eq!(load(folder.path()), [share(&[file("a", &[]), file("b", &[])])]);
}
