//! Fetching many files: what is requested if the holder is busy, or does not know such requests.

use std::path::PathBuf;

use wire::many::MANY_FILES_MAX;
use wire::protocol::TransferId;
use wire::query::Query;
use wire::signal::{FileAnswer, FileRequest, Reason, Route, Verdict, Wish, Withdrawal};

use super::*;
use crate::peer::command::{Ending, Existing};
use crate::peer::engine::requested::Requested;
use crate::peer::engine::{NotReceived, Prepared, TransferOutcome};

/// What those read who are asked. All of them have the keys of B.
#[derive(Default)]
pub(super) struct Holder(
    BTreeMap<String, Incoming>,
    /** The transfers of single files. */ pub(super) Vec<TransferId>,
);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Many(TransferId, Wish, Vec<String>),
    One(String),
    Withdrawn(TransferId, Reason),
}

impl Holder {
    /// The requests since the last call.
    fn requests(&mut self, bench: &mut Bench) -> Vec<Asked> {
        self.requests_by_peer(bench).into_iter().map(|(_, asked)| asked).collect()
    }

    /// The same, each with the name of whom it is for.
    pub(super) fn requests_by_peer(&mut self, bench: &mut Bench) -> Vec<(String, Asked)> {
        let mut asked = Vec::new();
        for message in bench.sent.drain(..) {
            let ToServer::Envelope(Envelope { to, kind, number, sealed, .. }) = message else { continue };
            if kind == Kind::Opening {
                let opening = Opening::from_bytes(sealed).expect("it reads");
                let accepted = Incoming::accept(&opening, &KEYS[1].1, None, &mut rand::rng());
                self.0.insert(to.to_owned(), accepted.expect("it was sealed for these keys"));
            } else if kind == Kind::Request {
                let incoming = self.0.get_mut(to).expect("the opening comes first");
                let content = incoming.open_signal(kind, number, sealed).expect("it opens");
                self.1.extend(signal::decode::<FileRequest>(&content).ok().map(|one| one.transfer));
                asked.push((to.to_owned(), read(&content)));
            }
        }
        asked
    }
}

fn read(content: &[u8]) -> Asked {
    if let Ok(Withdrawal { transfer, reason }) = signal::decode(content) {
        return Asked::Withdrawn(transfer, reason);
    }
    match Requested::decode(content).expect("it is a request") {
        Requested::File(one) => Asked::One(one.name.to_string()),
        Requested::Files(many) => {
            let names = many.files.iter().map(|file| file.name.to_string()).collect();
            Asked::Many(many.transfer, many.wish, names)
        }
    }
}

/// A peer that fetches `d/1`, `d/2` and `d/3` from B, and the first requests.
fn fetching() -> (Bench, Holder, Vec<Asked>) {
    fetching_files(3)
}

/// The same with so many files, whose numbers have as many digits as the last one.
fn fetching_files(count: usize) -> (Bench, Holder, Vec<Asked>) {
    let mut bench = Bench::new();
    let wanted = Wanted::Pattern("d/*".parse().expect("a good pattern"));
    let get = Command::Get { wanted, from: Some(name("B")), output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let id = bench.sent.drain(..).find_map(|message| match message {
        ToServer::Search { id, query: Query::Names { .. }, .. } => Some(id),
        _ => None,
    });
    let digits = count.to_string().len();
    let hit = |number| {
        let mut hit = hit_of_b();
        let name = format!("d/{number:0digits$}");
        hit.file.sha256 = Digest::of(name.as_bytes());
        hit.file.name = name.parse().expect("a good name");
        hit
    };
    let mut hits: Vec<Hit> = (1..=count).map(hit).collect();
    let id = id.expect("the list is asked for");
    while !hits.is_empty() {
        let more = hits.split_off(hits.len().min(1000));
        bench.hear(&ToPeer::Found { id, hits, total: count as u64 });
        hits = more;
    }
    bench.sent.clear();
    let task = bench.effects.drain(..).find_map(|effect| match effect {
        Effect::PrepareMany(task, downloads) => Some((task, downloads.len())),
        _ => None,
    });
    let (task, count) = task.expect("the disk is looked at");
    bench.take([Input::PreparedMany(task, Ok(vec![Ok(Prepared::From(0)); count]))]);
    assert_eq!(bench.lookups(), 1);
    bench.hear_card(&card_of_b(START, START));
    let mut holder = Holder::default();
    let asked = holder.requests(&mut bench);
    (bench, holder, asked)
}

fn all() -> Vec<String> {
    ["d/1", "d/2", "d/3"].map(str::to_owned).into()
}

/// The request for all three files.
fn transfer_of(asked: &[Asked]) -> TransferId {
    match asked {
        [Asked::Many(transfer, _, names)] if *names == all() => *transfer,
        _ => panic!("one request for all of them: {asked:?}"),
    }
}

fn answer(bench: &mut Bench, transfer: TransferId, verdict: Verdict) {
    answer_of(bench, "B", transfer, verdict);
}

pub(super) fn answer_of(bench: &mut Bench, peer: &str, transfer: TransferId, verdict: Verdict) {
    bench.engine.answer(&name(peer), &signal::encode(&FileAnswer { transfer, verdict }));
    bench.take([]);
}

pub(super) fn is_done(bench: &mut Bench, ending: Ending) -> bool {
    bench.count(|effect| matches!(effect, Effect::Tell(CLIENT, Update::Done(done)) if *done == ending)) == 1
}

#[test]
fn a_holder_that_does_not_know_requests_for_many_is_asked_for_each_file_alone() {
    let (mut bench, mut holder, asked) = fetching();
    let all = transfer_of(&asked);
    bench.sleep(4);
    assert_eq!(holder.requests(&mut bench), []);
    bench.sleep(2);
    prepare_parts(&mut bench);
    let one = |name: &str| Asked::One(name.into());
    let left = |transfer| Asked::Withdrawn(transfer, Reason::Left);
    assert_eq!(holder.requests(&mut bench), [left(all), one("d/1"), one("d/2")], "perhaps it is only late");
    // Nor does it answer these.
    bench.sleep(16);
    let [first, second] = holder.1[..] else { panic!("two requests: {:?}", holder.1) };
    assert_eq!(holder.requests(&mut bench), [left(first), left(second)]);
    let why = "3 file(s) were not fetched: B does not answer; the same command fetches the rest";
    assert_eq!(shown(&mut bench).1, [why]);
    assert!(is_done(&mut bench, Ending::Failed));
}

/// Nothing is here of the files that are fetched alone.
pub(super) fn prepare_parts(bench: &mut Bench) -> Vec<String> {
    let prepares = bench.effects.extract_if(.., |effect| matches!(effect, Effect::Prepare(..)));
    let prepared: Vec<(u32, String)> = prepares
        .map(|effect| match effect {
            Effect::Prepare(task, download) => (task, download.name.to_string()),
            _ => unreachable!("the others were left out"),
        })
        .collect();
    for (task, _) in &prepared {
        bench.take([Input::Prepared(*task, Ok(Prepared::From(0)))]);
    }
    prepared.into_iter().map(|(_, name)| name).collect()
}

/// The answers to a busy holder: the request that may wait in its queue.
fn queued(bench: &mut Bench, holder: &mut Holder, asked: &[Asked]) -> TransferId {
    assert!(
        matches!(asked, [Asked::Many(_, Wish::Server, _)]),
        "an older holder could not read another wish"
    );
    answer(bench, transfer_of(asked), Verdict::Busy);
    let asked = holder.requests(bench);
    assert!(matches!(asked[..], [Asked::Many(_, Wish::Queue(Route::Server), _)]), "{asked:?}");
    transfer_of(&asked)
}

/// The places that the user was told, and the errors.
pub(super) fn shown(bench: &mut Bench) -> (Vec<(String, u32)>, Vec<String>) {
    let (mut places, mut errors) = (Vec::new(), Vec::new());
    for event in bench.events.drain(..) {
        match event {
            Event::FileQueued { name, place, .. } => places.push((name.to_string(), place)),
            Event::Error { message } => errors.push(message),
            _ => {}
        }
    }
    (places, errors)
}

#[test]
fn requests_for_many_files_wait_in_the_queue_of_the_holder_and_the_user_sees_each_place_once() {
    let (mut bench, mut holder, asked) = fetching();
    let transfer = queued(&mut bench, &mut holder, &asked);
    for place in [3, 3, 2, 2] {
        answer(&mut bench, transfer, Verdict::Queued { place });
        bench.sleep(29);
    }
    let place = |place| ("d/*".to_owned(), place);
    assert_eq!(shown(&mut bench), (vec![place(3), place(2)], vec![]));
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    assert_eq!(transfer_of(&holder.requests(&mut bench)), transfer, "the same request keeps its place");
    answer(&mut bench, transfer, Verdict::Ready { bytes: 3, salt: [1; 16] });
    assert_eq!(bench.count(|effect| matches!(effect, Effect::ReceiveMany(_))), 1);
    assert_eq!(shown(&mut bench), (vec![], vec![]));
}

#[test]
fn a_fetch_of_many_files_that_ends_in_the_queue_gives_its_place_up() {
    for is_cancelled in [true, false] {
        let (mut bench, mut holder, asked) = fetching();
        let transfer = queued(&mut bench, &mut holder, &asked);
        answer(&mut bench, transfer, Verdict::Queued { place: 1 });
        let withdrawn = Asked::Withdrawn(transfer, Reason::Left);
        if is_cancelled {
            bench.take([Input::Gone(CLIENT)]);
            assert_eq!(shown(&mut bench).1, [""; 0], "nobody is there to read it");
        } else {
            bench.sleep(30);
            let why =
                "3 file(s) were not fetched: B does not answer any more; the same command fetches the rest";
            assert_eq!(shown(&mut bench).1, [why]);
        }
        assert_eq!(holder.requests(&mut bench), std::slice::from_ref(&withdrawn));
        // The holder has missed it. It could also be that of an earlier process.
        answer(&mut bench, transfer, Verdict::Queued { place: 1 });
        assert_eq!(holder.requests(&mut bench), [withdrawn]);
    }
}

#[test]
fn without_room_for_many_files_the_holder_is_told_and_the_user_once() {
    let (mut bench, mut holder, asked) = fetching();
    let transfer = transfer_of(&asked);
    answer(&mut bench, transfer, Verdict::Ready { bytes: 3, salt: [1; 16] });
    let some = vec![(1, Ok(PathBuf::from("/d/2")))];
    bench.take([Input::Transfer(transfer, TransferOutcome::ReceivedSome(some))]);
    let full = "the disk is full".to_owned();
    bench.take([Input::Transfer(transfer, TransferOutcome::DiskFull(full))]);
    let why = "2 file(s) were not fetched: the disk is full; what has arrived is kept, and the same command fetches the rest";
    assert_eq!(shown(&mut bench).1, [why]);
    assert_eq!(holder.requests(&mut bench), [Asked::Withdrawn(transfer, Reason::DiskFull)]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn a_holder_whose_queue_is_full_is_asked_again_and_each_file_is_reported() {
    let (mut bench, mut holder, asked) = fetching();
    let transfer = queued(&mut bench, &mut holder, &asked);
    answer(&mut bench, transfer, Verdict::Busy);
    assert_eq!(holder.requests(&mut bench), [], "not at once");
    bench.sleep(2);
    let transfer = transfer_of(&holder.requests(&mut bench));
    answer(&mut bench, transfer, Verdict::Ready { bytes: 3, salt: [1; 16] });
    assert_eq!(bench.count(|effect| matches!(effect, Effect::ReceiveMany(_))), 1);
    let here = NotReceived::Here("no folder".to_owned());
    let some = vec![(2, Ok(PathBuf::from("/d/3"))), (0, Err(here)), (7, Ok(PathBuf::new()))];
    bench.take([Input::Transfer(transfer, TransferOutcome::ReceivedSome(some))]);
    // What is missing then is asked for once more.
    let cut_off = || TransferOutcome::Received(Err("cut off".to_owned()));
    bench.take([Input::Transfer(transfer, cut_off())]);
    let asked = holder.requests(&mut bench);
    let [Asked::Many(transfer, _, names)] = &asked[..] else { panic!("one request: {asked:?}") };
    assert_eq!(names[..], ["d/2"]);
    answer(&mut bench, *transfer, Verdict::Ready { bytes: 1, salt: [1; 16] });
    bench.take([Input::Transfer(*transfer, cut_off())]);
    let errors: Vec<&String> = bench
        .events
        .iter()
        .filter_map(|event| if let Event::Error { message } = event { Some(message) } else { None })
        .collect();
    assert_eq!(errors, ["d/1: no folder", "d/2: cut off; the same command fetches the rest"]);
    let fetched = bench.events.iter().find_map(|event| match event {
        Event::Result(Answer::Fetched { files, files_done, failed, .. }) => {
            Some((*files, *files_done, *failed))
        }
        _ => None,
    });
    assert_eq!((fetched, is_done(&mut bench, Ending::Failed)), (Some((3, 1, 2)), true));
}

#[test]
fn what_a_transfer_has_not_brought_when_it_is_cut_off_twice_is_one_error() {
    let (mut bench, mut holder, asked) = fetching();
    let mut transfer = transfer_of(&asked);
    for is_last in [false, true] {
        answer(&mut bench, transfer, Verdict::Ready { bytes: 3, salt: [1; 16] });
        let cut_off = TransferOutcome::Received(Err("cut off".to_owned()));
        bench.take([Input::Transfer(transfer, cut_off)]);
        if !is_last {
            transfer = transfer_of(&holder.requests(&mut bench));
        }
    }
    let why = "3 file(s) were not fetched: cut off; the same command fetches the rest";
    assert_eq!(shown(&mut bench).1, [why]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn what_was_asked_over_a_lost_connection_is_asked_again() {
    let (mut bench, mut holder, asked) = fetching();
    let first = transfer_of(&asked);
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    let second = transfer_of(&holder.requests(&mut bench));
    assert_ne!(first, second, "a transfer is used once");
}

#[test]
fn one_of_many_requests_waits_and_its_place_is_shown_while_nothing_arrives() {
    let (mut bench, mut holder, asked) = fetching_files(MANY_FILES_MAX + 1);
    let [Asked::Many(first, ..), Asked::Many(second, ..)] = asked[..] else { panic!("two requests") };
    answer(&mut bench, first, Verdict::Busy);
    answer(&mut bench, second, Verdict::Busy);
    let asked = holder.requests(&mut bench);
    let [Asked::Many(waiting, Wish::Queue(Route::Server), names)] = &asked[..] else { panic!("one request") };
    assert_eq!(names.len(), MANY_FILES_MAX);
    answer(&mut bench, *waiting, Verdict::Queued { place: 2 });
    let place = |place| ("d/*".to_owned(), place);
    assert_eq!(shown(&mut bench).0, [place(2)]);
    answer(&mut bench, *waiting, Verdict::Ready { bytes: 3, salt: [1; 16] });
    let asked = holder.requests(&mut bench);
    let [Asked::Many(next, Wish::Queue(Route::Server), names)] = &asked[..] else { panic!("one request") };
    assert_eq!(names.len(), 1);
    answer(&mut bench, *next, Verdict::Queued { place: 1 });
    assert_eq!(shown(&mut bench).0, [], "that for which it waits is perhaps its own transfer");
    bench.take([Input::Transfer(*waiting, TransferOutcome::Received(Err("cut off".to_owned())))]);
    answer(&mut bench, *next, Verdict::Queued { place: 1 });
    assert_eq!(shown(&mut bench).0, [place(1)]);
}

#[test]
fn one_broken_connection_is_one_failure_of_all_requests_that_it_ends() {
    let (mut bench, mut holder, asked) = fetching_files(MANY_FILES_MAX + 1);
    let [Asked::Many(first, ..), Asked::Many(second, ..)] = asked[..] else { panic!("two requests") };
    for transfer in [first, second] {
        answer(&mut bench, transfer, Verdict::Ready { bytes: 3, salt: [1; 16] });
    }
    for transfer in [first, second] {
        bench.take([Input::Transfer(transfer, TransferOutcome::Received(Err("cut off".to_owned())))]);
    }
    let again = holder.requests(&mut bench);
    assert!(matches!(again[..], [Asked::Many(..), Asked::Many(..)]), "both are requested again");
    assert_eq!(shown(&mut bench).1, [""; 0]);
}
