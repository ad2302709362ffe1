//! What is published: the whole share first, then what has changed.

use std::collections::VecDeque;

use wire::many::{ManyRequest, NoName, WantedFile};
use wire::protocol::ErrorCode;
use wire::share::{Difference, ListDigest, ListedFile};
use wire::signal::{FileRequest, Verdict, Wish};
use wire::{Audience, FileName};

use super::*;
use crate::peer::engine::interface::Shared;
use crate::peer::engine::requested::Requested;

fn file(name: &str, keyword: &str) -> PublishedFile {
    let keywords = vec![keyword.parse().expect("a good keyword")];
    PublishedFile { name: file_name(name), bytes: 1, sha256: Digest::of(name.as_bytes()), keywords }
}

fn file_name(name: &str) -> FileName {
    name.parse().expect("a good name")
}

fn shared(bench: &mut Bench, removed: &[&str], files: Vec<PublishedFile>) {
    listed(bench, removed, files.into_iter().map(ListedFile::from).collect());
}

fn listed(bench: &mut Bench, removed: &[&str], files: Vec<ListedFile>) {
    let removed = removed.iter().map(|name| file_name(name)).collect();
    let files = files.into_iter().map(Arc::new).collect();
    bench.take([Input::Shared(Ok(Shared { removed, files, problems: Vec::new() }))]);
}

/// What was published since the last call.
fn published(bench: &mut Bench) -> Vec<ToServer<'static>> {
    let is_publication = |message: &ToServer<'_>| {
        matches!(
            message,
            ToServer::Publish { .. }
                | ToServer::Change(_)
                | ToServer::PublishLimited { .. }
                | ToServer::ChangeLimited(_)
        )
    };
    bench.sent.drain(..).filter(is_publication).collect()
}

fn whole(files: Vec<PublishedFile>) -> Vec<ToServer<'static>> {
    vec![ToServer::Publish { part: 0, last: true, files }]
}

fn difference(base: &[PublishedFile], removed: &[&str], files: Vec<PublishedFile>) -> Vec<ToServer<'static>> {
    let removed = removed.iter().map(|name| file_name(name)).collect();
    let base: Vec<ListedFile> = base.iter().cloned().map(ListedFile::from).collect();
    vec![ToServer::Change(Difference { base: ListDigest::of(&base), removed, files })]
}

/// A file for some peers only.
fn only(names: &[&str], file: PublishedFile) -> ListedFile {
    let names = names.iter().map(|name| name.parse().expect("a good name"));
    ListedFile { file, audience: Audience::only(names).expect("few enough") }
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

#[test]
fn a_whole_list_goes_as_the_server_takes_it_and_messages_go_between_its_parts() {
    let mut bench = Bench::new();
    bench.withholds_pongs = true;
    let many: Vec<_> = (0..4000).map(|n| file(&format!("{n:0200}"), "k")).collect();
    shared(&mut bench, &[], many.clone());
    let pong = |bench: &mut Bench, id| bench.hear(&ToPeer::Pong { id, present: Vec::new() });
    let mut parts = published(&mut bench);
    assert_eq!(parts.len(), 2, "the server has taken nothing yet");
    bench.pings.clear();
    // A connection that breaks meanwhile.
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    assert_eq!(published(&mut bench), parts, "from the start");
    pong(&mut bench, 999);
    assert_eq!(published(&mut bench), [], "another ping");
    bench.send("between");
    assert!(
        matches!(bench.sent[..], [ToServer::Lookup { .. } | ToServer::Envelope(_), ..]),
        "{:?}",
        bench.sent
    );
    // It is not in this list.
    shared(&mut bench, &[], vec![file("late", "k")]);
    let mut awaited: VecDeque<u32> = bench.pings.drain(..).collect();
    while let Some(ping) = awaited.pop_front() {
        pong(&mut bench, ping);
        let next = published(&mut bench);
        assert!(next.len() <= 1, "{}", next.len());
        parts.extend(next);
        awaited.extend(bench.pings.drain(..));
    }
    let mut got = Vec::new();
    for (at, sent) in parts.iter().enumerate() {
        let ToServer::Publish { part, last, files } = sent else { panic!("{sent:?}") };
        assert_eq!((*part as usize, *last), (at, at + 1 == parts.len()));
        got.extend(files.iter().cloned());
    }
    assert!(parts.len() > 3 && got == many, "{}", parts.len());
    confirm(&mut bench);
    assert_eq!(published(&mut bench), difference(&many, &[], vec![file("late", "k")]));
}

#[test]
fn limited_files_are_published_with_those_who_may_see_them() {
    let mut bench = Bench::new();
    let (a, b) = (ListedFile::from(file("a", "k")), only(&["C"], file("b", "k")));
    listed(&mut bench, &[], vec![a.clone(), b.clone()]);
    let files = vec![a.clone(), b.clone()];
    assert_eq!(published(&mut bench), [ToServer::PublishLimited { part: 0, last: true, files }]);
    confirm(&mut bench);
    let change = |base: &[&ListedFile], files| {
        let base = ListDigest::of(base.iter().copied());
        [ToServer::ChangeLimited(Difference { base, removed: Vec::new(), files })]
    };
    let of_two = only(&["C", "D"], file("b", "k"));
    listed(&mut bench, &[], vec![of_two.clone()]);
    assert_eq!(published(&mut bench), change(&[&a, &b], vec![of_two.clone()]));
    confirm(&mut bench);
    shared(&mut bench, &["a"], Vec::new());
    let (base, removed) = (ListDigest::of([&a, &of_two]), vec![file_name("a")]);
    assert_eq!(published(&mut bench), [ToServer::Change(Difference { base, removed, files: Vec::new() })]);
}

#[test]
fn a_server_without_limits_is_not_told_of_limited_files() {
    let mut bench = Bench::new();
    let (a, b) = (file("a", "k"), only(&["C"], file("b", "k")));
    listed(&mut bench, &[], vec![a.clone().into(), b]);
    assert!(matches!(published(&mut bench)[..], [ToServer::PublishLimited { .. }]));
    bench.hear(&ToPeer::Error { code: ErrorCode::UnknownKind, detail: "13".into() });
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    assert_eq!(published(&mut bench), whole(vec![a.clone()]));
    confirm(&mut bench);
    listed(&mut bench, &[], vec![file("c", "k").into(), only(&["C"], file("d", "k"))]);
    assert_eq!(published(&mut bench), whole(vec![a, file("c", "k")]));
}

#[test]
fn a_holder_gives_a_limited_file_to_those_who_may_fetch_it_only() {
    let mut bench = Bench::new();
    let limited = only(&["Carl"], file("b", "k"));
    listed(&mut bench, &[], vec![file("a", "k").into(), limited.clone(), only(&[], file("own", "k"))]);
    let (transfer, secret, wish) = ([7; 16], [0; 32], Wish::Direct);
    let refusal = |who: &str, file: &str, sha256| {
        let name_of_file = file_name(file);
        let one = FileRequest { transfer, secret, name: name_of_file.clone(), sha256, offset: 0, wish };
        let files = vec![WantedFile { name: name_of_file, sha256 }];
        let many = ManyRequest { transfer, secret, mark: NoName, wish, files };
        let asked = [Requested::File(one), Requested::Files(many)];
        let [one, many] = asked.map(|asked| bench.engine.sharing.granted(&name(who), &asked).err());
        assert_eq!(one, many, "whether alone or as one of many");
        one
    };
    let digest = |name: &str| Digest::of(name.as_bytes());
    for (who, file, is_given) in [
        ("carl", "b", true),
        ("CARL", "b", true),
        ("carl2", "b", false),
        ("dora", "b", false),
        ("dora", "a", true),
        ("carl", "own", false),
    ] {
        let refused = (!is_given).then_some(Verdict::NotShared);
        assert_eq!(refusal(who, file, digest(file)), refused, "{who} {file}");
        if !is_given {
            let other = refusal(who, file, digest("other"));
            assert_eq!(other, refused, "not that it has another content");
        }
    }
}
