//! Fetching the files of a pattern from all who have them.

mod alone;
mod giving_up;
mod limits;

use std::collections::BTreeSet;
use std::path::PathBuf;

use wire::protocol::{ErrorCode, TransferId};
use wire::query::Query;
use wire::signal::Verdict;

use super::many::{Asked, Holder, answer_of, is_done, prepare_parts, shown};
use super::*;
use crate::peer::command::{Ending, Existing};
use crate::peer::engine::{NotReceived, Prepared, TransferOutcome};
use crate::peer::event::{HolderFault, HolderPart};

/// A file that somebody has: its name, length and content.
type Has<'a> = (&'a str, u64, &'a str);

fn hit(peer: &str, online: bool, (file, bytes, content): Has<'_>) -> Hit {
    let sha256 = Digest::of(content.as_bytes());
    let file =
        PublishedFile { name: file.parse().expect("a good name"), bytes, sha256, keywords: Vec::new() };
    Hit { peer: name(peer), file, online, address: None }
}

/// The only search of A since the last call.
fn search(bench: &mut Bench) -> (u32, Query) {
    let sent = bench.sent.drain(..).filter_map(|message| match message {
        ToServer::Search { id, query, .. } => Some((id, query)),
        _ => None,
    });
    let searches: Vec<(u32, Query)> = sent.collect();
    let [(id, query)] = &searches[..] else { panic!("one search: {searches:?}") };
    (*id, query.clone())
}

/// A fetches `d/*` from whoever has some. These have these files; whether they are here.
fn listed(have: &[(&str, bool, Vec<Has<'_>>)]) -> Bench {
    let mut bench = Bench::new();
    let wanted = Wanted::Pattern("d/*".parse().expect("a good pattern"));
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let (id, query) = search(&mut bench);
    assert!(matches!(query, Query::Holders { .. }), "{query:?}");
    let firsts = have.iter().map(|(peer, online, files)| hit(peer, *online, files[0]));
    let hits: Vec<Hit> = firsts.chain([hit("a", true, ("d/mine", 1, "mine"))]).collect();
    bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    for (peer, online, files) in have {
        let (id, query) = search(&mut bench);
        assert!(matches!(query, Query::Names { from, after: None, .. } if from == name(peer)));
        let hits: Vec<Hit> = files.iter().map(|file| hit(peer, *online, *file)).collect();
        bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    }
    bench
}

/// The same, when nothing is here and all cards have come.
fn underway(have: &[(&str, bool, Vec<Has<'_>>)]) -> (Bench, Holder) {
    let mut bench = listed(have);
    let task = bench.effects.drain(..).find_map(|effect| match effect {
        Effect::PrepareMany(task, downloads) => Some((task, downloads.len())),
        _ => None,
    });
    let (task, count) = task.expect("the disk is looked at");
    bench.take([Input::PreparedMany(task, Ok(vec![Ok(Prepared::From(0)); count]))]);
    let looked_up = bench.sent.extract_if(.., |message| matches!(message, ToServer::Lookup { .. })).count();
    assert_eq!(looked_up, have.iter().filter(|(_, is_here, _)| *is_here).count());
    for (peer, _, _) in have.iter().filter(|(_, is_here, _)| *is_here) {
        hear_card(&mut bench, peer);
    }
    (bench, Holder::default())
}

pub(super) fn hear_card(bench: &mut Bench, peer: &str) {
    let term = Term { sequence: START, issued_at: START, valid_until: START + CARD_VALID_SECONDS_MAX };
    let (identity, encryption) = &KEYS[1];
    let mut rng = StdRng::seed_from_u64(1);
    bench.hear_card(&Card::issue(name(peer), identity, encryption.public(), term, &mut rng));
}

/// Small files of this many names.
fn small(names: &[String]) -> Vec<Has<'_>> {
    names.iter().map(|name| (name.as_str(), 1, name.as_str())).collect()
}

/// The same, of a mebibyte each.
fn mebibytes(names: &[String]) -> Vec<Has<'_>> {
    names.iter().map(|name| (name.as_str(), 1 << 20, name.as_str())).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d/{number:03}")).collect()
}

/// The requests for many files since the last call.
fn requests(bench: &mut Bench, holder: &mut Holder) -> Vec<(String, TransferId, Vec<String>)> {
    let asked = holder.requests_by_peer(bench).into_iter();
    let many = asked.filter_map(|(to, asked)| match asked {
        Asked::Many(transfer, _, names) => Some((to, transfer, names)),
        _ => None,
    });
    many.collect()
}

fn sizes(asked: &[(String, TransferId, Vec<String>)]) -> Vec<(&str, usize)> {
    asked.iter().map(|(to, _, names)| (to.as_str(), names.len())).collect()
}

/// All files of a request arrive.
fn arrives(bench: &mut Bench, (from, transfer, names): &(String, TransferId, Vec<String>)) {
    answer_of(bench, from, *transfer, Verdict::Ready { bytes: 1, salt: [1; 16] });
    let all = (0..names.len()).map(|number| (number, Ok(PathBuf::from("/there")))).collect();
    bench.take([
        Input::Transfer(*transfer, TransferOutcome::ReceivedSome(all)),
        Input::Transfer(*transfer, TransferOutcome::ReceivedMany),
    ]);
}

fn faults(bench: &mut Bench) -> Vec<(String, HolderFault)> {
    let dropped = bench.events.extract_if(.., |event| matches!(event, Event::FileHolderDropped { .. }));
    let fault = |event| match event {
        Event::FileHolderDropped { from, fault, .. } => (from.to_string(), fault),
        _ => unreachable!("the others were left out"),
    };
    dropped.map(fault).collect()
}

#[test]
fn small_files_are_divided_among_all_who_have_them() {
    let names = names(300);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let mut asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 75), ("B", 64), ("C", 64), ("C", 64)], "the card of B came first");
    arrives(&mut bench, &asked[0]);
    asked.extend(requests(&mut bench, &mut holder));
    assert_eq!(sizes(&asked[4..]), [("B", 33)]);
    let all: Vec<&String> = asked.iter().flat_map(|(_, _, names)| names).collect();
    assert_eq!(all.len(), 300);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), names.iter().collect(), "each once");
    asked[1..].iter().for_each(|request| arrives(&mut bench, request));
    let given: Vec<Vec<HolderPart>> = bench
        .events
        .iter()
        .filter_map(
            |event| if let Event::FileHolders { holders, .. } = event { Some(holders.clone()) } else { None },
        )
        .collect();
    let of = |part: &HolderPart| (part.from.to_string(), part.bytes);
    let given: Vec<Vec<(String, u64)>> = given.iter().map(|parts| parts.iter().map(of).collect()).collect();
    assert_eq!(given, [[("B".to_owned(), 172), ("C".to_owned(), 128)]]);
    let is_fetched =
        |event: &Event| matches!(event, Event::Result(Answer::Fetched { peers: 2, files_done: 300, .. }));
    assert!(bench.events.iter().any(is_fetched));
    assert!(is_done(&mut bench, Ending::Done));
}

#[test]
fn what_a_holder_that_has_left_was_asked_for_comes_from_the_other() {
    let names = names(20);
    let only_b = ("d/only b", 1, "only b");
    let of_b: Vec<Has<'_>> = small(&names).into_iter().chain([only_b]).collect();
    let (mut bench, mut holder) = underway(&[("B", true, of_b), ("C", true, small(&names))]);
    let asked = requests(&mut bench, &mut holder);
    // B, whom the one file can come from only, gets some of the others too.
    assert_eq!(sizes(&asked), [("B", 21)]);
    bench.engine.fetch_refused(asked[0].1, Refusal::Absent);
    bench.take([]);
    assert_eq!(faults(&mut bench), [("B".to_owned(), HolderFault::Gone)]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("C", 20)]);
    arrives(&mut bench, &asked[0]);
    let errors = shown(&mut bench).1;
    assert!(errors.len() == 1 && errors[0].starts_with("d/only b: "), "{errors:?}");
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn what_a_holder_has_lied_about_comes_from_the_other_and_so_does_the_rest() {
    let names = names(200);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 64), ("B", 64), ("C", 64), ("C", 8)]);
    let (_, transfer, lied_about) = &asked[2];
    answer_of(&mut bench, "C", *transfer, Verdict::Ready { bytes: 1, salt: [1; 16] });
    let mut reports: Vec<_> = (1..64).map(|number| (number, Ok(PathBuf::from("/there")))).collect();
    reports.push((0, Err(NotReceived::Lie("another content".into()))));
    bench.take([
        Input::Transfer(*transfer, TransferOutcome::ReceivedSome(reports)),
        Input::Transfer(*transfer, TransferOutcome::ReceivedMany),
    ]);
    assert_eq!(faults(&mut bench), [("C".to_owned(), HolderFault::Lied)]);
    assert_eq!(requests(&mut bench, &mut holder), [], "B has enough to do");
    arrives(&mut bench, &asked[0]);
    let again = requests(&mut bench, &mut holder);
    assert_eq!((sizes(&again), &again[0].2[..]), (vec![("B", 1)], &lied_about[..1]));
    [&asked[1], &asked[3], &again[0]].into_iter().for_each(|request| arrives(&mut bench, request));
    assert_eq!(shown(&mut bench).1, [""; 0]);
    assert!(is_done(&mut bench, Ending::Done));
}

#[test]
fn requests_to_several_holders_are_for_less_than_fills_the_memory() {
    let names = names(20);
    let of = mebibytes;
    for shares in [true, false] {
        let (of_b, of_c): (Vec<Has<'_>>, Vec<Has<'_>>) =
            if shares { (of(&names), of(&names)) } else { (of(&names[..10]), of(&names[10..])) };
        let (mut bench, mut holder) = underway(&[("B", true, of_b), ("C", true, of_c)]);
        let asked = requests(&mut bench, &mut holder);
        let expected = if shares {
            vec![("B", 8), ("B", 8), ("C", 4)]
        } else {
            vec![("B", 8), ("B", 2), ("C", 8), ("C", 2)]
        };
        assert_eq!(sizes(&asked), expected);
    }
    let (mut bench, mut holder) = underway(&[("B", true, of(&names))]);
    assert_eq!(
        sizes(&requests(&mut bench, &mut holder)),
        [("B", 20)],
        "one after the other, as they are written"
    );
}

#[test]
fn what_a_slow_holder_was_asked_for_is_taken_from_one_that_has_nothing_to_do() {
    let names = names(130);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 64), ("B", 64), ("C", 2)]);
    for (peer, transfer, _) in &asked {
        answer_of(&mut bench, peer, *transfer, Verdict::Ready { bytes: 1, salt: [1; 16] });
    }
    bench.sleep(2);
    arrives(&mut bench, &asked[2]);
    let is_stop = |effect: &Effect| matches!(effect, Effect::StopReceive(_));
    bench.effects.clear();
    // C takes a second for each file, and B may take four times as long.
    bench.sleep(64 * 4 - 3);
    assert_eq!(bench.count(is_stop), 0);
    bench.sleep(1);
    assert_eq!(bench.count(is_stop), 2);
    assert_eq!(faults(&mut bench), [("B".to_owned(), HolderFault::Slow)]);
    for (_, transfer, _) in &asked[..2] {
        let one = vec![(0, Ok(PathBuf::from("/there")))];
        let cancelled = TransferOutcome::CannotDial("cancelled".into());
        bench.take([
            Input::Transfer(*transfer, TransferOutcome::ReceivedSome(one)),
            Input::Transfer(*transfer, cancelled),
        ]);
    }
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("C", 63), ("C", 63)]);
    asked.iter().for_each(|request| arrives(&mut bench, request));
    assert_eq!(shown(&mut bench).1, [""; 0]);
    assert!(is_done(&mut bench, Ending::Done));
}

#[test]
fn what_waits_in_the_queue_of_a_holder_is_taken_from_one_that_has_nothing_to_do() {
    let names = names(130);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 64), ("B", 64), ("C", 2)]);
    answer_of(&mut bench, "B", asked[0].1, Verdict::Ready { bytes: 1, salt: [1; 16] });
    answer_of(&mut bench, "B", asked[1].1, Verdict::Busy);
    let waiting = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&waiting), [("B", 64)], "C has something to do");
    answer_of(&mut bench, "B", waiting[0].1, Verdict::Queued { place: 1 });
    arrives(&mut bench, &asked[2]);
    let asked: Vec<(String, Asked)> = holder.requests_by_peer(&mut bench);
    let [(_, Asked::Withdrawn(withdrawn, _)), (from, Asked::Many(_, _, names))] = &asked[..] else {
        panic!("one request less, and another one: {asked:?}")
    };
    assert_eq!((*withdrawn, from.as_str()), (waiting[0].1, "C"));
    assert_eq!(*names, waiting[0].2);
}

#[test]
fn a_large_file_comes_from_all_and_a_middling_one_from_whoever_has_least_to_do() {
    let large: Vec<Has<'_>> = vec![("d/1", 9 << 20, "1"), ("d/2", 2 << 20, "2"), ("d/3", 2 << 20, "3")];
    let (mut bench, mut holder) = underway(&[("B", true, large.clone()), ("C", true, large)]);
    let parts = prepare_parts(&mut bench);
    assert_eq!(parts, ["d/1", "d/2"], "as many as there are holders");
    let opened = bench.effects.drain(..).find_map(|effect| match effect {
        Effect::OpenPieces(task, download) => Some((task, download.name.to_string())),
        _ => None,
    });
    let (task, of) = opened.expect("it comes in pieces");
    assert_eq!(of, "d/1");
    let asked = holder.requests_by_peer(&mut bench);
    assert_eq!(asked, [("B".to_owned(), Asked::One("d/2".into()))]);
    // The pieces cannot be kept. That is no reason to give the others up.
    bench.take([Input::PiecesOpened(task, Err("no room".into()))]);
    assert_eq!(shown(&mut bench).1, ["d/1: no room"]);
    assert_eq!(prepare_parts(&mut bench), ["d/3"]);
    assert_eq!(holder.requests_by_peer(&mut bench), [("C".to_owned(), Asked::One("d/3".into()))]);
}

#[test]
fn names_with_several_contents_and_files_of_absent_peers_are_said_once() {
    let of_b = vec![("d/1", 1, "one"), ("d/2", 1, "of b")];
    let of_c = vec![("d/1", 1, "one"), ("d/2", 1, "of c")];
    let of_d = vec![("d/1", 1, "one"), ("d/4", 1, "x"), ("d/5", 1, "y")];
    let (mut bench, mut holder) = underway(&[("B", true, of_b), ("C", true, of_c), ("D", false, of_d)]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 1)]);
    arrives(&mut bench, &asked[0]);
    let errors = [
        "1 file(s) were not fetched, because peers have different ones of the same name, such as d/2; say from whom, with --from NAME",
        "2 file(s) were not fetched: D is not here now; try again when they are",
    ];
    assert_eq!(shown(&mut bench).1, errors);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn nobody_who_has_such_files_and_a_server_that_cannot_say_it_are_said() {
    let mut bench = listed(&[("B", false, vec![("d/1", 1, "1")])]);
    assert!(shown(&mut bench).1[0].contains("nobody who has files that are called like d/* is here now"));
    let mut bench = Bench::new();
    for is_old in [false, true] {
        let wanted = Wanted::Pattern("d/*".parse().expect("a good pattern"));
        let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
        bench.take([Input::Command(CLIENT, get)]);
        let (id, _) = search(&mut bench);
        bench.events.clear();
        if is_old {
            bench.hear(&ToPeer::Error { code: ErrorCode::Malformed, detail: "no such query".into() });
            assert!(shown(&mut bench).1[0].contains("--from NAME"));
            bench.join();
            assert!(!bench.sent.iter().any(|message| matches!(message, ToServer::Search { .. })));
        } else {
            bench.hear(&ToPeer::Found { id, hits: Vec::new(), total: 0 });
            assert!(shown(&mut bench).1[0].starts_with("nobody else shares a file that is called like d/*"));
        }
    }
}

#[test]
fn files_of_the_same_content_are_fetched_one_after_the_other() {
    let two = 2 << 20;
    let files = vec![("d/1", two, "x"), ("d/2", two, "x"), ("d/3", two, "y")];
    let (mut bench, mut holder) = underway(&[("B", true, files)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/3"], "one content has one place on the disk");
    holder.requests_by_peer(&mut bench);
    answer_of(&mut bench, "B", holder.1[0], Verdict::Ready { bytes: two, salt: [1; 16] });
    bench.take([Input::Transfer(holder.1[0], TransferOutcome::Received(Ok(PathBuf::from("/d/1"))))]);
    assert_eq!(prepare_parts(&mut bench), ["d/2"]);
}

#[test]
fn what_waits_in_a_queue_is_requested_of_a_later_holder_that_has_nothing_to_do() {
    let names = names(10);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 10)]);
    answer_of(&mut bench, "B", asked[0].1, Verdict::Busy);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("B", 10)]);
    answer_of(&mut bench, "B", asked[0].1, Verdict::Queued { place: 1 });
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&asked), [("C", 10)]);
}

#[test]
fn a_request_keeps_its_place_while_all_holders_are_busy() {
    let names = names(10);
    let (mut bench, mut holder) = underway(&[("B", true, small(&names)), ("C", true, small(&names))]);
    let mut asked = requests(&mut bench, &mut holder);
    for peer in ["B", "C"] {
        answer_of(&mut bench, peer, asked[0].1, Verdict::Busy);
        asked = requests(&mut bench, &mut holder);
        assert_eq!(sizes(&asked), [(peer, 10)]);
        answer_of(&mut bench, peer, asked[0].1, Verdict::Queued { place: 1 });
        if peer == "B" {
            asked = requests(&mut bench, &mut holder);
        }
    }
    let waiting = asked[0].1;
    assert_eq!(holder.requests_by_peer(&mut bench), []);
    for _ in 0..2 {
        bench.sleep(29);
        assert_eq!(holder.requests_by_peer(&mut bench), [], "it stays in the queue of C");
        answer_of(&mut bench, "C", waiting, Verdict::Queued { place: 1 });
    }
    bench.sleep(2);
    assert_eq!(sizes(&requests(&mut bench, &mut holder)), [("B", 10)], "B may have nothing to do now");
}

#[test]
fn requests_that_wait_in_queues_leave_room_for_another_holder() {
    let peers = ["B", "C", "D", "E", "F", "G", "H", "I", "J"];
    let names: Vec<String> = peers.map(|peer| format!("d/{peer}")).into();
    let have: Vec<(&str, bool, Vec<Has<'_>>)> = peers
        .iter()
        .zip(&names)
        .map(|(peer, file)| (*peer, true, vec![(file.as_str(), 1, file.as_str())]))
        .collect();
    let (mut bench, mut holder) = underway(&have);
    let asked = requests(&mut bench, &mut holder);
    assert_eq!(asked.len(), 8);
    answer_of(&mut bench, "B", asked[0].1, Verdict::Queued { place: 1 });
    assert_eq!(sizes(&requests(&mut bench, &mut holder)), [("J", 1)]);
}

#[test]
fn a_large_file_goes_on_after_an_outage_of_the_server() {
    let large = || vec![("d/1", 64 << 20, "x")];
    let (mut bench, _) = underway(&[("B", true, large()), ("C", true, large())]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"]);
    let opened = bench.effects.extract_if(.., |effect| matches!(effect, Effect::OpenPieces(..))).next();
    let Some(Effect::OpenPieces(part, _)) = opened else { panic!("several send it") };
    bench.take([Input::PiecesOpened(part, Ok(Vec::new()))]);
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.sleep(16);
    assert_eq!(shown(&mut bench).1, [""; 0]);
    bench.join();
    assert!(!is_done(&mut bench, Ending::Failed));
}

#[test]
fn of_those_whose_cards_do_not_come_only_those_who_are_here_are_named() {
    let has = |peer, is_here| (peer, is_here, vec![("d/1", 1, "x")]);
    let mut bench = listed(&[has("B", true), has("C", true), has("D", false)]);
    let task = bench.effects.drain(..).find_map(|effect| match effect {
        Effect::PrepareMany(task, _) => Some(task),
        _ => None,
    });
    bench.take([Input::PreparedMany(task.expect("the disk is looked at"), Ok(vec![Ok(Prepared::From(0))]))]);
    bench.hear_card(&card_of_b(START, START));
    bench.sleep(16);
    assert_eq!(faults(&mut bench), [("C".to_owned(), HolderFault::Gone)]);
}
