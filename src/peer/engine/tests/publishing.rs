//! What is published: the whole share first, then what has changed.

use wire::FileName;
use wire::protocol::ErrorCode;
use wire::share::{Difference, ListDigest};

use super::*;
use crate::peer::engine::interface::Shared;

fn file(name: &str, keyword: &str) -> PublishedFile {
    let keywords = vec![keyword.parse().expect("a good keyword")];
    PublishedFile { name: file_name(name), bytes: 1, sha256: Digest::of(name.as_bytes()), keywords }
}

fn file_name(name: &str) -> FileName {
    name.parse().expect("a good name")
}

fn shared(bench: &mut Bench, removed: &[&str], files: Vec<PublishedFile>) {
    let removed = removed.iter().map(|name| file_name(name)).collect();
    bench.take([Input::Shared(Ok(Shared { removed, files, problems: Vec::new() }))]);
}

/// What was published since the last call.
fn published(bench: &mut Bench) -> Vec<ToServer<'static>> {
    let is_publication =
        |message: &ToServer<'_>| matches!(message, ToServer::Publish { .. } | ToServer::Change(_));
    bench.sent.drain(..).filter(is_publication).collect()
}

fn whole(files: Vec<PublishedFile>) -> Vec<ToServer<'static>> {
    vec![ToServer::Publish { part: 0, last: true, files }]
}

fn difference(base: &[PublishedFile], removed: &[&str], files: Vec<PublishedFile>) -> Vec<ToServer<'static>> {
    let removed = removed.iter().map(|name| file_name(name)).collect();
    vec![ToServer::Change(Difference { base: ListDigest::of(base), removed, files })]
}

fn confirm(bench: &mut Bench) {
    bench.hear(&ToPeer::Published { files: 0, pairs: 0 });
}

fn refuse(bench: &mut Bench) {
    bench.hear(&ToPeer::Failed { id: 0, detail: "no".into() });
}

/// A peer that has published `a` and `b`.
fn with_two_files() -> (Bench, [PublishedFile; 2]) {
    let mut bench = Bench::new();
    let both = [file("a", "k"), file("b", "k")];
    shared(&mut bench, &[], both.to_vec());
    assert_eq!(published(&mut bench), whole(both.to_vec()));
    (bench, both)
}

#[test]
fn a_change_is_published_as_a_difference_once_the_one_before_is_confirmed() {
    let (mut bench, both) = with_two_files();
    shared(&mut bench, &["a"], vec![file("c", "k")]);
    shared(&mut bench, &[], vec![file("c", "l"), file("d", "k")]);
    shared(&mut bench, &["d"], Vec::new());
    assert_eq!(published(&mut bench), [], "one at a time");
    confirm(&mut bench);
    assert_eq!(published(&mut bench), difference(&both, &["a"], vec![file("c", "l")]), "d never was there");
    confirm(&mut bench);
    assert_eq!(published(&mut bench), []);
    shared(&mut bench, &[], Vec::new());
    assert_eq!(published(&mut bench), [], "nothing has changed");
    shared(&mut bench, &["c"], Vec::new());
    assert_eq!(published(&mut bench), difference(&[both[1].clone(), file("c", "l")], &["c"], Vec::new()));
}

#[test]
fn after_a_refused_difference_the_whole_list_goes() {
    let (mut bench, both) = with_two_files();
    confirm(&mut bench);
    shared(&mut bench, &["a"], Vec::new());
    assert_eq!(published(&mut bench), difference(&both, &["a"], Vec::new()));
    refuse(&mut bench);
    assert_eq!(published(&mut bench), whole(vec![both[1].clone()]), "at once");
    refuse(&mut bench);
    shared(&mut bench, &[], vec![file("c", "k")]);
    assert_eq!(published(&mut bench), [], "the server is busy");
    bench.sleep(11);
    assert_eq!(published(&mut bench), whole(vec![both[1].clone(), file("c", "k")]));
}

#[test]
fn a_server_without_differences_gets_whole_lists() {
    let (mut bench, both) = with_two_files();
    confirm(&mut bench);
    shared(&mut bench, &["a"], Vec::new());
    assert_eq!(published(&mut bench), difference(&both, &["a"], Vec::new()));
    bench.hear(&ToPeer::Error { code: ErrorCode::UnknownKind, detail: "12".into() });
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    assert_eq!(published(&mut bench), whole(vec![both[1].clone()]));
    confirm(&mut bench);
    shared(&mut bench, &[], vec![file("c", "k")]);
    assert_eq!(published(&mut bench), whole(vec![both[1].clone(), file("c", "k")]));
}

#[test]
fn on_a_new_connection_a_server_that_takes_differences_is_asked_for_its_list() {
    let (mut bench, both) = with_two_files();
    confirm(&mut bench);
    let reconnect = |bench: &mut Bench| {
        bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
        bench.join();
    };
    reconnect(&mut bench);
    assert_eq!(published(&mut bench), whole(both.to_vec()), "it may not know differences");
    confirm(&mut bench);
    shared(&mut bench, &["a"], Vec::new());
    published(&mut bench);
    confirm(&mut bench);
    reconnect(&mut bench);
    assert_eq!(published(&mut bench), difference(&both[1..], &[], Vec::new()));
    confirm(&mut bench);
    // What was not answered may have arrived or not.
    shared(&mut bench, &[], vec![both[0].clone()]);
    assert_eq!(published(&mut bench).len(), 1);
    reconnect(&mut bench);
    assert_eq!(published(&mut bench), whole(both.to_vec()));
}

#[test]
fn a_large_change_goes_in_pieces_and_a_very_large_one_as_a_whole_list() {
    let (mut bench, _) = with_two_files();
    confirm(&mut bench);
    let many =
        |from: usize, to: usize| (from..to).map(|n| file(&format!("{n:0200}"), "k")).collect::<Vec<_>>();
    shared(&mut bench, &[], many(0, 1000));
    let mut pieces = 0;
    loop {
        let sent = published(&mut bench);
        let [ToServer::Change(piece)] = &sent[..] else { break };
        assert!(frame::frame(&sent[0]).len() < 256 << 10);
        assert!(!piece.files.is_empty());
        pieces += 1;
        confirm(&mut bench);
    }
    assert!((2..5).contains(&pieces), "{pieces}");
    shared(&mut bench, &[], many(1000, 4000));
    assert!(matches!(published(&mut bench)[0], ToServer::Publish { part: 0, .. }));
}
