//! What searches find, in which order, and which addresses they show.

use super::*;

#[test]
fn keywords_and_files_are_many_to_many() {
    let mut core = Core::default();
    publish(
        &mut core,
        "A",
        vec![file("tides.md", &["Sea", "tide"]), file("low water.txt", &["sea", "poem"]), file("plain", &[])],
    );
    publish(&mut core, "B", vec![file("low water.txt", &["SEA"]), file("wind.csv", &["wind"])]);

    let sea = search(&mut core, &keywords(&["seA"]), 10, FAR);
    assert_eq!(names(&sea), [("A", "low water.txt"), ("B", "low water.txt"), ("A", "tides.md")]);
    assert_eq!(sea.total, 3);
    assert_eq!(sea.hits[2].file, file("tides.md", &["Sea", "tide"]).file);
    let both = search(&mut core, &keywords(&["sea", "poem"]), 10, FAR);
    assert_eq!(names(&both), [("A", "low water.txt")]);
    let twice = search(&mut core, &keywords(&["tide", "Tide"]), 10, FAR);
    assert_eq!(names(&twice), [("A", "tides.md")]);
    assert_eq!(search(&mut core, &keywords(&["sea", "nothing"]), 10, FAR), Found::default());

    let by_name = Query::File("plain".parse().expect("a good name"));
    assert_eq!(names(&search(&mut core, &by_name, 10, FAR)), [("A", "plain")]);
    let by_content = Query::Digest(Digest::of(b"low water.txt"));
    let same = search(&mut core, &by_content, 10, FAR);
    assert_eq!(names(&same), [("A", "low water.txt"), ("B", "low water.txt")]);
}

#[test]
fn connected_peers_come_first_and_the_limit_cuts_the_rest() {
    let mut core = Core::default();
    for name in ["a", "B", "c"] {
        publish(&mut core, name, vec![file("1", &["k"]), file("2", &["k"])]);
    }
    tell(&mut core, here("C", None));
    let found = search(&mut core, &keywords(&["k"]), 4, FAR);
    assert_eq!(names(&found), [("c", "1"), ("c", "2"), ("a", "1"), ("B", "1")]);
    assert_eq!(found.total, 6);
    assert_eq!(found.hits.iter().filter(|hit| hit.online).count(), 2);
    let none = search(&mut core, &keywords(&["k"]), 0, FAR);
    assert_eq!((none.hits.len(), none.total), (0, 6));
}

#[test]
fn an_address_is_shown_only_to_askers_that_can_use_it() {
    let mut core = Core::default();
    publish(&mut core, "A", vec![file("f", &["k"])]);
    let mut told = |presence: Presence, asker| {
        tell(&mut core, presence);
        let found = search(&mut core, &keywords(&["k"]), 1, asker);
        found.hits[0].address.map(|address| address.to_string())
    };
    let public = Some("192.0.2.7:7000");
    assert_eq!(told(here("A", public), FAR).as_deref(), public);
    assert_eq!(told(here("A", public), NEAR).as_deref(), public);
    for local in ["127.0.0.1:7000", "[::1]:7000", "[::ffff:127.0.0.1]:7000"] {
        assert_eq!(told(here("A", Some(local)), FAR), None, "{local}");
        assert_eq!(told(here("A", Some(local)), NEAR).as_deref(), Some(local));
    }
    assert_eq!(told(here("A", Some("0.0.0.0:7000")), NEAR), None);
    assert_eq!(told(here("A", None), NEAR), None);
    let untrue = Presence { online: false, ..here("A", public) };
    assert_eq!(told(untrue, FAR), None);
}

#[test]
fn a_share_replaces_the_one_before_only_when_it_is_complete() {
    let mut core = Core::default();
    publish(&mut core, "alice", vec![file("old", &["k"])]);
    let first = answered(&mut core, "Alice", 0, false, vec![file("new", &["k", "K", "k2"])]);
    assert_eq!(first, Ok(Published { files: 1, pairs: 2 }));
    let before = search(&mut core, &keywords(&["k"]), 10, FAR);
    assert_eq!(names(&before), [("alice", "old")]);

    let Outcome::ToKeep(keep, pending) =
        publish_part(&mut core, "ALICE", 1, true, vec![file("more", &["k"])])
    else {
        panic!("a complete share goes to the keeper");
    };
    let after = search(&mut core, &keywords(&["k"]), 10, FAR);
    assert_eq!(names(&after), [("ALICE", "more"), ("ALICE", "new")]);
    assert_eq!(keep.published, Published { files: 2, pairs: 3 });
    assert_eq!(share_in(keep.what).files[1].file.keywords.len(), 2, "a repeated pair counts once");
    keep.reply.answer(Ok(keep.published));
    assert_eq!(pending.wait(NOW), Ok(Ok(Published { files: 2, pairs: 3 })));
}

#[test]
fn nothing_is_left_of_a_peer_that_shares_nothing_and_is_gone() {
    let mut core = Core::default();
    for round in ["one", "two", "three"] {
        publish(&mut core, "A", vec![file(round, &[round, "k"]), file("x", &["K"])]);
        publish(&mut core, "B", vec![file("x", &["k", round])]);
    }
    tell(&mut core, here("A", None));
    assert_eq!(answered(&mut core, "A", 0, false, vec![file("y", &["z"])]).map(|p| p.files), Ok(1));
    publish(&mut core, "B", Vec::new());
    assert!(!core.is_empty());
    tell(&mut core, gone("a"));
    publish(&mut core, "A", Vec::new());
    assert!(core.is_empty(), "{core:?}");
}
