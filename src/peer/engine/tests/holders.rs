//! A file that several peers hold, from both sides.

use wire::pieces::{Link, PIECE_BYTES, Piece};
use wire::query::Query;
use wire::signal::{FileRequest, Reason, Route, Verdict, Wish, Withdrawal};

use super::queue::Talk;
use super::*;
use crate::peer::command::Existing;
use crate::peer::engine::{Prepared, Shared, TransferOutcome};
use crate::peer::event::HolderFault;

const PIECES: u64 = 12;

fn file() -> PublishedFile {
    PublishedFile { bytes: PIECES * PIECE_BYTES, ..hit_of_b().file }
}

/// A wants the file, which B and C hold, and looks at its disk. Only B's card is known. Returns the id of the fetch.
fn fetches(talk: &mut Talk, prepared: Prepared) -> u32 {
    let of_c = Hit { peer: name("C"), file: file(), ..hit_of_b() };
    fetches_from(talk, &[of_c], prepared)
}

/// The same with other holders beside B.
fn fetches_from(talk: &mut Talk, others: &[Hit], prepared: Prepared) -> u32 {
    let wanted = Wanted::Digest(file().sha256);
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    talk.bench.take([Input::Command(CLIENT, get)]);
    let id = talk.bench.sent.iter().find_map(|message| match message {
        ToServer::Search { id, .. } => Some(*id),
        _ => None,
    });
    let id = id.expect("the server is asked who has it");
    let mut hits = vec![Hit { file: file(), ..hit_of_b() }];
    hits.extend_from_slice(others);
    talk.bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    talk.bench.take([Input::Prepared(id, Ok(prepared))]);
    talk.bench.hear_card(&card_of_b(START, START));
    id
}

/// The requests of A to B.
fn requests(talk: &mut Talk) -> Vec<FileRequest> {
    let heard = talk.heard(Kind::Request);
    heard.iter().filter_map(|content| signal::decode(content).ok()).collect()
}

/// The fetch, when its part is open and B is asked for pieces.
fn underway() -> (Talk, FileRequest) {
    let mut talk = Talk::new();
    let id = fetches(&mut talk, Prepared::From(0));
    talk.bench.take([Input::PiecesOpened(id, Ok(Vec::new()))]);
    let asked = requests(&mut talk).remove(0);
    (talk, asked)
}

fn faults(talk: &mut Talk) -> Vec<(HolderFault, Option<u64>)> {
    let events = talk.bench.events.drain(..);
    events
        .filter_map(|event| match event {
            Event::FileHolderDropped { fault, piece, .. } => Some((fault, piece)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_holder_is_asked_for_pieces_from_the_end_on_and_named_when_it_lies() {
    let mut talk = Talk::new();
    let id = fetches(&mut talk, Prepared::From(0));
    assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::OpenPieces(task, _) if *task == id)), 1);
    talk.bench.take([Input::PiecesOpened(id, Ok(Vec::new()))]);
    let [asked] = &requests(&mut talk)[..] else { panic!("one request") };
    let pieces = 6..12;
    assert_eq!(asked.offset, pieces.start * PIECE_BYTES);
    assert_eq!(asked.wish, Wish::Pieces(Route::Server, pieces.end * PIECE_BYTES));
    talk.answer(asked, Verdict::Queued { place: 2 });
    assert_eq!(talk.shown().0, [2]);
    talk.answer(asked, Verdict::Ready { bytes: file().bytes, salt: [2; 16] });
    let is_job = |effect: &Effect| matches!(effect, Effect::ReceivePieces(job) if job.pieces == (6..12));
    assert_eq!(talk.bench.count(is_job), 1);
    let link = |n: u8| Link(Digest::of(&[n]));
    let piece = Piece { number: 6, from: link(6), to: link(7) };
    let arrived = |next| TransferOutcome::Piece { piece, next: Some(next), is_new: true };
    talk.bench.take([Input::Transfer(asked.transfer, arrived(link(8)))]);
    assert_eq!(faults(&mut talk), [(HolderFault::Lied, Some(6))]);
    let effects: Vec<Effect> = talk.bench.effects.drain(..).collect();
    assert!(
        matches!(&effects[..], [Effect::ReleasePieces(_, pieces), Effect::StopReceive(_)] if *pieces == [6])
    );
    let cancelled = TransferOutcome::Received(Err("cancelled".into()));
    talk.bench.take([Input::Transfer(asked.transfer, cancelled)]);
    assert!(requests(&mut talk).is_empty(), "it is not asked again");
    // Nobody is left but C, whose card does not come.
    talk.bench.sleep(15);
    assert!(talk.shown().1[0].contains("no holder is left"));
    assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::ClosePieces(_))), 1);
}

#[test]
fn of_holders_that_say_different_lengths_the_most_are_believed() {
    let mut bench = Bench::new();
    let wanted = Wanted::Digest(file().sha256);
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let id = bench.sent.iter().find_map(|message| match message {
        ToServer::Search { id, .. } => Some(*id),
        _ => None,
    });
    let id = id.expect("the server is asked who has it");
    let of = |peer, bytes, online| Hit {
        peer: name(peer),
        online,
        file: PublishedFile { bytes, ..file() },
        ..hit_of_b()
    };
    let absent = ["X", "Y", "Z"].map(|peer| of(peer, 7, false));
    let mut hits = vec![of("B", 7, true), of("C", 1, true), of("D", 1, true)];
    hits.extend(absent);
    bench.hear(&ToPeer::Found { id, total: 6, hits });
    let is_right = |effect: &Effect| matches!(effect, Effect::Prepare(_, download) if download.bytes == 1);
    assert_eq!(bench.count(is_right), 1);
}

#[test]
fn a_holder_that_knows_no_pieces_sends_the_whole_file() {
    let mut talk = Talk::new();
    let id = fetches(&mut talk, Prepared::Pieces);
    talk.bench.take([Input::PiecesOpened(id, Ok(Vec::new()))]);
    assert_eq!(requests(&mut talk).len(), 1);
    talk.bench.sleep(5);
    assert_eq!(faults(&mut talk), [(HolderFault::Gone, None)]);
    talk.bench.effects.clear();
    talk.bench.sleep(15);
    let is_prepared = |effect: &Effect| matches!(effect, Effect::Prepare(task, _) if *task == id);
    assert_eq!(talk.bench.count(is_prepared), 1, "one holder may have begun it");
    talk.bench.take([Input::Prepared(id, Ok(Prepared::Pieces))]);
    talk.bench.hear_card(&card_of_b(START, START));
    let [whole] = &requests(&mut talk)[..] else { panic!("one request") };
    assert_eq!((whole.wish, whole.offset), (Wish::Server, 0));
    talk.answer(whole, Verdict::Ready { bytes: file().bytes, salt: [2; 16] });
    assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::Receive(_))), 1);
}

#[test]
fn pieces_that_are_here_are_not_requested_again_also_of_the_only_holder() {
    let mut talk = Talk::new();
    let id = fetches_from(&mut talk, &[], Prepared::Pieces);
    let link = |n: u64| Link(Digest::of(&[u8::try_from(n).expect("it is small")]));
    let here = (3..PIECES).map(|number| {
        let to = if number + 1 == PIECES { Link(file().sha256) } else { link(number + 1) };
        Piece { number, from: link(number), to }
    });
    // Its card came before.
    talk.bench.take([Input::PiecesOpened(id, Ok(here.collect()))]);
    let [asked] = &requests(&mut talk)[..] else { panic!("one request") };
    assert_eq!((asked.offset, asked.wish), (2 * PIECE_BYTES, Wish::Pieces(Route::Server, 3 * PIECE_BYTES)));
    let shown = |event: &Event| matches!(event, Event::FileProgress { done, .. } if *done == 9 * PIECE_BYTES);
    assert!(talk.bench.events.iter().any(shown));
}

#[test]
fn a_full_disk_ends_the_fetch_and_is_told_to_the_holder() {
    let (mut talk, asked) = underway();
    talk.answer(&asked, Verdict::Ready { bytes: file().bytes, salt: [2; 16] });
    let why = "the disk is full".to_owned();
    talk.bench.take([Input::Transfer(asked.transfer, TransferOutcome::DiskFull(why.clone()))]);
    assert_eq!(talk.shown().1, [why]);
    let full = signal::encode(&Withdrawal { transfer: asked.transfer, reason: Reason::DiskFull });
    assert_eq!(talk.heard(Kind::Request), [full]);
    assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::ClosePieces(_))), 1);
}

#[test]
fn a_cancelled_fetch_stops_what_is_underway_and_takes_the_rest_back() {
    for is_moving in [true, false] {
        let (mut talk, asked) = underway();
        if is_moving {
            talk.answer(&asked, Verdict::Ready { bytes: file().bytes, salt: [2; 16] });
        }
        talk.bench.effects.clear();
        talk.bench.take([Input::Gone(CLIENT)]);
        let left = signal::encode(&Withdrawal { transfer: asked.transfer, reason: Reason::Left });
        let expected = if is_moving { Vec::new() } else { vec![left] };
        assert_eq!(talk.heard(Kind::Request), expected);
        let stops =
            talk.bench.effects.iter().filter(|effect| matches!(effect, Effect::StopReceive(_))).count();
        assert_eq!(stops, usize::from(is_moving));
        assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::ClosePieces(_))), 1);
    }
}

#[test]
fn what_was_asked_over_a_lost_connection_is_asked_again_and_what_waits_keeps_its_place() {
    for waits in [false, true] {
        let (mut talk, asked) = underway();
        if waits {
            talk.answer(&asked, Verdict::Queued { place: 1 });
        }
        talk.bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
        assert!(talk.bench.engine.next_deadline().is_none_or(|at| at > talk.bench.now.instant));
        talk.bench.join();
        talk.bench.hear_card(&card_of_b(START, START));
        let again = requests(&mut talk).remove(0);
        assert_eq!(again.transfer == asked.transfer, waits);
        assert_eq!((again.offset, again.wish), (asked.offset, asked.wish));
    }
}

#[test]
fn a_small_file_comes_from_one_holder() {
    let mut talk = Talk::new();
    let small = PublishedFile { bytes: 7 * PIECE_BYTES, ..file() };
    let get = Command::Get {
        wanted: Wanted::Digest(small.sha256),
        from: None,
        output: None,
        existing: Existing::Refuse,
    };
    talk.bench.take([Input::Command(CLIENT, get)]);
    let ids = talk.bench.sent.iter().filter_map(|message| match message {
        ToServer::Search { id, .. } => Some(*id),
        _ => None,
    });
    let id = ids.max().expect("the server is asked who has it");
    let of_b = Hit { file: small, ..hit_of_b() };
    let of_c = Hit { peer: name("C"), ..of_b.clone() };
    talk.bench.hear(&ToPeer::Found { id, hits: vec![of_b, of_c], total: 2 });
    talk.bench.take([Input::Prepared(id, Ok(Prepared::From(0)))]);
    talk.bench.hear_card(&card_of_b(START, START));
    assert_eq!(requests(&mut talk)[0].wish, Wish::Server);
}

#[test]
fn a_holder_sends_whole_pieces_of_the_file_only() {
    let mut talk = Talk::new();
    let shared = Shared { files: vec![Arc::new(file().into())], ..Shared::default() };
    talk.bench.take([Input::Shared(Ok(shared))]);
    let ask = |talk: &mut Talk, transfer: u8, offset, end| {
        let PublishedFile { name, sha256, .. } = file();
        let wish = Wish::Pieces(Route::Server, end);
        let request = FileRequest { transfer: [transfer; 16], secret: [1; 32], name, sha256, offset, wish };
        talk.says(Kind::Request, transfer.into(), &signal::encode(&request));
        talk.answers()
    };
    assert_eq!(ask(&mut talk, 1, 1, PIECE_BYTES), [(1, Verdict::Changed)]);
    assert_eq!(ask(&mut talk, 2, 0, (PIECES + 1) * PIECE_BYTES), [(2, Verdict::Changed)]);
    let answers = ask(&mut talk, 3, PIECE_BYTES, 3 * PIECE_BYTES);
    assert!(matches!(answers[..], [(3, Verdict::Ready { bytes, .. })] if bytes == file().bytes));
    let is_job = |effect: &Effect| {
        matches!(effect, Effect::Send(job)
            if job.header.offset == PIECE_BYTES && job.end == Some(3 * PIECE_BYTES))
    };
    assert_eq!(talk.bench.count(is_job), 1);
    assert_eq!(ask(&mut talk, 4, 0, PIECE_BYTES), [(4, Verdict::Queued { place: 1 })], "one slot");
    // The receiver has got them from somebody else meanwhile.
    talk.bench.events.clear();
    talk.bench.take([Input::Transfer([3; 16], TransferOutcome::Sent(Err("it broke".into())))]);
    assert!(talk.shown().1.is_empty());
    assert!(matches!(talk.answers()[..], [(4, Verdict::Ready { .. })]));
}

/// The searches of A since the last call, each with its id.
fn searches(talk: &mut Talk) -> Vec<(u32, Query)> {
    let sent = talk.bench.sent.extract_if(.., |message| matches!(message, ToServer::Search { .. }));
    let search = |message| match message {
        ToServer::Search { id, query, .. } => (id, query),
        _ => unreachable!("the others were left out"),
    };
    sent.map(search).collect()
}

fn called(peer: &str, file: &PublishedFile, file_name: &str) -> Hit {
    let file = PublishedFile { name: file_name.parse().expect("a good name"), ..file.clone() };
    Hit { peer: name(peer), file, ..hit_of_b() }
}

/// What is to be downloaded: the name at the holder, and the one here.
fn prepared(talk: &mut Talk) -> Option<(String, String)> {
    talk.bench.effects.drain(..).find_map(|effect| match effect {
        Effect::Prepare(_, download) => Some((download.name.to_string(), download.here.to_string())),
        _ => None,
    })
}

fn get(talk: &mut Talk, wanted: Wanted) -> u32 {
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    talk.bench.take([Input::Command(CLIENT, get)]);
    searches(talk)[0].0
}

#[test]
fn a_file_that_is_wanted_by_name_comes_from_those_too_that_call_it_differently() {
    let mut talk = Talk::new();
    let id = get(&mut talk, Wanted::Name(file().name));
    let of_b = called("B", &file(), "file.txt");
    talk.bench.hear(&ToPeer::Found { id, total: 1, hits: vec![of_b.clone()] });
    assert_eq!(searches(&mut talk), [(id, Query::Digest(file().sha256))]);
    assert_eq!(prepared(&mut talk), None, "not before all holders are known");
    let of_c = Hit { address: "127.0.0.1:9".parse().ok(), ..called("C", &file(), "other.txt") };
    let lie = PublishedFile { sha256: Digest::of(b"other"), ..file() };
    let hits = vec![of_c, of_b, called("D", &lie, "lie.txt")];
    talk.bench.hear(&ToPeer::Found { id, total: 3, hits });
    // C is the best one, because it can be dialled.
    assert_eq!(prepared(&mut talk), Some(("other.txt".into(), "file.txt".into())));
    talk.bench.sent.clear();
    talk.bench.take([Input::Prepared(id, Ok(Prepared::From(0)))]);
    assert_eq!(talk.bench.lookups(), 2, "both are asked, and nobody else");
    let is_open = |effect: &Effect| matches!(effect, Effect::OpenPieces(_, download) if download.here.as_str() == "file.txt");
    assert_eq!(talk.bench.count(is_open), 1);
}

#[test]
fn a_holder_that_is_away_is_replaced_by_one_that_calls_the_file_differently() {
    for is_any_here in [true, false] {
        let mut talk = Talk::new();
        let small = PublishedFile { bytes: 5, ..file() };
        let id = get(&mut talk, Wanted::Name(small.name.clone()));
        let away = Hit { online: false, ..called("C", &small, "file.txt") };
        talk.bench.hear(&ToPeer::Found { id, total: 1, hits: vec![away.clone()] });
        assert_eq!(searches(&mut talk), [(id, Query::Digest(small.sha256))]);
        // Over a new connection it is asked again.
        talk.bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
        talk.bench.join();
        assert_eq!(searches(&mut talk), [(id, Query::Digest(small.sha256))]);
        let here = is_any_here.then(|| called("B", &small, "other.txt"));
        let hits: Vec<Hit> = [away].into_iter().chain(here).collect();
        talk.bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
        let expected = is_any_here.then(|| ("other.txt".into(), "file.txt".into()));
        assert_eq!(prepared(&mut talk), expected);
        if is_any_here {
            talk.bench.take([Input::Prepared(id, Ok(Prepared::From(0)))]);
            talk.bench.hear_card(&card_of_b(START, START));
            assert_eq!(requests(&mut talk)[0].name.as_str(), "other.txt");
        } else {
            assert!(talk.shown().1[0].contains("is not here now"));
        }
    }
}

#[test]
fn content_gets_the_name_that_most_holders_use_and_then_the_first_in_order() {
    for (names, expected) in [(["z", "b", "z"], "z"), (["c", "b", "a"], "a"), (["a", "a", "b"], "a")] {
        let mut talk = Talk::new();
        let id = get(&mut talk, Wanted::Digest(file().sha256));
        let peers = ["B", "C", "D"].into_iter().zip(names);
        let hits: Vec<Hit> = peers.map(|(peer, name)| called(peer, &file(), name)).collect();
        talk.bench.hear(&ToPeer::Found { id, total: 3, hits });
        assert_eq!(prepared(&mut talk), Some((names[0].into(), expected.into())));
    }
}

#[test]
fn what_one_holder_has_begun_comes_from_several_if_much_is_left() {
    for (here, is_gathered) in [(4, true), (5, false)] {
        let mut talk = Talk::new();
        let id = fetches(&mut talk, Prepared::From(here * PIECE_BYTES));
        let is_open = |effect: &Effect| matches!(effect, Effect::OpenPieces(task, _) if *task == id);
        assert_eq!(talk.bench.count(is_open), usize::from(is_gathered));
        if !is_gathered {
            assert_eq!(requests(&mut talk)[0].offset, here * PIECE_BYTES);
        }
    }
}
