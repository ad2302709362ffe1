//! The actor with its threads and a real disk.

use std::sync::Arc;
use std::time::Duration;

use super::super::shell::{self, IndexShell};
use super::*;
use crate::commands::index::{IndexHandle, Loading, PublishRefused};
use crate::config::PeerLimits;
use crate::runtime::{NoAnswer, mailbox, start as start_actor};

/// Long enough for any machine; nothing waits that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(30);

fn found(index: &IndexHandle, word: &str) -> Found {
    index
        .ask(DEADLINE, |reply| Command::Search { query: keywords(&[word]), limit: 100, asker: FAR, reply })
        .expect("the index answers")
        .expect("it is not too broad")
}

#[test]
fn a_restart_keeps_everything_but_who_is_online() {
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let index = shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts");
    let a = vec![file("tides.md", &["Sea"]), file("low water.txt", &["sea", "poem"])];
    let b = vec![file("low water.txt", &["SEA"])];
    let published = index.publish((peer("Alice"), network(1)), 0, true, a, DEADLINE);
    assert_eq!(published, Ok(Ok(Published { files: 2, pairs: 3 })));
    assert!(data.path().join("index/alice.txt").exists(), "answered only once it is on disk");
    for (part, last, files) in [(0, false, b), (1, true, Vec::new())] {
        let published = index.publish((peer("bob"), network(1)), part, last, files, DEADLINE);
        assert_eq!(published, Ok(Ok(Published { files: 1, pairs: 1 })));
    }
    index.presence(here("bob", Some("192.0.2.1:1"))).expect("there is room");
    let before = found(&index, "sea");
    assert_eq!(names(&before), [("bob", "low water.txt"), ("Alice", "low water.txt"), ("Alice", "tides.md")]);
    drop(index);

    let index =
        shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts again");
    let after = found(&index, "sea");
    assert_eq!(names(&after), [("Alice", "low water.txt"), ("bob", "low water.txt"), ("Alice", "tides.md")]);
    assert!(after.hits.iter().all(|hit| !hit.online && hit.address.is_none()));
    assert_eq!(after.hits[0].file, before.hits[1].file);
    drop(index);
}

#[test]
fn shares_sent_before_the_end_are_written() {
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let index = shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts");
    let mut pending = Vec::new();
    for n in 0..100 {
        let (reply, answer) = reply();
        // The same few peers publish again and again, so that newer shares replace older ones that wait for the disk.
        let owner = peer(&format!("p{}", n % 7));
        let files = vec![file(&format!("f{n}"), &["k"])];
        let command =
            Command::Publish { peer: owner, network: network(1), part: 0, last: true, files, reply };
        index.send(command).expect("the index runs");
        pending.push(answer);
    }
    drop(index);
    for answer in pending {
        assert_eq!(answer.wait(NOW), Ok(Ok(Published { files: 1, pairs: 1 })));
    }
    let index =
        shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts again");
    let kept: Vec<_> = found(&index, "k").hits.into_iter().map(|hit| hit.file.name).collect();
    let last: Vec<wire::FileName> =
        (93..100).map(|n| format!("f{n}").parse().expect("a good name")).collect();
    assert_eq!(kept, last);
    drop(index);
}

#[test]
fn a_search_does_not_wait_for_the_disk() {
    // A keeper that never writes.
    let (to_keeper, keeps) = mailbox::<Keep, Keep>(8);
    let (address, commands) = mailbox(8);
    let shell = IndexShell {
        keep: Box::new(move |keep| to_keeper.offer(keep).expect("there is room")),
        unloaded: None,
    };
    let loading = Arc::<Loading>::default();
    loading.end();
    let handle = IndexHandle { address: address.clone(), loading };
    let index =
        start_actor("index", (address, commands), handle, Core::default(), shell).expect("there is a thread");
    let (reply, publisher) = reply();
    let files = vec![file("f", &["k"])];
    let command =
        Command::Publish { peer: peer("A"), network: network(1), part: 0, last: true, files, reply };
    index.send(command).expect("the index runs");
    assert_eq!(found(&index, "k").total, 1);
    drop(index);
    drop(keeps);
    assert_eq!(publisher.wait(DEADLINE), Err(NoAnswer::Dropped));
}

#[test]
fn a_disk_that_fails_is_reported_to_the_publisher() {
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let index = shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts");
    std::fs::remove_dir(data.path().join("index")).expect("nothing is in it");
    let files = vec![file("f", &["k"])];
    let published = index.publish((peer("A"), network(1)), 0, true, files, DEADLINE);
    assert!(matches!(published, Ok(Err(PublishRefused::NotKept(_)))), "{published:?}");
    assert_eq!(found(&index, "k").total, 1);
    drop(index);
}

#[test]
fn a_search_by_a_pattern_goes_on_without_other_commands() {
    let data = tempfile::TempDir::new().expect("a temporary folder");
    let index = shell::start(data.path(), PeerLimits::default().index_pairs, None).expect("the index starts");
    // More than are compared in one turn, and those of one command.
    let files = (0..20_000).map(|number| file(&format!("f{number}"), &[])).collect();
    index.publish((peer("B"), network(1)), 0, true, files, DEADLINE).expect("it answers").expect("it fits");
    let pattern = "f*x*".parse().expect("a good pattern");
    let found = index.ask(DEADLINE, |reply| Command::Search {
        query: Query::Holders { pattern },
        limit: 9,
        asker: FAR,
        reply,
    });
    assert_eq!(found, Ok(Ok(Found::default())));
}
