//! Who sees which files.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use wire::share::{Difference, ListDigest};

use super::super::journal::Journal;
use super::super::scan::{Goal, Scan};
use super::super::shelf::Shelf;
use super::finding::{ALL, answer, askers, searches, shares};
use super::*;
use crate::commands::index::{Change, FindRefused, Matches};

fn found(core: &mut Core, typed: &str, as_whom: &str) -> Vec<String> {
    let matches = answer(core, typed, ALL, asker(as_whom)).expect("it is not too broad").matches;
    matches.iter().map(|one| one.hits[0].file.name.to_string()).collect()
}

/// A share with a file for everyone, one for some, and one for the owner alone.
fn exams() -> Vec<ListedFile> {
    vec![
        only(&["ann", "Ben"], file("exam.pdf", &["exam", "tides"])),
        file("lecture.pdf", &["tides"]),
        only(&[], file("marks.csv", &["marks", "tides"])),
    ]
}

#[test]
fn a_search_finds_what_the_asker_may_see() {
    let mut core = Core::default();
    publish(&mut core, "Zoe", exams());
    let all = ["exam.pdf", "lecture.pdf", "marks.csv"];
    for (as_whom, expected) in
        [("ANN", &all[..2]), ("ben", &all[..2]), ("carl", &all[1..2]), ("zoe", &all), ("annb", &all[1..2])]
    {
        assert_eq!(found(&mut core, "tides", as_whom), expected, "{as_whom}");
        let exact = search(&mut core, &keywords(&["tides"]), 10, asker(as_whom));
        assert_eq!(names(&exact).len(), expected.len(), "{as_whom}");
        assert_eq!(exact.total, expected.len() as u64, "{as_whom}");
    }
    assert_eq!(names(&search(&mut core, &keywords(&["tides"]), 10, FAR)).len(), 1, "nobody in particular");
    for query in
        [Query::File("exam.pdf".parse().expect("a good name")), Query::Digest(Digest::of(b"exam.pdf"))]
    {
        assert_eq!(search(&mut core, &query, 10, asker("carl")), Found::default());
        assert_eq!(search(&mut core, &query, 10, asker("ann")).total, 1);
    }
    publish(&mut core, "Zoe", Vec::new());
    assert!(core.is_empty());
}

#[test]
fn a_difference_changes_who_sees_a_file() {
    let mut core = Core::default();
    publish(&mut core, "Zoe", exams());
    let change = |core: &mut Core, base: &[ListedFile], files: &[ListedFile]| {
        let (base, files) = (ListDigest::of(base), files.to_vec());
        match super::changes::change(core, "Zoe", Difference { base, removed: Vec::new(), files }) {
            Outcome::ToKeep(keep, _) => kept(core, keep.held),
            Outcome::Answered(answer) => panic!("it was not taken: {answer:?}"),
        }
    };
    let mut list = exams();
    for (names, expected) in [(&["carl"][..], [0, 1]), (&[], [0, 0]), (&["ann", "carl"], [1, 1])] {
        let new = only(names, file("exam.pdf", &["exam"]));
        change(&mut core, &list, std::slice::from_ref(&new));
        list[0] = new;
        let counts = ["ann", "carl"].map(|as_whom| found(&mut core, "exam", as_whom).len());
        assert_eq!(counts, expected, "{names:?}");
    }
    change(&mut core, &list, &[file("exam.pdf", &["exam"])]);
    assert_eq!(found(&mut core, "exam", "dora"), ["exam.pdf"]);
}

#[test]
fn a_word_of_hidden_files_is_not_what_somebody_meant() {
    let mut core = Core::default();
    publish(
        &mut core,
        "Zoe",
        vec![only(&["ann"], file("a", &["secret", "sea salt"])), file("b", &["secrets!"])],
    );
    let mut instead = |typed, as_whom| {
        let found = answer(&mut core, typed, ALL, asker(as_whom)).expect("it is not too broad");
        found.instead.map(|search| search.to_string())
    };
    assert_eq!(instead("secrte", "ann").as_deref(), Some("secret"));
    assert_eq!(instead("secrte", "carl").as_deref(), Some("secrets"), "the next one that carl sees");
    assert_eq!(
        instead("secret", "carl").as_deref(),
        Some("secrets"),
        "a word that carl does not see is unknown"
    );
    assert_eq!(instead("secret", "ann"), None);
    assert_eq!(instead("\"sea slat\"", "ann").as_deref(), Some("\"sea salt\""));
    assert_eq!(instead("\"sea slat\"", "carl"), None);
}

fn loaded(folder: &TempDir) -> Vec<Share> {
    let mut shares = Vec::new();
    let shelf = Shelf::open(folder.path().to_owned()).expect("a temporary folder can be used");
    let loaded = shelf.load(|share, _| {
        shares.push(share);
        true
    });
    loaded.expect("the folder can be listed");
    shares
}

#[test]
fn who_sees_a_file_is_on_the_disk_beside_the_list() {
    let folder = TempDir::new().expect("a temporary folder");
    let shelf = Shelf::open(folder.path().to_owned()).expect("a temporary folder can be used");
    let share = |files| Share { owner: peer("Zoe"), network: network(1), files };
    assert!(shelf.keep(&[share(exams())])[0].is_ok());
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect("it is there");
    let list = text("zoe.files");
    assert!(list.starts_with("# switchboard files 3\n"), "an older server must not read it: {list}");
    assert!(
        list.contains("  exam.pdf\n# only ann ben\n") && list.contains("  marks.csv\n# only\n"),
        "{list}"
    );
    assert_eq!(
        text("zoe.txt"),
        "exam, exam.pdf;\ntides, exam.pdf;\ntides, lecture.pdf;\nmarks, marks.csv;\ntides, marks.csv;\n"
    );
    assert_eq!(loaded(&folder), [share(exams())]);

    let limited = only(&["carl"], file("lecture.pdf", &["tides"]));
    let removed = vec!["marks.csv".parse().expect("a good name")];
    let difference = Difference { base: ListDigest::default(), removed, files: vec![limited.clone()] };
    let change = Change { owner: peer("Zoe"), difference };
    Journal::default().append(&shelf, &peer("Zoe"), &[change]).expect("it can be written");
    assert!(text("zoe.changes").starts_with("# switchboard changes 2\n"));
    assert!(text("zoe.changes").contains("  lecture.pdf\n# only carl\n"));
    assert_eq!(loaded(&folder), [share(vec![exams()[0].clone(), limited])]);

    assert!(shelf.keep(&[share(vec![file("a", &[])])])[0].is_ok());
    assert!(text("zoe.files").starts_with("# switchboard files 2\n"), "without limits older servers read it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is hidden from an asker, its answers are those of an Index that never had it.
    #[test]
    fn hidden_files_change_no_answer(
        shares in vec(shares(), 1..4), typed in vec(searches(), 1..6),
        misspelt in vec("(se|seaa|watre|hihg|nte|hohe|planx)( (sea|nett))?", 1..3), asker in askers(),
    ) {
        let (mut all, mut seen) = (Core::default(), Core::default());
        for (name, files) in ["A", "b", "C"].iter().zip(shares) {
            let owns = asker.name.as_ref().is_some_and(|asker| asker.folded() == peer(name).folded());
            let admits = |listed: &ListedFile| match &asker.name {
                Some(asker) => owns || listed.audience.admits(asker),
                None => listed.audience.is_everyone(),
            };
            let visible = files.iter().filter(|listed| admits(listed)).cloned().collect();
            publish(&mut all, name, files);
            publish(&mut seen, name, visible);
        }
        for typed in typed.iter().chain(&misspelt) {
            let of = |core: &mut Core| -> Matches { answer(core, typed, ALL, asker.clone()).expect("few files") };
            prop_assert_eq!(of(&mut all), of(&mut seen), "{} as {:?}", typed, asker);
        }
        for name in ["A", "b", "C"] {
            publish(&mut all, name, Vec::new());
        }
        prop_assert!(all.is_empty());
    }
}

#[test]
fn a_pattern_lists_the_files_of_one_peer_page_by_page() {
    let mut core = Core::default();
    let names_of_b = ["a.pdf", "lectures/1.pdf", "lectures/2.pdf", "lectures/3.txt", "lectures/week/4.pdf"];
    publish(&mut core, "B", names_of_b.iter().map(|name| file(name, &[])).collect());
    publish(
        &mut core,
        "C",
        vec![file("lectures/of c.pdf", &[]), only(&["ann"], file("lectures/exam.pdf", &[]))],
    );
    let mut list = |from: &str, pattern: &str, after: Option<&str>, limit, asker| {
        let (from, pattern) = (peer(from), pattern.parse().expect("a good pattern"));
        let after = after.map(|name| name.parse().expect("a good name"));
        let found = search(&mut core, &Query::Names { from, pattern, after }, limit, asker);
        (names(&found).into_iter().map(|(_, name)| name.to_owned()).collect::<Vec<_>>(), found.total)
    };
    let page =
        |names: &[&str], total| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), total);
    assert_eq!(list("b", "lectures/*", None, 2, FAR), page(&["lectures/1.pdf", "lectures/2.pdf"], 3));
    assert_eq!(list("B", "lectures/*", Some("lectures/2.pdf"), 2, FAR), page(&["lectures/3.txt"], 3));
    assert_eq!(list("B", "lectures/*", Some("lectures/3.txt"), 2, FAR), page(&[], 3));
    assert_eq!(list("B", "**.pdf", Some("a.pdf"), 1, FAR), page(&["lectures/1.pdf"], 4));
    assert_eq!(list("C", "lectures/*", None, 9, asker("carl")), page(&["lectures/of c.pdf"], 1));
    assert_eq!(list("C", "lectures/*", None, 9, asker("Ann")).1, 2);
    assert_eq!(list("nobody", "**", None, 9, FAR), page(&[], 0));
}

#[test]
fn a_pattern_finds_one_file_of_each_peer_that_has_some() {
    let mut core = Core::default();
    publish(&mut core, "B", vec![file("lectures/1.pdf", &[]), file("lectures/2.pdf", &[])]);
    publish(&mut core, "c", vec![file("x.pdf", &[]), file("lectures/2.pdf", &[])]);
    publish(&mut core, "D", vec![only(&["ann"], file("lectures/exam.pdf", &[]))]);
    publish(&mut core, "E", vec![file("a.txt", &[]), file("lectures/week/3.pdf", &[])]);
    tell(&mut core, here("c", None));
    let mut holders = |pattern: &str, limit, asker| {
        let pattern = pattern.parse().expect("a good pattern");
        let found = search(&mut core, &Query::Holders { pattern }, limit, asker);
        (names(&found).into_iter().map(|(peer, _)| peer.to_owned()).collect::<Vec<_>>(), found.total)
    };
    let of = |names: &[&str], total| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), total);
    assert_eq!(holders("lectures/*", 9, FAR), of(&["c", "B"], 2));
    assert_eq!(holders("lectures/*", 9, asker("ann")), of(&["c", "B", "D"], 3));
    assert_eq!(holders("lectures/**", 1, asker("D")), of(&["c"], 4));
    assert_eq!(holders("x*", 9, FAR), of(&["c"], 1));
    assert_eq!(holders("*2.pdf", 9, FAR), of(&[], 0));
    let mut look = |steps| {
        let (reply, pending) = reply();
        let pattern = "lectures/*".parse().expect("a good pattern");
        let goal = Goal::of(Query::Holders { pattern }).expect("it is by a pattern");
        let scan = Scan::new(goal, 9, FAR, reply);
        core.start_scan(scan.of_steps(steps));
        pending.wait(NOW).expect("it is answered").map(|found| found.total)
    };
    // Names that begin otherwise cost less than those that have to be compared.
    assert_eq!(look(33), Ok(2));
    assert_eq!(look(32), Err(FindRefused::ManyNames));
}
