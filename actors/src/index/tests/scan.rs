//! Searches by a pattern go on while others have their turns.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::scan::Scans;
use super::*;
use crate::runtime::NoAnswer;

/// An Index that looks at so many files between two batches of commands.
fn of_steps(steps: usize) -> Core {
    let mut core = Core::default();
    core.scans = Scans::of_steps(steps);
    core
}

fn holders(pattern: &str) -> Query {
    Query::Holders { pattern: pattern.parse().expect("a good pattern") }
}

fn start(core: &mut Core, query: Query, limit: u32) -> Pending<SearchAnswer> {
    let (reply, pending) = reply();
    assert!(handle(core, Command::Search { query, limit, asker: FAR, reply }).is_none());
    pending
}

/// Lets searches go on until all have their answers. Returns how many turns that took.
fn finish(core: &mut Core) -> usize {
    (1..).find(|_| !core.go_on(Now::read().instant)).expect("they end")
}

fn answer(pending: &Pending<SearchAnswer>) -> Found {
    pending.wait(NOW).expect("it is answered").expect("it is not too broad")
}

fn numbered(start: &str, count: usize) -> Vec<ListedFile> {
    (0..count).map(|number| file(&format!("{start}{number:03}"), &["k"])).collect()
}

#[test]
fn others_are_answered_while_many_names_are_compared() {
    let mut core = of_steps(10);
    publish(&mut core, "B", numbered("a", 100));
    publish(&mut core, "C", vec![file("z", &[])]);
    let long = start(&mut core, holders("z*"), 9);
    assert_eq!(long.wait(NOW), Err(NoAnswer::TimedOut));
    assert_eq!(search(&mut core, &keywords(&["k"]), 9, FAR).total, 100);
    // Of B alone, the first file is looked at.
    let short = start(&mut core, holders("a*"), 9);
    core.go_on(Now::read().instant);
    core.go_on(Now::read().instant);
    core.go_on(Now::read().instant);
    assert_eq!(names(&answer(&short)), [("B", "a000")], "it does not wait for the longer one");
    assert_eq!(long.wait(NOW), Err(NoAnswer::TimedOut));
    assert!(finish(&mut core) >= 6, "each turn is short");
    assert_eq!(names(&answer(&long)), [("C", "z")]);
}

#[test]
fn a_long_name_counts_for_many_short_ones() {
    let turns = |name: &str| {
        let mut core = of_steps(100);
        let files = (0..100).map(|number| file(&format!("{name}{number:03}"), &[]));
        publish(&mut core, "B", files.collect());
        start(&mut core, holders("*x*y*"), 9);
        finish(&mut core)
    };
    assert!(turns(&"z".repeat(250)) > 5 * turns("z"));
}

#[test]
fn what_has_changed_while_names_are_compared_is_not_answered() {
    let mut core = of_steps(10);
    publish(&mut core, "B", vec![file("z/b", &[])]);
    publish(&mut core, "C", numbered("a", 20));
    publish(&mut core, "D", vec![file("z/d", &[])]);
    let of_all = start(&mut core, holders("z/*"), 9);
    core.go_on(Now::read().instant);
    publish(&mut core, "B", Vec::new());
    publish(&mut core, "D", Vec::new());
    // It gets the place of B.
    publish(&mut core, "E", vec![file("other", &[]), file("z/e", &[])]);
    finish(&mut core);
    let found = answer(&of_all);
    assert_eq!((names(&found), found.total), (vec![("E", "z/e")], 1));

    let list = |pattern: &str| Query::Names {
        from: peer("C"),
        pattern: pattern.parse().expect("a good pattern"),
        after: None,
    };
    for gone in [numbered("b", 3), Vec::new()] {
        publish(&mut core, "C", numbered("a", 20));
        let of_c = start(&mut core, list("a*"), 9);
        core.go_on(Now::read().instant);
        publish(&mut core, "C", gone);
        finish(&mut core);
        assert_eq!(answer(&of_c).hits, []);
    }
}

#[test]
fn a_search_whose_asker_has_left_ends_and_so_does_one_too_many() {
    let mut core = of_steps(1);
    publish(&mut core, "B", numbered("a", 10));
    let (reply, left) = reply();
    let now = Now::read().instant;
    let command = Command::Search { query: holders("z*"), limit: 9, asker: FAR, reply: reply.until(now) };
    handle(&mut core, command);
    assert!(!core.go_on(now), "nobody waits");
    assert_eq!(left.wait(NOW), Err(NoAnswer::Dropped));
    let waiting: Vec<_> = (0..256).map(|_| start(&mut core, holders("z*"), 9)).collect();
    let one_more = start(&mut core, holders("z*"), 9);
    assert_eq!(one_more.wait(NOW), Err(NoAnswer::Dropped));
    finish(&mut core);
    waiting.iter().for_each(|pending| assert_eq!(answer(pending), Found::default()));
}

proptest! {
    #[test]
    fn an_answer_is_the_same_in_however_many_turns_it_is_found(
        shares in vec(btree_set("[ab]{1,2}(/[ab]{1,2})?", 0..12), 1..5), steps in 1..30usize, limit in 0..6u32,
        pattern in select(vec!["*", "**", "a*", "*b", "a/*", "**b", "*/a*"]), after in proptest::option::of("[ab]{1,2}"),
    ) {
        let (mut whole, mut parts) = (of_steps(usize::MAX), of_steps(steps));
        let owners: Vec<String> = (0..shares.len()).map(|owner| format!("p{owner}")).collect();
        for (owner, names) in owners.iter().zip(&shares) {
            for core in [&mut whole, &mut parts] {
                publish(core, owner, names.iter().map(|name| file(name, &[])).collect());
            }
        }
        let pattern: wire::pattern::Pattern = pattern.parse().expect("a good pattern");
        let after = after.map(|after| after.parse().expect("a good name"));
        let of = |owner: &String| Query::Names { from: peer(owner), pattern: pattern.clone(), after: after.clone() };
        let queries = owners.iter().map(of).chain([Query::Holders { pattern: pattern.clone() }]);
        for query in queries {
            let in_parts = start(&mut parts, query.clone(), limit);
            finish(&mut parts);
            let in_parts = answer(&in_parts);
            prop_assert_eq!(&in_parts, &search(&mut whole, &query, limit, FAR), "{:?}", query);
            if let Query::Names { from, .. } = query {
                let owner = owners.iter().position(|owner| peer(owner) == from).expect("it is one of them");
                let matcher = wire::pattern::Matcher::new(&pattern);
                let all: Vec<&String> = shares[owner].iter().filter(|name| matcher.matches(name)).collect();
                prop_assert_eq!(in_parts.total, all.len() as u64);
                let after = after.as_ref().map_or("", wire::FileName::as_str);
                let expected: Vec<&str> =
                    all.iter().map(|name| name.as_str()).filter(|name| *name > after).take(limit as usize).collect();
                let got: Vec<&str> = in_parts.hits.iter().map(|hit| hit.file.name.as_str()).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
